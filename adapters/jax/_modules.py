"""How does a Flax or Equinox module become resumable without copying its code?

The blocks are passed over and the head's input is exchanged while the module's own ``__call__`` runs. Parameters are an
argument of the resumable model, never a constant of the program: ``model(parameters, *args, feature=None)``.
"""

from collections.abc import Callable, Mapping
from typing import Any

from spectral_forecast.adapters.jax._resumable import Resumable

__all__ = ["from_equinox", "from_linen", "from_nnx"]


def first(*args: Any, **kwargs: Any) -> Any:
    """The stand-in for a block that returns what became of its first argument."""
    return args[0] if args else next(iter(kwargs.values()))


class Probe:
    """Stands before a head: remembers the head's first argument, or puts a feature in its place."""

    def __init__(self, head: Callable[..., Any], feature: Any) -> None:
        self.head = head
        self.feature = feature
        self.seen: list[Any] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the head; its first argument may be positional or named."""
        value = first(*args, **kwargs) if self.feature is None else self.feature
        self.seen.append(value)
        if args:
            return self.head(value, *args[1:], **kwargs)
        return self.head(**{**kwargs, next(iter(kwargs)): value})

    def result(self, out: Any, name: str) -> tuple[Any, Any]:
        """Return the pair of a resumable model."""
        if len(self.seen) != 1:
            raise ValueError(f"`head`: {name} was called {len(self.seen)} times; write a part that is called once.")
        return out, self.seen[0]


def from_linen(module: Any, *, blocks: Any, head: str) -> Resumable:
    """Return ``model(variables, *args, feature=None)`` of a Flax linen module, by an interceptor.

    Parameters
    ----------
    module : flax.linen.Module
    blocks : type, tuple of types, or mapping of types to callables
        Classes of the submodules that a forecast replaces. A callable stands in for the class's ``__call__`` where a
        feature is given; by default it returns its first argument. What it returns must only have the right shapes.
    head : str
        Name of the submodule whose first argument is the feature: the first part of the head.

    Returns
    -------
    callable
        Collections that ``module.apply`` would change are left as they are.
    """
    from flax import linen

    stand_ins = _stand_ins(blocks)

    def model(variables: Any, *args: Any, feature: Any = None, **kwargs: Any) -> tuple[Any, Any]:
        probe = Probe(first, feature)

        def intercept(run: Any, arguments: Any, named: Any, context: Any) -> Any:
            if context.method_name != "__call__":
                return run(*arguments, **named)
            if feature is not None and isinstance(context.module, tuple(stand_ins)):
                kind = next(kind for kind in stand_ins if isinstance(context.module, kind))
                return stand_ins[kind](*arguments, **named)
            if context.module.name == head:
                probe.head = run
                return probe(*arguments, **named)
            return run(*arguments, **named)

        with linen.intercept_methods(intercept):
            return probe.result(module.apply(variables, *args, **kwargs), f"a submodule named {head!r}")

    return model


def from_nnx(module: Any, *, blocks: Any, head: str) -> tuple[Resumable, Any]:
    """Return ``model(state, *args, feature=None)`` of a Flax NNX module, and its state.

    Parameters
    ----------
    module : flax.nnx.Module
        It is left as it is; each call works on a copy.
    blocks : str, tuple of str, or mapping of str to callables
        Attributes that hold a block or a list of blocks. A callable stands in for each block where a feature is
        given; by default it returns its first argument.
    head : str
        Attribute whose first argument is the feature, "norm_out" or "final.norm": the first part of the head.

    Returns
    -------
    model : callable
        Changes that a call makes to the state (random-number counts, batch statistics) are dropped.
    state : flax.nnx.State
        A pytree: hand it to your jitted function as an argument.
    """
    from flax import nnx

    stand_ins = _stand_ins(blocks)
    graph, state = nnx.split(module)
    *path, name = head.split(".")

    def model(state: Any, *args: Any, feature: Any = None, **kwargs: Any) -> tuple[Any, Any]:
        copy = nnx.merge(graph, state)
        owner = copy
        for part in path:
            owner = getattr(owner, part)
        probe = Probe(getattr(owner, name), feature)
        vars(owner)[name] = probe  # the copy is thrown away: no need to tell NNX about its new parts
        if feature is not None:
            for attribute, stand_in in stand_ins.items():
                vars(copy)[attribute] = _replaced(getattr(copy, attribute), stand_in)
        return probe.result(copy(*args, **kwargs), f"`{head}`")

    return model, state


def from_equinox(module: Any, *, blocks: Callable[[Any], Any], head: Callable[[Any], Any]) -> tuple[Resumable, Any]:
    """Return ``model(arrays, *args, feature=None)`` of an Equinox module, and its arrays.

    Parameters
    ----------
    module : equinox.Module
    blocks : callable
        ``lambda m: m.blocks``, as for `equinox.tree_at`: the list of blocks that a forecast replaces. Where a feature
        is given each returns its first argument.
    head : callable
        ``lambda m: m.norm_out``: the part whose first argument is the feature.

    Returns
    -------
    model : callable
    arrays : equinox.Module
        The module's arrays, a pytree: hand it to your jitted function as an argument.
    """
    import equinox

    arrays, rest = equinox.partition(module, equinox.is_array)

    def model(arrays: Any, *args: Any, feature: Any = None, **kwargs: Any) -> tuple[Any, Any]:
        copy = equinox.combine(arrays, rest)
        probe = Probe(head(copy), feature)
        copy = equinox.tree_at(head, copy, probe)
        if feature is not None:
            copy = equinox.tree_at(blocks, copy, _replaced(blocks(copy), first))
        return probe.result(copy(*args, **kwargs), "what it selects")

    return model, arrays


def _stand_ins(blocks: Any) -> Mapping[Any, Callable[..., Any]]:
    if isinstance(blocks, Mapping):
        return blocks
    return dict.fromkeys(blocks if isinstance(blocks, tuple) else (blocks,), first)


def _replaced(blocks: Any, stand_in: Callable[..., Any]) -> Any:
    """As many stand-ins as there are blocks, since a model may count them."""
    if callable(blocks):
        return stand_in
    return tuple([stand_in] * len(blocks)) if isinstance(blocks, tuple) else [stand_in] * len(blocks)
