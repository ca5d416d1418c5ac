"""The options that say how a pipeline is loaded and called; `sample` and `profile` share them."""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["add_at", "add_call", "add_loading", "add_runs", "add_source", "of_job", "quiet"]

_WORDS = ("at", "batch", "device", "dtype", "frames", "guidance", "height", "seed", "steps", "variant", "width")


def add_source(parser: argparse.ArgumentParser) -> None:
    """Declare what is drawn with what."""
    parser.add_argument("pipeline", metavar="PIPELINE", help="folder of `save_pretrained`, or name on the hub")
    parser.add_argument("prompts", metavar="PROMPTS", type=Path, help="a prompt or class a line; *.jsonl: an object")


def add_at(parser: argparse.ArgumentParser) -> None:
    """Declare where in the network is forecast."""
    parser.add_argument(
        "--at",
        default="output",
        choices=["output", "features"],
        metavar="WHAT",
        help="forecast output (default) or features",
    )


def add_runs(parser: argparse.ArgumentParser, what: str, count: int) -> None:
    """Declare how many runs something is learnt from, and of how many steps."""
    add = parser.add_argument
    add("--replace", action="store_true", help=f"write over a {what} that is there")
    add("--runs", type=int, default=count, metavar="N", help=f"calls of the pipeline (default {count})")
    add("--steps", type=int, metavar="N", help="steps of a run (default: the pipeline's)")


def add_call(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the pipeline's call."""
    add = parser.add_argument_group("the pipeline's call").add_argument
    add("--guidance", type=float, metavar="X", help="`guidance_scale`, or else `true_cfg_scale`")
    add("--height", type=int, metavar="N", help="in pixels")
    add("--width", type=int, metavar="N", help="in pixels")
    add("--frames", type=int, metavar="N", help="of a video")
    add("--seed", type=int, default=0, metavar="N", help="of the first prompt, then the next (default 0)")
    add("--batch", type=int, default=1, metavar="N", help="prompts a call (default 1)")
    add("--option", action="append", default=[], metavar="NAME=VALUE", help="anything else; may be repeated")


def add_loading(group: argparse._ArgumentGroup) -> None:
    """Declare the options of loading a pipeline."""
    dtypes = ["float32", "float16", "bfloat16"]
    group.add_argument("--dtype", choices=dtypes, metavar="NAME", help="default bfloat16, on the CPU float32")
    group.add_argument("--device", metavar="NAME", help="default: cuda, mps or cpu")
    group.add_argument("--variant", metavar="NAME", help='which files to load, as in "fp16"')


def of_job(options: argparse.Namespace) -> dict[str, Any]:
    """Return what these options say, as a `Job` takes it."""
    chosen: dict[str, Any] = {}
    for word in options.option:
        name, separator, value = word.partition("=")
        if not separator or not name.isidentifier():
            raise ValueError(f"`--option` is {word!r}; write NAME=VALUE, as in `--option max_sequence_length=256`.")
        try:
            chosen[name] = json.loads(value)
        except json.JSONDecodeError:
            chosen[name] = value
    said = {word: getattr(options, word) for word in _WORDS}
    return {"pipeline": options.pipeline, "prompts": options.prompts, "options": chosen} | said


def quiet() -> None:
    """Hide the bars of loading where they go to a pipe, in which they do not vanish."""
    if not sys.stderr.isatty():
        for package in ("diffusers", "transformers"):
            importlib.import_module(f"{package}.utils.logging").disable_progress_bar()
