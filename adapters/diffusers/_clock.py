"""Which step of which run is this call? Told by the timestep that the network is called with."""

from typing import Any, NamedTuple

import torch

__all__ = ["Clock", "Moment"]


class Moment(NamedTuple):
    """A call's place in time: step number (-1: not a time of the run), its stream, and what is odd about it."""

    step: int
    stream: str
    new_run: bool = False
    oddity: str = ""


class Clock:
    """Follows the calls of a network through its runs.

    A new run begins when the scheduler gets new timesteps or, for a network without a scheduler, when time goes
    back. Within a run, every call with a new timestep is the next step; calls with the same timestep are the
    streams of one step, told apart by their cache context or else by their order.
    """

    def __init__(self) -> None:
        self._timesteps: Any = None  # the scheduler's own tensor; `is` tells one run's from the next
        self._times: list[float] = []
        self._scale = 1.0
        self._time: float | None = None
        self._streams: list[str] = []
        self.step = -1

    def read(self, timestep: Any, context: str | None, timesteps: torch.Tensor | None) -> Moment:
        """Place a call that has ``timestep`` and cache ``context`` in a run with the scheduler's ``timesteps``."""
        # Tokens that only condition (a given first frame) are at time 0, so the largest time is the run's.
        time = float(timestep.max()) if isinstance(timestep, torch.Tensor) else float(timestep)
        if timesteps is not self._timesteps:
            self._begin(timesteps, time)
        if time == self._time:
            stream = context or f"call {len(self._streams)}"
            if stream not in self._streams:
                self._streams.append(stream)
                return Moment(self.step, stream)
            if self._times or self.step > 0:
                return Moment(self.step, stream, oddity="was called twice at one timestep")
            self._time = None
        tolerance = torch.finfo(timestep.dtype).eps if _is_floating(timestep) else 1e-6
        before, self._time = self._time, time
        stream = context or "call 0"
        self._streams = [stream]
        step = self._find(time, before, 2.0 * tolerance)
        if step < 0:
            return Moment(-1, stream, oddity=f"was called at {time:.6g}, not one of the scheduler's timesteps")
        new_run = self.step < 0 or step <= self.step
        self.step = step
        return Moment(step, stream, new_run)

    def remaining(self) -> int | None:
        """Steps from this one to the end of the run, this one included; None without a scheduler."""
        return len(self._times) - self.step if self._times else None

    def _begin(self, timesteps: torch.Tensor | None, time: float) -> None:
        """Take over a run's timesteps, and whether the network sees them divided by 1000."""
        self._timesteps, self._time, self.step = timesteps, None, -1
        self._times = [] if timesteps is None else [float(t) for t in timesteps.tolist()]
        if self._times:
            self._scale = min((1.0, 1e-3), key=lambda scale: min(abs(scale * t - time) for t in self._times))

    def _find(self, time: float, before: float | None, tolerance: float) -> int:
        """Find the step at ``time``: the next one if it fits, else the nearest; -1 if none does."""
        if not self._times:
            # Samplers go from noise to data, which is downwards in every diffusers scheduler.
            return self.step + 1 if before is not None and time < before else 0
        misses = [abs(self._scale * t - time) for t in self._times]
        allowed = tolerance * max(abs(time), 1e-3)
        if self.step + 1 < len(misses) and misses[self.step + 1] <= allowed:
            return self.step + 1
        nearest = min(range(len(misses)), key=misses.__getitem__)
        return nearest if misses[nearest] <= allowed else -1


def _is_floating(timestep: Any) -> bool:
    return isinstance(timestep, torch.Tensor) and timestep.is_floating_point()
