r"""Theorem 3.2: how fast Chebyshev coefficients decay, and what cutting the series costs."""

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
    name="truncation",
    title="Truncated Chebyshev series (Theorem 3.2)",
    words=(
        r"A feature analytic in the Bernstein ellipse $E_\rho$ and bounded there by $B$ has Chebyshev coefficients"
        r" that decay like $\rho^{-m}$. Cutting its series after degree $M$ costs no more than the tail, "
        r"everywhere on $[-1, 1]$."
    ),
    latex=r"|c_0| \le B, \quad |c_m| \le 2B\rho^{-m}, \qquad \|f - f_M\|_\infty \le \frac{2B\rho^{-M}}{\rho - 1}",
    proof=(
        "The coefficients are Fourier coefficients of $f$ on the ellipse's boundary; the tail is a geometric "
        "series (Bernstein 1912; arXiv 2603.01623, Appendix A.2). Over all coefficients within these limits the "
        "second bound is attained, at $t = 1$, by the ones with equality."
    ),
    sharp=True,
    wrong="sums the tail from $M + 2$ on",
)

_GRID = np.cos(np.linspace(0.0, np.pi, 65))


def wrong(degree: int, rho: float, *, bound: Any) -> Any:
    """Start the tail one degree too late."""
    return bounds.truncation(degree + 1, rho, bound=bound)


def check(
    examples: int = 1000, seed: int = 0, *, bound: Callable[..., Any] = bounds.truncation, advance: Advance = None
) -> tuple[Outcome, ...]:
    """Try drawn analytic functions, drawn series, and the series with equality.

    Examples
    --------
    >>> [outcome.violations for outcome in check(500)], check(500, bound=wrong)[0].violations > 0
    ([0, 0], True)
    """
    rng = np.random.default_rng(seed)
    tail, decay = Tally("error of the truncated series"), Tally("size of the coefficients")
    for count in batches(examples, advance):
        rho = float(np.exp(rng.uniform(np.log(1.05), np.log(8.0))))
        length = math.ceil(40.0 / np.log(rho)) + 8
        degree = int(rng.integers(0, 13))
        if rng.random() < 0.5:
            drawn = functions.draw(rng, rho, count)
            series, size = functions.coefficients(drawn.call, length), drawn.bound
            values = drawn.call(_GRID)
        else:
            series, size = functions.draw_series(rng, rho, count, length)[:, 0].T, np.ones(count)
            series[:, 0] = 2.0 * rho ** -np.arange(float(length))
            series[0, 0] = 1.0
            values = chebyshev.chebval(_GRID, series)
        error = np.max(np.abs(values - chebyshev.chebval(_GRID, series[: degree + 1])), axis=1)
        tail.add(error, bound(degree, rho, bound=size), rounding=1e-12 * size)
        limit = 2.0 * rho ** -np.arange(1.0, len(series))
        # Coefficients below rounding say nothing.
        clear = np.maximum(np.abs(series[1:]) - 1e-13 * size, 0.0)
        decay.add(np.max(clear / limit[:, None], axis=0), size)
    return tail.outcome(), decay.outcome()
