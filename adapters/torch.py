"""How do I forecast a PyTorch denoiser inside my own sampler, or a k-diffusion style one?

>>> import torch
>>> from spectral_forecast.adapters.torch import Accelerator
>>> calls = []
>>> def model(x, sigma):
...     calls.append(float(sigma))
...     return x / (1.0 + sigma**2)
>>> accelerated = Accelerator(model, evaluations=6, steps=12)
>>> x, sigmas = torch.ones(1, 4), torch.linspace(10.0, 0.0, 13)
>>> for sigma, following in zip(sigmas[:-1], sigmas[1:]):
...     denoised = accelerated(x, sigma)
...     x = x + (x - denoised) / sigma * (following - sigma)
>>> len(calls)
6
>>> accelerated.report.forecast["call 0"]
[2, 3, 5, 6, 8, 9]
"""

import functools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from spectral_forecast import Corrector, LinearForecaster, Plan, schedules
from spectral_forecast.adapters._session import (
    LIMIT,
    Choice,
    Clock,
    Frame,
    Memory,
    Outputs,
    Place,
    Report,
    Resumable,
    Retake,
    Session,
    Settings,
    Steps,
    even,
)
from spectral_forecast.adapters._session.ranks import all_magnitude, largest

__all__ = ["Accelerator", "Report"]

OVERLOOKED = (
    "the plan's corrections are not made: write `x = accelerated.correct(x)` after the call of the model, or "
    "`step = accelerated.retaking(step)` where steps do not add the output; or `corrector=None`"
)


class Accelerator:
    """A denoiser ``model(x, t, ...)`` of which some calls are forecast. Call it where you called the model.

    Parameters
    ----------
    model : callable
        Maps ``x``, a time or noise level ``t`` (a number, or a tensor of any shape) and whatever else the sampler
        hands on to a tensor, or to a structure of tensors. Attributes of the model can be read through the
        accelerator.
    plan : Plan, optional
        What `make_plan` returned. It counts the calls of a run: a sampler of order two that calls twice a step has two
        of the plan's steps in each of its own.
    evaluations, steps : int, optional
        Instead of a plan: how many calls of a run to evaluate, by `schedules.even`, and how many there are.
    sigmas : array_like, shape (N + 1,), optional
        Instead of ``steps``, for samplers that call once a step: their noise levels, and the one where the run ends.
        Calls are then evaluated by `schedules.balanced`. In units in which the sampler's steps are as long as they are
        hard: flow matching's own, and for noise that falls from 80, say, ``schedules.flow_time(sigmas)``.
    forecaster : LinearForecaster, optional
        The rule that goes with ``evaluations``, over the order of calls. By default ``Newton(1)``, linear
        extrapolation, over ``sigmas`` where they are known, and guarded by the errors that the run's own evaluations
        show (`GuardedRun`) unless ``sigmas`` and a corrector make a plan that `correct` corrects.
    corrector : Corrector, optional
        How `correct` and `retaking` correct skipped steps; None leaves it out. For `correct` it goes with ``sigmas``,
        and a plan has its own.
    at : {"output", "features"}
        What is forecast. "features" asks for a resumable model: called as ``model(x, t, ...)`` it returns the output
        and a feature, and called with ``feature=`` too it computes the same pair from that, without its blocks. The
        first evaluation is resumed once to see that this is so. The sampler gets the output alone.
    streams : int
        How often the sampler calls the model at one step with different conditions (guidance branches that are not
        one batch), always in the same order. Each has features of its own.
    max_bytes, dtype, offload
        How features are held, as for `adapters.diffusers.accelerate`; a model at features has no outputs to take
        instead.

    Attributes
    ----------
    model : callable
        As given.

    Raises
    ------
    ValueError
        If neither or both of ``plan`` and ``evaluations`` are given, or ``evaluations`` without ``steps`` and
        ``sigmas``; if a plan's corrector can correct nothing, since features are kept or there are several streams; at
        the first call, if ``at`` is "features" and the model is not resumable.

    Notes
    -----
    A run begins at the first call, and again when time turns back: samplers go from high noise to low. Features are
    let go after the plan's last step, or by `reset`. Whenever something about a call is unexpected (another shape or
    dtype, more steps than planned, a result that is not finite), the model is evaluated, and the report says so.
    Samplers that add noise at every step make the features no smooth function of time; forecasts are then poor.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        plan: Plan | None = None,
        *,
        evaluations: int | None = None,
        steps: int | None = None,
        sigmas: Any = None,
        forecaster: LinearForecaster | None = None,
        corrector: Corrector | None = Corrector(),  # noqa: B008 it is frozen
        at: Literal["output", "features"] = "output",
        streams: int = 1,
        max_bytes: int | None = None,
        dtype: torch.dtype | None = None,
        offload: bool = False,
    ) -> None:
        if not callable(model):
            raise TypeError(f"`model` is {type(model).__name__}; write a callable `model(x, t, ...)`.")
        if at not in ("output", "features"):
            raise ValueError(f'`at` is {at!r}; write "output" or "features".')
        for name, count in (("streams", streams), ("steps", 1 if steps is None else steps)):
            if not isinstance(count, int) or count < 1:
                raise ValueError(f"`{name}` is {count!r}; write a whole number, 1 or more.")
        levels = _levels(sigmas, steps)
        # What the steps add up from, and so what can be corrected by adding to it, are the outputs of one stream.
        adds = at == "output" and streams == 1
        if isinstance(plan, Plan) and plan.correction.any():
            if corrector is None:
                plan = plan._replace(correction=np.zeros_like(plan.correction))
            elif not adds:
                raise ValueError(
                    '`plan` has a corrector, which acts on the outputs of one stream; write `at="output"` and '
                    "`streams=1`, or `corrector=None`, or make the plan without and write "
                    "`step = accelerated.retaking(step)`."
                )
        memory = Memory(max_bytes, dtype, offload)
        added = {"sigmas": levels if adds else None, "corrector": corrector}
        settings = Settings.of(plan, evaluations, forecaster, **added, memory=memory)
        if (plan is None) == (steps is None and sigmas is None):
            raise ValueError(
                "`steps` goes with `evaluations`: write how many calls a run has, or its `sigmas`; a plan knows them."
            )
        self.model = model
        self._corrector = corrector
        self._refuses = levels is not None and corrector is not None and not adds
        self._retaking = False
        name = getattr(model, "__name__", type(model).__name__)
        place: Place = Outputs() if at == "output" else Resumable(name)
        length = plan.steps if plan is not None else steps if levels is None else len(levels) - 1
        clock = functools.partial(Clock, streams=streams, length=length)
        choose = even if levels is None else functools.partial(_balanced, levels)
        votes = {"magnitude": functools.partial(all_magnitude, network=model)}
        votes["agreed"] = functools.partial(largest, network=model)
        self._session = Session(name, settings, place, choose=choose, clock=clock, **votes)

    def __call__(self, x: torch.Tensor, t: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the model's output: evaluated, or forecast."""

        def forward(**feature: Any) -> Any:
            return self.model(x, t, *args, **kwargs, **feature)

        if self._arrived() is not None and not self._retaking and OVERLOOKED not in self._session.report.events:
            self._session.report.events.append(OVERLOOKED)
        return self._session.call(forward, {"x": x, "args": args, **kwargs}, t)

    def correct(self, x: torch.Tensor, *, limit: float | None = 0.2) -> torch.Tensor:
        """Return the sample, moved by what an evaluation says of the forecasts before it.

        Call it after the model and before the sampler's update, at every step. It is for samplers that add
        ``(sigmas[i + 1] - sigmas[i]) * output`` at step i, as Euler's method does for a model of the velocity; for
        others there is `retaking`.

        Parameters
        ----------
        x : Tensor
            The sample, of the outputs' shape. It is not changed.
        limit : float, optional
            The relative error of the forecast that this evaluation replaced, at which half of the correction is made;
            see `spectral_forecast.corrector.guard`. None makes all of it.

        Returns
        -------
        Tensor
            ``x`` itself where nothing is corrected: where no step was skipped before, and without a corrector.

        Raises
        ------
        ValueError
            If features are kept, or there are several streams; if `retaking` corrects already.

        Examples
        --------
        >>> import torch
        >>> from spectral_forecast.adapters.torch import Accelerator
        >>> def velocity(x, sigma):
        ...     return 1.0 + torch.cos(3.0 * sigma) * x
        >>> sigmas = torch.linspace(1.0, 0.0, 31)
        >>> def sample(model, x, correct):
        ...     for sigma, following in zip(sigmas[:-1], sigmas[1:]):
        ...         v = model(x, sigma)
        ...         x = correct(x) + (following - sigma) * v
        ...     return x
        >>> accelerated = Accelerator(velocity, evaluations=8, sigmas=sigmas)
        >>> full = sample(velocity, torch.ones(4), lambda x: x)
        >>> corrected = sample(accelerated, torch.ones(4), accelerated.correct)
        >>> plain = sample(Accelerator(velocity, evaluations=8, sigmas=sigmas), torch.ones(4), lambda x: x)
        >>> bool((corrected - full).norm() < 0.5 * (plain - full).norm())
        True
        """
        if self._refuses:
            raise ValueError(
                "`correct` adds up the outputs of one stream, but features are kept or there are several; write "
                "`step = accelerated.retaking(step)`, or leave it out."
            )
        arrival = self._arrived()
        if arrival is None:
            return x
        if self._retaking:
            raise ValueError("`correct` and `retaking` correct the same steps; write one of them.")
        self._session.arrived = None
        moved, error, part = arrival.stream.correct(arrival.step, x, limit)
        if not self._session.sound([moved]):
            return x
        self._session.report.corrections.append((arrival.step, error, part))
        return moved

    def retaking(self, step: Callable[..., Any], *, limit: float | None = LIMIT) -> Callable[..., Any]:
        """Return the sampler's step, which takes skipped steps again on arrival at an evaluated one.

        It suits every sampler without noise that is such a step, of any order, and models of the velocity, the noise or
        the data, at features and with several streams. Where `correct` adds to the sample, this goes back to the sample
        before the skipped steps and repeats them, with outputs that are interpolated.

        Parameters
        ----------
        step : callable
            Maps ``(x, output, ...)`` to the next ``x``, and nothing else: what it needs to know of earlier steps is in
            ``x``, a tensor or a structure with tensors, and it writes into none of them. ``output`` is a tensor: what
            the model returned, or what guidance made of it. Call it once a step.
        limit : float, optional
            The relative change of a skipped step's output at which half of the change is made;
            see `spectral_forecast.corrector.guard`. None makes all of it.

        Returns
        -------
        callable
            The same function of ``(x, output, ...)``. A sample that is not the one it returned last begins a run.

        Examples
        --------
        >>> import torch
        >>> from spectral_forecast.adapters.torch import Accelerator
        >>> def model(x, sigma):
        ...     return x / (1.0 + sigma**2)
        >>> accelerated = Accelerator(model, evaluations=6, steps=12)
        >>> step = accelerated.retaking(lambda x, denoised, s, t: x + (x - denoised) / s * (t - s))
        >>> x, sigmas = torch.ones(1, 4), torch.linspace(10.0, 0.0, 13)
        >>> for sigma, following in zip(sigmas[:-1], sigmas[1:]):
        ...     x = step(x, accelerated(x, sigma), sigma, following)
        >>> [arrival for arrival, _, _ in accelerated.report.corrections]
        [4, 7, 10]
        """
        if not callable(step):
            raise TypeError(f"`step` is {type(step).__name__}; write a callable `step(x, output, ...)`.")
        if self._corrector is None:
            return step
        session, self._retaking = self._session, True
        session.settings = replace(session.settings, sigmas=None, corrector=None)  # nothing is added any more
        guards = session.settings.default
        steps = Steps([session], Retake(self._corrector, [session], limit=limit, guards=guards))

        @functools.wraps(step)
        def retaken(x: Any, output: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            return steps(lambda x, output: step(x, output, *args, **kwargs), x, output, frame=self._frame())

        return retaken

    def _frame(self) -> Frame | None:
        """The frame of outputs themselves, over the noise levels where they are known."""
        levels, step = self._session.levels, self._session.clock.step
        if levels is None or not 0 <= step < len(levels):
            return None
        return Frame(1.0 - 2.0 * levels[step] / levels[0])

    def _arrived(self) -> Any:
        """The evaluation on which this thread is to correct the sample."""
        arrival = self._session.arrived
        return arrival if arrival is not None and arrival.thread == threading.get_ident() else None

    def __getattr__(self, name: str) -> Any:
        if name in ("model", "_session"):  # not there yet, while a copy is being made
            raise AttributeError(name)
        return getattr(self.model, name)

    def __repr__(self) -> str:
        return f"<Accelerator of {self._session.name}: {self.report.line}>"

    @property
    def report(self) -> Report:
        """What was done in the newest run; a copy, which later runs do not change."""
        return self._session.told()

    def reset(self) -> None:
        """Let go of all features; the next call begins a run."""
        self._session.reset()


def _levels(sigmas: Any, steps: int | None) -> tuple[float, ...] | None:
    """The noise levels of a run, from the first to 0, where it ends."""
    if sigmas is None:
        return None
    levels = torch.as_tensor(sigmas, dtype=torch.float64, device="cpu").numpy()
    if levels.ndim != 1 or levels.size < 2 or levels.size != (levels.size if steps is None else steps + 1):
        count = "N + 1" if steps is None else str(steps + 1)
        raise ValueError(
            f"`sigmas` has shape {levels.shape}; write ({count},): one a step, and where the last one ends."
        )
    return tuple((levels - levels[-1]).tolist())


def _balanced(levels: tuple[float, ...], steps: int, evaluations: int) -> Choice:
    return Choice(schedules.balanced(levels, min(evaluations, steps)), levels=levels)
