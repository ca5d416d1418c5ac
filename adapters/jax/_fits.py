"""Do plan, ring, sample and limit go together? Asked at trace time, since a traced index is clamped and no error."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spectral_forecast import Plan, _checks
from spectral_forecast.adapters.jax._gated import Gated
from spectral_forecast.adapters.jax._ring import Ring

__all__ = ["check_limit", "check_parts", "check_ring", "check_sample", "check_steps", "length"]


def length(plan: Plan | Gated) -> int:
    """Number of steps of a plan."""
    return int(plan.times.shape[0] if isinstance(plan, Gated) else plan.evaluate.shape[0])


def check_parts(plan: Plan) -> None:
    """Refuse a plan whose parts do not belong together."""
    shapes = [jnp.shape(part) for part in plan]
    steps = shapes[0][:1]
    kept = shapes[2][1:]
    if len(steps) != 1 or len(kept) != 1 or shapes != [steps, steps, steps + kept, steps + kept]:
        raise ValueError(
            f"`plan` has parts of shapes {', '.join(map(str, shapes))}; write (N,), (N,), (N, K) and (N, K), as "
            "`make_plan` returns them. Under `jax.vmap` write `in_axes=None` for the plan."
        )
    if plan.evaluate.dtype != np.bool_ or not jnp.issubdtype(plan.slot.dtype, jnp.integer):
        raise TypeError(
            f"`plan` has {plan.evaluate.dtype} for `evaluate` and {plan.slot.dtype} for `slot`; write booleans and "
            "whole numbers, as `make_plan` returns them."
        )


def check_steps(planned: int, steps: int | None) -> None:
    """Refuse a plan for a run of another length."""
    if steps is not None and planned != steps:
        raise ValueError(f"`plan` is made for {planned} steps, the run has {steps}; write a plan of {steps} steps.")


def check_limit(limit: float, plan: Any) -> None:
    """Refuse a limit of forecasts' errors that does not go with the plan."""
    if _checks.finite("limit", limit) <= 0.0:
        raise ValueError(f"`limit` is {limit}; write the expected relative error at which half of a step is taken.")
    if isinstance(plan, Gated):
        raise TypeError("`limit` guards the forecasts of a Plan; with a `Gated` leave it out.")
    if isinstance(plan, Plan) and isinstance(plan.correction, np.ndarray) and plan.correction.any():
        raise ValueError(
            "`limit`: the plan has a corrector, which takes back what the plan itself forecasts; make the plan "
            "without one, or leave out `limit`."
        )


def check_ring(ring: Any, plan: Plan, *, guarded: bool) -> None:
    """Refuse a ring that another plan's or another run's ``init`` made."""
    if not isinstance(ring, Ring):
        raise TypeError(f"`ring` is {type(ring).__name__}; write what `init` returned.")
    if ring.kept != plan.kept:
        raise ValueError(
            f"`ring` holds {ring.kept} features, `plan` has weights for {plan.kept}; write the ring that this plan's "
            "`init` returned."
        )
    if (ring.doubt is not None) != guarded:
        made, wanted = ("with", "without") if ring.doubt is not None else ("without", "with")
        raise ValueError(f"`ring` was made {made} a `limit`, this run is {wanted} one; call this run's own `init`.")


def check_sample(ring: Ring, x: Any) -> None:
    """Refuse a sample that kept features cannot be added to."""
    shapes = [jax.tree.map(jnp.shape, x), jax.tree.map(lambda row: row.shape[1:], ring.rows)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"`x` has shape {shapes[0]}, the kept features have {shapes[1]}; only outputs can correct a sample: write "
            '`at="output"`.'
        )
