"""How far is an accelerated result from the full one? Host numbers from arrays of any library."""

import math

from array_api_compat import array_namespace

from spectral_forecast._typing import Array
from spectral_forecast._widen import widened

__all__ = ["psnr", "relative_error", "rmse"]


def rmse(result: Array, reference: Array) -> float:
    """Return the root of the mean squared difference, in the arrays' unit.

    Parameters
    ----------
    result, reference : array
        Real floating-point arrays of one library and of equal shapes. Narrow dtypes are widened to float32.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> rmse(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    1.4142135623730951
    """
    xp, a, b = _pair(result, reference)
    return math.sqrt(float(xp.mean((a - b) ** 2)))


def relative_error(result: Array, reference: Array) -> float:
    """Return the 2-norm of the difference over the 2-norm of ``reference``; 0 where both vanish.

    Parameters
    ----------
    result, reference : array
        Real floating-point arrays of one library and of equal shapes. Narrow dtypes are widened to float32.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> relative_error(np.array([3.0, 4.5]), np.array([3.0, 4.0]))
    0.1
    """
    xp, a, b = _pair(result, reference)
    difference, size = math.sqrt(float(xp.sum((a - b) ** 2))), math.sqrt(float(xp.sum(b**2)))
    if size == 0.0:
        return 0.0 if difference == 0.0 else math.inf
    return difference / size


def psnr(result: Array, reference: Array, *, data_range: float) -> float:
    """Return the peak signal-to-noise ratio in dB, over all elements; infinity where nothing differs.

    Parameters
    ----------
    result, reference : array
        Real floating-point arrays of one library and of equal shapes. Narrow dtypes are widened to float32.
    data_range : float
        Distance between the least and the largest value that is possible: 2 for images in [-1, 1].

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> round(psnr(np.array([0.1, 0.2]), np.array([0.1, 0.3]), data_range=1.0), 2)
    23.01
    """
    if not data_range > 0.0:
        raise ValueError(f"`data_range` is {data_range}; write a positive number, 2 for images in [-1, 1].")
    error = rmse(result, reference)
    return math.inf if error == 0.0 else 20.0 * math.log10(data_range / error)


def _pair(result: Array, reference: Array) -> tuple[Array, Array, Array]:
    """The namespace, and both arrays in at least float32."""
    xp = array_namespace(result, reference)
    if result.shape != reference.shape:
        raise ValueError(
            f"`result` has shape {tuple(result.shape)}, `reference` {tuple(reference.shape)}; write equal shapes."
        )
    if 0 in result.shape:
        raise ValueError("`result` and `reference` are empty; write arrays with at least one element.")
    for name, array in (("result", result), ("reference", reference)):
        if not xp.isdtype(array.dtype, "real floating"):
            raise TypeError(f"`{name}` has dtype {array.dtype}; write a real floating-point array.")
    return xp, widened(result), widened(reference)
