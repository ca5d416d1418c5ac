r"""What do inner products of the kept features tell? Every past error, and weights that look at the features.

The matrix kept here is the Gram matrix of :math:`(h_1 - h_K, \dots, h_{K-1} - h_K, h_K)`: differences to the newest
feature, and that feature itself in the last place. It holds the same information as the plain Gram matrix of the
features, but errors of forecasts are small differences, which the plain one loses in float32: it holds
:math:`\|h\|^2` to 1e-7, and so the square of no error below some 1e-3 of the feature, while here errors are made of
numbers as small as the differences.

A new feature costs one inner product with every kept one, K + 1 numbers that go to the host. The rest is small float64
linear algebra there.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import ArrayLike, NDArray

from spectral_forecast._typing import Array
from spectral_forecast._widen import widened

__all__ = ["append", "norm", "past_error", "row"]

Gram = NDArray[np.float64]


def row(
    kept: Sequence[Array], feature: Array, *, reduce: Callable[[Array], Array] | None = None
) -> NDArray[np.float64]:
    r"""Return the inner products that a new feature brings: the only step that reads features.

    Parameters
    ----------
    kept : sequence of K arrays
        Features kept so far, oldest first; it may be empty.
    feature : array
        The new one, of the same library, shape and dtype. Real floating-point.
    reduce : callable, optional
        Applied to the vector of inner products before it leaves the device, for features that are spread over
        several: a sum over all of them, such as ``jax.lax.psum`` or PyTorch's ``all_reduce``. One call a feature.

    Returns
    -------
    ndarray of float64, shape (K + 1,)
        With :math:`\delta` the new feature less the newest kept one, the inner products of :math:`\delta` with what
        the matrix is made of, and :math:`\|\delta\|^2` last. Without kept features, the squared norm of the new one.

    Notes
    -----
    Differences and products are formed in at least float32; they are summed in float64 where the library and the
    device have it (JAX must be told to: ``jax_enable_x64``), else in float32. For a million elements and differences
    of a tenth of the feature, errors from 3.5e-6 of the feature up come out within 1 %, and with float32 sums in JAX
    from 3e-4 up.

    Examples
    --------
    >>> import numpy as np
    >>> row([np.array([1.0, 0.0]), np.array([1.0, 1.0])], np.array([2.0, 1.0]))
    array([0., 1., 1.])
    """
    xp = array_namespace(feature, *kept)
    total = _widest(xp, feature)

    def inner(x: Array, y: Array) -> Array:
        return xp.sum(x * y, dtype=total)

    if len(kept) == 0:
        products = [inner(widened(feature), widened(feature))]
    else:
        newest = widened(kept[-1])
        change = widened(feature) - newest
        products = [inner(widened(old) - newest, change) for old in kept[:-1]]
        products += [inner(newest, change), inner(change, change)]
    sums = xp.stack(products)
    sums = sums if reduce is None else reduce(sums)
    # One transfer where the library has a way to do it.
    values = sums.tolist() if hasattr(sums, "tolist") else [float(sums[k]) for k in range(len(products))]
    return np.asarray(values, dtype=np.float64)


def append(gram: Gram, row: NDArray[np.float64]) -> Gram:
    """Return the Gram matrix with one more feature, which becomes the newest.

    Parameters
    ----------
    gram : ndarray of float64, shape (K, K)
        The matrix so far; ``np.zeros((0, 0))`` before the first feature. Drop the oldest feature by ``gram[1:, 1:]``.
    row : ndarray of float64, shape (K + 1,)
        What `row` returned, or 1 number for the first feature.

    Returns
    -------
    ndarray of float64, shape (K + 1, K + 1)

    Examples
    --------
    >>> import numpy as np
    >>> append(append(np.zeros((0, 0)), np.array([1.0])), np.array([1.0, 1.0]))  # the numbers 1 and 2
    array([[ 1., -2.],
           [-2.,  4.]])
    """
    count = len(gram)
    if np.shape(row) != (count + 1,):
        raise ValueError(f"`row` has shape {np.shape(row)}; write what `gram.row` returned, ({count + 1},) numbers.")
    if count == 0:
        return np.array([row])
    extended = np.empty((count + 1, count + 1))
    extended[:-1, :-1] = gram
    extended[-1] = extended[:, -1] = row
    # h_k - h_new = (h_k - h_old) - delta, h_old - h_new = -delta, h_new = h_old + delta. No norm of a whole feature
    # enters the differences.
    change = np.eye(count + 1)
    change[:count, -1] = -1.0
    change[count - 1, count - 1] = 0.0
    change[-1, count - 1] = 1.0
    matrix = change @ extended @ change.T
    return np.asarray(0.5 * (matrix + matrix.T))  # symmetric to the last digit


def norm(gram: Gram, coefficients: ArrayLike) -> float:
    r"""Return the 2-norm of :math:`\sum_k c_k h_k`, at O(K**2) and without the features.

    Parameters
    ----------
    gram : ndarray of float64, shape (K, K)
        Of the kept features, as `append` returns it.
    coefficients : array_like, shape (K,)

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> norm(np.array([[1.0, -2.0], [-2.0, 4.0]]), [3.0, 1.0])  # 3 * 1 + 1 * 2
    5.0
    """
    c = np.array(coefficients, dtype=np.float64)
    if c.shape != (len(gram),):
        raise ValueError(f"`coefficients` has shape {c.shape}; write one for each of the {len(gram)} features.")
    c[-1] = np.sum(c)
    return float(np.sqrt(np.maximum(c @ gram @ c, 0.0)))


def past_error(gram: Gram, weights: ArrayLike) -> float:
    """Return the 2-norm of the error that a linear rule made, or would have made, in the newest feature.

    Parameters
    ----------
    gram : ndarray of float64, shape (K, K)
        Of the kept features, the newest among them.
    weights : array_like, shape (K - 1,)
        Of the features before: ``rule.weights(times[:-1], times[-1])``, of any rule, whether it was in use or not.

    Returns
    -------
    float
        Relative to the feature: divide by ``np.sqrt(gram[-1, -1])``.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import Newton
    >>> gram = np.zeros((0, 0))
    >>> values = [np.array([t**2]) for t in (0.0, 1.0, 2.0)]
    >>> for k in range(3):
    ...     gram = append(gram, row(values[:k], values[k]))
    >>> past_error(gram, Newton(1).weights([0, 1], 2))  # 4 was forecast as 2
    2.0
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (len(gram) - 1,):
        raise ValueError(f"`weights` has shape {w.shape}; write one for each of the {len(gram) - 1} features before.")
    return norm(gram, np.append(-w, 1.0))


def _widest(xp: ModuleType, array: Array) -> Any:
    """The dtype to sum in: float64 where the array's device has it."""
    if str(device(array)).startswith("mps"):
        return xp.float32
    kinds = xp.__array_namespace_info__().dtypes(kind="real floating")
    return kinds.get("float64", kinds["float32"])
