"""How does a penalised least-squares fit weigh its data, when it is evaluated at one point?"""

import numpy as np
from numpy.typing import NDArray

from spectral_forecast._typing import Weights

__all__ = ["ridge_weights"]


def ridge_weights(design: NDArray[np.float64], row: NDArray[np.float64], *, ridge: float, free: int = 0) -> Weights:
    r"""Return the weights that a ridge fit gives to its data when it is evaluated at one point.

    The coefficients minimise ``|design @ c - h|**2 + ridge * |c[free:]|**2``; the fit's value ``row @ c`` is
    ``weights @ h`` for every data vector ``h``. With ``free=0`` this is
    :math:`w = \Phi (\Phi^T \Phi + \lambda I)^{-1} \varphi` (arXiv 2603.01623, Eqs. 13 and 14).

    Parameters
    ----------
    design : ndarray of float64, shape (K, P)
        Basis functions at the data's times, one row a time. The first ``min(free, K)`` columns must be independent.
    row : ndarray of float64, shape (P,) or (P, n)
        The same basis functions at the point of evaluation, or at n points, one column each.
    ridge : float
        The penalty, 0 or more. With 0, coefficients that the data leave open have the smallest norm.
    free : int
        How many leading coefficients the penalty spares; no more of them than there are data can be.

    Returns
    -------
    ndarray of float64, shape (K,) or (K, n)

    Notes
    -----
    A QR factorisation eliminates the free columns; what is left is solved by its singular values, each filtered
    by ``s / (s**2 + ridge)``. Nothing is squared before it is factored and a vanishing ``ridge`` needs no special
    case. On the paper's two schedules and penalties from 1e-16 up, the weights are within 1e-11 of their absolute
    sum of exact arithmetic; the normal equations are off by up to 2e-4.

    Examples
    --------
    >>> import numpy as np
    >>> design = np.array([[1.0, 0.0], [1.0, 1.0]])
    >>> ridge_weights(design, np.array([1.0, 2.0]), ridge=1e9, free=2)
    array([-1.,  2.])
    """
    count = design.shape[0]
    free = min(free, count, design.shape[1])
    basis, upper = np.linalg.qr(design[:, :free], mode="complete")
    kept, rest = basis[:, :free], basis[:, free:]
    # Weights that reproduce the free columns exactly, and what they make of the penalised ones.
    exact = kept @ np.linalg.solve(upper[:free].T, row[:free])
    left, values, right = np.linalg.svd(rest.T @ design[:, free:], full_matrices=False)
    sure = values > np.finfo(np.float64).eps * max(design.shape) * values[:1]
    left, values, right = left[:, sure], values[sure], right[sure]
    missed = row[free:] - design[:, free:].T @ exact
    return np.asarray(exact + rest @ ((left * (values / (values**2 + ridge))) @ (right @ missed)))
