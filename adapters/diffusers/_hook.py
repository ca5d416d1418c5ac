"""The hooks: one on the root module, which holds all state and decides, and one without state on each block."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.hooks import ModelHook
from diffusers.hooks.hooks import BaseState, StateManager

from spectral_forecast import LinearForecaster, Plan, Run, make_plan, schedules
from spectral_forecast.adapters.diffusers._clock import Clock, Moment
from spectral_forecast.adapters.diffusers._report import Report

__all__ = ["BlockHook", "RootHook", "Settings"]

WARMUP_AFTER_RESTART = 3


@dataclass(frozen=True)
class Settings:
    """What `accelerate` was asked for: a plan, or a forecaster and a number of evaluations."""

    plan: Plan | None
    forecaster: LinearForecaster | None
    evaluations: int | None
    at: str

    def plan_for(self, steps: int | None) -> Plan | None:
        """Return the plan of a run of ``steps``; None where the given one does not fit."""
        if self.plan is not None:
            return self.plan if steps in (None, self.plan.steps) else None
        evaluate = schedules.budget(steps, min(self.evaluations, steps))
        return self._tabulate(evaluate, 0, steps)

    def plan_after(self, evaluate: Any, begin: int) -> Plan:
        """Return the plan of the steps from ``begin`` on, for a ring that is empty there."""
        rest = np.array(evaluate[begin:])
        rest[: WARMUP_AFTER_RESTART if self.forecaster is not None else None] = True
        return self._tabulate(rest, begin, len(evaluate))

    def _tabulate(self, evaluate: Any, begin: int, steps: int) -> Plan:
        # The paper's clock: step numbers, with the end of the run one step after the last call.
        rule = self.forecaster or _NeverForecast()
        return make_plan(rule, np.arange(begin, steps), evaluate, span=(0.0, float(steps)))


class _NeverForecast:
    """Weights for a plan without forecasts: a run that was given a plan, not a rule, and has left it."""

    def weights(self, times: Any, t: float, /) -> Any:
        return np.zeros(len(times))


class _Stream:
    """One guidance branch's features, and the plan that they follow from step ``begin`` on."""

    def __init__(self, plan: Plan, begin: int) -> None:
        self.begin = begin
        # Whether features are finite is checked here, where the answer is to restart and not to raise.
        self.run: Run = plan.start(check_finite=False)
        self.shape: Any = None  # what the network was called with when it was evaluated last


class RootHook(ModelHook):
    """Replaces the forward of the whole network: evaluates it, or forecasts its output or its features."""

    _is_stateful = True

    def __init__(self, settings: Settings, signature: inspect.Signature, timesteps: Callable[[], Any]) -> None:
        super().__init__()
        self.settings = settings
        self.signature = signature
        self.timesteps = timesteps  # () -> the scheduler's timesteps, or None without a scheduler
        self.contexts = StateManager(BaseState)  # diffusers writes the cache context here
        self.report = Report("", settings.at, repr(settings.forecaster or "plan").strip("'"))
        self.clock = Clock()
        self.plan: Plan | None = None
        self.begin = 0
        self.streams: dict[str, _Stream] = {}
        self.result: tuple[bool, type] | None = None  # form of the network's result: return_dict, class
        # Shared with the block hooks, for the duration of one call:
        self.tail: BlockHook | None = None
        self.feature: torch.Tensor | None = None
        self.forecast: torch.Tensor | None = None

    def new_forward(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Evaluate or forecast, as the plan says and as far as everything is as expected."""
        call = self.signature.bind(*args, **kwargs)
        call.apply_defaults()
        moment = self._moment(module, call.arguments)
        if moment.step < 0 or self.plan is None:
            return self._forward(args, kwargs)
        stream = self._stream(moment, call.arguments)
        step = moment.step - stream.begin
        if not stream.run.evaluates(step):
            forecast = stream.run.forecast(step)
            if bool(torch.isfinite(forecast).all()):
                self.report.forecast[moment.stream].append(moment.step - self.begin)
                self._finish(moment)
                return self._resume(forecast, args, kwargs)
            stream = self._restart(moment, "its forecast was not finite")
            step = 0
        result = self._forward(args, kwargs)
        self._keep(stream, moment, call.arguments, result)
        self.report.evaluated[moment.stream].append(moment.step - self.begin)
        self._finish(moment)
        return result

    def reset_state(self, module: torch.nn.Module) -> torch.nn.Module:
        """Let go of all features; diffusers calls this at the end of a pipeline call."""
        self.contexts.reset()
        self.streams.clear()
        self.clock = Clock()
        return module

    def _moment(self, module: torch.nn.Module, arguments: dict[str, Any]) -> Moment:
        """Place the call in time; begin a run where one begins."""
        try:
            context = self.contexts.context.name
        except ValueError:  # many pipelines set none
            context = None
        moment = self.clock.read(arguments["timestep"], context, self.timesteps())
        if moment.new_run:
            self.streams.clear()
            self.begin = moment.step
            remaining = self.clock.remaining()
            if self.settings.plan is not None or self.plan is None or self.plan.steps != remaining:
                self.plan = self.settings.plan_for(remaining)
            self.report = Report(
                type(module).__name__,
                self.settings.at,
                self.report.forecaster,
                runs=self.report.runs + 1,
                steps=self.plan.steps if self.plan else remaining or 0,
            )
            if self.plan is None:
                self._note(moment, f"the plan is for {self.settings.plan.steps} steps, the run has {remaining}")
        elif moment.step >= 0 and self.plan and moment.step - self.begin >= self.plan.steps:
            self._note(moment, f"the plan has {self.plan.steps} steps and is over")
            self.plan = None
        elif moment.step < 0:
            self._note(moment, moment.oddity)
        return moment

    def _stream(self, moment: Moment, arguments: dict[str, Any]) -> _Stream:
        """Return the stream that the call belongs to, restarted if something about the call is unexpected."""
        stream = self.streams.get(moment.stream)
        if stream is None:
            self.report.evaluated.setdefault(moment.stream, [])
            self.report.forecast.setdefault(moment.stream, [])
            if moment.step > self.begin:
                return self._restart(moment, "was first seen in the middle of the run")
            stream = self.streams[moment.stream] = _Stream(self.plan, self.begin)
            return stream
        if moment.oddity:
            return self._restart(moment, moment.oddity)
        if not stream.run.ready(moment.step - stream.begin):
            return self._restart(moment, "an evaluation before this step is missing")
        if stream.shape != _describe(arguments):
            return self._restart(moment, f"its input changed from {stream.shape} to {_describe(arguments)}")
        if self.settings.at == "output" and self.result and self.result[0] != arguments.get("return_dict", True):
            return self._restart(moment, "`return_dict` changed")
        return stream

    def _restart(self, moment: Moment, reason: str) -> _Stream:
        """Begin a stream anew at this step: evaluate, and a few steps more."""
        self._note(moment, f"restarted: {reason}")
        plan = self.settings.plan_after(self.plan.evaluate, moment.step - self.begin)
        stream = self.streams[moment.stream] = _Stream(plan, moment.step)
        return stream

    def _keep(self, stream: _Stream, moment: Moment, arguments: dict[str, Any], result: Any) -> None:
        """Keep the feature of an evaluated step, if it is one."""
        feature = self._take(result, arguments)
        if feature is None:
            self.plan = None
            self._note(moment, f"nothing is forecast: a {type(result).__name__} of more than one tensor came back")
            return
        if not bool(torch.isfinite(feature).all()):
            self.streams.pop(moment.stream)
            self._note(moment, "its feature was not finite and is not kept")
            return
        stream.shape = _describe(arguments)
        stream.run.keep(moment.step - stream.begin, feature.detach())
        held = sum(item.run.nbytes for item in self.streams.values())
        self.report.peak_bytes = max(self.report.peak_bytes, held)

    def _finish(self, moment: Moment) -> None:
        """Let go of a stream's features after the run's last step."""
        if moment.step - self.begin == self.report.steps - 1:
            self.streams.pop(moment.stream, None)

    def _forward(self, args: Any, kwargs: Any) -> Any:
        """Run the network itself."""
        self.feature = self.tail = None
        return self.fn_ref.original_forward(*args, **kwargs)

    def _take(self, result: Any, arguments: dict[str, Any]) -> torch.Tensor | None:
        """Return what is to be kept of an evaluation."""
        if self.settings.at == "features":
            feature, self.feature = self.feature, None
            return feature
        parts = result if isinstance(result, tuple) else tuple(result.values())
        if len(parts) != 1 or not isinstance(parts[0], torch.Tensor):
            return None
        self.result = arguments.get("return_dict", True), type(result)
        return parts[0]

    def _resume(self, forecast: torch.Tensor, args: Any, kwargs: Any) -> Any:
        """Finish a call from a forecast: run the head, or dress the forecast as the network's result."""
        if self.settings.at == "features":
            self.forecast = forecast
            try:
                return self.fn_ref.original_forward(*args, **kwargs)
            finally:
                self.forecast = None
        cls = self.result[1]
        return (forecast,) if cls is tuple else cls(forecast)

    def _note(self, moment: Moment, text: str) -> None:
        self.report.events.append(f"step {moment.step}, stream {moment.stream}: {text}")


class BlockHook(ModelHook):
    """Passes a block's input on while the root hook forecasts; the last block's place is taken by the forecast."""

    def __init__(self, root: RootHook, signature: inspect.Signature, layout: Any) -> None:
        super().__init__()
        self.root = root
        self.signature = signature
        self.layout = layout  # diffusers' TransformerBlockMetadata: where hidden states stand in and out
        self.bare = False  # whether the block returns one tensor, not in a tuple

    def new_forward(self, _module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Run the block and show the root its output, or skip it."""
        if self.root.forecast is None:
            result = self.fn_ref.original_forward(*args, **kwargs)
            self.bare = isinstance(result, torch.Tensor)
            # The last block to run in an evaluation is the tail: each one overwrites what the one before left.
            self.root.tail = self
            self.root.feature = result if self.bare else result[self.layout.return_hidden_states_index]
            return result
        arguments = self.signature.bind(*args, **kwargs).arguments
        hidden = arguments[self.layout.hidden_states_argument_name]
        if self.root.tail is self:
            hidden = self.root.forecast
        if self.bare:
            return hidden
        parts = {self.layout.return_hidden_states_index: hidden}
        if self.layout.return_encoder_hidden_states_index is not None:
            parts[self.layout.return_encoder_hidden_states_index] = arguments.get(
                self.layout.encoder_hidden_states_argument_name
            )
        return tuple(parts[index] for index in sorted(parts))


def _describe(arguments: dict[str, Any]) -> str:
    """Shape, dtype and device of the network's input: its first tensor argument."""
    tensor = next(value for value in arguments.values() if isinstance(value, torch.Tensor))
    return f"{str(tensor.dtype).removeprefix('torch.')}{tuple(tensor.shape)} on {tensor.device}"
