"""Which step of which run is this call? Told by the timestep that the network is called with."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

__all__ = ["Clock", "Moment"]

# What pipelines make of a scheduler's timestep before the network sees it.
_MAPS: tuple[Callable[[float], float], ...] = (
    lambda t: t,
    lambda t: t / 1000.0,  # FLUX, Qwen-Image
    lambda t: 1.0 - t / 1000.0,  # Lumina, Z-Image: from noise at 0 to data at 1
)

ANOTHER = "was called at other times than the scheduler's: another pipeline's run, evaluated throughout"


class Moment(NamedTuple):
    """A call's place in time: step number (-1: not a time of the run), its stream, and what is odd about it."""

    step: int
    stream: str
    new_run: bool = False
    oddity: str = ""


class Clock:
    """Follows the calls of a network through its runs.

    A new run begins when the scheduler gets new timesteps or, for a network without a scheduler, when time turns
    back. Within a run, every call with a new timestep is the next step; calls with the same timestep are the
    streams of one step, told apart by their cache context or else by their order. A timestep that stands twice in
    the scheduler's list (Heun's method) is two steps.

    Parameters
    ----------
    used : Tensor, optional
        The scheduler's timesteps before the first call. A run that begins with timesteps of which no run is to be
        expected any more, and then leaves them, is another pipeline's: the clock is lost until there are new ones.
    streams : int
        Calls of a step, where that is known beforehand; one more call at the same timestep is then the next step. 0:
        the first step tells.
    length : int, optional
        Steps of a run, where no scheduler says it.
    """

    def __init__(self, used: Any = None, *, streams: int = 0, length: int | None = None) -> None:
        self.used = used
        self._given = streams
        self._length = length
        self._fresh = True  # whether the timesteps are of this run alone
        self._lost = False
        self._timesteps: Any = None  # the scheduler's own tensor; `is` tells one run's from the next
        self._times: list[float] = []  # the run's times as the network sees them; NaN where that is not known
        self._time: float | None = None
        self._direction = 0.0
        self._streams: list[str] = []
        self._width = streams  # of a step; if not given, known after the first
        self.step = -1

    def read(self, timestep: Any, context: str | None, timesteps: torch.Tensor | None) -> Moment:
        """Place a call that has ``timestep`` and cache ``context`` in a run with the scheduler's ``timesteps``."""
        # Tokens that only condition (a given first frame) are at time 0, so the largest time is the run's.
        time = float(timestep.max()) if isinstance(timestep, torch.Tensor) else float(timestep)
        floating = isinstance(timestep, torch.Tensor) and timestep.is_floating_point()
        tolerance = 2.0 * (torch.finfo(timestep.dtype).eps if floating else 1e-6)
        if timesteps is not self._timesteps:
            self._begin(timesteps, time, tolerance)
        if self._lost:
            return Moment(-1, context or "call 0", oddity=ANOTHER)
        if time == self._time:
            return self._again(time, context)
        step, before = self._find(time, tolerance), self._time
        stream = context or "call 0"
        if self.step == 0 and step == 1 and not self._given:
            self._width = len(self._streams)
        self._time, self._streams = time, [stream]
        if self._lost:
            return Moment(-1, stream, oddity=ANOTHER)
        if step < 0:
            return Moment(-1, stream, oddity=f"was called at {time:.6g}, not one of the scheduler's timesteps")
        new_run = self.step < 0 or step <= self.step
        self._fresh = self._fresh and not (new_run and self.step >= 0)
        self._direction = 0.0 if new_run or before is None else time - before
        self.step = step
        return Moment(step, stream, new_run)

    def remaining(self) -> int | None:
        """Steps from this one to the end of the run, this one included; None without a scheduler."""
        length = len(self._times) or self._length
        return length - self.step if length else None

    def _begin(self, timesteps: torch.Tensor | None, time: float, tolerance: float) -> None:
        """Take over a run's timesteps, as the network will see them."""
        self._timesteps, self._time, self._direction, self.step, self._width = timesteps, None, 0.0, -1, self._given
        self._times = []
        self._fresh, self._lost, self.used = timesteps is None or timesteps is not self.used, False, timesteps
        if timesteps is not None:
            listed = [float(t) for t in timesteps.tolist()]
            mapped = [[change(t) for t in listed] for change in _MAPS]
            best = min(mapped, key=lambda times: min(abs(t - time) for t in times))
            known = min(abs(t - time) for t in best) <= tolerance * max(abs(time), 1e-3)
            self._times = best if known else [math.nan] * len(listed)
            self._lost = not known and not self._fresh

    def _again(self, time: float, context: str | None) -> Moment:
        """Place a call at the timestep of the call before: another stream, or the same time's second step."""
        stream = context or f"call {len(self._streams)}"
        if stream not in self._streams and (context or not self._width or len(self._streams) < self._width):
            self._streams.append(stream)
            return Moment(self.step, stream)
        twice = 0 <= self.step < len(self._times) - 1 and self._times[self.step + 1] == self._times[self.step]
        if twice or (self._given and stream not in self._streams):
            self.step, self._streams = self.step + 1, [context or "call 0"]
            return Moment(self.step, self._streams[0])
        if stream not in self._streams:
            self._streams.append(stream)
            return Moment(self.step, stream)
        if self._times or self.step > 0:
            return Moment(self.step, stream, oddity="was called twice at one timestep")
        self._time, self._streams = time, [stream]
        return Moment(0, stream, new_run=True)

    def _find(self, time: float, tolerance: float) -> int:
        """Find the step at ``time``: the next one if it fits, else the nearest; -1 if none does."""
        if not self._times or math.isnan(self._times[0]):
            turned = self._time is not None and (time - self._time) * self._direction < 0.0
            return 0 if turned or (self._times and self.step + 1 >= len(self._times)) else self.step + 1
        misses = [abs(t - time) for t in self._times]
        allowed = tolerance * max(abs(time), 1e-3)
        if self.step + 1 < len(misses) and misses[self.step + 1] <= allowed:
            return self.step + 1
        nearest = min(range(len(misses)), key=misses.__getitem__)
        if not self._fresh and self.step >= 0 and nearest > 0:
            self._lost = True
            return -1
        if misses[nearest] > allowed and self.step == 0:
            # That the first time fitted was chance. Some other function of time is followed by counting its changes.
            self._times = [math.nan] * len(self._times)
            return 1
        return nearest if misses[nearest] <= allowed else -1
