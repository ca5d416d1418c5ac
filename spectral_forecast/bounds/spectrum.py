r"""What does Theorem 3.3 of Spectrum say, and what did its proof mean to say? (arXiv 2603.01623, Appendix A.3.)

Throughout, :math:`\Phi_{km} = T_m(t_k)` is the design matrix of the kept times, :math:`\sigma_i` its singular values,
:math:`A = \Phi^T \Phi + \lambda I` and :math:`\varphi_m = T_m(t)`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Times
from spectral_forecast.bounds._inputs import Values, above_one, in_interval, not_negative, plain
from spectral_forecast.bounds.classical import truncation as series_truncation

__all__ = ["RidgeTerms", "ridge", "ridge_terms", "ridge_unsound"]


class RidgeTerms(NamedTuple):
    """The three sources of Spectrum's error; their sum is the error.

    Attributes
    ----------
    truncation : ndarray of float64
        What no polynomial of the degree holds: the tail of the series at the target.
    aliasing : ndarray of float64
        The tail at the kept times, mistaken for low degrees and extrapolated.
    shrinkage : ndarray of float64
        What the penalty takes away from the true coefficients.
    """

    truncation: NDArray[np.float64]
    aliasing: NDArray[np.float64]
    shrinkage: NDArray[np.float64]


def ridge(
    times: Times,
    t: ArrayLike,
    *,
    rho: ArrayLike | None = None,
    degree: int = 4,
    ridge: ArrayLike = 0.1,
    bound: ArrayLike = 1.0,
    noise: ArrayLike = 0.0,
    truncation: ArrayLike | None = None,
    coefficients: ArrayLike | None = None,
) -> Values:
    r"""Bound of Spectrum's forecast error, in its corrected form (arXiv 2603.01623, Theorem 3.3).

    Parameters
    ----------
    times : array_like, shape (K,)
        Times of the kept features in [-1, 1], strictly increasing.
    t : array_like
        Times of the forecasts, in [-1, 1] after the last of ``times``. The bound is the same for all of them.
    rho : array_like, optional
        Parameter of the ellipse, above 1. Needed unless both ``truncation`` and ``coefficients`` are given.
    degree, ridge
        Of the `Chebyshev` rule with ``free=0``. An array of penalties broadcasts.
    bound : array_like
        Bound B on the feature in the ellipse, 0 or more.
    noise : array_like
        Bound on the error of each kept value, 0 or more; it passes through the fit as the tail of the series does.
    truncation : array_like, optional
        A sharper :math:`\varepsilon`: a known bound on the tail of the series after ``degree`` over [-1, 1].
    coefficients : array_like, optional
        A sharper :math:`\|c\|`: the known 2-norm of the first ``degree + 1`` Chebyshev coefficients.

    Returns
    -------
    float or ndarray of float64
        :math:`\varepsilon + \sqrt{(M+1) K} X (\varepsilon + \epsilon)
        + \sqrt{M+1}\, \lambda / (\sigma_{min}^2 + \lambda)\, \|c\|`, with
        :math:`\varepsilon = 2 B \rho^{-M} / (\rho - 1)`, :math:`X = \max_i \sigma_i / (\sigma_i^2 + \lambda)` over the
        singular values of the design matrix, and :math:`\|c\|` at most :math:`B (1 + 4 \sum_m \rho^{-2m})^{1/2}`.
        Infinity without a penalty where the kept times do not determine the polynomial.

    Notes
    -----
    In print X is taken at the *smallest* singular value. That is false in general (`ridge_unsound`), because
    x / (x**2 + ridge) is not monotone. The bound is honest but loose: while K <= M or the kept times are crowded,
    the smallest singular value is nearly 0 and the second term alone is about as large as the feature.
    `worst_case` is exact.

    Examples
    --------
    >>> import numpy as np
    >>> times = np.linspace(-1.0, 0.0, 6)
    >>> round(float(ridge(times, 0.2, rho=2.0)), 3)
    4.615
    """
    return _bound(times, t, rho, degree, ridge, bound, noise, truncation, coefficients, smallest=False)


def ridge_unsound(
    times: Times,
    t: ArrayLike,
    *,
    rho: ArrayLike | None = None,
    degree: int = 4,
    ridge: ArrayLike = 0.1,
    bound: ArrayLike = 1.0,
    truncation: ArrayLike | None = None,
    coefficients: ArrayLike | None = None,
) -> Values:
    r"""Theorem 3.3 as printed, with :math:`X = \sigma_{min} / (\sigma_{min}^2 + \lambda)`. **Not a bound.**

    Errors exceed it. It is here to be refuted: for the feature T_5, degree 4, a penalty of 0.1 and the paper's
    faster schedule, the error is above it at 15 of 40 forecasts, at step 43 by a factor of 2.3.

    Parameters
    ----------
    times, t, rho, degree, ridge, bound, truncation, coefficients
        As in `ridge`, which is the bound to use.

    Returns
    -------
    float or ndarray of float64

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import Chebyshev
    >>> times, t = 2.0 * np.array([0, 1, 2, 3, 4, 6, 11, 19, 30]) / 50 - 1, 2.0 * 43 / 50 - 1
    >>> def feature(x):
    ...     return np.cos(5 * np.arccos(x))  # T_5, whose series has nothing up to degree 4 and a tail of size 1
    >>> error = abs(feature(t) - Chebyshev().weights(times, t) @ feature(times))
    >>> printed = ridge_unsound(times, t, truncation=1.0, coefficients=0.0)
    >>> round(float(error), 3), round(float(printed), 3)
    (4.149, 1.803)
    """
    return _bound(times, t, rho, degree, ridge, bound, 0.0, truncation, coefficients, smallest=True)


def ridge_terms(times: Times, t: float, coefficients: ArrayLike, *, degree: int = 4, ridge: float = 0.1) -> RidgeTerms:
    r"""Split Spectrum's error on a known function exactly into its three sources: the identity behind Theorem 3.3.

    .. math:: h(t) - \hat h(t) = e_M(t) - \varphi^T A^{-1} \Phi^T e + \lambda \varphi^T A^{-1} c

    Parameters
    ----------
    times : array_like, shape (K,)
        Times of the kept features in [-1, 1], strictly increasing.
    t : float
        Time of the forecast, in [-1, 1] after the last of ``times``.
    coefficients : array_like, shape (L, ...)
        Chebyshev coefficients of the function, lowest degree first, any number of functions.
    degree, ridge
        Of the `Chebyshev` rule with ``free=0``. Without a penalty, coefficients that the data leave open have
        the smallest norm, and count as shrinkage.

    Returns
    -------
    RidgeTerms
        Each of shape (...).

    Examples
    --------
    >>> import numpy as np
    >>> terms = ridge_terms(np.linspace(-1.0, 0.0, 6), 0.2, [1.0, 0.5, 0.0, 0.0, 0.0, 0.01])
    >>> [round(float(term), 4) for term in terms]
    [0.0085, -0.0097, 0.2174]
    """
    nodes, point = in_interval(times, t)
    m, penalty = _checks.integer("degree", degree, least=0), _checks.nonnegative("ridge", ridge)
    c = np.asarray(coefficients, dtype=np.float64)
    if c.ndim == 0 or not np.isfinite(c).all():
        raise ValueError(f"`coefficients` is {c}; write finite Chebyshev coefficients, lowest degree first.")
    low = np.zeros((m + 1, *c.shape[1:]))
    low[: len(c)] = c[: m + 1]
    tail = c.copy()
    tail[: m + 1] = 0.0
    design = chebyshev.chebvander(nodes, m)
    left, values, right = np.linalg.svd(design)
    rank = np.count_nonzero(values > _rounding(design, values))
    left, values, right = left[:, :rank], values[:rank], right[:rank]
    scaled = values / (values**2 + penalty)
    row = chebyshev.chebvander(float(point), m)[0]
    seen = right @ row
    # lambda * A^-1: lambda / (s**2 + lambda) in the span of the data, 1 outside of it.
    kept = row - right.T @ ((values * scaled) * seen)
    at_nodes = chebyshev.chebval(nodes, tail)  # (..., K)
    return RidgeTerms(
        np.asarray(chebyshev.chebval(float(point), tail)),
        np.asarray(-at_nodes @ (left @ (scaled * seen))),
        np.asarray(np.tensordot(kept, low, axes=1)),
    )


def _rounding(design: NDArray[Any], values: NDArray[Any]) -> float:
    """How far rounding may have moved the singular values of a design matrix, largest first."""
    return float(np.finfo(np.float64).eps * max(design.shape) * values[0])


def _bound(  # noqa: PLR0917
    times: Times,
    t: ArrayLike,
    rho: ArrayLike | None,
    degree: int,
    ridge: ArrayLike,
    bound: ArrayLike,
    noise: ArrayLike,
    truncation: ArrayLike | None,
    coefficients: ArrayLike | None,
    *,
    smallest: bool,
) -> Values:
    nodes, points = in_interval(times, t)
    m = _checks.integer("degree", degree, least=0)
    penalty = not_negative("ridge", ridge)
    size, each = not_negative("bound", bound), not_negative("noise", noise)
    if rho is None and (truncation is None or coefficients is None):
        raise ValueError("`rho` is None; write the ellipse's parameter, or both `truncation` and `coefficients`.")
    r = above_one(2.0 if rho is None else rho)
    if truncation is None:
        tail = np.asarray(series_truncation(m, r, bound=size))
    else:
        tail = not_negative("truncation", truncation)
    powers = np.sum(np.power.outer(r, -2.0 * np.arange(1, m + 1)), axis=-1)
    norm = size * np.sqrt(1.0 + 4.0 * powers) if coefficients is None else not_negative("coefficients", coefficients)
    design = chebyshev.chebvander(nodes, m)
    values = np.linalg.svd(design, compute_uv=False)
    # Each singular value is taken where it makes the bound largest.
    fuzz = _rounding(design, values)
    low = np.maximum(values - fuzz, 0.0)
    least = float(low[-1]) if nodes.size > m else 0.0
    with np.errstate(all="ignore"):
        used = np.array([least]) if smallest else np.clip(np.sqrt(penalty)[..., None], low, values + fuzz)
        filtered = np.divide(used, used**2 + penalty[..., None])
        amplification = np.sqrt((m + 1) * nodes.size) * np.max(filtered, axis=-1)
        bias = np.sqrt(m + 1) * penalty / (least**2 + penalty)  # 0 / 0 where nothing determines the polynomial
        total = tail + amplification * (tail + each) + bias * norm
    total = np.where(np.isnan(total), np.inf, total)
    return plain(np.broadcast_to(total, np.broadcast_shapes(total.shape, points.shape)))
