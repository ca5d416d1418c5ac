"""How many evaluations does a tolerance take? Decided on the way, from the errors that the run itself shows."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks, schedules

__all__ = ["Calibration", "Gate", "relative_error"]

MOST = 32
"""Evaluations of the densest schedule below all steps."""

FIRST_SCALE = 1.0
"""Of errors in units of the power function, before any is known; runs of small models have 0.3 to 6."""


PRIOR = 0.5
"""Spread of logarithms, squared and summed, that a power of 1 is worth beside those of a calibration's runs."""

POWERS = 0.25, 4.0
"""Least and largest power of a calibration, so that it can be turned around."""


class Calibration(NamedTuple):
    r"""What estimates and tolerances turned out to be worth in a pipeline, as it is used.

    Errors that forecasts make on the way are carried on by the sampler's equation: it lets them grow in one model, and
    fade in another. How much is not seen in a run, but it is much the same in all runs of a pipeline. Two laws say it,
    :math:`e = a\,\hat e^{\,b}` for the estimated error :math:`\hat e` of a sample, and the same for the tolerance.

    Attributes
    ----------
    scale, power : float
        :math:`a` and :math:`b` of the estimated error.
    tolerance_scale, tolerance_power : float
        Of the tolerance that was asked for.

    Examples
    --------
    Errors three times as large as estimated, and half the tolerance:

    >>> from spectral_forecast.tolerance import Calibration
    >>> calibration = Calibration.fit([0.1, 0.03], estimates=[0.017, 0.005], errors=[0.05, 0.015])
    >>> round(calibration.error(0.01), 3), round(calibration.tolerance_for(0.02), 3)
    (0.03, 0.04)

    It is four numbers, and kept as such:

    >>> import json
    >>> Calibration(*json.loads(json.dumps(calibration))) == calibration
    True
    """

    scale: float = 1.0
    power: float = 1.0
    tolerance_scale: float = 1.0
    tolerance_power: float = 1.0

    @classmethod
    def fit(cls, tolerances: ArrayLike, estimates: ArrayLike, errors: ArrayLike) -> "Calibration":
        """Return the calibration that fits some runs.

        Parameters
        ----------
        tolerances, estimates, errors : array_like, shape (n,)
            What was asked for, what was estimated, and the true relative errors of the samples; above 0.

        Returns
        -------
        Calibration
            The least squares lines through the logarithms, their powers drawn a little towards 1.
        """
        asked, estimated, true = (np.asarray(values, dtype=np.float64) for values in (tolerances, estimates, errors))
        for name, values in (("tolerances", asked), ("estimates", estimated), ("errors", true)):
            if values.shape != true.shape or values.ndim != 1 or not values.size:
                raise ValueError(f"`{name}` has shape {values.shape}; write as many of each, one or more.")
            if not (np.isfinite(values) & (values > 0.0)).all():
                raise ValueError(f"`{name}` is {values.tolist()}; write relative errors above 0.")
        return cls(*_law(estimated, true), *_law(asked, true))

    def error(self, estimate: Any) -> Any:
        """Return the error that an estimate stands for; of arrays, too."""
        return self.scale * estimate**self.power

    def tolerance_for(self, error: float) -> float:
        """Return the tolerance to ask a gate for, so that the error comes out as this."""
        return float((error / self.tolerance_scale) ** (1.0 / self.tolerance_power))


def _law(given: NDArray[np.float64], true: NDArray[np.float64]) -> tuple[float, float]:
    """Scale and power of ``true`` in ``given``."""
    x, more = np.log(given), np.log(true / given)
    centred = x - x.mean()
    slope = float(np.dot(centred, more - more.mean()) / (np.dot(centred, centred) + PRIOR))
    power = min(max(1.0 + slope, POWERS[0]), POWERS[1])
    return math.exp(float(np.log(true).mean() - power * x.mean())), power


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
        cost = schedules.predicted_error(self.levels, before, last_gap=1.0)[step]
        power = cost / (self.levels[step] - self.levels[step + 1])
        now = max(error, 1e-9) / float(power)
        self.scale = now if len(self.evaluated) == 2 else math.sqrt(self._before * now)


@functools.lru_cache(maxsize=16)
def _family(levels: tuple[float, ...]) -> list[tuple[NDArray[np.intp], float]]:
    return schedules.family(levels, min(len(levels) - 1, MOST), tail=1)  # a last gap of nothing


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
