"""Where does a hook stand among a module's other hooks? Beneath the offloading of accelerate, whichever came first.

Both libraries replace a module's ``forward`` and keep what they found. accelerate's hooks can be taken off at any time,
and `enable_model_cpu_offload` does so after every run; what had been put around them would be lost with them, and they
with what had been put beneath. So the hook is always put beneath, and taken from there.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers.hooks import HookRegistry, ModelHook

from spectral_forecast.adapters.diffusers._copies import copied_as_plain, forget_copies

__all__ = ["attach", "detach"]


def attach(module: torch.nn.Module, hook: ModelHook, name: str) -> None:
    """Put a hook on a module."""
    with _beneath_offload(module):
        HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, name)
        copied_as_plain(module, name)


def detach(module: torch.nn.Module, name: str) -> None:
    """Take a hook from a module, and what diffusers leaves behind where no other hook is there."""
    registry = getattr(module, "_diffusers_hook", None)
    if registry is None or registry.get_hook(name) is None:
        return
    forget_copies(module)
    with _beneath_offload(module):
        registry.remove_hook(name, recurse=False)
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
