"""What do the kept features themselves say about the error of the next forecast?

Everything here needs the features' inner products only: their Gram matrix, K x K, in float64.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import LinearForecaster, Times
from spectral_forecast.bounds._inputs import Values, above_one, gram_matrix, in_ellipse, kept, not_negative, plain
from spectral_forecast.bounds.linear import _decayed, _length, _weights, power, worst_case
from spectral_forecast.forecasters.analytic import AnalyticKernel

__all__ = ["estimate", "interval", "likely_rho", "norm"]

_RIDGE = 1e-10
_CANDIDATES = tuple(np.geomspace(1.02, 10.0, 60).tolist())


def estimate(forecaster: LinearForecaster, times: Times, t: ArrayLike, gram: ArrayLike, *, rho: float) -> Values:
    r"""Error to expect of a forecast, calibrated by the forecast that the newest feature replaced.

    Parameters
    ----------
    forecaster : LinearForecaster
        The rule; anything with ``weights(times, t)``.
    times : array_like, shape (K,)
        Times of the kept features in [-1, 1], strictly increasing.
    t : array_like, shape (...)
        Times of the forecasts, after the last of ``times``.
    gram : array_like, shape (K, K)
        Inner products of the kept features. For a rule that keeps constants, differences to any one of them do.
    rho : float
        Parameter of the ellipse, above 1.

    Returns
    -------
    float or ndarray of float64, shape (...)
        :math:`\eta = e_K\, \beta(w) / \beta(w_K)`, in the unit of the features: :math:`w_K` forecast the newest feature
        from the others with the error :math:`e_K`, known from ``gram``; :math:`\beta` is `worst_case`. Infinity with
        fewer than two features.

    Notes
    -----
    An estimate, not a bound: about half of the errors are above it. Multiply it before a decision rests on it;
    the theory's report says by how much.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import Newton
    >>> times = np.array([-1.0, -0.9, -0.8, -0.6])
    >>> features = np.exp(np.outer(times, [1.0, -0.5, 0.3]))
    >>> eta = estimate(Newton(1), times, -0.4, features @ features.T, rho=4.0)
    >>> error = np.linalg.norm(np.exp(-0.4 * np.array([1.0, -0.5, 0.3])) - Newton(1).weights(times, -0.4) @ features)
    >>> round(float(eta / error), 2)
    0.68
    """
    radius = above_one(_checks.finite("rho", rho))
    nodes, points = in_ellipse(times, t, radius)
    matrix = gram_matrix(gram, nodes.size)
    if nodes.size < 2:
        return plain(np.full(points.shape, np.inf))
    before, newest = nodes[:-1], float(nodes[-1])
    replaced = forecaster.weights(before, newest)
    missed = np.append(-replaced, 1.0)
    past = np.sqrt(max(float(missed @ matrix @ missed), 0.0))
    then = worst_case(replaced, before, newest, rho=radius)
    now = [worst_case(forecaster.weights(nodes, float(p)), nodes, p, rho=radius) for p in points.flat]
    return plain(past * np.array(now).reshape(points.shape) / then)


def norm(times: Times, gram: ArrayLike, *, rho: float, ridge: float = _RIDGE, noise: float = 0.0) -> float:
    r"""Return a lower bound of the feature's norm in the kernel's space, from the kept features.

    Parameters
    ----------
    times : array_like, shape (K,)
        Times of the kept features in [-1, 1], strictly increasing.
    gram : array_like, shape (K, K)
        Inner products of the kept features (not of their differences).
    rho : float
        Parameter of the ellipse, above 1.
    ridge : float
        Added to the kernel matrix; any value keeps the bound true, a small one keeps rounding out of it.
    noise : float
        Bound on the norm of the error of each kept feature.

    Returns
    -------
    float
        :math:`(\mathrm{tr}((K + \lambda I)^{-1} G) - K \epsilon^2 / \lambda)^{1/2}`, at most :math:`\|f\|` of `power`
        because the fit has the least of :math:`\sum_k |f(t_k) - h_k|^2 / \lambda + \|f\|^2`. Never above the norm, and
        usually well below it: what the kept features have not shown yet is not in it.

    Examples
    --------
    >>> import numpy as np
    >>> times = np.linspace(-1.0, 0.5, 6)
    >>> feature = np.polynomial.chebyshev.chebval(times, [1.0, 0.0, 0.5])
    >>> bool(norm(times, np.outer(feature, feature), rho=2.0) <= np.sqrt(1.0 + 0.25 * 2.0**4))
    True
    """
    radius = above_one(_checks.finite("rho", rho))
    nodes = _inside(times)
    matrix = gram_matrix(gram, nodes.size)
    penalty, each = _checks.nonnegative("ridge", ridge), float(not_negative("noise", noise))
    values, squares, rest = _along_kernel(nodes, matrix, float(radius))
    spread = values + rest + penalty
    # What rounding of the Gram matrix may have added to a square is left out: the bound stays one.
    fuzz = 4.0 * np.finfo(np.float64).eps * nodes.size * float(np.trace(matrix))
    known = spread > 0.0
    fitted = float(np.sum(np.maximum(squares[known] - fuzz, 0.0) / spread[known]))
    if each > 0.0:
        fitted -= nodes.size * each**2 / penalty if penalty > 0.0 else np.inf
    return float(np.sqrt(max(fitted, 0.0)))


def interval(
    weights: ArrayLike, times: Times, t: ArrayLike, gram: ArrayLike, *, rho: float, slack: float = 2.0
) -> tuple[Values, Values]:
    r"""Return limits between which the error of a forecast lies, if the feature's norm is what it seems.

    Parameters
    ----------
    weights, times, t
        As in `worst_case`; times and targets in [-1, 1].
    gram : array_like, shape (K, K)
        Inner products of the kept features (not of their differences).
    rho : float
        Parameter of the ellipse, 1.01 or more; `likely_rho` estimates one.
    slack : float
        The assumption: the feature's norm is at most this many times what the kept features show (`norm`).

    Returns
    -------
    low, high : float or ndarray of float64, shape (...)
        :math:`d \mp P \kappa \|f\|`, the lower cut at 0: d is the distance of the forecast to the kernel's own, P the
        kernel's power function, :math:`\kappa` the slack (Golomb and Weinberger 1959).

    Notes
    -----
    A theorem under its assumption, which no computation on kept features can check. `spectral_forecast.theory`
    measures which slack a real trajectory needs.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import Newton
    >>> times = np.array([-1.0, -0.9, -0.8, -0.6])
    >>> w = Newton(1).weights(times, -0.4)
    >>> low, high = interval(w, times, -0.4, np.outer(np.exp(times), np.exp(times)), rho=4.0)
    >>> bool(low <= abs(np.exp(-0.4) - w @ np.exp(times)) <= high)
    True
    """
    kernel_rule = AnalyticKernel(rho, ridge=_RIDGE, drift=-1)
    nodes, points = kept(times, t)
    matrix = gram_matrix(gram, nodes.size)
    assumed = _checks.nonnegative("slack", slack) * norm(nodes, matrix, rho=rho)
    best = np.array([kernel_rule.weights(nodes, float(p)) for p in points.flat]).reshape(*points.shape, nodes.size)
    apart = best - _weights(weights, nodes)
    distance = np.sqrt(np.maximum(np.sum((apart @ matrix) * apart, axis=-1), 0.0))
    radius_of_error = power(best, nodes, points, rho=rho) * assumed
    return plain(np.maximum(distance - radius_of_error, 0.0)), plain(distance + radius_of_error)


def likely_rho(times: Times, gram: ArrayLike, *, candidates: ArrayLike = _CANDIDATES, ridge: float = 1e-8) -> float:
    r"""Return the parameter of the ellipse under which the kept features are most likely.

    Parameters
    ----------
    times : array_like, shape (K,)
        Times of the kept features in [-1, 1], strictly increasing, K at least 3.
    gram : array_like, shape (K, K)
        Inner products of the kept features (not of their differences).
    candidates : array_like
        Parameters to choose from, each above 1. By default 60 from 1.02 to 10.
    ridge : float
        Added to the kernel matrix, 0 or more: the relative variance of noise in the features.

    Returns
    -------
    float
        The candidate with the least
        :math:`\log \det(K + \lambda I) / K + \log \mathrm{tr}((K + \lambda I)^{-1} G)`: the likelihood of a
        Gaussian process with the analytic kernel, its scale profiled out, all channels alike.
        A guess from what is kept so far; it may change with every feature.

    Examples
    --------
    >>> import numpy as np
    >>> times = np.linspace(-1.0, 0.8, 12)
    >>> slow, fast = (np.exp(1j * np.outer(times, np.arange(8) * s)) for s in (0.2, 1.5))
    >>> likely_rho(times, (slow @ slow.conj().T).real) > likely_rho(times, (fast @ fast.conj().T).real)
    True
    """
    radii = above_one(candidates).ravel()
    nodes = _inside(times)
    matrix = gram_matrix(gram, nodes.size)
    penalty = _checks.nonnegative("ridge", ridge)
    if nodes.size < 3 or float(np.trace(matrix)) == 0.0:
        raise ValueError(f"`times` holds {nodes.size} of features; write at least 3, and a `gram` that is not zero.")

    def unlikely(radius: float) -> float:
        values, squares, _ = _along_kernel(nodes, matrix, radius)
        spread = values + max(penalty, 1e-14) * float(np.mean(values))
        return float(np.mean(np.log(spread)) + np.log(np.sum(np.maximum(squares, 0.0) / spread)))

    return float(min(radii.tolist(), key=unlikely))


def _inside(times: Times) -> NDArray[np.float64]:
    """The kept times, which have to be in [-1, 1]."""
    nodes = _checks.increasing("times", times)
    if np.max(np.abs(nodes)) > 1.0 + 1e-12:
        raise ValueError(f"`times` span [{nodes[0]:.6g}, {nodes[-1]:.6g}]; map the clock to [-1, 1].")
    return nodes


def _along_kernel(
    nodes: NDArray[np.float64], gram: NDArray[np.float64], r: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Eigenvalues of the kernel matrix, the features' squares along its eigenvectors, and the most its series left out.

    From the factor of the matrix, so that nothing is squared before it is decomposed.
    """
    last = max(min(_length(r, 1.0), 4000), nodes.size)  # fewer would leave eigenvalues out
    left, values, _ = np.linalg.svd(_decayed(np.arange(last + 1), nodes, r).T, full_matrices=False)
    squares = np.sum(left * (gram @ left), axis=0)
    return values**2, squares, nodes.size * r ** (-2.0 * last - 2.0) / (1.0 - r**-2.0)
