"""Draw a picture or a video for every prompt of a file, with any diffusers pipeline, full or accelerated.

A run that was stopped goes on where it was. Processes started by `accelerate launch` share the prompts.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from spectral_forecast.cli.rule import add_rule, rule

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "draw a file of prompts with any diffusers pipeline, full or accelerated"
EXTRA = "diffusers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = "spectral-forecast sample [options] PIPELINE PROMPTS OUT"  # the full list takes ten lines
    add = parser.add_argument
    add("pipeline", metavar="PIPELINE", help="folder of `save_pretrained`, or name on the hub")
    add("prompts", metavar="PROMPTS", type=Path, help="a prompt or class a line; *.jsonl: an object")
    add("out", metavar="OUT", type=Path, help="folder for the results, or one to go on with")
    add("--steps", type=int, metavar="N", help="steps of a run (default: the pipeline's)")
    add("--evaluations", type=int, default=0, metavar="N", help="evaluate so many of them (default 0: the full run)")
    add(
        "--at",
        default="output",
        choices=["output", "features"],
        metavar="WHAT",
        help="forecast output (default) or features",
    )
    add_rule(parser, blend=0.5, mode="free")
    call = parser.add_argument_group("the pipeline's call")
    add = call.add_argument
    add("--guidance", type=float, metavar="X", help="`guidance_scale`, or else `true_cfg_scale`")
    add("--height", type=int, metavar="N", help="in pixels")
    add("--width", type=int, metavar="N", help="in pixels")
    add("--frames", type=int, metavar="N", help="of a video")
    add("--seed", type=int, default=0, metavar="N", help="of the first prompt, then the next (default 0)")
    add("--batch", type=int, default=1, metavar="N", help="prompts a call (default 1)")
    add("--option", action="append", default=[], metavar="NAME=VALUE", help="anything else; may be repeated")
    load = parser.add_argument_group("loading and writing")
    add = load.add_argument
    dtypes = ["float32", "float16", "bfloat16"]
    add("--dtype", choices=dtypes, metavar="NAME", help="default bfloat16, on the CPU float32")
    add("--device", metavar="NAME", help="default: cuda, mps or cpu")
    add("--variant", metavar="NAME", help='which files to load, as in "fp16"')
    add("--mp4", type=int, nargs="?", const=16, metavar="FPS", help="write videos as films too (16 a second)")


def run(options: argparse.Namespace) -> int:
    """Draw, and say what was drawn; 1 where a prompt has failed."""
    chosen = _options(options.option)
    forecaster = rule(options)
    from spectral_forecast.adapters.diffusers.sampling import Job, sample

    if not sys.stderr.isatty():
        _hide_loading_bars()
    words = ("steps", "evaluations", "at", "guidance", "seed", "dtype", "device", "batch", "height", "width")
    more = {word: getattr(options, word) for word in (*words, "frames", "variant", "mp4")}
    job = Job(options.pipeline, options.prompts, options.out, forecaster=forecaster, options=chosen, **more)
    outcome = sample(job)
    who = f"process {outcome.process} of {outcome.processes}: " if outcome.processes > 1 else ""
    counts = f"{len(outcome.drawn)} drawn, {len(outcome.there)} were there, {len(outcome.failed)} failed"
    print(f"{who}{counts}; {options.out}", flush=True)
    for name, error in outcome.failed.items():
        print(f"spectral-forecast sample: {name} failed: {error}", file=sys.stderr)
    return 1 if outcome.failed else 0


def _options(words: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE; a value is JSON where it can be, else text."""
    chosen: dict[str, Any] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name.isidentifier():
            raise ValueError(f"`--option` is {word!r}; write NAME=VALUE, as in `--option max_sequence_length=256`.")
        try:
            chosen[name] = json.loads(value)
        except json.JSONDecodeError:
            chosen[name] = value
    return chosen


def _hide_loading_bars() -> None:
    """Loading has bars of its own, which do not vanish in a pipe."""
    for package in ("diffusers", "transformers"):
        importlib.import_module(f"{package}.utils.logging").disable_progress_bar()
