"""Record a profile of any diffusers pipeline: the best schedule and weights for every number of evaluations.

Prompts are drawn with every step evaluated, and their pictures not kept. Processes started by `accelerate launch` share
the runs.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from spectral_forecast import schedules
from spectral_forecast.cli.call import add_at, add_call, add_loading, add_runs, add_source, of_job, quiet
from spectral_forecast.cli.output import Output, add_json, complain

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "record a profile of any diffusers pipeline, which `sample --profile` uses"
EXTRA = "diffusers"
_SHARES = (0.16, 0.2, 0.28)  # 8, 10 and 14 of 50 steps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = "spectral-forecast profile [options] PIPELINE PROMPTS --out NAME"
    add_source(parser)
    add = parser.add_argument
    add("--out", required=True, metavar="NAME", help="name of the profile; or a path, with a slash or an ending")
    add_runs(parser, "profile", 16)
    add_at(parser)
    add("--ridge", type=float, default=1e-4, metavar="X", help="penalty of the weights (default 0.0001)")
    add("--predict", type=int, nargs="+", metavar="N", help="evaluations to predict (default 16, 20 and 28 %% of all)")
    add_json(parser)
    add_call(parser)
    add_loading(parser.add_argument_group("loading"))


def run(options: argparse.Namespace) -> int:
    """Record, and print what the profile predicts; 1 where a run has failed."""
    said, output = of_job(options), Output(options)
    from spectral_forecast.adapters.diffusers.profiling import make_profile, predictions
    from spectral_forecast.adapters.diffusers.sampling import Job
    from spectral_forecast.benchmarks.tables import markdown

    quiet()
    job = Job(**said, out=Path())
    outcome = make_profile(job, options.out, runs=options.runs, ridge=options.ridge, replace=options.replace)
    complain("profile", {f"run {number}": error for number, error in outcome.failed.items()})
    if outcome.profile is not None:
        told, count = outcome.profile.settings, outcome.profile.times.size
        output.say(f"{told['runs']} runs of {count} steps: {told['at']} of {told['network']}, {told['scheduler']}\n")
        lines = [["evaluations", "schedule", "predicted error"]]
        expected = predictions(outcome.profile, options.predict or sorted({round(s * count) or 1 for s in _SHARES}))
        for item in expected:
            error = "–" if item.error is None else f"{100 * item.error:.2f} %"
            lines.append([str(item.evaluations), schedules.steps(item.evaluate), error])
        output.say(markdown(lines))
        output.say(f"\nwrote {outcome.path}")
        output.emit(
            {
                "path": str(outcome.path),
                "settings": told,
                "steps": count,
                "predictions": [asdict(item) | {"evaluate": item.evaluate.tolist()} for item in expected],
                "failed": outcome.failed,
            }
        )
    return 1 if outcome.failed else 0
