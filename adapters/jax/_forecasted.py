"""How does a plan run in JAX? Three pure functions around a resumable model."""

import operator
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from spectral_forecast import Plan
from spectral_forecast.adapters.jax import _guarded, _ring
from spectral_forecast.adapters.jax._fits import check_limit, check_parts, check_ring, check_sample, check_steps, length
from spectral_forecast.adapters.jax._gated import Gated, gated
from spectral_forecast.adapters.jax._resumable import output
from spectral_forecast.adapters.jax._ring import Ring
from spectral_forecast.corrector import guard

__all__ = ["Forecasted", "forecasted"]


class Forecasted(NamedTuple):
    """Pure functions that run a model at some steps and forecast it at the others. Made by `forecasted`.

    Attributes
    ----------
    init : callable
        ``init(*args) -> ring``: an empty ring for a run whose model takes ``args``. The model is traced, not run.
    apply : callable
        ``apply(ring, step, *args) -> (out, ring)``: the model's output at a step, evaluated or forecast.
    correct : callable
        ``correct(ring, step, x, limit=0.2) -> x``: what the plan adds to the sample on arrival at an evaluated step,
        after ``apply`` and before the sampler's update. Features must be outputs, of the sample's shapes. ``limit``, a
        number of Python, is the relative error of the forecast that the evaluation replaced, at which half of the
        correction is made (`spectral_forecast.corrector.guard`); None makes all of it.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]
    correct: Callable[..., Any]


def forecasted(
    model: Callable[..., Any],
    plan: Plan | Gated,
    *,
    at: Literal["features", "output"] = "features",
    dtype: Any = None,
    steps: int | None = None,
    limit: float | None = None,
) -> Forecasted:
    """Return pure functions that carry a plan out, for a ``lax.scan``, a ``fori_loop`` or a loop in Python.

    Parameters
    ----------
    model : callable
        With ``at="features"`` a resumable model, ``model(*args, feature=None) -> (out, feature)``; a feature may be
        any pytree of floating-point arrays. With ``at="output"`` any ``model(*args) -> out``.
    plan : Plan or Gated
        Decisions made before the run, or at run time. Hand it to your jitted function as an argument, so that one
        executable serves all plans of one size (N, K).
    at : {"features", "output"}
        What is kept and forecast.
    dtype : dtype, optional
        Hold the ring in this floating dtype. By default in the features' own.
    steps : int, optional
        Length of the run, to be checked against the plan. In a traced loop indices beyond the end are clamped, so
        that a plan for another length would go unnoticed.
    limit : float, optional
        Draw forecasts back to the newest feature as far as the run's own evaluations show that they err, item by item,
        as `spectral_forecast.guarded.GuardedRun` does: the expected relative error at which half of what a forecast
        adds to the newest feature is kept. 0.5 is what the PyTorch adapters take by default; None trusts forecasts.

    Returns
    -------
    Forecasted

    Raises
    ------
    TypeError, ValueError
        At trace time: if the plan's parts have wrong shapes or dtypes or another length than ``steps``, and, from the
        functions, if the ring has another size than the plan or holds other shapes than the model gives.

    Notes
    -----
    The loop's body holds the network once, in a branch of one `jax.lax.cond`. Under `jax.vmap` the branch survives as
    long as plan and step are not mapped.

    A correction is in a branch of its own, which runs on arrivals only; where the plan is known at trace time and
    corrects nothing, there is none. Its guard takes norms over the whole output: over a mesh with Auto or Explicit axes
    two numbers are summed by all devices. Inside `jax.shard_map` and `jax.vmap`, where a norm sees its own part, each
    part is guarded by its own error and nothing is communicated.

    With a ``limit`` the carry grows by two numbers for each item (and leaf of the feature), the program by one weighted
    sum and three norms in the evaluations' branch; the network is in it once, and nothing waits for the host. The norms
    are those of items: where the batch is what is spread over devices, nothing is communicated. What is drawn back is
    not what a plan's table of corrections takes back, so that such plans are refused where they are known at trace
    time, and elsewhere nothing is corrected.
    """
    if at not in ("features", "output"):
        raise ValueError(f'`at` is {at!r}; write "features" or "output".')
    if dtype is not None and not jnp.issubdtype(jnp.dtype(dtype), jnp.floating):
        raise TypeError(f"`dtype` is {jnp.dtype(dtype)}; write a floating dtype, as in `jnp.bfloat16`.")
    network = output(model) if at == "output" else model
    if limit is not None:
        check_limit(limit, plan)
    if isinstance(plan, Gated):
        check_steps(length(plan), steps)
        return Forecasted(*gated(network, plan, dtype))
    if not isinstance(plan, Plan):
        raise TypeError(f"`plan` is {type(plan).__name__}; write what `make_plan` returned, or a `Gated`.")
    check_parts(plan)
    check_steps(length(plan), steps)

    guarded = limit is not None

    def init(*args: Any, **kwargs: Any) -> Ring:
        return _ring.allocate(network, args, kwargs, kept=plan.kept, dtype=dtype, guarded=guarded)

    def apply(ring: Ring, step: Any, *args: Any, **kwargs: Any) -> tuple[Any, Ring]:
        check_ring(ring, plan, guarded=guarded)
        evaluate, slot, weights = (_at(part, step) for part in plan[:3])
        last = _guarded.newest(plan, step) if guarded else None

        def run() -> tuple[Any, Any]:
            feature = _ring.check_feature(ring, _ring.feature(network, args, kwargs))
            return feature, (None, None) if last is None else _guarded.doubts(feature, weights, last, ring)

        def forecast() -> tuple[Any, Any]:
            if last is None or limit is None:
                return _ring.weighted_sum(weights, ring), (None, None)
            return _guarded.drawn_back(weights, last, ring, limit), (ring.doubt, ring.worse)

        feature, told = _choose(evaluate, run, forecast)
        return network(*args, feature=feature, **kwargs)[0], _ring.store(ring, slot, feature, *told)

    def correct(ring: Ring, step: Any, x: Any, limit: float | None = 0.2) -> Any:
        check_ring(ring, plan, guarded=guarded)
        check_sample(ring, x)
        if guarded or (isinstance(plan.correction, np.ndarray) and not plan.correction.any()):
            return x
        slot, weights, correction = (_at(part, step) for part in plan[1:])

        def moved() -> Any:
            part = 1.0 if limit is None else guard(_ring.error(weights, slot, ring), limit)
            return _ring.weighted_sum(correction * part, ring, add=x)

        return _choose((correction != 0.0).any(), moved, lambda: x)

    return Forecasted(init, apply, correct)


def _choose(evaluate: Any, run: Callable[[], Any], forecast: Callable[[], Any]) -> Any:
    """Branch in the program, or right away in a loop in Python whose plan and step are numbers."""
    if isinstance(evaluate, np.bool_):
        return run() if evaluate else forecast()
    return lax.cond(evaluate, run, forecast)


def _at(part: Any, step: Any) -> Any:
    """The entry of one step; on the host where both are there."""
    try:
        number = operator.index(step)
    except (TypeError, jax.errors.TracerIntegerConversionError):
        if jnp.shape(step) or not jnp.issubdtype(jnp.result_type(step), jnp.integer):
            raise TypeError(
                f"`step` is {jnp.result_type(step)} of shape {jnp.shape(step)}; write the number of the step."
            ) from None
        return jnp.asarray(part)[step]
    if not 0 <= number < part.shape[0]:
        raise ValueError(f"`step` is {number} of a run of {part.shape[0]}; write 0 to {part.shape[0] - 1}.")
    return part[number]
