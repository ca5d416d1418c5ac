"""The validators behind every public function, so that messages read alike: name, what was got, what to write."""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["FitError", "finite", "increasing", "integer", "mask", "nonnegative", "target", "weights"]


class FitError(ArithmeticError):
    """The times of the kept features admit no finite weights in float64 (for instance, gaps of 1e-300)."""


def integer(name: str, value: Any, *, least: int) -> int:
    """Return ``value`` as an int that is at least ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` is {value!r}; write a whole number, {least} or more.") from None
    if number < least:
        raise ValueError(f"`{name}` is {number}; write {least} or more.")
    return number


def finite(name: str, value: Any) -> float:
    """Return ``value`` as a finite float."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"`{name}` is {number}; write a finite number.")
    return number


def nonnegative(name: str, value: Any) -> float:
    """Return ``value`` as a finite float that is not negative."""
    number = finite(name, value)
    if number < 0.0:
        raise ValueError(f"`{name}` is {number}; write 0 or more.")
    return number


def increasing(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return ``values`` as a float64 vector that is not empty, finite and strictly increasing."""
    times = np.asarray(values, dtype=np.float64)
    if times.ndim != 1 or times.size == 0:
        raise ValueError(f"`{name}` has shape {times.shape}; write one dimension with at least one time.")
    if not np.isfinite(times).all():
        raise ValueError(f"`{name}` holds a NaN or an infinity at index {int(np.argmin(np.isfinite(times)))}.")
    late = np.flatnonzero(np.diff(times) <= 0.0)
    if late.size:
        k = int(late[0])
        word = "repeats" if times[k + 1] == times[k] else "decreases"
        raise ValueError(
            f"`{name}` {word} at index {k + 1} ({times[k]:.6g}, then {times[k + 1]:.6g}); write strictly increasing "
            "times, oldest first: step numbers `np.arange(n)`, or `-sigmas` for noise levels that fall."
        )
    return times


def target(times: NDArray[np.float64], t: float) -> float:
    """Return ``t`` as a float that lies after the last of ``times``."""
    value = finite("t", t)
    if value <= times[-1]:
        raise ValueError(
            f"`t` is {value:.6g}, not after the last kept time {times[-1]:.6g}; a forecast looks ahead. "
            "Write a later `t`, or leave out the features kept at or after it."
        )
    return value


def weights(
    rule: Any, times: NDArray[np.float64], t: float, compute: Callable[[], NDArray[np.float64]], *, mapped_by: str
) -> NDArray[np.float64]:
    """Return what ``compute`` gives for checked ``times`` and ``t``: finite weights of a rule that lives there.

    ``mapped_by`` names what maps a run's clock onto [-1, 1] for this kind of rule.
    """
    if not rule.affine and not (times[0] >= -1.0 - 1e-12 and t <= 1.0 + 1e-12):
        raise ValueError(
            f"`times` and `t` span [{times[0]:.6g}, {t:.6g}], but {rule} lives on [-1, 1]; "
            f"map the run's clock, as `{mapped_by}(..., span=(start, end))` does."
        )
    try:
        with np.errstate(all="ignore"):
            w = compute()
    except np.linalg.LinAlgError:
        w = np.full(times.size, np.nan)
    if not np.isfinite(w).all():
        raise FitError(
            f"{rule} has no finite weights at `t` = {t:.6g} for `times` {times}; "
            "write times whose gaps are closer in size."
        )
    return w


def mask(name: str, values: Any, length: int) -> NDArray[np.bool_]:
    """Return ``values`` as a boolean vector of ``length`` whose first entry is true."""
    evaluate = np.asarray(values)
    if evaluate.dtype != np.bool_:
        raise TypeError(
            f"`{name}` has dtype {evaluate.dtype}; write booleans, one a step: `schedules.mask({length}, steps)` "
            "makes them of step numbers."
        )
    if evaluate.shape != (length,):
        raise ValueError(f"`{name}` has shape {evaluate.shape}; write one boolean for each of the {length} steps.")
    if not evaluate[0]:
        raise ValueError(f"`{name}` does not evaluate step 0; the first step has nothing to be forecast from.")
    return evaluate
