"""What else need not run on a forecast step? What nobody but the skipped blocks would read.

The embedders of image and text, the rotations of their positions: skipped blocks hand on what they are given and do
not look at it. So such a module need not run either; its place takes a tensor of the same shape that is NaN
throughout, and takes no memory. Which modules these are is asked of autograd: what the result depends on. That is not
relied on but tried: resumed with the NaNs, the network must give the result just computed.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from spectral_forecast.adapters._session import Form
from spectral_forecast.adapters.diffusers._attach import attach, attached, detach
from spectral_forecast.adapters.diffusers._compiled import InnerHook

if TYPE_CHECKING:
    from spectral_forecast.adapters.diffusers._split import Split

__all__ = ["IdleHook", "idle_modules"]

_NO_HOOK = (torch.nn.ModuleList, torch.nn.ModuleDict, torch.jit.ScriptModule)  # the lists are never called
_FORMS = 16  # of calls: so many a module remembers


class Blank(NamedTuple):
    """The form of a module's result, and what takes the place of its tensors."""

    form: Form
    numbers: tuple[torch.Tensor, ...]  # one NaN for each
    shapes: tuple[torch.Size, ...]

    @classmethod
    def of(cls, result: Any) -> "Blank | None":
        """Return that of a result; None where it holds anything that cannot be NaN, or no tensor."""
        form, tensors = Form.of(result)
        plain = all(type(x) in (torch.Tensor, torch.nn.Parameter) for x in tensors)
        real = all(x.is_floating_point() or x.is_complex() for x in tensors)
        rest = all(x is None or isinstance(x, bool | int | float | str) for x in form.constants)
        if not (tensors and plain and real and rest):
            return None
        numbers = tuple(torch.full((), torch.nan, dtype=x.dtype, device=x.device) for x in tensors)
        return cls(form, numbers, tuple(x.shape for x in tensors))

    def build(self) -> Any:
        """Put a result together of NaNs."""
        return self.form.build([x.expand(shape) for x, shape in zip(self.numbers, self.shapes, strict=True)])


class IdleHook(InnerHook):
    """Runs its module, but where an evaluation is resumed that has no use for its result."""

    def __init__(self, split: "Split", name: str) -> None:
        super().__init__(split)
        self.name = name
        self.blanks: dict[Any, Blank | None] = {}  # by the form of the call
        self.traces = False  # what its results look like, and where they are in the graph of gradients
        self.nodes: set[Any] = set()  # there

    @property
    def can_idle(self) -> bool:
        """Whether it was called, and every result can be left blank."""
        return bool(self.blanks) and None not in self.blanks.values()

    def take(self, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run the module, or leave its result blank."""
        if self.split.inline:  # in one graph with the rest, which asking for the thread would end
            return run(*args, **kwargs)
        cut = self.split.resumed()
        idles = cut is not None and self.name in cut.idle
        # What runs after the last block is there for the result.
        traces = cut is not None and self.traces and self.split.position <= len(cut.actions)
        if not idles and not traces:
            return run(*args, **kwargs)
        call = _form(args, kwargs)
        if idles and (blank := self.blanks.get(call)) is not None:
            return blank.build()
        result = run(*args, **kwargs)
        if len(self.blanks) >= _FORMS:
            self.blanks.clear()
        self.blanks[call] = Blank.of(result)
        return pytree.tree_map(self._marked, result) if traces and torch.is_grad_enabled() else result

    def _marked(self, leaf: Any) -> Any:
        """The same tensor, with a node of its own in the graph of gradients."""
        if not isinstance(leaf, torch.Tensor) or not (leaf.is_floating_point() or leaf.is_complex()):
            return leaf
        marked = (leaf if leaf.requires_grad else leaf.detach().requires_grad_()) * 1
        self.nodes.add(marked.grad_fn)
        return marked


def idle_modules(
    network: torch.nn.Module, split: "Split", trace: Callable[[], Any], works: Callable[[frozenset[str]], bool]
) -> frozenset[str]:
    """Return the names of a network's modules that need not run when it is resumed; each carries an `IdleHook` then.

    They are children of the network outside of its lists of blocks, and children of those.

    Parameters
    ----------
    network : Module
    split : Split
        Of the network.
    trace : callable
        Resumes the network with gradients, and returns the result; None where that fails.
    works : callable
        Resumes the network without the modules of these names, and says whether that gives the right result.
    """
    idle: frozenset[str] = frozenset()
    modules = _outside(network)
    before = {name: attached(module) for name, module in modules.items()}
    hooks = {name: hook or IdleHook(split, name) for name, hook in before.items()}
    try:
        for name, hook in hooks.items():
            if before[name] is None:
                attach(modules[name], hook)
        candidates = _unread(hooks, trace)
        outermost = frozenset(name for name in candidates if _parent(name) not in candidates)
        if outermost and works(outermost):
            idle = outermost
        else:  # autograd does not see all
            for name in candidates:
                if _parent(name) not in idle and works(idle | {name}):
                    idle |= {name}
    finally:
        for name, module in modules.items():
            if before[name] is None and name not in idle:
                detach(module)
    return idle


def _unread(hooks: dict[str, IdleHook], trace: Callable[[], Any]) -> list[str]:
    """Names of the modules that can be idle and that autograd does not know the result to depend on."""
    for hook in hooks.values():
        hook.traces = True
    try:
        result = trace()
        reached = _reached(result)
        return [
            name for name, hook in hooks.items() if result is not None and hook.can_idle and not hook.nodes & reached
        ]
    finally:
        for hook in hooks.values():
            hook.traces = False
            hook.nodes.clear()


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _reached(result: Any) -> set[Any]:
    """The nodes of the graph of gradients that a result depends on."""
    reached: set[Any] = set()
    left = [x.grad_fn for x in pytree.tree_leaves(result) if isinstance(x, torch.Tensor)]
    while left:
        node = left.pop()
        if node is not None and node not in reached:
            reached.add(node)
            left += [following for following, _ in node.next_functions]
    return reached


def _outside(network: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The children of a network and theirs, in this order, but for blocks, and for what cannot carry a hook."""
    found: dict[torch.nn.Module, str] = {}
    for name, child in network.named_children():
        for inner, module in [("", child), *child.named_children()]:
            hook = attached(module)
            if not isinstance(module, _NO_HOOK) and (hook is None or isinstance(hook, IdleHook)):
                found.setdefault(module, f"{name}.{inner}" if inner else name)
    return {name: module for module, name in found.items()}


def _form(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What tells a module's calls apart whose results may differ in form."""
    leaves, spec = pytree.tree_flatten((args, kwargs))
    plain = (type(None), bool, int, float, str)
    told = (
        (x.shape, x.dtype, x.device) if isinstance(x, torch.Tensor) else x if isinstance(x, plain) else type(x)
        for x in leaves
    )
    return str(spec), tuple(told)
