"""What is a copy of an accelerated network? A plain one, that has nothing in common with the original.

diffusers puts a closure over the original module into the place of ``forward``: a deep copy of a hooked network
would run the original's weights and hooks, and a pickle of it fails. Here the module itself says how it is reduced,
to `copy.deepcopy` and to `pickle` alike: without our hook, its ``forward`` and what it holds.
"""

import functools
from typing import Any

import torch
from diffusers.hooks import HookRegistry

from spectral_forecast.adapters._session import Settings

__all__ = ["copied_as_plain", "forget_copies"]

_REDUCE = "__reduce_ex__"


def copied_as_plain(module: torch.nn.Module, name: str) -> None:
    """Make copies and pickles of a module be without its hook ``name``, which was registered just now."""
    wrapped, fn_ref = module.forward, module._diffusers_hook.get_hook(name).fn_ref
    module.__dict__[_REDUCE] = functools.partial(_reduce, module, name, wrapped, fn_ref.original_forward)


def forget_copies(module: torch.nn.Module) -> None:
    """Take back what `copied_as_plain` did."""
    module.__dict__.pop(_REDUCE, None)


def _reduce(module: torch.nn.Module, name: str, wrapped: Any, original: Any, protocol: int) -> Any:
    """Return what ``__reduce_ex__`` of the module would return if it had no hook ``name``."""
    constructor, arguments, state, *rest = type(module).__reduce_ex__(module, protocol)
    ours = {key for key, value in state.items() if key in (_REDUCE, "_diffusers_hook") or isinstance(value, Settings)}
    state = {key: value for key, value in state.items() if key not in ours}
    # Another library's hooks (accelerate's offloading) keep the forward that they replaced in an attribute.
    places = [key for key, value in state.items() if value is wrapped]
    if not places:
        raise TypeError(
            f"{type(module).__name__} has another hook on top of the forecasts, and a copy of that one would run the "
            "original network; call `restore` before copying."
        )
    for place in places:
        state[place] = original
    if getattr(state["forward"], "__func__", None) is type(module).forward:
        del state["forward"]
    others = _without(module, name)
    if others.hooks:
        state["_diffusers_hook"] = others
    return constructor, arguments, state, *rest


def _without(module: torch.nn.Module, name: str) -> HookRegistry:
    """Return the registry of a module as it was without the hook ``name``."""
    whole, rest = module._diffusers_hook, HookRegistry(module)
    for other, fn_ref in zip(whole._hook_order, whole._fn_refs, strict=True):
        if other != name:
            rest.hooks[other] = whole.hooks[other]
            rest._hook_order.append(other)
            rest._fn_refs.append(fn_ref)
    return rest
