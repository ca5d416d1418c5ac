"""How do I forecast inside my own sampler? The loop's other half (arXiv 2603.01623, Algorithm 1).

Ten lines around any loop, with arrays of any library::

    run = plan.start()
    for i, t in enumerate(timesteps):
        if run.evaluates(i):
            feature = network(x, t)
            run.keep(i, feature)
            x = run.correct(i, x)  # for a plan with a corrector
        else:
            feature = run.forecast(i)
        x = step(x, feature, t)
"""

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from spectral_forecast._typing import Array, Weights
from spectral_forecast._widen import widened
from spectral_forecast.combine import combine
from spectral_forecast.corrector import guard
from spectral_forecast.plan import Plan

__all__ = ["Run"]


class Run:
    """The features of one run of a `Plan`, and its forecasts. Made by `Plan.start`.

    One run serves one stream of features: with two guidance branches, start two.

    Parameters
    ----------
    plan : Plan
    check_finite : bool
        Whether a kept feature with a NaN or an infinity is an error. The check reads the feature once and, on an
        accelerator, waits for it.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import Newton, make_plan, schedules
    >>> plan = make_plan(Newton(1), np.arange(6), schedules.mask(6, [0, 1, 3]))
    >>> run = plan.start()
    >>> for i in range(6):
    ...     if run.evaluates(i):
    ...         run.keep(i, np.array([2.0 * i]))
    ...     else:
    ...         print(i, run.forecast(i))
    2 [4.]
    4 [8.]
    5 [10.]
    """

    def __init__(self, plan: Plan, *, check_finite: bool = True) -> None:
        if not isinstance(plan, Plan):
            raise TypeError(f"`plan` is {type(plan).__name__}; write what `make_plan` returned.")
        self.plan = plan
        self.check_finite = check_finite
        self._ring: list[Any] = [None] * plan.kept
        self._next = 0
        self._replaced: tuple[Array, Array] | None = None

    def evaluates(self, step: int) -> bool:
        """Whether the network runs at ``step``."""
        return bool(self.plan.evaluate[self._check_step(step)])

    def ready(self, step: int) -> bool:
        """Whether ``step`` can come next: all evaluated steps before it are kept, and none after it."""
        return self._next <= self._check_step(step) and not self.plan.evaluate[self._next : step].any()

    def fits(self, feature: Array) -> bool:
        """Whether a feature has the shape, dtype and device of those kept before."""
        return not self._changes(feature)

    @property
    def nbytes(self) -> int:
        """Bytes that the kept features take."""
        return sum(_nbytes(kept) for kept in self._ring if kept is not None)

    def keep(self, step: int, feature: Array) -> None:
        """Keep a copy of the feature of an evaluated step; steps come in order, none left out.

        Raises
        ------
        ValueError
            If the plan does not evaluate this step or another comes first, or if the feature's shape, dtype or
            device differs from those kept before, or if it is not finite.
        """
        self._check_step(step)
        if not self.plan.evaluate[step]:
            raise ValueError(f"`step` {step} is not evaluated by the plan; call `forecast({step})` instead of `keep`.")
        self._check_order(step)
        xp = array_namespace(feature)
        if changes := self._changes(feature):
            name, (old, new) = next(iter(changes.items()))
            raise ValueError(
                f"`feature` of step {step} has {name} {new}, those kept before have {old}; "
                "start a new run with `plan.start()` when the features change."
            )
        if self.check_finite and not bool(xp.all(xp.isfinite(feature))):
            raise ValueError(
                f"`feature` of step {step} holds a NaN or an infinity; evaluate again, or "
                "`plan.start(check_finite=False)` to let it through."
            )
        corrects = self.plan.correction[step].any()
        self._replaced = _squares(feature, self.forecast(step)) if corrects else None
        # A copy, because samplers update arrays in place.
        self._ring[self.plan.slot[step]] = xp.asarray(feature, copy=True)
        self._next = step + 1

    def forecast(self, step: int) -> Array:
        """Return the forecast of ``step`` from the features kept before it.

        On an evaluated step that is not kept yet this is the forecast that the evaluation replaces.

        Raises
        ------
        ValueError
            If the feature of an evaluated step before this one is missing, or a later one is kept already.
        """
        self._check_step(step)
        self._check_order(step)
        if self._next == 0:
            raise ValueError("`step` 0 has nothing to be forecast from; evaluate it and `keep(0, feature)`.")
        filled = [row for row, kept in enumerate(self._ring) if kept is not None]
        return combine(self._weights(step)[filled], [self._ring[row] for row in filled])

    def correct(self, step: int, x: Array, *, limit: float | None = 0.2) -> Array:
        """Return the sample, moved by the plan's correction: on arrival at ``step``, after `keep`, before the update.

        Parameters
        ----------
        step : int
            The step that was kept last.
        x : array
            The sample, of the features' shape. It is not changed.
        limit : float, optional
            The relative error of the forecast that this evaluation replaced, at which half of the correction is made;
            see `spectral_forecast.corrector.guard`. None makes all of it. With a limit the run waits for the error.

        Returns
        -------
        array
            Of the sample's dtype; ``x`` itself where the plan corrects nothing.
        """
        w: Weights = self.plan.correction[self._check_step(step)]
        if step != self._next - 1:
            raise ValueError(f"`step` is {step}, but step {self._next - 1} was kept last; `keep` it, then correct.")
        if not w.any():
            return x
        if limit is not None:
            w = w * guard(self.error, limit)
        rows = np.flatnonzero(w)
        if tuple(x.shape) != tuple(self._ring[0].shape):
            raise ValueError(
                f"`x` has shape {tuple(x.shape)}, the kept features have {tuple(self._ring[0].shape)}; only outputs "
                "can correct a sample."
            )
        moved = widened(x)
        for row in rows:
            moved = moved + float(w[row]) * widened(self._ring[row])
        return array_namespace(x).astype(moved, x.dtype, copy=False)

    @property
    def error(self) -> float:
        """Relative error of the forecast that the newest evaluation replaced, where the plan corrects; else 0."""
        if self._replaced is None:
            return 0.0
        missed, size = map(float, self._replaced)
        return math.sqrt(missed / size) if size > 0.0 else math.inf if missed > 0.0 else 0.0

    def _weights(self, step: int) -> Weights:
        """The weights of the ring's rows, shape (K,)."""
        return np.asarray(self.plan.weights[step])

    def _changes(self, feature: Array) -> dict[str, tuple[Any, Any]]:
        """What of a feature differs from those kept before: name, old, new."""
        if self._ring[0] is None:
            return {}
        pairs = {name: (_trait(self._ring[0], name), _trait(feature, name)) for name in ("shape", "dtype", "device")}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def _check_step(self, step: int) -> int:
        if not 0 <= step < self.plan.steps:
            raise ValueError(f"`step` is {step} of a run of {self.plan.steps}; write 0 to {self.plan.steps - 1}.")
        return step

    def _check_order(self, step: int) -> None:
        if step < self._next:
            raise ValueError(f"`step` is {step}, but step {self._next - 1} is kept already; go through them in order.")
        missing = self._next + np.flatnonzero(self.plan.evaluate[self._next : step])
        if missing.size:
            raise ValueError(f"`step` is {step}, but step {missing[0]} is not kept yet; `keep` every evaluated step.")


def _nbytes(array: Array) -> int:
    """Bytes of an array; the standard has neither `nbytes` nor an item size, but the bits of a number."""
    xp = array_namespace(array)
    bits = xp.finfo(array.dtype).bits * (2 if xp.isdtype(array.dtype, "complex floating") else 1)
    return int(math.prod(array.shape) * bits) // 8


def _squares(feature: Array, forecast: Array) -> tuple[Array, Array]:
    """Squared norms of a forecast's error and of the feature, left where they are: nothing waits for them."""
    xp = array_namespace(feature)
    true = widened(feature)
    return xp.sum(xp.abs(true - widened(forecast)) ** 2), xp.sum(xp.abs(true) ** 2)


def _trait(array: Array, name: str) -> Any:
    """Shape, dtype or device of an array; a library without one of them has nothing that could change."""
    value = getattr(array, name, None)
    return tuple(value) if name == "shape" and value is not None else value
