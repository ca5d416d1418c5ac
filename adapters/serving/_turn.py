"""What becomes of one step of one request: is it forecast or evaluated, and what is kept of it?"""

import math
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from spectral_forecast.adapters._session import Stream, finite, magnitude
from spectral_forecast.adapters.serving._batches import described
from spectral_forecast.adapters.serving._report import PoolReport
from spectral_forecast.adapters.serving._request import OVERLOOKED, Branch, Request
from spectral_forecast.adapters.serving._rest import rest

__all__ = ["Turn"]


@dataclass(eq=False)
class Turn:
    """One step of one stream of a request. Nothing that the request holds changes before `commit`."""

    key: Any  # what the caller calls it
    request: Request
    branch: Branch
    step: int
    inputs: Any
    given: Hashable
    stream: Stream | None  # that it follows; None where nothing is forecast any more
    notes: list[str] = field(default_factory=list)
    restarts: int = 0
    forecast: list[torch.Tensor] | None = None
    output: Any = None
    feature: list[torch.Tensor] | None = None  # to be kept
    largest: float = 0.0  # of it, in absolute value
    form: Any = None  # how a result is put together from features
    seconds: float = 0.0  # in forecasting

    @classmethod
    def of(cls, key: Any, request: Request, branch: Branch, inputs: Any) -> "Turn":
        """Begin a step, with an empty stream if the inputs have changed."""
        turn = cls(key, request, branch, branch.step, inputs, described(inputs), branch.stream)
        turn.form = branch.form  # a request that leaves in mid-call lets go of its own
        if branch.stream is not None and branch.given not in (None, turn.given):
            turn.restart("its inputs changed in shape, dtype, device or kind")
        return turn

    def restart(self, why: str, after: int = 0) -> None:
        """Let go of what is kept, from this step or from the one ``after`` on."""
        begin = self.step + after
        self.restarts += 1
        self.notes.append(f"restarted: {why}")
        plan = self.request.plan
        self.stream = Stream(rest(plan, begin), begin, self.request.limit) if begin < plan.steps else None

    @property
    def sound(self) -> bool:
        """Whether the forecast, if there is one, is finite."""
        if self.forecast is None or self.stream is None or self.stream.bounded(self.step):
            return True
        return finite(self.forecast)

    def extrapolate(self) -> None:
        """Forecast, if the plan says so."""
        if self.stream is not None and not self.stream.evaluates(self.step):
            begun = time.perf_counter()
            self.forecast = self.stream.forecast(self.step)
            self.seconds += time.perf_counter() - begun

    def arrive(self, output: Any, feature: Sequence[torch.Tensor], form: Any) -> None:
        """Take over an evaluation, and its feature if that can be kept."""
        self.output, self.forecast = output, None
        if self.stream is None:
            return
        if not feature or not all(x.is_floating_point() for x in feature):
            self.stream = None
            self.notes.append("nothing is forecast: its feature holds no floating-point tensors alone")
        elif (need := self.request.plan.memory(list(feature))) > self.request._share:
            self.stream = None
            self.notes.append(f"nothing is forecast: features take {need} bytes, {self.request._share} were told")
        elif not math.isfinite(largest := magnitude(feature)):
            self.restart("its feature was not finite and is not kept", after=1)
        else:
            if not self.stream.fits(list(feature)):
                self.restart("its feature changed in shape, dtype or device")
            self.feature, self.largest, self.form = list(feature), largest, form

    def commit(self, counts: PoolReport) -> bool:
        """Make the step: keep its feature, and count it; False if its request has left meanwhile."""
        request, branch, told = self.request, self.branch, self.request._told
        if request.left:
            return False
        if branch.arrived is not None and OVERLOOKED not in told.events:
            told.events.append(OVERLOOKED)
        branch.arrived, branch.given = None, self.given
        for text in self.notes:
            request._note(branch, text)
        self._follow()
        if self.forecast is not None:
            counts.forecast += 1
            told.count_forecast(branch.name, self.step)
        else:
            counts.evaluated += 1
            told.count_evaluation(branch.name, self.step, self._keep())
        for report in (counts, told):
            report.restarts += self.restarts
            report.seconds += self.seconds
        branch.step += 1
        return True

    def _follow(self) -> None:
        """Let the branch go on with the stream that this step has chosen."""
        if self.stream is not None and self.stream is not self.branch.stream:
            self.request._followed[self.branch.name].append((self.stream.begin, self.stream.plan))
        self.branch.stream = self.stream

    def _keep(self) -> Any:
        """Keep the feature of an evaluation; returns the error of the forecast that it replaces, if there was one."""
        if self.stream is None or self.feature is None:
            return None
        known = self.stream.plan.weights[self.step - self.stream.begin].any()
        try:
            error = self.stream.keep(self.step, self.feature, self.largest)
        except (MemoryError, torch.OutOfMemoryError):
            self.branch.stream = None
            self.request._note(self.branch, "nothing is forecast any more: there was no memory to keep its feature")
            return None
        self.branch.form = self.form
        self.branch.arrived = self.step if self.stream.corrects(self.step) else None
        self.request._told.peak_bytes = max(self.request._told.peak_bytes, self.request.nbytes)
        return error if known else None
