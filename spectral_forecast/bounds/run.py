"""What can no rule beat, and what do errors of features do to the sample at the end of the run?"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks, ellipse
from spectral_forecast._typing import Times
from spectral_forecast.bounds._inputs import Values, above_one, in_ellipse, not_negative, plain

__all__ = ["extrapolation", "propagation", "stable_exponent"]


def stable_exponent(times: Times, t: ArrayLike, *, rho: float) -> Values:
    r"""Return the exponent of stable extrapolation: values known to :math:`\epsilon` give :math:`\epsilon^\alpha`.

    Parameters
    ----------
    times : array_like, shape (K,)
        Times of the kept features, K at least 2; only the first and the last matter.
    t : array_like, shape (...)
        Times of the forecasts, after the last of ``times``.
    rho : float
        Parameter of the ellipse around [-1, 1] in which the feature is analytic, above 1.

    Returns
    -------
    float or ndarray of float64, shape (...)
        :math:`\alpha = 1 - \log(x + \sqrt{x^2 - 1}) / \log \rho'`, with x the target in the coordinate that maps the
        kept interval to [-1, 1] and :math:`\rho'` the largest ellipse there inside the given one
        (`ellipse.inscribed`). 1 at the end of the interval; 0 or less where
        the theorem guarantees nothing.

    References
    ----------
    Demanet and Townsend, "Stable extrapolation of analytic functions", Found. Comput. Math. 19, 2019.

    Examples
    --------
    >>> stable_exponent([-1.0, -0.9, -0.8], [-0.79, -0.7, -0.5], rho=2.0).round(2)
    array([ 0.77,  0.32, -0.07])
    """
    radius = float(above_one(_checks.finite("rho", rho)))
    nodes, points = in_ellipse(times, t, np.asarray(radius))
    if nodes.size < 2:
        raise ValueError("`times` holds one time; write at least two, an interval to extrapolate from.")
    start, end = float(nodes[0]), float(nodes[-1])
    local = ellipse.parameter((2.0 * points - start - end) / (end - start))
    return plain(np.asarray(1.0 - np.log(local) / np.log(ellipse.inscribed(radius, start, end))))


def extrapolation(x: ArrayLike, *, rho: ArrayLike, noise: ArrayLike, bound: ArrayLike = 1.0) -> Values:
    r"""Largest value at ``x`` of a function below ``noise`` on [-1, 1] and below ``bound`` in the ellipse.

    Two features that agree to ``noise`` on the kept interval, whose difference is bounded by ``bound``, cannot be
    told apart there: no rule, linear or not, is closer than half of their difference to both.

    Parameters
    ----------
    x : array_like of complex
        Points, in the coordinate that maps the kept interval to [-1, 1].
    rho : array_like
        Parameter of the ellipse in that coordinate, above 1.
    noise : array_like
        Bound :math:`\epsilon` on the interval, 0 or more.
    bound : array_like
        Bound Q in the ellipse, 0 or more.

    Returns
    -------
    float or ndarray of float64
        :math:`\epsilon^\alpha Q^{1 - \alpha}` with :math:`\alpha = 1 - \log \rho_x / \log \rho` and :math:`\rho_x` the
        parameter of ``x`` (Nevanlinna's two-constants theorem). ``noise`` on the interval; never above ``bound``.

    Raises
    ------
    ValueError
        If a point is not inside the ellipse: nothing bounds the function there.

    Examples
    --------
    >>> round(extrapolation(1.25, rho=4.0, noise=1e-6), 6)
    0.001
    """
    r, here = above_one(rho), ellipse.parameter(x)
    low, high = not_negative("noise", noise), not_negative("bound", bound)
    if (here >= r).any():
        raise ValueError(
            f"`x` is {np.asarray(x)}, not inside the ellipse of parameter {r}: nothing bounds the function there."
        )
    alpha = 1.0 - np.log(here) / np.log(r)
    with np.errstate(invalid="ignore"):
        value = np.minimum(low, high) ** alpha * high ** (1.0 - alpha)
    return plain(np.where(np.isnan(value), np.inf, value))


def propagation(sigmas: ArrayLike, errors: ArrayLike, lipschitz: ArrayLike) -> Values:
    r"""Largest error of the sample when Euler's steps use forecasts (flow matching: :math:`dx = v\, d\sigma`).

    Parameters
    ----------
    sigmas : array_like, shape (N + 1,)
        The sampler's times, in either direction; step i goes from ``sigmas[i]`` to ``sigmas[i + 1]``.
    errors : array_like, shape (..., N)
        Norm of the error of the model output used at each step, against the network *at the same state*; 0 where
        the network ran.
    lipschitz : array_like, shape (..., N) or a number
        Lipschitz constants of the network in its state at each step, 0 or more.

    Returns
    -------
    float or ndarray of float64, shape (...)
        :math:`\sum_i |\Delta\sigma_i| \delta_i \prod_{j > i} (1 + |\Delta\sigma_j| L_j)`. Attained: by
        :math:`v = -L x` with errors that all push one way. What counts at a step is :math:`|\Delta\sigma_i| \delta_i`.

    Examples
    --------
    >>> float(propagation([1.0, 0.5, 0.0], [0.0, 0.1], 2.0)), float(propagation([1.0, 0.5, 0.0], [0.1, 0.0], 2.0))
    (0.05, 0.1)
    """
    clock = np.asarray(sigmas, dtype=np.float64)
    if clock.ndim != 1 or clock.size < 2 or not np.isfinite(clock).all():
        raise ValueError(f"`sigmas` has shape {clock.shape}; write the finite N + 1 times of N steps, N at least 1.")
    step = np.abs(np.diff(clock))
    error, rate = not_negative("errors", errors), not_negative("lipschitz", lipschitz)
    if error.shape[-1:] != step.shape:
        raise ValueError(f"`errors` has shape {error.shape}; write one for each of the {step.size} steps.")
    with np.errstate(over="ignore", invalid="ignore"):
        growth = 1.0 + step * rate
        total = np.asarray(0.0)
        for i in range(step.size):
            pushed: NDArray[np.float64] = step[i] * error[..., i]
            total = np.where(total == 0.0, 0.0, total * growth[..., i]) + pushed
    return plain(np.where(np.isnan(total), np.inf, total))
