"""Do all processes that share one network decide alike? They must: an evaluation is a conversation between them.

With diffusers' context parallelism every process holds the features of its own tokens. Whether those are finite, one
process may find otherwise than the others; would it then evaluate alone, it would wait for them for ever.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from spectral_forecast.adapters._session import magnitude

__all__ = ["all_finite", "all_magnitude", "group_of", "largest", "sum_over"]


def group_of(network: torch.nn.Module) -> Any:
    """Return the processes that share the network's tokens; None without context parallelism."""
    config = getattr(getattr(network, "_parallel_config", None), "context_parallel_config", None)
    return None if config is None else config._flattened_mesh.get_group()


def all_finite(tensors: Sequence[torch.Tensor], network: torch.nn.Module) -> bool:
    """Return whether tensors are finite in all processes that share the network."""
    return math.isfinite(all_magnitude(tensors, network))


def all_magnitude(tensors: Sequence[torch.Tensor], network: torch.nn.Module) -> float:
    """Return the largest absolute value in all processes' tensors; infinity where a number is not finite."""
    return largest(magnitude(tensors), network)


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
