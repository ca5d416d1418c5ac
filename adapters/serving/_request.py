"""What does one request hold? Its plan, what is kept for it, and how far it has come."""

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from spectral_forecast import Plan
from spectral_forecast.adapters._session import Report, Stream, finite

if TYPE_CHECKING:
    from spectral_forecast.adapters.serving._pool import Pool

__all__ = ["Branch", "Request"]

OVERLOOKED = "the plan's corrections are not made: write `x = request.correct(x)` after the call of the pool"


@dataclass(eq=False)
class Branch:
    """One stream of features of a request."""

    name: str
    stream: Stream | None  # None where nothing is kept: nothing can be forecast, or the request has left
    step: int = 0  # that comes next
    given: Hashable = None  # what the inputs of the newest step were
    form: Any = None  # how a result is put together from features
    arrived: int | None = None  # the step on which the sample may be corrected now


class Request:
    """One run among those that share a network. Made by `Pool.join`.

    Attributes
    ----------
    plan : Plan
        As given to `Pool.join`, like the next two.
    limit : float or None
    streams : tuple of str
    number : int
        How many joined the pool before it, and it.
    finished : bool
        Whether it has done all its steps.
    left : bool
        Whether it was taken out before, by `leave`.
    """

    def __init__(
        self, pool: "Pool", number: int, plan: Plan, streams: Sequence[str], *, share: int, limit: float | None
    ) -> None:
        self.plan = plan
        self.limit = limit
        self.streams = tuple(streams)
        self._share = share  # bytes of one stream that were told beforehand
        self.finished = self.left = False
        self._pool = pool
        self.number = number
        self._branches = {name: Branch(name, Stream(plan, 0, limit)) for name in streams}
        told = f"plan{', guarded' * (limit is not None)}"
        self._told = Report(pool._network.name, pool._network.at, told, runs=1, steps=plan.steps)
        self._followed = {name: [(0, plan)] for name in streams}  # the plans of each stream, for the report

    @property
    def step(self) -> int:
        """The step that comes next, in the stream that has come least far."""
        return min(branch.step for branch in self._branches.values())

    @property
    def evaluates(self) -> bool:
        """Whether the network is to run at `step`; False when the request is over.

        The steps of requests for which it does not cost next to nothing. A server that calls these alone, and all
        requests only when there are none left, gives the network its largest batches. A forecast that turns out not to
        be finite is evaluated all the same.
        """
        with self._pool._lock:
            step = self.step
            if self.left or step == self.plan.steps:
                return False
            nexts = [branch.stream for branch in self._branches.values() if branch.step == step]
            return any(stream is None or stream.evaluates(step) for stream in nexts)

    @property
    def nbytes(self) -> int:
        """Bytes that its kept features take."""
        streams = [branch.stream for branch in self._branches.values()]
        return sum(stream.nbytes for stream in streams if stream is not None)

    @property
    def report(self) -> Report:
        """What was done so far; a copy. It can be read when the request is over, too."""
        with self._pool._lock:
            told, followed = copy.deepcopy(self._told), copy.deepcopy(self._followed)
        told.read()
        told.estimate(followed)
        return told

    def leave(self) -> None:
        """Let go of all features, at once and at any step; what is already over stays as it is."""
        self._pool.leave(self)

    def correct(self, x: torch.Tensor, *, limit: float | None = 0.2) -> torch.Tensor:
        """Return the sample, moved by what an evaluation says of the forecasts before it.

        Call it after `Pool.call` and before the sampler's update, at every step; see `Run.correct`. A request whose
        plan corrects at its last step stays in until that is done.

        Parameters
        ----------
        x : Tensor
            The sample, of the outputs' shape. It is not changed.
        limit : float, optional
            The relative error of the forecast that this evaluation replaced, at which half of the correction is made.
            None makes all of it.

        Returns
        -------
        Tensor
            ``x`` itself where nothing is corrected.
        """
        with self._pool._lock:
            branch = self._branches[self.streams[0]]
            stream, step = branch.stream, branch.arrived
        if stream is None or step is None:
            return x
        moved, error, part = stream.correct(step, x, limit)
        sound = finite([moved])
        with self._pool._lock:
            branch.arrived = None
            if sound:
                self._told.corrections.append((step, error, part))
            self._pool._end(self)
        return moved if sound else x

    def _note(self, branch: Branch, text: str) -> None:
        """Put down what was unexpected about the step that comes next."""
        self._told.events.append(f"step {branch.step}, stream {branch.name}: {text}")

    def __repr__(self) -> str:
        state = "left at" if self.left else "finished," if self.finished else "step"
        return f"<Request {self.number}: {state} {self.step} of {self.plan.steps}>"
