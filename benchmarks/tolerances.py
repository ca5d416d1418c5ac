"""How well is a tolerance kept, and how far can the estimated error of a sample be trusted?

Five small trained models, sampled by diffusers' own pipelines through the adapter, against the run in which every step
is evaluated. What was measured is kept in a JSON file; from that file the page is written at once.
"""

import importlib
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.benchmarks import kept, tables

__all__ = ["CELLS", "TOLERANCES", "measure", "page", "within"]

MODELS = ("digits", "photographs", "digits_ddim", "moving_digits", "digits_unet")
CHOSEN_ON = MODELS[:3]
GUIDANCE = (1.0, 2.0, 4.0, 8.0)
TOLERANCES = (0.3, 0.1, 0.03, 0.01)
BUDGETS = (8, 14, 20)
CELLS = [(model, guidance) for model in MODELS for guidance in GUIDANCE]
CLASSES, STEPS, SEED = list(range(6)), 50, 5
MISSED = "**Not for every model:** 90 % within a factor of 3 was the aim, and it is missed.\n"
ROWS = Path(__file__).parent / "results" / "tolerances.json"

Row: TypeAlias = dict[str, Any]


def measure(cell: tuple[str, float]) -> list[Row]:
    """Return, for every tolerance and number of evaluations, the true and the estimated error of the sample."""
    name, guidance = cell
    model = importlib.import_module(f"spectral_forecast.benchmarks.{name}")
    pipe, rows = model.pipeline(), []

    def sample() -> Any:
        return model.sample(pipe, CLASSES, steps=STEPS, guidance=guidance, seed=SEED).flatten(1)

    full = sample()
    asked = [{"tolerance": x} for x in TOLERANCES] + [{"evaluations": x} for x in BUDGETS]
    for options in asked:
        accelerate(pipe, **options)
        missed = (sample() - full).norm(dim=1) / full.norm(dim=1)
        told = report(pipe)
        restore(pipe)
        if told.events:
            raise RuntimeError(f"{cell}, {options}: {told.events}")
        error = float(missed.square().mean().sqrt())
        estimate = 0.0 if told.sample_error is None else told.sample_error
        rows.append({**options, "spent": told.evaluations, "error": round(error, 6), "estimate": round(estimate, 6)})
    return rows


def within(rows: list[Row], factor: float) -> float:
    """Return the share of runs with forecasts whose estimate is within a factor of the true error."""
    pairs = [(row["error"], row["estimate"]) for row in rows if row["spent"] < STEPS]
    return float(np.mean([1.0 / factor <= estimate / error <= factor for error, estimate in pairs]))


def page(measured: dict[str, list[Row]]) -> str:
    """Return the page in Markdown."""
    head = ["model, guidance", *(f"{x:g}" for x in TOLERANCES)]
    reached = [head]
    for name, rows in measured.items():
        reached.append([name, *(f"{row['error']:.4f} ({row['spent']})" for row in rows if "tolerance" in row)])
    by_model = {
        model: [row for name, rows in measured.items() if name.startswith(f"{model},") for row in rows]
        for model in MODELS
    }
    groups = by_model | {
        "chosen on: " + ", ".join(CHOSEN_ON): [row for model in CHOSEN_ON for row in by_model[model]],
        "all": [row for rows in by_model.values() for row in rows],
    }
    trust = [["", "runs", "median of estimate / error", "within 2", "within 3"]]
    for name, rows in groups.items():
        used = [row for row in rows if row["spent"] < STEPS]
        ratio = np.median([row["estimate"] / row["error"] for row in used])
        shares = [f"{within(rows, factor):.0%}" for factor in (2.0, 3.0)]
        trust.append([name, str(len(used)), f"{ratio:.2f}", *shares])
    gated = [row for row in groups["all"] if "tolerance" in row]
    fine = np.mean([row["error"] <= row["tolerance"] for row in gated])
    good = within(groups["all"], 3.0) >= 0.9
    return f"""# Tolerance

Written by `python -m spectral_forecast.benchmarks.tolerances`; do not edit by hand.

`accelerate(pipe, tolerance=0.03)` chooses the steps on the way, from the errors that the run's own evaluations show
(`spectral_forecast.tolerance.Gate`); `report(pipe).sample_error` estimates the relative error of the sample, for runs
with a number of evaluations, too. Both are measured here on {len(CLASSES)} samples of five small models by their own
pipelines in {STEPS} steps: the error is the 2-norm of the difference to the run in which every step is evaluated, over
that of the run, root mean square over the samples.

## Is a tolerance kept?

The true error, and in brackets how many of {STEPS} steps were evaluated:

{tables.markdown(reached)}

The error is within the tolerance in {fine:.0%} of the runs. A tolerance spends more than a number of evaluations with
the same error would: the first steps are taken before anything is known, and the schedule changes on the way.

## Can the estimate be trusted?

Estimated over true error of the sample, runs with a tolerance and with {", ".join(map(str, BUDGETS))} evaluations:

{tables.markdown(trust)}

{"" if good else MISSED}
The estimate adds up what every gap was found to be off by on arrival. It does not know how the sampler's equation
carries an error on: a model whose velocity is steep in the sample makes a small error large, and the estimate is then
too low. Its one constant was chosen on {", ".join(CHOSEN_ON)}, with other samples.
"""


def main() -> None:
    """Measure what is not measured yet, and write the page."""
    cells = {f"{model}, guidance {guidance:g}": (model, guidance) for model, guidance in CELLS}
    kept.main(__doc__, measure, cells, page, rows=ROWS, out=Path("docs/tolerance.md"))


if __name__ == "__main__":
    main()
