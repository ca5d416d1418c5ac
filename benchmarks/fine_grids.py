"""How near does a run come to the exact solution of its sampler's equation, with forecasts on finer grids?

Three small trained models of flow matching, sampled by diffusers' own pipelines, against a run of 400 steps.
Measuring takes minutes on two cores and is kept in a JSON file; from that file the page is written at once.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from spectral_forecast import metrics
from spectral_forecast.adapters.diffusers import accelerate, report
from spectral_forecast.benchmarks import digits, kept, moving_digits, photographs, tables

__all__ = ["CELLS", "METHODS", "measure", "page", "psnr"]

MODELS: dict[str, ModuleType] = {"digits": digits, "photographs": photographs, "moving_digits": moving_digits}
CELLS = [(model, guidance) for model in MODELS for guidance in (1.0, 4.0)]
NAMED = {f"{model}, guidance {guidance:g}": (model, guidance) for model, guidance in CELLS}
CLASSES = list(range(6))
STEPS, EXACT, EVALUATIONS = 50, 400, 14
ROWS = Path(__file__).parent / "results" / "fine_grids.json"

# The scheduler, the steps that the pipeline is asked for, and what `accelerate` is.
METHODS: dict[str, tuple[str, int, dict[str, Any] | None]] = {
    "Euler, 50 steps": ("euler", STEPS, None),
    "Euler, 14 steps": ("euler", EVALUATIONS, None),
    "UniPC, 14 steps": ("unipc", EVALUATIONS, None),
    "DPM++ 2M, 14 steps": ("dpm++", EVALUATIONS, None),
    "`evaluations=14`": ("euler", STEPS, {"evaluations": EVALUATIONS}),
    "`evaluations=14, grid=100`": ("euler", STEPS, {"evaluations": EVALUATIONS, "grid": 100}),
    "`evaluations=14, grid=200`": ("euler", STEPS, {"evaluations": EVALUATIONS, "grid": 200}),
    "UniPC, 50 steps": ("unipc", STEPS, None),
    "UniPC, `evaluations=14`": ("unipc", STEPS, {"evaluations": EVALUATIONS}),
    "UniPC, `evaluations=14, grid=200`": ("unipc", STEPS, {"evaluations": EVALUATIONS, "grid": 200}),
}
SOLVERS = ("UniPC, 14 steps", "DPM++ 2M, 14 steps")
# Each with the same evaluations on the steps asked for, and with all of these evaluated.
FINER = (
    ("`evaluations=14, grid=100`", "`evaluations=14`", "Euler, 50 steps"),
    ("`evaluations=14, grid=200`", "`evaluations=14`", "Euler, 50 steps"),
    ("UniPC, `evaluations=14, grid=200`", "UniPC, `evaluations=14`", "UniPC, 50 steps"),
)


def psnr(samples: torch.Tensor, reference: torch.Tensor) -> list[float]:
    """Return the PSNR of each clipped sample (n, ...) in dB."""
    pairs = zip(samples.clamp(-1, 1), reference.clamp(-1, 1), strict=True)
    return [metrics.psnr(one, other, data_range=2.0) for one, other in pairs]


def measure(cell: tuple[str, float]) -> dict[str, list[float]]:
    """Return each method's PSNR against the run of 400 steps, sample by sample."""
    name, guidance = cell
    model = MODELS[name]

    def sample(scheduler: str, steps: int, options: dict[str, Any] | None) -> torch.Tensor:
        pipe = model.pipeline(scheduler=scheduler)
        if options is not None:
            accelerate(pipe, **options)
        samples = model.sample(pipe, CLASSES, steps=steps, guidance=guidance)
        if options is not None and report(pipe).events:
            raise RuntimeError(f"{cell}, {options}: {report(pipe).events}")
        return samples

    exact = sample("euler", EXACT, None)
    return {method: psnr(sample(*how), exact) for method, how in METHODS.items()}


def page(rows: dict[str, dict[str, list[float]]]) -> str:
    """Return the page in Markdown."""
    cells = list(rows)
    lines = [["PSNR / dB", *cells]]
    lines += [[method, *(_words(rows[cell][method]) for cell in cells)] for method in METHODS]
    return f"""# Fine grids

Written by `python -m spectral_forecast.benchmarks.fine_grids`; do not edit by hand.

How near is a run to the exact solution of its sampler's differential equation? {len(CLASSES)} samples of each of three
small models, by diffusers' own pipelines (`FluxPipeline`, `StableDiffusion3Pipeline`, `WanPipeline`), guided from no
class, with the shift of each model's own. The reference is Euler's method in {EXACT} steps; PSNR is of the clipped
pictures, the mean over the samples ± their standard deviation. Forecasts are what `accelerate` does by default,
asked for {STEPS} steps.

{tables.markdown(lines)}

{_summary(rows)}

How to ask for a grid, and where one is left out: [diffusers.md](diffusers.md).
"""


def _words(values: list[float]) -> str:
    return f"{np.mean(values):.1f} ± {np.std(values):.1f}"


def _summary(rows: dict[str, dict[str, list[float]]]) -> str:
    """Say what the table shows, gains and losses alike."""
    mean = {cell: {method: float(np.mean(values)) for method, values in row.items()} for cell, row in rows.items()}
    solvers = {cell: max(row[solver] for solver in SOLVERS) for cell, row in mean.items()}
    lines = []
    for method, coarse, full in FINER:
        rivals = {
            coarse: {cell: row[coarse] for cell, row in mean.items()},
            "the better of UniPC and DPM++ 2M in 14 steps": solvers,
            full: {cell: row[full] for cell, row in mean.items()},
        }
        for rival, theirs in rivals.items():
            gains = {cell: row[method] - theirs[cell] for cell, row in mean.items()}
            lost = [f"{cell} ({gain:+.1f} dB)" for cell, gain in gains.items() if gain <= 0.0]
            text = f"{method} against {rival}: {np.mean(list(gains.values())):+.1f} dB on average, "
            lines.append(f"* {text}" + (f"but not in {'; '.join(lost)}" if lost else "nearer in every column"))
    return "\n".join(f"{line}." for line in lines)


def main() -> None:
    """Measure what is not measured yet, and write the page."""
    kept.main(__doc__, measure, NAMED, page, rows=ROWS, out=Path("docs/fine-grids.md"))


if __name__ == "__main__":
    main()
