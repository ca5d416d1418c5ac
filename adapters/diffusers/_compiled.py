"""What of an accelerated network is compiled? Its own forwards. Whatever decides about them runs as plain Python.

A hook stands inside of what `torch.compile` traces. Were its decisions traced, every one of them would end a graph or
become a condition of it. So the compiler is put aside while a hook decides, and is back while it runs the forward that
it replaces: one graph of the whole network, as it would be without the hook.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from diffusers.hooks import ModelHook
from torch._C._dynamo.eval_frame import set_eval_frame  # what `torch.compiler.disable` itself calls

if TYPE_CHECKING:
    from spectral_forecast.adapters.diffusers._split import Split

__all__ = ["InnerHook", "uncompiled"]


def uncompiled(decide: Callable[..., Any]) -> Callable[..., Any]:
    """Make a hook's ``new_forward(module, *args, **kwargs)`` of a ``decide(module, run, args, kwargs, compiled=...)``.

    ``run(*args, **kwargs)`` is the module's own forward, compiled as the caller has asked for; ``compiled`` says
    whether the caller has.
    """

    @torch.compiler.disable(recursive=False, reason="spectral_forecast decides in Python; leave out `fullgraph=True`.")
    @functools.wraps(decide)
    def new_forward(self: Any, module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        compiler = set_eval_frame(None)

        def run(*args: Any, **kwargs: Any) -> Any:
            set_eval_frame(compiler)
            try:
                return self.fn_ref.original_forward(*args, **kwargs)
            finally:
                set_eval_frame(None)

        try:
            return decide(self, module, run, args, kwargs, compiled=compiler not in (None, False))
        finally:
            set_eval_frame(compiler)

    return new_forward


class InnerHook(ModelHook):
    """Decides in `take` about a module inside of an accelerated network, as the network's `Split` has it."""

    def __init__(self, split: "Split") -> None:
        super().__init__()
        self.split = split

    def new_forward(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Run the module, or give what takes the place of its result."""
        if self.split.inline:
            return self.take(self.fn_ref.original_forward, args, kwargs)
        return self._alone(module, *args, **kwargs)

    def take(self, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Return ``run(*args, **kwargs)``, or something in its place; traced where the `Split` is ``inline``."""
        raise NotImplementedError

    @uncompiled
    def _alone(
        self, _module: torch.nn.Module, run: Callable[..., Any], args: Any, kwargs: Any, *, compiled: bool
    ) -> Any:
        # What is done depends on the module's place among the others: compiled, it would be compiled for each.
        del compiled
        return self.take(run, args, kwargs)
