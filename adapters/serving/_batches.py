"""Which requests fit into one call of the network, and how are they put together and taken apart?"""

import itertools
import numbers
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch.utils import _pytree as pytree

__all__ = ["alike", "called", "chunks", "concatenate", "described", "items", "split"]

T = TypeVar("T")


def alike(inputs: Any) -> Hashable:
    """Return what the inputs of requests that `concatenate` can put together have in common.

    Parameters
    ----------
    inputs : tuple or dict
        Of one request: any structure of tensors and other values.

    Returns
    -------
    hashable
        Structure, dtypes, devices, and shapes without the first axis, which counts items. Values that are neither
        tensors nor numbers are the same for all: words and truth values by value, objects by identity.

    Examples
    --------
    >>> import torch
    >>> alike((torch.ones(2, 3), 0.5)) == alike((torch.ones(5, 3), 0.7)) != alike((torch.ones(2, 4), 0.5))
    True
    """
    leaves, spec = pytree.tree_flatten(inputs)
    return str(spec), *(_kind(leaf, items=False) for leaf in leaves)


def described(inputs: Any) -> Hashable:
    """Return what must not change in a request's inputs from one step to the next: everything but values."""
    leaves, spec = pytree.tree_flatten(inputs)
    return str(spec), *(_kind(leaf, items=True) for leaf in leaves)


def items(inputs: Any) -> int:
    """Return how many items there are: the length of the first tensor that has an axis; 1 without any."""
    leaves = pytree.tree_leaves(inputs)
    return next((len(leaf) for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.ndim), 1)


def concatenate(inputs: Sequence[Any]) -> Any:
    """Return the inputs of several requests as those of one call.

    Parameters
    ----------
    inputs : sequence of tuple or dict
        Of requests for which `alike` is the same.

    Returns
    -------
    tuple or dict
        Tensors are concatenated along their first axis. A number, or a tensor without axes, becomes a vector with one
        entry for each item, since requests in one batch are at different times: in the dtype of the first tensor if
        that has at least 32 bits, else in float32, and whole numbers in int64. Everything else is the first one's.

    Raises
    ------
    ValueError
        If the tensors of a request differ in their number of items.

    Examples
    --------
    >>> import torch
    >>> x, t = concatenate([(torch.zeros(2, 3), 0.5), (torch.ones(1, 3), 0.25)])
    >>> x.shape, t
    (torch.Size([3, 3]), tensor([0.5000, 0.5000, 0.2500]))
    """
    spread = [_spread(one) for one in inputs]
    if len(spread) == 1:
        return spread[0]
    flat, specs = zip(*map(pytree.tree_flatten, spread), strict=True)
    joined = [torch.cat(parts) if isinstance(parts[0], torch.Tensor) else parts[0] for parts in zip(*flat, strict=True)]
    return pytree.tree_unflatten(joined, specs[0])


def split(output: Any, inputs: Sequence[Any]) -> list[Any]:
    """Return each request's part of what the network returned for all of them.

    Parameters
    ----------
    output : Tensor or structure of tensors
        The first axis of each counts items.
    inputs : sequence of tuple or dict
        What `concatenate` put together.

    Returns
    -------
    list
        One structure a request; their tensors are views.

    Raises
    ------
    ValueError
        If a tensor has another number of items.

    Examples
    --------
    >>> import torch
    >>> split(torch.arange(3.0), [(torch.zeros(2, 3),), (torch.zeros(1, 3),)])
    [tensor([0., 1.]), tensor([2.])]
    """
    if len(inputs) == 1:
        return [output]
    ends = list(itertools.accumulate(items(one) for one in inputs))
    leaves, spec = pytree.tree_flatten(output)
    for leaf in leaves:
        if isinstance(leaf, torch.Tensor) and (leaf.ndim == 0 or len(leaf) != ends[-1]):
            raise ValueError(
                f"`model` returned a tensor of shape {tuple(leaf.shape)} for {ends[-1]} items; write a model whose "
                "results have the items along their first axis, or `split=`, which takes them apart."
            )
    return [
        pytree.tree_unflatten([x[begin:end] if isinstance(x, torch.Tensor) else x for x in leaves], spec)
        for begin, end in zip([0, *ends], ends, strict=False)
    ]


def chunks(
    turns: Iterable[T], key: Callable[[T], Hashable], size: Callable[[T], int], most: int | None
) -> Iterator[list[T]]:
    """Yield the turns that go into one call: of one ``key``, and if several, of at most ``most`` items."""
    open_chunks: dict[Hashable, tuple[list[T], int]] = {}
    for turn in turns:
        name, count = key(turn), size(turn)
        chunk, held = open_chunks.pop(name, ([], 0))
        if chunk and most is not None and held + count > most:
            yield chunk
            chunk, held = [], 0
        open_chunks[name] = ([*chunk, turn], held + count)
    for chunk, _ in open_chunks.values():
        yield chunk


def called(model: Callable[..., Any], inputs: Any, **more: Any) -> Any:
    """Return the model's result: of positional arguments, or of a dict of named ones."""
    return model(**inputs, **more) if isinstance(inputs, Mapping) else model(*inputs, **more)


def _kind(leaf: Any, *, items: bool) -> Hashable:
    """What is to be known of a value; with ``items``, how many there are, too."""
    if isinstance(leaf, torch.Tensor):
        return leaf.dtype, leaf.device, tuple(leaf.shape) if items else ("items", *leaf.shape[1:])[: leaf.ndim]
    if isinstance(leaf, bool | str) or leaf is None:
        return type(leaf), leaf
    if isinstance(leaf, numbers.Real):
        return isinstance(leaf, numbers.Integral)
    return type(leaf), None if items else id(leaf)


def _spread(inputs: Any) -> Any:
    """Repeat what has no axes for each item."""
    leaves, spec = pytree.tree_flatten(inputs)
    count = items(leaves)
    first = next((leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.ndim), torch.empty(0))
    wide = torch.promote_types(first.dtype, torch.float32) if first.is_floating_point() else torch.float32
    for k, leaf in enumerate(leaves):
        if isinstance(leaf, torch.Tensor) and leaf.ndim == 0:
            leaves[k] = leaf.expand(count)
        elif isinstance(leaf, numbers.Real) and not isinstance(leaf, bool):
            kind = torch.int64 if isinstance(leaf, numbers.Integral) else wide
            leaves[k] = torch.full((count,), leaf, dtype=kind, device=first.device)
        elif isinstance(leaf, torch.Tensor) and len(leaf) != count:
            raise ValueError(
                f"`inputs` hold tensors of shapes {tuple(first.shape)} and {tuple(leaf.shape)}; the first axis of each "
                "is that of the items. Let the model itself hold what all requests share, or write `collate=`."
            )
    return pytree.tree_unflatten(leaves, spec)
