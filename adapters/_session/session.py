"""What happens at each call of a network? The state of one accelerated network, whichever adapter it belongs to."""

import copy
import math
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from spectral_forecast import Plan
from spectral_forecast.adapters._session.caches import contents, is_cache, leaves, written
from spectral_forecast.adapters._session.clock import Clock, Moment
from spectral_forecast.adapters._session.gated import Gated
from spectral_forecast.adapters._session.owner import Owner
from spectral_forecast.adapters._session.place import Place, UnfitError, magnitude
from spectral_forecast.adapters._session.report import Report
from spectral_forecast.adapters._session.settings import Choice, Settings, even
from spectral_forecast.adapters._session.stream import Stream

__all__ = ["Session"]

GONE = "the pipeline that was accelerated is gone, and its scheduler with it; call `restore`, and `accelerate` another."


class Arrival(NamedTuple):
    """An evaluation on which the plan corrects the sample, and the thread that is to ask for it."""

    stream: Stream
    step: int
    thread: int


class Session:
    """Evaluates a network or forecasts, as the plan says and as far as everything is as expected.

    Parameters
    ----------
    name : str
        Of the network, for the report.
    settings : Settings
    place : Place
        Where features are taken and put back.
    magnitude : callable
        The largest absolute value in tensors, infinity where one is not finite; of all processes that share the
        network.
    choose : callable
        Maps the number of steps of a run and the number of evaluations asked for to a `Choice` of schedule.
    planned : callable
        Told that a run begins that follows the plan of the settings; returns what is to be noted about it.
    agreed : callable
        Makes one number of those that the processes sharing the network have.
    clock : callable
        Makes a `Clock` of the timesteps used before.
    used : Tensor, optional
        The scheduler's timesteps before the first call.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        place: Place,
        *,
        magnitude: Callable[[Sequence[torch.Tensor]], float] = magnitude,
        choose: Callable[[int, int], Choice] = even,
        planned: Callable[[], str] = str,  # nothing
        agreed: Callable[[float], float] = float,
        clock: Callable[[Any], Clock] = Clock,
        used: Any = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.place = place
        self.magnitude = magnitude
        self.choose = choose
        self.planned = planned
        self.agreed = agreed
        self.gated: Gated | None = None
        self.make_clock = clock
        self.clock = clock(used)
        self.report = Report(name, place.at, str(settings))
        self.plan: Plan | None = None
        self.begin = 0
        self.levels: tuple[float, ...] | None = None  # of noise, at the run's steps and its end
        self.streams: dict[str, Stream] = {}
        self.followed: dict[str, list[tuple[int, Plan]]] = {}  # each stream's plans in this run
        self.arrived: Arrival | None = None  # by the newest call
        self.calls = self.forecasts = 0  # since the beginning, for whoever asks what has happened meanwhile
        self.owner = Owner()
        self.others_event: int | None = None  # where the report tells of other threads
        self.width = 1  # most streams at a time, which share the memory

    def call(
        self,
        forward: Callable[..., Any],
        arguments: dict[str, Any],
        timestep: Any,
        *,
        context: str | None = None,
        timesteps: torch.Tensor | None = None,
    ) -> Any:
        """Return the network's result at ``timestep``: ``forward()``, or a forecast of it.

        Parameters
        ----------
        forward : callable
            Evaluates the network; called again to prove and to resume.
        arguments : dict
            What the network is called with; when that changes its form in mid-run, the features kept are dropped.
        timestep : Tensor or float
        context : str, optional
            Name of the guidance branch; without one, branches are told apart by their order.
        timesteps : Tensor, optional
            The scheduler's list.
        """
        if not self.owner.claim(timesteps):
            self._note_others()
            return forward()
        self.calls += 1
        self.arrived = None
        moment = self._moment(timestep, context, timesteps)
        step = moment.step - self.begin
        if moment.step < 0 or self.plan is None:
            if moment.step >= 0:
                self.report.count_evaluation(moment.stream, step, None)
            return forward()
        given = _describe(arguments)
        stream = self._stream(moment, step, given)
        self.place.enter(arguments, self.plan.steps - step)
        if self.gated is not None and self.gated.evaluates(step) and not stream.evaluates(step):
            self._insert(stream, moment, step)
        if not stream.evaluates(step):
            result = self._forecast(stream, step, forward)
            if result is not None:
                self.forecasts += 1
                self.report.count_forecast(moment.stream, step)
                self._finish(moment, step)
                return result
            stream = self._restart(moment, step, "its forecast was not finite, or did not fit the network")
        before = contents(arguments)
        evaluation = self.place.evaluate(forward, before)
        if written(before, contents(arguments)):
            self.streams.pop(moment.stream, None)
            self._note(moment, "it writes into its cache, and its feature is not kept")
            self.report.count_evaluation(moment.stream, step, None)
            return evaluation.result
        if evaluation.event:
            self._give_up(evaluation.event)
            if moment.stream not in self.streams:
                stream = self._restart(moment, step, "what is kept has changed")
        stream, error = self._keep(stream, moment, step, evaluation.feature)
        stream.form, stream.input = evaluation.form, given
        self.report.count_evaluation(moment.stream, step, error)
        self._finish(moment, step)
        return evaluation.result

    def reset(self) -> None:
        """Let go of all features."""
        self.owner.release()
        self.streams.clear()
        self.arrived = None
        self.clock = self.make_clock(self.clock.used)

    def end(self, timesteps: Any = None) -> None:
        """Let go of all features, unless they are those of a run in progress in another thread."""
        with self.owner.lock:
            if not self.busy(timesteps):
                self.reset()

    def expect(self, error: torch.Tensor, doubt: torch.Tensor, gap: int) -> None:
        """Be told the relative error of the newest forecast, and that to be expected of the next ones, by items.

        Both are of forecasts that go ``gap`` steps ahead.
        """
        if self.gated is not None:
            self.gated.expect(error)
        for stream in self.streams.values():
            stream.expect(doubt / gap)

    def busy(self, timesteps: Any = None) -> bool:
        """Whether a run is in progress in another thread."""
        return self.owner.busy(timesteps)

    def told(self) -> Report:
        """Return a copy of the report, with the errors of forecasts estimated."""
        told = copy.deepcopy(self.report)
        told.read()
        told.estimate(self.followed, self.levels if self.settings.default else None)
        return told

    def sound(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether tensors are finite, for all processes that share the network."""
        return math.isfinite(self.magnitude(tensors))

    def _note_others(self) -> None:
        """Say how many calls came from other threads, in one event of the report."""
        with self.owner.lock:
            events = self.report.events
            if self.others_event is None:
                self.others_event = len(events)
                events.append("")
            events[self.others_event] = (
                f"calls from another thread came in between: {self.owner.others}; "
                "each was evaluated, and nothing else done"
            )

    def _moment(self, timestep: Any, context: str | None, timesteps: torch.Tensor | None) -> Moment:
        """Place the call in time; begin a run where one begins."""
        moment = self.clock.read(timestep, context, timesteps)
        if moment.new_run:
            self._begin(moment)
        elif moment.step >= 0 and self.plan and moment.step - self.begin >= self.plan.steps:
            self._note(moment, f"the plan has {self.plan.steps} steps and is over")
            self.plan = None
        elif moment.step < 0 and not (self.report.events and self.report.events[-1].endswith(moment.oddity)):
            self._note(moment, moment.oddity)
        return moment

    def _begin(self, moment: Moment) -> None:
        """Begin a run: forget the last one, and plan this one."""
        self.streams.clear()
        self.followed.clear()
        self.begin = moment.step
        steps = self.clock.remaining()
        with self.owner.lock:
            self.report = Report(self.name, self.place.at, str(self.settings), runs=self.report.runs + 1)
            self.owner.others, self.others_event = 0, None
        self.plan = self._plan(moment, steps)
        self.report.steps = self.plan.steps if self.plan else steps or 0

    def _plan(self, moment: Moment, steps: int | None) -> Plan | None:
        """Return the plan of a run that begins, and note why it is not what was asked for."""
        settings = self.settings
        if settings.plan is not None:
            plan = settings.plan_for(steps, self.begin)
            if plan is None:
                self._note(moment, f"the plan is for {settings.plan.steps} steps, the run has {steps}")
            elif why := self.planned():
                self._note(moment, why)
            return plan
        before = self.begin if settings.shared else 0
        choice = Choice(None, GONE) if steps is None else self.choose(before + steps, settings.evaluations or 0)
        if choice.why:
            self._note(moment, choice.why)
        if choice.evaluate is None:
            warnings.warn(f"Nothing is forecast: {choice.why}", stacklevel=2)
            return None
        self.levels = None if choice.levels is None else choice.levels[-steps - 1 :]
        self.gated = None if choice.gate is None else Gated(choice.gate, self.agreed)
        return settings.plan_for(steps, self.begin, choice)

    def _insert(self, stream: Stream, moment: Moment, step: int) -> None:
        """Evaluate at a step more than the stream's plan does."""
        plan = self.settings.grown(stream.plan, step - stream.begin, stream.begin, self.levels)
        stream.follow(plan)
        self.followed[moment.stream][-1] = (stream.begin, plan)

    def _stream(self, moment: Moment, step: int, given: dict[str, str]) -> Stream:
        """Return the stream that the call belongs to, restarted if something about the call is unexpected."""
        stream = self.streams.get(moment.stream)
        if stream is None:
            if step > 0:
                return self._restart(moment, step, "was first seen in the middle of the run")
            return self._open(moment, Stream(self.plan, 0, self.settings.limit, self.settings.memory))
        if moment.oddity:
            return self._restart(moment, step, moment.oddity)
        if not stream.ready(step):
            return self._restart(moment, step, "an evaluation before this step is missing")
        if stream.input != given and stream.runs:
            name = next(name for name in {**stream.input, **given} if stream.input.get(name) != given.get(name))
            before, now = (one.get(name, "nothing") for one in (stream.input, given))
            return self._restart(moment, step, f"its input `{name}` changed from {before} to {now}")
        return stream

    def _restart(self, moment: Moment, step: int, reason: str) -> Stream:
        """Begin a stream anew at this step: evaluate, and a few steps more."""
        self.report.restarts += 1
        self._note(moment, f"restarted: {reason}")
        plan = self.settings.plan_after(self.plan.evaluate, step, self.levels)
        return self._open(moment, Stream(plan, step, self.settings.limit, self.settings.memory))

    def _open(self, moment: Moment, stream: Stream) -> Stream:
        self.streams[moment.stream] = stream
        self.followed.setdefault(moment.stream, []).append((stream.begin, stream.plan))
        return stream

    def _give_up(self, event: str) -> None:
        """Features are taken elsewhere from now on: those of streams that have some are dropped."""
        warnings.warn(event, stacklevel=2)
        self.report.events.append(event)
        self.report.at = self.place.at
        for name in [name for name, stream in self.streams.items() if stream.runs]:
            del self.streams[name]

    def _keep(
        self, stream: Stream, moment: Moment, step: int, feature: list[torch.Tensor]
    ) -> tuple[Stream, torch.Tensor | None]:
        """Keep the feature of an evaluated step, if it can be forecast.

        Returns the stream that it was kept in, and the relative error of the forecast that it replaces.
        """
        if not feature or not all(x.is_floating_point() for x in feature):
            self.plan = None
            self._note(moment, "nothing is forecast: the network's result holds no floating-point tensors alone")
            return stream, None
        largest = self.magnitude(feature)
        if not math.isfinite(largest):
            self.streams.pop(moment.stream, None)
            self._note(moment, "its feature was not finite and is not kept")
            return stream, None
        if not stream.fits(feature):
            stream = self._restart(moment, step, "its feature changed in shape or dtype")
        self.streams[moment.stream] = stream
        if not stream.runs and not self._house(stream, moment, feature):
            return stream, None
        error = stream.keep(step, feature, largest)
        if self.gated is not None:
            self.gated.saw(step, error)
        if stream.corrects(step):
            self.arrived = Arrival(stream, step, threading.get_ident())
        held = sum(item.nbytes for item in self.streams.values())
        self.report.peak_bytes = max(self.report.peak_bytes, held)
        by_host = sum(item.nbytes for item in self.streams.values() if item.host)
        self.report.host_bytes = max(self.report.host_bytes, by_host)
        return stream, error

    def _house(self, stream: Stream, moment: Moment, feature: list[torch.Tensor]) -> bool:
        """Decide how a stream's features are held, before the first one is; False if they are not."""
        self.width = max(self.width, len(self.streams))
        holding = self.settings.memory.hold(stream.plan, feature, self.width, fixed=self.settings.fixed)
        if holding is None:
            if self.place.retreat():
                self._give_up(f"{self.name}: features do not fit into `max_bytes`; outputs are forecast instead.")
            else:
                self.plan = None
                self._note(moment, "nothing is forecast: what is to be kept does not fit into `max_bytes`")
            return False
        if holding.why:
            self._note(moment, holding.why)
        if holding.rows < stream.plan.kept:
            stream.plan = self.settings.smaller(stream.plan, holding.rows, stream.begin, self.levels)
            self.followed[moment.stream][-1] = (stream.begin, stream.plan)
        stream.host = holding.host
        room = self.settings.memory.max_bytes
        for name, other in list(self.streams.items()):
            if room is not None and not other.host and other.nbytes > room // self.width:
                del self.streams[name]
                self._note(moment, f"stream {name} begins anew, since {self.width} share `max_bytes`")
        return True

    def _forecast(self, stream: Stream, step: int, forward: Callable[..., Any]) -> Any:
        """Return the network's result from a forecast; None where that is not finite or the network has changed."""
        begun = time.perf_counter()
        forecast = stream.forecast(step)
        sound = stream.bounded(step) or self.sound(forecast)
        self.report.seconds += time.perf_counter() - begun
        if not sound:
            return None
        try:
            return self.place.resume(forward, forecast, stream.form)
        except UnfitError:
            return None

    def _finish(self, moment: Moment, step: int) -> None:
        """Let go of a stream's features after the run's last step."""
        if step == self.report.steps - 1:
            self.streams.pop(moment.stream, None)
            # With a scheduler, its own last step is still to come; the run is over when that is reset or begins anew.
            if not self.streams and self.owner.timesteps is None:
                self.owner.release()

    def _note(self, moment: Moment, text: str) -> None:
        self.report.events.append(f"step {moment.step - self.begin}, stream {moment.stream}: {text}")


def _describe(arguments: dict[str, Any]) -> dict[str, str]:
    """For each argument of the network's call the shapes and dtypes of its tensors, or what it switches on or off."""
    return {name: words for name, value in arguments.items() if (words := _words(name, value))}


def _words(name: str, value: Any) -> str:
    if isinstance(value, bool | str):
        return repr(value)
    if is_cache(name):
        return ", ".join(sorted({repr(leaf) for leaf in leaves(value) if isinstance(leaf, bool | str)}))
    tensors = [x for x in pytree.tree_leaves(value) if isinstance(x, torch.Tensor)]
    return ", ".join(f"{str(x.dtype).removeprefix('torch.')}{tuple(x.shape)} on {x.device}" for x in tensors)
