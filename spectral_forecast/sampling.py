"""How do I forecast inside my own sampler? The loop's other half (arXiv 2603.01623, Algorithm 1).

Ten lines around any loop, with arrays of any library::

    run = plan.start()
    for i, t in enumerate(timesteps):
        if run.evaluates(i):
            feature = network(x, t)
            run.keep(i, feature)
        else:
            feature = run.forecast(i)
        x = step(x, feature, t)
"""

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from spectral_forecast._typing import Array, Weights
from spectral_forecast.combine import combine
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


def _trait(array: Array, name: str) -> Any:
    """Shape, dtype or device of an array; a library without one of them has nothing that could change."""
    value = getattr(array, name, None)
    return tuple(value) if name == "shape" and value is not None else value
