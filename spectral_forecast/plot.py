"""What does a plan look like? Needs the extra ``plot``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spectral_forecast import schedules
from spectral_forecast.plan import Plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_plan"]


def plot_plan(plan: Plan, *, title: str = "", path: str | Path | None = None) -> "Figure":
    """Draw a plan: its evaluated steps, the weight of each kept feature by step, and the weights' sums.

    Parameters
    ----------
    plan : Plan
    title : str
        Written above the picture; by default how many steps are evaluated.
    path : str or Path, optional
        Where to save the picture, in the format of its ending.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    steps = np.arange(plan.steps)
    evaluated, skipped = steps[plan.evaluate], steps[~plan.evaluate]
    table = np.full((evaluated.size, plan.steps), np.nan)
    for step in skipped:
        nodes = plan.nodes(int(step))
        for row in np.flatnonzero(plan.weights[step]):
            table[np.searchsorted(evaluated, nodes[row]), step] = plan.weights[step, row]

    figure = Figure(figsize=(10, 7.5), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=[0.5, 3, 1.6])
    figure.suptitle(title or f"{plan.evaluations} of {plan.steps} steps evaluated")
    top.bar(steps, 1.0, width=0.9, color=np.where(plan.evaluate, "tab:blue", "lightgrey"))
    top.set_yticks([])
    top.set_title("blue: the network runs; grey: forecast", fontsize="medium")
    limit = np.nanmax(np.abs(table), initial=1.0, where=np.isfinite(table))
    image = middle.pcolormesh(
        np.arange(plan.steps + 1) - 0.5,
        np.arange(evaluated.size + 1) - 0.5,
        table,
        cmap="RdBu_r",
        norm=_symmetric(limit),
    )
    middle.set_yticks(np.arange(evaluated.size), labels=[str(step) for step in evaluated], fontsize="small")
    middle.set_ylabel("kept at step")
    figure.colorbar(image, ax=middle, label="weight in the forecast")
    sums = plan.weights[skipped]
    bottom.plot(skipped, np.abs(sums).sum(axis=1), "o-", ms=3, color="tab:red", label="sum of |w|: gain of noise")
    bottom.plot(skipped, sums.sum(axis=1), "o-", ms=3, color="black", label="sum of w: 1 keeps constants")
    bottom.axhline(1.0, lw=0.8, ls=":", color="grey")
    bottom.set_xlabel(f"step (evaluated: {schedules.steps(plan.evaluate)})")
    bottom.legend(frameon=False)
    bottom.set_ylim(bottom=0.0)
    if path is not None:
        figure.savefig(path, dpi=130)
    return figure


def _symmetric(limit: float) -> Any:
    """Colours that are linear up to a weight of 1 and logarithmic above, where extrapolation has large weights."""
    from matplotlib.colors import Normalize, SymLogNorm

    return Normalize(-limit, limit) if limit <= 5.0 else SymLogNorm(1.0, vmin=-limit, vmax=limit)
