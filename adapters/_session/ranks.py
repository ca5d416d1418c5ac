"""Do all processes that share one network decide alike? They must: an evaluation is a conversation between them.

With diffusers' context parallelism every process holds the features of its own tokens, with tensor parallelism a part
of the weights. Whether features are finite, one process may find otherwise than the others; would it then evaluate
alone, it would wait for them for ever. So an evaluation ends with a vote.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from spectral_forecast.adapters._session.place import magnitude

__all__ = ["all_finite", "all_magnitude", "group_of", "largest", "sum_over"]


def group_of(network: Any) -> Any:
    """Return the processes that share the network's tokens or weights; None where there is but one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    config = getattr(getattr(network, "_parallel_config", None), "context_parallel_config", None)
    if config is not None:
        return config._flattened_mesh.get_group()
    if not isinstance(network, torch.nn.Module):
        return None
    from torch.distributed.tensor import DTensor

    mesh = next((weight.device_mesh for weight in network.parameters() if isinstance(weight, DTensor)), None)
    if mesh is None:
        return None
    return (mesh if mesh.ndim == 1 else mesh._flatten()).get_group()


def all_finite(tensors: Sequence[torch.Tensor], network: Any) -> bool:
    """Return whether tensors are finite in all processes that share the network."""
    return math.isfinite(all_magnitude(tensors, network))


def all_magnitude(tensors: Sequence[torch.Tensor], network: Any) -> float:
    """Return the largest absolute value in all processes' tensors; infinity where a number is not finite."""
    if group_of(network) is None:
        return magnitude(tensors)  # those of a `DTensor` are of all its parts
    return largest(magnitude([x.to_local() if hasattr(x, "to_local") else x for x in tensors]), network)


def largest(value: float, network: torch.nn.Module) -> float:
    """Return the largest of the numbers that the processes sharing the network have."""
    group = group_of(network)
    if group is None:
        return value
    values = torch.tensor(value, dtype=torch.float64, device=next(network.parameters()).device)
    torch.distributed.all_reduce(values, torch.distributed.ReduceOp.MAX, group=group)
    return float(values)


def sum_over(network: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return what sums a tensor over the processes that share the network; None without context parallelism.

    Inner products of outputs, which every process has whole, come out as many times too large as there are processes,
    for which no weight and no schedule cares.
    """
    group = group_of(network)
    if group is None:
        return None

    def add(values: torch.Tensor) -> torch.Tensor:
        torch.distributed.all_reduce(values, group=group)
        return values

    return add
