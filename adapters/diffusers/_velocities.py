"""What is forecast of a network that predicts noise? The velocity of the sample that its output stands for."""

from collections.abc import Callable, Container, Sequence
from typing import Any

import torch

from spectral_forecast.adapters._session import Evaluation, Form, Outputs
from spectral_forecast.adapters.diffusers._path import Path

__all__ = ["Velocities"]


class Velocities(Outputs):
    """The place of a network's results, as velocities where the run's path says what they predict."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self._x: torch.Tensor | None = None
        self._step = 0

    def enter(self, arguments: dict[str, Any], left: int) -> None:
        """Take note of the network's input, its first argument, and of where on the path it is."""
        if self.path is not None and self.path.predicts:
            x = next(iter(arguments.values()))
            self._x = x if isinstance(x, torch.Tensor) else None
            self._step = len(self.path.times) - left

    def evaluate(self, forward: Callable[..., Any], handed_on: Container[int] = ()) -> Evaluation:
        """Run the network; every tensor of its result is kept."""
        evaluation = super().evaluate(forward, handed_on)
        if self.path is None or self._x is None:
            return evaluation
        path, x, step = self.path, self._x, self._step
        return evaluation._replace(feature=[path.velocity(tensor, x, step) for tensor in evaluation.feature])

    def resume(self, forward: Callable[..., Any], feature: Sequence[torch.Tensor], form: Form) -> Any:
        """Make a result of forecast velocities; nothing runs."""
        if self.path is not None and self._x is not None:
            feature = [self.path.output(tensor, self._x, self._step) for tensor in feature]
        return super().resume(forward, feature, form)
