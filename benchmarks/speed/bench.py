"""How is a network sampled, timed, and its evaluations counted? A sampler's loop as pipelines have it."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from diffusers import CacheMixin

from spectral_forecast.benchmarks.speed.networks import Network
from spectral_forecast.benchmarks.speed.timing import wait

__all__ = ["Bench"]


class Bench:
    """A network with its sampler."""

    def __init__(self, network: Network, device: torch.device, dtype: torch.dtype, steps: int) -> None:
        self.network, self.device, self.steps = network, device, steps
        self.module = network.build(device, dtype)
        self.scheduler = network.scheduler()
        self.dtype = torch.float32 if network.trained else dtype
        self.noise = torch.randn(network.sample, generator=torch.Generator().manual_seed(0)).to(device, self.dtype)
        self.conditions = network.conditions(self.noise)

    @torch.no_grad()
    def run(self, steps: int | None = None) -> float:
        """Sample once, in other ``steps`` if asked for, and return the seconds that it took."""
        if isinstance(self.module, CacheMixin):
            self.module._reset_stateful_cache()  # as pipelines do when they are through
        self.scheduler.set_timesteps(self.steps if steps is None else steps, device=self.device)
        x = self.noise
        wait(self.device)
        begun = time.perf_counter()
        for t in self.scheduler.timesteps:
            with self._context():
                out = self.module(**self.conditions, **self.network.inputs(x, t), return_dict=False)[0]
            x = self.scheduler.step(out, t, x, return_dict=False)[0]
        wait(self.device)
        return time.perf_counter() - begun

    def _context(self) -> AbstractContextManager[Any]:
        """What pipelines tell the caches of diffusers: which guidance branch it is."""
        return self.module.cache_context("cond") if isinstance(self.module, CacheMixin) else nullcontext()

    @contextmanager
    def counted(self) -> Iterator[list[int]]:
        """Count the evaluations: how often the last block's first linear layer runs, whatever skips the block."""
        lists = [child for child in self.module.children() if isinstance(child, torch.nn.ModuleList)]
        layers = [layer for layer in lists[-1][-1].modules() if isinstance(layer, torch.nn.Linear)]
        count = [0]

        def hook(*_: Any) -> None:
            count[0] += 1

        handle = layers[0].register_forward_hook(hook)
        try:
            yield count
        finally:
            handle.remove()
