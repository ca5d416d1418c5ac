r"""How wrong can a weighted sum of kept features be, at worst, over a whole class of functions?

Everything here is about the *misses* of a rule, :math:`E_m = T_m(t) - \sum_k w_k T_m(t_k)`: the error of the
feature :math:`\sum_m c_m T_m` is :math:`\sum_m c_m E_m`. The sums run to a relative 1e-13; what is left and
what rounding can do is added, so that no value is too small.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks, ellipse
from spectral_forecast._typing import LinearForecaster, Times
from spectral_forecast.bounds._inputs import Values, above_one, in_ellipse, kept, not_negative, plain
from spectral_forecast.clock import map_clock
from spectral_forecast.plan import Plan

__all__ = ["lebesgue", "of_plan", "power", "worst_case", "worst_function"]

_TAIL = 1e-13
_LONGEST = 200_000
_BLOCK = 4_000_000
_EPS = float(np.finfo(np.float64).eps)


def worst_case(
    weights: ArrayLike,
    times: Times,
    t: ArrayLike,
    *,
    rho: ArrayLike,
    bound: ArrayLike = 1.0,
    noise: ArrayLike = 0.0,
) -> Values:
    r"""Largest error of a linear forecast over all functions with :math:`|c_0| \le B, |c_m| \le 2 B \rho^{-m}`.

    Parameters
    ----------
    weights : array_like, shape (..., K)
        Of any rule, as its ``weights(times, t)`` returns them.
    times : array_like, shape (K,)
        Times of the kept features, strictly increasing; in [-1, 1], or outside but inside the ellipse.
    t : array_like, shape (...)
        Times of the forecasts, after the last of ``times``, inside the ellipse.
    rho : array_like, shape (...)
        Parameter of the ellipse, above 1.
    bound : array_like, shape (...)
        Bound B on the feature in the ellipse, 0 or more.
    noise : array_like, shape (...)
        Bound on the error of each kept value, 0 or more; adds ``noise * sum(abs(weights))``.

    Returns
    -------
    float or ndarray of float64, shape (...)
        :math:`B \beta(w)`, with :math:`\beta = |E_0| + 2 \sum_{m \ge 1} \rho^{-m} |E_m|` and
        :math:`E_m = T_m(t) - \sum_k w_k T_m(t_k)`. The supremum is attained, by `worst_function`. The series is
        summed up to a degree L, and a bound of the rest, on [-1, 1] :math:`2 \rho^{-L} (1 + \|w\|_1) / (\rho - 1)`,
        is added.

    Raises
    ------
    ValueError
        If a time is outside the ellipse, where nothing bounds the error, or if a weight is not finite.

    Notes
    -----
    Every function analytic and bounded by B in the ellipse has such coefficients (Theorem 3.2), so this bounds
    its error too. It ranks all rules on equal terms.

    Examples
    --------
    >>> from spectral_forecast import Newton, Reuse
    >>> times, t = [-1.0, -0.8], -0.5
    >>> round(worst_case(Reuse().weights(times, t), times, t, rho=3.0), 3)
    0.448
    >>> round(worst_case(Newton(1).weights(times, t), times, t, rho=3.0), 3)
    0.297
    >>> worst_case(Reuse().weights(times, t), times, t, rho=[2.0, 3.0], bound=[[1.0], [10.0]]).shape
    (2, 2)
    """
    size, each = not_negative("bound", bound), not_negative("noise", noise)
    w, beta = _series(weights, times, t, rho, squared=False)
    mass = np.sum(np.abs(w), axis=-1)
    with np.errstate(invalid="ignore"):  # 0 * inf: no weight on values of which nothing is known
        value = size * beta + each * mass
    return plain(np.where(np.isnan(value), np.inf, value))


def worst_function(
    weights: ArrayLike, times: Times, t: float, *, rho: float, bound: float = 1.0, degree: int = 256
) -> NDArray[np.float64]:
    r"""Chebyshev coefficients of the function on which a linear forecast is as wrong as `worst_case` says.

    Parameters
    ----------
    weights, times, t, rho, bound
        As in `worst_case`, for one forecast.
    degree : int
        Last coefficient; the misses above it, about ``bound * rho**-degree``, are left out.

    Returns
    -------
    ndarray of float64, shape (degree + 1,)
        :math:`B, 2 B \rho^{-1}, 2 B \rho^{-2}, \dots` with the signs of the misses. For
        `numpy.polynomial.chebyshev.chebval`.

    Examples
    --------
    >>> from spectral_forecast import Reuse
    >>> w = Reuse().weights([-1.0, -0.8], -0.5)
    >>> c = worst_function(w, [-1.0, -0.8], -0.5, rho=3.0)
    >>> error = np.polynomial.chebyshev.chebval(-0.5, c) - w @ np.polynomial.chebyshev.chebval([-1.0, -0.8], c)
    >>> bool(abs(error / worst_case(w, [-1.0, -0.8], -0.5, rho=3.0) - 1.0) < 1e-9)
    True
    """
    r = above_one(_checks.finite("rho", rho))
    nodes, point = in_ellipse(times, t, r)
    w = _weights(weights, nodes)
    orders = np.arange(_checks.integer("degree", degree, least=0) + 1)
    decayed = _decayed(orders, np.append(nodes, point), float(r))
    signs = np.where(decayed @ np.append(-w, 1.0) < 0.0, -1.0, 1.0)
    size = 2.0 * _checks.nonnegative("bound", bound) * float(r) ** -orders
    size[0] /= 2.0
    return np.asarray(signs * size)


def power(weights: ArrayLike, times: Times, t: ArrayLike, *, rho: ArrayLike) -> Values:
    r"""Largest error of a linear forecast over all functions of norm 1: the power function of any rule.

    Parameters
    ----------
    weights, times, t, rho
        As in `worst_case`.

    Returns
    -------
    float or ndarray of float64, shape (...)
        :math:`P = (\sum_m \rho^{-2m} E_m^2)^{1/2}`, so that :math:`|f(t) - \sum_k w_k f(t_k)| \le P \|f\|` with
        :math:`\|f\|^2 = \sum_m \rho^{2m} |c_m|^2`, the norm of the analytic kernel
        :math:`\sum_m \rho^{-2m} T_m(x) T_m(y)`. Attained by :math:`c_m = \rho^{-2m} E_m`.

    Notes
    -----
    Equal to :math:`(K_{**} - 2 w^T k + w^T K w)^{1/2}`, without the cancellation. No rule has a smaller one than
    the kernel's own, `AnalyticKernel` with ``ridge=0`` (Golomb and Weinberger 1959). `norm` estimates
    :math:`\|f\|` from kept features.

    Examples
    --------
    >>> from spectral_forecast import Newton
    >>> w = Newton(1).weights([-1.0, -0.8], -0.5)
    >>> round(power(w, [-1.0, -0.8], -0.5, rho=3.0), 3)
    0.075
    """
    return plain(_series(weights, times, t, rho, squared=True)[1])


def lebesgue(forecaster: LinearForecaster, times: Times, t: ArrayLike) -> Values:
    r"""Return the Lebesgue function of a rule, :math:`\sum_k |w_k(t)|`: how much noise grows in a forecast.

    Parameters
    ----------
    forecaster : LinearForecaster
        Anything with ``weights(times, t)``.
    times : array_like, shape (K,)
        Times of the kept features, strictly increasing.
    t : array_like, shape (...)
        Times of the forecasts, after the last of ``times``.

    Returns
    -------
    float or ndarray of float64, shape (...)
        Errors of at most :math:`\epsilon` in the kept values move the forecast by at most this times
        :math:`\epsilon`, and the signs of the weights attain it. At least 1 for a rule that keeps constants.

    Examples
    --------
    >>> from spectral_forecast import Newton
    >>> lebesgue(Newton(1), [0.0, 1.0], [2.0, 3.0])
    array([3., 5.])
    """
    nodes, points = kept(times, t)
    sums = [float(np.sum(np.abs(forecaster.weights(nodes, float(point))))) for point in points.flat]
    return plain(np.array(sums).reshape(points.shape))


def _weights(weights: ArrayLike, nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    w = np.asarray(weights, dtype=np.float64)
    if w.shape[-1:] != nodes.shape or not np.isfinite(w).all():
        raise ValueError(f"`weights` is {w}; write one finite weight for each of the {nodes.size} `times`.")
    return w


def _series(
    weights: ArrayLike, times: Times, t: ArrayLike, rho: ArrayLike, *, squared: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The weights, and beta or (squared) the power of each forecast, never too small."""
    radius = above_one(rho)
    nodes, points = in_ellipse(times, t, radius)
    w = _weights(weights, nodes)
    shape = np.broadcast_shapes(w.shape[:-1], points.shape, radius.shape)
    targets, radii = (np.broadcast_to(part, shape).ravel() for part in (points, radius))
    rules = np.broadcast_to(w, (*shape, nodes.size)).reshape(radii.size, nodes.size)
    value = np.zeros(radii.size)
    for r in np.unique(radii):
        pick = np.flatnonzero(radii == r)
        far = max(float(np.max(ellipse.parameter(x))) for x in (nodes, targets[pick]))
        for start in range(0, len(pick), rows := _BLOCK // _length(float(r), far)):
            block = pick[start : start + rows]
            value[block] = _sum(rules[block], nodes, targets[block], float(r), far, squared=squared)
    return w, value.reshape(shape)


def _length(r: float, far: float) -> int:
    """Degree after which the rest of the series is below 1e-13, or the highest that is worth a sum."""
    q = far / r  # below 1, after rounding too: both are float64
    return math.ceil(min(math.log(_TAIL * (1.0 - q)) / math.log(q), _LONGEST))


def _sum(
    w: NDArray[np.float64],
    nodes: NDArray[np.float64],
    points: NDArray[np.float64],
    r: float,
    far: float,
    *,
    squared: bool,
) -> NDArray[np.float64]:
    length = _length(r, far)
    orders = np.arange(length + 1)
    # Columns: the misses of each rule, already times rho**-m.
    missed = np.abs(_decayed(orders, points, r) - _decayed(orders, nodes, r) @ w.T)
    mass = 1.0 + np.sum(np.abs(w), axis=1)
    q, gap = far / r, (r - far) / r
    # Angles are good to eps, so the miss of order m is to m * eps.
    rounding = 8.0 * _EPS * mass * min(1.0 / gap**2, length**2)
    if squared:
        return np.asarray(
            np.sqrt(np.sum(missed**2, axis=0) + mass**2 * q ** (2 * length + 2) / (gap * (1.0 + q))) + rounding
        )
    return np.asarray(missed[0] + 2.0 * np.sum(missed[1:], axis=0) + 2.0 * mass * q ** (length + 1) / gap + rounding)


def _decayed(orders: NDArray[np.integer], points: NDArray[np.float64], r: float) -> NDArray[np.float64]:
    """Return rho**-m T_m(x), shape (orders, points).

    With x = cos(a) cosh(u), T_m(x) = cos(m a) cosh(m u): exact to rounding at every order, where the recurrence
    would gather errors; u = 0 on [-1, 1].
    """
    angles = np.arccos(np.clip(points, -1.0, 1.0))
    growth = np.log(ellipse.parameter(points))
    up, down = np.outer(orders, growth - math.log(r)), np.outer(orders, -growth - math.log(r))
    return np.asarray(np.cos(np.outer(orders, angles)) * (np.exp(up) + np.exp(down)) / 2.0)


def of_plan(plan: Plan, times: Times, *, rho: float, span: tuple[float, float] | None = None) -> NDArray[np.float64]:
    r"""Return the exact worst case :math:`\beta` of every forecast of a plan, for a feature bounded by 1.

    Parameters
    ----------
    plan : Plan
    times : array_like, shape (N,)
        The clock that the plan was made with.
    rho : float
        Parameter of the ellipse, above 1.
    span : tuple of float, optional
        The span that the plan was made with.

    Returns
    -------
    ndarray of float64, shape (N,)
        `worst_case` of each forecast; NaN at evaluated steps.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import Newton, make_plan, schedules
    >>> times = np.arange(8)
    >>> plan = make_plan(Newton(1), times, schedules.every(8, 3, warmup=2))
    >>> of_plan(plan, times, rho=2.0).round(2)
    array([ nan,  nan, 1.16, 2.51,  nan, 0.68, 1.47,  nan])
    """
    clock = _checks.increasing("times", times)
    if clock.size != plan.steps:
        raise ValueError(f"`times` holds {clock.size} steps, the plan has {plan.steps}; write the plan's own clock.")
    tau = map_clock(clock, span)
    beta = np.full(plan.steps, np.nan)
    for step in np.flatnonzero(~plan.evaluate):
        rows = plan.rows(int(step))
        nodes = tau[plan.nodes(int(step))[rows]]
        beta[step] = worst_case(plan.weights[step, rows], nodes, float(tau[step]), rho=rho)
    return beta
