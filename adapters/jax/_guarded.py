"""How far does a forecast go in JAX? As far as the run's own evaluations bear it out: `GuardedRun` in a traced loop."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from spectral_forecast import Plan
from spectral_forecast.adapters.jax import _ring
from spectral_forecast.adapters.jax._ring import Ring
from spectral_forecast.corrector import guard
from spectral_forecast.guarded import WORST, worsened
from spectral_forecast.ring import squares

__all__ = ["Newest", "doubts", "drawn_back", "newest"]


class Newest(NamedTuple):
    """The newest evaluation before a step: its ring row, and how many steps ago it was; scalars, traced or not."""

    row: Any
    gap: Any
    known: Any  # False at the first step


def newest(plan: Plan, step: Any) -> Newest:
    """Return the newest evaluation before ``step``; on the host where plan and step are there."""
    xp = np if isinstance(plan.evaluate, np.ndarray) and isinstance(step, int | np.integer) else jnp
    steps = xp.arange(plan.evaluate.shape[0])
    before = xp.max(xp.where(xp.asarray(plan.evaluate) & (steps < step), steps, -1))
    return Newest(xp.asarray(plan.slot)[xp.maximum(before, 0)], step - before, before >= 0)


def doubts(feature: Any, weights: Any, last: Newest, ring: Ring) -> tuple[Any, Any]:
    """Return the relative error to be expected of forecasts one step ahead, and the ring's next ``worse``.

    They are what `Doubts` makes of the forecast that this evaluation replaces. For each leaf of the feature one number
    an item, (B, 1, ...); the first axis of arrays with two or more is the batch.
    """
    plain = _ring.replaced(weights, ring)

    def met(rows: jax.Array, leaf: jax.Array, forecast: jax.Array, before: jax.Array) -> tuple[jax.Array, jax.Array]:
        newest = lax.dynamic_index_in_dim(rows, last.row, keepdims=False)
        true, newest, forecast = map(_ring.widened, (leaf, newest, forecast))
        # Without the barrier, or in another order, compilers for CPUs hold one array more in float32.
        sizes = squares(true), squares(true - newest), squares(true - forecast)
        size, changed, missed = lax.optimization_barrier(sizes)
        error = _ring.root_of_ratio(jnp.minimum(missed, changed), jnp.where(size > 0.0, size, 1.0))
        worse = worsened(missed, changed, jnp.maximum(before, 1.0))
        error = worse * error / jnp.asarray(last.gap, error.dtype)
        return jnp.where(last.known, error, 0.0), jnp.where(last.known, worse, 0.0)

    both = jax.tree.map(met, ring.rows, feature, plain, ring.worse)
    return jax.tree.transpose(jax.tree.structure(feature), jax.tree.structure((0, 0)), both)


def drawn_back(weights: Any, last: Newest, ring: Ring, limit: float) -> Any:
    """Return a forecast that goes from the newest feature as far towards the plan's as the ring's doubt lets it.

    Both are weighted sums of the same rows, and so is what lies between them: no row is read twice.
    """

    def between(doubt: jax.Array) -> jax.Array:
        error = jnp.minimum(doubt * jnp.asarray(last.gap, doubt.dtype), WORST * limit)
        part = guard(error, limit)[None]
        plain, reuse = (
            jnp.asarray(w).astype(doubt.dtype).reshape(-1, *[1] * doubt.ndim)
            for w in (weights, np.arange(ring.kept) == last.row)
        )
        return part * plain + (1.0 - part) * reuse

    return _ring.weighted_sum([between(leaf) for leaf in jax.tree.leaves(ring.doubt)], ring)
