"""Dynamic mode decomposition of the kept features, through inner products only."""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Weights
from spectral_forecast.forecasters.gram_rule import GramRule, equally_spaced
from spectral_forecast.forecasters.polynomial import Newton

__all__ = ["DMD"]


@dataclass(frozen=True)
class DMD(GramRule):
    r"""Extrapolate a sum of complex exponentials: dynamic mode decomposition, or Prony's method for vectors.

    Over the newest equally spaced features :math:`X = [y_1 \dots y_{n-1}]`, :math:`X' = [y_2 \dots y_n]` the map
    :math:`X' \approx A X` is projected onto the leading singular vectors of X; each of its eigenvalues :math:`\mu` is
    the factor that a mode gains over one spacing. Only products of features enter, no tall matrix is factored.

    Parameters
    ----------
    history : int
        How many of the newest features enter at most, 4 or more.
    threshold : float
        Singular values of X below this share of the largest are left out.
    cap : bool
        Whether eigenvalues outside the unit circle are put onto it. The published rule leaves them.

    Notes
    -----
    The modes are the "exact" ones, combinations of :math:`X'`, and their amplitudes fit :math:`y_n` by least squares.
    With fewer than 4 equally spaced features the rule is `Newton` of order 1; where the decomposition
    gives no finite weights it repeats the newest feature. Nothing makes the weights sum to one: a constant is kept
    because it is a mode, as far as the threshold lets it be one.

    Singular values are square roots of eigenvalues of a Gram matrix, so features in float32 whose inner products are
    also summed in float32 resolve them to 3e-4 of the largest only: raise ``threshold`` there.

    References
    ----------
    Tu et al., "On dynamic mode decomposition: theory and applications", J. Comput. Dyn. 1 (2014).

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import DMD, gram
    >>> features = [np.array([np.cos(k), np.sin(k)]) for k in range(4)]
    >>> matrix = np.zeros((0, 0))
    >>> for k in range(4):
    ...     matrix = gram.append(matrix, gram.row(features[:k], features[k]))
    >>> w = DMD().weights(range(4), 5.5, matrix)
    >>> bool(np.allclose(w @ features, [np.cos(5.5), np.sin(5.5)]))
    True
    """

    history: int = 6
    threshold: float = 1e-4
    cap: bool = False

    def __post_init__(self) -> None:
        _checks.integer("history", self.history, least=4)
        _checks.nonnegative("threshold", self.threshold)

    def _weights(self, times: NDArray[np.float64], t: float, gram: NDArray[np.float64]) -> Weights:
        count = min(equally_spaced(times), self.history)
        if count < 4:
            return Newton(1).weights(times, t)
        w = np.zeros(times.size)
        w[-1] = 1.0
        products = _plain(gram)[-count:, -count:]
        with suppress(np.linalg.LinAlgError):
            modes = self._modes(products, (t - times[-1]) / (times[-1] - times[-2]))
            if np.isfinite(modes).all():
                w[1 - count :] = modes
        return w

    def _modes(self, products: NDArray[np.float64], spacings: float) -> Weights:
        """Weights of all features but the first."""
        squares, vectors = np.linalg.eigh(products[:-1, :-1])
        values = np.sqrt(np.maximum(squares, 0.0))
        leading = values > self.threshold * values[-1]
        if not leading.any():
            raise np.linalg.LinAlgError
        scaled = vectors[:, leading] / values[leading]
        mu, modes = np.linalg.eig(scaled.T @ products[:-1, 1:] @ scaled)
        if self.cap:
            mu = mu / np.maximum(np.abs(mu), 1.0)
        columns = scaled @ modes  # of X', for each mode
        # The least-squares problem in features, in coordinates in which X' is as small as its Gram matrix.
        squares, vectors = np.linalg.eigh(products[1:, 1:])
        small = np.sqrt(np.maximum(squares, 0.0))[:, None] * vectors.T
        amplitudes = np.linalg.lstsq(small @ columns, small[:, -1])[0]
        return np.asarray((columns @ (mu.astype(np.complex128) ** spacings * amplitudes)).real)


def _plain(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inner products of the features themselves."""
    change = np.eye(len(gram))
    change[:, -1] = 1.0
    return np.asarray(change @ gram @ change.T)
