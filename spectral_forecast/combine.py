"""The one operation on features: a weighted sum, on any array library."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from spectral_forecast._typing import Array, Weights
from spectral_forecast._widen import widened

__all__ = ["combine"]


def combine(weights: Weights, features: Array | Sequence[Array]) -> Array:
    """Return the weighted sum of ``features``.

    The sum is accumulated in at least float32 and returned in the features' own dtype, on their device.
    Features whose weight is zero are never read.

    Parameters
    ----------
    weights : array_like of float, shape (K,)
        Host numbers, as a forecaster's ``weights`` returns them.
    features : sequence of K arrays, or one array of shape (K, ...)
        Arrays of one library, floating (or complex) dtype, and equal shapes. Broadcasting is an error.

    Returns
    -------
    array
        ``sum(weights[k] * features[k])``, with the shape, dtype and device of one feature.

    Raises
    ------
    ValueError
        If there is nothing to sum, if the lengths or the shapes differ, or if a weight is not finite.
    TypeError
        If the features are not floating-point arrays of one dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import Newton, combine
    >>> w = Newton(1).weights([0.0, 1.0], 3.0)
    >>> combine(w, [np.array([1.0, 5.0]), np.array([2.0, 4.0])])
    array([4., 2.])
    """
    w = np.asarray(weights, dtype=np.float64)
    stacked: Any = features if hasattr(features, "shape") else None
    rows: list[Any] = list(features) if stacked is None else [stacked[k, ...] for k in range(stacked.shape[0])]
    count = len(rows)
    if w.shape != (count,) or count == 0:
        raise ValueError(f"`weights` has shape {w.shape} for {count} `features`; write one weight for each feature.")
    if not np.isfinite(w).all():
        raise ValueError(f"`weights` holds a NaN or an infinity: {w}.")
    xp = array_namespace(rows[0])
    like = rows[0]
    if not xp.isdtype(like.dtype, ("real floating", "complex floating")):
        raise TypeError(
            f"`features` have dtype {like.dtype}; write floating-point arrays, as in `x.astype('float32')`."
        )
    total: Any = None
    for k, row in enumerate(rows):
        if row.shape != like.shape or row.dtype != like.dtype:
            raise ValueError(
                f"`features[{k}]` is {row.dtype} of shape {tuple(row.shape)}, `features[0]` is "
                f"{like.dtype} of shape {tuple(like.shape)}; write features of one shape and dtype."
            )
        if w[k] != 0.0:
            term = float(w[k]) * widened(row)
            total = term if total is None else total + term
    return xp.zeros_like(like) if total is None else xp.astype(total, like.dtype, copy=False)
