"""What do the words in this library's signatures mean?"""

from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Array", "LinearForecaster", "Times", "Weights"]

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
