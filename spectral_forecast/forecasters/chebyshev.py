"""Ridge regression on Chebyshev polynomials: Spectrum's rule, and the same with free low degrees."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Weights
from spectral_forecast.forecasters.base import LinearRule
from spectral_forecast.forecasters.polynomial import Newton
from spectral_forecast.ridge import ridge_weights

__all__ = ["Chebyshev", "spectrum"]


@dataclass(frozen=True)
class Chebyshev(LinearRule):
    """Fit Chebyshev polynomials to all kept features by ridge regression (arXiv 2603.01623, Eqs. 8 to 14).

    Parameters
    ----------
    degree : int
        Highest degree, 0 or more. The paper's is 4.
    ridge : float
        Penalty on the squared coefficients, 0 or more. The paper's is 0.1. With 0 the degree is lowered to what
        the number of features determines.
    free : int
        How many low degrees the penalty spares, 0 to ``degree + 1``. 0 is the paper: it also shrinks T_0 and T_1,
        so its weights do not sum to one. 1 keeps constants, 2 keeps lines.

    Notes
    -----
    The rule lives on [-1, 1]: times are the run's clock mapped there. It depends on where in the run it is used.

    Examples
    --------
    >>> import numpy as np
    >>> times = np.array([-1.0, -0.9, -0.8, -0.6])
    >>> float(np.sum(Chebyshev(4, ridge=0.1).weights(times, -0.4)).round(3))
    0.828
    >>> float(np.sum(Chebyshev(4, ridge=0.1, free=2).weights(times, -0.4)).round(12))
    1.0
    """

    degree: int = 4
    ridge: float = 0.1
    free: int = 0

    affine = False

    def __post_init__(self) -> None:
        _checks.integer("degree", self.degree, least=0)
        _checks.nonnegative("ridge", self.ridge)
        if _checks.integer("free", self.free, least=0) > self.degree + 1:
            raise ValueError(f"`free` is {self.free}; write at most `degree + 1` = {self.degree + 1}.")

    @property
    def exactness(self) -> int:
        """The degrees that nothing penalises."""
        return self.degree if self.ridge == 0.0 else self.free - 1

    def _weights(self, times: NDArray[np.float64], t: float) -> Weights:
        basis = np.asarray(chebyshev.chebvander(np.append(times, t), self.degree))
        return ridge_weights(basis[:-1], basis[-1], ridge=self.ridge, free=self.exactness + 1)


def spectrum(
    blend: float = 1.0, *, mode: Literal["paper", "free"] = "paper", degree: int = 4, ridge: float = 0.1
) -> LinearRule:
    """Return Spectrum's forecaster: ``blend`` times Chebyshev ridge, the rest linear extrapolation.

    Parameters
    ----------
    blend : float
        Share of the Chebyshev part, 0 to 1. The paper is 1; its authors' code recommends 0.5 to 1.
    mode : {"paper", "free"}
        "paper" puts the ridge on every coefficient, as published and as in every known implementation. "free"
        spares the constant and the linear coefficient. The two differ by nothing else. The reason for the second: a
        penalised constant makes the weights sum to 0.65 ... 0.96 instead of 1 (over the paper's two schedules), so
        that a feature which does not change at all is forecast up to 35 % too small. The normalisation in a
        transformer's head hides a common shrink of last-block features; nothing hides it on outputs.
    degree, ridge
        As in `Chebyshev`.

    Returns
    -------
    LinearRule

    References
    ----------
    Han et al., "Adaptive Spectral Feature Forecasting for Diffusion Sampling Acceleration", CVPR 2026,
    arXiv 2603.01623.

    Examples
    --------
    >>> spectrum()
    Chebyshev(degree=4, ridge=0.1, free=0)
    >>> spectrum(0.5, mode="free")
    0.5 * Chebyshev(degree=4, ridge=0.1, free=2) + 0.5 * Newton(order=1)
    """
    share = _checks.nonnegative("blend", blend)
    if share > 1.0:
        raise ValueError(f"`blend` is {share}; write a share from 0 (linear) to 1 (Chebyshev).")
    if mode not in ("paper", "free"):
        raise ValueError(f'`mode` is {mode!r}; write "paper" or "free".')
    global_part = Chebyshev(degree, ridge, free=0 if mode == "paper" else min(2, degree + 1))
    if share == 1.0:
        return global_part
    return share * global_part + (1.0 - share) * Newton(1) if share > 0.0 else Newton(1)
