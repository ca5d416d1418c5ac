"""Where do the kept features lie, and how is one forecast from them? Arrays with one row more than is kept."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from spectral_forecast.ring import squares

__all__ = [
    "Ring",
    "allocate",
    "check_feature",
    "error",
    "feature",
    "replaced",
    "root_of_ratio",
    "store",
    "weighted_sum",
    "widened",
]


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
    doubt : pytree of array, shape (B, 1, ...), optional
        With a limit of forecasts' errors, for each item the relative error to be expected one step ahead; 0 as long as
        nothing is known.
    worse : pytree of array, shape (B, 1, ...), optional
        With such a limit, for each item `spectral_forecast.guarded.Doubts.worse`; 0 before the first arrival.
    """

    rows: Any
    dtypes: tuple[Any, ...] = field(metadata={"static": True})
    doubt: Any = None
    worse: Any = None

    @property
    def kept(self) -> int:
        """How many features are held at a time, K."""
        return int(jax.tree.leaves(self.rows)[0].shape[0]) - 1


def allocate(
    model: Callable[..., Any], args: Any, kwargs: Any, *, kept: int, dtype: Any, guarded: bool = False
) -> Ring:
    """Return a ring of zeros for the feature that ``model`` would give; the model is traced, not run."""

    def rows_and_norms() -> Any:
        # Broadcasting carries over how the feature is sharded, and over which axes of a mesh it varies; so do sums.
        given = feature(model, args, kwargs)
        rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (kept + 1, *jnp.shape(leaf))), given)
        return rows, jax.tree.map(lambda leaf: squares(widened(leaf)), given)

    specs, norms = jax.eval_shape(rows_and_norms)
    leaves = jax.tree.leaves(specs)
    if not leaves:
        raise ValueError("`model` gave a feature without arrays; write `return out, feature`.")
    for leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise TypeError(f"`model` gave a feature of dtype {leaf.dtype}; a feature to forecast is floating-point.")
    rows = jax.tree.map(lambda spec: _zeros(spec, dtype), specs)
    told = [jax.tree.map(lambda spec: _zeros(spec, None), norms) if guarded else None for _ in range(2)]
    return Ring(rows, tuple(leaf.dtype for leaf in leaves), *told)


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


def store(ring: Ring, row: Any, feature: Any, doubt: Any = None, worse: Any = None) -> Ring:
    """Return the ring with ``feature`` in ``row``, and what is now expected of forecasts."""

    def put(rows: jax.Array, leaf: jax.Array) -> jax.Array:
        return lax.dynamic_update_index_in_dim(rows, leaf.astype(rows.dtype), row, 0)

    return replace(ring, rows=jax.tree.map(put, ring.rows, feature), doubt=doubt, worse=worse)


def weighted_sum(weights: Any, ring: Ring, add: Any = None) -> Any:
    """Return ``weights`` (K,) times the first K rows, plus ``add``; summed in at least float32.

    ``weights`` may be a list, for each leaf an array (K, ...) that broadcasts against the rows. The result has the
    dtypes of ``add``, or those of the features.
    """
    rows, tree = jax.tree.flatten(ring.rows)
    start = [None] * len(rows) if add is None else tree.flatten_up_to(add)
    dtypes = ring.dtypes if add is None else [leaf.dtype for leaf in start]
    each = weights if isinstance(weights, list) else [weights] * len(rows)
    parts = zip(each, rows, start, dtypes, strict=True)
    return tree.unflatten([_sum(own, row, first).astype(dtype) for own, row, first, dtype in parts])


def replaced(weights: Any, ring: Ring) -> Any:
    """Return the forecast ``weights`` (K,) times the first K rows, to be compared with what replaces it.

    It has a branch of its own in the program. Next to a norm compilers for CPUs would take the sum apart, and hold all
    rows a second time in float32.
    """
    if isinstance(weights, np.ndarray):
        return weighted_sum(weights, ring)

    def nothing() -> Any:
        rows, tree = jax.tree.flatten(ring.rows)
        return tree.unflatten(
            [jnp.zeros_like(row[0], dtype=dtype) for row, dtype in zip(rows, ring.dtypes, strict=True)]
        )

    return lax.cond((weights != 0.0).any(), lambda: weighted_sum(weights, ring), nothing)


def error(weights: Any, row: Any, ring: Ring) -> jax.Array:
    """Return the relative error of the forecast that the feature in ``row``, the newest, has replaced.

    The forecast is ``weights`` (K,) times the first K rows. This row's weight is 0: where what was in it before had a
    part in the forecasts, `make_plan` asks for one row more. What is not a number is infinitely far off: one item's
    NaN, on whichever device, must not reach the others through a norm over all of them.
    """
    missed = size = jnp.zeros(())
    forecasts = jax.tree.leaves(replaced(weights, ring))
    for rows, forecast in zip(jax.tree.leaves(ring.rows), forecasts, strict=True):
        true = widened(lax.dynamic_index_in_dim(rows, row, keepdims=False))
        missed = missed + jnp.sum(jnp.abs(true - widened(forecast)) ** 2)
        size = size + jnp.sum(jnp.abs(true) ** 2)
    ratio = root_of_ratio(missed, size)
    return jnp.where(jnp.isnan(ratio), jnp.inf, ratio)


def root_of_ratio(missed: jax.Array, size: jax.Array) -> jax.Array:
    """Return the square root of a ratio; 0 where ``missed`` is, where neither a root nor 0 / 0 has a derivative."""
    wrong = missed != 0.0  # a NaN is one
    return jnp.where(wrong, jnp.sqrt(jnp.where(wrong, missed, 1.0) / jnp.where(wrong, size, 1.0)), 0.0)


def widened(leaf: Any) -> jax.Array:
    """Return an array in at least float32."""
    return jnp.asarray(leaf).astype(jnp.promote_types(leaf.dtype, jnp.float32))


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
