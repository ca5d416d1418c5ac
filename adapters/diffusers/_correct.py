"""How are skipped steps mended on arrival at an evaluated one? By the scheduler's own step, once more.

Between two evaluations a sampler steps with forecasts, which extrapolate. On arrival at the next evaluation the same
outputs can be interpolated, and the skipped steps be taken again with them: predict, evaluate, correct. The network
is not called. Taking them again with the scheduler itself, from a snapshot of its state, makes this right for
schedulers of every order, and for every transformation that they make of an output.
"""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from spectral_forecast.adapters._session import Session
from spectral_forecast.combine import combine
from spectral_forecast.corrector import Corrector

__all__ = ["Step"]


@dataclass
class Taken:
    """A skipped step, as it was taken: everything needed to take it again."""

    number: int
    output: torch.Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Step:
    """Stands in for a scheduler's ``step``, as an attribute of the scheduler.

    Parameters
    ----------
    scheduler : SchedulerMixin
    sessions : list of Session
        Of the pipeline's networks; they tell whether an output was evaluated or forecast.
    corrector : Corrector
    """

    def __init__(self, scheduler: Any, sessions: list[Session], corrector: Corrector) -> None:
        self.scheduler = scheduler
        self.sessions = sessions
        self.corrector = corrector
        self.counts = self._counts()
        self.log = []
        self.forget()

    @property
    def __signature__(self) -> inspect.Signature:  # pipelines ask whether it takes `eta` and `generator`
        return inspect.signature(self._original)

    @property
    def _original(self) -> Callable[..., Any]:
        return type(self.scheduler).step.__get__(self.scheduler)

    def forget(self) -> None:
        """Begin anew: nothing is known of the steps before."""
        self.times: list[float] = []
        self.outputs: list[torch.Tensor] = []
        self.skipped: list[Taken] = []
        self.snapshot: dict[str, Any] = {}
        self.start: torch.Tensor | None = None
        self.returned: torch.Tensor | None = None
        self.number = -1

    def __call__(self, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        """Step, after correcting the sample where an evaluation has just arrived."""
        evaluated = self._evaluated()
        if self.returned is None or not _same(sample, self.returned):
            self.forget()  # a new run, or a pipeline that changes samples between steps (inpainting)
        self.number += 1
        if evaluated:
            if self.skipped and self.outputs:
                sample = self._corrected(model_output, sample)
            self.skipped.clear()
            self.times = [*self.times, float(self.number)][-self.corrector.nodes :]
            self.outputs = [*self.outputs, model_output.detach().clone()][-self.corrector.nodes :]
        else:
            if not self.skipped:
                self.snapshot, self.start = _state(self.scheduler), sample
            self.skipped.append(Taken(self.number, model_output.detach().clone(), (timestep, *args), kwargs))
        result = self._original(model_output, timestep, sample, *args, **kwargs)
        self.returned = _previous(result)
        return result

    def _corrected(self, arrived: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        """Return the sample with the skipped steps taken again, from interpolated outputs."""
        times, outputs = [*self.times, float(self.number)], [*self.outputs, arrived]
        better = [combine(self.corrector.weights(np.asarray(times), float(taken.number)), outputs) for taken in self.skipped]
        missed = max(_relative(new, taken.output) for new, taken in zip(better, self.skipped, strict=True))
        scale = self.corrector.scale(missed)
        self.log.append((self.number, missed, scale))
        after = _state(self.scheduler)
        vars(self.scheduler).update(self.snapshot)
        x = self.start
        for new, taken in zip(better, self.skipped, strict=True):
            timestep, *rest = taken.args
            output = taken.output + scale * (new - taken.output)
            x = _previous(self._original(output.to(taken.output.dtype), timestep, x, *rest, **taken.kwargs))
        if not bool(torch.isfinite(x).all()):
            vars(self.scheduler).update(after)
            return sample
        return x.to(sample.dtype)

    def _evaluated(self) -> bool:
        """Whether no call since the step before was forecast."""
        before, self.counts = self.counts, self._counts()
        return before == self.counts

    def _counts(self) -> int:
        return sum(session.forecasts for session in self.sessions)


def _state(scheduler: Any) -> dict[str, Any]:
    """A scheduler's state: its attributes, with lists (the outputs of multistep schedulers) of their own."""
    return {
        name: copy.copy(value) if isinstance(value, list | dict) else value
        for name, value in vars(scheduler).items()
        if name != "step"
    }


def _previous(result: Any) -> torch.Tensor:
    return result[0] if isinstance(result, tuple) else result.prev_sample


def _same(x: torch.Tensor, y: torch.Tensor) -> bool:
    return x is y or (x.shape == y.shape and bool((x == y.to(x.dtype)).all()))


def _relative(new: torch.Tensor, old: torch.Tensor) -> float:
    length = float(torch.linalg.vector_norm(new.float()))
    return float(torch.linalg.vector_norm(new.float() - old.float())) / length if length else 0.0
