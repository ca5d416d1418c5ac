r"""Theorem 3.1: a Taylor forecast gets worse with the horizon, by exactly as much as it says."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import bounds
from spectral_forecast.theory.statement import Advance, Outcome, Statement, Tally, batches

__all__ = ["STATEMENT", "check", "wrong"]

STATEMENT = Statement(
    name="taylor",
    title="Taylor forecasts (Theorem 3.1)",
    words=(
        "A feature whose derivative of order $m+1$ is at most $L$ is forecast by its Taylor polynomial of order "
        "$m$ with an error that grows like the horizon to the power $m+1$. No constant can be made smaller."
    ),
    latex=r"\sup_{|h^{(m+1)}| \le L} |h(t) - \hat h(t)| = \frac{L\,|t - t_0|^{m+1}}{(m+1)!}",
    proof=(
        "Lagrange's form of the remainder gives the bound; $L (t-t_0)^{m+1}/(m+1)!$, whose Taylor polynomial is "
        "zero, attains it (arXiv 2603.01623, Appendix A.1)."
    ),
    sharp=True,
    wrong="divides by $(m+2)!$",
)

Floats = NDArray[np.float64]
Family: TypeAlias = tuple[Callable[[int], Floats], Floats, Floats, Floats]
Bound = Callable[..., Any]


def wrong(horizon: Floats, order: int, *, derivative: Floats) -> Any:
    """Divide by one factor too many."""
    return bounds.taylor(horizon, order, derivative=derivative) / (order + 2)


def check(
    examples: int = 1000, seed: int = 0, *, bound: Bound = bounds.taylor, advance: Advance = None
) -> tuple[Outcome, ...]:
    """Try drawn functions with known derivatives: exponentials, cosines, poles, polynomials, the extremal ones.

    Examples
    --------
    >>> [outcome.violations for outcome in check(500)], check(500, bound=wrong)[0].violations > 0
    ([0], True)
    """
    rng = np.random.default_rng(seed)
    tally = Tally("error of the Taylor polynomial")
    for count in batches(examples, advance):
        order = int(rng.integers(0, 7))
        origin = rng.uniform(-1.0, 1.0, count)
        horizon = rng.uniform(-1.0, 1.0, count) * 10.0 ** rng.uniform(-2.0, 0.0, count)
        derivative, limit, value, size = _FAMILIES[rng.integers(len(_FAMILIES))](rng, origin, horizon, order)
        terms = np.stack([derivative(j) * horizon**j / math.factorial(j) for j in range(order + 1)])
        error = np.abs(value - terms.sum(axis=0))
        fuzz = 1e-14 * (size + np.abs(terms).sum(axis=0))
        tally.add(error, bound(horizon, order, derivative=limit), rounding=fuzz)
    return (tally.outcome(),)


# Each family returns its derivatives at the origin, a bound L between origin and target, its value at the target, and
# a size to which float64 rounds that value.


def _exponential(rng: Any, origin: Floats, horizon: Floats, order: int) -> Family:
    rate = rng.uniform(-4.0, 4.0, origin.size)
    largest = np.maximum(np.exp(rate * origin), np.exp(rate * (origin + horizon)))
    return (
        lambda j: rate**j * np.exp(rate * origin),
        np.abs(rate) ** (order + 1) * largest,
        np.exp(rate * (origin + horizon)),
        10.0 * largest,
    )


def _cosine(rng: Any, origin: Floats, horizon: Floats, order: int) -> Family:
    rate, phase = rng.uniform(0.1, 9.0, origin.size), rng.uniform(0.0, 6.3, origin.size)
    return (
        lambda j: rate**j * np.cos(rate * origin + phase + j * np.pi / 2),
        rate ** (order + 1),
        np.cos(rate * (origin + horizon) + phase),
        10.0 + rate,
    )


def _pole(rng: Any, origin: Floats, horizon: Floats, order: int) -> Family:
    # Real part of 1 / (a - t): a real pole is 1 / (a - t) itself, an imaginary one gives Runge's function.
    pole = rng.uniform(2.1, 4.0, origin.size) * np.exp(1j * rng.uniform(0.0, np.pi, origin.size))
    end = origin + horizon
    nearest = np.clip(pole.real, np.minimum(origin, end), np.maximum(origin, end))
    return (
        lambda j: (math.factorial(j) / (pole - origin) ** (j + 1)).real,
        math.factorial(order + 1) / np.abs(pole - nearest) ** (order + 2),
        (1.0 / (pole - end)).real,
        10.0 / np.abs(pole - nearest),
    )


def _polynomial(rng: Any, origin: Floats, horizon: Floats, order: int) -> Family:
    # Coefficients in powers of the horizon; the derivative of order m + 1 is bounded term by term.
    top = order + 1 + int(rng.integers(0, 4))
    factors = rng.normal(size=(top + 1, origin.size))
    falling = [math.factorial(j) / math.factorial(j - order - 1) for j in range(order + 1, top + 1)]
    powers = [np.abs(factors[j] * horizon ** (j - order - 1)) for j in range(order + 1, top + 1)]
    limit = np.sum([f * p for f, p in zip(falling, powers, strict=True)], axis=0)
    value = np.sum([factors[j] * horizon**j for j in range(top + 1)], axis=0)
    size = np.sum([np.abs(factors[j] * horizon**j) for j in range(top + 1)], axis=0)
    return lambda j: math.factorial(j) * factors[j], limit, value, size


def _extremal(rng: Any, origin: Floats, horizon: Floats, order: int) -> Family:
    limit = 10.0 ** rng.uniform(-3.0, 3.0, origin.size)
    value = bounds.taylor_extremal(horizon, order, derivative=limit)
    return lambda _: np.zeros_like(origin), limit, value, np.abs(value)


_FAMILIES = (_exponential, _cosine, _pole, _polynomial, _extremal)
