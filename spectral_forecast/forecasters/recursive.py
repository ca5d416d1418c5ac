"""Rules that forecast one sampling step and go on from their own forecast: AB-Cache, FoCa."""

import math
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Weights
from spectral_forecast.forecasters.steps import StepRule

__all__ = ["AdamsBashforth", "FoCa"]


@dataclass(frozen=True)
class _Recursive(StepRule):
    """A rule that forecasts one step from the last few values, forecasts among them, and repeats.

    It is linear: running it on unit vectors gives its weights. The recursion is solved in closed form, so that a
    gap costs the same however many steps it has, and need not be a whole number of them.
    """

    exactness = 0
    _longest = 1

    @abstractmethod
    def _ahead(self, values: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Continue ``values`` (m, K), newest first and one step apart, by ``steps`` (n,): shape (n, K)."""

    def _stepped(self, times: NDArray[np.float64], t: float) -> Weights:
        units = np.eye(times.size)
        values = units[:1]
        for k, gap in enumerate(np.diff(times), start=1):
            # Values one step apart that a run has by now: the tolerance is for whole steps that rounding shortened.
            length = min(self._longest, math.floor(times[k] - times[0] + 1e-6) + 1)
            values = np.concatenate([units[k : k + 1], self._ahead(values, gap - np.arange(1.0, length))])
        return np.asarray(self._ahead(values, np.array([t - times[-1]]))[0])


@dataclass(frozen=True)
class AdamsBashforth(_Recursive):
    r"""Forecast step by step with binomial coefficients (AB-Cache, arXiv 2504.10540).

    The forecast of a step is :math:`\sum_{j=1}^n (-1)^{j+1} \binom{n}{j} o_{-j}` of the n steps before it, each of
    them evaluated or forecast itself.

    Parameters
    ----------
    order : int
        How many steps n enter, 1 or more: 1 is `Reuse`, 2 the difference of the last two steps.
    step : float, optional
        Length of one sampling step in the unit of the times. `make_plan` fills it in on clocks with equal steps.

    Notes
    -----
    The coefficients continue the polynomial of degree n - 1 through n neighbouring steps. Those are a mixture:
    right after an evaluation one of them is true and the others are old forecasts, whose error then counts as a
    difference over a single step and is extrapolated: with an interval of 4 steps the weights add up, in absolute
    value, to thousands (docs/comparison.md). Only constants are kept, unless the run starts with n
    evaluations in a row (then polynomials of degree n - 1 are). In a plan with ``keep`` the recursion starts at the
    oldest feature that is kept.

    Examples
    --------
    >>> AdamsBashforth(order=2, step=1.0).weights([0.0, 1.0, 3.0], 4.0)
    array([ 1., -2.,  2.])
    """

    order: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.integer("order", self.order, least=1)

    @property
    def _longest(self) -> int:  # type: ignore[override]
        return self.order

    def _ahead(self, values: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
        # Newton's backward differences: the factor of the j-th is g (g + 1) ... (g + j - 1) / j!.
        factor, difference = np.ones_like(steps), values
        total = np.outer(factor, difference[0])
        for j in range(1, len(values)):
            factor, difference = factor * (steps + j - 1.0) / j, difference[:-1] - difference[1:]
            total += np.outer(factor, difference[0])
        return total


@dataclass(frozen=True)
class FoCa(_Recursive):
    r"""Forecast step by step with BDF2, then calibrate with Heun's rule (FoCa, arXiv 2508.16211).

    With the derivative of the second backward difference formula, :math:`f_i = (3 o_i - 4 o_{i-1} + o_{i-2}) / 2`,
    the predictor :math:`(4 o_i - o_{i-1} + 2 f_i) / 3` is (7, -5, 1) / 3 on the newest three steps, and the
    corrector :math:`o_i + (f_i + f_{i+1}) / 2` is (5, -4, 1) / 2. Forecasts enter the next step's formula.

    Parameters
    ----------
    corrector : bool
        Whether the forecast is calibrated, as published; otherwise it is the predictor's.
    step : float, optional
        Length of one sampling step in the unit of the times. `make_plan` fills it in on clocks with equal steps.

    Notes
    -----
    Both formulas continue lines and neither continues a quadratic, so that the order of BDF2 is lost: the derivative
    is explicit. As in `AdamsBashforth`, a mixture of true and forecast steps keeps constants only. With two steps
    in hand the line through them is continued, with one it is repeated.

    Examples
    --------
    >>> FoCa(step=1.0).weights([0.0, 1.0, 2.0], 3.0)
    array([ 0.5, -2. ,  2.5])
    """

    corrector: bool = True

    _longest = 3

    def _ahead(self, values: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.repeat(values[:1], steps.size, axis=0)
        if len(values) == 1:
            return total
        slope = values[0] - values[1]
        if len(values) == 3:
            # Both recursions have the roots 1, 1 and r: solutions a + b g + c r**g.
            r = 0.5 if self.corrector else 1.0 / 3.0
            c = (values[0] - 2.0 * values[1] + values[2]) / (1.0 - 1.0 / r) ** 2
            slope = slope - (1.0 - 1.0 / r) * c
            total += np.outer(np.expm1(math.log(r) * steps), c)
        return total + np.outer(steps, slope)
