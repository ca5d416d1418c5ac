"""How can a transformer's blocks be skipped? By watching one evaluation, without knowing the transformer.

In an evaluation every block's call is recorded: which of its arguments have the shapes of its results. On a
forecast step a block is then not run, and hands those arguments on instead, so that whatever stands between the
blocks (concatenating text and image tokens, say) still works; what is handed on is never looked at, because the
last block's place is taken by the forecast. Whether that is true is not assumed but tried once: resuming from the
feature just kept must give the result just computed.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers.hooks import ModelHook
from torch.utils import _pytree as pytree  # the registry that diffusers' own result classes are in

__all__ = ["BlockHook", "Cut", "Form", "Seen", "Split", "SplitError", "block_lists"]

LEAST_SHARE = 0.5


class SplitError(RuntimeError):
    """The network cannot be split here; the message says why."""


def block_lists(network: torch.nn.Module) -> list[torch.nn.ModuleList]:
    """Return a network's own lists of blocks, those that it keeps in a dictionary (one a modality) included."""
    lists: list[torch.nn.ModuleList] = []
    for child in network.children():
        inner = child.values() if isinstance(child, torch.nn.ModuleDict) else [child]
        lists += [blocks for blocks in inner if isinstance(blocks, torch.nn.ModuleList) and len(blocks)]
    return lists


@dataclass(frozen=True)
class Form:
    """How a result is put together from the tensors that are kept of it.

    ``keep`` are the numbers of those leaves; the other leaves come from ``constants``, or are spare tensors that
    nobody reads.
    """

    spec: Any
    constants: tuple[Any, ...]
    keep: tuple[int, ...]

    @classmethod
    def of(cls, result: Any, handed_on: Container[int] = ()) -> "Form":
        """Return the form of a result of which every tensor is kept but those with an ``id`` in ``handed_on``."""
        leaves, spec = pytree.tree_flatten(result)
        tensors = tuple(k for k, x in enumerate(leaves) if isinstance(x, torch.Tensor) and id(x) not in handed_on)
        return cls(spec, tuple(None if number in tensors else leaf for number, leaf in enumerate(leaves)), tensors)

    def take(self, result: Any) -> list[torch.Tensor]:
        """Return the tensors to keep of a result of this form."""
        leaves = pytree.tree_leaves(result)
        return [leaves[number] for number in self.keep]

    def build(self, feature: Sequence[torch.Tensor], spare: Any = None) -> Any:
        """Put a result together; ``spare`` is a result of the same form that gives the tensors nobody reads."""
        leaves = list(self.constants) if spare is None else pytree.tree_leaves(spare)
        for number, tensor in zip(self.keep, feature, strict=True):
            leaves[number] = tensor
        return pytree.tree_unflatten(leaves, self.spec)


@dataclass(frozen=True)
class Passage:
    """How a skipped block's result is put together from its arguments."""

    form: Form
    sources: tuple[int, ...]  # for each tensor of the result the number of an argument's leaf

    def __call__(self, arguments: Any) -> Any:
        leaves = pytree.tree_leaves(arguments)
        return self.form.build([leaves[source] for source in self.sources])


@dataclass(frozen=True)
class Cut:
    """Where an evaluation can be resumed: what to do at each of its block calls, in order."""

    actions: tuple[Passage | None, ...]  # of the calls up to the tail's; None runs the block
    form: Form  # of the tail's result
    passage: Passage | None  # of the tail
    calls: int  # how many there are, those after the tail included
    group: int  # the tail's list of blocks
    groups: frozenset[int]  # the lists that are skipped, this one included


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
    shares : sequence of float
        For each list of blocks the share of the network's parameters that it holds.
    """

    shares: Sequence[float]
    seen: list[Seen] | None = None
    cut: Cut | None = None
    feature: Sequence[torch.Tensor] = ()
    position: int = 0
    read: frozenset[int] = frozenset()  # lists whose results the rest of the network reads, so that they are run

    def evaluate(self, forward: Callable[[], Any]) -> tuple[Any, list[Seen]]:
        """Run the network and watch its blocks."""
        self.seen = []
        try:
            return forward(), self.seen
        finally:
            self.seen = None

    def resume(self, forward: Callable[[], Any], feature: Sequence[torch.Tensor], cut: Cut) -> Any:
        """Run what comes before and after the blocks, with ``feature`` in the place of what they compute."""
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
        if self.cut is not None:
            number, tail = self.position, len(self.cut.actions)
            self.position += 1
            if number == tail:
                passage, arguments = self.cut.passage, (args, kwargs)
                return self.cut.form.build(self.feature, None if passage is None else passage(arguments))
            action = self.cut.actions[number] if number < tail and group not in self.read else None
            return run(*args, **kwargs) if action is None else action((args, kwargs))
        result = run(*args, **kwargs)
        if self.seen is not None:
            # Only the newest result of each list of blocks can become the tail's; the others are let go.
            for call in reversed(self.seen):
                if call.group == group:
                    call.result = None
                    break
            self.seen.append(Seen(group, _passage((args, kwargs), result), result))
        return result

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
        form = Form.of(seen[tail].result)
        if not form.keep:
            raise SplitError("its last block returns no tensor")
        return Cut(actions, form, seen[tail].passage, len(seen), seen[tail].group, skipped), seen[tail].result

    def prove(self, forward: Callable[[], Any], result: Any, cut: Cut, tail: Any) -> Cut:
        """Return a cut that gives ``result`` when the network is resumed, and keeps no more than that needs."""

        def gives_result(keep: tuple[int, ...]) -> bool:
            candidate = _keeping(cut, keep)
            return _same(self.resume(forward, candidate.form.take(tail), candidate), result)

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
        return _keeping(cut, keep)

    def _check_share(self, groups: frozenset[int]) -> None:
        share = sum(self.shares[group] for group in groups)
        if share < LEAST_SHARE:
            raise SplitError(f"the blocks that could be skipped hold only {100 * share:.0f} % of its parameters")


def _keeping(cut: Cut, keep: tuple[int, ...]) -> Cut:
    return replace(cut, form=replace(cut.form, keep=keep))


def _same(one: Any, other: Any) -> bool:
    """Whether two results of a network agree: the same structure, and tensors equal to rounding."""
    (a, spec), (b, other_spec) = pytree.tree_flatten(one), pytree.tree_flatten(other)
    return spec == other_spec and all(_close(x, y) for x, y in zip(a, b, strict=True))


def _close(x: Any, y: Any) -> bool:
    if not isinstance(x, torch.Tensor) or not isinstance(y, torch.Tensor):
        return type(x) is type(y)
    if not _alike(x, y):
        return False
    if torch.equal(x, y) or not x.is_floating_point() or x.numel() == 0:
        return torch.equal(x, y)
    # Kernels may sum in another order the second time.
    scale = float(y.abs().max())
    return bool(torch.allclose(x, y, rtol=0.0, atol=8 * torch.finfo(x.dtype).eps * scale))


def _passage(arguments: Any, result: Any) -> Passage | None:
    """For each tensor of a block's result find an argument of its shape and dtype; None where there is none."""
    given = pytree.tree_leaves(arguments)
    form, sources = Form.of(result), []
    for leaf in form.take(result):
        fits = (k for k, x in enumerate(given) if isinstance(x, torch.Tensor) and _alike(x, leaf))
        source = next(fits, None)
        if source is None:
            return None
        sources.append(source)
    return Passage(form, tuple(sources))


def _alike(x: torch.Tensor, y: torch.Tensor) -> bool:
    return x.shape == y.shape and x.dtype == y.dtype and x.device == y.device


class BlockHook(ModelHook):
    """Hands every call of a block to the `Split` of its network; without state of its own."""

    def __init__(self, split: Split, group: int) -> None:
        super().__init__()
        self.split = split
        self.group = group

    def new_forward(self, _module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Run the block or skip it."""
        return self.split.call(self.group, self.fn_ref.original_forward, args, kwargs)
