"""In which dtype is computed? In the features' own, but never in less than float32."""

from array_api_compat import array_namespace

from spectral_forecast._typing import Array

__all__ = ["widened"]


def widened(array: Array) -> Array:
    """Return a floating-point array in at least float32; itself where it is wide enough."""
    xp = array_namespace(array)
    return xp.astype(array, xp.float32, copy=False) if xp.finfo(array.dtype).bits < 32 else array
