"""The small real model that predicts noise: a class-conditional DiT that draws 16 x 16 digits with DDIM.

The network is diffusers' own `DiTTransformer2DModel`, the pipeline its `DiTPipeline`, which asks for class 1000 where
there is no class, as ImageNet has 1000 classes. So has the network; 990 of its embeddings are never used.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import (
    ConfigMixin,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    ModelMixin,
)
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput

from spectral_forecast.benchmarks import digits, noising, stored

__all__ = [
    "CLASSES",
    "CONFIG",
    "NAME",
    "NETWORK",
    "SIZE",
    "PassThrough",
    "classifier",
    "corrupt",
    "examples",
    "inputs",
    "network",
    "noise",
    "pipeline",
    "read",
    "sample",
]

NAME = "digits_dit"
NETWORK = DiTTransformer2DModel
SIZE = digits.SIZE
CLASSES = digits.CLASSES
IMAGENET = 1000
CONFIG: dict[str, Any] = {
    "num_attention_heads": 3,
    "attention_head_dim": 32,
    "in_channels": 1,
    "out_channels": 1,
    "num_layers": 4,
    "sample_size": SIZE,
    "patch_size": 2,
    "num_embeds_ada_norm": IMAGENET,
}

PATH: dict[str, Any] = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}


def examples(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random images (count, 1, 16, 16) to train on, and their classes."""
    pixels, classes = (torch.from_numpy(part) for part in digits.dataset())
    pick = torch.randint(len(pixels), (count,), generator=generator)
    return pixels[pick][:, None], classes[pick]


def corrupt(clean: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy images, timesteps and the noise to learn from; see `noising.diffusion`."""
    return noising.diffusion(clean, generator, scheduler=DDIMScheduler(**PATH, clip_sample=False))


def inputs(noisy: torch.Tensor, time: torch.Tensor, classes: torch.Tensor) -> dict[str, Any]:
    """What the network is called with at timesteps ``time`` (n,) between 0, data, and 999, noise."""
    labels = torch.where(classes == CLASSES, IMAGENET, classes)
    return {"hidden_states": noisy, "timestep": time, "class_labels": labels}


classifier = digits.classifier
read = digits.read


def network() -> DiTTransformer2DModel:
    """The trained network in evaluation mode."""
    return stored.load(NAME, NETWORK, CONFIG)


class PassThrough(ModelMixin, ConfigMixin):
    """In place of an autoencoder: it changes nothing, and keeps what it is given, since `DiTPipeline` clips."""

    @register_to_config
    def __init__(self, scaling_factor: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("latents", torch.zeros(0), persistent=False)

    def decode(self, latents: torch.Tensor) -> DecoderOutput:
        """Keep and return ``latents``."""
        self.latents = latents
        return DecoderOutput(sample=latents)


def pipeline(model: DiTTransformer2DModel | None = None, *, scheduler: str = "ddim") -> DiTPipeline:
    """A real `DiTPipeline` around the network, with ``scheduler`` "ddim" or "dpm++" (2M)."""
    schedulers = {
        "ddim": lambda: DDIMScheduler(**PATH, clip_sample=False),
        "dpm++": lambda: DPMSolverMultistepScheduler(**PATH),
    }
    pipe = DiTPipeline(
        transformer=network() if model is None else model,
        vae=PassThrough(),
        scheduler=stored.chosen(scheduler, schedulers),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def sample(
    pipe: DiTPipeline,
    classes: Any,
    *,
    steps: int = 50,
    guidance: float = 1.0,
    seed: int = 0,
    after_step: Callable[[torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """Draw one image for each of ``classes`` (n,): (n, 16, 16) in about [-1, 1], not clipped.

    ``guidance`` above 1 leads away from "no class", the only choice that `DiTPipeline` leaves. ``after_step`` is shown
    the sample (n, 1, 16, 16) after every step.
    """
    with _watched(pipe.scheduler, len(classes), after_step):
        pipe(
            class_labels=list(classes),
            guidance_scale=guidance,
            generator=torch.Generator().manual_seed(seed),
            num_inference_steps=steps,
            output_type="pt",
        )
    return pipe.vae.latents[:, 0]


@contextmanager
def _watched(scheduler: Any, count: int, show: Callable[[torch.Tensor], None] | None) -> Iterator[None]:
    """Show the first ``count`` items of every new sample: `DiTPipeline` has no callback, and doubles the batch."""
    if show is None:
        yield
        return
    step, before = scheduler.step, vars(scheduler).get("step")

    def shown(*args: Any, **kwargs: Any) -> Any:
        result = step(*args, **kwargs)
        show(result[0][:count].clone())
        return result

    scheduler.step = shown
    try:
        yield
    finally:
        del scheduler.step
        if before is not None:
            scheduler.step = before


def noise(count: int, *, seed: int) -> torch.Tensor:
    """Starting noise (count, 1, 16, 16) that depends on ``seed`` only: what `sample` starts from."""
    return stored.noise(count, 1, SIZE, SIZE, seed=seed)
