"""How are skipped steps mended on arrival at an evaluated one? They are taken again, with better outputs.

Between two evaluations a sampler steps with forecasts, which extrapolate. On arrival at the next evaluation the same
outputs can be interpolated, and the skipped steps be taken again with them: predict, evaluate, correct
(`spectral_forecast.corrector`). The network is not called. Taking them again with the sampler's own steps is right for
samplers of every order and for whatever they make of an output; and since a sampler is given the guided output, it does
not matter where in the network was forecast, nor how often the network is called at a step.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch.utils import _pytree as pytree

from spectral_forecast import Corrector, combine
from spectral_forecast.adapters._session.place import finite
from spectral_forecast.adapters._session.session import Session
from spectral_forecast.corrector import guard

__all__ = ["LIMIT", "Mend", "Retake", "Steps", "Take", "relative"]

# Relative change of a skipped step's output at which half of it is made. Chosen on the digits model: a larger one gains
# 1 to 3 dB more in smooth runs and loses 1 dB and more in stiff ones, where 0.05 and 0.08 lost 0.3 dB at most.
LIMIT = 0.07

Take: TypeAlias = Callable[[Any, torch.Tensor], Any]  # one step of the sampler: (x, output) -> result


class Mend(Protocol):
    """What is done about skipped steps."""

    def forget(self) -> None:
        """Begin anew: nothing is known of the steps before."""
        ...

    def skip(self, x: Any, output: torch.Tensor, take: Take) -> None:
        """Look at a step from ``x`` with a forecast output, before it is taken."""
        ...

    def arrive(self, x: Any, output: torch.Tensor) -> Any:
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

    def __call__(self, take: Take, x: Any, output: torch.Tensor, *, repeatable: bool = True) -> Any:
        """Return ``take(x, output)``, of a better ``x`` where an evaluation has just arrived.

        A step is not ``repeatable`` where it draws noise.
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
            self.mend.skip(x, output, take)
        else:
            x = self.mend.arrive(x, output)
        result = take(x, output)
        self.returned = _seen(self.x_of(result))
        return result

    def _counts(self) -> list[tuple[int, int]]:
        return [(session.calls, session.forecasts) for session in self.sessions]


class Skipped(NamedTuple):
    """A skipped step as it was taken."""

    number: int
    output: torch.Tensor
    take: Take


class Retake:
    """Takes skipped steps again, with outputs that are interpolated.

    Parameters
    ----------
    corrector : Corrector
    sessions : sequence of Session
        In their reports is told what was done.
    limit : float, optional
        The relative change of a skipped output at which half of it is made; see `guard`. None makes all of it.
    save, load : callable
        Give the sampler's state, besides ``x``, and put it back.
    x_of : callable
        Gives the new ``x`` of what a step returns.
    """

    def __init__(
        self,
        corrector: Corrector,
        sessions: Sequence[Session],
        *,
        limit: float | None = LIMIT,
        save: Callable[[], Any] = lambda: None,
        load: Callable[[Any], None] = lambda _state: None,
        x_of: Callable[[Any], Any] = lambda result: result,
    ) -> None:
        self.corrector = corrector
        self.sessions = sessions
        self.limit = limit
        self.save = save
        self.load = load
        self.x_of = x_of
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.number = 0
        self.times: list[float] = []
        self.outputs: list[torch.Tensor] = []
        self.skipped: list[Skipped] = []
        self.start: tuple[Any, Any] | None = None  # the sample and the sampler's state before the first of them

    def skip(self, x: Any, output: torch.Tensor, take: Take) -> None:
        """Note a skipped step, to take it again."""
        if not self.skipped:
            self.start = x, self.save()
        self.skipped.append(Skipped(self.number, output.detach().clone(), take))
        self.number += 1

    def arrive(self, x: Any, output: torch.Tensor) -> Any:
        """Return the sample with the skipped steps taken again."""
        if self.skipped and self.times:
            x = self._again(x, output)
        kernel = self.corrector.kernel is not None
        most = 0 if kernel else -self.corrector.degree  # besides the one that arrives next
        self.times = [*self.times, float(self.number)][most:]
        self.outputs = [*self.outputs, output.detach().clone()][most:]
        self.skipped, self.start = [], None
        self.number += 1
        return x

    def _again(self, x: Any, arrived: torch.Tensor) -> Any:
        times, outputs = np.array([*self.times, float(self.number)]), [*self.outputs, arrived]
        better = [combine(self.corrector.weights(times, float(step.number)), outputs) for step in self.skipped]
        missed = max(relative(new, step.output) for new, step in zip(better, self.skipped, strict=True))
        part = self.corrector.damping * (1.0 if self.limit is None else float(guard(missed, self.limit)))
        (mended, state), after = self.start, self.save()
        self.load(state)
        for new, step in zip(better, self.skipped, strict=True):
            output = torch.lerp(step.output, new.to(step.output.dtype), part)
            mended = self.x_of(step.take(mended, output))
        if not finite(_tensors(mended)):
            self.load(after)
            return x
        for session in self.sessions:
            session.report.corrections.append((self.number, missed, part))
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
