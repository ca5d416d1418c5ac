"""The command line: ``spectral-forecast plan`` prints a run's plan, ``spectral-forecast demo`` shows one at work."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from spectral_forecast import bounds, schedules
from spectral_forecast.forecasters import Chebyshev, LinearRule, Newton, Reuse, TaylorSeer, spectrum
from spectral_forecast.plan import make_plan

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 2 where the arguments make no sense, 1 where a package is missing."""
    parser = argparse.ArgumentParser(prog="spectral-forecast", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_plan(commands.add_parser("plan", help="print a plan as a table, or draw it"))
    _add_demo(commands.add_parser("demo", help="sample digits with a small trained transformer, full and accelerated"))
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except (ValueError, TypeError) as error:
        print(f"spectral-forecast {options.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        extra = "plot" if error.name == "matplotlib" else "demo"
        print(
            f"spectral-forecast {options.command}: {error.name} is not installed; "
            f"write `pip install 'spectral-forecast[{extra}]'`.",
            file=sys.stderr,
        )
        return 1


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_plan)
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
    rule = parser.add_argument_group("forecaster")
    rule.add_argument("--forecaster", default="spectrum", choices=sorted(_RULES), help="default spectrum")
    rule.add_argument("--blend", type=float, default=1.0, help="spectrum: share of Chebyshev (default 1)")
    rule.add_argument("--mode", default="paper", choices=["paper", "free"], help="spectrum: what the ridge penalises")
    rule.add_argument("--degree", type=int, default=4, help="spectrum, chebyshev (default 4)")
    rule.add_argument("--ridge", type=float, default=0.1, help="spectrum, chebyshev (default 0.1)")
    rule.add_argument("--free", type=int, default=0, help="chebyshev: low degrees without penalty (default 0)")
    rule.add_argument("--order", type=int, default=1, help="newton, taylorseer (default 1)")
    rule.add_argument("--keep", type=int, help="hold at most so many features (default all)")
    parser.add_argument("--rho", type=float, default=2.0, help="ellipse of the worst case (default 2)")
    parser.add_argument("--json", type=Path, help="write the plan to this file")
    parser.add_argument("--plot", type=Path, nargs="?", const=Path("plan.png"), help="draw it (default plan.png)")


_RULES: dict[str, Callable[[argparse.Namespace], LinearRule]] = {
    "spectrum": lambda o: spectrum(o.blend, mode=o.mode, degree=o.degree, ridge=o.ridge),
    "chebyshev": lambda o: Chebyshev(o.degree, o.ridge, o.free),
    "newton": lambda o: Newton(o.order),
    "taylorseer": lambda o: TaylorSeer(o.order),
    "reuse": lambda _: Reuse(),
}


def _plan(options: argparse.Namespace) -> int:
    rule: LinearRule = _RULES[options.forecaster](options)
    clock = np.arange(options.steps, dtype=np.float64)
    span = (0.0, float(options.steps))
    plan = make_plan(rule, clock, _schedule(options), span=span, keep=options.keep)
    print(f"forecaster: {rule!r}")
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

        plot_plan(plan, title=f"{rule!r}: {plan.evaluations} of {plan.steps} steps evaluated", path=options.plot)
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


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_demo)
    parser.add_argument("--backend", default="torch", choices=["torch", "jax"], help="what samples (default torch)")
    parser.add_argument("--out", type=Path, help="folder for pictures and report (default out/demo or out/demo_jax)")
    parser.add_argument("--guidance", type=float, default=2.0, help="classifier-free guidance (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the starting noise (default 0)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each method, for the times (default 3)")


def _demo(options: argparse.Namespace) -> int:
    if options.backend == "jax":
        from spectral_forecast.benchmarks import demo_jax as demo
    else:
        from spectral_forecast.benchmarks import demo
    out = options.out or Path("out/demo_jax" if options.backend == "jax" else "out/demo")
    print(demo.run(out, guidance=options.guidance, seed=options.seed, repeats=options.repeats))
    return 0
