"""How many evaluations does a tolerance take? Decided on the way, from the errors that the run itself shows."""

import functools
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks, schedules

__all__ = ["Gate", "relative_error"]

MOST = 32
"""Evaluations of the densest schedule below all steps."""

FIRST_SCALE = 1.0
"""Of errors in units of the power function, before any is known; runs of small models have 0.3 to 6."""


class Gate:
    r"""Decides at every step whether the network runs, so that the sample's error stays near a tolerance.

    A schedule's predicted error (`schedules.predicted_error`) is known up to a scale: how large features are in the
    kernel's space. Every evaluation tells that scale anew, by the error of the forecast that it replaces over the power
    function there. The gate follows the `balanced` schedule with the fewest evaluations whose predicted error, scaled,
    is within the tolerance; when the scale changes, it goes on with another. That is the step-size control of an
    adaptive integrator with a table in the place of a formula.

    Parameters
    ----------
    sigmas : array_like, shape (N + 1,)
        The sampler's noise levels, falling, and where the run ends; for a model of noise `schedules.flow_time` of them.
    tolerance : float
        Relative error of the sample, above 0.
    max_skip : int, optional
        At most so many forecasts in a row; a quarter of the run by default.

    Notes
    -----
    The first and the last step are always evaluated. How close runs come to their tolerance is measured in
    docs/tolerance.md.

    Examples
    --------
    A feature that is a straight line but for a bend in the middle, at two tolerances:

    >>> import numpy as np
    >>> from spectral_forecast.tolerance import Gate
    >>> sigmas = np.linspace(1.0, 0.0, 21)
    >>> def run(tolerance):
    ...     gate = Gate(sigmas, tolerance)
    ...     for step in range(20):
    ...         if gate.evaluates(step):
    ...             gate.arrive(step, 0.3 if 8 <= step <= 11 else 0.01)
    ...     return gate.evaluated
    >>> len(run(0.001)) > len(run(0.02)) >= 2
    True
    """

    def __init__(self, sigmas: ArrayLike, tolerance: float, *, max_skip: int | None = None) -> None:
        levels = np.asarray(sigmas, dtype=np.float64)
        self.tolerance = relative_error(tolerance)
        self.levels = levels - levels[-1]
        self.max_skip = max((levels.size - 1) // 4, 1) if max_skip is None else max_skip
        self.family = _family(tuple(self.levels.tolist()))
        self.scale = FIRST_SCALE
        self.evaluated: list[int] = []
        self._before = FIRST_SCALE

    def evaluates(self, step: int) -> bool:
        """Whether the network runs at ``step``, after all before it were evaluated or forecast."""
        if not self.evaluated or step == self.levels.size - 2:
            return True
        newest = self.evaluated[-1]
        if step - newest > self.max_skip:
            return True
        within = (chosen for chosen, price in self.family if self.scale * price <= self.tolerance)
        chosen = next(within, np.arange(self.levels.size - 1))
        following = chosen[chosen > newest]
        return bool(following.size) and int(following[0]) <= step

    def arrive(self, step: int, error: float | None = None) -> None:
        """Note that ``step`` was evaluated, and the relative error of the forecast that it replaced.

        Said again of the same step, the later error counts.
        """
        if not self.evaluated or self.evaluated[-1] != step:
            self._before = self.scale
            self.evaluated.append(step)
        if error is None or len(self.evaluated) < 2 or not math.isfinite(error):
            return
        before = schedules.mask(self.levels.size - 1, self.evaluated[:-1])
        power = schedules.predicted_error(self.levels, before)[step] / (self.levels[step] - self.levels[step + 1])
        now = max(error, 1e-9) / float(power)
        self.scale = now if len(self.evaluated) == 2 else math.sqrt(self._before * now)


@functools.lru_cache(maxsize=16)
def _family(levels: tuple[float, ...]) -> list[tuple[NDArray[np.intp], float]]:
    return schedules.family(levels, min(len(levels) - 1, MOST), tail=1)


def relative_error(tolerance: float | str) -> float:
    """Return a tolerance as a relative error; a text like "40 dB" is the ratio of the sample to its error.

    Examples
    --------
    >>> relative_error(0.02), relative_error("40 dB")
    (0.02, 0.01)
    """
    if isinstance(tolerance, str):
        number, unit = tolerance[:-2].strip(), tolerance[-2:].lower()
        if unit != "db" or not number.replace(".", "", 1).isdigit():
            raise ValueError(f'`tolerance` is {tolerance!r}; write a relative error such as 0.02, or "34 dB".')
        return float(10.0 ** (-float(number) / 20.0))
    if _checks.finite("tolerance", tolerance) <= 0.0:
        raise ValueError(f"`tolerance` is {tolerance}; write a relative error above 0, such as 0.02.")
    return float(tolerance)
