"""Print a run's plan as a table, write it as JSON, or draw it."""

import argparse
from pathlib import Path

import numpy as np

from spectral_forecast import bounds
from spectral_forecast.cli.output import Output, add_json
from spectral_forecast.cli.rule import named
from spectral_forecast.cli.schedule import add_planned, planned

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "print a plan as a table, or draw it"
EXTRA = "plot"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = "spectral-forecast plan [options]"
    add_planned(parser)
    parser.add_argument("--rho", type=float, metavar="X", default=2.0, help="ellipse of the worst case (default 2)")
    add_json(parser)
    parser.add_argument(
        "--plot", type=Path, nargs="?", const=Path("plan.png"), metavar="FILE", help="draw it (default plan.png)"
    )


def run(options: argparse.Namespace) -> int:
    """Print the plan, and write what is asked for."""
    forecaster, output = named(options), Output(options)
    plan, clock, span = planned(options)
    output.say(f"forecaster: {forecaster!r}")
    output.say(plan)
    if not plan.evaluate.all():
        beta = bounds.of_plan(plan, clock, span=span, rho=options.rho)
        step = int(np.nanargmax(beta))
        output.say(
            f"\nworst case: {beta[step]:.4g} times the feature's bound in the ellipse rho = {options.rho:g}, "
            f"at step {step}"
        )
    output.emit(plan.to_json())
    if options.plot:
        from spectral_forecast.plot import plot_plan

        plot_plan(plan, title=f"{forecaster!r}: {plan.evaluations} of {plan.steps} steps evaluated", path=options.plot)
        output.say(f"wrote {options.plot}")
    return 0
