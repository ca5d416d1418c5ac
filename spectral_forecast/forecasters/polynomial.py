"""Rules that extrapolate a local polynomial: reuse, Newton, TaylorSeer."""

from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Weights
from spectral_forecast.forecasters.base import LinearRule

__all__ = ["Newton", "Reuse", "TaylorSeer"]


@dataclass(frozen=True)
class Reuse(LinearRule):
    """Repeat the newest feature (FORA, arXiv 2407.01425).

    Examples
    --------
    >>> Reuse().weights([0.0, 1.0, 2.0], 3.0)
    array([0., 0., 1.])
    """

    exactness = 0

    def _weights(self, times: NDArray[np.float64], t: float) -> Weights:
        return _newest(times.size)


@dataclass(frozen=True)
class Newton(LinearRule):
    """Extrapolate the polynomial through the newest features, at their true times.

    Parameters
    ----------
    order : int
        Degree of the polynomial, 0 or more; it passes through the newest ``order + 1`` features, or through all
        of them while there are fewer.

    Examples
    --------
    >>> Newton(order=1).weights([0.0, 1.0, 3.0], 4.0)
    array([ 0. , -0.5,  1.5])
    """

    order: int = 1

    def __post_init__(self) -> None:
        _checks.integer("order", self.order, least=0)

    @property
    def exactness(self) -> int:
        """The order."""
        return self.order

    def _weights(self, times: NDArray[np.float64], t: float) -> Weights:
        nodes = times[-self.order - 1 :]
        return np.concatenate([np.zeros(times.size - nodes.size), np.prod(lagrange_factors(nodes, t), axis=1)])


@dataclass(frozen=True)
class TaylorSeer(LinearRule):
    r"""Extrapolate by TaylorSeer's finite differences, as published (arXiv 2503.06923, Eq. 4).

    At an evaluation a gap :math:`d` after the one before, :math:`D^0` is the feature and
    :math:`D^{j+1} = (D^j - D^j_{before})/d`; the forecast a horizon :math:`k` later is
    :math:`\sum_j D^j k^j / j!`.

    Parameters
    ----------
    order : int
        Highest difference, 0 or more; the published setting is 1 or 2. With fewer than ``order + 1`` features
        the missing differences are left out.

    Notes
    -----
    Only the *last* gap divides every order, and the expansion is Taylor's rather than Newton's. So the rule
    keeps lines at any order, and from order 2 on it does not reproduce quadratics, not even on uniform steps.
    `Newton` does.

    Examples
    --------
    >>> TaylorSeer(order=2).weights([0.0, 1.0, 2.0], 4.0)
    array([ 2., -6.,  5.])
    """

    order: int = 1

    def __post_init__(self) -> None:
        _checks.integer("order", self.order, least=0)

    @property
    def exactness(self) -> int:
        """Lines at most."""
        return min(self.order, 1)

    def _weights(self, times: NDArray[np.float64], t: float) -> Weights:
        factors = difference_weights(times, self.order)
        horizon = t - times[-1]
        powers = np.array([horizon**j / factorial(j) for j in range(len(factors))])
        return powers @ factors


def lagrange_factors(nodes: NDArray[np.float64], t: float) -> NDArray[np.float64]:
    """Return (t - x_k) / (x_j - x_k) in row j and column k, 1 on the diagonal: quotients, so that none overflows."""
    gaps = nodes[:, None] - nodes[None, :]
    return np.divide(t - nodes, gaps, out=np.ones_like(gaps), where=gaps != 0.0)


def difference_weights(times: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Weights of TaylorSeer's differences of order 0 ... ``order`` at the newest time, shape (orders, K).

    The published recursion keeps state from one evaluation to the next; it is linear, so running it on unit
    vectors gives its weights. Only the newest ``order + 1`` features enter.
    """
    newest = times[-order - 1 :]
    units = np.eye(times.size)[times.size - newest.size :]
    factors = [units[0]]
    for gap, unit in zip(np.diff(newest), units[1:], strict=True):
        before, factors = factors, [unit]
        for difference in before:
            factors.append((factors[-1] - difference) / gap)
    return np.stack(factors)


def _newest(count: int) -> Weights:
    w = np.zeros(count)
    w[-1] = 1.0
    return w
