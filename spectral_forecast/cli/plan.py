"""Print a run's plan as a table, write it as JSON, or draw it."""

import argparse
import re
from pathlib import Path

import numpy as np

from spectral_forecast import bounds, schedules
from spectral_forecast.cli.rule import add_rule, named
from spectral_forecast.plan import make_plan

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "print a plan as a table, or draw it"
EXTRA = "plot"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--steps", type=int, default=50, help="steps of the run (default 50)")
    schedule = parser.add_argument_group("schedule: growing, unless one of the first three is given")
    schedule.add_argument("--evaluations", type=int, help="as many evaluations as this")
    schedule.add_argument("--interval", type=int, help="evaluate every so many steps")
    schedule.add_argument("--evaluate", help='evaluate these steps, as in "0-4,6,11"')
    schedule.add_argument("--window", type=float, default=2.0, help="first distance between evaluations (default 2)")
    schedule.add_argument("--growth", type=float, default=0.75, help="what each evaluation adds to it (default 0.75)")
    schedule.add_argument("--warmup", type=int, default=5, help="first steps evaluated (default 5)")
    schedule.add_argument("--tail", type=int, default=0, help="last steps evaluated (default 0)")
    schedule.add_argument("--max-skip", type=int, help="most forecasts in a row (default: no limit)")
    group = add_rule(parser, name="spectrum", blend=1.0, mode="paper")
    group.add_argument("--keep", type=int, help="hold at most so many features (default all)")
    parser.add_argument("--rho", type=float, default=2.0, help="ellipse of the worst case (default 2)")
    parser.add_argument("--json", type=Path, help="write the plan to this file")
    parser.add_argument("--plot", type=Path, nargs="?", const=Path("plan.png"), help="draw it (default plan.png)")


def run(options: argparse.Namespace) -> int:
    """Print the plan, and write what is asked for."""
    forecaster = named(options)
    clock = np.arange(options.steps, dtype=np.float64)
    span = (0.0, float(options.steps))
    plan = make_plan(forecaster, clock, _schedule(options), span=span, keep=options.keep)
    print(f"forecaster: {forecaster!r}")
    print(plan)
    if not plan.evaluate.all():
        beta = bounds.of_plan(plan, clock, span=span, rho=options.rho)
        step = int(np.nanargmax(beta))
        print(
            f"\nworst case: {beta[step]:.4g} times the feature's bound in the ellipse rho = {options.rho:g}, ", end=""
        )
        print(f"at step {step}")
    if options.json:
        options.json.write_text(plan.to_json() + "\n")
        print(f"wrote {options.json}")
    if options.plot:
        from spectral_forecast.plot import plot_plan

        plot_plan(plan, title=f"{forecaster!r}: {plan.evaluations} of {plan.steps} steps evaluated", path=options.plot)
        print(f"wrote {options.plot}")
    return 0


def _schedule(options: argparse.Namespace) -> schedules.Mask:
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
