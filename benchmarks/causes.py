"""Where does the default's error come from? It next to runs that know what no forecast can.

With the default's own 14 evaluated steps of 50: what is between them interpolated from outputs that are exact, or from
outputs evaluated again and again until interpolation and outputs agree. Small trained models; measuring takes minutes
on two cores and is kept in a JSON file, from which the page is written at once.
"""

import itertools
import statistics
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from spectral_forecast import Run, combine
from spectral_forecast.benchmarks import kept
from spectral_forecast.benchmarks.quality.cells import CELLS, Bench, Cell, psnr
from spectral_forecast.benchmarks.quality.fields import Field, FlowField, Grid
from spectral_forecast.benchmarks.quality.methods import CORRECTOR, METHODS, Method
from spectral_forecast.benchmarks.quality.paired import EULER, OURS, SPECTRUM, Paired
from spectral_forecast.benchmarks.tables import markdown

__all__ = ["AGAIN", "EXACT", "NAMED", "SWEEPS", "implicit", "interpolated", "measure", "page"]

SAMPLES, SEED, BUDGET, SWEEPS = 24, 4, 14, 4
NEAR = 1.5  # dB
NAMED = {cell.name: replace(cell, seed=SEED, samples=SAMPLES) for cell in CELLS if cell.steps == 50}
EXACT, AGAIN = "outputs of the full run", "evaluated until they agree"
ROWS = Path(__file__).parent / "results" / "causes.json"

Outputs = dict[int, torch.Tensor]


@torch.no_grad()
def interpolated(velocity: Field | FlowField, grid: Grid, path: list[torch.Tensor], nodes: list[int]) -> torch.Tensor:
    """Return what Euler's method ends with if it knows the outputs at ``nodes`` of the full run that took ``path``.

    Parameters
    ----------
    velocity : Field or FlowField
    grid : Grid
        N steps.
    path : list of Tensor
        The sample before every step, N of them, as the network is given it.
    nodes : list of int
        Steps whose outputs are known, in order; the first step is one. Others are interpolated as the corrector does,
        after the last one extrapolated.
    """
    outputs = {i: velocity(path[i], float(grid.levels[i]), float(grid.times[i])) for i in nodes}
    y = path[0] / grid.scales[0]
    for begin, end in itertools.pairwise([*nodes, grid.steps]):
        y = _through(grid, y, outputs, begin, end)
    return y


@torch.no_grad()
def implicit(
    velocity: Field | FlowField, grid: Grid, noise: torch.Tensor, run: Run, *, sweeps: int = SWEEPS
) -> torch.Tensor:
    """Return what a run ends with that takes skipped steps again, in full, and evaluates again ``sweeps`` times.

    Forecasts of ``run`` are where it begins; the more sweeps, the less it matters where.
    """
    nodes = np.flatnonzero(run.plan.evaluate).tolist()
    outputs: Outputs = {}
    y = noise / grid.scales[0]
    for begin, end in itertools.pairwise([*nodes, grid.steps]):
        outputs[begin] = velocity(y * grid.scales[begin], float(grid.levels[begin]), float(grid.times[begin]))
        run.keep(begin, outputs[begin])
        guess = y
        for i in range(begin, end):
            guess = guess + float(grid.levels[i + 1] - grid.levels[i]) * (run.forecast(i) if i > begin else outputs[i])
        for _ in range(sweeps if begin + 1 < end < grid.steps else 0):
            outputs[end] = velocity(guess * grid.scales[end], float(grid.levels[end]), float(grid.times[end]))
            guess = _through(grid, y, outputs, begin, end)
        y = guess
    return y


def _through(grid: Grid, y: torch.Tensor, outputs: Outputs, begin: int, end: int) -> torch.Tensor:
    """Step from ``begin`` to ``end``, with outputs interpolated from those up to ``end``."""
    known = [i for i in sorted(outputs) if i <= end][-CORRECTOR.degree - 1 :]
    times = 1.0 - 2.0 * grid.lengths
    values = [outputs[i] for i in known]
    for i in range(begin, end):
        output = outputs[i] if i in outputs else combine(CORRECTOR.weights(times[known], float(times[i])), values)
        y = y + float(grid.levels[i + 1] - grid.levels[i]) * output
    return y


def measure(cell: Cell) -> dict[str, list[float]]:
    """Return the PSNR of every sample of a cell, by method."""
    torch.set_num_threads(1)
    bench = Bench(cell, Path("out/quality"))
    methods = {method.name: method for method in METHODS}
    finals = {known: bench.sample(methods[known], BUDGET, None, None).final for known in (EULER, SPECTRUM, OURS)}
    finals |= _knowing(bench, methods[OURS])
    full = bench.pictures(bench.full.final)
    return {
        method: [round(value, 2) for value in psnr(bench.pictures(final), full).tolist()]
        for method, final in finals.items()
    }


def _knowing(bench: Bench, ours: Method) -> dict[str, torch.Tensor]:
    velocity, steps = bench.flow(bench.grid)
    run = ours.run(steps, ours.mask(steps, BUDGET, None, None), None)
    return {
        AGAIN: implicit(velocity, steps, bench.noise(), run),
        EXACT: interpolated(
            velocity, steps, [bench.noise(), *bench.full.path[:-1]], np.flatnonzero(run.plan.evaluate).tolist()
        ),
    }


def page(rows: dict[str, dict[str, list[float]]]) -> str:
    """Return the page in Markdown."""
    cells = [
        Paired({"name": name}, {method: {str(BUDGET): values} for method, values in row.items()})
        for name, row in rows.items()
    ]
    methods = (EULER, SPECTRUM, OURS, AGAIN, EXACT)
    means = {cell.name: [cell.mean(method, BUDGET) for method in methods] for cell in cells}
    lines = [["PSNR / dB", EULER, "Spectrum", "default", AGAIN, EXACT]]
    lines += [[f"{cell.name}{' (hard)' * cell.hard}", *(f"{mean:.1f}" for mean in means[cell.name])] for cell in cells]
    for words, hard in (("easy", False), ("hard", True)):
        among = [means[cell.name] for cell in cells if cell.hard == hard]
        values = (f"{statistics.fmean(column):.1f}" for column in zip(*among, strict=True))
        lines.append([f"mean of the {len(among)} {words} ones", *values])
    return f"""# Where the error comes from

Written by `python -m spectral_forecast.benchmarks.causes`; do not edit by hand.

How much could a better forecast still gain, with {BUDGET} evaluations of 50? The cells of [quality.md](quality.md),
with {SAMPLES} samples of noise that it does not show; PSNR against the full run, mean over the samples. Two columns
know what no forecast can. Both evaluate where the default does, and interpolate the rest as its corrector does, but in
full:

- *{EXACT}*: the network is evaluated at the full run's own samples. Only what lies between evaluations
  is lost, and nothing of it reaches the network again: no bound, since a network can also draw a sample back.
- *{AGAIN}*: on arrival skipped steps are taken again and the network is evaluated again, {SWEEPS}
  times. The better the forecasts, the nearer a run with the corrector comes to this.

{markdown(lines)}

{_summary(cells)}
"""


def _summary(cells: list[Paired]) -> str:
    """Say where forecasts lose next to nothing, and where most."""
    lost = {cell.name: cell.gain(AGAIN, OURS, BUDGET).mean for cell in cells}
    near = sum(loss < NEAR for loss in lost.values())
    most = sorted(lost, key=lambda name: -lost[name])[:4]
    words = "; ".join(f"{name.removesuffix(', 50 steps')} ({lost[name]:.1f} dB)" for name in most)
    return textwrap.fill(
        f"In {near} of {len(cells)} cells the default is less than {NEAR:g} dB below *{AGAIN}*, or above it: there "
        "better forecasts have little to gain, unlike other steps, or more of them. Forecasts lose most in "
        f"{words}.",
        120,
        break_on_hyphens=False,
    )


def main() -> None:
    """Measure what is not measured yet, and write the page."""
    kept.main(__doc__, measure, NAMED, page, rows=ROWS, out=Path("docs/causes.md"))


if __name__ == "__main__":
    main()
