"""What do many samples from other noise say of the default? It against what it should never lose to, sample by sample.

Six samples show what is worth decibels; whether one method is never below another by tenths of one takes more.
"""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from spectral_forecast.benchmarks.quality.cells import CELLS, Bench, Cell, fingerprint, psnr
from spectral_forecast.benchmarks.quality.methods import DEFAULTS, METHODS, Method
from spectral_forecast.benchmarks.tables import items, markdown

__all__ = [
    "AIMS",
    "EULER",
    "LEAST",
    "OURS",
    "PAIRED",
    "PLAIN",
    "SAMPLES",
    "SPECTRUM",
    "Gain",
    "Paired",
    "Statement",
    "measure",
    "near_full",
    "remembered",
    "section",
    "statements",
]

SAMPLES = 48
PAIRED = tuple(replace(cell, seed=3, samples=SAMPLES) for cell in CELLS)
EULER, SPECTRUM = "Euler or DDIM", "Spectrum, w = 0.5"
PLAIN, OURS = DEFAULTS[6:]
HARD = (10.0, 28.0)
LEAST = 0.3  # dB that the default may be below itself without the corrector
AIMS = {SPECTRUM: 10.0, EULER: 0.0, PLAIN: -LEAST}  # dB that the default is to be above; Spectrum, in hard cells
SURE = 2.0  # standard errors

Statement: TypeAlias = tuple[str, bool, str]  # what is said, whether it holds, and in numbers


def measure(cell: Cell, folder: Path, *, again: bool = False) -> dict[str, Any]:
    """Return the PSNR of every sample by every method and budget; what ``folder`` holds is not computed again."""
    torch.set_num_threads(1)
    chosen = {method.name: method for method in METHODS if method.name in (EULER, SPECTRUM, PLAIN, OURS)}
    what = repr(sorted(chosen.items()))

    def measured() -> dict[str, Any]:
        bench = Bench(cell, folder)
        values: dict[str, dict[str, list[float]]] = {}
        for name, method in chosen.items():
            if name == SPECTRUM and cell.steps < 50:
                continue
            for budget in (14,) if name == SPECTRUM else cell.budgets(method):
                found = near_full(bench, method, budget)
                values.setdefault(name, {})[str(budget)] = [round(value, 2) for value in found.tolist()]
        return {"cell": asdict(cell) | {"name": cell.name}, "psnr": values}

    return remembered(folder / f"{fingerprint(cell)}_paired.json", what, measured, again=again)


def near_full(bench: Bench, method: Method, budget: int) -> NDArray[np.float64]:
    """Return the PSNR of every sample of a method, which may spend no more than its budget, against the full run."""
    sample = bench.sample(method, budget, None, None)
    if sample.evaluations != budget:
        raise RuntimeError(f"{bench.cell}: {method.name} spent {sample.evaluations} evaluations, not {budget}.")
    return psnr(bench.pictures(sample.final), bench.pictures(bench.full.final))


def remembered(path: Path, what: str, measured: Callable[[], Any], *, again: bool) -> Any:
    """Return what a file holds, if it is of the same methods; otherwise measure it, and keep it there."""
    if not again and path.exists() and (known := json.loads(path.read_text()))["what"] == what:
        return known["found"]
    found = measured()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"what": what, "found": found}))
    return found


@dataclass(frozen=True)
class Gain:
    """By how much a method is better than another in a cell, with a budget.

    Attributes
    ----------
    cell : str
    budget : int
    mean : float
        Of the samples' differences, in dB.
    error : float
        The standard error of the mean.
    """

    cell: str
    budget: int
    mean: float
    error: float

    @classmethod
    def of(cls, cell: str, budget: int, more: Sequence[float]) -> "Gain":
        """Return that of samples' differences."""
        error = statistics.stdev(more) / math.sqrt(len(more)) if len(more) > 1 else math.inf
        return cls(cell, budget, statistics.fmean(more), error)

    def sure(self, least: float) -> bool:
        """Whether it is known to be on its side of ``least``."""
        return abs(self.mean - least) >= SURE * self.error

    def below(self, least: float) -> bool:
        """Whether it is less than ``least`` for sure."""
        return self.mean + SURE * self.error < least

    def __str__(self) -> str:
        return f"{self.mean:+.1f} ± {self.error:.1f} dB"


@dataclass(frozen=True)
class Paired:
    """A cell, and the PSNR of every sample by method and budget."""

    cell: dict[str, Any]
    psnr: dict[str, dict[str, list[float]]]

    @property
    def name(self) -> str:
        """The cell in words."""
        return str(self.cell["name"])

    @property
    def hard(self) -> bool:
        """Whether published Spectrum with 14 evaluations is between 10 and 28 dB."""
        return SPECTRUM in self.psnr and HARD[0] <= self.mean(SPECTRUM, 14) <= HARD[1]

    def mean(self, method: str, budget: int) -> float:
        """Mean PSNR over the samples."""
        return statistics.fmean(self.psnr[method][str(budget)])

    def gain(self, method: str, other: str, budget: int) -> Gain:
        """By how much a method is better than another."""
        pairs = zip(self.psnr[method][str(budget)], self.psnr[other][str(budget)], strict=True)
        return Gain.of(self.name, budget, [a - b for a, b in pairs])

    def gains(self, method: str, other: str) -> list[Gain]:
        """The same with every budget."""
        return [self.gain(method, other, int(budget)) for budget in self.psnr[method] if budget in self.psnr[other]]

    def judged(self, other: str) -> list[Gain]:
        """The default's gains that the statement about a method of `AIMS` is made of."""
        return [] if other == SPECTRUM and not self.hard else self.gains(OURS, other)


def statements(cells: list[Paired]) -> tuple[Statement, Statement, Statement]:
    """The statements about the hard cells, Euler's method and the corrector."""
    above, euler, corrected = ([gain for cell in cells for gain in cell.judged(other)] for other in AIMS)

    def said(gains: list[Gain], least: float) -> str:
        held = sum(gain.mean >= least for gain in gains)
        worst = min(gains, key=lambda gain: gain.mean, default="–")
        sure = sum(gain.below(least) for gain in gains)
        return f"in {held} of {len(gains)}; least {worst}; for sure not in {sure}"

    return (
        (
            "in the hard cells with 14 evaluations 10 dB or more above Spectrum",
            all(gain.mean >= 10.0 for gain in above),
            said(above, 10.0),
        ),
        (
            "never below Euler or DDIM with as many evaluations",
            all(gain.mean >= 0.0 for gain in euler),
            said(euler, 0.0),
        ),
        (
            f"never more than {LEAST} dB below itself without the corrector",
            all(gain.mean >= -LEAST for gain in corrected),
            f"{said(corrected, -LEAST)}; mean {statistics.fmean(gain.mean for gain in corrected):+.2f} dB",
        ),
    )


def section(cells: list[Paired]) -> str:
    """Return the page's section."""
    lines = [["cell", "Spectrum, 14", "default, 14", "gain", "least over Euler or DDIM", "least of the corrector"]]
    for cell in cells:
        euler, corrected = (min(cell.gains(OURS, other), key=lambda gain: gain.mean) for other in (EULER, PLAIN))
        row = ["", "", ""]
        if SPECTRUM in cell.psnr:
            means = [f"{cell.mean(name, 14):.1f}" for name in (SPECTRUM, OURS)]
            row = [*means, str(cell.gain(OURS, SPECTRUM, 14))]
        least = [f"{gain} with {gain.budget}" for gain in (euler, corrected)]
        lines.append([f"{cell.name}{' (hard)' if cell.hard else ''}", *row, *least])
    return f"""Six samples do not tell tenths of a decibel: between samples PSNR varies by 1 to 16 dB. Here are
{SAMPLES} of each cell, from noise that nothing was chosen with. (What came after these numbers were first seen was
chosen on digits, photographs and digits_ddim with other noises: what the guard makes of forecasts that were farther off
than what they start from, its limit, what it expects after a first output that tells nothing, and what the last gap of
a schedule counts. That it counts once where the network predicts noise was tried after digits_ddim had shown a loss
here, 0.6 ± 0.4 dB with guidance 8 and 6 evaluations.) A ± is the standard error of the mean
difference, sample by sample; *for sure* is by two of them.

{markdown(lines)}

{_below("Below Euler or DDIM with as many evaluations:", cells, EULER, 0.0)}

{_below(f"More than {LEAST} dB below itself without the corrector:", cells, PLAIN, -LEAST)}"""


def _below(title: str, cells: list[Paired], other: str, least: float) -> str:
    """Where the default is worse than something else."""
    worse = [gain for cell in cells for gain in cell.gains(OURS, other) if gain.mean < least]
    return items(title, [f"- {gain.cell}, {gain.budget} evaluations: {gain}" for gain in worse])
