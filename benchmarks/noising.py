"""How is a clean batch made noisy for training, and what has the network to predict?

Each function returns the noisy batch, the times (n,), and the target.
"""

import math
from typing import Any

import torch

__all__ = ["diffusion", "flow", "stratified"]


def stratified(count: int, generator: torch.Generator) -> torch.Tensor:
    """``count`` increasing numbers between 0 and 1, one in each of as many equal parts."""
    return (torch.arange(count) + torch.rand(count, generator=generator)) / count


def flow(
    clean: torch.Tensor, generator: torch.Generator, *, centre: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Flow matching: a point on the line from data to noise at flow time sigma; the velocity is to be predicted.

    Times are logit-normal; ``centre`` above 0 moves them to where a sampler's shift puts most of its steps.
    """
    uniform = stratified(len(clean), generator)
    sigma = torch.sigmoid(math.sqrt(2.0) * 1.2 * torch.erfinv(2.0 * uniform - 1.0).clamp(-4, 4) + centre)
    eps = torch.randn(clean.shape, generator=generator)
    weight = sigma.reshape(-1, *[1] * (clean.ndim - 1))
    return (1.0 - weight) * clean + weight * eps, sigma, eps - clean


def diffusion(
    clean: torch.Tensor, generator: torch.Generator, *, scheduler: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """DDPM: a point on the path of ``scheduler`` at a timestep of its training.

    What the scheduler expects of a network is the target: the noise, or v.
    """
    steps = scheduler.config.num_train_timesteps
    time = (steps * stratified(len(clean), generator)).long().clamp(max=steps - 1)
    eps = torch.randn(clean.shape, generator=generator)
    noisy = scheduler.add_noise(clean, eps, time)
    if scheduler.config.prediction_type == "epsilon":
        return noisy, time, eps
    return noisy, time, scheduler.get_velocity(clean, eps, time)
