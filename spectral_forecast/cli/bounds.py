"""Print how wrong each forecast of a plan can be, exactly, before anything is run.

The worst case of a forecast is over all features that are analytic in the ellipse rho around the run's clock on
[-1, 1], in units of their bound there (2-norm); the larger rho, the smoother. Forecasting 0 has 1 + 2 / (rho - 1).
"""

import argparse

import numpy as np

from spectral_forecast import bounds
from spectral_forecast.benchmarks.tables import markdown
from spectral_forecast.cli.output import Output, add_json
from spectral_forecast.cli.rule import named
from spectral_forecast.cli.schedule import add_planned, planned

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "print how wrong each forecast of a plan can be"
EXTRA = "plot"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = "spectral-forecast bounds [options]"
    add_planned(parser)
    parser.add_argument(
        "--rho", type=float, nargs="+", metavar="X", default=[1.5, 2.0, 3.0], help="ellipses (default 1.5 2 3)"
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print a row for each forecast."""
    forecaster, output = named(options), Output(options)
    plan, clock, span = planned(options)
    columns = {rho: bounds.of_plan(plan, clock, span=span, rho=rho) for rho in options.rho}
    sums = np.abs(plan.weights).sum(axis=1)
    skipped = np.flatnonzero(~plan.evaluate).tolist()
    output.say(f"forecaster: {forecaster!r}, {plan.evaluations} of {plan.steps} steps evaluated\n")
    lines = [["step", "sum of |w|", *(f"rho = {rho:g}" for rho in columns)]]
    lines += [[str(step), f"{sums[step]:.3g}", *(f"{beta[step]:.4g}" for beta in columns.values())] for step in skipped]
    if skipped:
        lines.append(
            ["largest", f"{sums[skipped].max():.3g}", *(f"{np.nanmax(beta):.4g}" for beta in columns.values())]
        )
    output.say(markdown(lines))
    output.emit(
        {
            "forecaster": repr(forecaster),
            "evaluate": plan.evaluate.tolist(),
            "forecasts": skipped,
            "weights_abs_sum": sums[skipped].tolist(),
            "worst_case": {f"{rho:g}": beta[skipped].tolist() for rho, beta in columns.items()},
        }
    )
    return 0
