"""Draw a picture or video for every prompt of a file, full or accelerated.

A run that was stopped goes on; those of `accelerate launch` share the prompts.
"""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from spectral_forecast.cli.call import add_at, add_call, add_loading, add_source, of_job, quiet
from spectral_forecast.cli.output import Output, add_json, complain
from spectral_forecast.cli.rule import add_rule, rule
from spectral_forecast.forecasters import LinearRule, Profile

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "draw a file of prompts with any diffusers pipeline, full or accelerated"
EXTRA = "diffusers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = "spectral-forecast sample [options] PIPELINE PROMPTS OUT"  # the full list takes ten lines
    add_source(parser)
    add = parser.add_argument
    add("out", metavar="OUT", type=Path, help="folder for the results, or one to go on with")
    add("--steps", type=int, metavar="N", help="steps of a run (default: the pipeline's)")
    add("--evaluations", type=int, default=0, metavar="N", help="evaluate so many of them (default 0: the full run)")
    add("--tolerance", metavar="X", help='or as many as this error takes: 0.03, "30 dB"')
    add("--calibration", type=Path, metavar="FILE", help="what tolerances are worth, from `calibrate`")
    add("--grid", type=int, metavar="N", help="forecast on a grid of so many steps")
    add_at(parser)
    group = add_rule(parser, name=None, blend=0.5, mode="free")
    group.add_argument("--profile", metavar="NAME", help="the rule and the schedule of a profile, by name or path")
    add_json(parser)
    add_call(parser)
    load = parser.add_argument_group("loading and writing")
    add_loading(load)
    load.add_argument(
        "--mp4", type=int, nargs="?", const=16, metavar="FPS", help="write videos as films too (16 a second)"
    )


def run(options: argparse.Namespace) -> int:
    """Draw, and say what was drawn; 1 where a prompt has failed."""
    said, forecaster, output = of_job(options), _forecaster(options), Output(options)
    from spectral_forecast.adapters.diffusers.calibrating import load_calibration
    from spectral_forecast.adapters.diffusers.sampling import Job, sample

    quiet()
    more = {word: getattr(options, word) for word in ("evaluations", "grid", "mp4", "out")}
    more["tolerance"] = _tolerance(options.tolerance)
    job = Job(**said, **more, forecaster=forecaster)
    if options.calibration is not None:
        job = replace(job, calibration=load_calibration(options.calibration, job))
    outcome = sample(job)
    who = f"process {outcome.process} of {outcome.processes}: " if outcome.processes > 1 else ""
    counts = f"{len(outcome.drawn)} drawn, {len(outcome.there)} were there, {len(outcome.failed)} failed"
    output.say(f"{who}{counts}; {options.out}")
    complain("sample", outcome.failed)
    output.emit({"out": str(options.out)} | asdict(outcome))
    return 1 if outcome.failed else 0


def _tolerance(text: str | None) -> float | str | None:
    """A number, or a text with its unit."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _forecaster(options: argparse.Namespace) -> LinearRule | None:
    if options.profile is None:
        return rule(options)
    if not options.evaluations:
        raise ValueError("`--profile` goes with `--evaluations`; write how many steps to evaluate.")
    return Profile.load(options.profile)
