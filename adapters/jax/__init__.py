"""Forecasting in JAX: pure functions around a model, and one executable for every plan of a size.

A resumable model is a function ``model(*args, feature=None) -> (out, feature)``: without a feature the whole network
runs, with one only its head. `forecasted` makes of it and a `Plan` three pure functions for anyone's ``lax.scan``:

>>> import jax, jax.numpy as jnp, numpy as np
>>> from spectral_forecast import make_plan, schedules, spectrum
>>> from spectral_forecast.adapters.jax import forecasted
>>> def model(x, sigma):  # stands for a network; ``at="output"`` needs nothing but it
...     return jnp.cos(3.0 * sigma) * jnp.ones(4) - 0.1 * x
>>> @jax.jit
... def sample(plan, x, sigmas):
...     forecast = forecasted(model, plan, at="output")
...     def step(carry, i):
...         x, ring = carry
...         velocity, ring = forecast.apply(ring, i, x, sigmas[i])
...         return (x + (sigmas[i + 1] - sigmas[i]) * velocity, ring), None
...     ring = forecast.init(x, sigmas[0])
...     (x, _), _ = jax.lax.scan(step, (x, ring), jnp.arange(plan.steps))
...     return x
>>> plan = make_plan(spectrum(0.5, mode="free"), np.arange(50), schedules.growing(50), span=(0, 50))
>>> sample(plan, jnp.ones(4), jnp.linspace(1.0, 0.0, 51)).shape
(4,)
"""

from spectral_forecast.adapters.jax._forecasted import Forecasted, forecasted
from spectral_forecast.adapters.jax._gated import Evidence, Gated
from spectral_forecast.adapters.jax._modules import from_equinox, from_linen, from_nnx
from spectral_forecast.adapters.jax._resumable import output, resumable
from spectral_forecast.adapters.jax._ring import Ring
from spectral_forecast.adapters.jax._samplers import ddim, flow_euler

__all__ = [
    "Evidence",
    "Forecasted",
    "Gated",
    "Ring",
    "ddim",
    "flow_euler",
    "forecasted",
    "from_equinox",
    "from_linen",
    "from_nnx",
    "output",
    "resumable",
]
