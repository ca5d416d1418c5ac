"""What does a profile gain, on samples that it has not seen? Measured through the adapter, against the full run.

Run it with ``python -m spectral_forecast.benchmarks.profiles``; it writes the table of docs/profiles.md, in five
minutes on two cores.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from spectral_forecast import Corrector, Profile, metrics
from spectral_forecast.adapters.diffusers import accelerate, record, restore
from spectral_forecast.adapters.diffusers.profiling import predictions
from spectral_forecast.benchmarks import digits, photographs
from spectral_forecast.benchmarks.tables import markdown

__all__ = ["CELLS", "Cell", "main", "measure", "rewrite"]

BEGIN = "<!-- Made by `python -m spectral_forecast.benchmarks.profiles`: begin -->"
END = "<!-- end -->"
BUDGETS = (8, 10, 14)
STEPS = 50
RUNS = 16
FIRST_SEED = 1000  # of the profiles' noise; what is measured starts from seed 0
HEAD = [
    *("model, guidance", "evaluations", "default", "profile", "of one run"),
    *("default, uncorrected", "profile, uncorrected", "its error", "predicted"),
]


class Cell(NamedTuple):
    """A model with a guidance scale, and the classes that are profiled and measured."""

    model: ModuleType
    guidance: float
    profiled: Sequence[int]
    measured: Sequence[int]

    def sample(self, pipe: Any, classes: Sequence[int], seed: int) -> torch.Tensor:
        """Draw one sample of each class."""
        drawn: torch.Tensor = self.model.sample(pipe, list(classes), steps=STEPS, guidance=self.guidance, seed=seed)
        return drawn


CELLS = [
    *(Cell(digits, guidance, range(5), [5, 6, 7, 8, 9, 5, 6, 7, 8, 9]) for guidance in (1.0, 2.0, 4.0)),
    *(Cell(photographs, guidance, range(4), [4, 5, 6, 7] * 2) for guidance in (1.0, 4.0)),
]


def measure(cell: Cell, *, runs: int = RUNS, budgets: Sequence[int] = BUDGETS) -> list[list[str]]:
    """Return the rows of one cell: mean PSNR in dB, then the profile's error without corrector, and its prediction."""
    pipe = cell.model.pipeline()
    with record(pipe) as recorder:
        for run in range(runs):
            cell.sample(pipe, cell.profiled, FIRST_SEED + run)
            if run == 0:
                one = recorder.profile()
    profile = recorder.profile()
    full = cell.sample(pipe, cell.measured, 0)
    start = cell.model.noise(len(cell.measured), seed=0)
    start = cell.model.images(start) if hasattr(cell.model, "images") else start
    rows = []
    for expected in predictions(profile, list(budgets)):
        count = expected.evaluations
        results = [
            _accelerated(cell, pipe, count, rule, corrector)
            for rule, corrector in [
                *((rule, Corrector()) for rule in (None, profile, one)),
                *((rule, None) for rule in (None, profile)),
            ]
        ]
        quality = [
            np.mean([metrics.psnr(*pair, data_range=2.0) for pair in zip(x, full, strict=True)]) for x in results
        ]
        error = float((results[-1] - full).norm() / (full - start).norm())
        words = [f"{100 * share:.2f} %" for share in (error, expected.error)]
        name = f"{cell.model.NAME}, {cell.guidance:g}"
        rows.append([name, str(count), *(f"{psnr:.1f}" for psnr in quality), *words])
    return rows


def _accelerated(cell: Cell, pipe: Any, count: int, rule: Profile | None, corrector: Corrector | None) -> torch.Tensor:
    accelerate(pipe, evaluations=count, forecaster=rule, corrector=corrector)
    result = cell.sample(pipe, cell.measured, 0)
    restore(pipe)
    return result


def rewrite(path: Path, table: str) -> None:
    """Put a table between the two marks in a page."""
    page = path.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{path} has no section between `{BEGIN}` and `{END}`.")
    path.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every cell, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, default=Path("docs/profiles.md"))
    options = parser.parse_args(arguments)
    rows = [row for cell in tqdm(CELLS, unit="cell", disable=None) for row in measure(cell)]
    if not options.page.exists():
        options.page.write_text(f"# Profiles\n\n{BEGIN}\n{END}\n", encoding="utf-8")
    rewrite(options.page, markdown([HEAD, *rows]))


if __name__ == "__main__":
    main()
