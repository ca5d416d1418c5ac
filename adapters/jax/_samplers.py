"""What does a whole sampler look like? Worked examples that can be used as they are; jit them as you like."""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import lax

from spectral_forecast import Plan
from spectral_forecast.adapters.jax._forecasted import forecasted
from spectral_forecast.adapters.jax._gated import Gated

__all__ = ["ddim", "flow_euler"]

Loop = Literal["scan", "fori_loop"]


def flow_euler(
    model: Callable[..., Any],
    plan: Plan | Gated,
    x: Any,
    sigmas: Any,
    *args: Any,
    at: Literal["features", "output"] = "features",
    loop: Loop = "scan",
    dtype: Any = None,
    limit: float | None = 0.2,
    forecast_limit: float | None = None,
) -> Any:
    """Sample a flow-matching model by Euler's method: dx/dσ = v(x, σ).

    Parameters
    ----------
    model : callable
        ``model(x, sigma, *args)``, resumable, or plain with ``at="output"``; it predicts the velocity.
    plan : Plan or Gated
        For as many steps as ``sigmas`` has intervals.
    x : array
        Starting noise. The result has its dtype.
    sigmas : array, shape (N + 1,)
        Noise levels from the first, 1, to the last, 0.
    *args
        What else the model takes: parameters, conditions.
    at, dtype
        As in `forecasted`. A plan's corrector needs "output".
    limit : float, optional
        Guards the plan's corrector, as in `Forecasted.correct`; None makes all of every correction.
    forecast_limit : float, optional
        Guards forecasts instead, as ``limit`` of `forecasted` does; 0.4 is the PyTorch adapters' default.
    loop : {"scan", "fori_loop"}
        Both compile to the same loop, and both can be differentiated, since the number of steps is fixed.

    Returns
    -------
    array
        The sample.
    """
    sigmas = jnp.asarray(sigmas)
    steps = _steps("sigmas", sigmas)
    forecast = forecasted(model, plan, at=at, dtype=dtype, steps=steps, limit=forecast_limit)
    corrects = _corrects(plan, at)

    def step(x: Any, ring: Any, i: Any) -> tuple[Any, Any]:
        velocity, ring = forecast.apply(ring, i, x, sigmas[i], *args)
        x = forecast.correct(ring, i, x, limit) if corrects else x
        return (x + (sigmas[i + 1] - sigmas[i]) * velocity).astype(x.dtype), ring

    return _run(step, (x, forecast.init(x, sigmas[0], *args)), steps, loop)


def ddim(
    model: Callable[..., Any],
    plan: Plan | Gated,
    x: Any,
    timesteps: Any,
    alphas: Any,
    *args: Any,
    at: Literal["features", "output"] = "features",
    loop: Loop = "scan",
    dtype: Any = None,
    limit: float | None = 0.2,
    forecast_limit: float | None = None,
) -> Any:
    """Sample a noise-prediction model by DDIM without added noise (arXiv 2010.02502, equation 12 with σ_t = 0).

    It is Euler's method for x/√ᾱ, whose clock is σ = √((1 - ᾱ)/ᾱ); a corrector acts on x/√ᾱ.

    Parameters
    ----------
    model : callable
        ``model(x, timestep, *args)``, resumable, or plain with ``at="output"``; it predicts the noise.
    plan : Plan or Gated
        For N steps.
    x : array
        Starting noise. The result has its dtype.
    timesteps : array, shape (N,)
        What the model is told, one a step.
    alphas : array, shape (N + 1,)
        Cumulative products ᾱ at the timesteps, then the one to end at: 1, or the schedule's first.
    *args, at, loop, dtype, limit, forecast_limit
        As in `flow_euler`.

    Returns
    -------
    array
        The sample.
    """
    timesteps, alphas = jnp.asarray(timesteps), jnp.asarray(alphas)
    steps = _steps("alphas", alphas)
    if timesteps.shape != (steps,):
        raise ValueError(f"`timesteps` has shape {timesteps.shape}, `alphas` {alphas.shape}; write (N,) and (N + 1,).")
    forecast = forecasted(model, plan, at=at, dtype=dtype, steps=steps, limit=forecast_limit)
    corrects = _corrects(plan, at)
    scales = jnp.sqrt(alphas)
    sigmas = jnp.sqrt((1.0 - alphas) / alphas)

    def step(x: Any, ring: Any, i: Any) -> tuple[Any, Any]:
        noise, ring = forecast.apply(ring, i, x, timesteps[i], *args)
        scaled = x / scales[i]
        scaled = forecast.correct(ring, i, scaled, limit) if corrects else scaled
        return (scales[i + 1] * (scaled + (sigmas[i + 1] - sigmas[i]) * noise)).astype(x.dtype), ring

    return _run(step, (x, forecast.init(x, timesteps[0], *args)), steps, loop)


def _steps(name: str, levels: Any) -> int:
    if levels.ndim != 1 or levels.shape[0] < 2:
        raise ValueError(f"`{name}` has shape {levels.shape}; write (N + 1,): one a step, and where the last one ends.")
    return int(levels.shape[0]) - 1


def _corrects(plan: Plan | Gated, at: str) -> bool:
    """Whether kept features can correct a sample; where the plan is traced, its corrections cannot be looked at."""
    table = getattr(plan, "correction", None)
    if at != "output" and isinstance(table, np.ndarray) and table.any():
        raise ValueError('`plan` has a corrector, which acts on outputs; write `at="output"`.')
    return at == "output"


def _run(step: Callable[..., Any], carry: tuple[Any, Any], steps: int, loop: Loop) -> Any:
    """Carry the sample and the ring through all steps."""
    if loop == "scan":
        return lax.scan(lambda carry, i: (step(*carry, i), None), carry, jnp.arange(steps))[0][0]
    if loop == "fori_loop":
        return lax.fori_loop(0, steps, lambda i, carry: step(*carry, i), carry)[0]
    raise ValueError(f'`loop` is {loop!r}; write "scan" or "fori_loop".')
