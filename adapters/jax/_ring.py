"""Where do the kept features lie, and how is one forecast from them? Arrays with one row more than is kept."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["Ring", "allocate", "check_feature", "error", "feature", "store", "weighted_sum"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ring:
    """The kept features of one run: a pytree that travels in the carry of a loop. Made by ``init``.

    Attributes
    ----------
    rows : pytree of array, shape (K + 1, ...)
        The feature's own structure with a leading axis. Row K takes what is not kept and is never read.
    dtypes : tuple of dtype
        Of the feature's leaves, in which forecasts come back; the rows may be held in another.
    """

    rows: Any
    dtypes: tuple[Any, ...] = field(metadata={"static": True})

    @property
    def kept(self) -> int:
        """How many features are held at a time, K."""
        return int(jax.tree.leaves(self.rows)[0].shape[0]) - 1


def allocate(model: Callable[..., Any], args: Any, kwargs: Any, *, kept: int, dtype: Any) -> Ring:
    """Return a ring of zeros for the feature that ``model`` would give; the model is traced, not run."""

    def rows() -> Any:
        # Broadcasting carries over how the feature is sharded, and over which axes of a mesh it varies.
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (kept + 1, *jnp.shape(leaf))), feature(model, args, kwargs)
        )

    specs = jax.eval_shape(rows)
    leaves = jax.tree.leaves(specs)
    if not leaves:
        raise ValueError("`model` gave a feature without arrays; write `return out, feature`.")
    for leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise TypeError(f"`model` gave a feature of dtype {leaf.dtype}; a feature to forecast is floating-point.")
    return Ring(jax.tree.map(lambda spec: _zeros(spec, dtype), specs), tuple(leaf.dtype for leaf in leaves))


def feature(model: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run the whole network and return its feature; where the head's result is not used, compilers drop the head."""
    result = model(*args, **kwargs)
    if not (isinstance(result, tuple) and len(result) == 2):
        got = "an array" if hasattr(result, "shape") else type(result).__name__
        raise TypeError(
            f"`model` returned {got} instead of the pair (out, feature); write "
            '`at="output"` for a plain model, or make it resumable with `resumable(trunk, head)`.'
        )
    return result[1]


def _zeros(spec: jax.ShapeDtypeStruct, dtype: Any) -> jax.Array:
    kind = spec.dtype if dtype is None or jnp.issubdtype(spec.dtype, jnp.complexfloating) else dtype
    manual = getattr(spec, "manual_axis_type", None)
    if manual is not None and manual.varying:  # inside `shard_map` each device has its own ring
        return lax.pcast(jnp.zeros(spec.shape, kind), tuple(manual.varying), to="varying")
    return jnp.zeros(spec.shape, kind, out_sharding=spec.sharding)


def check_feature(ring: Ring, feature: Any) -> Any:
    """Return a feature that fits the ring."""
    rows, given = jax.tree.flatten(ring.rows), jax.tree.flatten(feature)
    if rows[1] != given[1]:
        raise ValueError(f"`ring` was made for features {rows[1]}, `model` gave {given[1]}; call `init` again.")
    for row, dtype, leaf in zip(rows[0], ring.dtypes, given[0], strict=True):
        if row.shape[1:] != jnp.shape(leaf) or dtype != leaf.dtype:
            raise ValueError(
                f"`ring` was made for features of {dtype} and shape {row.shape[1:]}, `model` gave {leaf.dtype} of "
                f"shape {jnp.shape(leaf)}; call `init` with the arguments of this run."
            )
    return feature


def store(ring: Ring, row: Any, feature: Any) -> Ring:
    """Return the ring with ``feature`` in ``row``."""

    def put(rows: jax.Array, leaf: jax.Array) -> jax.Array:
        return lax.dynamic_update_index_in_dim(rows, leaf.astype(rows.dtype), row, 0)

    return Ring(jax.tree.map(put, ring.rows, feature), ring.dtypes)


def weighted_sum(weights: Any, ring: Ring, add: Any = None) -> Any:
    """Return ``weights`` (K,) times the first K rows, plus ``add``; summed in at least float32.

    The result has the dtypes of ``add``, or those of the features.
    """
    rows, tree = jax.tree.flatten(ring.rows)
    start = [None] * len(rows) if add is None else tree.flatten_up_to(add)
    dtypes = ring.dtypes if add is None else [leaf.dtype for leaf in start]
    total = [_sum(weights, row, first).astype(dtype) for row, first, dtype in zip(rows, start, dtypes, strict=True)]
    return tree.unflatten(total)


def error(weights: Any, row: Any, ring: Ring) -> jax.Array:
    """Return the relative error of the forecast that the feature in ``row``, the newest, has replaced.

    The forecast is ``weights`` (K,) times the first K rows. This row's weight is 0: where what was in it before had a
    part in the forecasts, `make_plan` asks for one row more.
    """
    missed = size = jnp.zeros(())
    for rows in jax.tree.leaves(ring.rows):
        true = lax.dynamic_index_in_dim(rows, row, keepdims=False)
        true = true.astype(jnp.promote_types(true.dtype, jnp.float32))
        missed = missed + jnp.sum(jnp.abs(_less(true, jnp.asarray(weights), rows)) ** 2)
        size = size + jnp.sum(jnp.abs(true) ** 2)
    # Neither a square root nor 0 / 0 has a derivative.
    wrong = missed > 0.0
    return jnp.where(wrong, jnp.sqrt(jnp.where(wrong, missed, 1.0) / jnp.where(wrong, size, 1.0)), 0.0)


def _less(true: jax.Array, weights: jax.Array, rows: jax.Array) -> jax.Array:
    """Subtract the weighted rows one by one: before a norm, `_sum` would hold all of them a second time on CPUs."""

    def subtract(k: Any, rest: jax.Array) -> jax.Array:
        row = lax.dynamic_index_in_dim(rows, k, keepdims=False).astype(rest.dtype)
        return rest - weights[k].astype(rest.dtype) * row

    return lax.fori_loop(0, rows.shape[0] - 1, subtract, true)


def _sum(weights: Any, row: jax.Array, first: Any) -> jax.Array:
    # One term after the other, which compilers fuse to one pass over the rows. A dot product would round to fewer
    # bits on accelerators and copy the rows first; `jnp.sum` over them is 20 to 400 times slower on CPUs.
    dtype = jnp.promote_types(row.dtype, jnp.float32)
    factors = jnp.asarray(weights).astype(dtype)
    total = None if first is None else first.astype(dtype)
    for k in range(row.shape[0] - 1):
        term = factors[k] * lax.index_in_dim(row, k, keepdims=False).astype(dtype)
        total = term if total is None else total + term
    return total
