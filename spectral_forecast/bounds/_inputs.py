"""The checks that all bounds share. Every argument may be an array; the arrays broadcast."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks, ellipse
from spectral_forecast._typing import Times

__all__ = ["Values", "above_one", "gram_matrix", "in_ellipse", "in_interval", "kept", "not_negative", "plain"]

Values: TypeAlias = Any
"""float64: a number where every argument is one, else an array of the broadcast shape."""

_ROUNDING = 1e-12


def above_one(rho: ArrayLike) -> NDArray[np.float64]:
    """Return ``rho`` as float64, finite and above 1."""
    value = np.asarray(rho, dtype=np.float64)
    if not (value > 1.0).all() or not np.isfinite(value).all():
        raise ValueError(f"`rho` is {value}; write a finite number above 1, the sum of the ellipse's semi-axes.")
    return value


def not_negative(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """Return ``value`` as float64, 0 or more; infinity is allowed and makes the bound infinite."""
    number = np.asarray(value, dtype=np.float64)
    if not (number >= 0.0).all():
        raise ValueError(f"`{name}` is {number}; write 0 or more.")
    return number


def kept(times: Times, t: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the kept times, increasing, and the targets, each finite and after the last of them."""
    nodes = _checks.increasing("times", times)
    points = np.asarray(t, dtype=np.float64)
    for point in points.flat:
        _checks.target(nodes, float(point))
    return nodes, points


def in_interval(times: Times, t: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the kept times and the targets, all of them in [-1, 1]."""
    nodes, points = kept(times, t)
    last = float(np.max(points, initial=nodes[-1]))
    if nodes[0] < -1.0 - _ROUNDING or last > 1.0 + _ROUNDING:
        raise ValueError(
            f"`times` and `t` span [{nodes[0]:.6g}, {last:.6g}]; this bound holds on [-1, 1]: map the clock there."
        )
    return nodes, points


def in_ellipse(times: Times, t: ArrayLike, rho: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the kept times and the targets, all of them inside every ellipse of parameter ``rho``."""
    nodes, points = kept(times, t)
    if (ellipse.parameter(points) >= rho).any() or (np.max(ellipse.parameter(nodes)) >= rho).any():
        last, least = float(np.max(points, initial=nodes[-1])), float(np.min(rho))
        raise ValueError(
            f"`times` and `t` span [{nodes[0]:.6g}, {last:.6g}], outside the ellipse of parameter "
            f"{least:.6g}, which meets the real line at -+{(least + 1.0 / least) / 2.0:.6g}: nothing bounds the error "
            "there. Map the clock to [-1, 1], or write a larger `rho` if the feature is analytic that far."
        )
    return nodes, points


def gram_matrix(gram: ArrayLike, count: int) -> NDArray[np.float64]:
    """Return ``gram`` as a finite float64 matrix of ``count`` rows and columns with no negative diagonal."""
    matrix = np.asarray(gram, dtype=np.float64)
    if matrix.shape != (count, count):
        raise ValueError(f"`gram` has shape {matrix.shape}; write ({count}, {count}), one row for each of `times`.")
    if not np.isfinite(matrix).all() or (np.diag(matrix) < 0.0).any():
        raise ValueError("`gram` holds a NaN, an infinity or a negative square; write inner products of the features.")
    return matrix


def plain(values: NDArray[np.float64]) -> Values:
    """Return ``values``, as a float where it has no dimension."""
    return float(values) if values.ndim == 0 else values
