"""Rules whose formulas count sampling steps: HiCache, AB-Cache, FoCa. They need the length of one step."""

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Weights
from spectral_forecast.forecasters.base import LinearRule
from spectral_forecast.forecasters.polynomial import difference_weights

__all__ = ["AdamsBashforth", "FoCa", "Hermite"]


@dataclass(frozen=True, kw_only=True)
class _StepRule(LinearRule):
    """A rule with the length of one sampling step, in the unit of the times it is given."""

    step: float | None = None

    def __post_init__(self) -> None:
        if self.step is not None and _checks.finite("step", self.step) <= 0.0:
            raise ValueError(f"`step` is {self.step}; write the length of one sampling step, above 0.")

    def with_step(self, step: float | None, *, scale: float = 1.0) -> Self:
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
class Hermite(_StepRule):
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
        x = self.sigma * (t - times[-1])
        hermite = [1.0, 2.0 * x]
        for n in range(1, len(differences) - 1):
            hermite.append(2.0 * x * hermite[n] - 2.0 * n * hermite[n - 1])
        factors = [hermite[j] * self.sigma**j / math.factorial(j) for j in range(len(differences))]
        return np.array(factors) @ differences


@dataclass(frozen=True)
class _Recursive(_StepRule):
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
