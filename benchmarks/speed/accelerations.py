"""What is put around a network? Ours, and the caches of diffusers and cache-dit with as many evaluations."""

import bisect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from diffusers import CacheMixin, FirstBlockCacheConfig, TaylorSeerCacheConfig

from spectral_forecast import schedules
from spectral_forecast.adapters.diffusers import Report, accelerate, report, restore
from spectral_forecast.adapters.diffusers._split import block_lists

__all__ = ["ACCELERATIONS", "Acceleration", "Setting", "first_block_changes"]


@dataclass(frozen=True)
class Setting:
    """What a run is like, for whoever is to accelerate it.

    Attributes
    ----------
    steps, evaluations : int
    scheduler : object
        Of diffusers.
    residuals : list of Tensor
        What the first block added at each step of a full run, thinned out.
    """

    steps: int
    evaluations: int
    scheduler: Any
    residuals: Sequence[torch.Tensor] = ()


@dataclass(frozen=True)
class Acceleration:
    """A way to skip steps: a context in which the network does."""

    name: str
    put: Callable[[torch.nn.Module, Setting], Any] = field(repr=False)
    ours: bool = False


@contextmanager
def _outputs(network: torch.nn.Module, setting: Setting) -> Iterator[Callable[[], Any]]:
    with _ours(network, setting, "output") as told:
        yield told


@contextmanager
def _features(network: torch.nn.Module, setting: Setting) -> Iterator[Callable[[], Any]]:
    with _ours(network, setting, "features") as told:
        yield told


@contextmanager
def _ours(network: torch.nn.Module, setting: Setting, at: Any) -> Iterator[Callable[[], Any]]:
    accelerate(network, evaluations=setting.evaluations, scheduler=setting.scheduler, at=at)

    def told() -> Report:
        found = report(network)
        if found.at != at:
            raise ValueError(found.events[0])
        return found

    try:
        yield told
    finally:
        restore(network)


@contextmanager
def _taylorseer(network: torch.nn.Module, setting: Setting) -> Iterator[None]:
    """The one of diffusers in its "lite" mode: all blocks are skipped and the output is forecast."""
    interval, before = _interval(setting.steps, setting.evaluations)
    config = TaylorSeerCacheConfig(
        cache_interval=interval, disable_cache_before_step=before, max_order=1, use_lite_mode=True
    )
    with _enabled(network, config):
        yield


@contextmanager
def _first_block(network: torch.nn.Module, setting: Setting) -> Iterator[None]:
    _check(network)
    with _enabled(network, FirstBlockCacheConfig(threshold=_threshold(setting))):
        yield


@contextmanager
def _enabled(network: torch.nn.Module, config: Any) -> Iterator[None]:
    _check(network)
    network.enable_cache(config)
    try:
        yield
    finally:
        network.disable_cache()


def _check(network: torch.nn.Module) -> None:
    if not isinstance(network, CacheMixin):
        raise TypeError("it goes with networks that have diffusers' `CacheMixin` only")


@contextmanager
def _cache_dit(network: torch.nn.Module, setting: Setting) -> Iterator[None]:
    """cache-dit with its TaylorSeer: all blocks but the first are skipped at evenly spread steps."""
    import cache_dit

    mask = schedules.even(setting.steps, setting.evaluations)
    cache = cache_dit.DBCacheConfig(
        Fn_compute_blocks=1,
        Bn_compute_blocks=0,
        max_warmup_steps=1,
        num_inference_steps=setting.steps,
        steps_computation_mask=mask.astype(int).tolist(),
        steps_computation_policy="static",
    )
    calibrator = cache_dit.TaylorSeerCalibratorConfig(taylorseer_order=1)
    # Disabling leaves other forwards behind, and the lists of blocks in another order, in which other caches fail.
    before = [(module, vars(module) | {"_modules": dict(module._modules)}) for module in network.modules()]
    cache_dit.enable_cache(network, cache_config=cache, calibrator_config=calibrator)
    try:
        yield
    finally:
        cache_dit.disable_cache(network)
        for module, attributes in before:
            vars(module).clear()
            vars(module).update(attributes)


ACCELERATIONS = (
    Acceleration("ours, outputs", _outputs, ours=True),
    Acceleration("ours, features", _features, ours=True),
    Acceleration("TaylorSeer of diffusers, lite", _taylorseer),
    Acceleration("FirstBlockCache of diffusers", _first_block),
    Acceleration("cache-dit, first block and TaylorSeer", _cache_dit),
)


def _interval(steps: int, evaluations: int) -> tuple[int, int]:
    """The interval and the first steps with which diffusers' TaylorSeer comes nearest to so many evaluations."""

    def count(interval: int, before: int) -> int:
        return sum(step < before or (step - before - 1) % interval == 0 for step in range(steps))

    choices = [(interval, before) for before in range(2, evaluations + 1) for interval in range(2, steps)]
    return min(choices, key=lambda choice: (abs(count(*choice) - evaluations), choice[1]))


def _threshold(setting: Setting) -> float:
    """The threshold with which FirstBlockCache's rule comes nearest to the evaluations along a full run."""

    def evaluations(threshold: float) -> int:
        kept, count = setting.residuals[0], 1
        for residual in setting.residuals[1:]:
            if float((residual - kept).abs().mean() / kept.abs().mean()) > threshold:
                kept, count = residual, count + 1
        return count

    candidates = np.geomspace(1e-5, 10.0, 400)
    index = bisect.bisect_left(candidates, -setting.evaluations, key=lambda value: -evaluations(float(value)))
    near = candidates[max(index - 1, 0) : index + 1]
    return float(min(near, key=lambda value: abs(evaluations(float(value)) - setting.evaluations)))


@contextmanager
def first_block_changes(network: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collect what the first block adds to the image's tokens at each call; some 4096 numbers of it."""
    blocks = next(iter(block_lists(network)), None)
    residuals: list[torch.Tensor] = []

    def hook(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        before = kwargs.get("hidden_states", args[0] if args else None)
        parts = [part for part in (out if isinstance(out, tuple) else (out,)) if isinstance(part, torch.Tensor)]
        after = [part for part in parts if before is not None and part.shape == before.shape]
        if after:
            stride = before.numel() // 4096 | 1  # odd, so that all channels are met
            residuals.append((after[-1].flatten()[::stride] - before.flatten()[::stride]).float())

    handle = None if blocks is None else blocks[0].register_forward_hook(hook, with_kwargs=True)
    try:
        yield residuals
    finally:
        if handle is not None:
            handle.remove()
