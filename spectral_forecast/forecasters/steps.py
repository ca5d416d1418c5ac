"""Rules whose formulas count sampling steps and so need the length of one: what they share, and HiCache."""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.polynomial.hermite import hermvander
from numpy.typing import NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Weights
from spectral_forecast.forecasters.base import LinearRule
from spectral_forecast.forecasters.polynomial import difference_weights

__all__ = ["Hermite", "StepRule"]


@dataclass(frozen=True, kw_only=True)
class StepRule(LinearRule):
    """A rule with the length of one sampling step, in the unit of the times it is given."""

    step: float | None = None

    def __post_init__(self) -> None:
        if self.step is not None and _checks.finite("step", self.step) <= 0.0:
            raise ValueError(f"`step` is {self.step}; write the length of one sampling step, above 0.")

    def with_step(self, step: float | None, *, scale: float = 1.0) -> Self:
        """Return the rule with this step where it has none, else with its own times ``scale``."""
        return replace(self, step=step if self.step is None else self.step * scale)

    def _weights(self, times: NDArray[np.float64], t: float) -> Weights:
        if self.step is None:
            raise ValueError(
                f"`step` of {self} is None, but the rule counts sampling steps; write `step=` the length of one in the "
                "unit of the clock. `make_plan` fills it in on clocks with equal steps, such as `np.arange(n)`."
            )
        return self._stepped(times / self.step, t / self.step)

    @abstractmethod
    def _stepped(self, times: NDArray[np.float64], t: float) -> Weights:
        """Compute the weights from times counted in steps."""


@dataclass(frozen=True)
class Hermite(StepRule):
    r"""Extrapolate by Hermite polynomials of TaylorSeer's differences (HiCache, arXiv 2508.16984).

    With the differences :math:`D^j` of `TaylorSeer` the forecast k steps ahead is
    :math:`h + \sum_{j \ge 1} D^j \sigma^j H_j(\sigma k) / j!`, where :math:`H_0 = 1`, :math:`H_1 = 2x` and
    :math:`H_{n+1} = 2 x H_n - 2 n H_{n-1}`.

    Parameters
    ----------
    order : int
        Highest difference, 0 or more. With fewer than ``order + 1`` features the missing ones are left out.
    sigma : float
        Contraction of the argument, above 0; 0.5 is the paper's.
    step : float, optional
        Length of one sampling step in the unit of the times. `make_plan` fills it in on clocks with equal steps.

    Notes
    -----
    A line is extrapolated with :math:`2 \sigma^2` of its slope, half of it at 0.5; only :math:`\sigma = 1/\sqrt 2`
    keeps lines, and there order 1 is `TaylorSeer` of order 1. At k = 0 the rule does not return the newest feature
    from order 2 on, because :math:`H_2(0) = -2`.

    Examples
    --------
    >>> Hermite(order=1, step=1.0).weights([0.0, 1.0, 2.0], 4.0)
    array([ 0., -1.,  2.])
    """

    order: int = 2
    sigma: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.integer("order", self.order, least=0)
        if _checks.finite("sigma", self.sigma) <= 0.0:
            raise ValueError(f"`sigma` is {self.sigma}; write a number above 0, such as the paper's 0.5.")

    @property
    def exactness(self) -> int:
        """Constants; lines where the contraction leaves their slope."""
        return int(self.order >= 1 and abs(2.0 * self.sigma**2 - 1.0) < 1e-14)

    def _stepped(self, times: NDArray[np.float64], t: float) -> Weights:
        differences = difference_weights(times, self.order)
        hermite = hermvander(self.sigma * (t - times[-1]), len(differences) - 1)[0]
        factors = [h * self.sigma**j / math.factorial(j) for j, h in enumerate(hermite)]
        return np.array(factors) @ differences
