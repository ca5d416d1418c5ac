"""The options that name a forecaster; `plan` and `sample` share them."""

import argparse
from collections.abc import Callable

from spectral_forecast.forecasters import Chebyshev, LinearRule, Newton, Reuse, TaylorSeer, spectrum

__all__ = ["add_rule", "named", "rule"]

_RULES: dict[str, Callable[[argparse.Namespace], LinearRule]] = {
    "spectrum": lambda o: spectrum(o.blend, mode=o.mode, degree=o.degree, ridge=o.ridge),
    "chebyshev": lambda o: Chebyshev(o.degree, o.ridge, o.free),
    "newton": lambda o: Newton(o.order),
    "taylorseer": lambda o: TaylorSeer(o.order),
    "reuse": lambda _: Reuse(),
}


def add_rule(parser: argparse.ArgumentParser, *, name: str | None, blend: float, mode: str) -> argparse._ArgumentGroup:
    """Declare the options, with the command's own defaults, and those for `spectrum`; return their group."""
    group = parser.add_argument_group("forecaster")
    group.add_argument(
        "--forecaster", default=name, choices=sorted(_RULES), metavar="NAME", help=", ".join(sorted(_RULES))
    )
    group.add_argument(
        "--blend", type=float, metavar="X", default=blend, help=f"spectrum: share of Chebyshev (default {blend:g})"
    )
    group.add_argument(
        "--mode",
        default=mode,
        choices=["paper", "free"],
        metavar="NAME",
        help=f"spectrum: paper or free ridge (default {mode})",
    )
    group.add_argument("--degree", type=int, metavar="N", default=4, help="spectrum, chebyshev (default 4)")
    group.add_argument("--ridge", type=float, metavar="X", default=0.1, help="spectrum, chebyshev (default 0.1)")
    group.add_argument(
        "--free", type=int, metavar="N", default=0, help="chebyshev: low degrees without penalty (default 0)"
    )
    group.add_argument("--order", type=int, metavar="N", default=1, help="newton, taylorseer (default 1)")
    options = ("blend", "mode", "degree", "ridge", "free", "order")
    parser.set_defaults(of_rule={option: parser.get_default(option) for option in options})
    return group


def named(options: argparse.Namespace) -> LinearRule:
    """Return the forecaster that the options name."""
    return _RULES[options.forecaster](options)


def rule(options: argparse.Namespace) -> LinearRule | None:
    """Return the forecaster that the options name; None where they name none."""
    if options.forecaster is not None:
        return named(options)
    for name, default in options.of_rule.items():
        if getattr(options, name) != default:
            raise ValueError(f"`--{name}` goes with `--forecaster`; write that, too: {', '.join(sorted(_RULES))}.")
    return None
