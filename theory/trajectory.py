"""A real model's features: the full run of a small trained FLUX transformer, recorded.

PyTorch and diffusers are imported when a run is recorded, not before. Only inner products over time are kept: they
hold every error of every rule with weights that depend on times.
"""

import importlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spectral_forecast.theory.paper import STEPS

__all__ = ["Trajectory", "record"]


class Trajectory(NamedTuple):
    """One sample's run.

    Attributes
    ----------
    name : str
        Which model, which tensor.
    gram : ndarray of float64, shape (samples, T, T)
        Inner products of the tensor between all steps of the full run, one matrix a sample.
    size : int
        Numbers in the tensor.
    sigmas : ndarray of float64, shape (T + 1,)
        The sampler's noise levels, the last one 0.
    """

    name: str
    gram: NDArray[np.float64]
    size: int
    sigmas: NDArray[np.float64]


def record(samples: int = 10, *, seed: int = 0, guidance: float = 1.0) -> list[Trajectory] | str:
    """Run the digits model in full, 50 Euler steps, and return its last block's and its output's inner products.

    Parameters
    ----------
    samples : int
        How many digits to draw, their classes 0, 1, 2, ...
    seed : int
        Of the noise.
    guidance : float
        ``true_cfg_scale`` between the class and a negative class; 1 is no guidance.

    Returns
    -------
    list of Trajectory, or str
        The last block's output of the conditional branch, and the velocity that the sampler uses. Where the model
        cannot run, a sentence that says why.
    """
    try:
        # By name, because diffusers is not typed.
        digits = importlib.import_module("spectral_forecast.benchmarks.digits")
        pipe = digits.pipeline()
    except (ImportError, OSError) as error:
        return f"the small transformer could not be loaded ({type(error).__name__}: {str(error).splitlines()[0]})"
    import torch

    classes = [k % digits.CLASSES for k in range(samples)]
    kept: dict[str, list[Any]] = {"block": [], "output": []}
    hooks = (
        pipe.transformer.norm_out.register_forward_pre_hook(lambda _, args: kept["block"].append(args[0].clone())),
        pipe.transformer.register_forward_hook(lambda *call: kept["output"].append(call[-1][0].clone())),
    )
    positive, negative = (digits.embed([(c + shift) % digits.CLASSES for c in classes]) for shift in (0, 5))
    arguments: dict[str, Any] = dict(zip(("prompt_embeds", "pooled_prompt_embeds"), positive, strict=True))
    if guidance > 1.0:
        arguments |= dict(zip(("negative_prompt_embeds", "negative_pooled_prompt_embeds"), negative, strict=True))
    with torch.no_grad():
        pipe(
            num_inference_steps=STEPS,
            true_cfg_scale=guidance,
            height=8 * digits.SIZE,
            width=8 * digits.SIZE,
            latents=digits.noise(samples, seed=seed),
            output_type="latent",
            **arguments,
        )
    for hook in hooks:
        hook.remove()
    branches = len(kept["output"]) // STEPS
    block = torch.stack(kept["block"][::branches])
    output = torch.stack(kept["output"][::branches])
    if branches == 2:  # the pipeline's own order: the class, then the negative class
        other = torch.stack(kept["output"][1::2])
        output = other + guidance * (output - other)
    sigmas = np.asarray(pipe.scheduler.sigmas, dtype=np.float64)
    return [_summary(name, tensor, sigmas) for name, tensor in (("last block", block), ("velocity", output))]


def _summary(name: str, tensor: Any, sigmas: NDArray[np.float64]) -> Trajectory:
    rows = np.moveaxis(tensor.double().numpy().reshape(STEPS, tensor.shape[1], -1), 1, 0)
    return Trajectory(name, rows @ np.swapaxes(rows, 1, 2), rows.shape[-1], sigmas)
