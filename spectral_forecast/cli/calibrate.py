"""Learn what tolerances are worth in any diffusers pipeline: how its sampler carries the errors of forecasts on.

Prompts are drawn in full and with tolerances, and their pictures not kept. Processes started by `accelerate launch`
share the runs.
"""

import argparse
from pathlib import Path

from spectral_forecast.cli.call import add_at, add_call, add_loading, add_runs, add_source, of_job, quiet
from spectral_forecast.cli.output import Output, add_json, complain

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "learn what tolerances are worth in a pipeline, which `sample --calibration` uses"
EXTRA = "diffusers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = "spectral-forecast calibrate [options] PIPELINE PROMPTS --out FILE"
    add_source(parser)
    add = parser.add_argument
    add("--out", required=True, type=Path, metavar="FILE", help="where to write it, as JSON")
    add_runs(parser, "file", 8)
    add("--grid", type=int, metavar="N", help="forecast on a grid of so many steps")
    add_at(parser)
    add_json(parser)
    add_call(parser)
    add_loading(parser.add_argument_group("loading"))


def run(options: argparse.Namespace) -> int:
    """Learn, and print what was measured; 1 where a run has failed."""
    said, output = of_job(options), Output(options)
    from spectral_forecast.adapters.diffusers.calibrating import make_calibration
    from spectral_forecast.adapters.diffusers.sampling import Job
    from spectral_forecast.benchmarks.tables import markdown

    quiet()
    job = Job(**said, out=Path(), grid=options.grid)
    outcome = make_calibration(job, options.out, runs=options.runs, replace=options.replace)
    complain("calibrate", {f"run {number}": error for number, error in outcome.failed.items()})
    if outcome.calibration is not None:
        lines = [["tolerance", "evaluations", "estimated error", "calibrated", "true error", "samples"]]
        for one in outcome.trials:
            numbers = (one.estimate, outcome.calibration.error(one.estimate), one.error)
            errors = [f"{100.0 * number:.2g} %" for number in numbers]
            lines.append([f"{100.0 * one.tolerance:.2g} %", str(one.evaluations), *errors, str(one.samples)])
        output.say(markdown(lines))
        output.say(f"\nwrote {options.out}")
        output.emit(
            {
                "path": str(options.out),
                "calibration": outcome.calibration._asdict(),
                "trials": [one._asdict() for one in outcome.trials],
                "failed": outcome.failed,
            }
        )
    return 1 if outcome.failed else 0
