"""Why can a feature be forecast? It is analytic in an ellipse."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spectral_forecast import _checks, bounds, ellipse
from spectral_forecast._typing import LinearForecaster, Times
from spectral_forecast.plot._figure import saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_ellipse"]


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
    return saved(figure, path)


def _closed(edge: Any) -> tuple[Any, Any]:
    points = np.append(edge, edge[0])
    return points.real, points.imag
