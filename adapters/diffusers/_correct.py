"""How are skipped steps mended on arrival at an evaluated one? By the scheduler's own steps, taken again.

Between two evaluations a sampler steps with forecasts, which extrapolate. On arrival at the next evaluation the same
outputs can be interpolated, and the skipped steps be taken again with them: predict, evaluate, correct
(`spectral_forecast.corrector`). The network is not called. Taking them again with the scheduler itself, from a snapshot
of its state, is right for schedulers of every order and for whatever they make of an output; and since a scheduler is
given the guided output, it does not matter where in the network was forecast.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from spectral_forecast import Corrector, combine
from spectral_forecast.adapters._session import Session
from spectral_forecast.adapters.diffusers._stand_in import StandIn
from spectral_forecast.corrector import guard

__all__ = ["Correction", "Step"]

# Relative change of a skipped step's output at which half of it is made. Chosen on the digits model: a larger one gains
# 1 to 3 dB more in smooth runs and loses 1 dB and more in stiff ones, where 0.05 and 0.08 lost 0.3 dB at most.
LIMIT = 0.07


class Correction:
    """Puts a `Step` in the place of a scheduler's, whichever scheduler a pipeline has at the moment."""

    def __init__(self, corrector: Corrector | None) -> None:
        self.corrector = corrector
        self.sessions: list[Session] = []
        self.scheduler: Any = None

    def attach(self, scheduler: Any) -> None:
        """Correct the steps of this scheduler, and no other's."""
        if self.corrector is None:
            return
        if (step := _step_of(scheduler)) is not None:
            step.begin()
        else:
            self.detach()
            self.scheduler = scheduler
            scheduler.step = Step(scheduler, self.sessions, self.corrector)

    def detach(self) -> None:
        """Leave the scheduler as it was."""
        if _step_of(self.scheduler) is not None:
            del self.scheduler.step
        self.scheduler = None

    def forget(self) -> None:
        """Let go of what is kept of a run, unless that is in progress in another thread."""
        step = _step_of(self.scheduler)
        if step is not None and not any(session.busy(self.scheduler.timesteps) for session in self.sessions):
            step.forget()


@dataclass
class Taken:
    """A skipped step as it was taken, and what it was given."""

    number: int
    output: torch.Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Step(StandIn):
    """Stands in for a scheduler's ``step``.

    Parameters
    ----------
    scheduler : SchedulerMixin
    sessions : sequence of Session
        Of the pipeline's networks; they tell whether an output was evaluated or forecast.
    corrector : Corrector
    """

    name = "step"

    def __init__(self, scheduler: Any, sessions: Sequence[Session], corrector: Corrector) -> None:
        super().__init__(scheduler)
        self.sessions = sessions
        self.corrector = corrector
        self.begin()

    def __call__(self, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        """Step, after correcting the sample where an evaluation has just arrived."""
        before, self.counts = self.counts, self._counts()
        called = [calls > old for (calls, _), (old, _) in zip(self.counts, before, strict=True)]
        skipped = [forecasts > old for (_, forecasts), (_, old) in zip(self.counts, before, strict=True)]
        another = any(self.called) and any(called) and called != self.called
        if another or self.returned is None or not _same(sample, self.returned):
            # Another network's turn, a new run, or a pipeline that changes the sample between steps (inpainting).
            self.forget()
        self.called, self.number = called, self.number + 1
        if kwargs.get("eta") or kwargs.get("s_churn"):
            self.forget()  # noise that cannot be drawn again
        elif any(skipped):
            if not self.skipped:
                self.state, self.start = _state(self.scheduler), sample
            self.skipped.append(Taken(self.number, model_output.detach().clone(), (timestep, *args), dict(kwargs)))
        else:
            if self.skipped and self.times:
                sample = self._corrected(model_output, sample)
            self.skipped = []
            self.times = [*self.times, float(self.number)][-self._most :]
            self.outputs = [*self.outputs, model_output.detach().clone()][-self._most :]
        result = self._original(model_output, timestep, sample, *args, **kwargs)
        self.returned = _previous(result)
        return result

    @property
    def _most(self) -> int:
        """How many outputs the corrector asks for, besides the one that arrives."""
        return self.corrector.degree if self.corrector.kernel is None else len(self.scheduler.timesteps)

    def begin(self) -> None:
        """Begin a run, in which only what the networks do from now on counts."""
        self.counts = self._counts()
        self.forget()

    def forget(self) -> None:
        """Begin anew: nothing is known of the steps before."""
        self.number = -1
        self.called: list[bool] = []
        self.times: list[float] = []
        self.outputs: list[torch.Tensor] = []
        self.skipped: list[Taken] = []
        self.state: dict[str, Any] = {}
        self.start: torch.Tensor | None = None
        self.returned: torch.Tensor | None = None

    def _corrected(self, arrived: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        """Return the sample with the skipped steps taken again, from interpolated outputs."""
        times, outputs = np.array([*self.times, float(self.number)]), [*self.outputs, arrived]
        better = [combine(self.corrector.weights(times, float(taken.number)), outputs) for taken in self.skipped]
        missed = max(_relative(new, taken.output) for new, taken in zip(better, self.skipped, strict=True))
        part = self.corrector.damping * float(guard(missed, LIMIT))
        after = _state(self.scheduler)
        vars(self.scheduler).update(self.state)
        x = self.start
        for new, taken in zip(better, self.skipped, strict=True):
            output = torch.lerp(taken.output, new.to(taken.output.dtype), part)
            x = _previous(self._original(output, taken.args[0], x, *taken.args[1:], **taken.kwargs))
        if not bool(torch.isfinite(x).all()):
            vars(self.scheduler).update(after)
            return sample
        for session in self.sessions:
            session.report.corrections.append((self.number, missed, part))
        return x

    def _counts(self) -> list[tuple[int, int]]:
        return [(session.calls, session.forecasts) for session in self.sessions]


def _step_of(scheduler: Any) -> Step | None:
    """The step that was put on a scheduler, or None."""
    step = getattr(scheduler, "__dict__", {}).get("step")
    return step if isinstance(step, Step) else None


def _state(scheduler: Any) -> dict[str, Any]:
    """A scheduler's attributes, with lists (the outputs kept by multistep schedulers) of their own."""
    return {
        name: copy.copy(value) if isinstance(value, list | dict) else value
        for name, value in vars(scheduler).items()
        if name != "step"
    }


def _previous(result: Any) -> torch.Tensor:
    return result[0] if isinstance(result, tuple) else result.prev_sample


def _same(x: torch.Tensor, y: torch.Tensor) -> bool:
    return x is y or (x.shape == y.shape and torch.equal(x, y.to(x.dtype)))


def _relative(new: torch.Tensor, old: torch.Tensor) -> float:
    length = float(torch.linalg.vector_norm(new.float()))
    return float(torch.linalg.vector_norm(new.float() - old.float())) / length if length else 0.0
