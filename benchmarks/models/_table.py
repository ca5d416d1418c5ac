"""A row of the table: a tiny denoiser of diffusers, how it is built and how it is called."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch

__all__ = ["TIMES", "Model", "run"]

TIMES = tuple(1.0 - step / 8 for step in range(8))


@dataclass(frozen=True, eq=False)
class Model:
    """A denoiser of diffusers, tiny.

    Attributes
    ----------
    name : str
        Its class in diffusers.
    config : dict
        What its constructor is given.
    inputs : callable
        From a time between 1 (noise) and 0 (data) to the arguments of its forward.
    kind : str
        What it makes.
    remark : str
        Why its features cannot be forecast, as the adapter words it; empty where they can be.
    note : str
        Which of the network's variants this is, where it has several.
    """

    name: str
    config: dict[str, Any] = field(repr=False)
    inputs: Callable[[float], dict[str, Any]] = field(repr=False)
    kind: str = "image"
    remark: str = ""
    note: str = ""

    @property
    def splits(self) -> bool:
        """Whether its features can be forecast."""
        return not self.remark

    def __str__(self) -> str:
        return self.name + (f" ({self.note})" if self.note else "")

    def build(self, seed: int = 0) -> torch.nn.Module:
        """Return the network with random weights, also where training begins with zeros or a checkpoint is needed.

        Zeros in a head or a gate would make the result independent of the blocks, and every test of them pass.
        """
        torch.manual_seed(seed)
        network = getattr(diffusers, self.name)(**self.config).eval().requires_grad_(requires_grad=False)
        generator = torch.Generator().manual_seed(seed)
        for parameter in network.parameters():
            if parameter.ndim > 1 and parameter.numel():
                scale = parameter.shape[1:].numel() ** -0.5
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
            elif not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        return network


@torch.no_grad()
def run(network: torch.nn.Module, model: Model, times: tuple[float, ...] = TIMES) -> list[torch.Tensor]:
    """Call a network at each time, in order; return its first tensor each time."""
    return [_first(network(**model.inputs(time), return_dict=False)) for time in times]


def _first(result: Any) -> torch.Tensor:
    while not isinstance(result, torch.Tensor):
        result = result[0]
    return result
