"""What do Taylor's and Bernstein's theorems allow? (arXiv 2603.01623, Theorems 3.1 and 3.2.)"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks, ellipse
from spectral_forecast.bounds._inputs import Values, above_one, not_negative, plain

__all__ = ["taylor", "taylor_extremal", "truncation"]


def taylor(horizon: ArrayLike, order: int, *, derivative: ArrayLike = 1.0, noise: ArrayLike = 0.0) -> Values:
    r"""Largest error of the Taylor polynomial with exact derivatives (arXiv 2603.01623, Theorem 3.1).

    Parameters
    ----------
    horizon : array_like
        Distance from the point of expansion to the target, in the unit of the derivative.
    order : int
        Order m of the polynomial, 0 or more.
    derivative : array_like
        Bound L on the absolute value of the derivative of order m + 1, 0 or more; broadcasts with ``horizon``.
    noise : array_like
        Bound :math:`\epsilon` on the error of every derivative that enters, 0 or more: adds
        :math:`\epsilon \sum_{j \le m} |t - t_0|^j / j!`.

    Returns
    -------
    float or ndarray of float64
        :math:`L |t - t_0|^{m+1} / (m+1)!` and the noise. Sharp: `taylor_extremal` attains it.

    Examples
    --------
    >>> float(taylor(0.5, 1, derivative=4.0))
    0.5
    """
    m = _checks.integer("order", order, least=0)
    distance = np.abs(np.asarray(horizon, dtype=np.float64))
    if not np.isfinite(distance).all():
        raise ValueError(f"`horizon` is {distance}; write finite distances.")
    limit, each = not_negative("derivative", derivative), not_negative("noise", noise)
    term, total = np.ones_like(distance), np.zeros_like(distance)
    with np.errstate(over="ignore", invalid="ignore"):
        for j in range(1, m + 2):  # term by term, so that neither the power nor the factorial overflows alone
            total = total + term
            term = term * distance / j
        # At no distance nothing is extrapolated, whatever the derivative; without one, at whatever distance.
        error = np.where((distance == 0.0) | (limit == 0.0), 0.0, limit * term)
        error = error + np.where(each == 0.0, 0.0, each * total)
    return plain(np.where(np.isnan(error), np.inf, error))


def taylor_extremal(
    t: ArrayLike, order: int, *, origin: ArrayLike = 0.0, derivative: ArrayLike = 1.0
) -> NDArray[np.float64]:
    r"""Values of the function that attains `taylor`, :math:`L (t - t_0)^{m+1} / (m+1)!`.

    Its Taylor polynomial of order m at ``origin`` is zero, so these values are the error.

    Parameters
    ----------
    t : array_like
        Where to evaluate it.
    order : int
        Order m of the polynomial that it defeats, 0 or more.
    origin : array_like
        Point of expansion :math:`t_0`.
    derivative : array_like
        Its derivative L of order m + 1, the same everywhere.

    Returns
    -------
    ndarray of float64

    Examples
    --------
    >>> float(abs(taylor_extremal(0.5, 1, derivative=4.0)) == taylor(0.5, 1, derivative=4.0))
    1.0
    """
    horizon = np.subtract(t, origin, dtype=np.float64)
    value = np.ones_like(horizon)
    for j in range(1, _checks.integer("order", order, least=0) + 2):
        value = value * horizon / j
    return np.asarray(np.multiply(derivative, value))


def truncation(degree: int, rho: ArrayLike, *, bound: ArrayLike = 1.0, at: ArrayLike = 0.0) -> Values:
    r"""Largest error of the Chebyshev series cut after ``degree`` (arXiv 2603.01623, Theorem 3.2; Bernstein).

    Parameters
    ----------
    degree : int
        Last degree M that is kept, 0 or more.
    rho : array_like
        Parameter of the ellipse, above 1.
    bound : array_like
        Bound B on the function in the ellipse, 0 or more; broadcasts with ``rho``.
    at : array_like of complex
        Where, inside the ellipse. The bound is the same at every point of [-1, 1].

    Returns
    -------
    float or ndarray of float64
        :math:`2 B \rho^{-M} / (\rho - 1)` on [-1, 1]; at a point on the ellipse of parameter r,
        :math:`2 B (r/\rho)^{M+1} / (1 - r/\rho)`. Over all coefficients :math:`|c_m| \le 2 B \rho^{-m}` it is attained,
        at t = 1 by those with equality.

    Examples
    --------
    >>> float(truncation(4, 2.0))
    0.125
    """
    m = _checks.integer("degree", degree, least=0)
    r, size, here = above_one(rho), not_negative("bound", bound), ellipse.parameter(at)
    if (here >= r).any():
        raise ValueError(
            f"`at` is {np.asarray(at)}, outside the ellipse of parameter {r}; write a point inside, or a larger `rho`."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.asarray(2.0 * size * (here / r) ** (m + 1) / (1.0 - here / r))
    return plain(np.where(np.isnan(error), np.inf, error))
