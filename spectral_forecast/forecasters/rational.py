"""Rational rules whose poles are known beforehand, so that they are linear in the features."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Weights
from spectral_forecast.forecasters.base import LinearRule
from spectral_forecast.forecasters.polynomial import lagrange_factors

__all__ = ["Blaschke", "FloaterHormann"]


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


@dataclass(frozen=True)
class Blaschke(LinearRule):
    r"""Interpolate the newest features by the function of least norm in the Hardy space of a disk.

    With :math:`x_k = t_k / R` and :math:`z = t / R` the weights are
    :math:`w_j = \prod_{k \ne j} \frac{z - x_k}{x_j - x_k} \prod_k \frac{1 - x_k x_j}{1 - x_k z}`: a rational
    interpolant whose poles :math:`R^2 / t_k` are known beforehand, so that nothing is solved.

    Parameters
    ----------
    radius : float
        Radius R of the disk around 0 in which the feature is taken to be analytic, above 1. As it grows the rule
        becomes `Newton` with ``order=nodes - 1``.
    nodes : int
        How many of the newest features are interpolated, 1 or more; all of them while there are fewer.

    Notes
    -----
    A constant is forecast too small, by the factor that the product of the nodes' Blaschke factors leaves.

    References
    ----------
    Walsh, "Interpolation and Approximation by Rational Functions in the Complex Domain", AMS 1935.

    Examples
    --------
    >>> Blaschke(radius=2.0, nodes=2).weights([-0.5, 0.0, 0.5], 1.0).round(6)
    array([ 0.      , -1.142857,  2.142857])
    """

    radius: float = 2.0
    nodes: int = 3

    affine = False
    exactness = -1

    def __post_init__(self) -> None:
        if _checks.finite("radius", self.radius) <= 1.0:
            raise ValueError(f"`radius` is {self.radius}; write more than 1, so that the disk holds [-1, 1].")
        _checks.integer("nodes", self.nodes, least=1)

    def _weights(self, times: NDArray[np.float64], t: float) -> Weights:
        x, z = times[-self.nodes :] / self.radius, t / self.radius
        poles = (1.0 - np.outer(x, x)) / (1.0 - x * z)
        return np.concatenate([np.zeros(times.size - x.size), np.prod(lagrange_factors(x, z) * poles, axis=1)])
