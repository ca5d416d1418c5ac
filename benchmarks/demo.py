"""The main job, seen at once: sixteen digits by a real trained transformer, with 50, 16, 14 and 10 evaluations.

``spectral-forecast demo`` or ``make demo``. Every sampler starts from the same noise and is judged by its samples,
against those of the full run.
"""

import json
import statistics
import time
from dataclasses import dataclass, field
from operator import truediv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from spectral_forecast import (
    Corrector,
    LinearForecaster,
    Plan,
    TaylorSeer,
    bounds,
    make_plan,
    metrics,
    schedules,
    spectrum,
)
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.benchmarks import digits
from spectral_forecast.benchmarks.tables import markdown
from spectral_forecast.plot import plot_errors, plot_samples

__all__ = ["run"]

STEPS = 50
COUNT = 16
SPAN = (0.0, float(STEPS))
RHO = 2.0


@dataclass
class Method:
    """One row of the table: a sampler, and what was measured of it."""

    name: str
    steps: int = STEPS
    scheduler: str = "euler"
    plan: Plan | None = None
    default: int = 0  # evaluations of `accelerate(pipe, evaluations=...)`, with everything as it is by default
    corrected: bool = True  # the default with its corrector
    at: str = "features"
    seconds: list[float] = field(default_factory=list)
    samples: Any = None
    latents: list[Any] = field(default_factory=list)  # after each step
    evaluated: NDArray[np.bool_] = field(default_factory=lambda: np.ones(STEPS, dtype=bool))
    evaluations: int = 0


def methods() -> list[Method]:
    """List the full run, the published methods with their schedules, ours, and plain samplers with fewer steps."""
    slow, fast = schedules.growing(STEPS), schedules.growing(STEPS, 2, 3.0)
    seer = schedules.every(STEPS, 4, warmup=5)
    rows = [
        ("Spectrum, w = 1", spectrum(1.0), slow, "features"),
        ("Spectrum, w = 0.5", spectrum(0.5), slow, "features"),
        ("Spectrum, w = 1", spectrum(1.0), fast, "features"),
        ("Spectrum, w = 0.5", spectrum(0.5), fast, "features"),
        ("TaylorSeer, order 2", TaylorSeer(2), seer, "features"),
        ("Spectrum, w = 1, on outputs", spectrum(1.0), slow, "output"),
        ("Spectrum, w = 0.5, on outputs", spectrum(0.5), slow, "output"),
        ("free low degrees, w = 0.5", spectrum(0.5, mode="free"), slow, "features"),
        ("free low degrees, w = 0.5, on outputs", spectrum(0.5, mode="free"), slow, "output"),
        ("the same, even steps", spectrum(0.5, mode="free"), schedules.even(STEPS, 14), "output"),
    ]
    return [
        Method("full run: Euler"),
        *(Method(name, plan=_plan(rule, evaluate), at=at) for name, rule, evaluate, at in rows),
        Method("our default without the corrector", default=14, corrected=False, at="output"),
        *(Method("our default", default=count, at="output") for count in (14, 10, 8)),
        Method("Euler, fewer steps", steps=14),
        Method("UniPC, fewer steps", steps=14, scheduler="unipc"),
    ]


def run(out: Path, *, guidance: float = 2.0, seed: int = 0, repeats: int = 3) -> str:
    """Sample with every method, write pictures and report to ``out``, and return the report's table.

    Parameters
    ----------
    out : Path
        Folder, made if it is missing.
    guidance : float
        Classifier-free guidance scale; above 1 the network runs twice a step.
    seed : int
        Of the starting noise.
    repeats : int
        How often each method runs, in rounds; the measured speed-up is the median of the rounds' ratios.
    """
    if repeats < 1:
        raise ValueError(f"`repeats` is {repeats}; write 1 or more.")
    out.mkdir(parents=True, exist_ok=True)
    network = digits.transformer()
    rows = methods()
    _sample(network, Method("warm-up", steps=2), guidance, seed)
    with tqdm(total=repeats * len(rows), desc="sampling", unit="run", disable=None) as bar:
        for _ in range(repeats):
            for row in rows:
                bar.set_postfix_str(row.name)
                _sample(network, row, guidance, seed)
                bar.update()
    table = _table(rows)
    _draw_samples(rows, out / "samples.png")
    _draw_errors(rows, out / "error_by_step.png")
    (out / "report.md").write_text(_report(rows, table, guidance, seed, repeats))
    (out / "report.json").write_text(json.dumps([_numbers(row, rows[0]) for row in rows], indent=1) + "\n")
    return f"{table}\n\nwrote {out / 'samples.png'}, {out / 'error_by_step.png'} and {out / 'report.md'}"


def _plan(rule: LinearForecaster, evaluate: NDArray[np.bool_]) -> Plan:
    return make_plan(rule, np.arange(STEPS), evaluate, span=SPAN)


def _sample(network: torch.nn.Module, row: Method, guidance: float, seed: int) -> None:
    """Run one method once; samples and evaluations are those of the last run, times are gathered."""
    pipe = digits.pipeline(network, scheduler=row.scheduler)
    if row.plan is not None:
        accelerate(pipe, row.plan, at=row.at)
    elif row.default:
        accelerate(pipe, evaluations=row.default, corrector=Corrector() if row.corrected else None)
    row.latents = []
    try:
        start = time.perf_counter()
        row.samples = digits.sample(
            pipe,
            np.arange(COUNT) % digits.CLASSES,
            steps=row.steps,
            guidance=guidance,
            seed=seed,
            after_step=row.latents.append,
        )
        row.seconds.append(time.perf_counter() - start)
        row.evaluations = row.steps
        if row.plan is not None or row.default:
            told = report(pipe)
            row.evaluations = told.evaluations
            row.evaluated = schedules.mask(STEPS, told.evaluated["cond"])
    finally:
        restore(pipe)


def _table(rows: list[Method]) -> str:
    """The comparison, as a Markdown table."""
    header = ["method", "evaluations", "speed-up, theory", "measured", "PSNR / dB", "relative error", "β, largest"]
    formats = ["", "d", ".2f", ".2f", ".1f", ".4f", ".2f"]
    lines = [header]
    for row in rows:
        numbers = _numbers(row, rows[0]).values()
        words = ["–" if x is None else format(x, how) for x, how in zip(numbers, formats, strict=True)]
        lines.append([*words[:2], *(f"{word}×" for word in words[2:4]), *words[4:]])
    return markdown(lines)


def _numbers(row: Method, full: Method) -> dict[str, Any]:
    """What was measured of a row against the full run; None where there is nothing to measure."""
    clipped = [torch.clamp(item.samples, -1.0, 1.0) for item in (row, full)]
    return {
        "method": row.name,
        "evaluations": row.evaluations,
        "speedup_theory": STEPS / row.evaluations,
        "speedup": statistics.median(map(truediv, full.seconds, row.seconds)),
        "psnr": None if row is full else float(metrics.psnr(*clipped, data_range=2.0)),
        "relative_error": None if row is full else float(metrics.relative_error(row.samples, full.samples)),
        "beta": None if row.plan is None else _largest_bound(row.plan),
    }


def _largest_bound(plan: Plan) -> float:
    """The largest worst case over the plan's forecasts, for a feature bounded by 1 in the ellipse."""
    return float(np.nanmax(bounds.of_plan(plan, np.arange(STEPS), span=SPAN, rho=RHO)))


def _draw_samples(rows: list[Method], path: Path) -> None:
    """One row of digits for each method."""
    strips = {}
    for row in rows:
        quality = "" if row is rows[0] else f", {_numbers(row, rows[0])['psnr']:.1f} dB"
        strips[f"{row.name}\n{row.evaluations} evaluations{quality}"] = row.samples
    plot_samples(strips, path=path)


def _draw_errors(rows: list[Method], path: Path) -> None:
    """How far each method's noisy sample is from the full run's after each step."""
    full, errors = rows[0].latents, {}
    names = {f"{row.name} ({row.evaluations})": row for row in rows[1:]}
    for name, row in names.items():
        if row.steps == STEPS:
            pairs = zip(row.latents, full, strict=True)
            errors[name] = [metrics.relative_error(mine, theirs) for mine, theirs in pairs]
        else:  # its steps are not those of the full run
            errors[name] = [np.nan] * (STEPS - 1) + [metrics.relative_error(row.latents[-1], full[-1])]
    plot_errors(
        errors,
        evaluated={name: row.evaluated for name, row in names.items() if row.steps == STEPS},
        styles={name: "--" for name, row in names.items() if row.at == "output"},
        quantity="relative error of the sample against the full run",
        title="solid: last-block features are forecast; dashed: outputs; diamonds: fewer steps, no forecasts",
        path=path,
    )


def _report(rows: list[Method], table: str, guidance: float, seed: int, repeats: int) -> str:
    """The report in Markdown."""
    model, accuracy = digits.classifier()
    expected = np.arange(COUNT) % digits.CLASSES
    read = int((model.predict(rows[0].samples.reshape(COUNT, -1).numpy()) == expected).sum())
    plans = {schedules.steps(row.plan.evaluate): row.evaluations for row in rows if row.plan is not None}
    schedule_lines = "\n".join(f"- {count}: {words}" for words, count in plans.items())
    return f"""# Sixteen digits, full and accelerated

A class-conditional FLUX transformer, trained on scikit-learn's handwritten digits, in a `FluxPipeline` with
`FlowMatchEulerDiscreteScheduler` (shift {digits.SHIFT:g}), {STEPS} steps, guidance {guidance:g}, seed {seed}.
Everything is compared with the full run, at the sample.

{table}

- "Spectrum" and "TaylorSeer" are the published rules with the published schedules, on last-block features; "free low
  degrees" is Spectrum's with the constant and the linear coefficient spared from the ridge; "even steps" evaluates the
  first two and the last two and spreads the rest evenly. "Our default" is `accelerate(pipe, evaluations=...)`: linear
  extrapolation of outputs over the sampler's noise levels, guarded, the schedule balanced over them, skipped steps
  corrected on arrival.
- Evaluations are counted per guidance branch. Speed-up in theory is {STEPS} / evaluations; measured, the median over
  {repeats} rounds of the ratio of whole pipeline calls. A network this small leaves the pipeline's own work visible.
- PSNR: over all pixels of the clipped images, data range 2. Relative error: 2-norm, not clipped.
- β: the exact worst case of the plan's forecasts (`bounds.worst_case`), the largest over the skipped steps, in units
  of B, over all features whose Chebyshev coefficients obey |c_0| ≤ B and |c_m| ≤ 2Bρ^-m with ρ = {RHO:g}; among them
  are all that are analytic and bounded by B in that Bernstein ellipse. Forecasting 0 would have β of up to 3.
- A classifier that reads {100 * accuracy:.1f} % of held-out handwritten digits correctly reads {read} of the {COUNT}
  digits of the full run.

![samples](samples.png)

![error by step](error_by_step.png)

Evaluated steps:

{schedule_lines}
"""
