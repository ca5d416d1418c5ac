"""Rules made of two rules: how far to go towards a forecast that another one disputes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectral_forecast._typing import Weights
from spectral_forecast.forecasters.base import LinearRule
from spectral_forecast.forecasters.gram_rule import GramRule
from spectral_forecast.gram import norm

__all__ = ["Shrink"]


@dataclass(frozen=True)
class Shrink(GramRule):
    r"""Shrink a forecast towards the newest feature, the more the further another rule disagrees (RACER, 2608.01740).

    With the two forecasts :math:`\hat h, \hat g`, their disagreement :math:`r = \|\hat h - \hat g\| / \|\hat h\|`,
    the horizon k and the newest gap g, the forecast is :math:`h_K + \kappa (\hat h - h_K)`,
    :math:`\kappa = 1 / (1 + (r / r_0) (k / g))`, where :math:`r_0` is the median of r at past evaluations.

    Parameters
    ----------
    rule : LinearRule
        The rule that forecasts.
    other : LinearRule
        The one that it is compared with.

    Notes
    -----
    Past disagreements are those at the kept features, each forecast from the ones kept before it (three or more, so
    that rules of order 1 have formed). Without any, or where the median vanishes, nothing is shrunk. It is meant for
    rules that do not keep constants; a rule that does is pulled back from the drift that it forecasts rightly.

    Examples
    --------
    >>> from spectral_forecast import Newton, Reuse, Shrink, spectrum
    >>> Shrink(spectrum(), Newton(1))
    Shrink(rule=Chebyshev(degree=4, ridge=0.1, free=0), other=Newton(order=1))
    """

    rule: LinearRule
    other: LinearRule

    @property
    def affine(self) -> bool:  # type: ignore[override]
        """Whether both rules are."""
        return self.rule.affine and self.other.affine

    def _weights(self, times: NDArray[np.float64], t: float, gram: NDArray[np.float64]) -> Weights:
        w = self.rule.weights(times, t)
        past = [self._disagreement(times[:k], float(times[k]), gram) for k in range(3, times.size)]
        usual = float(np.median(past)) if past else 0.0
        if usual == 0.0:
            return w
        gaps = (t - times[-1]) / (times[-1] - times[-2])
        kappa = 1.0 / (1.0 + self._disagreement(times, t, gram) / usual * gaps)
        w = kappa * w
        w[-1] += 1.0 - kappa
        return np.asarray(w)

    def _disagreement(self, times: NDArray[np.float64], t: float, gram: NDArray[np.float64]) -> float:
        """How far apart the forecasts from the oldest features are, relative to the first."""
        w, v = np.zeros((2, len(gram)))
        w[: times.size], v[: times.size] = self.rule.weights(times, t), self.other.weights(times, t)
        size = norm(gram, w)
        return norm(gram, w - v) / size if size > 0.0 else 0.0
