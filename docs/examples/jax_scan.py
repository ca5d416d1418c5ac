"""A run as one `lax.scan` in JAX; the plan is an argument."""

# %% [markdown]
# # A scan in JAX
#
# `forecasted` makes pure functions of a model and a plan, for a loop of your own. Here the loop is a `lax.scan`, and
# all plans of one size share its executable. It needs the extra `jax`.

# %%
import jax
import jax.numpy as jnp
import numpy as np

from spectral_forecast import Corrector, Newton, make_plan, schedules, spectrum
from spectral_forecast.adapters.jax import forecasted

STEPS = 50
sigmas = jnp.linspace(1.0, 0.0, STEPS + 1)
shifted = 3.0 * sigmas / (1.0 + 2.0 * sigmas)


def velocity(x, sigma):
    """Stand for a network."""
    return jnp.cos(3.0 * sigma) * jnp.ones_like(x) - 0.3 * jnp.tanh(x)


# %% [markdown]
# `init` makes an empty ring, `apply` evaluates or forecasts, `correct` adds the plan's correction where one is due.


# %%
@jax.jit
def sample(plan, x):
    """Sample by Euler's method."""
    forecast = forecasted(velocity, plan, at="output", steps=STEPS)

    def step(carry, i):
        x, ring = carry
        v, ring = forecast.apply(ring, i, x, shifted[i])
        x = forecast.correct(ring, i, x)
        return (x + (shifted[i + 1] - shifted[i]) * v, ring), None

    carry = (x, forecast.init(x, shifted[0]))
    return jax.lax.scan(step, carry, jnp.arange(STEPS))[0][0]


levels, x = np.asarray(shifted, dtype=np.float64), jax.random.normal(jax.random.key(0), (256,))
balanced = schedules.balanced(levels, 14)


def planned(rule, times, evaluate, **options):
    """Make a plan of one size with the others: they share an executable."""
    return make_plan(rule, times, evaluate, keep=14, **options)


plans = {
    "Spectrum, its schedule": planned(spectrum(0.5), np.arange(STEPS), schedules.growing(STEPS), span=(0, STEPS)),
    "linear, balanced": planned(Newton(1), -levels[:-1], balanced),
    "linear, balanced, corrected": planned(Newton(1), -levels[:-1], balanced, sigmas=levels, corrector=Corrector()),
}
full = sample(planned(Newton(1), np.arange(STEPS), np.ones(STEPS, dtype=bool)), x)
for name, plan in plans.items():
    error = jnp.linalg.norm(sample(plan, x) - full) / jnp.linalg.norm(full)
    print(f"{name:28} {plan.evaluations} of {STEPS}: relative error {float(error):.5f}")
print("executables:", sample._cache_size())

# %% [markdown]
# Runs are differentiable and can be batched, as everything that is pure.

# %%
batched = jax.vmap(sample, in_axes=(None, 0))(plans["linear, balanced"], x.reshape(16, 16))
print("batched:", batched.shape)
slope = jax.grad(lambda y: sample(plans["linear, balanced"], y).sum())(x)
print("gradient:", bool(jnp.isfinite(slope).all()))

# %% [markdown]
# What it prints:
#
# ```{literalinclude} output/jax_scan.txt
# ```
