"""What every rule with weights from times and a Gram matrix has in common: checks and the newest equal spacings."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Times, Weights

__all__ = ["GramRule", "equally_spaced"]


class GramRule(ABC):
    """A forecaster whose weights depend on times and inner products; subclasses are frozen dataclasses.

    The Gram matrix is that of `spectral_forecast.gram`: of the differences to the newest feature, with that feature
    itself in the last place.
    """

    affine: bool = True

    @abstractmethod
    def _weights(self, times: NDArray[np.float64], t: float, gram: NDArray[np.float64]) -> Weights:
        """Compute the weights of checked arguments."""

    def weights(self, times: Times, t: float, gram: NDArray[np.float64], /) -> Weights:
        """Return the weights of the kept features in the forecast at ``t``.

        Parameters
        ----------
        times : array_like, shape (K,)
            Times of the kept features, strictly increasing; any number of them from 1 up.
        t : float
            The time to forecast, after the last of ``times``, in the same unit.
        gram : ndarray of float64, shape (K, K)
            Inner products of the differences to the newest feature and of that itself, as `gram.append` makes it.

        Returns
        -------
        ndarray of float64, shape (K,)

        Raises
        ------
        ValueError
            If times are empty, not increasing or not finite, if ``t`` is not after them, if the rule lives on
            [-1, 1] and they do not, or if ``gram`` is not a finite matrix of their number.
        FitError
            If float64 holds no finite weights.
        """
        nodes = _checks.increasing("times", times)
        point = _checks.target(nodes, t)
        matrix = np.asarray(gram, dtype=np.float64)
        if matrix.shape != (nodes.size, nodes.size) or not np.isfinite(matrix).all():
            raise ValueError(
                f"`gram` has shape {matrix.shape}; write the finite ({nodes.size}, {nodes.size}) matrix that "
                "`gram.append` made of the features at these times."
            )
        return _checks.weights(self, nodes, point, lambda: self._weights(nodes, point, matrix), mapped_by="GramRun")


def equally_spaced(times: NDArray[np.float64]) -> int:
    """Count the newest times whose gaps are equal to six digits."""
    gaps = np.diff(times)[::-1]
    different = np.flatnonzero(np.abs(gaps - gaps[:1]) > 1e-6 * gaps[:1])
    return int(different[0]) + 1 if different.size else times.size
