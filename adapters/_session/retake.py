"""How are skipped steps mended on arrival at an evaluated one? They are taken again, with better outputs.

Between two evaluations a sampler steps with forecasts, which extrapolate. On arrival at the next evaluation the same
outputs can be interpolated, and the skipped steps be taken again with them: predict, evaluate, correct
(`spectral_forecast.corrector`). The network is not called. Taking them again with the sampler's own steps is right for
samplers of every order and for whatever they make of an output; and since a sampler is given the guided output, it does
not matter where in the network was forecast, nor how often the network is called at a step.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch.utils import _pytree as pytree

from spectral_forecast import Corrector, Newton, combine
from spectral_forecast.adapters._session.place import finite
from spectral_forecast.adapters._session.session import Session
from spectral_forecast.corrector import guard
from spectral_forecast.guarded import Doubts, norms
from spectral_forecast.ring import Misses

__all__ = ["LIMIT", "Frame", "Mend", "Retake", "Steps", "Take", "relative"]

# Relative change of a skipped step's velocity at which half of it is made.
LIMIT = 0.2

# Of the sample's error in what its gaps were found to be off by, before correction; docs/tolerance.md.
SHARE = 0.6

Take: TypeAlias = Callable[[Any, torch.Tensor], Any]  # one step of the sampler: (x, output) -> result


def _itself(output: torch.Tensor, _x: Any) -> torch.Tensor:
    return output


class Frame(NamedTuple):
    """In which time a step is interpolated, and what of its output: itself, or its velocity, say."""

    time: float
    of: Callable[[torch.Tensor, Any], torch.Tensor] = _itself  # an output, for ``x``
    back: Callable[[torch.Tensor, Any], torch.Tensor] = _itself
    blind: bool = False  # whether the first output of the run tells nothing: what it did is taken back in full
    length: float = 0.0  # by which the step adds the value to the sample; 0 where that is not known


class Mend(Protocol):
    """What is done about skipped steps."""

    def forget(self) -> None:
        """Begin anew: nothing is known of the steps before."""
        ...

    def skip(self, x: Any, output: torch.Tensor, take: Take, frame: Frame | None) -> None:
        """Look at a step from ``x`` with a forecast output, before it is taken."""
        ...

    def arrive(self, x: Any, output: torch.Tensor, frame: Frame | None) -> Any:
        """Return what ``x`` should be, where an output has just been evaluated."""
        ...


class Steps:
    """Follows a sampler through its steps, and has skipped ones mended before one that is evaluated is taken.

    Parameters
    ----------
    sessions : sequence of Session
        Of the sampler's networks; they tell whether an output was evaluated or forecast.
    mend : Mend
    x_of : callable
        Gives the new ``x`` of what a step returns.
    """

    def __init__(self, sessions: Sequence[Session], mend: Mend, x_of: Callable[[Any], Any] = lambda result: result):
        self.sessions = sessions
        self.mend = mend
        self.x_of = x_of
        self.begin()

    def begin(self) -> None:
        """Begin a run, in which only what the networks do from now on counts."""
        self.counts = self._counts()
        self.forget()

    def forget(self) -> None:
        """Begin anew: nothing is known of the steps before."""
        self.called: list[bool] = []
        self.returned: list[tuple[torch.Tensor, int]] | None = None
        self.mend.forget()

    def __call__(
        self, take: Take, x: Any, output: torch.Tensor, *, frame: Frame | None = None, repeatable: bool = True
    ) -> Any:
        """Return ``take(x, output)``, of a better ``x`` where an evaluation has just arrived.

        Without a ``frame`` outputs themselves are interpolated, in steps. A step is not ``repeatable`` where it draws
        noise.
        """
        before, self.counts = self.counts, self._counts()
        called = [calls > old for (calls, _), (old, _) in zip(self.counts, before, strict=True)]
        skipped = [forecasts > old for (_, forecasts), (_, old) in zip(self.counts, before, strict=True)]
        another = any(self.called) and any(called) and called != self.called
        if another or self.returned is None or not _same(x, self.returned):
            # Another network's turn, a new run, or a sample that is changed between steps (inpainting).
            self.forget()
        self.called = called
        if not repeatable:
            self.forget()
        elif any(skipped):
            self.mend.skip(x, output, take, frame)
        else:
            x = self.mend.arrive(x, output, frame)
        result = take(x, output)
        self.returned = _seen(self.x_of(result))
        return result

    def _counts(self) -> list[tuple[int, int]]:
        return [(session.calls, session.forecasts) for session in self.sessions]


class Skipped(NamedTuple):
    """A skipped step as it was taken."""

    frame: Frame
    value: torch.Tensor
    take: Take


class Retake:
    """Takes skipped steps again, with outputs that are interpolated.

    Parameters
    ----------
    corrector : Corrector, optional
        Without one nothing is taken again.
    sessions : sequence of Session
        In their reports is told what was done.
    guards : bool
        Whether to tell them how far off forecasts of what the sampler is given, guidance and all, will be.
    limit : float, optional
        The relative change of a skipped output at which half of it is made; see `guard`. None makes all of it.
    save, load : callable
        Give the sampler's state, besides ``x``, and put it back.
    x_of : callable
        Gives the new ``x`` of what a step returns.
    """

    def __init__(
        self,
        corrector: Corrector | None,
        sessions: Sequence[Session],
        *,
        guards: bool = False,
        limit: float | None = LIMIT,
        save: Callable[[], Any] = lambda: None,
        load: Callable[[Any], None] = lambda _state: None,
        x_of: Callable[[Any], Any] = lambda result: result,
    ) -> None:
        self.corrector = corrector
        self.sessions = sessions
        self.guards = guards
        self.limit = limit
        self.save = save
        self.load = load
        self.x_of = x_of
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.number = 0
        self.newest = 0
        self.times: list[float] = []
        self.values: list[torch.Tensor] = []
        self.doubts = Doubts()
        self.error: torch.Tensor | None = None  # of the newest arrival's forecast, in every item, a step ahead
        self.off: torch.Tensor | None = None  # squares of what gaps were off by, added up in every item
        self.ahead: torch.Tensor | float = 0.0  # what is expected of the gap that is not over
        self.skipped: list[Skipped] = []
        self.start: tuple[Any, Any] | None = None  # the sample and the sampler's state before the first of them

    def skip(self, x: Any, output: torch.Tensor, take: Take, frame: Frame | None) -> None:
        """Note a skipped step, to take it again."""
        frame = frame or Frame(float(self.number))
        if self.corrector is not None:
            if not self.skipped:
                self.start = x, self.save()
            self.skipped.append(Skipped(frame, frame.of(output.detach(), x).clone(), take))
        self._count()
        if self.error is not None and frame.length:
            self.ahead = self.ahead + frame.length * (self.number - self.newest) * self.error
            self._estimate(x)
        self.number += 1

    def arrive(self, x: Any, output: torch.Tensor, frame: Frame | None) -> Any:
        """Return the sample with the skipped steps taken again."""
        frame = frame or Frame(float(self.number))
        times, values = [*self.times, frame.time], [*self.values, frame.of(output.detach(), x).clone()]
        self._count(values[-1])
        if self.times and self.guards:
            self._expect(times, values, blind=frame.blind)
        if self.times and self.skipped and self.corrector is not None:
            x = self._again(x, times, values)
        self.times, self.values = times[-self._most :], values[-self._most :]
        self.newest, self.skipped, self.start, self.ahead = self.number, [], None, 0.0
        self.number += 1
        return x

    def _count(self, *more: torch.Tensor) -> None:
        """Report how many bytes are held: the newest outputs, and those of skipped steps."""
        held = sum(x.nbytes for x in (*self.values, *(step.value for step in self.skipped), *more))
        for session in self.sessions:
            session.report.corrector_bytes = max(session.report.corrector_bytes, held)

    @property
    def _most(self) -> int:
        """How many values are asked for, besides the one that arrives."""
        corrector = self.corrector or Corrector()
        return max(corrector.degree, 2) if corrector.kernel is None else len(self.values) + 1

    def _expect(self, times: list[float], values: list[torch.Tensor], *, blind: bool) -> None:
        line = combine(Newton(1).weights(times[-3:-1], times[-1]), values[-3:-1])
        doubt = self.doubts.meet(Misses.of(values[-1], values[-2], line), blind=blind)
        error, gap = self.doubts.error, self.number - self.newest
        self.error = error / gap * norms(values[-1].float())
        for session in self.sessions:
            session.expect(error, doubt, gap)

    def _estimate(self, x: Any) -> None:
        """Report the relative error to be expected of the sample: gaps are off at random, each before correction."""
        if self.off is not None and isinstance(x, torch.Tensor):
            off = torch.sqrt(self.off + self.ahead**2) / norms(x.float()).clamp_min(torch.finfo(torch.float32).tiny)
            for session in self.sessions:
                session.report.sample_error = session.settings.error(SHARE * torch.sqrt(torch.mean(off**2)))

    def _again(self, x: Any, times: list[float], values: list[torch.Tensor]) -> Any:
        weights = functools.partial(self.corrector.weights, np.asarray(times))
        better = [combine(weights(step.frame.time), values) for step in self.skipped]
        changes = [_changes(new, step.value) for new, step in zip(better, self.skipped, strict=True)]
        missed = torch.stack(changes).amax(dim=0)
        whole = self.limit is None or (self.skipped[0].frame.blind and len(times) == 2)
        part = self.corrector.damping * (torch.ones_like(missed) if whole else guard(missed, self.limit))
        (mended, state), after = self.start, self.save()
        self.load(state)
        for new, step in zip(better, self.skipped, strict=True):
            value = torch.lerp(step.value, new.to(step.value.dtype), part.to(step.value.dtype))
            mended = self.x_of(step.take(mended, step.frame.back(value, mended)))
        if not finite(_tensors(mended)):
            self.load(after)
            return x
        steps = zip(better, self.skipped, strict=True)
        gap = norms(sum(step.frame.length * (new - step.value).float() for new, step in steps))
        self.off = gap**2 if self.off is None else self.off + gap**2
        self.ahead = 0.0
        if self.skipped[0].frame.length:
            self._estimate(mended)
        for session in self.sessions:
            session.report.corrections.append((self.number, missed.max(), part.mean()))
        return mended


def _tensors(x: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(x) if isinstance(leaf, torch.Tensor)]


def _seen(x: Any) -> list[tuple[torch.Tensor, int]]:
    """The tensors of a sample, each with its version, which counts the writes in place."""
    return [(tensor, _version(tensor)) for tensor in _tensors(x)]


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _same(x: Any, seen: list[tuple[torch.Tensor, int]]) -> bool:
    """Whether a sample is what it was when it was seen."""
    tensors = _tensors(x)
    return len(tensors) == len(seen) and all(
        version == _version(old) and (new is old or (new.shape == old.shape and torch.equal(new, old.to(new.dtype))))
        for new, (old, version) in zip(tensors, seen, strict=True)
    )


def relative(new: torch.Tensor, old: torch.Tensor) -> float:
    """Return the 2-norm of the difference over that of ``new``; 0 where that vanishes."""
    length = float(torch.linalg.vector_norm(new.float()))
    return float(torch.linalg.vector_norm(new.float() - old.float())) / length if length else 0.0


def _changes(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """The same for every item of a batch."""
    length, moved = norms(new.float()), norms(new.float() - old.float())
    return torch.where(length > 0.0, moved / length.clamp_min(torch.finfo(torch.float32).tiny), 0.0)
