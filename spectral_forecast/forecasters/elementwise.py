"""What element-wise forecasts share: the stages of TC-Padé, and staying inside the range of a dtype."""

from collections.abc import Callable, Sequence

import numpy as np
from array_api_compat import array_namespace

from spectral_forecast import _widen
from spectral_forecast._typing import Array
from spectral_forecast.forecasters.tcpade import stage

__all__ = ["PART", "bounded", "staged", "widened"]

PART = 1.0 / 16.0
"""Formulas are evaluated on this share of the features, so that no sum on the way overflows."""


def staged(features: Sequence[Array], t: float, middle: Callable[[Array, Array], Array]) -> Array:
    """The three stages around a rule for the middle one; finite wherever the features are."""
    like = features[-1]
    xp = array_namespace(like)
    with np.errstate(all="ignore"):
        r1, r2 = widened(like), widened(features[-2])
        now = stage(t)
        if now == "early":
            result = 0.9 * r1 + 0.1 * r2
        else:
            result = middle(r1, r2)
            result = result + 0.3 * (r1 - r2) if now == "late" else result
        limit = float(xp.finfo(like.dtype).max) * PART
        inside = xp.abs(result) <= limit  # false for what is not a number
        return bounded(xp.where(inside, result, r1 + 0.5 * (r1 - r2)), like)


def bounded(part: Array, like: Array) -> Array:
    """Return ``part`` times 16 in the dtype of ``like``, kept inside its range."""
    xp = array_namespace(like)
    limit = float(xp.finfo(like.dtype).max) * PART
    kept = xp.where(xp.abs(part) <= limit, part, xp.sign(part) * limit)
    return xp.astype(kept * (1.0 / PART), like.dtype)


def widened(feature: Array) -> Array:
    """A sixteenth of the feature, in at least float32."""
    return _widen.widened(feature) * PART
