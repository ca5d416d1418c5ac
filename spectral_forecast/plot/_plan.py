"""What does a plan look like, and what does a schedule cost?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from spectral_forecast import schedules
from spectral_forecast.plan import Plan
from spectral_forecast.plot._figure import saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_cost", "plot_plan"]


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
    return saved(figure, path)


def plot_cost(
    sigmas: ArrayLike,
    masks: "dict[str, schedules.Mask]",
    *,
    title: str = "",
    path: str | Path | None = None,
    **options: Any,
) -> "Figure":
    """Draw what schedules are predicted to cost the sample: by step, and from each step to the end of the run.

    Parameters
    ----------
    sigmas, options
        As for `spectral_forecast.schedules.predicted_error`.
    masks : dict of ndarray of bool, shape (N,)
        Schedules by name, all for one run.
    title : str
        Written above the picture.
    path : str or Path, optional
        Where to save the picture, in the format of its ending.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    ticks, by_step, to_go = figure.subplots(3, 1, sharex=True, height_ratios=[0.25 * len(masks), 2, 2])
    figure.suptitle(title or "predicted error of the sample")
    for row, (name, evaluate) in enumerate(masks.items()):
        cost = schedules.predicted_error(sigmas, evaluate, **options)
        steps = np.arange(cost.size)
        evaluated = np.flatnonzero(evaluate)
        (line,) = to_go.plot(steps, np.cumsum(cost[::-1])[::-1], lw=1.6)
        line.set_label(f"{name}: {evaluated.size} evaluations, {cost.sum():.3g} in all")
        by_step.plot(steps, cost, "o-", ms=3, lw=0.8, color=line.get_color())
        ticks.plot(evaluated, np.full(evaluated.size, -row), "|", ms=9, mew=2.0, color=line.get_color())
    ticks.set_yticks(-np.arange(len(masks)), labels=list(masks))
    ticks.margins(y=0.4)
    by_step.set_ylabel("of this step")
    to_go.set_ylabel("of all steps from here")
    to_go.set_xlabel("step")
    to_go.legend(frameon=False)
    return saved(figure, path)


def _symmetric(limit: float) -> Any:
    """Colours that are linear up to a weight of 1 and logarithmic above, where extrapolation has large weights."""
    from matplotlib.colors import Normalize, SymLogNorm

    return Normalize(-limit, limit) if limit <= 5.0 else SymLogNorm(1.0, vmin=-limit, vmax=limit)
