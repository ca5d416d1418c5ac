"""Which steps run the network, when it is decided during the run? A rule on what the carry of the loop tells."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from spectral_forecast.adapters.jax import _ring
from spectral_forecast.adapters.jax._ring import Ring

__all__ = ["Evidence", "Gated", "GatedRing", "gated"]


class Evidence(NamedTuple):
    """What a gate may look at before a step; traced values.

    Attributes
    ----------
    step : int32, shape ()
        Number of the step.
    skipped : int32, shape ()
        Forecasts in a row just before it.
    change : float, shape (B,)
        How far each item of the model's first argument has moved since the network ran last: the mean of the absolute
        change divided by the mean absolute value then. The first axis is the batch; an argument of one axis or none
        is one item.
    """

    step: jax.Array
    skipped: jax.Array
    change: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Gated:
    """Decisions at run time, in place of a plan: evaluate where a gate says so, else extrapolate.

    Parameters
    ----------
    times : array, shape (N,)
        The run's clock, strictly increasing.
    gate : callable
        ``gate(evidence) -> bool``, scalar or one for each item, in terms of `jax.numpy`. The network runs when any
        item asks for it, and at the first step.
    order : int
        Forecasts are the polynomial of this order through the newest ``order + 1`` evaluated features, at their true
        times; of lower order as long as there are fewer. 0 is reuse.
    axis_name : str or tuple of str, optional
        Mesh axes of a `jax.shard_map`, or the name of a `jax.vmap`, over which items are spread: the network runs
        everywhere when it is asked for anywhere. Without it devices would part ways, and ``vmap`` would run both
        branches.
    """

    times: Any
    gate: Callable[[Evidence], Any] = field(metadata={"static": True})
    order: int = field(default=1, metadata={"static": True})
    axis_name: Hashable = field(default=None, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GatedRing:
    """The kept features of a gated run, and what its gate needs.

    Attributes
    ----------
    ring : Ring
        The newest features.
    nodes : int32, shape (K,)
        Step of each row; -1 where nothing is kept yet.
    evaluations, skipped : int32, shape ()
        How often the network ran, and forecasts in a row since.
    last : array
        The model's first argument when the network ran last.
    """

    ring: Ring
    nodes: jax.Array
    evaluations: jax.Array
    skipped: jax.Array
    last: jax.Array


def gated(model: Callable[..., Any], plan: Gated, dtype: Any) -> tuple[Any, Any, Any]:
    """Return ``init``, ``apply`` and ``correct`` as `forecasted` describes them."""
    kept = plan.order + 1

    def init(*args: Any, **kwargs: Any) -> GatedRing:
        ring = _ring.allocate(model, args, kwargs, kept=kept, dtype=dtype)
        zero = jnp.zeros((), jnp.int32)
        return GatedRing(ring, jnp.full(kept, -1, jnp.int32), zero, zero, jnp.zeros_like(args[0]))

    def apply(state: GatedRing, step: Any, *args: Any, **kwargs: Any) -> tuple[Any, GatedRing]:
        _check(state, kept, args)
        step = jnp.asarray(step, jnp.int32)
        asked = jnp.any(plan.gate(Evidence(step, state.skipped, _change(args[0], state.last))))
        if plan.axis_name is not None:
            asked = lax.pmax(asked.astype(jnp.int32), plan.axis_name) > 0
        _check_agreement(asked)
        evaluate = asked | (state.evaluations == 0)
        feature = lax.cond(
            evaluate,
            lambda: _ring.check_feature(state.ring, _ring.feature(model, args, kwargs)),
            lambda: _ring.weighted_sum(_weights(jnp.asarray(plan.times), state.nodes, step), state.ring),
        )
        row = jnp.where(evaluate, state.evaluations % kept, kept)
        state = GatedRing(
            _ring.store(state.ring, row, feature),
            jnp.where(jnp.arange(kept) == row, step, state.nodes),
            state.evaluations + evaluate,
            jnp.where(evaluate, 0, state.skipped + 1),
            jnp.where(evaluate, args[0], state.last),
        )
        return model(*args, feature=feature, **kwargs)[0], state

    def correct(_ring: GatedRing, _step: Any, x: Any, limit: float | None = 0.2) -> Any:  # noqa: ARG001
        return x  # a corrector is a table of a plan

    return init, apply, correct


def _weights(times: jax.Array, nodes: jax.Array, step: jax.Array) -> jax.Array:
    """Lagrange's weights of the filled rows; with static shapes, a row that is not filled is a factor of one."""
    filled = nodes >= 0
    tau = times[jnp.maximum(nodes, 0)]
    others = filled[None, :] & ~jnp.eye(nodes.size, dtype=bool)
    gaps = jnp.where(others, tau[:, None] - tau[None, :], 1.0)
    factors = jnp.where(others, (times[step] - tau)[None, :] / gaps, 1.0)
    return jnp.where(filled, jnp.prod(factors, axis=1), 0.0)


def _change(x: jax.Array, last: jax.Array) -> jax.Array:
    axes = tuple(range(1, x.ndim)) if x.ndim > 1 else None
    now, then = (value.astype(jnp.promote_types(value.dtype, jnp.float32)) for value in (x, last))
    scale = jnp.mean(jnp.abs(then), axis=axes)
    return jnp.atleast_1d(jnp.mean(jnp.abs(now - then), axis=axes) / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny))


def _check(state: Any, kept: int, args: tuple[Any, ...]) -> None:
    if not isinstance(state, GatedRing):
        raise TypeError(f"`ring` is {type(state).__name__}; write what `init` of this `Gated` returned.")
    if state.ring.kept != kept:
        raise ValueError(
            f"`ring` holds {state.ring.kept} features, `order` {kept - 1} needs {kept}; call `init` again."
        )
    if state.last.shape != jnp.shape(args[0]):
        raise ValueError(
            f"`ring` was made for a first argument of shape {state.last.shape}, got {jnp.shape(args[0])}; call `init` "
            "with the arguments of this run."
        )


def _check_agreement(asked: jax.Array) -> None:
    """Inside `shard_map` the devices' decisions must have been brought together."""
    varying = getattr(getattr(jax.typeof(asked), "manual_axis_type", None), "varying", ())
    if varying:
        names = sorted(map(str, varying))
        raise ValueError(f"`axis_name` does not cover the mesh axes {names}, over which items are spread; name them.")
