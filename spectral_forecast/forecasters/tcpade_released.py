"""TC-Padé's predictor as its authors' code has it, element by element."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Array, Times
from spectral_forecast.forecasters.elementwise import PART, staged, widened
from spectral_forecast.forecasters.tcpade import Gated, scaled_gram
from spectral_forecast.gram import norm

__all__ = ["TCPadeReleased"]


@dataclass(frozen=True)
class TCPadeReleased(Gated):
    r"""The released code of TC-Padé, element by element (Alibaba-YuFeng/TC_Pade; arXiv 2603.02943).

    With :math:`\delta = |R_1 - R_2|`, :math:`m = (|R_1| + |R_2|)/2`, :math:`\sigma = \exp(-5\delta / (m + 10^{-7}))`,
    the quotient :math:`p = \sigma (2 R_1 - R_2) / (1 - 0.1 \sigma)` is kept within :math:`\max(\delta/2, m/10)` of
    :math:`\bar r = 0.6 R_1 + 0.4 R_2`, and the forecast is :math:`\beta p + (1 - \beta) \bar r`,
    :math:`\beta = 0.7 \sigma + 0.3`. Stages as in `TCPadePaper`. Forecasts enter the history, and a fifth of what the
    input moved since the last step is added to the output.

    Parameters
    ----------
    threshold : float
        Of the gate, as in `TCPade`; consulted from the fifth residual on. 1.6 is the code's default, 0.6 of the
        printed indicator.
    order : int
        Highest order of the adaptation, 2 or more; the code's is 3. The order in use is 2, 3 or 4, but at most this,
        as the mean cosine between the newest three residuals is up to 0.90, up to 0.98, or above.

    Notes
    -----
    Where print and code disagree: the coefficient of the denominator is a constant there instead of a residual's
    multiple, so that the quotient has no pole and needs no guard; the modulation is element-wise with factor 5 instead
    of global with 10; the indicator is the printed one, but small values skip; the input's motion, the limits and the
    blend are not in print. The order does not enter the quotient: it is how many residuals more than one must be
    known for the quotient to be used at all. Before, the forecast is a mean of the newest ones with weights 4 : 3 : 2,
    times 1 / (1 + 10 ||R1 - R2||) kept above 0.8, a norm without a unit; this is reproduced, its fault included.
    Because forecasts enter the history, they turn it: the gate can shut on residuals that move along a line.
    The code counts its stages by 20 steps whatever the number of steps; here they follow the clock.

    Where the result leaves the range of the dtype, the forecast is :math:`R_1 + \frac12 (R_1 - R_2)`, kept inside it.

    Examples
    --------
    >>> import numpy as np
    >>> residuals = [np.array([1.0, -2.0])] * 4
    >>> TCPadeReleased().forecast([0, 1, 2, 3], residuals, 0.0)
    array([ 1.1, -2.2])
    """

    threshold: float = 1.6
    order: int = 3

    least: ClassVar[int] = 3
    history: ClassVar[int] = 5
    recursive: ClassVar[bool] = True
    follow: ClassVar[float] = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.integer("order", self.order, least=2)

    def skips(self, gram: NDArray[np.float64]) -> bool:
        """Whether the gate lets a step be forecast: with fewer than five residuals it is open."""
        return len(gram) < 5 or super().skips(gram)

    def forecast(self, times: Times, features: Sequence[Array], t: float, /) -> Array:
        """Return the forecast of the residual at ``t`` of [-1, 1] from earlier ones, oldest first."""
        if len(features) < 2:
            return features[-1]
        order = self._order(features)

        def quotient(r1: Array, r2: Array) -> Array:
            if len(features) <= order:
                return self._mean(features)
            return _limited(r1, r2)

        return staged(features, t, quotient)

    def _order(self, features: Sequence[Array]) -> int:
        """The order that the residuals' directions suggest."""
        if len(features) < 3:
            return 2
        gram = scaled_gram(features[-3:])

        def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
            sizes = norm(gram, a), norm(gram, b)
            twice = 2.0 * sizes[0] * sizes[1]
            return (norm(gram, a + b) ** 2 - sizes[0] ** 2 - sizes[1] ** 2) / twice if twice > 0.0 else 0.0

        r3, r2, r1 = np.eye(3)
        similar = 0.5 * (cosine(r1, r2) + cosine(r2, r3))
        return min(self.order, 4 if similar > 0.98 else 3 if similar > 0.90 else 2)

    @staticmethod
    def _mean(features: Sequence[Array]) -> Array:
        """The mean of two to four residuals that stands in for the quotient, times its damping."""
        shares = (0.4, 0.3, 0.2, 0.1)[: len(features)]
        parts = [share * widened(h) for share, h in zip(shares, reversed(features), strict=True)]
        damping, xp = 1.0, array_namespace(*features)
        if len(features) > 2:
            gram = scaled_gram(features[-2:])
            change = norm(gram, [-1.0, 1.0])
            top = max(float(xp.max(xp.abs(h))) for h in features[-2:])
            damping = max(0.8, 1.0 / (1.0 + 10.0 * change * top))
        return sum(parts[1:], start=parts[0]) * (damping / sum(shares))


def _limited(r1: Array, r2: Array) -> Array:
    """The released quotient, its limits and its blend, on `PART` of the residuals."""
    xp = array_namespace(r1)
    change, size = xp.abs(r1 - r2), 0.5 * xp.abs(r1) + 0.5 * xp.abs(r2)
    sigma = xp.exp(-5.0 * (change / (size + 1e-7 * PART)))
    mean, limit = 0.6 * r1 + 0.4 * r2, xp.maximum(0.5 * change, 0.1 * size)
    away = sigma * (2.0 * r1 - r2) / (1.0 - 0.1 * sigma) - mean
    p = mean + xp.maximum(-limit, xp.minimum(limit, away))
    blend = 0.7 * sigma + 0.3
    return blend * p + (1.0 - blend) * mean
