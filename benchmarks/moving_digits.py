"""A small real video model: a class-conditional Wan transformer that draws a handwritten digit in motion.

The network is diffusers' own `WanTransformer3DModel`, the pipeline its `WanPipeline`. A video has 8 frames of 16 x 16
pixels: an 8 x 8 digit crosses a black field along a row or a column, one pixel a frame, and bounces off the walls. A
class is handed over as a one-hot text embedding of one token; index 10 is "no class".
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import WanPipeline, WanTransformer3DModel
from numpy.typing import NDArray

from spectral_forecast.benchmarks import noising, stored

__all__ = [
    "CLASSES",
    "CONFIG",
    "FRAMES",
    "NAME",
    "NETWORK",
    "SHIFT",
    "SIZE",
    "classifier",
    "corrupt",
    "dataset",
    "embed",
    "examples",
    "inputs",
    "locate",
    "network",
    "noise",
    "pipeline",
    "read",
    "sample",
    "videos",
]

NAME = "moving_digits_wan"
NETWORK = WanTransformer3DModel
SIZE = 16
FRAMES = 8
DIGIT = 8
VELOCITIES = ((0, 1), (0, -1), (1, 0), (-1, 0))
CLASSES = 10
SHIFT = 5.0
CONFIG: dict[str, Any] = {
    "patch_size": (1, 4, 4),
    "num_attention_heads": 3,
    "attention_head_dim": 32,
    "in_channels": 1,
    "out_channels": 1,
    "text_dim": CLASSES + 1,
    "freq_dim": 64,
    "ffn_dim": 256,
    "num_layers": 6,
    "rope_max_seq_len": 32,
}


@functools.cache
def dataset() -> tuple[torch.Tensor, torch.Tensor]:
    """scikit-learn's 1797 digits, 8 x 8 and scaled to [-1, 1], with their classes."""
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    small = torch.tensor(pixels, dtype=torch.float32).reshape(-1, DIGIT, DIGIT) / 8.0 - 1.0
    return small, torch.tensor(classes, dtype=torch.int64)


def videos(digits: torch.Tensor, start: torch.Tensor, velocity: torch.Tensor) -> torch.Tensor:
    """Move ``digits`` (n, 8, 8) from ``start`` (n, 2), a row and a column, by ``velocity`` (n, 2) pixels a frame.

    Returns (n, 1, 8, 16, 16): channel, frames, rows, columns. The field is black, -1.
    """
    room = SIZE - DIGIT
    path = start[:, None] + velocity[:, None] * torch.arange(FRAMES)[None, :, None]
    place = room - (path.remainder(2 * room) - room).abs()  # there and back between the walls
    rows = place[..., :1] + torch.arange(DIGIT)
    columns = place[..., 1:] + torch.arange(DIGIT)
    field = torch.full((len(digits), FRAMES, SIZE, SIZE), -1.0)
    item = torch.arange(len(digits))[:, None, None, None]
    frame = torch.arange(FRAMES)[None, :, None, None]
    field[item, frame, rows[..., :, None], columns[..., None, :]] = digits[:, None]
    return field[:, None]


def examples(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random videos (count, 1, 8, 16, 16) to train on, and their classes (count,)."""
    digits, classes = dataset()
    pick = torch.randint(len(digits), (count,), generator=generator)
    start = torch.randint(SIZE - DIGIT + 1, (count, 2), generator=generator)
    way = torch.randint(len(VELOCITIES), (count,), generator=generator)
    return videos(digits[pick], start, torch.tensor(VELOCITIES)[way]), classes[pick]


def corrupt(clean: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy videos, flow times and velocities to learn from; see `noising.flow`."""
    return noising.flow(clean, generator, centre=0.6)


def embed(classes: Any) -> torch.Tensor:
    """The text embeddings (n, 1, 11) of ``classes`` (n,), each 0 to 9, or 10 for "no class"."""
    return stored.one_hot(classes, CLASSES)[:, None]


def inputs(noisy: torch.Tensor, sigma: torch.Tensor, classes: torch.Tensor) -> dict[str, Any]:
    """What the network is called with at flow times ``sigma`` (n,) between 0, data, and 1, noise."""
    return {"hidden_states": noisy, "timestep": 1000.0 * sigma, "encoder_hidden_states": embed(classes)}


def locate(frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut the brightest 8 x 8 window out of every frame (..., 16, 16).

    Returns the windows (..., 8, 8), and their rows and columns (..., 2).
    """
    windows = frames.unfold(-2, DIGIT, 1).unfold(-2, DIGIT, 1)  # (..., 9, 9, 8, 8)
    best = windows.sum((-2, -1)).flatten(-2).argmax(-1)
    brightest = windows.flatten(-4, -3).take_along_dim(best[..., None, None, None], -3).squeeze(-3)
    room = SIZE - DIGIT + 1
    return brightest, torch.stack([best // room, best % room], dim=-1)


@functools.cache
def classifier() -> tuple[Any, float]:
    """A support-vector classifier fitted to windows of 1000 random videos, and its accuracy on 500 others."""
    from sklearn.svm import SVC

    generator = torch.Generator().manual_seed(0)
    (fit, fit_classes), (test, test_classes) = examples(1000, generator), examples(500, generator)
    windows, _ = locate(fit[:, 0, :: FRAMES // 2])
    model = SVC(C=10.0, gamma="scale").fit(windows.reshape(-1, DIGIT**2).numpy(), fit_classes.repeat_interleave(2))
    return model, float((_scores(model, test[:, 0]).argmax(1) == test_classes.numpy()).mean())


def read(samples: torch.Tensor) -> NDArray[np.int64]:
    """Which digits the classifier reads in videos (n, 8, 16, 16)."""
    model, _ = classifier()
    return np.asarray(_scores(model, samples).argmax(1))


def _scores(model: Any, samples: torch.Tensor) -> NDArray[np.float64]:
    """The scores (n, 10) of the classes, added up over the frames."""
    windows, _ = locate(samples)
    scores = model.decision_function(windows.reshape(-1, DIGIT**2).numpy())
    return np.asarray(scores.reshape(len(samples), FRAMES, CLASSES).sum(1))


def network() -> WanTransformer3DModel:
    """The trained network in evaluation mode."""
    return stored.load(NAME, NETWORK, CONFIG)


def pipeline(
    model: WanTransformer3DModel | None = None, *, scheduler: str = "euler", shift: float = SHIFT
) -> WanPipeline:
    """A real `WanPipeline` around the network, with ``scheduler`` "euler", "unipc" (Wan's own) or "dpm++" (order 2)."""
    pipe = WanPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=None,
        scheduler=stored.flow_scheduler(scheduler, shift),
        transformer=network() if model is None else model,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def sample(
    pipe: WanPipeline,
    classes: Any,
    *,
    steps: int = 50,
    guidance: float = 1.0,
    seed: int = 0,
    negative: int = CLASSES,
    after_step: Callable[[torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """Draw one video for each of ``classes`` (n,): (n, 8, 16, 16) in about [-1, 1], not clipped.

    ``guidance`` above 1 leads away from the class ``negative``, by default "no class". ``after_step`` is shown
    the sample (n, 1, 8, 16, 16) after every step.
    """
    latents = pipe(
        prompt_embeds=embed(classes),
        negative_prompt_embeds=embed([negative] * len(classes)),
        guidance_scale=guidance,
        num_inference_steps=steps,
        num_frames=4 * (FRAMES - 1) + 1,  # without an autoencoder the pipeline assumes a reduction by 4 in time
        height=8 * SIZE,  # and by 8 in space
        width=8 * SIZE,
        latents=noise(len(classes), seed=seed),
        output_type="latent",
        **stored.after_each_step(after_step),
    ).frames
    return latents[:, 0]


def noise(count: int, *, seed: int) -> torch.Tensor:
    """Starting noise (count, 1, 8, 16, 16) that depends on ``seed`` only."""
    return stored.noise(count, 1, FRAMES, SIZE, SIZE, seed=seed)
