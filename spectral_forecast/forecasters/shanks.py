r"""Features that decay geometrically: Aitken's and Shanks's transformation, from inner products only."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Weights
from spectral_forecast.forecasters.gram_rule import GramRule, equally_spaced

__all__ = ["Shanks"]


@dataclass(frozen=True)
class Shanks(GramRule):
    r"""Extrapolate a constant plus ``order`` geometric sequences, fitted by least squares.

    Order 1 is Aitken's rule, the Padé approximant [1/1] of the series whose partial sums the features are: with the
    newest difference quotients :math:`\Delta, \Delta'` over the gaps g, g' the ratio is
    :math:`\langle\Delta, \Delta'\rangle / \langle\Delta', \Delta'\rangle`, and the forecast n gaps ahead
    :math:`h_K + (h_K - h_{K-1}) (q + q^2 + \dots + q^n)`. A higher order M fits the recurrence
    :math:`\delta_i = \sum_{j=1}^M a_j \delta_{i-j}` to the differences of the newest equally spaced features; with
    ``window`` of them it is [L/M], L = window - 1 - M, solved by least squares where L > M. Its roots are the ratios.

    Parameters
    ----------
    order : int
        How many geometric sequences, M, 1 or more. Lowered to what the newest equally spaced features determine,
        2 M + 1 of them; order 1 needs any three features, and two are extrapolated by a line.
    window : int, optional
        How many of the newest features enter, ``2 * order + 1`` (the default) or more.

    Notes
    -----
    Ratios outside the unit disk are put onto its boundary: a forecast grows no faster than a line if one ratio does
    so. Powers that are not whole take the principal branch and the real part: :math:`|q|^n \cos(\pi n)` for q < 0.

    Order 1 with ``window=None`` is exact on c + a q^t on *any* three times, for 0 < q <= 1: the ratio of difference
    quotients depends on q through the gaps, and the equation is solved for q. Where it has no solution (a ratio below
    0 or above 1, or differences that no single q explains) the ratio itself is taken, clipped to [-1, 1]: that is the
    usual formula and exact for equal gaps only.

    A line is kept at every order. The weights sum to one.

    References
    ----------
    Shanks, "Non-linear transformations of divergent and slowly convergent sequences", J. Math. and Phys. 34 (1955).

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import Shanks, gram
    >>> features = [np.array([4.0]), np.array([2.0]), np.array([1.0])]
    >>> matrix = np.zeros((0, 0))
    >>> for k in range(3):
    ...     matrix = gram.append(matrix, gram.row(features[:k], features[k]))
    >>> w = Shanks().weights([0, 1, 2], 3, matrix)
    >>> w, float(w @ [4.0, 2.0, 1.0])
    (array([ 0. , -0.5,  1.5]), 0.5)
    """

    order: int = 1
    window: int | None = None

    def __post_init__(self) -> None:
        _checks.integer("order", self.order, least=1)
        if self.window is not None and _checks.integer("window", self.window, least=1) < 2 * self.order + 1:
            raise ValueError(f"`window` is {self.window}; write `2 * order + 1` = {2 * self.order + 1} or more.")

    def _weights(self, times: NDArray[np.float64], t: float, gram: NDArray[np.float64]) -> Weights:
        if times.size == 1:
            return np.ones(1)
        w = np.zeros(times.size)
        equal = equally_spaced(times)
        if (self.order > 1 or self.window is not None) and equal > 3:
            count = min(equal, self.window or 2 * self.order + 1)
            order = min(self.order, (count - 1) // 2)
            steps = (t - times[-1]) / (times[-1] - times[-2])
            differences = _successive(gram)[-(count - 1) :, -(count - 1) :]
            v = _recurrent(differences, order, steps)
            w[-count:-1] -= v
            w[1 - count :] += v
            w[-1] += 1.0
            return w
        gap = times[-1] - times[-2]
        q = _ratio(np.diff(times[-3:]), _successive(gram)[-2:, -2:]) if times.size > 2 else 1.0
        grown = _sum_of_powers(np.array([q], dtype=np.complex128), (t - times[-1]) / gap)[0].real
        w[-2:] = -grown, 1.0 + grown
        return w


def _successive(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gram matrix of the differences of neighbouring features, shape (K - 1, K - 1)."""
    centred = gram[:-1, :-1]
    # h_{k+1} - h_k = (h_{k+1} - h_K) - (h_k - h_K), and the last is -(h_{K-1} - h_K).
    change = np.eye(len(centred), k=1) - np.eye(len(centred))
    return np.asarray(change @ centred @ change.T)


def _ratio(gaps: NDArray[np.float64], gram: NDArray[np.float64]) -> float:
    """The ratio per newest gap that explains two neighbouring differences."""
    before, gap = map(float, gaps)
    if gram[0, 0] <= 0.0:
        return 1.0
    ratio = gram[0, 1] / gram[0, 0] * before / gap
    if not 0.0 < ratio < 1.0 or abs(gap - before) <= 1e-12 * gap:
        return float(np.clip(ratio, -1.0, 1.0))

    target = math.log(ratio)

    def excess(rate: float) -> float:
        # log of the ratio that c + a exp(rate t) has, which increases with the rate.
        return rate * before + _log_mean(rate * gap) - _log_mean(rate * before) - target

    low, high = target / min(gap, before), 0.0
    while low < (rate := 0.5 * (low + high)) < high:
        low, high = (low, rate) if excess(rate) > 0.0 else (rate, high)
    return math.exp(rate * gap)


def _log_mean(x: float) -> float:
    """log((exp(x) - 1) / x) for x <= 0."""
    return math.log(math.expm1(x) / x) if x < 0.0 else 0.0


def _sum_of_powers(z: NDArray[np.complex128], n: float) -> NDArray[np.complex128]:
    """Return z (1 - z**n) / (1 - z), which is z + ... + z**n for whole n, and n at z = 1."""
    # Near 1 two terms of the series, whose rest is of the order of (1 - z)**2.
    series = n - (1.0 - z) * n * (n + 1.0) / 2.0
    return np.where(np.abs(1.0 - z) < 1e-6, series, z * (1.0 - z**n) / (1.0 - z))


def _recurrent(gram: NDArray[np.float64], order: int, steps: float) -> Weights:
    """Weights of the differences with this Gram matrix in what they add up to, ``steps`` spacings ahead."""
    count = len(gram)
    lags = [slice(order - j, count - j) for j in range(order + 1)]
    moments = np.array([[np.trace(gram[a, b]) for b in lags] for a in lags])
    a = np.linalg.lstsq(moments[1:, 1:], moments[1:, 0])[0]
    roots = np.roots(np.append(1.0, -a)).astype(np.complex128)
    roots = np.append(roots, np.zeros(order - roots.size))  # numpy.roots leaves out those at 0
    z = roots / np.maximum(np.abs(roots), 1.0)
    # The newest differences as sums of powers: delta_{i} = sum_p v_p z_p**i for i = 0 ... order - 1.
    ahead = _sum_of_powers(z, steps) * z ** (order - 1)
    v = np.linalg.lstsq(np.vander(z, increasing=True), ahead)[0]
    return np.concatenate([np.zeros(count - order), v.real])
