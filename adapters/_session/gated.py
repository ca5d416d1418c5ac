"""What does the gate of a tolerance decide? Once a step, for all streams and for all processes."""

import math
from collections.abc import Callable

import torch

from spectral_forecast.tolerance import Gate

__all__ = ["Gated"]


class Gated:
    """A gate, and what it is told of the newest evaluated step when it is asked next.

    Parameters
    ----------
    gate : Gate
    agreed : callable
        Makes one number of those that the processes sharing the network have.
    """

    def __init__(self, gate: Gate, agreed: Callable[[float], float]) -> None:
        self.gate = gate
        self.agreed = agreed
        self._answer = (-1, False)  # the newest step that the gate was asked of, and whether it is evaluated
        self._seen: tuple[int, float] | None = None  # the newest evaluated step, and its forecast's error or -1

    def saw(self, step: int, error: torch.Tensor | None) -> None:
        """Note an evaluated step, and the relative error of the forecast that it replaces, if there was one."""
        number = -1.0 if error is None else float(error)
        self._seen = step, -1.0 if math.isnan(number) else number

    def expect(self, error: torch.Tensor) -> None:
        """Note the errors, by items, of what the sampler makes of the forecast: they count instead."""
        if self._seen is not None:
            self._seen = self._seen[0], float(error.square().mean().sqrt())

    def evaluates(self, step: int) -> bool:
        """Whether the network runs at ``step``."""
        if self._answer[0] != step:
            if self._seen is not None:
                # Once an arrival, whichever of its errors was seen last, so that it is one number that processes say.
                (arrived, error), self._seen = self._seen, None
                error = self.agreed(error)
                self.gate.arrive(arrived, None if error < 0.0 else error)
            self._answer = step, self.gate.evaluates(step)
        return self._answer[1]
