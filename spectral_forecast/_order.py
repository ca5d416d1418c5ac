"""Which step of a run may come next? Evaluated steps are kept in order, none left out."""

from typing import Any

import numpy as np

__all__ = ["Ordered"]


class Ordered:
    """The order of a run, for those that have a ``plan`` and count kept steps in ``_next``."""

    plan: Any
    _next = 0

    def _check_step(self, step: int) -> int:
        if not 0 <= step < self.plan.steps:
            raise ValueError(f"`step` is {step} of a run of {self.plan.steps}; write 0 to {self.plan.steps - 1}.")
        return step

    def _check_order(self, step: int) -> int:
        self._check_step(step)
        if step < self._next:
            raise ValueError(f"`step` is {step}, but step {self._next - 1} is kept already; go through them in order.")
        missing = self._next + np.flatnonzero(self.plan.evaluate[self._next : step])
        if missing.size:
            raise ValueError(f"`step` is {step}, but step {missing[0]} is not kept yet; `keep` every evaluated step.")
        return step

    def _check_keep(self, step: int) -> None:
        if not self.plan.evaluate[self._check_step(step)]:
            raise ValueError(f"`step` {step} is not evaluated by the plan; call `forecast({step})` instead of `keep`.")
        self._check_order(step)

    def _check_kept(self, step: int) -> None:
        self._check_order(step)
        if self._next == 0:
            raise ValueError("`step` 0 has nothing to be forecast from; evaluate it and `keep(0, feature)`.")
