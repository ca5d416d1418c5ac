r"""How far into the complex plane is a feature analytic? Bernstein ellipses around [-1, 1].

The ellipse :math:`E_\rho` has the foci -1 and 1 and semi-axes :math:`(\rho \pm \rho^{-1})/2`, whose sum is
:math:`\rho > 1`. It is the image of the circle :math:`|u| = \rho` under :math:`z = (u + u^{-1})/2`
(Trefethen, "Approximation Theory and Approximation Practice", chapter 8).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks

__all__ = ["bound", "boundary", "inscribed", "largest", "parameter"]

_RESOLVED = 1e-12
_SAMPLES = 1 << 16


def parameter(z: ArrayLike) -> NDArray[np.float64]:
    r"""Return the parameter of the ellipse that passes through ``z``.

    Parameters
    ----------
    z : array_like of complex
        Points of the plane; infinity is allowed.

    Returns
    -------
    ndarray of float64, shape of ``z``
        :math:`|z + \sqrt{z - 1} \sqrt{z + 1}|`, 1 on [-1, 1] and above 1 elsewhere.

    Examples
    --------
    >>> parameter([0.5, 1.25, 0.75j])
    array([1., 2., 2.])
    """
    points = np.asarray(z, dtype=np.complex128)
    if np.isnan(points).any():
        raise ValueError(f"`z` holds a NaN: {points}; write points of the complex plane.")
    far = np.abs(points) > 1e150  # squares would overflow, and the ellipse is a circle to rounding
    safe = np.where(far, 2.0, points)
    near = np.abs(safe + np.sqrt(safe - 1.0) * np.sqrt(safe + 1.0))
    with np.errstate(over="ignore"):
        value = np.where(far, 2.0 * np.abs(points), near)
    real = (points.imag == 0.0) & (np.abs(points.real) <= 1.0)
    return np.asarray(np.where(real, 1.0, np.maximum(value, 1.0)))


def boundary(rho: float, points: int = 360) -> NDArray[np.complex128]:
    """Return points on the ellipse, counter-clockwise from its right end.

    Parameters
    ----------
    rho : float
        Parameter of the ellipse, above 1.
    points : int
        How many, at equal angles of u, 1 or more.

    Returns
    -------
    ndarray of complex128, shape (points,)

    Examples
    --------
    >>> boundary(2.0, 4).round(2) + 0.0
    array([ 1.25+0.j  ,  0.  +0.75j, -1.25+0.j  ,  0.  -0.75j])
    """
    count = _checks.integer("points", points, least=1)
    u = _above_one(rho) * np.exp(2j * np.pi * np.arange(count) / count)
    return np.asarray((u + 1.0 / u) / 2.0)


def largest(singularities: ArrayLike) -> float:
    """Return the parameter of the largest ellipse whose interior is free of the given points.

    Parameters
    ----------
    singularities : array_like of complex
        Where the function is not analytic: poles, branch points. Empty for an entire function.

    Returns
    -------
    float
        Above 1; infinity where there are none. A function is bounded on every *smaller* ellipse.

    Raises
    ------
    ValueError
        If a singularity lies on [-1, 1], because then no ellipse is free of it.

    Examples
    --------
    Runge's function 1 / (1 + 25 x**2):

    >>> round(largest([0.2j, -0.2j]), 4)
    1.2198
    """
    points = np.asarray(singularities, dtype=np.complex128).reshape(-1)
    least = float(np.min(parameter(points), initial=np.inf))
    if least <= 1.0:
        raise ValueError(
            f"`singularities` holds {complex(points[np.argmin(parameter(points))])} on [-1, 1]; no ellipse is free "
            "of it. Map the clock so that [-1, 1] ends before it."
        )
    return least


def inscribed(rho: float, start: float, end: float) -> float:
    """Return the parameter of the largest ellipse with foci ``start`` and ``end`` inside the ellipse of ``rho``.

    A forecast sees the feature on the kept interval only. What is analytic in the run's ellipse is analytic in
    this one, in the coordinate that maps the kept interval to [-1, 1].

    Parameters
    ----------
    rho : float
        Parameter of the ellipse around [-1, 1], above 1.
    start, end : float
        Ends of the interval, ``start < end``, inside the ellipse.

    Returns
    -------
    float
        Above 1, rounded down by a relative 1e-5.

    Examples
    --------
    >>> round(inscribed(2.0, -1.0, 1.0), 3), round(inscribed(2.0, -1.0, 0.0), 3)
    (2.0, 2.618)
    """
    limit = _above_one(rho) + 1.0 / rho
    first, last = _checks.finite("start", start), _checks.finite("end", end)
    if not first < last or max(abs(first), abs(last)) >= limit / 2.0:
        raise ValueError(
            f"`start` and `end` are {first:.6g} and {last:.6g}; write an interval inside the ellipse, which meets the "
            f"real line at -+{limit / 2.0:.6g}."
        )
    centre, half = (first + last) / 2.0, (last - first) / 2.0
    circle = np.exp(1j * np.pi * np.arange(2049) / 2048)  # the lower half is its mirror image

    def fits(radius: float) -> bool:
        u = radius * circle
        z = centre + half * (u + 1.0 / u) / 2.0
        return bool(np.max(np.abs(z - 1.0) + np.abs(z + 1.0)) <= limit)

    low, high = 1.0, 2.0 * limit / half
    while high - low > 1e-7 * low:
        middle = (low + high) / 2.0
        low, high = (middle, high) if fits(middle) else (low, middle)
    return max(float(np.nextafter(1.0, 2.0)), low * (1.0 - 1e-5))


def bound(function: Callable[[NDArray[np.complex128]], Any], rho: float) -> float:
    r"""Return the largest modulus of an analytic function on the ellipse, which is the bound B of the theorems.

    Parameters
    ----------
    function : callable
        Takes complex points (n,) and returns values (n,), or (n, ...) for a vector, whose 2-norm is bounded.
    rho : float
        Parameter of the ellipse, above 1.

    Returns
    -------
    float
        Never below the maximum by more than a relative 1e-10, and above it by at most 2e-3. Infinity where no
        bound can be vouched for: a value is not finite, or the function is not analytic inside.

    Notes
    -----
    The maximum is on the boundary (maximum principle), but values there do not show a pole inside. Cauchy's
    theorem does: with :math:`f = \sum_m c_m T_m`, the Fourier coefficient of order -m on the boundary is
    :math:`\rho^{-2m}` times that of order m if and only if f is analytic inside. The samples are doubled until
    the Fourier series of f is resolved; a function of degree n there is bounded by its maximum over N samples
    divided by :math:`\cos(\pi n / N)` (Ehlich and Zeller).

    Examples
    --------
    >>> import numpy as np
    >>> round(bound(np.exp, 2.0), 2)  # exp(1.25) = 3.49
    3.49
    >>> bound(lambda z: 1 / (z - 0.5j), 2.0)  # a pole inside
    inf
    """
    _above_one(rho)
    count = 64
    while True:
        with np.errstate(all="ignore"):
            values = np.asarray(function(boundary(rho, count)), dtype=np.complex128)
        if values.shape[:1] != (count,):
            raise ValueError(f"`function` returned shape {values.shape} for {count} points; write one value a point.")
        if not np.isfinite(values).all():
            return np.inf
        modes = np.fft.fft(values.reshape(count, -1), axis=0) / count
        size = np.linalg.norm(modes, axis=1)
        orders = np.abs(np.fft.fftfreq(count, 1.0 / count))
        needed = int(np.max(orders[size > _RESOLVED * np.max(size)], initial=0.0))
        if needed <= count // 64 or count == _SAMPLES:
            break
        count *= 2
    if needed > count // 8:  # the series has not ended: a singularity on the boundary or close to it
        return np.inf
    m = np.arange(1, count // 2)
    mirrored = modes[m] * np.exp(-2.0 * m * np.log(rho))[:, None]
    if float(np.max(np.linalg.norm(modes[-m] - mirrored, axis=1), initial=0.0)) > 1e-9 * float(np.max(size)):
        return np.inf
    peak = float(np.max(np.linalg.norm(values.reshape(count, -1), axis=1)))
    return peak / float(np.cos(np.pi * needed / count))


def _above_one(rho: float) -> float:
    value = _checks.finite("rho", rho)
    if value <= 1.0:
        raise ValueError(f"`rho` is {value}; write a number above 1, the sum of the ellipse's semi-axes.")
    return value
