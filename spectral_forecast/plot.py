"""What does a plan look like, what does a schedule cost, why can be forecast? Needs the extra ``plot``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from spectral_forecast import _checks, bounds, ellipse, schedules
from spectral_forecast._typing import LinearForecaster, Times
from spectral_forecast.plan import Plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_cost", "plot_ellipse", "plot_plan"]


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
    return _saved(figure, path)


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
    return _saved(figure, path)


def plot_ellipse(
    times: Times,
    rules: "dict[str, LinearForecaster]",
    *,
    pole: complex = 0.4 + 1.6j,
    share: float = 0.8,
    title: str = "",
    path: str | Path | None = None,
) -> "Figure":
    r"""Draw why a feature can be forecast: it is analytic in an ellipse, and none such errs by more.

    Left, the complex plane: the poles of :math:`f(z) = 1 / ((z - p)(z - \bar p))`, the largest Bernstein ellipse
    without them, and a smaller one on which f is bounded. Right, f on [-1, 1], what each rule forecasts from the values
    at ``times``, and the worst case of all functions that are analytic in the smaller ellipse and bounded alike
    (`bounds.worst_case`), which f never leaves.

    Parameters
    ----------
    times : array_like, shape (K,)
        Of the kept values, increasing in [-1, 1), 1 not among them.
    rules : dict of LinearForecaster
        By the names that the picture gives them.
    pole : complex
        p, off the real axis.
    share : float
        How far the smaller ellipse goes from [-1, 1], of parameter 1, to the larger one; between 0 and 1.
    title : str
        Written above the picture.
    path : str or Path, optional
        Where to save the picture, in the format of its ending.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    nodes = _checks.increasing("times", times)
    if not 0.0 < _checks.finite("share", share) < 1.0:
        raise ValueError(f"`share` is {share}; write a number between 0 and 1, both excluded.")
    poles = np.array([pole, np.conj(pole)])

    def function(z: Any) -> Any:
        return 1.0 / ((z - poles[0]) * (z - poles[1]))

    most = ellipse.largest(poles)
    rho = 1.0 + share * (most - 1.0)
    largest = ellipse.bound(function, rho)
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    plane, line = figure.subplots(1, 2, width_ratios=[1, 1.4])
    figure.suptitle(title or f"analytic inside the ellipse of {most:.2f}, at most {largest:.2g} on that of {rho:.2f}")
    for parameter, style in ((most, "--"), (rho, "-")):
        edge = ellipse.boundary(parameter)
        plane.plot(*_closed(edge), style, lw=1.2, color="tab:blue", label=f"ellipse of {parameter:.2f}")
    plane.plot([-1.0, 1.0], [0.0, 0.0], color="black", lw=1.0)
    plane.plot(nodes, np.zeros(nodes.size), "ko", ms=4, label="kept")
    plane.plot(poles.real, poles.imag, "x", ms=8, mew=2.0, color="tab:red", label="poles")
    plane.set_aspect("equal")
    plane.legend(frameon=False, fontsize="small", loc="center", bbox_to_anchor=(0.5, 0.68))
    whole, ahead = np.linspace(-1.0, 1.0, 200), np.linspace(nodes[-1], 1.0, 80)[1:]
    line.plot(whole, function(whole).real, color="black", label="the function")
    line.plot(nodes, function(nodes).real, "ko", ms=4)
    for number, (name, rule) in enumerate(rules.items()):
        weights = [rule.weights(nodes, float(t)) for t in ahead]
        found = np.array([w @ function(nodes).real for w in weights])
        pairs = zip(weights, ahead, strict=True)
        worst = largest * np.array([bounds.worst_case(w, nodes, float(t), rho=rho) for w, t in pairs])
        line.plot(ahead, found, color=f"C{number}", label=name)
        for curve in (found - worst, found + worst):
            line.plot(ahead, curve, ":", lw=1.0, color=f"C{number}")
    height = np.abs(function(whole).real).max()
    line.plot([], [], ":", color="grey", label="worst cases")
    line.set_ylim(-0.5 * height, 1.8 * height)
    line.set_xlabel("time")
    line.legend(frameon=False, fontsize="small", loc="upper left")
    return _saved(figure, path)


def _saved(figure: "Figure", path: str | Path | None) -> "Figure":
    if path is not None:
        figure.savefig(path, dpi=130)
    return figure


def _closed(edge: Any) -> tuple[Any, Any]:
    points = np.append(edge, edge[0])
    return points.real, points.imag


def _symmetric(limit: float) -> Any:
    """Colours that are linear up to a weight of 1 and logarithmic above, where extrapolation has large weights."""
    from matplotlib.colors import Normalize, SymLogNorm

    return Normalize(-limit, limit) if limit <= 5.0 else SymLogNorm(1.0, vmin=-limit, vmax=limit)
