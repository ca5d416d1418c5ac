"""A sampler written by hand in PyTorch, of first and of second order, with forecasts."""

# %% [markdown]
# # A sampler by hand, in PyTorch
#
# `Accelerator` stands where the denoiser stood. The denoiser is the exact one of a mixture of two Gaussians, so that
# nothing has to be trained; it needs the extra `torch`.

# %%
from itertools import pairwise

import torch

from spectral_forecast import schedules
from spectral_forecast.adapters.torch import Accelerator

torch.manual_seed(0)
centres, spread = torch.tensor([[2.0, 0.0], [-2.0, 1.0]]), 0.3


def denoiser(x, sigma):
    """Return the expected clean sample; stands for a network."""
    variance = spread**2 + sigma**2
    share = torch.softmax(-((x[:, None] - centres) ** 2).sum(-1) / (2 * variance), dim=1)
    means = (sigma**2 * centres + spread**2 * x[:, None]) / variance
    return (share[..., None] * means).sum(1)


sigmas = torch.cat([torch.logspace(1, -1.5, 40), torch.zeros(1)])
noise = sigmas[0] * torch.randn(64, 2)

# %% [markdown]
# Euler's method, as one writes it. The only change is what `model` is.


# %%
def euler(model, x):
    """Take all steps of Euler's method."""
    for sigma, following in pairwise(sigmas):
        x = x + (x - model(x, sigma)) / sigma * (following - sigma)
    return x


full = euler(denoiser, noise)
for evaluations in (20, 14, 10):
    accelerated = Accelerator(denoiser, evaluations=evaluations, sigmas=schedules.flow_time(sigmas), corrector=None)
    error = (euler(accelerated, noise) - full).norm() / full.norm()
    print(f"Euler, {accelerated.report.evaluations} of {accelerated.report.steps}: relative error {error:.4f}")

# %% [markdown]
# A method of second order remembers the step before. `retaking` takes skipped steps again when the next evaluation
# arrives, with outputs that are interpolated by then; what the method remembers goes with the sample. That often
# gains (an example is in [torch.md](../torch.md)) and here it loses a little: measure it on your own.


# %%
def step(state, denoised, sigma, following):
    """Take one step of DPM-Solver++(2M)."""
    x, before, last = state
    if following == 0:
        return denoised, denoised, None
    h = torch.log(sigma / following)
    data = denoised if before is None else denoised + 0.5 * h / last * (denoised - before)
    return following / sigma * x - torch.expm1(-h) * data, denoised, h


def solve(model, step, x):
    """Take all steps of a method with a state."""
    state = x, None, None
    for sigma, following in pairwise(sigmas):
        state = step(state, model(state[0], sigma), sigma, following)
    return state[0]


full = solve(denoiser, step, noise)
accelerated = Accelerator(denoiser, evaluations=14, sigmas=schedules.flow_time(sigmas))
for name, function in {"forecast": step, "and taken again": accelerated.retaking(step)}.items():
    error = (solve(accelerated, function, noise) - full).norm() / full.norm()
    print(f"DPM-Solver++(2M), 14 of 40, {name}: relative error {error:.4f}")

# %% [markdown]
# What it prints:
#
# ```{literalinclude} output/torch_sampler.txt
# ```
