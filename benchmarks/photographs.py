"""A small real model of photographs: a Stable Diffusion 3 transformer that draws 32 x 32 pieces of eight pictures.

The network is diffusers' own `SD3Transformer2DModel`, the pipeline its `StableDiffusion3Pipeline`. The pictures are
those of scikit-image that lie inside the installed package, so that nothing is downloaded; all are in the public
domain or CC0. Which picture is handed over as a one-hot prompt embedding; the last index is "no picture".
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import (
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from numpy.typing import NDArray

from spectral_forecast.benchmarks import noising, stored

__all__ = [
    "CLASSES",
    "CONFIG",
    "NAME",
    "NETWORK",
    "PICTURES",
    "SHIFT",
    "SIZE",
    "classifier",
    "corrupt",
    "dataset",
    "embed",
    "examples",
    "inputs",
    "network",
    "noise",
    "pipeline",
    "read",
    "sample",
]

NAME = "photographs_sd3"
NETWORK = SD3Transformer2DModel
PICTURES = ("astronaut", "brick", "camera", "chelsea", "coffee", "grass", "gravel", "rocket")
CLASSES = len(PICTURES)
SIZE = 32
SHORT_SIDE = 96
SHIFT = 3.0
CONFIG: dict[str, Any] = {
    "sample_size": SIZE,
    "patch_size": 4,
    "in_channels": 3,
    "out_channels": 3,
    "num_layers": 4,
    "attention_head_dim": 32,
    "num_attention_heads": 3,
    "joint_attention_dim": CLASSES + 1,
    "caption_projection_dim": 96,
    "pooled_projection_dim": CLASSES + 1,
    "pos_embed_max_size": 8,
    "qk_norm": "rms_norm",
}


@functools.cache
def dataset() -> tuple[torch.Tensor, ...]:
    """The pictures (3, height, width) in [-1, 1], reduced so that the shorter side has 96 pixels."""
    from skimage import data

    pictures = []
    for name in PICTURES:
        pixels = torch.from_numpy(getattr(data, name)()).float() / 127.5 - 1.0
        if pixels.ndim == 2:  # grey
            pixels = pixels[..., None].expand(-1, -1, 3)
        scale = SHORT_SIDE / min(pixels.shape[:2])
        size = [round(scale * side) for side in pixels.shape[:2]]
        reduced = torch.nn.functional.interpolate(pixels.permute(2, 0, 1)[None], size, mode="bilinear", antialias=True)
        pictures.append(reduced[0])
    return tuple(pictures)


def examples(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pieces (count, 3, 32, 32) to train on, half of them mirrored, and the pictures they are from (count,)."""
    pictures = dataset()
    pick = torch.randint(CLASSES, (count,), generator=generator)
    place = torch.rand((count, 2), generator=generator)
    mirrored = torch.rand(count, generator=generator) < 0.5
    pieces = []
    for index, (down, right), mirror in zip(pick.tolist(), place.tolist(), mirrored.tolist(), strict=True):
        picture = pictures[index]
        row = int(down * (picture.shape[1] - SIZE + 1))
        column = int(right * (picture.shape[2] - SIZE + 1))
        piece = picture[:, row : row + SIZE, column : column + SIZE]
        pieces.append(piece.flip(-1) if mirror else piece)
    return torch.stack(pieces), pick


def corrupt(clean: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy pieces, flow times and velocities to learn from; see `noising.flow`."""
    return noising.flow(clean, generator, centre=0.3)


def embed(classes: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The prompt embeddings (n, 1, 9) and pooled embeddings (n, 9) of ``classes`` (n,), numbers of pictures."""
    pooled = stored.one_hot(classes, CLASSES)
    return pooled[:, None], pooled


def inputs(noisy: torch.Tensor, sigma: torch.Tensor, classes: torch.Tensor) -> dict[str, Any]:
    """What the network is called with at flow times ``sigma`` (n,) between 0, data, and 1, noise."""
    prompt, pooled = embed(classes)
    return {
        "hidden_states": noisy,
        "timestep": 1000.0 * sigma,
        "encoder_hidden_states": prompt,
        "pooled_projections": pooled,
    }


@functools.cache
def classifier() -> tuple[Any, float]:
    """A support-vector classifier fitted to 1000 random pieces, and its accuracy on 1000 others."""
    from sklearn.svm import SVC

    generator = torch.Generator().manual_seed(0)
    (fit, fit_classes), (test, test_classes) = examples(1000, generator), examples(1000, generator)
    model = SVC(C=10.0, gamma="scale").fit(_describe(fit), fit_classes.numpy())
    return model, float(model.score(_describe(test), test_classes.numpy()))


def read(samples: torch.Tensor) -> NDArray[np.int64]:
    """Which pictures the classifier takes pieces (n, 3, 32, 32) for."""
    model, _ = classifier()
    return np.asarray(model.predict(_describe(samples)))


def _describe(pieces: torch.Tensor) -> NDArray[np.float32]:
    """What can be told of a piece wherever it was cut out: the colours, coarsely, and how rough it is, by colour."""
    coarse = torch.nn.functional.avg_pool2d(pieces, 8).flatten(1)
    rough = torch.stack([pieces.diff(dim=axis).abs().mean((2, 3)) for axis in (2, 3)], dim=1).flatten(1)
    return torch.cat([coarse, 10.0 * rough], dim=1).numpy()


def network() -> SD3Transformer2DModel:
    """The trained network in evaluation mode."""
    return stored.load(NAME, NETWORK, CONFIG)


def pipeline(
    model: SD3Transformer2DModel | None = None, *, scheduler: str = "euler", shift: float = SHIFT
) -> StableDiffusion3Pipeline:
    """A real `StableDiffusion3Pipeline` around the network; ``scheduler``: "euler", "unipc" or "dpm++" (order 2)."""
    pipe = StableDiffusion3Pipeline(
        transformer=network() if model is None else model,
        scheduler=stored.flow_scheduler(scheduler, shift),
        vae=None,
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def sample(
    pipe: StableDiffusion3Pipeline,
    classes: Any,
    *,
    steps: int = 50,
    guidance: float = 1.0,
    seed: int = 0,
    negative: int = CLASSES,
    after_step: Callable[[torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """Draw one piece of each of the pictures ``classes`` (n,): (n, 3, 32, 32) in about [-1, 1], not clipped.

    ``guidance`` above 1 leads away from the picture ``negative``, by default "no picture". ``after_step`` is shown
    the sample after every step.
    """
    (prompt, pooled), (away, away_pooled) = embed(classes), embed([negative] * len(classes))
    return pipe(
        prompt_embeds=prompt,
        pooled_prompt_embeds=pooled,
        negative_prompt_embeds=away,
        negative_pooled_prompt_embeds=away_pooled,
        guidance_scale=guidance,
        num_inference_steps=steps,
        height=8 * SIZE,  # without an autoencoder the pipeline assumes a reduction by 8
        width=8 * SIZE,
        latents=noise(len(classes), seed=seed),
        output_type="latent",
        **stored.after_each_step(after_step),
    ).images


def noise(count: int, *, seed: int) -> torch.Tensor:
    """Starting noise (count, 3, 32, 32) that depends on ``seed`` only."""
    return stored.noise(count, 3, SIZE, SIZE, seed=seed)
