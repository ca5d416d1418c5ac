r"""Optimal recovery: the best any rule can do with the kept values, and what the features say of their own norm."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from spectral_forecast import AnalyticKernel, bounds
from spectral_forecast.theory import functions
from spectral_forecast.theory.statement import Advance, Outcome, Statement, Tally, batches

__all__ = ["STATEMENT", "check", "wrong"]

STATEMENT = Statement(
    name="recovery",
    title="Optimal recovery and the power function",
    words=(
        r"Measure a feature by $\|f\|^2 = \sum_m \rho^{2m} c_m^2$, the norm of the space with the analytic kernel "
        r"$K_\rho$. Every linear rule has a power function $P$, the largest error over the unit ball. The kernel's"
        r" own interpolant has the smallest of all. The kept features give a lower bound of the norm, and with a "
        r"bound on the norm an interval for the error of any rule."
    ),
    latex=(
        r"|f(t) - \textstyle\sum_k w_k f(t_k)| \le P\,\|f\|, \quad P^2 = \sum_m \rho^{-2m} E_m^2, \qquad \|f\|^2 "
        r"\ge \mathrm{tr}(K_\rho^{-1} G)"
    ),
    proof=(
        r"Cauchy and Schwarz on $\sum_m c_m E_m$, with equality at $c_m = \rho^{-2m} E_m$. $P^2$ is a quadratic "
        r"function of the weights, least where $K w = k$. Among all functions with the kept values the interpolant"
        r" has the least norm, whose square is $\mathrm{tr}(K^{-1}G)$; adding $\lambda I$ to $K$ only lowers it "
        r"(Golomb and Weinberger 1959; Wendland 2004)."
    ),
    sharp=True,
    wrong=r"pairs the norm with the square of its decay, $P^2 = \sum \rho^{-4m} E_m^2$",
)


def wrong(weights: Any, times: Any, t: float, *, rho: float) -> Any:
    """Use the power function of a smaller space."""
    return bounds.power(weights, times, t, rho=rho**2)


def check(
    examples: int = 1000, seed: int = 0, *, bound: Callable[..., Any] = bounds.power, advance: Advance = None
) -> tuple[Outcome, ...]:
    """Try every rule on drawn functions of the space and, once in a group, the worst one.

    Examples
    --------
    >>> [outcome.violations for outcome in check(500)], check(500, bound=wrong)[0].violations > 0
    ([0, 0, 0, 0], True)
    """
    rng = np.random.default_rng(seed)
    error_tally, best_tally, norm_tally, inside = (
        Tally(name)
        for name in (
            "error by the power function",
            "kernel's power is least",
            "norm from kept values",
            "interval, both ends",
        )
    )
    for case in functions.cases(rng, batches(examples, advance), largest=5.0):
        rule = functions.RULES[rng.integers(len(functions.RULES))]
        w = rule.weights(case.times, case.t)
        mass = 1.0 + np.abs(w).sum()
        length = math.ceil(37.0 / np.log(case.rho)) + 2
        grown = case.rho ** np.arange(float(length))
        # Functions of the space, from those that fill its ball evenly to those much smoother.
        smooth = np.exp(-rng.choice([0.0, 0.05, 0.5], size=(case.size, 1)) * np.arange(length))
        series = rng.normal(size=(case.size, length)) * smooth / grown
        worst = bounds.worst_function(w, case.times, case.t, rho=case.rho, degree=length - 1)
        missed = np.abs(chebyshev.chebvander(case.t, length - 1) - w @ chebyshev.chebvander(case.times, length - 1))
        series[0] = np.sign(worst) * missed.ravel() / grown**2
        size = np.linalg.norm(series * grown, axis=1)
        values = chebyshev.chebval(np.append(case.times, case.t), series.T)
        error = np.abs(values[:, -1] - values[:, :-1] @ w)
        limit = bound(w, case.times, case.t, rho=case.rho)
        error_tally.add(error, limit * size, rounding=1e-12 * mass * np.abs(series).sum(axis=1))
        least = AnalyticKernel(max(case.rho, 1.01), ridge=0.0, drift=-1).power(case.times, case.t)
        best_tally.add(np.full(case.size, least), bounds.power(w, case.times, case.t, rho=case.rho), rounding=1e-12)
        _certify(case, w, values, size, error, norm_tally, inside)
    return tuple(tally.outcome() for tally in (error_tally, best_tally, norm_tally, inside))


def _certify(  # noqa: PLR0917
    case: functions.Case, w: Any, values: Any, size: Any, error: Any, norm_tally: Tally, inside: Tally
) -> None:
    """Check the norm from kept values, and the interval for the error with a norm known to be right."""
    for row in range(case.size):
        kept = values[row, :-1]
        gram = np.outer(kept, kept)
        shown = bounds.norm(case.times, gram, rho=case.rho)
        norm_tally.add(shown, size[row], rounding=1e-9 * size[row])
        if shown > 0.0:
            slack = float(size[row] / shown) * (1.0 + 1e-6)
            low, high = bounds.interval(w, case.times, case.t, gram, rho=case.rho, slack=slack)
            inside.add([error[row], low], [high, error[row]], rounding=1e-9 * size[row] * (1.0 + np.abs(w).sum()))
