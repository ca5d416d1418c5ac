"""Where does a hook stand among a module's other hooks? Beneath the offloading of accelerate, whichever came first.

Both libraries replace a module's ``forward`` and keep what they found. accelerate's hooks can be taken off at any time,
and `enable_model_cpu_offload` does so after every run; what had been put around them would be lost with them, and they
with what had been put beneath. So the hook is always put beneath, and taken from there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.hooks import HookRegistry, ModelHook

from spectral_forecast.adapters.diffusers._copies import copied_as_plain, forget_copies

__all__ = ["attach", "attached", "detach"]

NAME = "spectral_forecast"  # of every hook of ours, in its module's registry


def attach(module: torch.nn.Module, hook: ModelHook) -> None:
    """Put our hook on a module."""
    with _beneath_offload(module):
        HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, NAME)
        copied_as_plain(module, NAME)


def attached(module: torch.nn.Module) -> Any:
    """Return our hook on a module, or None."""
    registry = getattr(module, "_diffusers_hook", None)
    return None if registry is None else registry.get_hook(NAME)


def detach(module: torch.nn.Module) -> None:
    """Take our hook from a module, and what diffusers leaves behind where no other hook is there."""
    if attached(module) is None:
        return
    registry = module._diffusers_hook
    forget_copies(module)
    with _beneath_offload(module):
        registry.remove_hook(NAME, recurse=False)
        registry.invalidate_child_registries_cache()
        if not registry.hooks:
            # The registry left an instance attribute in place of the class's method.
            if getattr(module.forward, "__func__", None) is type(module).forward:
                del module.forward
            del module._diffusers_hook


@contextmanager
def _beneath_offload(module: torch.nn.Module) -> Iterator[None]:
    """Let ``module.forward`` be what accelerate's hook calls, if there is one."""
    if "_old_forward" not in vars(module):
        yield
        return
    outer, module.forward = module.forward, module._old_forward
    yield
    module._old_forward, module.forward = module.forward, outer
