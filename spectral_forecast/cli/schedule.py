"""The options that name a schedule and a rule; `plan` and `bounds` share them."""

import argparse
import re

import numpy as np

from spectral_forecast import schedules
from spectral_forecast.cli.rule import add_rule, named
from spectral_forecast.plan import Plan, make_plan

__all__ = ["add_planned", "planned"]


def add_planned(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--steps", type=int, metavar="N", default=50, help="steps of the run (default 50)")
    add = parser.add_argument_group("schedule: growing, unless one of the first three is given").add_argument
    add("--evaluations", type=int, metavar="N", help="as many evaluations as this")
    add("--interval", type=int, metavar="N", help="evaluate every so many steps")
    add("--evaluate", metavar="STEPS", help='evaluate these steps, as in "0-4,6,11"')
    add("--window", type=float, metavar="X", default=2.0, help="first distance between evaluations (default 2)")
    add("--growth", type=float, metavar="X", default=0.75, help="what each evaluation adds to it (default 0.75)")
    add("--warmup", type=int, metavar="N", default=5, help="first steps evaluated (default 5)")
    add("--tail", type=int, metavar="N", default=0, help="last steps evaluated (default 0)")
    add("--max-skip", type=int, metavar="N", help="most forecasts in a row (default: no limit)")
    group = add_rule(parser, name="spectrum", blend=1.0, mode="paper")
    group.add_argument("--keep", type=int, metavar="N", help="hold at most so many features (default: all in use)")


def planned(options: argparse.Namespace) -> tuple[Plan, np.ndarray, tuple[float, float]]:
    """Return the plan that the options ask for, its clock and the clock's span."""
    clock, span = np.arange(options.steps, dtype=np.float64), (0.0, float(options.steps))
    return make_plan(named(options), clock, _mask(options), span=span, keep=options.keep), clock, span


def _mask(options: argparse.Namespace) -> schedules.Mask:
    """The mask that the options ask for."""
    limits = {"warmup": options.warmup, "tail": options.tail, "max_skip": options.max_skip}
    given = [name for name in ("evaluations", "interval", "evaluate") if getattr(options, name) is not None]
    if len(given) > 1:
        raise ValueError(f"`--{given[0]}` and `--{given[1]}` are two schedules; write one.")
    if options.evaluations is not None:
        chosen = schedules.budget(options.steps, options.evaluations, window=options.window, warmup=options.warmup)
        return schedules.mask(options.steps, chosen, tail=options.tail, max_skip=options.max_skip)
    if options.interval is not None:
        return schedules.every(options.steps, options.interval, **limits)
    if options.evaluate is not None:
        return schedules.mask(options.steps, _numbers(options.evaluate), tail=options.tail, max_skip=options.max_skip)
    return schedules.growing(options.steps, options.window, options.growth, **limits)


def _numbers(text: str) -> list[int]:
    """Read "0-4,6" as [0, 1, 2, 3, 4, 6]: the inverse of `schedules.steps`."""
    numbers: list[int] = []
    for word in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", word)
        if ends is None:
            raise ValueError(f'`--evaluate` holds {word!r}; write steps and ranges, as in "0-4,6,11".')
        numbers += range(int(ends[1]), int(ends[2] or ends[1]) + 1)
    return numbers
