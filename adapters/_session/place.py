"""Where are features taken from an evaluation, and how does a forecast of them become a result?"""

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch.utils import _pytree as pytree  # the registry that diffusers' own result classes are in

__all__ = [
    "Evaluation",
    "Form",
    "Outputs",
    "Place",
    "Resumable",
    "UnfitError",
    "agree",
    "alike",
    "copies",
    "finite",
    "magnitude",
]


class UnfitError(RuntimeError):
    """A forecast does not fit the network any more; the message says why."""


class Evaluation(NamedTuple):
    """What an evaluation gave: its result, the tensors to keep, and how a result is made of such tensors again."""

    result: Any
    feature: list[torch.Tensor]
    form: Any
    event: str = ""  # why features are taken elsewhere from now on


class Place(Protocol):
    """Takes features from evaluations and puts them back."""

    at: str  # "output" or "features", for the report

    def enter(self, arguments: dict[str, Any], left: int) -> None:
        """Take note of a call's arguments, and of how many steps are left, this one included."""

    def retreat(self) -> bool:
        """Take less memory from the next evaluation on; False where that is not possible."""
        return False

    def evaluate(self, forward: Callable[..., Any], handed_on: Container[int] = ()) -> Evaluation:
        """Run the network; tensors of its result with an ``id`` in ``handed_on`` were given to it and are not kept."""
        ...

    def resume(self, forward: Callable[..., Any], feature: Sequence[torch.Tensor], form: Any) -> Any:
        """Make a result of a feature, or raise `UnfitError`."""
        ...


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
    def of(cls, result: Any, handed_on: Container[int] = ()) -> "tuple[Form, list[torch.Tensor]]":
        """Return a result's form and the tensors to keep: every one but those with an ``id`` in ``handed_on``."""
        leaves, spec = pytree.tree_flatten(result)
        tensors = tuple(k for k, x in enumerate(leaves) if isinstance(x, torch.Tensor) and id(x) not in handed_on)
        constants = tuple(None if number in tensors else leaf for number, leaf in enumerate(leaves))
        return cls(spec, constants, tensors), [leaves[number] for number in tensors]

    def take(self, result: Any) -> list[torch.Tensor]:
        """Return the tensors to keep of another result of this form."""
        leaves = pytree.tree_leaves(result)
        return [leaves[number] for number in self.keep]

    def build(self, feature: Sequence[torch.Tensor], spare: Any = None) -> Any:
        """Put a result together; ``spare`` is a result of the same form that gives the tensors nobody reads."""
        leaves = list(self.constants) if spare is None else pytree.tree_leaves(spare)
        for number, tensor in zip(self.keep, feature, strict=True):
            leaves[number] = tensor
        return pytree.tree_unflatten(leaves, self.spec)


class Outputs(Place):
    """The network's results themselves."""

    at = "output"

    def evaluate(self, forward: Callable[..., Any], handed_on: Container[int] = ()) -> Evaluation:
        """Run the network; every tensor of its result is kept."""
        result = forward()
        form, feature = Form.of(result, handed_on)
        return Evaluation(result, feature, form)

    def resume(self, forward: Callable[..., Any], feature: Sequence[torch.Tensor], form: Form) -> Any:
        """Make a result of forecast tensors; nothing runs."""
        return form.build(feature)


class Resumable(Place):
    """What a model that returns and takes features makes of its inputs, before its head."""

    at = "features"

    def __init__(self, name: str) -> None:
        self.name = name
        self.proven = False

    def evaluate(self, forward: Callable[..., Any], handed_on: Container[int] = ()) -> Evaluation:
        """Run the model; the first time, see that it can be resumed."""
        result = forward()
        if not isinstance(result, tuple) or len(result) != 2:
            raise ValueError(
                f'`model`: {self.name} returned {type(result).__name__}; with `at="features"`, write a model that '
                "returns an output and a feature."
            )
        if not self.proven:
            result = copies(result)  # the proof runs the model again, which may write into its results
        output, feature = result
        if not self.proven and finite(Form.of(output)[1]):
            if not agree(forward(feature=feature)[0], output):
                raise ValueError(
                    f"`model`: {self.name} gives another output when called with `feature=` the one it made."
                )
            self.proven = True
        form, tensors = Form.of(feature, handed_on)
        return Evaluation(output, tensors, form)

    def resume(self, forward: Callable[..., Any], feature: Sequence[torch.Tensor], form: Form) -> Any:
        """Run the model's head on a feature."""
        return forward(feature=form.build(feature))[0]


def copies(result: Any) -> Any:
    """Return a result of the same structure whose tensors are copies, part of the same graph of gradients."""
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, result)


def finite(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether no tensor holds a NaN or an infinity."""
    return all(bool(torch.isfinite(x).all()) for x in tensors)


def magnitude(tensors: Sequence[torch.Tensor]) -> float:
    """Return the largest absolute value in tensors; infinity where a number is not finite. Each is read once."""
    bounds = [_whole(torch.stack(torch.aminmax(x.detach()))).to(torch.float64) for x in tensors if x.numel()]
    extremes = torch.cat([pair.to(bounds[0].device) for pair in bounds]).tolist() if bounds else []  # waits once
    return max(map(abs, extremes), default=0.0) if all(map(math.isfinite, extremes)) else math.inf


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    """The plain tensor that a `DTensor` is a part of."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def agree(one: Any, other: Any) -> bool:
    """Whether two results of a network agree: the same structure, and tensors equal to rounding."""
    (a, spec), (b, other_spec) = pytree.tree_flatten(one), pytree.tree_flatten(other)
    return spec == other_spec and all(_close(x, y) for x, y in zip(a, b, strict=True))


def _close(x: Any, y: Any) -> bool:
    if not isinstance(x, torch.Tensor) or not isinstance(y, torch.Tensor):
        return type(x) is type(y)
    if not alike(x, y):
        return False
    if torch.equal(x, y) or not x.is_floating_point() or x.numel() == 0:
        return torch.equal(x, y)
    # Kernels may sum in another order the second time.
    scale = float(y.abs().max())
    return bool(torch.allclose(x, y, rtol=0.0, atol=8 * torch.finfo(x.dtype).eps * scale))


def alike(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether two tensors have one shape, dtype and device."""
    return x.shape == y.shape and x.dtype == y.dtype and x.device == y.device
