"""How are a scheduler's skipped steps mended? By a stand-in for its ``step``, which is called with the guided output.

The scheduler's own steps are taken again, from a snapshot of its state: see `Retake`.
"""

import copy
import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch

from spectral_forecast import Corrector
from spectral_forecast.adapters._session import Retake, Session, Steps

__all__ = ["Correction", "Step"]


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
            step.steps.begin()
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
            step.steps.forget()


class Step:
    """Stands in for a scheduler's ``step``, as an attribute of it; in a copy of the scheduler its own is back."""

    def __init__(self, scheduler: Any, sessions: Sequence[Session], corrector: Corrector) -> None:
        self.scheduler = scheduler
        self.mend = Retake(corrector, sessions, save=self._save, load=vars(scheduler).update, x_of=_previous)
        self.steps = Steps(sessions, self.mend, x_of=_previous)

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

        def take(x: Any, output: torch.Tensor) -> Any:
            return self._original(output, timestep, x, *args, **kwargs)

        noisy = kwargs.get("eta") or kwargs.get("s_churn")  # it cannot be drawn again
        return self.steps(take, sample, model_output, repeatable=not noisy)

    def _save(self) -> dict[str, Any]:
        """The scheduler's attributes, with lists (the outputs kept by multistep schedulers) of their own."""
        return {
            name: copy.copy(value) if isinstance(value, list | dict) else value
            for name, value in vars(self.scheduler).items()
            if name != "step"
        }


def _step_of(scheduler: Any) -> Step | None:
    """The step that was put on a scheduler, or None."""
    step = getattr(scheduler, "__dict__", {}).get("step")
    return step if isinstance(step, Step) else None


def _previous(result: Any) -> torch.Tensor:
    return result[0] if isinstance(result, tuple) else result.prev_sample
