"""The pictures of the report. Each function draws one and returns it; matplotlib is imported here only."""

import functools
import math
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.polynomial import chebyshev

from spectral_forecast import AnalyticKernel, Chebyshev, Newton, Reuse, bounds, ellipse, spectrum
from spectral_forecast.corrector import guard
from spectral_forecast.forecasters.analytic import kernel
from spectral_forecast.schedules import growing
from spectral_forecast.theory import functions, stability
from spectral_forecast.theory.certificate import Record
from spectral_forecast.theory.paper import (
    CLOCK,
    SCHEDULES,
    STEPS,
    compare,
    conditioning,
    counterexample,
    relative_error,
    rows_of,
)
from spectral_forecast.theory.trajectory import Trajectory

__all__ = ["DRAWN", "certificate", "estimate", "propagation", "sweeps"]

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#666666"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, "#56B4E9", "#8c6d31", GREY, "#222222", "#bcbd22")
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "axes.titlesize": 9.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
}


def _panels(columns: int, *, height: float = 3.1, rows: int = 1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.2 * columns + 0.4, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in this module's style, whatever the caller's is."""

    @functools.wraps(draw)
    def styled(*arguments: Any) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*arguments)

    return styled


def _evaluations(axis: Any, evaluate: Any) -> None:
    """Mark the steps at which the network runs along the bottom edge."""
    steps = np.flatnonzero(evaluate)
    axis.plot(steps, np.zeros(steps.size), "|", color="black", ms=7, mew=1.2, transform=axis.get_xaxis_transform())
    axis.set_xlabel("step of the run (ticks at the bottom: network evaluated)")


@_styled
def taylor() -> Figure:
    """Error of Taylor forecasts against the horizon: functions below their bound, the extremal one on it."""
    figure, axes = _panels(2)
    horizon = np.geomspace(0.01, 1.0, 60)
    for order, colour in zip(range(4), COLOURS, strict=False):
        axes[0, 0].loglog(horizon, bounds.taylor(horizon, order), color=colour, label=f"order {order}")
        axes[0, 0].loglog(
            horizon[::6], np.abs(bounds.taylor_extremal(horizon[::6], order)), "o", ms=4, mfc="white", color=colour
        )
    axes[0, 0].set(
        title="Lines: bound. Circles: the extremal function, on it",
        xlabel="horizon $|t - t_0|$",
        ylabel="error, derivative at most 1",
        ylim=(1e-10, 3),
    )
    axes[0, 0].legend()
    rate = 4.0
    for order, colour in zip(range(4), COLOURS, strict=False):
        terms = [rate**j * np.cos(j * np.pi / 2 + 0.5) * horizon**j / math.factorial(j) for j in range(order + 1)]
        error = np.abs(np.cos(rate * horizon + 0.5) - np.sum(terms, axis=0))
        axes[0, 1].loglog(horizon, bounds.taylor(horizon, order, derivative=rate ** (order + 1)), color=colour, lw=1.0)
        axes[0, 1].loglog(horizon, error, ":", color=colour, label=f"order {order}")
    axes[0, 1].set(
        title=r"Dotted: error on $\cos(4t + \frac{1}{2})$. Lines: its bound",
        xlabel="horizon $|t - t_0|$",
        ylabel="error",
        ylim=(1e-10, 100),
    )
    axes[0, 1].legend()
    return figure


@_styled
def truncation() -> Figure:
    """Error of cut Chebyshev series against the degree, for the catalogue, with the bound at the best rho."""
    figure, axes = _panels(2, height=4.0)
    grid = np.linspace(-1.0, 1.0, 400)
    degrees = np.arange(26)
    for function, colour in zip(functions.CATALOGUE, COLOURS, strict=True):
        series = functions.coefficients(function, 600)
        errors = [np.max(np.abs(function(grid) - chebyshev.chebval(grid, series[: m + 1]))) for m in degrees]
        axes[0, 0].semilogy(degrees, np.maximum(errors, 1e-16), "-", color=colour, label=function.latex, lw=1.3)
    axes[0, 0].set(title="Ten functions", xlabel="degree $M$", ylabel=r"$\|f - f_M\|_\infty$", ylim=(1e-14, 20))
    axes[0, 0].legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    axis = axes[0, 1]
    for name, colour in (("Runge", BLUE), ("pole", ORANGE), ("tanh 2(x - 0)", GREEN)):
        function = next(f for f in functions.CATALOGUE if f.name == name)
        series = functions.coefficients(function, 600)
        errors = [np.max(np.abs(function(grid) - chebyshev.chebval(grid, series[: m + 1]))) for m in degrees]
        radii = 1.0 + (function.rho - 1.0) * np.linspace(0.05, 0.98, 40)
        sizes = np.array([ellipse.bound(function, float(r)) for r in radii])
        best = [float(np.min(bounds.truncation(int(m), radii, bound=sizes))) for m in degrees]
        axis.semilogy(degrees, errors, "o", ms=3.5, color=colour)
        axis.semilogy(degrees, best, color=colour, label=rf"{function.latex}, $\rho < {function.rho:.2f}$")
    axis.set(title=r"Circles: error. Lines: bound at the best $\rho$", xlabel="degree $M$", ylim=(1e-10, 100))
    axis.legend(fontsize=7)
    return figure


@_styled
def refuted() -> Figure:
    """The counterexample: error on T_5 above the bound in print, below the corrected one."""
    figure, axes = _panels(2)
    for axis, (name, evaluate) in zip(axes[0], SCHEDULES.items(), strict=True):
        found = counterexample(evaluate)
        broken = found.error > found.printed
        axis.semilogy(found.step, found.corrected, "s", ms=3.5, color=BLUE, label="Theorem 3.3, corrected")
        axis.semilogy(found.step, found.printed, "_", ms=7, mew=1.8, color=ORANGE, label="Theorem 3.3, as printed")
        axis.semilogy(found.step[~broken], found.error[~broken], "o", ms=3.5, color=GREY, label="error")
        axis.semilogy(
            found.step[broken], found.error[broken], "X", ms=6, color=RED, label="error above the printed bound"
        )
        axis.set(
            title=f"{name}: {broken.sum()} of {broken.size} forecasts refute it", ylabel="error of forecasting $T_5$"
        )
        axis.set_ylim(1e-3, 30)
        _evaluations(axis, evaluate)
    axes[0, 0].legend(loc="lower right", fontsize=7)
    return figure


@_styled
def vacuous() -> Figure:
    """Theorem 3.3 and the exact worst case at rho = 2, by step, against the bound of forecasting zero."""
    figure, axes = _panels(2)
    for axis, (name, evaluate) in zip(axes[0], SCHEDULES.items(), strict=True):
        step = np.flatnonzero(~evaluate)
        theorem, beta = compare(evaluate, 2.0)
        _, linear = compare(evaluate, 2.0, Newton(1))
        _, best = compare(evaluate, 2.0, AnalyticKernel(2.0, ridge=0.0, drift=-1))
        axis.semilogy(step, theorem, "s", ms=3.5, color=ORANGE, label="Theorem 3.3, corrected")
        axis.semilogy(step, beta, "o", ms=3.5, color=BLUE, label=r"exact worst case $\beta$: Spectrum")
        axis.semilogy(step, linear, "^", ms=3.5, color=GREEN, label=r"$\beta$: linear")
        axis.semilogy(step, best, "v", ms=3.5, color=PURPLE, label=r"$\beta$: kernel, $\lambda = 0$")
        axis.axhline(1.0, color="black", lw=0.8)
        axis.text(0.0, 1.1, "forecasting zero", va="bottom", fontsize=7.5)
        axis.set(title=rf"{name}, $\rho = 2$", ylabel="largest error, in units of $B$")
        axis.set_ylim(1e-4, 300)
        _evaluations(axis, evaluate)
    axes[0, 0].legend(fontsize=7, loc="upper left", ncols=2)
    return figure


@_styled
def hidden() -> Figure:
    """What "independent of the step size" hides: the least singular value and the factors that hang on it."""
    figure, axes = _panels(2)
    for axis, (name, evaluate) in zip(axes[0], SCHEDULES.items(), strict=True):
        step = np.flatnonzero(~evaluate)
        least, printed, true, bias = conditioning(evaluate).T
        axis.semilogy(step, least, color=GREY, label=r"$\sigma_{\min}$")
        axis.semilogy(step, printed, color=ORANGE, label="$X$ as printed")
        axis.semilogy(step, true, color=BLUE, label="$X$, true")
        axis.semilogy(step, bias, color=RED, label=r"bias $\lambda/(\sigma_{\min}^2 + \lambda)$")
        axis.set(title=name, ylim=(1e-6, 10))
        _evaluations(axis, evaluate)
    axes[0, 0].set_ylabel("value")
    axes[0, 0].legend(loc="lower right", ncols=2, fontsize=7)
    return figure


@_styled
def defect() -> Figure:
    """Sum of the weights by step: what a constant feature becomes."""
    figure, axes = _panels(2)
    shown = {
        "Spectrum, blend 1": (spectrum(1.0), BLUE),
        "Spectrum, blend 0.5": (spectrum(0.5), ORANGE),
        'mode="free": low degrees unpenalised': (spectrum(1.0, mode="free"), GREEN),
    }
    for axis, (name, evaluate) in zip(axes[0], SCHEDULES.items(), strict=True):
        step = np.flatnonzero(~evaluate)
        for label, (rule, colour) in shown.items():
            sums = [rule.weights(CLOCK[:i][evaluate[:i]], CLOCK[i]).sum() for i in step]
            axis.plot(step, sums, "o", ms=3.5, color=colour, label=label)
        axis.set(title=name, ylabel="sum of the weights", ylim=(0.6, 1.03))
        _evaluations(axis, evaluate)
    axes[0, 0].legend(loc="lower right", fontsize=7)
    return figure


@_styled
def extrapolate() -> Figure:
    """Exponent of stable extrapolation along both schedules, and how far one may skip."""
    figure, axes = _panels(2)
    for axis, (name, evaluate) in zip(axes[0], SCHEDULES.items(), strict=True):
        step = np.flatnonzero(~evaluate)
        for rho, colour in zip((1.5, 2.0, 3.0, 5.0), COLOURS, strict=False):
            alpha = [bounds.stable_exponent(CLOCK[:i][evaluate[:i]], CLOCK[i], rho=rho) for i in step]
            axis.plot(step, np.clip(alpha, 0.0, 1.0), "o-", ms=3, lw=0.7, color=colour, label=rf"$\rho = {rho:g}$")
        axis.set(title=name, ylabel=r"exponent $\alpha$ (0: no guarantee)", ylim=(-0.03, 1.0))
        _evaluations(axis, evaluate)
    axes[0, 1].legend(ncols=2, fontsize=7)
    return figure


@_styled
def rules() -> Figure:
    """The exact worst case of the rules by horizon, from the same kept times."""
    figure, axes = _panels(2)
    nodes = CLOCK[[0, 1, 2, 3, 4, 6, 8, 11, 15]]
    targets = CLOCK[16:42]
    shown = {
        "reuse": Reuse(),
        "linear": Newton(1),
        "quadratic": Newton(2),
        "Spectrum, blend 1": spectrum(1.0),
        "Spectrum, blend 0.5": spectrum(0.5),
        "Chebyshev, free=2": Chebyshev(4, ridge=0.1, free=2),
        r"kernel, $\rho = 2$, $\lambda = 10^{-3}$": AnalyticKernel(2.0),
    }
    for axis, rho in zip(axes[0], (1.5, 3.0), strict=True):
        for (label, rule), colour in zip(shown.items(), COLOURS, strict=False):
            w = np.stack([rule.weights(nodes, float(t)) for t in targets])
            axis.semilogy(np.arange(1, 27), bounds.worst_case(w, nodes, targets, rho=rho), color=colour, label=label)
        axis.axhline(1.0, color="black", lw=0.8)
        axis.set(title=rf"$\rho = {rho:g}$", xlabel="steps ahead of step 15", ylabel=r"exact worst case $\beta$")
    axes[0, 1].legend(fontsize=7)
    return figure


@_styled
def stable() -> Figure:
    """Regions of stability of forecasting with no, half and full correction, and with the guarded one."""
    figure, axes = _panels(2, height=4.0)
    gap, degree = 16, 2
    real, imaginary = np.meshgrid(np.linspace(-1.25, 0.25, 81), np.linspace(-0.75, 0.75, 80))
    z = real + 1j * imaginary
    for part, colour in ((0.0, GREEN), (0.5, ORANGE), (1.0, RED)):
        edge = stability.radius(z, gap, degree, part)
        axes[0, 0].contour(real, imaginary, edge, levels=[1.0], colors=[colour], linewidths=1.6)
        axes[0, 0].plot([], [], color=colour, label=rf"$\theta = {part:g}$")
        axes[0, 0].plot(-stability.limit(gap, degree, part), 0.0, "x", color=colour, ms=7, mew=1.8)
    axes[0, 1].contour(
        real, imaginary, stability.radius(z, gap, degree, 0.0), levels=[1.0], colors=[GREEN], linewidths=1.0
    )
    axes[0, 1].plot([], [], color=GREEN, lw=1.0, label="no correction")
    for tolerance, colour in ((0.2, BLUE), (1.0, PURPLE)):
        edge = _guarded(z, gap, degree, tolerance)
        axes[0, 1].contour(real, imaginary, edge, levels=[1.0], colors=[colour], linewidths=1.6)
        axes[0, 1].plot([], [], color=colour, label=f"guard, limit {tolerance:g}")
    axes[0, 0].set(title="Correction of a fixed part", ylabel=r"imaginary part of $z$")
    axes[0, 1].set(title="Guarded correction")
    for axis in axes[0]:
        axis.set(xlabel=r"real part of $z = \lambda H$", aspect="equal")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=7)
    return figure


def _guarded(z: Any, gap: int, degree: int, tolerance: float) -> Any:
    """Mean growth in one gap of guarded runs: the largest of a few random starts, after they have settled."""
    starts = np.random.default_rng(0).normal(size=(3, *z.shape, 3, 2)) @ np.array([1.0, 1j])
    growth = np.zeros(z.shape)
    settling, counted = 30, 50
    for start in starts:
        state, logarithm = start, np.zeros(z.shape)
        for k in range(settling + counted):
            forecast_error = np.abs(state @ np.array([1.0, -2.0, 1.0])) / np.abs(state[..., 0])
            step = stability.matrices(z, gap, degree, guard(forecast_error, tolerance))
            state = np.einsum("...ij,...j->...i", step, state)
            size = np.linalg.norm(state, axis=-1)
            state = state / size[..., None]
            logarithm += np.log(size) if k >= settling else 0.0
        growth = np.maximum(growth, np.exp(logarithm / counted))
    return growth


@_styled
def estimate(panels: dict[str, dict[str, Any]]) -> Figure:
    """Distributions of eta / error: one panel a title, one curve a label."""
    figure, axes = _panels(len(panels), height=3.5)
    edges = np.geomspace(0.1, 10.0, 51)
    for axis, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for (label, ratio), colour in zip(curves.items(), COLOURS, strict=False):
            within = np.mean((ratio >= 0.5) & (ratio <= 2.0))
            share, _ = np.histogram(np.clip(ratio, 0.1, 10.0), bins=edges)
            axis.stairs(share / ratio.size, edges, color=colour, label=f"{label}: {within:.1%} within 2", lw=1.4)
        axis.axvspan(0.5, 2.0, color="#f0f0f0", zorder=0)
        axis.set(title=title, xscale="log", xlabel=r"estimate over error, $\eta / \|h - \hat h\|$")
        axis.set_xticks([0.1, 0.5, 1, 2, 10], ["0.1", "0.5", "1", "2", "10"])
        axis.minorticks_off()
        axis.legend(fontsize=7, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    axes[0, 0].set_ylabel("share of forecasts")
    return figure


SWEPT = {growth: growing(STEPS, 2, growth, 5) for growth in (0.75, 1.0, 1.5, 2.0, 3.0)}
PENALTIES = np.geomspace(1e-4, 10.0, 26)
DEGREES = np.arange(1, 11)


@_styled
def sweeps(real: list[Trajectory]) -> Figure:
    """The paper's Figures 5 and 6, by feature error: penalty and degree, on analytic features and on a real model's."""
    grams = {r"analytic features, $\rho = 2$": kernel(CLOCK[:, None], CLOCK[None, :], 2.0)}
    grams |= {f"small FLUX transformer, {run.name}": np.mean(run.gram, axis=0) for run in real}
    figure, axes = _panels(len(grams), rows=2, height=2.8)
    for column, (name, gram) in enumerate(grams.items()):
        for (growth, evaluate), colour in zip(SWEPT.items(), COLOURS, strict=False):
            label = f"{evaluate.sum()} evaluations (growth {growth:g})"
            by_penalty = [relative_error(gram, evaluate, Chebyshev(4, ridge=float(r))) for r in PENALTIES]
            by_degree = [relative_error(gram, evaluate, Chebyshev(int(m), ridge=0.1)) for m in DEGREES]
            axes[0, column].loglog(PENALTIES, by_penalty, color=colour, label=label)
            axes[1, column].semilogy(DEGREES, by_degree, "o-", ms=3, color=colour)
        axes[0, column].axvline(0.1, color="black", lw=0.7)
        axes[1, column].axvline(4, color="black", lw=0.7)
        axes[0, column].set(title=name, xlabel=r"penalty $\lambda$ (degree 4)")
        axes[1, column].set(xlabel=r"degree $M$ ($\lambda = 0.1$)")
    for row in axes:
        row[0].set_ylabel("relative error of skipped steps")
    axes[0, 0].legend(fontsize=6.5)
    return figure


@_styled
def certificate(runs: dict[str, list[Record]]) -> Figure:
    """True error, estimate and interval along the run of a real model."""
    figure, axes = _panels(len(runs), height=3.3)
    for axis, (name, records) in zip(axes[0], runs.items(), strict=True):
        run = records[0]
        low = np.maximum(run.distance - run.unit, 1e-6)
        axis.fill_between(
            run.step, low, run.distance + run.unit, color=BLUE, alpha=0.15, lw=0, step="mid", label="interval, slack 1"
        )
        axis.semilogy(run.step, run.estimate, "_", ms=7, mew=1.8, color=BLUE, label=r"estimate $\eta$")
        axis.semilogy(run.step, run.error, "o", ms=3.5, color=RED, label="true error")
        axis.set(title=name, ylim=(1e-3, 10.0))
        skipped = np.ones(STEPS, dtype=bool)
        skipped[run.step] = False
        _evaluations(axis, skipped)
    axes[0, 0].set_ylabel("error, relative to the feature")
    axes[0, 0].legend(fontsize=7, loc="upper left")
    return figure


@_styled
def propagation(run: Trajectory, evaluate: Any) -> Figure:
    """What each skipped step does to the sample: error of the velocity, and that times the length of the step."""
    figure, axes = _panels(2)
    scale = np.sqrt(np.mean(np.diagonal(run.gram, axis1=1, axis2=2)))
    for (name, rule), colour in zip(
        {"Spectrum, blend 0.5": spectrum(0.5), "linear": Newton(1)}.items(), (BLUE, GREEN), strict=True
    ):
        missed = np.eye(STEPS) - rows_of(rule, evaluate)
        error = np.sqrt(np.maximum(np.mean(np.einsum("ij,njk,ik->ni", missed, run.gram, missed), axis=0), 0.0)) / scale
        step = np.flatnonzero(~evaluate)
        axes[0, 0].semilogy(step, error[step], "o", ms=3.5, color=colour, label=name)
        pushed = np.abs(np.diff(run.sigmas)) * error
        for rate, style in ((0.0, "-"), (1.0, "--"), (3.0, ":")):
            total = [
                bounds.propagation(run.sigmas, np.where(np.arange(STEPS) <= i, error, 0.0), rate) for i in range(STEPS)
            ]
            axes[0, 1].plot(total, style, color=colour, label=f"{name}, $L = {rate:g}$")
        axes[0, 0].semilogy(step, pushed[step], "x", ms=4, color=colour, label=rf"{name}, times $|\Delta\sigma|$")
    axes[0, 0].set(title="Dots: forecast error. Crosses: its push on the sample", ylabel="relative to the velocity")
    axes[0, 1].set(title="Bound on the sample's error, steps so far", ylabel="relative to the velocity", yscale="log")
    for axis in axes[0]:
        _evaluations(axis, evaluate)
        axis.legend(fontsize=6.5, loc="upper left")
    axes[0, 0].set_ylim(1e-5, 10.0)
    axes[0, 1].set_ylim(1e-4, 10.0)
    return figure


DRAWN: dict[str, Callable[[], Figure]] = {
    "taylor": taylor,
    "truncation": truncation,
    "refuted": refuted,
    "hidden": hidden,
    "vacuous": vacuous,
    "rules": rules,
    "defect": defect,
    "extrapolation": extrapolate,
    "stability": stable,
}
"""The figures that need no real model and no drawn cases."""
