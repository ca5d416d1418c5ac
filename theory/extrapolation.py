r"""What no rule can beat: values known to a tolerance determine an analytic function only so far."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from spectral_forecast import bounds, ellipse
from spectral_forecast.theory import functions
from spectral_forecast.theory.statement import Advance, Outcome, Statement, Tally, batches

__all__ = ["STATEMENT", "check", "wrong"]

STATEMENT = Statement(
    name="extrapolation",
    title="Stable extrapolation",
    words=(
        r"Two features that agree to within $\epsilon$ on the kept interval, and differ by no more than $Q$ in an "
        r"ellipse around it, differ at a target $x$ beyond by at most $\epsilon^\alpha Q^{1-\alpha}$, and some by "
        r"nearly that much. The exponent $\alpha$ falls from 1 at the end of the interval to 0 on the ellipse: of "
        r"six digits known in the interval, three are left where $\alpha = 1/2$. Here $x$ and $\rho$ belong to the"
        r" coordinate that maps the kept interval to $[-1, 1]$, and the whole interval is known, not $K$ points of"
        r" it."
    ),
    latex=(
        r"|f(x)| \le \epsilon^{\alpha} Q^{1 - \alpha}, \qquad \alpha = 1 - \frac{\log(x + \sqrt{x^2 - "
        r"1})}{\log\rho}"
    ),
    proof=(
        r"The two-constants theorem: $\log|f|$ is subharmonic between the interval and the ellipse, where "
        r"$\log\rho_x / \log\rho$ is the harmonic function that is 0 on the one and 1 on the other. Demanet and "
        r"Townsend (2019) show that least squares on enough samples reaches the exponent. $T_n$ comes within a "
        r"factor $2^\alpha$ of the bound."
    ),
    sharp=False,
    wrong=r"writes $\log x$ for $\log(x + \sqrt{x^2-1})$",
)


def wrong(x: Any, *, rho: float, noise: Any, bound: Any) -> Any:
    """Use a smaller parameter for the target than it has."""
    alpha = 1.0 - np.log(np.maximum(np.abs(x), 1.0)) / np.log(rho)
    return noise**alpha * bound ** (1.0 - alpha)


def check(
    examples: int = 1000, seed: int = 0, *, bound: Callable[..., Any] = bounds.extrapolation, advance: Advance = None
) -> tuple[Outcome, ...]:
    """Try Chebyshev polynomials, drawn analytic functions, and what is left of them after a best fit on the interval.

    Examples
    --------
    >>> check(500)[0].violations, check(500, bound=wrong)[0].violations > 0
    (0, True)
    """
    rng = np.random.default_rng(seed)
    tally = Tally("value beyond the interval")
    dense = np.cos(np.linspace(0.0, np.pi, 2049))
    for count in batches(examples, advance):
        rho = float(np.exp(rng.uniform(np.log(1.05), np.log(8.0))))
        reach = rho ** rng.uniform(0.0, 0.999, 16)  # parameters of the targets
        x = (reach + 1.0 / reach) / 2.0
        kind = rng.integers(3)
        if kind == 0:
            n = rng.integers(1, 60, count).astype(np.float64)
            small, large = np.ones(count), np.cosh(n * np.log(rho))
            value, scale = np.cosh(n[:, None] * np.log(reach)), large
        else:
            drawn = functions.draw(rng, rho, count)
            fitted = int(rng.integers(1, 20)) if kind == 2 else 0
            series = functions.coefficients(drawn.call, 1024)[:fitted] if fitted else np.zeros((1, count))

            def left(z: Any, drawn: functions.Drawn = drawn, series: Any = series) -> Any:
                return np.abs(drawn.call(z) - chebyshev.chebval(z, series))

            small = 1.002 * np.max(left(dense), axis=1)
            large = 1.002 * np.max(left(ellipse.boundary(rho, 4096)), axis=1)
            value, scale = left(x), drawn.bound  # the residual of a near-perfect fit is rounding of this size
        limit = bound(x, rho=rho, noise=small[:, None], bound=large[:, None])
        worst = np.argmax(value / np.maximum(limit, 1e-300), axis=1)[
            :, None
        ]  # one case a function, at its worst target
        value, limit = (np.take_along_axis(part, worst, axis=1)[:, 0] for part in (value, np.asarray(limit)))
        tally.add(value, limit, rounding=1e-12 * scale)
    return (tally.outcome(),)
