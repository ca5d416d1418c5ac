"""TC-Padé's predictor as it is printed, read so that it extrapolates forwards."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from array_api_compat import array_namespace

from spectral_forecast import _checks
from spectral_forecast._typing import Array, Times
from spectral_forecast.forecasters.elementwise import staged, widened
from spectral_forecast.forecasters.tcpade import Gated, modulated, scaled_gram

__all__ = ["TCPadePaper"]


@dataclass(frozen=True)
class TCPadePaper(Gated):
    r"""The printed predictor of TC-Padé (arXiv 2603.02943), read so that it extrapolates forwards.

    With R1, R2, R3 the newest residuals, newest first, :math:`\sigma = \exp(-\lambda \|R_1-R_2\| / \|R_1+R_2\|)` and
    :math:`\hat R = \sigma (2 R_1 - R_2) / (1 + 0.1 \sigma R_3 / \mathrm{rms}(R_3))`, each element for itself. The early
    stage is :math:`0.9 R_1 + 0.1 R_2`, the late stage adds :math:`0.3 (R_1 - R_2)`.

    Parameters
    ----------
    threshold : float
        Of the gate, as in `TCPade`.
    modulation : float
        :math:`\lambda`, 0 or more; the paper's is 10.

    Notes
    -----
    Where this departs from print: the printed indices, taken literally, extrapolate backwards, here R1 is the newest;
    the printed denominator adds a residual to 1, so that the forecast would change with the unit of the features, here
    the residual is divided by its root mean square; and the gate is that of `stability`. The modulation multiplies
    the whole forecast, as printed: a residual that changes is forecast too small, which `TCPade` does not do.

    A denominator below 1e-5 in magnitude is put there. Where the result leaves the range of the dtype, the forecast is
    :math:`R_1 + \frac12 (R_1 - R_2)`, kept inside it. Inputs that are finite give finite forecasts.

    Examples
    --------
    >>> import numpy as np
    >>> residuals = [np.array([1.0, 2.0])] * 3
    >>> TCPadePaper().forecast([0, 1, 2], residuals, 0.0).round(3)
    array([0.941, 1.775])
    """

    modulation: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.nonnegative("modulation", self.modulation)

    def forecast(self, times: Times, features: Sequence[Array], t: float, /) -> Array:
        """Return the forecast of the residual at ``t`` of [-1, 1] from earlier ones, oldest first."""
        if len(features) < 2:
            return features[-1]
        gram = scaled_gram(features[-2:])

        def rational(r1: Array, r2: Array) -> Array:
            sigma = modulated(gram, self.modulation)
            top = sigma * (2.0 * r1 - r2)
            if len(features) < 3:
                return top
            r3 = widened(features[-3])
            return top / _guarded(1.0 + 0.1 * sigma * (r3 / _rms(r3)))

        return staged(features, t, rational)


def _guarded(denominator: Array) -> Array:
    xp = array_namespace(denominator)
    least = xp.full_like(denominator, 1e-5)
    return xp.where(xp.abs(denominator) < 1e-5, xp.where(denominator < 0.0, -least, least), denominator)


def _rms(feature: Array) -> Array:
    """Root mean square, above 0; by the largest magnitude, so that no square overflows."""
    xp = array_namespace(feature)
    tiny = float(xp.finfo(feature.dtype).smallest_normal)
    top = max(float(xp.max(xp.abs(feature))), tiny)
    return max(top * math.sqrt(float(xp.mean((feature / top) ** 2))), tiny)
