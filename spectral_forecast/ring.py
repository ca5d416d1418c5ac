"""Where are the kept features, and what is read of them? A few rows, and the passes over them."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from spectral_forecast import gram
from spectral_forecast._typing import Array, Weights
from spectral_forecast._widen import widened
from spectral_forecast.combine import combine

__all__ = ["Misses", "Ring", "nbytes", "squares"]


class Misses(NamedTuple):
    """What an evaluation says of its forecast: squared 2-norms, by items of the batch (`squares`), where they are."""

    missed: Array
    """Of the feature less its forecast."""
    changed: Array
    """Of the feature less the one kept before it."""
    size: Array
    """Of the feature."""

    @classmethod
    def of(cls, feature: Array, newest: Array, forecast: Array) -> "Misses":
        """Measure a forecast of ``feature``, and the ``newest`` one before it."""
        true = widened(feature)
        return cls(squares(true - widened(forecast)), squares(true - widened(newest)), squares(true))


class Ring:
    """At most K features of one shape, dtype and device, on any array library.

    This one is portable, and the reference for those that know more of a library: they derive from it.

    Parameters
    ----------
    kept : int
        Number of rows, K.

    Attributes
    ----------
    newest : int
        The row that was filled last; -1 before the first.
    eager : bool
        Whether it is told of the next forecast, by `ahead`.
    """

    eager = False

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self.newest = -1
        self.like: Any = None  # an array of a kept feature's shape, dtype and device
        self._rows: list[Any] = [None] * kept

    def put(self, row: int, feature: Array) -> None:
        """Keep a copy of a feature in a row: samplers update arrays in place."""
        self._rows[row] = self.like = array_namespace(feature).asarray(feature, copy=True)
        self.newest = row

    def row(self, row: int) -> Array:
        """Return a kept feature."""
        return self._rows[row]

    def changes(self, feature: Array) -> dict[str, tuple[Any, Any]]:
        """Return what of a feature differs from those kept: name, old and new."""
        if self.like is None:
            return {}
        pairs = {name: (_trait(self.like, name), _trait(feature, name)) for name in ("shape", "dtype", "device")}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    @property
    def nbytes(self) -> int:
        """Bytes that the kept features take."""
        return sum(nbytes(kept) for kept in self._rows if kept is not None)

    def sum(self, weights: Weights) -> Array:
        """Return the features' sum with ``weights`` (K,), in their dtype; see `combine`."""
        filled = [row for row, kept in enumerate(self._rows) if kept is not None]
        return combine(weights[filled], [self.row(row) for row in filled])

    def drawn(self, weights: Weights, part: Array) -> Array:
        """Return ``newest + part * (sum(weights) - newest)``; ``part``, on their device, broadcasts against it."""
        total = self.sum(weights)
        newest = widened(self.row(self.newest))
        xp = array_namespace(total)
        return xp.astype(newest + part * (widened(total) - newest), total.dtype, copy=False)

    def ahead(self, weights: Weights, part: Array | None = None) -> None:
        """Be told what will be asked for next, if nothing is kept before: `sum`, or with a ``part`` `drawn`."""

    def moved(self, x: Array, weights: Weights) -> Array:
        """Return ``x + sum(weights)``, in the dtype of ``x``."""
        total = widened(x)
        for row in np.flatnonzero(weights).tolist():
            total = total + float(weights[row]) * widened(self.row(row))
        return array_namespace(x).astype(total, x.dtype, copy=False)

    def misses(self, weights: Weights, feature: Array) -> Misses:
        """Return how far the forecast by ``weights`` is off a feature that is not kept yet; nothing waits for it."""
        return Misses.of(feature, self.row(self.newest), self.sum(weights))

    def products(
        self, order: Sequence[int], feature: Array, *, reduce: Callable[[Array], Array] | None = None
    ) -> NDArray[np.float64]:
        """Return the inner products that a feature brings which is not kept yet; see `gram.row`.

        Parameters
        ----------
        order : sequence of int
            The rows that are filled, that of the oldest feature first.
        feature, reduce
            As for `gram.row`.
        """
        return gram.row([self.row(row) for row in order], feature, reduce=reduce)


def squares(array: Array) -> Array:
    """Return the squared 2-norms of the items of a batch, along the first axis, as an array that broadcasts against it.

    Arrays with fewer than two axes are one item.

    Examples
    --------
    >>> import numpy as np
    >>> squares(np.array([[3.0, 4.0], [1.0, 0.0]]))
    array([[25.],
           [ 1.]])
    """
    xp = array_namespace(array)
    axes = tuple(range(1 if array.ndim > 1 else 0, array.ndim))
    return xp.sum(xp.abs(array) ** 2, axis=axes, keepdims=True) if axes else xp.abs(array) ** 2


def nbytes(array: Array) -> int:
    """Return the bytes of an array; the standard has neither `nbytes` nor an item size, but the bits of a number."""
    xp = array_namespace(array)
    bits = xp.finfo(array.dtype).bits * (2 if xp.isdtype(array.dtype, "complex floating") else 1)
    return int(math.prod(array.shape) * bits) // 8


def _trait(array: Array, name: str) -> Any:
    """Shape, dtype or device of an array; a library without one of them has nothing that could change."""
    value = getattr(array, name, None)
    return tuple(value) if name == "shape" and value is not None else value
