r"""How wrong can a forecast be? The theorems of Spectrum, and the exact worst case of any linear rule.

The class of functions is the one of Theorem 3.2: analytic in the Bernstein ellipse :math:`E_\rho` (foci -1 and 1,
semi-axes summing to :math:`\rho`) and bounded there by :math:`B`. Times live on [-1, 1].
"""

import math

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Times

__all__ = ["ridge", "taylor", "truncation", "worst_case"]

_TAIL = 1e-13
_LONGEST = 200_000


def taylor(horizon: ArrayLike, order: int, *, derivative: ArrayLike = 1.0) -> NDArray[np.float64]:
    r"""Largest error of the Taylor polynomial with exact derivatives (arXiv 2603.01623, Theorem 3.1).

    Parameters
    ----------
    horizon : array_like
        Distance from the point of expansion to the target, in the unit of the derivative.
    order : int
        Order m of the polynomial, 0 or more.
    derivative : array_like
        Bound L on the absolute value of the derivative of order m + 1, 0 or more; broadcasts with ``horizon``.

    Returns
    -------
    ndarray of float64
        :math:`L |t - t_0|^{m+1} / (m+1)!`. Sharp: ``L * (t - t0)**(m + 1) / factorial(m + 1)`` attains it.

    Examples
    --------
    >>> float(taylor(0.5, 1, derivative=4.0))
    0.5
    """
    m = _checks.integer("order", order, least=0)
    distance = np.abs(np.asarray(horizon, dtype=np.float64))
    limit = _not_negative("derivative", derivative)
    with np.errstate(over="ignore"):
        return np.asarray(limit * distance ** (m + 1) / float(math.factorial(m + 1)))


def truncation(degree: int, rho: ArrayLike, *, bound: ArrayLike = 1.0) -> NDArray[np.float64]:
    r"""Largest error of the Chebyshev series cut after ``degree`` (arXiv 2603.01623, Theorem 3.2; Bernstein).

    Parameters
    ----------
    degree : int
        Last degree M that is kept, 0 or more.
    rho : array_like
        Parameter of the ellipse, above 1.
    bound : array_like
        Bound B on the function in the ellipse, 0 or more; broadcasts with ``rho``.

    Returns
    -------
    ndarray of float64
        :math:`2 B \rho^{-M} / (\rho - 1)`, uniform over [-1, 1].

    Examples
    --------
    >>> float(truncation(4, 2.0))
    0.125
    """
    m = _checks.integer("degree", degree, least=0)
    r = _above_one(rho)
    return np.asarray(2.0 * _not_negative("bound", bound) * r**-m / (r - 1.0))


def ridge(
    times: Times, t: float, *, rho: float, degree: int = 4, ridge: float = 0.1, bound: float = 1.0
) -> float:  # numpydoc ignore=PR02
    r"""Bound of Spectrum's forecast error, in its corrected form (arXiv 2603.01623, Theorem 3.3).

    Parameters
    ----------
    times : array_like, shape (K,)
        Times of the kept features in [-1, 1], strictly increasing.
    t : float
        Time of the forecast, in [-1, 1] after the last of ``times``.
    rho : float
        Parameter of the ellipse, above 1.
    degree, ridge
        Of the `Chebyshev` rule with ``free=0``.
    bound : float
        Bound B on the feature in the ellipse, 0 or more.

    Returns
    -------
    float
        :math:`\varepsilon (1 + \sqrt{(M+1) K} X) + \sqrt{M+1}\, \lambda / (\sigma_{min}^2 + \lambda)\, \|c\|`, with
        :math:`\varepsilon = 2 B \rho^{-M} / (\rho - 1)`, :math:`X = \max_i \sigma_i / (\sigma_i^2 + \lambda)` over the
        singular values of the design matrix, and :math:`\|c\|` at most :math:`B \sqrt{1 + 4 \sum_m \rho^{-2m}}`.

    Notes
    -----
    In print X is taken at the *smallest* singular value. That is false in general, because x / (x**2 + ridge)
    is not monotone. The bound is honest but loose: while K <= M or the kept times are crowded, the smallest
    singular value is nearly 0 and the second term alone is about as large as the feature. `worst_case` is exact.

    Examples
    --------
    >>> import numpy as np
    >>> times = np.linspace(-1.0, 0.0, 6)
    >>> round(float(ridge(times, 0.2, rho=2.0)), 3)
    4.615
    """
    nodes, _ = _inside(times, t)
    m = _checks.integer("degree", degree, least=0)
    penalty = _checks.nonnegative("ridge", ridge)
    r, size = float(_above_one(rho)), float(_not_negative("bound", bound))
    values = np.linalg.svd(chebyshev.chebvander(nodes, m), compute_uv=False)
    smallest = values[-1] if nodes.size > m else 0.0
    if penalty == 0.0 and smallest <= np.finfo(np.float64).eps * max(nodes.size, m + 1) * values[0]:
        return math.inf
    epsilon = float(truncation(m, r, bound=size))
    amplification = float(np.max(values / (values**2 + penalty)))
    coefficients = size * math.sqrt(1.0 + 4.0 * float(np.sum(r ** (-2.0 * np.arange(1, m + 1)))))
    bias = penalty / (smallest**2 + penalty) if penalty > 0.0 else 0.0
    return epsilon * (1.0 + math.sqrt((m + 1) * nodes.size) * amplification) + math.sqrt(m + 1) * bias * coefficients


def worst_case(
    weights: ArrayLike, times: Times, t: float, *, rho: float, bound: float = 1.0, noise: float = 0.0
) -> float:
    r"""Largest error of a linear forecast over all functions with :math:`|c_0| \le B, |c_m| \le 2 B \rho^{-m}`.

    Parameters
    ----------
    weights : array_like, shape (K,)
        Of any rule, as its ``weights(times, t)`` returns them.
    times : array_like, shape (K,)
        Times of the kept features in [-1, 1], strictly increasing.
    t : float
        Time of the forecast, in [-1, 1] after the last of ``times``.
    rho : float
        Parameter of the ellipse, above 1.
    bound : float
        Bound B on the feature in the ellipse, 0 or more.
    noise : float
        Bound on the error of each kept value, 0 or more; adds ``noise * sum(abs(weights))``.

    Returns
    -------
    float
        :math:`B \beta(w)`, with :math:`\beta = |E_0| + 2 \sum_{m \ge 1} \rho^{-m} |E_m|` and
        :math:`E_m = T_m(t) - \sum_k w_k T_m(t_k)`. The supremum is attained, by the function whose coefficients
        are :math:`2 B \rho^{-m}` with the signs of :math:`E_m`. The series is summed to a relative 1e-13 and
        the rest, at most :math:`2 \rho^{-L} (1 + \|w\|_1) / (\rho - 1)`, is added: the value is never too small.

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
    """
    nodes, point = _inside(times, t)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != nodes.shape or not np.isfinite(w).all():
        raise ValueError(f"`weights` is {w}; write one finite weight for each of the {nodes.size} `times`.")
    r, size = float(_above_one(rho)), float(_not_negative("bound", bound))
    mass = 1.0 + float(np.sum(np.abs(w)))
    length = math.ceil(math.log(2.0 / (_TAIL * (r - 1.0))) / math.log(r))
    length = max(8, min(length, _LONGEST))
    orders = np.arange(length + 1)
    # T_m(cos a) = cos(m a): exact to rounding at every order, where the recurrence would gather errors.
    angles = np.arccos(np.clip(np.append(nodes, point), -1.0, 1.0))
    missed = np.abs(np.cos(np.outer(orders, angles)) @ np.append(-w, 1.0))
    decay = 2.0 * r ** -orders.astype(np.float64)
    decay[0] = 1.0
    tail = 2.0 * mass * math.exp(-length * math.log(r)) / (r - 1.0)
    return size * (float(decay @ missed) + tail) + _checks.nonnegative("noise", noise) * (mass - 1.0)


def _inside(times: Times, t: float) -> tuple[NDArray[np.float64], float]:
    nodes = _checks.increasing("times", times)
    point = _checks.target(nodes, t)
    if nodes[0] < -1.0 - 1e-12 or point > 1.0 + 1e-12:
        raise ValueError(
            f"`times` and `t` span [{nodes[0]:.6g}, {point:.6g}]; the bounds hold on [-1, 1]: map the clock there."
        )
    return nodes, point


def _above_one(rho: ArrayLike) -> NDArray[np.float64]:
    value = np.asarray(rho, dtype=np.float64)
    if not (value > 1.0).all() or not np.isfinite(value).all():
        raise ValueError(f"`rho` is {value}; write a finite number above 1, the sum of the ellipse's semi-axes.")
    return value


def _not_negative(name: str, value: ArrayLike) -> NDArray[np.float64]:
    number = np.asarray(value, dtype=np.float64)
    if not (number >= 0.0).all():
        raise ValueError(f"`{name}` is {number}; write 0 or more.")
    return number
