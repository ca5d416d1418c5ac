"""What of an accelerated network is compiled? Its own forwards. Whatever decides about them runs as plain Python.

A hook stands inside of what `torch.compile` traces. Were its decisions traced, every one of them would end a graph or
become a condition of it. So the compiler is put aside while a hook decides, and is back while it runs the forward that
it replaces: one graph of the whole network, as it would be without the hook.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._C._dynamo.eval_frame import set_eval_frame  # what `torch.compiler.disable` itself calls

__all__ = ["uncompiled"]


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
