"""The hook on the root module, which holds all state of an accelerated network and decides at every call."""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers.hooks import ModelHook
from diffusers.hooks.hooks import BaseState, StateManager
from torch.utils import _pytree as pytree

from spectral_forecast import LinearForecaster, Plan, make_plan, schedules
from spectral_forecast.adapters.diffusers._clock import Clock, Moment
from spectral_forecast.adapters.diffusers._compiled import uncompiled
from spectral_forecast.adapters.diffusers._ranks import all_finite, group_of
from spectral_forecast.adapters.diffusers._report import Report
from spectral_forecast.adapters.diffusers._schedulers import refusal
from spectral_forecast.adapters.diffusers._split import Cut, Form, Split, SplitError
from spectral_forecast.adapters.diffusers._stream import Stream

__all__ = ["RootHook", "Settings"]

WARMUP_AFTER_RESTART = 3


@dataclass(frozen=True)
class Settings:
    """What `accelerate` was asked for: a plan, or a forecaster and a number of evaluations."""

    plan: Plan | None
    forecaster: LinearForecaster | None
    evaluations: int | None
    at: str
    shared: bool = False  # whether the network is one of several that share a run's steps

    def plan_for(self, steps: int | None, begin: int) -> Plan | None:
        """Return the plan of a run of ``steps`` from the scheduler's step ``begin`` on; None if the given one is not.

        Where networks take turns, the evaluations are those of the whole list of steps, and the one that takes over
        begins with an empty ring.
        """
        if self.plan is not None:
            return self.plan if steps in (None, self.plan.steps) else None
        before = begin if self.shared else 0
        evaluate = schedules.even(before + steps, min(self.evaluations, before + steps))
        return self.plan_after(evaluate, before) if before else self._tabulate(evaluate, 0, steps)

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


class RootHook(ModelHook):
    """Replaces the forward of the whole network: evaluates it, or forecasts its output or its features."""

    _is_stateful = True

    def __init__(
        self, settings: Settings, signature: inspect.Signature, time_name: str, scheduler: Callable[[], Any]
    ) -> None:
        super().__init__()
        self.settings = settings
        self.signature = signature
        self.time_name = time_name
        self.scheduler = scheduler  # () -> the scheduler of the moment, or None without one
        self.contexts = StateManager(BaseState)  # diffusers writes the cache context here
        self.report = Report("", settings.at, repr(settings.forecaster or "plan").strip("'"))
        self.clock = Clock()
        self.plan: Plan | None = None
        self.begin = 0
        self.streams: dict[str, Stream] = {}
        self.split: Split | None = None  # None: outputs are forecast
        self.group: Any = None  # the processes that share the network's tokens
        self.proven: dict[Any, tuple[int, ...]] = {}  # which tensors a cut needs, by the form of the evaluation

    @uncompiled
    def new_forward(
        self, module: torch.nn.Module, run: Callable[..., Any], args: Any, kwargs: Any, *, compiled: bool
    ) -> Any:
        """Evaluate or forecast, as the plan says and as far as everything is as expected."""
        call = self.signature.bind(*args, **kwargs)
        call.apply_defaults()
        moment = self._moment(module, call.arguments)
        self.group = group_of(module)
        if self.split is not None:
            self.split.inline = compiled

        def forward() -> Any:
            return run(*args, **kwargs)

        step = moment.step - self.begin
        if moment.step < 0 or self.plan is None:
            if moment.step >= 0:
                self.report.count(moment.stream, step, evaluated=True)
            return forward()
        given = _describe(call.arguments)
        stream = self._stream(moment, step, given)
        if not stream.evaluates(step):
            result = self._forecast(stream, step, forward)
            if result is not None:
                self.report.count(moment.stream, step, evaluated=False)
                self._finish(moment, step)
                return result
            stream = self._restart(moment, step, "its forecast was not finite, or did not fit the network")
        result, feature, form = self._evaluate(module, forward)
        self._keep(stream, moment, step, feature)
        stream.form, stream.input = form, given
        self.report.count(moment.stream, step, evaluated=True)
        self._finish(moment, step)
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
        moment = self.clock.read(arguments[self.time_name], context, getattr(self.scheduler(), "timesteps", None))
        if moment.new_run:
            self._begin(module, moment)
        elif moment.step >= 0 and self.plan and moment.step - self.begin >= self.plan.steps:
            self._note(moment, f"the plan has {self.plan.steps} steps and is over")
            self.plan = None
        elif moment.step < 0:
            self._note(moment, moment.oddity)
        return moment

    def _begin(self, module: torch.nn.Module, moment: Moment) -> None:
        """Begin a run: forget the last one, and plan this one."""
        self.streams.clear()
        self.begin = moment.step
        steps = self.clock.remaining()
        runs, at = self.report.runs + 1, "output" if self.split is None else "features"
        self.report = Report(type(module).__name__, at, self.report.forecaster, runs=runs)
        against = "" if self.settings.plan is not None else refusal(self.scheduler(), steps)
        if against:
            warnings.warn(f"Nothing is forecast: {against}", stacklevel=2)
            self._note(moment, against)
            self.plan = None
        else:
            self.plan = self.settings.plan_for(steps, self.begin)
            if self.plan is None:
                self._note(moment, f"the plan is for {self.settings.plan.steps} steps, the run has {steps}")
        self.report.steps = self.plan.steps if self.plan else steps or 0

    def _stream(self, moment: Moment, step: int, given: str) -> Stream:
        """Return the stream that the call belongs to, restarted if something about the call is unexpected."""
        stream = self.streams.get(moment.stream)
        if stream is None:
            if step > 0:
                return self._restart(moment, step, "was first seen in the middle of the run")
            stream = self.streams[moment.stream] = Stream(self.plan, 0)
            return stream
        if moment.oddity:
            return self._restart(moment, step, moment.oddity)
        if not stream.ready(step):
            return self._restart(moment, step, "an evaluation before this step is missing")
        if stream.input != given and stream.runs:
            return self._restart(moment, step, f"its input changed from {stream.input} to {given}")
        return stream

    def _restart(self, moment: Moment, step: int, reason: str) -> Stream:
        """Begin a stream anew at this step: evaluate, and a few steps more."""
        self._note(moment, f"restarted: {reason}")
        stream = self.streams[moment.stream] = Stream(self.settings.plan_after(self.plan.evaluate, step), step)
        return stream

    def _evaluate(self, module: torch.nn.Module, forward: Callable[[], Any]) -> tuple[Any, list[torch.Tensor], Any]:
        """Run the network; return its result, the feature to keep, and how a result is made of such a feature."""
        if self.split is None:
            result = forward()
            form = Form.of(result)
            return result, form.take(result), form
        result, seen = self.split.evaluate(forward)
        form = Form.of(result)
        outputs = form.take(result)
        try:
            cut, tail = self.split.find(seen)
            key = (tuple(call.group for call in seen), str(cut.form.spec))
            if key not in self.proven:
                # What is not finite proves nothing, and is not kept; the next evaluation will do.
                if not all_finite(outputs, self.group):
                    return result, outputs, form
                # The proof runs the network again, which may write into the tensors that it gave the first time.
                result, tail = _copies(result), _copies(tail)
                self.proven[key] = self._prove(forward, result, cut, tail)
            cut = replace(cut, form=replace(cut.form, keep=self.proven[key]))
            return result, cut.form.take(tail), cut
        except SplitError as error:
            text = f"{type(module).__name__} cannot be split ({error}); outputs are forecast instead of features."
        warnings.warn(text, stacklevel=2)
        self.report.events.append(text)
        self.report.at, self.split = "output", None
        for name in [name for name, stream in self.streams.items() if stream.runs]:
            del self.streams[name]
        return result, form.take(result), form

    @torch.no_grad()
    def _prove(self, forward: Callable[[], Any], result: Any, cut: Cut, tail: Any) -> tuple[int, ...]:
        """Resume the network from the evaluation just made; return which of the tail's tensors that needs."""
        try:
            return self.split.prove(forward, result, cut, tail).form.keep
        except SplitError:
            raise
        except Exception as error:  # whatever a network's own code raises on a skipped block, it cannot be split
            raise SplitError(f"resumed from its last block, it raises {type(error).__name__}: {error}") from error

    def _keep(self, stream: Stream, moment: Moment, step: int, feature: list[torch.Tensor]) -> None:
        """Keep the feature of an evaluated step, if it can be forecast."""
        if not feature or not all(x.is_floating_point() for x in feature):
            self.plan = None
            self._note(moment, "nothing is forecast: the network's result holds no floating-point tensors alone")
        elif not all_finite(feature, self.group):
            self.streams.pop(moment.stream, None)
            self._note(moment, "its feature was not finite and is not kept")
        else:
            if not stream.fits(feature):
                stream = self._restart(moment, step, "its feature changed in shape or dtype")
            self.streams[moment.stream] = stream
            stream.keep(step, feature)
            held = sum(item.nbytes for item in self.streams.values())
            self.report.peak_bytes = max(self.report.peak_bytes, held)

    def _forecast(self, stream: Stream, step: int, forward: Callable[[], Any]) -> Any:
        """Return the network's result from a forecast; None where that is not finite or the blocks have changed."""
        forecast = stream.forecast(step)
        if not all_finite(forecast, self.group):
            return None
        if not isinstance(stream.form, Cut):
            return stream.form.build(forecast)
        try:
            return self.split.resume(forward, forecast, stream.form)
        except SplitError:
            return None

    def _finish(self, moment: Moment, step: int) -> None:
        """Let go of a stream's features after the run's last step."""
        if step == self.report.steps - 1:
            self.streams.pop(moment.stream, None)

    def _note(self, moment: Moment, text: str) -> None:
        self.report.events.append(f"step {moment.step - self.begin}, stream {moment.stream}: {text}")


def _copies(result: Any) -> Any:
    """Return a result of the same structure whose tensors are copies, part of the same graph of gradients."""
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, result)


def _describe(arguments: dict[str, Any]) -> str:
    """Shapes, dtypes and devices of what the network is called with, and whether it returns a tuple."""
    tensors = [x for x in pytree.tree_leaves(list(arguments.values())) if isinstance(x, torch.Tensor)][:1]
    words = [f"{str(x.dtype).removeprefix('torch.')}{tuple(x.shape)} on {x.device}" for x in tensors]
    return ", ".join([*words, *([] if arguments.get("return_dict", True) else ["as a tuple"])])
