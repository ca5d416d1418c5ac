"""How does a run take more steps than it was asked for? Its scheduler sets a finer grid along the same curve.

Forecast steps cost next to nothing, so that they may be many: the sample then follows the differential equation more
closely at the same number of evaluations. A pipeline asks its scheduler for steps before it calls its network; there
the request is refined.
"""

import inspect
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

from spectral_forecast.adapters.diffusers._schedulers import FEWEST_STEPS, limits
from spectral_forecast.adapters.diffusers._stand_in import StandIn

__all__ = ["Grid", "SetTimesteps", "refined"]


class Grid:
    """Puts a `SetTimesteps` in the place of a scheduler's, whichever scheduler a pipeline has at the moment.

    Parameters
    ----------
    steps : int or None
        Of every run that is asked for fewer; None refines nothing.
    """

    def __init__(self, steps: int | None) -> None:
        if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < FEWEST_STEPS):
            raise ValueError(f"`grid` is {steps!r}; write a whole number of steps, {FEWEST_STEPS} or more, or None.")
        self.steps = steps
        self.scheduler: Any = None
        self.set_timesteps: SetTimesteps | None = None

    def attach(self, scheduler: Any) -> None:
        """Refine the steps of this scheduler, and no other's."""
        self.detach()
        if self.steps is not None and scheduler is not None:
            self.scheduler, self.set_timesteps = scheduler, SetTimesteps(scheduler, self.steps)
            scheduler.set_timesteps = self.set_timesteps

    def detach(self) -> None:
        """Leave the scheduler as it was."""
        if self._holds(self.scheduler):
            del self.scheduler.set_timesteps
        self.scheduler = self.set_timesteps = None

    def follow(self, scheduler: Any) -> str:
        """Refine this scheduler's steps from now on; return why those of the run that begins are not."""
        if self.steps is None:
            return ""
        if self._holds(scheduler):
            return self.set_timesteps.why
        self.attach(scheduler)
        return f"`grid={self.steps}` begins with the next run: this one's steps were set by a scheduler that was new"

    def _holds(self, scheduler: Any) -> bool:
        ours = self.set_timesteps
        return ours is not None and getattr(scheduler, "__dict__", {}).get("set_timesteps") is ours


class SetTimesteps(StandIn):
    """Stands in for a scheduler's ``set_timesteps``.

    Parameters
    ----------
    scheduler : SchedulerMixin
    steps : int
        Of the finer grid.

    Attributes
    ----------
    why : str
        Why the newest run is not on the finer grid; "" if it is, or needs none.
    """

    name = "set_timesteps"

    def __init__(self, scheduler: Any, steps: int) -> None:
        super().__init__(scheduler)
        self.steps = steps
        self.why = ""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Set the steps that are asked for, and then finer ones if that is possible."""
        self._original(*args, **kwargs)
        coarse, self.why = self.scheduler.timesteps, ""
        if not FEWEST_STEPS <= len(coarse) < self.steps:
            return
        call = self.__signature__.bind(*args, **kwargs)
        why = self._against(by_list=call.arguments.get("sigmas") is not None)
        if not why:
            try:
                self._refine(call, len(coarse))
                why = _misses(self.scheduler.timesteps, coarse)
            except ValueError as error:  # as of a scheduler that was trained with fewer steps
                why = str(error)
            if why:
                self._original(*args, **kwargs)
        if why:
            self.why = (
                f"`grid={self.steps}` is left out, and the run has the {len(coarse)} steps it was asked for: {why}"
            )

    def _against(self, *, by_list: bool) -> str:
        """Why nothing should be refined."""
        limit, name = limits(self.scheduler), type(self.scheduler).__name__
        if limit.max_skip is not None:
            return f"with {name}, {limit.why}"
        if getattr(self.scheduler, "order", 1) != 1:
            return f"a step of {name} has two stages"
        # Such pipelines begin in the middle of a list that they did not measure, unless they handed it over.
        if not by_list and hasattr(pipe := _pipeline(), "get_timesteps"):
            return f"{type(pipe).__name__} counts in these where it begins"
        return ""

    def _refine(self, call: inspect.BoundArguments, asked: int) -> None:
        """Set the steps of the finer grid."""
        for name in ("sigmas", "timesteps"):
            if call.arguments.get(name) is not None:
                call.arguments[name] = refined(call.arguments[name], asked, self.steps)
        if call.arguments.get("num_inference_steps") is not None:
            call.arguments["num_inference_steps"] = self.steps
        self._original(*call.args, **call.kwargs)


def refined(listed: Any, asked: int, steps: int) -> Any:
    """Return a list of noise levels or times for ``asked`` steps as one for ``steps``, linear in between.

    The end is 0. Towards an end that is not in the list the last step is refined, too: this is flow matching, and a
    multiple of the steps that were asked for gives a list that holds all of theirs. An end in the list stays one step
    away from the last, which is at the least noise that its network knows.

    Parameters
    ----------
    listed : list, array or Tensor (asked,) or (asked + 1,)
    asked, steps : int

    Returns
    -------
    list, array or Tensor (steps,) or (steps + 1,)
        Of the same kind and dtype; whole numbers remain whole.

    Examples
    --------
    >>> refined([1.0, 0.5], 2, 4), refined([14.0, 2.0, 0.0], 2, 4)
    ([1.0, 0.75, 0.5, 0.25], [14.0, 10.0, 6.0, 2.0, 0.0])
    """
    kind = listed.numpy(force=True) if isinstance(listed, torch.Tensor) else np.asarray(listed)
    values = kind.astype(np.float64)
    if values[-1] != 0.0:
        fine = np.interp(np.linspace(0.0, asked, steps + 1)[:-1], np.arange(asked + 1), [*values, 0.0])
    else:
        inner = np.interp(np.linspace(0.0, asked - 1.0, steps), np.arange(asked), values[:asked])
        fine = np.concatenate([inner, values[asked:]])
    fine = (np.round(fine) if kind.dtype.kind in "iu" else fine).astype(kind.dtype)
    if isinstance(listed, torch.Tensor):
        return torch.from_numpy(fine).to(listed)
    return fine if isinstance(listed, np.ndarray) else fine.tolist()


def _misses(fine: torch.Tensor, coarse: torch.Tensor) -> str:
    """Why the finer times are not along the same curve, as where a scheduler rounds them to whole numbers."""
    fine, coarse = fine.double(), coarse.double()
    if float(abs(fine[0] - coarse[0])) > float(abs(coarse[1] - coarse[0])):
        return f"the finer ones begin at time {float(fine[0]):g} instead of {float(coarse[0]):g}"
    if _repeated(fine) > _repeated(coarse):
        return "there are not as many times between them that the scheduler can tell apart"
    return ""


def _repeated(times: torch.Tensor) -> int:
    return len(times) - len(torch.unique(times))


def _pipeline() -> Any:
    """The pipeline whose call this is, or None; looked up among the callers, since pipelines share schedulers."""
    frame = inspect.currentframe().f_back
    while frame is not None and not isinstance(frame.f_locals.get("self"), DiffusionPipeline):
        frame = frame.f_back
    return None if frame is None else frame.f_locals["self"]
