"""Who shares the network, and how many bytes may they hold?"""

import threading
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal

from spectral_forecast import Plan
from spectral_forecast.adapters.serving._batches import alike, concatenate, split
from spectral_forecast.adapters.serving._network import Network
from spectral_forecast.adapters.serving._report import PoolReport
from spectral_forecast.adapters.serving._request import Branch, Request
from spectral_forecast.adapters.serving._turn import Turn

__all__ = ["FullError", "Pool"]


class FullError(RuntimeError):
    """There are not enough bytes left for a request now; there are when others have left."""


class Pool:
    """Requests that share one network ``model(x, t, ...)``, each with a plan and features of its own.

    Parameters
    ----------
    model : callable
        Maps a batch to a tensor, or to a structure of tensors, in which items do not see each other.
    at : {"output", "features"}
        What is forecast. "features" asks for a resumable model, as for `adapters.torch.Accelerator`: it returns the
        output and a feature, and computes both from a feature that it is given as ``feature=``.
    max_bytes : int, optional
        That kept features may take, all requests together.
    max_batch : int, optional
        Items in one call of the model. A request that has more of its own runs alone.
    key, collate, split : callable, optional
        Which requests go together, how, and how results are taken apart: `alike`, `concatenate` and `split`, if not
        given, which see to tensors whose first axis counts items. ``key(inputs)`` is equal for inputs that
        ``collate([inputs, ...])`` can make one, and ``split(output, [inputs, ...])`` gives one output each.

    Notes
    -----
    Requests may join and leave from any thread, also while `call` runs; calls themselves take turns. One that leaves
    in mid-call gets no output of it, and what the call still reads of its features is gone when the call ends. The pool
    does not hold requests alive: one that nobody knows any more takes no bytes.

    A request's outputs are those of its run alone, as far as the model's are: sums in a larger batch may be taken in
    another order, which changes the last digits. With ``max_batch=1`` each runs alone, and is equal to the last bit.

    Whatever is unexpected about a step of a request (a feature that is not finite, other shapes or dtypes than before)
    lets it be evaluated, with a reason in its report; the others do not notice.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        at: Literal["output", "features"] = "output",
        max_bytes: int | None = None,
        max_batch: int | None = None,
        key: Callable[[Any], Hashable] = alike,
        collate: Callable[[Sequence[Any]], Any] = concatenate,
        split: Callable[[Any, Sequence[Any]], list[Any]] = split,
    ) -> None:
        callables = {"model": model, "key": key, "collate": collate, "split": split}
        for name, given in callables.items():
            if not callable(given):
                raise TypeError(f"`{name}` is {type(given).__name__}; write a callable.")
        if at not in ("output", "features"):
            raise ValueError(f'`at` is {at!r}; write "output" or "features".')
        for name, count in (("max_bytes", max_bytes), ("max_batch", max_batch)):
            if count is not None and (not isinstance(count, int) or count < 1):
                raise ValueError(f"`{name}` is {count!r}; write a whole number, 1 or more, or leave it out.")
        self.max_bytes = max_bytes
        self._network = Network(model, at, most=max_batch, key=key, collate=collate, split=split)
        self._lock = threading.RLock()  # of who is in and what they hold
        self._calling = threading.RLock()  # of the network
        self._requests: weakref.WeakValueDictionary[int, Request] = weakref.WeakValueDictionary()
        self._counts = PoolReport()

    @property
    def requests(self) -> tuple[Request, ...]:
        """The requests that are in, in the order in which they joined."""
        with self._lock:
            return tuple(self._requests.values())

    @property
    def nbytes(self) -> int:
        """Bytes that kept features take."""
        with self._lock:
            return sum(request.nbytes for request in self.requests)

    @property
    def reserved(self) -> int:
        """Bytes that kept features of the requests that are in may take; never more than ``max_bytes``."""
        return sum(request._share * len(request.streams) for request in self.requests)

    @property
    def report(self) -> PoolReport:
        """What was done so far; a copy."""
        with self._lock:
            now = {"requests": len(self.requests), "nbytes": self.nbytes, "reserved": self.reserved}
            return PoolReport(**{**vars(self._counts), **now, "calls": self._network.calls})

    def admits(self, plan: Plan, feature: Any, *, streams: Sequence[str] = ("call 0",)) -> bool:
        """Whether a request that would `join` like this finds enough bytes now."""
        need = plan.memory(feature) * len(streams)
        return self.max_bytes is None or self.reserved + need <= self.max_bytes

    def join(
        self, plan: Plan, feature: Any, *, streams: Sequence[str] = ("call 0",), limit: float | None = None
    ) -> Request:
        """Let a request in.

        Parameters
        ----------
        plan : Plan
            What `make_plan` returned. It counts the calls of a run, one stream's.
        feature : Tensor, or list, tuple or dict of them
            One feature of this request, or its description (a tensor on the "meta" device): an output of the model, or
            with ``at="features"`` what the model returns next to it. Only shapes and dtypes are looked at, to reserve
            ``plan.memory(feature)`` bytes for each stream.
        streams : sequence of str
            Names of guidance branches that the model is called with one by one. Each has features of its own.
        limit : float, optional
            Guard forecasts by the errors that the request's own evaluations show, see `GuardedRun`; 0.4 is the default
            of the other adapters (`spectral_forecast.guarded.LIMIT`).

        Returns
        -------
        Request

        Raises
        ------
        FullError
            If there are too few bytes now. Wait until a request has left.
        ValueError
            If there are too few for it even when it is alone; if the plan corrects a sample, but features are kept or
            there are several streams, or a ``limit`` is given.
        TypeError
            If ``plan`` or ``feature`` is something else.
        """
        if not isinstance(plan, Plan):
            raise TypeError(f"`plan` is {type(plan).__name__}; write what `make_plan` returned.")
        if isinstance(streams, str) or not streams or len(set(streams)) < len(streams):
            raise ValueError(f'`streams` is {streams!r}; write a list of different names, such as ["cond", "uncond"].')
        if plan.correction.any() and (self._network.at == "features" or len(streams) > 1):
            raise ValueError(
                "`plan` has a corrector, which acts on the outputs of one stream; make the plan without one, or write "
                '`at="output"` and one stream.'
            )
        plan.start(limit=limit)  # says what is wrong with the two
        share = plan.memory(feature)
        with self._lock:
            self._check_bytes(share * len(streams))
            self._counts.joined += 1
            request = Request(self, self._counts.joined, plan, streams, share=share, limit=limit)
            self._requests[request.number] = request
        return request

    def call(self, inputs: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return the outputs of one step of each request: evaluated together, or forecast.

        Parameters
        ----------
        inputs : dict
            For each request, or each pair ``(request, stream)`` where there are several streams, what the model is
            called with: a tuple ``(x, t, ...)``, or a dict of named arguments.

        Returns
        -------
        dict
            The outputs, without those of requests that have left.

        Raises
        ------
        ValueError
            If a request belongs to another pool or has done all its steps, or if a stream has no such name.
        TypeError
            If a key or a value is of another kind.
        Exception
            Whatever the model raises, with a note that names the requests in the batch. All requests are then as they
            were, and the call can be repeated.
        """
        with self._calling:
            with self._lock:
                turns = self._turns(inputs)
            self._network.run(turns)
            with self._lock:
                outputs = {turn.key: turn.output for turn in turns if turn.commit(self._counts)}
                self._counts.ticks += 1
                self._counts.peak_bytes = max(self._counts.peak_bytes, self.nbytes)
                for request in {turn.request for turn in turns}:
                    self._end(request)
            return outputs

    def leave(self, request: Request) -> None:
        """Take a request out, at any step, and let go of its features; one that is over stays as it is."""
        with self._lock:
            self._check_ours(request)
            if not (request.finished or request.left):
                request.left = True
                self._counts.left += 1
                self._release(request)

    def _end(self, request: Request) -> None:
        """Let go of a request that has done all its steps and has nothing to correct; others stay as they are."""
        over = request.step == request.plan.steps
        waits = any(branch.arrived is not None for branch in request._branches.values())
        if over and not waits and not (request.finished or request.left):
            request.finished = True
            self._counts.finished += 1
            self._release(request)

    def _release(self, request: Request) -> None:
        self._requests.pop(request.number, None)
        for branch in request._branches.values():
            branch.stream = branch.form = branch.arrived = None

    def _turns(self, inputs: Mapping[Any, Any]) -> list[Turn]:
        """Check what a call was given, and begin the steps."""
        turns: dict[Branch, Turn] = {}
        for key, given in inputs.items():
            request, branch = self._branch(key)
            if not isinstance(given, tuple | Mapping):
                raise TypeError(
                    f"`inputs[{key!r}]` is {type(given).__name__}; write a tuple `(x, t, ...)` or a dict of arguments."
                )
            if branch in turns:
                raise ValueError(f"`inputs` name {request!r} twice; write one step of each stream.")
            if branch.step == request.plan.steps:
                raise ValueError(f"`inputs`: {request!r} has done all its steps; let a new one `join`.")
            if not request.left:
                turns[branch] = Turn.of(key, request, branch, given)
        return list(turns.values())

    def _branch(self, key: Any) -> tuple[Request, Branch]:
        """Find what a key of `call` means."""
        request, name = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
        self._check_ours(request)
        if name is None and len(request.streams) == 1:
            name = request.streams[0]
        if name not in request._branches:
            raise ValueError(
                f"`inputs`: {request!r} has no stream {name!r}; write (request, stream) with one of "
                f"{', '.join(map(repr, request.streams))}."
            )
        return request, request._branches[name]

    def _check_ours(self, request: Any) -> None:
        if not isinstance(request, Request):
            raise TypeError(f"`request` is {type(request).__name__}; write what `join` returned, or (request, stream).")
        if request._pool is not self:
            raise ValueError(f"`request`: {request!r} joined another pool; call that one.")

    def _check_bytes(self, need: int) -> None:
        """Raise if a request cannot be let in."""
        if self.max_bytes is None or self.reserved + need <= self.max_bytes:
            return
        if need > self.max_bytes:
            raise ValueError(
                f"`plan` keeps features of {need} bytes, and `max_bytes` is {self.max_bytes}; write a larger one, or "
                "make the plan with a smaller `keep`."
            )
        self._counts.refused += 1
        raise FullError(
            f"`plan` keeps features of {need} bytes, and {self.max_bytes - self.reserved} of {self.max_bytes} are "
            "free; wait until a request has left (`pool.admits(...)` tells), or make the plan with a smaller `keep`."
        )
