"""Forecasting for diffusers: one line for a pipeline or a transformer, and one that takes it back.

>>> from spectral_forecast.adapters.diffusers import accelerate, report, restore
>>> pipe = accelerate(pipe, evaluations=14)  # doctest: +SKIP
>>> image = pipe("a cat", num_inference_steps=50).images[0]  # doctest: +SKIP
>>> print(report(pipe))  # doctest: +SKIP
>>> restore(pipe)  # doctest: +SKIP
"""

import copy
import inspect
import weakref
from typing import Any, Literal, TypeVar

import torch
from diffusers import DiffusionPipeline
from diffusers.hooks import HookRegistry

from spectral_forecast import LinearForecaster, Plan, spectrum
from spectral_forecast.adapters.diffusers._copies import copied_as_plain, forget_copies
from spectral_forecast.adapters.diffusers._hook import RootHook, Settings
from spectral_forecast.adapters.diffusers._report import Report
from spectral_forecast.adapters.diffusers._schedulers import Limits, limits
from spectral_forecast.adapters.diffusers._split import BlockHook, Split, block_lists

__all__ = ["Limits", "Report", "accelerate", "limits", "report", "restore"]

_NAME = "spectral_forecast"
_TIME_NAMES = ("timestep", "timesteps", "t", "timestep_ratio")
_Model = TypeVar("_Model", bound="DiffusionPipeline | torch.nn.Module")


def accelerate(
    model: _Model,
    plan: Plan | None = None,
    *,
    evaluations: int | None = None,
    forecaster: LinearForecaster | None = None,
    at: Literal["output", "features"] = "output",
    scheduler: Any = None,
) -> _Model:
    """Let a pipeline's network run at some steps only, and forecast the others.

    Parameters
    ----------
    model : DiffusionPipeline or torch.nn.Module
        A pipeline with a ``transformer`` or a ``unet``, or such a network itself. Two transformers that take turns
        (Wan 2.2) are both accelerated: the steps are shared out, and each begins with features of its own.
    plan : Plan, optional
        What `make_plan` returned, for runs of exactly its number of steps. In longer or shorter runs nothing is
        forecast, and the report says so.
    evaluations : int, optional
        Instead of a plan: how many steps of a run to evaluate, by `schedules.even`. The length of the run is
        the scheduler's. Where its `limits` ask for more evaluations, there are more, and the report says so.
    forecaster : LinearForecaster, optional
        The rule that goes with ``evaluations``. By default ``spectrum(0.5, mode="free")``.
    at : {"output", "features"}
        What is forecast. "output": the network's result; any network, little memory. "features": what the last
        block hands to the head; the blocks are skipped, and the embedding and the head run. Where the blocks are is
        found by watching the first evaluation, which is then resumed once to see that the result is the same. A
        network that cannot be split says so, in a warning and in the report, and its outputs are forecast.
    scheduler : SchedulerMixin, optional
        The scheduler that drives a network given without its pipeline. Without one, give a plan; the steps are
        then told apart by their timesteps, and a run begins when time goes back.

    Returns
    -------
    The same object.

    Raises
    ------
    ValueError
        If neither or both of ``plan`` and ``evaluations`` are given, if the network is accelerated already or one
        of diffusers' own caches is on, or if ``at`` is "features" and the network has no lists of blocks.

    Notes
    -----
    Whenever something about a step is unexpected (another shape or dtype, steps left out, a result that is not
    finite), the network is evaluated, the features kept so far are dropped and the report says so. In runs of fewer
    than 8 steps, and with schedulers whose `limits` allow no forecasts, ``evaluations`` forecasts nothing and a
    warning says why; a plan is followed all the same.
    """
    networks, clock = _networks(model, scheduler)
    settings = _settings(plan, evaluations, forecaster, at, has_clock=clock is not None, shared=len(networks) > 1)
    for network in networks.values():
        _check(network, at)
    for network in networks.values():
        signature = inspect.signature(network.forward)
        time_name = next(name for name in _TIME_NAMES if name in signature.parameters)
        root = RootHook(settings, signature, time_name, (lambda: None) if clock is None else clock)
        if at == "features":
            root.split = _split(network)
        registry = HookRegistry.check_if_exists_or_initialize(network)
        registry.register_hook(root, _NAME)
        copied_as_plain(network, _NAME)
        registry.invalidate_child_registries_cache()
    return model


def restore(model: _Model) -> _Model:
    """Take everything back that `accelerate` did; the network is as it was, and its features are let go.

    Parameters
    ----------
    model : DiffusionPipeline or torch.nn.Module
        What `accelerate` was given. Without acceleration nothing happens.

    Returns
    -------
    The same object.
    """
    networks, _ = _networks(model, None)
    for module in (module for network in networks.values() for module in network.modules()):
        registry = getattr(module, "_diffusers_hook", None)
        if registry is None or registry.get_hook(_NAME) is None:
            continue
        forget_copies(module)
        registry.remove_hook(_NAME, recurse=False)
        registry.invalidate_child_registries_cache()
        if not registry.hooks:
            # The registry left an instance attribute in place of the class's method.
            if getattr(module.forward, "__func__", None) is type(module).forward:
                del module.forward
            del module._diffusers_hook
    return model


def report(model: DiffusionPipeline | torch.nn.Module) -> Report:
    """Return what an accelerated model did in its newest run.

    Parameters
    ----------
    model : DiffusionPipeline or torch.nn.Module
        What `accelerate` was given.

    Returns
    -------
    Report
        A copy, which later runs do not change. Before the first run it counts nothing.
    """
    networks, _ = _networks(model, None)
    hooks = {name: _hook(network) for name, network in networks.items()}
    if None in hooks.values():
        names = ", ".join(type(network).__name__ for network in networks.values())
        raise ValueError(f"`model`: this {names} is not accelerated; call `accelerate` first.")
    reports = {name: copy.deepcopy(hook.report) for name, hook in hooks.items()}
    return next(iter(reports.values())) if len(reports) == 1 else Report.joined(reports)


def _networks(model: Any, scheduler: Any) -> tuple[dict[str, torch.nn.Module], Any]:
    """Return the networks of a pipeline by name, and a callable that gives its scheduler (or None)."""
    if isinstance(model, DiffusionPipeline):
        found = {name: getattr(model, name, None) for name in ("transformer", "transformer_2", "unet")}
        networks = {name: network for name, network in found.items() if network is not None}
        if not networks:
            raise ValueError(f"`model`: {type(model).__name__} has no `transformer` and no `unet`; give the network.")
        # Weak, so that the network does not keep its pipeline alive; the pipeline's scheduler may be exchanged.
        owner = weakref.ref(model)
        return networks, lambda: getattr(owner(), "scheduler", None)
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"`model` is {type(model).__name__}; write a diffusers pipeline or its transformer.")
    return {"network": model}, None if scheduler is None else lambda: scheduler


def _check(network: torch.nn.Module, at: str) -> None:
    """Refuse a network that cannot be accelerated, before anything is hooked."""
    name = type(network).__name__
    if _hook(network) is not None:
        raise ValueError(f"`model`: this {name} is accelerated already; call `restore` first.")
    if getattr(network, "is_cache_enabled", False):
        raise ValueError("`model` has one of diffusers' caches enabled; call its `disable_cache()` first.")
    if not set(_TIME_NAMES) & set(inspect.signature(network.forward).parameters):
        names = ", ".join(_TIME_NAMES)
        raise ValueError(f"`model`: {name}.forward takes none of {names}; use `plan.start()` in your own loop.")
    if at == "features" and not block_lists(network):
        raise ValueError(f'`at`: {name} has no list of blocks to skip; write `at="output"`.')


def _settings(plan: Any, evaluations: Any, forecaster: Any, at: str, *, has_clock: bool, shared: bool) -> Settings:
    """Check what is asked for."""
    if at not in ("output", "features"):
        raise ValueError(f'`at` is {at!r}; write "output" or "features".')
    if (plan is None) == (evaluations is None):
        raise ValueError("`plan` and `evaluations`: write exactly one of them, for instance `evaluations=14`.")
    if plan is not None:
        if not isinstance(plan, Plan):
            raise TypeError(f"`plan` is {type(plan).__name__}; write what `make_plan` returned.")
        if shared:
            raise ValueError("`plan`: a pipeline with two transformers needs `evaluations`, since each begins anew.")
        if forecaster is not None:
            raise ValueError("`forecaster` goes with `evaluations`; a plan has its forecaster's weights already.")
        return Settings(plan, None, None, at)
    if not isinstance(evaluations, int) or evaluations < 1:
        raise ValueError(f"`evaluations` is {evaluations!r}; write a whole number, 1 or more.")
    if not has_clock:
        raise ValueError("`evaluations` needs the length of a run; write `scheduler=`, or give a plan.")
    rule = spectrum(0.5, mode="free") if forecaster is None else forecaster
    if not isinstance(rule, LinearForecaster):
        raise TypeError(f"`forecaster` is {type(rule).__name__}, without a method `weights(times, t)`.")
    return Settings(None, rule, evaluations, at, shared)


def _split(network: torch.nn.Module) -> Split:
    """Put a hook on every block in the network's own lists of modules."""
    whole = sum(parameter.numel() for parameter in network.parameters())
    shares = [sum(parameter.numel() for parameter in blocks.parameters()) / whole for blocks in block_lists(network)]
    split = Split(shares)
    for group, blocks in enumerate(block_lists(network)):
        for block in blocks:
            hook = BlockHook(split, group)
            HookRegistry.check_if_exists_or_initialize(block).register_hook(hook, _NAME)
            copied_as_plain(block, _NAME)
    return split


def _hook(network: torch.nn.Module) -> RootHook | None:
    registry = getattr(network, "_diffusers_hook", None)
    return registry.get_hook(_NAME) if registry is not None else None
