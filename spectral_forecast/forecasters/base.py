"""What every rule with weights that depend on times only has in common: checks, sums and multiples."""

import numbers
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Times, Weights

__all__ = ["Combination", "LinearRule"]


class LinearRule(ABC):
    """A forecaster that is linear in the features; subclasses are frozen dataclasses with one method.

    Attributes
    ----------
    exactness : int
        The rule reproduces polynomials in time up to this degree, on any nodes, once it has ``exactness + 1``
        of them; with fewer nodes, K, up to degree K - 1. 0: constants only (the weights sum to one). -1: nothing.
    affine : bool
        Whether the weights stay the same under every affine change of the clock (and of the step, see
        `with_step`). Where not, the rule lives on [-1, 1] and refuses times outside.
    """

    affine: bool = True

    @property
    @abstractmethod
    def exactness(self) -> int:
        """Degree of the polynomials that the rule reproduces."""

    @abstractmethod
    def _weights(self, times: NDArray[np.float64], t: float) -> Weights:
        """Compute the weights of checked ``times`` and ``t``."""

    def weights(self, times: Times, t: float, /) -> Weights:
        """Return the weights of the kept features in the forecast at ``t``.

        Parameters
        ----------
        times : array_like, shape (K,)
            Times of the kept features, strictly increasing; any number of them from 1 up. A rule with more
            parameters than features lowers its own order.
        t : float
            The time to forecast, after the last of ``times``, in the same unit.

        Returns
        -------
        ndarray of float64, shape (K,)

        Raises
        ------
        ValueError
            If times are empty, not increasing or not finite, if ``t`` is not after them, or if the rule lives
            on [-1, 1] and they do not.
        FitError
            If float64 holds no finite weights for these times.
        """
        nodes = _checks.increasing("times", times)
        point = _checks.target(nodes, t)
        return _checks.weights(self, nodes, point, lambda: self._weights(nodes, point), mapped_by="make_plan")

    def with_step(self, step: float | None, *, scale: float = 1.0) -> "LinearRule":
        """Return the rule for a clock whose sampling steps all have the length ``step``.

        Only rules that count steps differ: where their own ``step`` is None it becomes this one, else it is
        multiplied by ``scale``, the length of the old clock's unit on the new clock.
        """
        return self

    def __add__(self, other: Any) -> "Combination":
        if not isinstance(other, LinearRule):
            return NotImplemented
        return Combination(_terms(self) + _terms(other))

    def __sub__(self, other: Any) -> "Combination":
        return self + -1.0 * other if isinstance(other, LinearRule) else NotImplemented

    def __mul__(self, factor: Any) -> "Combination":
        if not isinstance(factor, numbers.Real):
            return NotImplemented
        scale = _checks.finite("factor", factor)
        return Combination(tuple((scale * c, rule) for c, rule in _terms(self)))

    __rmul__ = __mul__

    def __neg__(self) -> "Combination":
        return -1.0 * self

    def __truediv__(self, divisor: Any) -> "Combination":
        return self * (1.0 / divisor) if isinstance(divisor, numbers.Real) else NotImplemented


def _terms(rule: LinearRule) -> tuple[tuple[float, LinearRule], ...]:
    return rule.terms if isinstance(rule, Combination) else ((1.0, rule),)


@dataclass(frozen=True, repr=False)
class Combination(LinearRule):
    """A weighted sum of rules, written with ``+`` and ``*``.

    Parameters
    ----------
    terms : tuple of (float, LinearRule)
        Factors and rules.

    Examples
    --------
    >>> from spectral_forecast import Chebyshev, Newton
    >>> rule = 0.5 * Newton(1) + 0.5 * Chebyshev(4, ridge=0.1)
    >>> rule
    0.5 * Newton(order=1) + 0.5 * Chebyshev(degree=4, ridge=0.1, free=0)
    >>> rule.exactness  # a constant is shrunk by Chebyshev's penalty
    -1
    """

    terms: tuple[tuple[float, LinearRule], ...]

    @property
    def affine(self) -> bool:  # type: ignore[override]
        """Whether every term is."""
        return all(rule.affine for _, rule in self.terms)

    @property
    def exactness(self) -> int:
        """The least of the terms', provided that the factors sum to one."""
        total = sum(factor for factor, _ in self.terms)
        return min(rule.exactness for _, rule in self.terms) if abs(total - 1.0) < 1e-12 else -1

    def _weights(self, times: NDArray[np.float64], t: float) -> Weights:
        return np.asarray(sum(factor * rule.weights(times, t) for factor, rule in self.terms))

    def with_step(self, step: float | None, *, scale: float = 1.0) -> "Combination":
        """Return the combination of the terms' rules for this step."""
        return Combination(tuple((factor, rule.with_step(step, scale=scale)) for factor, rule in self.terms))

    def __repr__(self) -> str:
        return " + ".join(f"{factor!r} * {rule!r}" for factor, rule in self.terms)
