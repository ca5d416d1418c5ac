"""How are a scheduler's skipped steps mended? By a stand-in for its ``step``, which is called with the guided output.

With ``evaluations=`` the scheduler's own steps are taken again, from a snapshot of its state, which is right for
schedulers of every order: see `Retake`. A given plan says what to add to the sample: see `Add`.
"""

import copy
import functools
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from spectral_forecast import Corrector, Plan
from spectral_forecast.adapters._session import Frame, Mend, Retake, Session, Steps, Take, finite, relative
from spectral_forecast.adapters.diffusers._path import Path
from spectral_forecast.adapters.diffusers._schedulers import limits
from spectral_forecast.adapters.diffusers._stand_in import StandIn
from spectral_forecast.corrector import guard
from spectral_forecast.sampling import Run

__all__ = ["Correction", "Step"]


class Correction:
    """Puts a `Step` in the place of a scheduler's, whichever scheduler a pipeline has at the moment.

    Parameters
    ----------
    corrector : Corrector, optional
        None corrects nothing.
    plan : Plan, optional
        One whose own corrections are made instead.
    guards : bool
        Whether forecasts are guarded by what the sampler makes of them.
    """

    def __init__(self, corrector: Corrector | None, plan: Plan | None, *, guards: bool = False) -> None:
        self.corrector = corrector
        self.plan = plan
        self.guards = guards
        self.sessions: list[Session] = []
        self.scheduler: Any = None

    def attach(self, scheduler: Any, path: Path | None = None) -> str:
        """Correct the steps of this scheduler, and no other's; return why not, where a plan asks for it.

        ``path`` is that of a run that begins, where one begins.
        """
        wanted = self.corrector is not None and (self.plan is None or self.plan.correction.any())
        if not (wanted or self.guards):
            return ""
        if why := self._refusal(scheduler):
            self.detach()
            return why
        step = _step_of(scheduler)
        if step is None:
            self.detach()
            self.scheduler = scheduler
            scheduler.step = step = Step(scheduler, self)
        step.begin(path)
        return ""

    def mend(self, scheduler: Any) -> Mend:
        """Return what is done about skipped steps."""
        if self.plan is not None:
            return Add(self.plan, self.sessions[0])
        save, load = functools.partial(_state, scheduler), vars(scheduler).update
        return Retake(self.corrector, self.sessions, guards=self.guards, save=save, load=load, x_of=_previous)

    def _refusal(self, scheduler: Any) -> str:
        name = type(scheduler).__name__
        if self.plan is None:
            return "" if limits(scheduler).correct else f"the steps of {name} cannot be taken again"
        if scheduler is None:
            return "the plan's corrector is left out, since no scheduler is known; write `scheduler=`"
        adds = getattr(type(scheduler), "step", None) is FlowMatchEulerDiscreteScheduler.step
        if adds and limits(scheduler).correct:
            return ""
        return (
            f"the plan's corrector is left out: it is for steps that add a difference of noise levels times the "
            f"output, and {name} does not; write `evaluations=`, which takes the scheduler's own steps again"
        )

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


class Step(StandIn):
    """Stands in for a scheduler's ``step``."""

    name = "step"

    def __init__(self, scheduler: Any, correction: Correction) -> None:
        super().__init__(scheduler)
        self.path: Path | None = None
        self.steps = Steps(correction.sessions, correction.mend(scheduler), x_of=_previous)

    def begin(self, path: Path | None) -> None:
        """Begin a run along a path, if that is known."""
        self.path = path
        self.steps.begin()

    def __call__(self, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        """Step, after correcting the sample where an evaluation has just arrived."""

        def take(x: Any, output: torch.Tensor) -> Any:
            return self._original(output, timestep, x, *args, **kwargs)

        noisy = kwargs.get("eta") or kwargs.get("s_churn")  # it cannot be drawn again
        uneven = kwargs.get("per_token_timesteps") is not None and isinstance(self.steps.mend, Add)
        frame = None if self.path is None else self.path.frame(self.scheduler, timestep)
        strange = self.path is not None and frame is None
        return self.steps(take, sample, model_output, frame=frame, repeatable=not (noisy or uneven or strange))


class Add:
    """Adds to the sample what a plan's table says, from the outputs that the scheduler is given.

    Parameters
    ----------
    plan : Plan
    session : Session
        It tells which of the plan's steps is taken.
    """

    def __init__(self, plan: Plan, session: Session) -> None:
        self.plan = plan
        self.session = session
        self.forget()

    def forget(self) -> None:
        """Begin anew: the rest of a run is not corrected."""
        self.run: Run | None = None

    def skip(self, _x: Any, output: torch.Tensor, _take: Take, _frame: Frame | None) -> None:
        """See that the forecast is what the table takes it for: the same weighted sum of the outputs before."""
        if self.run is not None and not self._is_forecast(output):
            self._leave("what the scheduler was given is not the plan's forecast of it")

    def arrive(self, x: torch.Tensor, output: torch.Tensor, _frame: Frame | None) -> torch.Tensor:
        """Return the sample, corrected."""
        step = self._step()
        if step == 0:
            self.run = self.plan.start(check_finite=False)
        if self.run is None or self.session.plan is not self.session.settings.plan:
            return x
        if not (
            self.plan.evaluate[step] and self.run.ready(step) and self.run.fits(output) and x.shape == output.shape
        ):
            self._leave("the steps are not the plan's, or outputs have another form than the sample")
            return x
        self.run.keep(step, output.detach())
        moved = self.run.correct(step, x)
        if moved is x or not finite([moved]):
            return x
        error = self.run.error
        self.session.report.corrections.append((step, error, guard(error)))
        return moved

    def _step(self) -> int:
        return self.session.clock.step - self.session.begin

    def _is_forecast(self, output: torch.Tensor) -> bool:
        step = self._step()
        if self.plan.evaluate[step] or not self.run.ready(step) or not self.run.fits(output):
            return False
        # Guidance of two rounded forecasts is some ten times their rounding away from a forecast of guidance.
        return relative(self.run.forecast(step), output) <= torch.finfo(output.dtype).eps ** 0.5

    def _leave(self, why: str) -> None:
        self.session.report.events.append(f"step {self._step()}: from here on the plan's corrector is left out: {why}")
        self.forget()


def _state(scheduler: Any) -> dict[str, Any]:
    """A scheduler's attributes, with lists (the outputs kept by multistep schedulers) of their own."""
    return {
        name: copy.copy(value) if isinstance(value, list | dict) else value
        for name, value in vars(scheduler).items()
        if name != "step"
    }


def _step_of(scheduler: Any) -> Step | None:
    """The step that was put on a scheduler, or None."""
    step = getattr(scheduler, "__dict__", {}).get("step")
    return step if isinstance(step, Step) else None


def _previous(result: Any) -> torch.Tensor:
    return result[0] if isinstance(result, tuple) else result.prev_sample
