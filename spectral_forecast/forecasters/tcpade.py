r"""TC-Padé: rational forecasts of residuals with a gate and three stages (Cui et al., CVPR 2026, arXiv 2603.02943).

A residual R is the output of a transformer's block stack less its input. Three forms of the same idea:

* `TCPade`, ours: Aitken's rational rule from inner products, with the paper's modulation, gate and stages.
* `TCPadePaper`: the printed rational function, newest first and without a unit.
* `TCPadeReleased`: what the authors' code does, element by element.

`TCPadeRun` carries any of them through a run.

Where print and code disagree, each form's notes say so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from spectral_forecast import _checks, schedules
from spectral_forecast._typing import Array, Times, Weights
from spectral_forecast._widen import widened
from spectral_forecast.combine import combine
from spectral_forecast.forecasters.gram_rule import GramRule
from spectral_forecast.forecasters.shanks import Shanks
from spectral_forecast.gram import append, norm, row

__all__ = ["FAST", "SLOW", "TCPade", "interval", "stability", "stage"]

SLOW = 1.0
"""Threshold of the gate in the preset `slow`: directions at most 120 degrees apart. It evaluates more."""

FAST = 0.7
"""Threshold of the gate in the preset `fast`: directions at most 139 degrees apart."""

Stage = Literal["early", "middle", "late"]


def interval(n: int, every: int = 4) -> NDArray[np.bool_]:
    """Return TC-Padé's schedule: steps 0, 1, 2 and every step whose number is a multiple of ``every``.

    Parameters
    ----------
    n : int
        Number of steps, 1 or more.
    every : int
        The interval, 1 or more; the paper's is 4.

    Returns
    -------
    ndarray of bool, shape (n,)

    Notes
    -----
    At 20 steps this evaluates 7, a factor of 2.86; the paper reports 2.88.

    Examples
    --------
    >>> from spectral_forecast.schedules import steps
    >>> steps(interval(20))
    '0-2,4,8,12,16'
    """
    count = _checks.integer("n", n, least=1)
    distance = _checks.integer("every", every, least=1)
    return schedules.mask(count, [i for i in range(count) if i < 3 or i % distance == 0])


def stage(t: float) -> Stage:
    """Return the stage of a run at time ``t`` on [-1, 1]: "early" while more than 0.7 of it remains, "late" below 0.2.

    Examples
    --------
    >>> [stage(t) for t in (-0.9, 0.0, 0.7)]
    ['early', 'middle', 'late']
    """
    remaining = 0.5 * (1.0 - t)
    return "early" if remaining > 0.7 else "late" if remaining < 0.2 else "middle"


def stability(gram: NDArray[np.float64]) -> float:
    r"""Return the trajectory stability indicator of the newest three residuals, from 0 (turned back) to 2 (straight).

    Parameters
    ----------
    gram : ndarray of float64, shape (K, K)
        Of the residuals, as `gram.append` makes it.

    Returns
    -------
    float
        :math:`\|u_1 + u_2\|` with :math:`u_j` the unit vector of the j-th newest difference of neighbours. With fewer
        than three residuals, or where one of the differences vanishes, 2: nothing has turned.

    Notes
    -----
    Printed is :math:`\frac12 \|u_1 - u_2\|`, which lies in [0, 1] and grows as the trajectory turns, next to a
    threshold of 1.3 that it cannot reach and the rule to skip where it is large. With the sum both make sense: range
    [0, 2], larger is straighter, skip from the threshold up. The two are related by
    :math:`\|u_1 + u_2\|^2 + \|u_1 - u_2\|^2 = 4`. The released code has the printed indicator and skips while it is
    *below* its threshold.
    """
    if len(gram) < 3:
        return 2.0
    newest, before = np.zeros((2, len(gram)))
    newest[-2:], before[-3:-1] = (-1.0, 1.0), (-1.0, 1.0)
    sizes = norm(gram, newest), norm(gram, before)
    if min(sizes) == 0.0:
        return 2.0
    return min(norm(gram, newest / sizes[0] + before / sizes[1]), 2.0)


@dataclass(frozen=True)
class Gated:
    """What the three forms share: the gate with its presets, and what a `TCPadeRun` asks of them.

    Attributes
    ----------
    threshold : float
        Of the gate: a step may be forecast where the trajectory's `stability` is at least this.
    least, history : int
        Residuals that must be there before anything is forecast, and residuals that are held.
    recursive : bool
        Whether forecasts enter the history.
    follow : float
        Share of the input's change that is added to a forecast of the output.
    """

    threshold: float = FAST

    least: ClassVar[int] = 1
    history: ClassVar[int] = 3
    recursive: ClassVar[bool] = False
    follow: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        if _checks.nonnegative("threshold", self.threshold) > 2.0:
            raise ValueError(f"`threshold` is {self.threshold}; write 0 to 2, the range of the stability indicator.")

    @classmethod
    def slow(cls) -> Self:
        """Return the preset that evaluates where the trajectory turns by more than 120 degrees."""
        return cls(threshold=SLOW)

    @classmethod
    def fast(cls) -> Self:
        """Return the preset that evaluates where the trajectory turns by more than 139 degrees."""
        return cls(threshold=FAST)

    def skips(self, gram: NDArray[np.float64]) -> bool:
        """Whether the gate lets a step be forecast, given the Gram matrix of the residuals so far."""
        return stability(gram) >= self.threshold


@dataclass(frozen=True)
class TCPade(Gated, GramRule):
    r"""TC-Padé from inner products: `Shanks` on residuals, modulated, gated and staged (ours, after 2603.02943).

    With R1, R2 the newest residuals, newest first, the early stage of a run averages, :math:`0.9 R_1 + 0.1 R_2`. Later
    the forecast of `Shanks` of order 1 is pulled towards R1: :math:`R_1 + \kappa (\hat R - R_1)`,
    :math:`\kappa = \exp(-\lambda \|R_1 - R_2\| / \|R_1 + R_2\|)`. The late stage adds :math:`0.3 (R_1 - R_2)`.

    Parameters
    ----------
    threshold : float
        Of the gate, 0 to 2: a step may be skipped while `stability` is at least this. `slow` and `fast` are presets;
        0 skips whatever the schedule allows.
    modulation : float
        :math:`\lambda`, 0 or more; the paper's is 10.

    Notes
    -----
    The rule lives on [-1, 1], the run's clock. A constant residual is kept, a line is not (it is modulated). As any
    rule with a Gram matrix it works in a `GramRun`, on a fixed schedule; `TCPadeRun` adds the gate.

    Examples
    --------
    >>> TCPade.slow()
    TCPade(threshold=1.0, modulation=10.0)
    """

    modulation: float = 10.0

    affine = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.nonnegative("modulation", self.modulation)

    def _weights(self, times: NDArray[np.float64], t: float, gram: NDArray[np.float64]) -> Weights:
        if times.size == 1:
            return np.ones(1)
        newest, trend = np.zeros((2, times.size))
        newest[-1], trend[-2:] = 1.0, (-1.0, 1.0)
        now = stage(t)
        if now == "early":
            return newest - 0.1 * trend
        w = newest + modulated(gram, self.modulation) * (Shanks().weights(times, t, gram) - newest)
        return w + 0.3 * trend if now == "late" else w

    def forecast(self, times: Times, features: Sequence[Array], t: float, /) -> Array:
        """Return the forecast of the residual at ``t`` from those at ``times`` (K,), oldest first."""
        return combine(self.weights(times, t, scaled_gram(features)), features)


def scaled_gram(features: Sequence[Array]) -> NDArray[np.float64]:
    """Return the Gram matrix of features divided by their largest magnitude, so that no square overflows."""
    xp = array_namespace(*features)
    wide = [widened(feature) for feature in features]
    top = max(float(xp.max(xp.abs(feature))) for feature in wide)
    top = max(top, float(xp.finfo(wide[0].dtype).smallest_normal))
    scaled = [feature / top for feature in wide]
    gram = np.zeros((0, 0))
    for k, feature in enumerate(scaled):
        gram = append(gram, row(scaled[:k], feature))
    return gram


def modulated(gram: NDArray[np.float64], modulation: float) -> float:
    """Return exp(-modulation ||R1 - R2|| / ||R1 + R2||), 0 where the sum vanishes."""
    change, total = np.zeros((2, len(gram)))
    change[-2:], total[-2:] = (-1.0, 1.0), (1.0, 1.0)
    far, size = norm(gram, change), norm(gram, total)
    return math.exp(-modulation * far / size) if size > 0.0 else 0.0
