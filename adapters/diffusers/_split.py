"""How can a transformer's blocks be skipped? By watching one evaluation, without knowing the transformer.

In an evaluation every block's call is recorded: which of its arguments have the shapes of its results. On a
forecast step a block is then not run, and hands those arguments on instead, so that whatever stands between the
blocks (concatenating text and image tokens, say) still works; what is handed on is never looked at, because the
last block's place is taken by the forecast. Whether that is true is not assumed but tried once: resuming from the
feature just kept must give the result just computed.
"""

import itertools
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree  # the registry that diffusers' own result classes are in

from spectral_forecast.adapters._session import (
    Evaluation,
    Form,
    Outputs,
    Place,
    UnfitError,
    agree,
    alike,
    copies,
    finite,
)
from spectral_forecast.adapters.diffusers._compiled import InnerHook
from spectral_forecast.adapters.diffusers._idle import idle_modules

__all__ = ["BlockHook", "Blocks", "Cut", "Seen", "Split", "SplitError", "block_lists"]

LEAST_SHARE = 0.5

_SAME, _OTHER, _RAISED = 0.0, 1.0, 2.0  # what a resumed network gives; the worst that any process found counts


class SplitError(UnfitError):
    """The network cannot be split here; the message says why."""


def block_lists(network: torch.nn.Module) -> list[torch.nn.ModuleList]:
    """Return a network's own lists of blocks, those that it keeps in a dictionary (one a modality) included."""
    lists: list[torch.nn.ModuleList] = []
    for child in network.children():
        inner = child.values() if isinstance(child, torch.nn.ModuleDict) else [child]
        lists += [blocks for blocks in inner if isinstance(blocks, torch.nn.ModuleList) and len(blocks)]
    return lists


@dataclass(frozen=True)
class Passage:
    """How a skipped block's result is put together from its arguments."""

    form: Form
    kind: type  # of the result
    sources: tuple[int, ...]  # for each tensor of the result the number of an argument's leaf

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return self.form.build(self._taken(args, kwargs))
        except IndexError as error:
            raise SplitError("one of its blocks is given fewer arguments than in the evaluation") from error

    def holds(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> bool:
        """Whether it is that of another call, as far as that is seen at a glance; a glance tells no nested results."""
        tensors = (result,) if isinstance(result, torch.Tensor) else result
        if type(result) is not self.kind or type(tensors) is not tuple or len(tensors) != len(self.sources):
            return False
        try:
            given = self._taken(args, kwargs)
        except IndexError:
            return False
        pairs = zip(given, tensors, strict=True)
        return all(isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor) and alike(x, y) for x, y in pairs)

    def _taken(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        leaves = list(itertools.islice(_leaves(args, kwargs), max(self.sources, default=-1) + 1))
        return [leaves[source] for source in self.sources]


@dataclass(frozen=True)
class Cut:
    """Where an evaluation can be resumed: what to do at each of its block calls, in order."""

    actions: tuple[Passage | None, ...]  # of the calls up to the tail's; None runs the block
    form: Form  # of the tail's result
    passage: Passage | None  # of the tail
    calls: int  # how many there are, those after the tail included
    group: int  # the tail's list of blocks
    groups: frozenset[int]  # the lists that are skipped, this one included
    idle: frozenset[str] = frozenset()  # names of modules outside of the lists that need not run either

    def keeping(self, keep: tuple[int, ...]) -> "Cut":
        """Return the cut that keeps these of the tail's tensors."""
        return replace(self, form=replace(self.form, keep=keep))


class Needs(NamedTuple):
    """What resuming needs, as its proof has shown."""

    keep: tuple[int, ...]  # of the tail's tensors
    idle: frozenset[str]  # names of the modules outside of the blocks that it does not need

    def of(self, cut: Cut) -> Cut:
        """Return the cut of another evaluation of the same form."""
        return replace(cut.keeping(self.keep), idle=self.idle)


@dataclass
class Seen:
    """One block call of an evaluation."""

    group: int
    passage: Passage | None
    result: Any


@dataclass
class Split:
    """Evaluates and resumes a network whose lists of blocks carry a `BlockHook` each.

    Parameters
    ----------
    network : callable
        Returns the network, while there is one.
    shares : sequence of float
        For each list of blocks the share of the network's parameters that it holds.
    """

    network: Callable[[], torch.nn.Module | None]
    shares: Sequence[float]
    seen: list[Seen] | None = None
    cut: Cut | None = None
    feature: Sequence[torch.Tensor] = ()
    position: int = 0
    thread: int = 0  # the one that evaluates or resumes; the blocks' calls of others are none of ours
    turn: AbstractContextManager[Any] = field(default_factory=threading.RLock)
    inline: bool = False  # whether the blocks are compiled as part of the whole network
    read: frozenset[int] = frozenset()  # lists whose results the rest of the network reads, so that they are run
    passages: list[Passage | None] = field(default_factory=list)  # of the calls in the evaluation before

    def evaluate(self, forward: Callable[[], Any]) -> tuple[Any, list[Seen]]:
        """Run the network and watch its blocks."""
        with self.turn:
            self.seen, self.thread = [], threading.get_ident()
            try:
                result, seen = forward(), self.seen
                self.passages = [call.passage for call in seen]
                return result, seen
            finally:
                self.seen = None

    def resume(self, forward: Callable[[], Any], feature: Sequence[torch.Tensor], cut: Cut) -> Any:
        """Run what comes before and after the blocks, with ``feature`` in the place of what they compute."""
        with self.turn:
            self.thread = threading.get_ident()
            self.cut, self.feature, self.position = cut, feature, 0
            try:
                result = forward()
                if self.position != cut.calls:
                    raise SplitError(f"{self.position} blocks were called, {cut.calls} in the evaluation")
                return result
            finally:
                self.cut, self.feature = None, ()

    def call(self, group: int, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run a block, or skip it: what a `BlockHook` does."""
        # Compiled as a whole, the network is called by one thread at a time: asking here would end the graph.
        if not self.inline and self.thread != threading.get_ident():
            return run(*args, **kwargs)
        if self.cut is not None:
            number, tail = self.position, len(self.cut.actions)
            self.position += 1
            if number == tail:
                passage = self.cut.passage
                return self.cut.form.build(self.feature, None if passage is None else passage(args, kwargs))
            action = self.cut.actions[number] if number < tail and group not in self.read else None
            return run(*args, **kwargs) if action is None else action(args, kwargs)
        result = run(*args, **kwargs)
        if self.seen is not None:
            # Only the newest result of each list of blocks can become the tail's; the others are let go.
            for call in reversed(self.seen):
                if call.group == group:
                    call.result = None
                    break
            self.seen.append(Seen(group, self._handed_on(len(self.seen), args, kwargs, result), result))
        return result

    def resumed(self) -> Cut | None:
        """The cut that this thread is resuming the network from."""
        return self.cut if self.thread == threading.get_ident() else None

    def _handed_on(self, number: int, args: Any, kwargs: Any, result: Any) -> Passage | None:
        """The passage of a call: mostly that of the evaluation before."""
        # Looking at arguments takes a while in each of many blocks, right after which Python is in no cache any more.
        # A compiler would make conditions of what was found before, and compile again.
        before = None if self.inline or number >= len(self.passages) else self.passages[number]
        return before if before is not None and before.holds(args, kwargs, result) else _passage(args, kwargs, result)

    def find(self, seen: list[Seen]) -> tuple[Cut, Any]:
        """Return the cut of a watched evaluation that skips most, and the result of the block there."""
        last = {call.group: number for number, call in enumerate(seen)}
        # A list of blocks can be skipped up to its last call where all calls before hand on what they were given.
        open_end = {
            group
            for group, end in last.items()
            if all(call.passage is not None for call in seen[:end] if call.group == group)
        }
        closed = {group for group in open_end if seen[last[group]].passage is not None}
        ends = [last[group] for group in open_end if all(g in closed for g in open_end if last[g] < last[group])]
        if not ends:
            raise SplitError("its blocks change the shape of what they pass on")
        tail = max(ends)
        skipped = frozenset(group for group in open_end if last[group] <= tail)
        skipped -= self.read
        self._check_share(skipped)
        actions = tuple(call.passage if call.group in skipped else None for call in seen[:tail])
        form, _ = Form.of(seen[tail].result)
        if not form.keep:
            raise SplitError("its last block returns no tensor")
        return Cut(actions, form, seen[tail].passage, len(seen), seen[tail].group, skipped), seen[tail].result

    def prove(
        self,
        forward: Callable[[], Any],
        result: Any,
        cut: Cut,
        tail: Any,
        agreed: Callable[[float], float] = float,
    ) -> Cut:
        """Return a cut that gives ``result`` when the network is resumed; it keeps and runs no more than that needs.

        ``agreed`` returns the largest of the numbers that the processes sharing the network have: they try the same
        cuts, and find the same, or they would wait for each other.
        """

        def resumed(candidate: Cut) -> Any:
            return self.resume(forward, candidate.form.take(tail), candidate)

        def gives_result(keep: tuple[int, ...]) -> bool:
            try:
                same = agree(resumed(cut.keeping(keep)), result)
            except Exception:
                agreed(_RAISED)
                raise
            verdict = agreed(_SAME if same else _OTHER)
            if verdict == _RAISED:
                raise SplitError("another of its processes cannot be resumed")
            return verdict == _SAME

        keep = cut.form.keep
        if not gives_result(keep):
            # Something may be added after the last block that other lists have computed (VACE's hints): run those.
            self.read |= cut.groups - {cut.group}
            self._check_share(frozenset({cut.group}))
            if cut.groups == {cut.group} or not gives_result(keep):
                raise SplitError("resumed from its last block, it gives another result")
        # A result that depends on none of the tensors (an untrained head) tells nothing about them.
        if len(keep) > 1 and cut.passage is not None and not gives_result(()):
            for leaf in keep:
                fewer = tuple(number for number in keep if number != leaf)
                if fewer and gives_result(fewer):
                    keep = fewer
        proven = cut.keeping(keep)
        return replace(proven, idle=self._idle(proven, result, resumed, agreed))

    def _idle(
        self, cut: Cut, result: Any, resumed: Callable[[Cut], Any], agreed: Callable[[float], float]
    ) -> frozenset[str]:
        """Return the names of all that need not run, besides the blocks, for ``result``, by resuming a proven cut."""
        network = self.network()
        # In one graph with the rest, a module that a hook decided about would break the graph.
        if network is None or self.inline:
            return frozenset()

        def trace() -> Any:
            try:
                with _graph():
                    traced = resumed(cut)
            except Exception:  # whatever cannot do with gradients
                traced = None
            return traced if agreed(_RAISED if traced is None else _SAME) == _SAME else None

        def works(idle: frozenset[str]) -> bool:
            try:
                same = agree(resumed(replace(cut, idle=idle)), result)
            except Exception:  # whatever it raises on a tensor without memory, it cannot do without this one
                same = False
            return agreed(_SAME if same else _OTHER) == _SAME

        return idle_modules(network, self, trace, works)

    def _check_share(self, groups: frozenset[int]) -> None:
        share = sum(self.shares[group] for group in groups)
        if share < LEAST_SHARE:
            raise SplitError(f"the blocks that could be skipped hold only {100 * share:.0f} % of its parameters")


class Blocks(Place):
    """The place of features: what the last block hands to the head. Outputs, once the network proves not to split."""

    def __init__(
        self,
        name: str,
        split: Split,
        sound: Callable[[Sequence[torch.Tensor]], bool] = finite,
        agreed: Callable[[float], float] = float,
    ) -> None:
        self.name = name
        self.sound = sound
        self.agreed = agreed
        self.split: Split | None = split
        self.proven: dict[Any, Needs] = {}  # of a cut, by the form of the evaluation

    @property
    def at(self) -> str:
        """What is forecast."""
        return "output" if self.split is None else "features"

    def evaluate(self, forward: Callable[..., Any], handed_on: Container[int] = ()) -> Evaluation:
        """Run the network and find where it can be cut; the first time this is proven by resuming it."""
        if self.split is None:
            return Outputs().evaluate(forward, handed_on)
        result, seen = self.split.evaluate(forward)
        form, feature = Form.of(result, handed_on)
        outputs = Evaluation(result, feature, form)
        try:
            cut, tail = self.split.find(seen)
            shapes = tuple(x.shape for x in cut.form.take(tail))
            key = (tuple(call.group for call in seen), str(cut.form.spec), shapes, self.split.inline)
            if key not in self.proven:
                # What is not finite proves nothing, and is not kept; the next evaluation will do.
                if not outputs.feature or not self.sound(outputs.feature):
                    return outputs
                # The proof runs the network again, which may write into the tensors that it gave the first time.
                result, tail = copies(result), copies(tail)
                self.proven[key] = self._prove(self.split, forward, result, cut, tail)
        except SplitError as error:
            self.split = None
            event = f"{self.name} cannot be split ({error}); outputs are forecast instead of features."
            return Evaluation(result, form.take(result), form, event)
        cut = self.proven[key].of(cut)
        return Evaluation(result, cut.form.take(tail), cut)

    def retreat(self) -> bool:
        """Take outputs instead."""
        retreats, self.split = self.split is not None, None
        return retreats

    def resume(self, forward: Callable[..., Any], feature: Sequence[torch.Tensor], form: Cut | Form) -> Any:
        """Run the network without its blocks."""
        if self.split is None or isinstance(form, Form):
            return form.build(feature)
        return self.split.resume(forward, feature, form)

    @torch.no_grad()
    def _prove(self, split: Split, forward: Callable[..., Any], result: Any, cut: Cut, tail: Any) -> Needs:
        """Resume the network from the evaluation just made; return what that needs."""
        try:
            proven = split.prove(forward, result, cut, tail, self.agreed)
        except SplitError:
            raise
        except Exception as error:  # whatever a network's own code raises on a skipped block, it cannot be split
            raise SplitError(f"resumed from its last block, it raises {type(error).__name__}: {error}") from error
        return Needs(proven.form.keep, proven.idle)


@contextmanager
def _graph() -> Iterator[None]:
    """Let autograd record what depends on what, and keep nothing for gradients."""
    if torch.is_inference_mode_enabled():
        yield
        return
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(lambda _: None, lambda _: None):
        yield


def _leaves(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
    """The leaves of a call's arguments in order; those that nobody asks for are not looked for."""
    for argument in itertools.chain(args, kwargs.values()):
        if isinstance(argument, torch.Tensor):
            yield argument
        else:
            yield from pytree.tree_leaves(argument)


def _passage(args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Passage | None:
    """For each tensor of a block's result find an argument of its shape and dtype; None where there is none."""
    form, tensors = Form.of(result)
    sources = []
    for tensor in tensors:
        given = enumerate(_leaves(args, kwargs))
        source = next((k for k, x in given if isinstance(x, torch.Tensor) and alike(x, tensor)), None)
        if source is None:
            return None
        sources.append(source)
    return Passage(form, type(result), tuple(sources))


class BlockHook(InnerHook):
    """Hands every call of a block to the `Split` of its network; without state of its own."""

    def __init__(self, split: Split, group: int) -> None:
        super().__init__(split)
        self.group = group

    def take(self, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run the block or skip it."""
        return self.split.call(self.group, run, args, kwargs)
