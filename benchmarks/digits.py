"""The small real model: a class-conditional FLUX transformer that draws 16 x 16 handwritten digits.

Everything here is diffusers' own: the network is `FluxTransformer2DModel`, the pipeline is `FluxPipeline`.
Only the text encoders are missing. A class is handed over as a one-hot prompt embedding, which the model's
own ``context_embedder`` turns into its learnt embedding; index 10 is "no class", the unconditional branch.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from numpy.typing import NDArray

from spectral_forecast.benchmarks import noising, stored

__all__ = [
    "CLASSES",
    "NAME",
    "NETWORK",
    "SHIFT",
    "SIZE",
    "classifier",
    "corrupt",
    "dataset",
    "embed",
    "examples",
    "images",
    "inputs",
    "noise",
    "pack",
    "pipeline",
    "read",
    "sample",
    "token_ids",
    "transformer",
]

NAME = "digits_flux"
NETWORK = FluxTransformer2DModel
SIZE = 16
CLASSES = 10
SHIFT = 3.0
WEIGHTS = stored.WEIGHTS
CONFIG: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 4,
    "num_layers": 2,
    "num_single_layers": 6,
    "attention_head_dim": 32,
    "num_attention_heads": 3,
    "joint_attention_dim": CLASSES + 1,
    "pooled_projection_dim": CLASSES + 1,
    "guidance_embeds": False,
    "axes_dims_rope": (8, 12, 12),
}


class Conditions(NamedTuple):
    """What a text encoder would have produced: token embeddings (n, 1, 11) and pooled embeddings (n, 11)."""

    prompt_embeds: torch.Tensor
    pooled_prompt_embeds: torch.Tensor


@functools.cache
def dataset() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """scikit-learn's 1797 digits, enlarged bilinearly to 16 x 16 and scaled to [-1, 1], with their classes."""
    from sklearn.datasets import load_digits

    small, classes = load_digits(return_X_y=True)
    small = torch.tensor(small, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8.0 - 1.0
    large = torch.nn.functional.interpolate(small, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    return large[:, 0].numpy(), classes.astype(np.int64)


@functools.cache
def classifier() -> tuple[Any, float]:
    """A support-vector classifier fitted to half of the digits, and its accuracy on the other half."""
    from sklearn.model_selection import train_test_split
    from sklearn.svm import SVC

    pixels, classes = dataset()
    fit_x, test_x, fit_y, test_y = train_test_split(
        pixels.reshape(len(pixels), -1), classes, test_size=0.5, random_state=0, stratify=classes
    )
    model = SVC(C=10.0, gamma="scale").fit(fit_x, fit_y)
    return model, float(model.score(test_x, test_y))


def examples(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random packed images (count, 64, 4) to train on, all shifted by up to one pixel, and their classes (count,)."""
    pixels, classes = (torch.from_numpy(part) for part in dataset())
    pick = torch.randint(len(pixels), (count,), generator=generator)
    shift = torch.randint(-1, 2, (2,), generator=generator).tolist()
    return pack(torch.roll(pixels[pick], shifts=shift, dims=(1, 2))), classes[pick]


def corrupt(clean: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy images, flow times and velocities to learn from; see `noising.flow`."""
    return noising.flow(clean, generator, centre=0.3)


def read(samples: torch.Tensor) -> NDArray[np.int64]:
    """Which digits the classifier reads in images (n, 16, 16)."""
    model, _ = classifier()
    return np.asarray(model.predict(samples.reshape(len(samples), -1).numpy()))


def embed(classes: Any) -> Conditions:
    """The one-hot conditions of ``classes`` (n,), each 0 to 9, or 10 for "no class"."""
    pooled = stored.one_hot(classes, CLASSES)
    return Conditions(pooled[:, None, :], pooled)


def inputs(noisy: torch.Tensor, sigma: torch.Tensor, classes: torch.Tensor) -> dict[str, Any]:
    """What the network is called with at flow times ``sigma`` (n,) between 0, data, and 1, noise."""
    condition, (image_ids, text_ids) = embed(classes), token_ids()
    return {
        "hidden_states": noisy,
        "timestep": sigma,
        "encoder_hidden_states": condition.prompt_embeds,
        "pooled_projections": condition.pooled_prompt_embeds,
        "img_ids": image_ids,
        "txt_ids": text_ids,
    }


def transformer() -> FluxTransformer2DModel:
    """The trained network in evaluation mode. Weights are stored in half precision and computed in float32."""
    return stored.load(NAME, NETWORK, CONFIG)


def pipeline(
    model: FluxTransformer2DModel | None = None, *, scheduler: str = "euler", shift: float = SHIFT
) -> FluxPipeline:
    """A real `FluxPipeline` around the network, with ``scheduler`` "euler", "unipc" or "dpm++" (order 2)."""
    pipe = FluxPipeline(
        scheduler=stored.flow_scheduler(scheduler, shift),
        transformer=transformer() if model is None else model,
        vae=None,
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def sample(
    pipe: FluxPipeline,
    classes: Any,
    *,
    steps: int = 50,
    guidance: float = 1.0,
    seed: int = 0,
    negative: int = CLASSES,
    after_step: Callable[[torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """Draw one image for each of ``classes`` (n,): (n, 16, 16) in about [-1, 1], not clipped.

    ``guidance`` above 1 leads away from the class ``negative``, by default "no class". ``after_step`` is shown
    the packed sample after every step.
    """
    positive, away = embed(classes), embed([negative] * len(classes))
    latents = pipe(
        prompt_embeds=positive.prompt_embeds,
        pooled_prompt_embeds=positive.pooled_prompt_embeds,
        negative_prompt_embeds=away.prompt_embeds,
        negative_pooled_prompt_embeds=away.pooled_prompt_embeds,
        true_cfg_scale=guidance,
        num_inference_steps=steps,
        height=8 * SIZE,  # without an autoencoder the pipeline assumes a reduction by 8
        width=8 * SIZE,
        latents=noise(len(classes), seed=seed),
        output_type="latent",
        **stored.after_each_step(after_step),
    ).images
    return images(latents)


def noise(count: int, *, seed: int) -> torch.Tensor:
    """Packed starting noise (count, 64, 4) that depends on ``seed`` only."""
    return stored.noise(count, SIZE * SIZE // 4, 4, seed=seed)


def images(latents: torch.Tensor) -> torch.Tensor:
    """Unpack a pipeline's latents (n, 64, 4) to images (n, 16, 16) in [-1, 1] (not clipped)."""
    side = SIZE // 2
    return latents.reshape(-1, side, side, 2, 2).permute(0, 1, 3, 2, 4).reshape(-1, SIZE, SIZE)


def pack(pixels: torch.Tensor) -> torch.Tensor:
    """The inverse of `images`: (n, 16, 16) to (n, 64, 4), as `FluxPipeline` packs a one-channel latent."""
    side = SIZE // 2
    return pixels.reshape(-1, side, 2, side, 2).permute(0, 1, 3, 2, 4).reshape(-1, side * side, 4)


def token_ids() -> tuple[torch.Tensor, torch.Tensor]:
    """Positions of the image tokens (64, 3) and of the one text token (1, 3), as `FluxPipeline` numbers them."""
    side = torch.arange(SIZE // 2, dtype=torch.float32)
    rows, columns = torch.meshgrid(side, side, indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3), torch.zeros(1, 3)
