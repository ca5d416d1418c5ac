"""What 48 samples leave open, ten times as many others tell: is the default above what it should never lose to?

Of some hundred pairs that are all but even a few come out below by chance, and the worst of them by most. Other samples
do not know which ones those were.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from spectral_forecast.benchmarks.quality.cells import Bench, Cell, fingerprint
from spectral_forecast.benchmarks.quality.methods import METHODS
from spectral_forecast.benchmarks.quality.paired import AIMS, OURS, SAMPLES, Gain, Paired, near_full, remembered
from spectral_forecast.benchmarks.tables import markdown

__all__ = ["SEEDS", "Pair", "left_open", "measure", "section"]

SEEDS = tuple(range(400, 1400, 100))


@dataclass(frozen=True)
class Pair:
    """The default and another method with as many evaluations, which a statement compares in a cell."""

    other: str
    budget: int


def left_open(paired: Paired) -> tuple[Pair, ...]:
    """Return the pairs of a cell of which its samples do not tell by two standard errors whether the aim is met."""
    return tuple(
        Pair(other, gain.budget) for other, aim in AIMS.items() for gain in paired.judged(other) if not gain.sure(aim)
    )


def measure(cell: Cell, pairs: tuple[Pair, ...], folder: Path, *, again: bool = False) -> list[dict[str, Any]]:
    """Return the gains in a cell's pairs, of new samples; what ``folder`` holds is not computed again."""
    torch.set_num_threads(1)
    methods = {method.name: method for method in METHODS}
    what = repr([(pair, methods[pair.other], methods[OURS]) for pair in pairs])

    def measured() -> list[dict[str, Any]]:
        more: dict[Pair, list[float]] = {pair: [] for pair in pairs}
        for seed in SEEDS:
            bench = Bench(replace(cell, seed=seed), folder)
            for pair, gains in more.items():
                ours, other = (near_full(bench, methods[name], pair.budget) for name in (OURS, pair.other))
                gains.extend((ours - other).tolist())
        rows = []
        for pair, gains in more.items():
            gain = Gain.of(cell.name, pair.budget, gains)
            numbers = {"mean": round(gain.mean, 3), "error": round(gain.error, 3), "samples": len(gains)}
            rows.append({"cell": cell.name, **asdict(pair), **numbers})
        return rows

    return remembered(folder / f"{fingerprint(cell)}_closer.json", what, measured, again=again)


def section(rows: list[dict[str, Any]], cells: list[Paired]) -> str:
    """Return the page's section."""
    known = {cell.name: cell for cell in cells}
    judged = sum(len(cell.judged(other)) for cell in cells for other in AIMS)
    lines = [["cell", "evaluations", "over", "aim", f"{SAMPLES} samples", "others", "holds"]]
    for row in rows:
        gain, aim = Gain(row["cell"], row["budget"], row["mean"], row["error"]), AIMS[row["other"]]
        first = known[gain.cell].gain(OURS, row["other"], gain.budget)
        holds = f"{'yes' if gain.mean >= aim else '**no**'}{', for sure' if gain.sure(aim) else ''}"
        told = [f"{gain.mean:+.2f} ± {gain.error:.2f} dB", holds]
        lines.append([gain.cell, str(gain.budget), row["other"], f"{aim:g} dB", str(first), *told])
    return f"""The three statements are about {judged} pairs of the default with another method. Where the mean of
{SAMPLES} samples is within two standard errors of what it should be at least, it may be above or below by chance, and
the worst of so many is below by more than it is. There {len(SEEDS) * SAMPLES} others were drawn, with which nothing was
chosen (`python -m spectral_forecast.benchmarks.quality --closer`, ten minutes). The table of what holds is of the
{SAMPLES}, as for all pairs.

{markdown(lines)}"""
