"""How are skipped steps mended on arrival at an evaluated one? By the scheduler's own steps, taken again.

Between two evaluations a sampler steps with forecasts, which extrapolate. On arrival at the next evaluation the same
outputs can be interpolated, and the skipped steps be taken again with them: predict, evaluate, correct
(`spectral_forecast.corrector`). The network is not called. Taking them again with the scheduler itself, from a snapshot
of its state, is right for schedulers of every order and for whatever they make of an output; and since a scheduler is
given the guided output, it does not matter where in the network was forecast.
"""

import copy
import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from spectral_forecast import Corrector, Newton, combine
from spectral_forecast.adapters._session import Session
from spectral_forecast.adapters.diffusers._path import Path
from spectral_forecast.corrector import guard
from spectral_forecast.guarded import expected, norms

__all__ = ["Correction", "Step"]

# Relative change of a skipped step's velocity at which half of it is made: docs/quality.md.
LIMIT = 0.2


class Correction:
    """Puts a `Step` in the place of a scheduler's, whichever scheduler a pipeline has at the moment."""

    def __init__(self, corrector: Corrector | None, *, guards: bool = False) -> None:
        self.corrector = corrector
        self.guards = guards  # whether forecasts are guarded by what the sampler makes of them
        self.sessions: list[Session] = []
        self.scheduler: Any = None

    def attach(self, scheduler: Any, path: Path | None = None) -> None:
        """Correct the steps of this scheduler, and no other's; ``path`` is that of a run that begins."""
        if self.corrector is None and not self.guards:
            return
        step = _step_of(scheduler)
        if step is None:
            self.detach()
            self.scheduler = scheduler
            scheduler.step = step = Step(scheduler, self.sessions, self.corrector)
        step.begin(path)

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

    level: float
    velocity: torch.Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Step:
    """Stands in for a scheduler's ``step``, as an attribute of it; in a copy of the scheduler its own is back.

    Parameters
    ----------
    scheduler : SchedulerMixin
    sessions : sequence of Session
        Of the pipeline's networks; they tell whether an output was evaluated or forecast.
    corrector : Corrector, optional
        Without one nothing is corrected, and forecasts are guarded all the same.
    """

    def __init__(self, scheduler: Any, sessions: Sequence[Session], corrector: Corrector | None) -> None:
        self.scheduler = scheduler
        self.sessions = sessions
        self.corrector = corrector
        self.begin(None)

    @property
    def __signature__(self) -> inspect.Signature:  # pipelines ask whether it takes `eta` and `generator`
        return inspect.signature(self._original)

    @property
    def _original(self) -> Callable[..., Any]:
        return types.MethodType(type(self.scheduler).step, self.scheduler)

    def __reduce__(self) -> Any:
        return getattr, (self.scheduler, "step")  # of the copy, which has no attributes yet but its class's

    def __call__(self, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        """Step, after correcting the sample where an evaluation has just arrived."""
        before, self.counts = self.counts, self._counts()
        called = [calls > old for (calls, _), (old, _) in zip(self.counts, before, strict=True)]
        skipped = [forecasts > old for (_, forecasts), (_, old) in zip(self.counts, before, strict=True)]
        another = any(self.called) and any(called) and called != self.called
        if another or self.returned is None or not _same(sample, self.returned):
            # Another network's turn, a new run, or a pipeline that changes the sample between steps (inpainting).
            self.forget()
        self.called = called
        step = -1 if self.path is None else self.path.number(timestep)
        if step < 0 or kwargs.get("eta") or kwargs.get("s_churn"):
            self.forget()  # noise that cannot be drawn again, or a step of another run
        else:
            level, velocity = self.path.levels[step], self._velocity(model_output, sample, timestep)
            if any(skipped):
                if not self.skipped:
                    self.state, self.start = _state(self.scheduler), sample
                self.skipped.append(Taken(level, velocity, (timestep, *args), dict(kwargs)))
            else:
                times, velocities = [*self.times, 1.0 - 2.0 * level], [*self.velocities, velocity]
                if self.times:
                    self._expect(step, times, velocities)
                if self.skipped and self.times and self.corrector is not None:
                    sample = self._corrected(step, times, velocities, sample)
                self.newest, self.skipped = step, []
                self.times, self.velocities = times[-self._most :], velocities[-self._most :]
        result = self._original(model_output, timestep, sample, *args, **kwargs)
        self.returned = _previous(result)
        return result

    @property
    def _most(self) -> int:
        """How many outputs the corrector asks for, besides the one that arrives."""
        if self.corrector is None:
            return 2
        return max(self.corrector.degree, 2) if self.corrector.kernel is None else len(self.scheduler.timesteps)

    def begin(self, path: Path | None) -> None:
        """Begin a run along a path, in which only what the networks do from now on counts."""
        self.path = path
        self.counts = self._counts()
        self.forget()

    def forget(self) -> None:
        """Begin anew: nothing is known of the steps before."""
        self.called: list[bool] = []
        self.newest = -1
        self.times: list[float] = []
        self.velocities: list[torch.Tensor] = []
        self.skipped: list[Taken] = []
        self.state: dict[str, Any] = {}
        self.start: torch.Tensor | None = None
        self.returned: torch.Tensor | None = None

    def _expect(self, step: int, times: list[float], velocities: list[torch.Tensor]) -> None:
        """Tell the networks' forecasts how far off those of the sampler's velocity, guidance and all, will be."""
        line = combine(Newton(1).weights(times[:-1], times[-1])[-2:], velocities[:-1][-2:])
        doubt = expected(velocities[-1], velocities[-2], line) / (step - self.newest)
        for session in self.sessions:
            session.expect(doubt)

    def _corrected(
        self, step: int, times: list[float], velocities: list[torch.Tensor], sample: torch.Tensor
    ) -> torch.Tensor:
        """Return the sample, the skipped steps taken again with velocities that are interpolated over the levels."""
        better = [
            combine(self.corrector.weights(np.asarray(times), 1.0 - 2.0 * taken.level), velocities)
            for taken in self.skipped
        ]
        missed = torch.stack([_relative(new, taken.velocity) for new, taken in zip(better, self.skipped, strict=True)])
        missed = missed.amax(dim=0)
        # A model of noise tells nothing of the data at the beginning; what its first velocity did is taken back.
        blind = self.path.predicts == "epsilon" and len(times) == 2
        part = self.corrector.damping * (torch.ones_like(missed) if blind else guard(missed, LIMIT))
        after = _state(self.scheduler)
        vars(self.scheduler).update(self.state)
        x = self.start
        for new, taken in zip(better, self.skipped, strict=True):
            velocity = torch.lerp(taken.velocity, new, part.to(new.dtype))
            output = self._output(velocity, x, taken.args[0])
            x = _previous(self._original(output, taken.args[0], x, *taken.args[1:], **taken.kwargs))
        if not bool(torch.isfinite(x).all()):
            vars(self.scheduler).update(after)
            return sample
        for session in self.sessions:
            session.report.corrections.append((step, float(missed.max()), float(part.mean())))
        return x

    def _velocity(self, output: torch.Tensor, sample: torch.Tensor, timestep: Any) -> torch.Tensor:
        """What an output stands for on the path; a tensor of its own."""
        if not self.path.predicts:
            return output.detach().clone()
        x = self.scheduler.scale_model_input(sample, timestep)
        return self.path.velocity(output.detach(), x, self.path.number(timestep)).clone()

    def _output(self, velocity: torch.Tensor, sample: torch.Tensor, timestep: Any) -> torch.Tensor:
        if not self.path.predicts:
            return velocity
        x = self.scheduler.scale_model_input(sample, timestep)
        return self.path.output(velocity, x, self.path.number(timestep))

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


def _relative(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """Relative change of every item of a batch; 0 of what is zero."""
    length, moved = norms(new.float()), norms(new.float() - old.float())
    return torch.where(length > 0.0, moved / length.clamp_min(torch.finfo(torch.float32).tiny), 0.0)
