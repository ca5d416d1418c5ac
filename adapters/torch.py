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
from collections.abc import Callable, Container, Sequence
from typing import Any, Literal

import torch

from spectral_forecast import LinearForecaster, Plan
from spectral_forecast.adapters._session import (
    Clock,
    Evaluation,
    Form,
    Outputs,
    Place,
    Report,
    Session,
    Settings,
    agree,
    copies,
    finite,
)

__all__ = ["Accelerator", "Report"]


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
    forecaster : LinearForecaster, optional
        The rule that goes with ``evaluations``. By default ``Newton(1)``, linear extrapolation.
    at : {"output", "features"}
        What is forecast. "features" asks for a resumable model: called as ``model(x, t, ...)`` it returns the output
        and a feature, and called with ``feature=`` too it computes the same pair from that, without its blocks. The
        first evaluation is resumed once to see that this is so. The sampler gets the output alone.
    streams : int
        How often the sampler calls the model at one step with different conditions (guidance branches that are not
        one batch), always in the same order. Each has features of its own.

    Attributes
    ----------
    model : callable
        As given.

    Raises
    ------
    ValueError
        If neither or both of ``plan`` and ``evaluations`` are given, or ``evaluations`` without ``steps``; at the
        first call, if ``at`` is "features" and the model is not resumable.

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
        forecaster: LinearForecaster | None = None,
        at: Literal["output", "features"] = "output",
        streams: int = 1,
    ) -> None:
        if not callable(model):
            raise TypeError(f"`model` is {type(model).__name__}; write a callable `model(x, t, ...)`.")
        if at not in ("output", "features"):
            raise ValueError(f'`at` is {at!r}; write "output" or "features".')
        for name, count in (("streams", streams), ("steps", 1 if steps is None else steps)):
            if not isinstance(count, int) or count < 1:
                raise ValueError(f"`{name}` is {count!r}; write a whole number, 1 or more.")
        settings = Settings.of(plan, evaluations, forecaster)
        if (plan is None) == (steps is None):
            raise ValueError("`steps` goes with `evaluations`: write how many calls a run has; a plan knows it.")
        self.model = model
        name = getattr(model, "__name__", type(model).__name__)
        place: Place = Outputs() if at == "output" else _Resumable(name)
        length = steps if plan is None else plan.steps
        self._session = Session(name, settings, place, clock=functools.partial(Clock, streams=streams, length=length))

    def __call__(self, x: torch.Tensor, t: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the model's output: evaluated, or forecast."""

        def forward(**feature: Any) -> Any:
            return self.model(x, t, *args, **kwargs, **feature)

        return self._session.call(forward, {"x": x, "args": args, **kwargs}, t)

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


class _Resumable:
    """The place of features of a model that returns and takes them."""

    at = "features"

    def __init__(self, name: str) -> None:
        self.name = name
        self.proven = False

    def enter(self, arguments: dict[str, Any], left: int) -> None:
        """Nothing depends on them."""

    def evaluate(self, forward: Callable[..., Any], handed_on: Container[int] = ()) -> Evaluation:
        """Run the model; the first time, see that it can be resumed."""
        result = forward()
        if not isinstance(result, tuple) or len(result) != 2:
            raise ValueError(
                f'`model`: {self.name} returned {type(result).__name__}; with `at="features"`, write a model that '
                "returns an output and a feature."
            )
        if not self.proven:
            result = copies(result)  # the proof runs the model again, which may write into its results
        output, feature = result
        if not self.proven and finite(Form.of(output).take(output)):
            if not agree(forward(feature=feature)[0], output):
                raise ValueError(
                    f"`model`: {self.name} gives another output when called with `feature=` the one it made."
                )
            self.proven = True
        form = Form.of(feature, handed_on)
        return Evaluation(output, form.take(feature), form)

    def resume(self, forward: Callable[..., Any], feature: Sequence[torch.Tensor], form: Form) -> Any:
        """Run the model's head on a feature."""
        return forward(feature=form.build(feature))[0]
