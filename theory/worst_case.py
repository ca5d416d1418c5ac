r"""The exact worst case of any linear rule."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from spectral_forecast import bounds
from spectral_forecast.theory import functions
from spectral_forecast.theory.statement import Advance, Outcome, Statement, Tally, batches

__all__ = ["STATEMENT", "check", "wrong"]

STATEMENT = Statement(
    name="worst_case",
    title="The exact worst case of a weighted sum",
    words=(
        r"A forecast with weights $w$ misses the Chebyshev polynomial $T_m$ by $E_m = T_m(t) - \sum_k w_k "
        r"T_m(t_k)$. Over all features whose coefficients keep the limits of Theorem 3.2, the largest error is "
        r"exactly $B\beta(w)$; kept values wrong by up to $\epsilon$ add exactly $\epsilon \|w\|_1$. It holds for "
        r"every rule whose weights depend on times only, ranks them on equal terms, and is in closed form up to a "
        r"series. For a vector, $B$ bounds the 2-norm."
    ),
    latex=(
        r"\sup |h(t) - \hat h(t)| = B\,\beta(w) + \epsilon \|w\|_1, \qquad \beta(w) = |E_0| + 2 \sum_{m \ge 1} "
        r"\rho^{-m} |E_m|"
    ),
    proof=(
        r"The error is $\sum_m c_m E_m$, linear in the coefficients, each free within its limit: the supremum "
        r"takes every $c_m$ at its limit with the sign of $E_m$, and every error of a kept value at $\epsilon$ "
        r"with the sign of $-w_k$."
    ),
    sharp=True,
    wrong=r"forgets the factor 2 of $|c_m| \le 2B\rho^{-m}$",
)


def wrong(weights: Any, times: Any, t: float, *, rho: float, bound: Any = 1.0, noise: float = 0.0) -> Any:
    r"""Take :math:`|c_m| \le B\rho^{-m}` for the class."""
    missed_mean = abs(1.0 - np.sum(weights))
    whole = bounds.worst_case(weights, times, t, rho=rho)
    return bound * (whole + missed_mean) / 2.0 + noise * np.sum(np.abs(weights))


def check(
    examples: int = 1000, seed: int = 0, *, bound: Callable[..., Any] = bounds.worst_case, advance: Advance = None
) -> tuple[Outcome, ...]:
    """Try every rule on drawn series, vectors, analytic functions and, once in a group, the worst function.

    Examples
    --------
    >>> [outcome.violations for outcome in check(500)], check(500, bound=wrong)[0].violations > 0
    ([0, 0], True)
    """
    rng = np.random.default_rng(seed)
    in_class, analytic = Tally("error, coefficients in the class"), Tally("error, bounded in the ellipse")
    for case in functions.cases(rng, batches(examples, advance)):
        rule = functions.RULES[rng.integers(len(functions.RULES))]
        w = rule.weights(case.times, case.t)
        points = np.append(case.times, case.t)
        noise = float(rng.choice([0.0, 1e-2]))
        mass = 1.0 + np.abs(w).sum()
        drawn = functions.draw(rng, case.rho, case.size)
        values = drawn.call(points)
        error = np.abs(values[:, -1] - values[:, :-1] @ w)
        limit = bound(w, case.times, case.t, rho=case.rho, bound=drawn.bound)
        analytic.add(error, limit, rounding=1e-12 * mass * drawn.bound)
        channels = int(rng.choice([1, 1, 4]))
        length = math.ceil(37.0 / np.log(case.rho)) + 2
        series = functions.draw_series(rng, case.rho, case.size, length, channels=channels)
        series[0] = 0.0
        series[0, 0] = bounds.worst_function(w, case.times, case.t, rho=case.rho, degree=length - 1)
        values = chebyshev.chebval(points, np.moveaxis(series, -1, 0))
        signs = rng.choice([-1.0, 1.0], size=(case.size, 1, w.size))
        error = values[..., -1] - values[..., :-1] @ w
        signs[0] = -np.where(w * np.sign(error[0, 0]) < 0.0, -1.0, 1.0)  # the worst noise for the worst function
        noisy = error - (noise / np.sqrt(channels)) * (signs @ w)
        noisy[0] = 0.0
        noisy[0, 0] = error[0, 0] - noise * float(signs[0, 0] @ w)
        limit = bound(w, case.times, case.t, rho=case.rho, noise=noise)
        in_class.add(np.linalg.norm(noisy, axis=1), limit, rounding=1e-12 * mass * len(series[0, 0]))
    return in_class.outcome(), analytic.outcome()
