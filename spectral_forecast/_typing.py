"""What do the words in this library's signatures mean?"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Array", "Forecaster", "GramForecaster", "LinearForecaster", "Times", "Weights"]

Array: TypeAlias = Any
"""An array of any library that follows the array API standard: NumPy, PyTorch, JAX, array-api-strict, CuPy."""

Times: TypeAlias = ArrayLike
"""Increasing times of the kept features, oldest first, shape (K,). Host numbers; computed with in float64."""

Weights: TypeAlias = NDArray[np.float64]
"""One weight for each kept feature, shape (K,)."""


@runtime_checkable
class LinearForecaster(Protocol):
    """A rule whose forecast is a weighted sum of the kept features, with weights that depend on times only."""

    def weights(self, times: Times, t: float, /) -> Weights:
        """Return the weights (K,) of the features kept at ``times`` (K,) in the forecast at ``t``."""
        ...


@runtime_checkable
class GramForecaster(Protocol):
    """A rule whose forecast is a weighted sum of the kept features, with weights that also depend on their Gram matrix.

    The matrix is the one of `spectral_forecast.gram`: of the differences to the newest feature, and of that itself.
    """

    def weights(self, times: Times, t: float, gram: NDArray[np.float64], /) -> Weights:
        """Return the weights (K,) of the features kept at ``times`` (K,), with the matrix ``gram`` (K, K)."""
        ...


@runtime_checkable
class Forecaster(Protocol):
    """A rule that needs the features themselves, such as an element-wise one."""

    def forecast(self, times: Times, features: Sequence[Array], t: float, /) -> Array:
        """Return the forecast at ``t`` from the features kept at ``times`` (K,), oldest first."""
        ...
