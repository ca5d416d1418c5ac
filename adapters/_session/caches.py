"""Does a network write into a cache that it is called with? Such a call must run, whatever the plan says.

Keys and values of reference images or of earlier frames are handed over in arguments that have "cache" in their names:
objects, dictionaries or lists of tensors, and words that say whether the call fills them or reads them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

__all__ = ["contents", "is_cache", "leaves", "written"]


def is_cache(name: str) -> bool:
    """Whether an argument is a cache, or says what to do with one."""
    return "cache" in name


def leaves(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """Yield what a value holds at last: in containers, and in the attributes of objects that are no modules."""
    seen = set() if seen is None else seen
    if isinstance(value, torch.Tensor | bool | str | int | float | torch.nn.Module) or value is None:
        yield value
    elif id(value) not in seen:
        seen.add(id(value))
        if isinstance(value, Mapping):
            parts = list(value.values())
        elif isinstance(value, list | tuple | set | frozenset):
            parts = list(value)
        else:
            parts = list(getattr(value, "__dict__", {}).values())
        for part in parts:
            yield from leaves(part, seen)


def contents(arguments: dict[str, Any]) -> dict[int, tuple[torch.Tensor, int]]:
    """Return the tensors in a call's caches, each with its version, which counts the writes in place.

    The tensors are held, so that no new one can have the place in memory of one that is gone.
    """
    caches = [value for name, value in arguments.items() if is_cache(name)]
    tensors = [leaf for leaf in leaves(caches) if isinstance(leaf, torch.Tensor)]
    return {id(x): (x, 0 if x.is_inference() else x._version) for x in tensors}


def written(before: dict[int, tuple[torch.Tensor, int]], after: dict[int, tuple[torch.Tensor, int]]) -> bool:
    """Whether a tensor has been added or written to; one that was taken out is none."""
    return any(key not in before or before[key][1] != version for key, (_, version) in after.items())
