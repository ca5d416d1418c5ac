"""How is a network sampled, timed, and its evaluations counted? A sampler's loop as pipelines have it."""

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from diffusers import CacheMixin

from spectral_forecast.adapters.diffusers._split import block_lists
from spectral_forecast.benchmarks.speed.networks import Network
from spectral_forecast.benchmarks.speed.timing import wait

__all__ = ["Bench", "Timed"]


class Timed(NamedTuple):
    """A run.

    Attributes
    ----------
    seconds : float
    evaluated : int
        Steps.
    evaluation : float
        Mean seconds of the same evaluations by themselves.
    skipped : float
        Mean seconds of the network's other calls; 0.0 where there were none.
    """

    seconds: float
    evaluated: int
    evaluation: float
    skipped: float


class Bench:
    """A network with its sampler, and a twin of the network that shares its parameters and is left as it is."""

    def __init__(self, network: Network, device: torch.device, dtype: torch.dtype, steps: int) -> None:
        self.network, self.device, self.steps = network, device, steps
        self.module = network.build(device, dtype)
        shared = {id(part): part for part in (*self.module.parameters(), *self.module.buffers())}
        self.twin = copy.deepcopy(self.module, shared)
        self.scheduler = network.scheduler()
        self.dtype = torch.float32 if network.trained else dtype
        self.noise = torch.randn(network.sample, generator=torch.Generator().manual_seed(0)).to(device, self.dtype)
        self.conditions = network.conditions(self.noise)

    def run(self, steps: int | None = None) -> float:
        """Sample once, in other ``steps`` if asked for, and return the seconds that it took."""
        return self._sampled(steps, None).seconds

    def beside(self) -> Timed:
        """Sample once, and after each evaluation have the twin evaluate the same, which is timed by itself.

        A machine that is faster now than in a while is faster at both.
        """
        with self.counted() as count:
            return self._sampled(None, count)

    @torch.no_grad()
    def outside(self, rounds: int = 5) -> float:
        """Return which part of an evaluation's time is not spent in the network's lists of blocks; the median."""
        self.scheduler.set_timesteps(self.steps, device=self.device)
        inputs = self.conditions | self.network.inputs(self.noise, self.scheduler.timesteps[0])
        blocks = [block for blocks in block_lists(self.twin) for block in blocks]
        inside = 0.0

        def passed(sign: float) -> Callable[..., None]:
            def hook(*_: Any) -> None:
                nonlocal inside
                wait(self.device)
                inside += sign * time.perf_counter()

            return hook

        handles = [block.register_forward_pre_hook(passed(-1.0)) for block in blocks]
        handles += [block.register_forward_hook(passed(1.0)) for block in blocks]
        parts = []
        try:
            for _ in range(rounds):
                wait(self.device)
                inside, begun = 0.0, time.perf_counter()
                self.twin(**inputs, return_dict=False)
                wait(self.device)
                parts.append(1.0 - inside / (time.perf_counter() - begun))
        finally:
            for handle in handles:
                handle.remove()
        return statistics.median(parts)

    @torch.no_grad()
    def _sampled(self, steps: int | None, count: list[int] | None) -> Timed:
        if isinstance(self.module, CacheMixin):
            self.module._reset_stateful_cache()  # as pipelines do when they are through
        self.scheduler.set_timesteps(self.steps if steps is None else steps, device=self.device)
        x, seconds, alone, skipped = self.noise, 0.0, [0.0], []
        wait(self.device)
        begun = time.perf_counter()
        for t in self.scheduler.timesteps:
            inputs = self.conditions | self.network.inputs(x, t)
            called = time.perf_counter()
            with self._context():
                out = self.module(**inputs, return_dict=False)[0]
            if count is not None and count[0] < len(alone):
                wait(self.device)
                skipped.append(time.perf_counter() - called)
            x = self.scheduler.step(out, t, x, return_dict=False)[0]
            if count is not None and count[0] >= len(alone):
                wait(self.device)
                middle = time.perf_counter()
                self.twin(**inputs, return_dict=False)
                wait(self.device)
                seconds, begun = seconds + middle - begun, time.perf_counter()
                alone.append(begun - middle)
        wait(self.device)
        seconds += time.perf_counter() - begun
        return Timed(
            seconds, len(alone) - 1, statistics.fmean(alone[1:] or [seconds]), statistics.fmean(skipped or [0.0])
        )

    def _context(self) -> AbstractContextManager[Any]:
        """What pipelines tell the caches of diffusers: which guidance branch it is."""
        return self.module.cache_context("cond") if isinstance(self.module, CacheMixin) else nullcontext()

    @contextmanager
    def counted(self) -> Iterator[list[int]]:
        """Count the evaluations: how often the last block's first linear layer runs, whatever skips the block."""
        layers = [layer for layer in block_lists(self.module)[-1][-1].modules() if isinstance(layer, torch.nn.Linear)]
        count = [0]

        def hook(*_: Any) -> None:
            count[0] += 1

        handle = layers[0].register_forward_hook(hook)
        try:
            yield count
        finally:
            handle.remove()
