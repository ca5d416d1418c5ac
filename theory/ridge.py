r"""Theorem 3.3: Spectrum's error, the exact identity behind it, and the form in print that is false."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from spectral_forecast import Chebyshev, bounds
from spectral_forecast.theory import functions
from spectral_forecast.theory.statement import Advance, Outcome, Statement, Tally, batches

__all__ = ["STATEMENT", "check", "wrong"]

STATEMENT = Statement(
    name="ridge",
    title="Spectrum's ridge forecast (Theorem 3.3, corrected)",
    words=(
        r"The error of Spectrum's forecast is the tail of the feature's series at the target, plus the tail at the"
        r" kept times as the fit passes it on, plus what the penalty takes from the true coefficients. Bounding "
        r"the three parts gives Theorem 3.3, provided that the fit's amplification $X$ is taken at the singular "
        r"value where it is largest. In print it is taken at the smallest, and then the statement is false. $X \le"
        r" 1/(2\sqrt\lambda)$ always."
    ),
    latex=(
        r"|h - \hat h| \le \varepsilon_M \left(1 + \sqrt{(M+1)K}\,X\right) + "
        r"\sqrt{M+1}\,\frac{\lambda}{\sigma_{\min}^2 + \lambda}\,\|c\|, \qquad X = \max_i "
        r"\frac{\sigma_i}{\sigma_i^2 + \lambda}"
    ),
    proof=(
        r"With $A = \Phi^T\Phi + \lambda I$: $h - \hat h = e_M(t) - \varphi^T A^{-1}\Phi^T e + \lambda \varphi^T "
        r"A^{-1} c$. Each factor is bounded by its norm; $\|A^{-1}\Phi^T\|$ is the largest of $\sigma_i / "
        r"(\sigma_i^2 + \lambda)$, a function of $\sigma$ that rises up to $\sqrt\lambda$ and falls after it "
        r"(arXiv 2603.01623, Appendix A.3, where the maximum is read off at $\sigma_{\min}$)."
    ),
    sharp=False,
    wrong="is the printed form, $X$ at the smallest singular value",
)


def wrong(times: Any, t: float, **arguments: Any) -> Any:
    """Bound as in print; noise, of which it knows nothing, is let pass as the corrected form does."""
    noise = arguments.pop("noise")
    passed = bounds.ridge(times, t, noise=noise, **arguments) - bounds.ridge(times, t, **arguments)
    return bounds.ridge_unsound(times, t, **arguments) + passed


def check(
    examples: int = 1000, seed: int = 0, *, bound: Callable[..., Any] = bounds.ridge, advance: Advance = None
) -> tuple[Outcome, ...]:
    """Try drawn series in the class, with noise, single degrees above the fit's, and drawn analytic functions.

    Examples
    --------
    >>> [outcome.violations for outcome in check(500)], check(2000, bound=wrong)[1].violations > 0
    ([0, 0, 0], True)
    """
    rng = np.random.default_rng(seed)
    whole, known, identity = (
        Tally(name)
        for name in (
            "error, from B and rho",
            "error, tail and coefficients known",
            "identity, to a relative 1e-9",
        )
    )
    for case in functions.cases(rng, batches(examples, advance)):
        degree, penalty = int(rng.integers(0, 8)), 10.0 ** rng.uniform(-5.0, 2.0)
        w = Chebyshev(degree, ridge=penalty).weights(case.times, case.t)
        points = np.append(case.times, case.t)
        length = math.ceil(37.0 / np.log(case.rho)) + 2
        if rng.random() < 0.3:
            drawn = functions.draw(rng, case.rho, case.size)
            series, size, values = functions.coefficients(drawn.call, length), drawn.bound, drawn.call(points)
        else:
            series = functions.draw_series(rng, case.rho, case.size, length)[:, 0].T
            if rng.random() < 0.2:  # one degree that the fit does not have, where the printed form fails
                series = np.zeros_like(series)
                series[min(degree + 1 + int(rng.integers(0, 3)), length - 1)] = rng.normal(size=case.size)
                size = np.max(np.abs(series) / (2.0 * case.rho ** -np.arange(float(length)))[:, None], axis=0) * 2.0
            else:
                size = np.ones(case.size)
            values = chebyshev.chebval(points, series)
        noise = float(rng.choice([0.0, 1e-3]))
        signs = rng.choice([-1.0, 1.0], size=values[:, :-1].shape)
        signed = values[:, -1] - values[:, :-1] @ w
        noisy = np.abs(signed - noise * signs @ w)
        arguments = {"degree": degree, "ridge": penalty, "noise": noise}
        fuzz = 1e-12 * size * (1.0 + np.abs(w).sum())
        whole.add(noisy, bound(case.times, case.t, rho=case.rho, bound=size, **arguments), rounding=fuzz)
        tail = np.sum(np.abs(series[degree + 1 :]), axis=0)
        low = np.linalg.norm(series[: degree + 1], axis=0)
        limit = bound(case.times, case.t, truncation=tail, coefficients=low, **arguments)
        known.add(noisy, limit, rounding=fuzz)
        terms = bounds.ridge_terms(case.times, case.t, series, degree=degree, ridge=penalty)
        apart = np.abs(signed - sum(terms))
        identity.add(apart, 1e-9 * size * (1.0 + np.abs(w).sum()))
    return whole.outcome(), known.outcome(), identity.outcome()
