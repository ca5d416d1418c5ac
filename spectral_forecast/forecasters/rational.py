"""Rational rules: Floater and Hormann's interpolant, which is linear in the features."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Weights
from spectral_forecast.forecasters.base import LinearRule

__all__ = ["FloaterHormann"]


@dataclass(frozen=True)
class FloaterHormann(LinearRule):
    r"""Extrapolate Floater and Hormann's barycentric rational interpolant of all kept features.

    It blends the polynomials of degree d through each d + 1 neighbouring nodes (equation 4). In barycentric form
    the weight of node k is :math:`\beta_k = \sum_i (-1)^i \prod_{j=i, j \ne k}^{i+d} 1 / (t_k - t_j)` over the blocks i
    that hold it (equation 18), which depends on times only, so the forecast is linear in the features.

    Parameters
    ----------
    degree : int
        Degree d of the blended polynomials, 0 or more; with fewer than d + 1 features their number less one.

    Notes
    -----
    Where the number of nodes less d is even, the degree above d is kept as well: with three nodes and d = 1 the rule
    is the parabola through them.

    Inside the nodes the interpolant has no poles and stays tame. A forecast extrapolates: there its weights
    alternate and their absolute sum grows with the number of nodes, faster than for `Newton` of the same degree.

    References
    ----------
    Floater and Hormann, "Barycentric rational interpolation with no poles and high rates of approximation",
    Numerische Mathematik 107 (2007), doi 10.1007/s00211-007-0093-y.

    Examples
    --------
    >>> FloaterHormann(degree=1).weights([0.0, 1.0, 2.0], 3.0).round(3)
    array([ 1., -3.,  3.])
    """

    degree: int = 2

    def __post_init__(self) -> None:
        _checks.integer("degree", self.degree, least=0)

    @property
    def exactness(self) -> int:
        """The degree."""
        return self.degree

    def _weights(self, times: NDArray[np.float64], t: float) -> Weights:
        d = min(self.degree, times.size - 1)
        # Distances in units of the horizon: a common factor of all barycentric weights drops out.
        x = (t - times) / (t - times[-1])
        beta = np.zeros(times.size)
        for i in range(times.size - d):
            gaps = np.abs(x[i : i + d + 1, None] - x[None, i : i + d + 1])
            np.fill_diagonal(gaps, 1.0)
            # The sign of a block's products alternates with k, and so do the blocks: what is left depends on k.
            beta[i : i + d + 1] += 1.0 / np.prod(gaps, axis=1)
        # The sum of beta / x is that of the blocks' (-1)**i / prod(x), which cancels much less; neighbouring blocks
        # taken together, 1 / (p x') - 1 / (p x) = (x - x') / (p x x'), nothing cancels at all.
        first = (times.size - d) % 2
        total = 1.0 / np.prod(x[: d + 1]) if first else 0.0
        for i in range(first, times.size - d, 2):
            total += (x[i] - x[i + d + 1]) / np.prod(x[i : i + d + 2])
        signs = np.where(np.arange(times.size)[::-1] % 2, -1.0, 1.0)
        return np.asarray(signs * beta / x / total)
