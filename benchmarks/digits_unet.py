"""The small real U-Net: a class-conditional network of SDXL's kind that draws 16 x 16 digits, predicting velocities.

The network is diffusers' own `UNet2DConditionModel` with SDXL's added text and time conditions, the pipeline its
`StableDiffusionXLPipeline`. A class is handed over as a one-hot prompt embedding; index 10 is "no class".
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from spectral_forecast.benchmarks import digits, noising, stored

__all__ = [
    "CLASSES",
    "CONFIG",
    "NAME",
    "NETWORK",
    "SIZE",
    "classifier",
    "corrupt",
    "embed",
    "examples",
    "inputs",
    "network",
    "noise",
    "pipeline",
    "read",
    "sample",
]

NAME = "digits_unet"
NETWORK = UNet2DConditionModel
SIZE = digits.SIZE
CLASSES = digits.CLASSES
TIME_IDS = 6
CONFIG: dict[str, Any] = {
    "sample_size": SIZE,
    "in_channels": 1,
    "out_channels": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "transformer_layers_per_block": (1, 2),
    "cross_attention_dim": CLASSES + 1,
    "attention_head_dim": (1, 2),  # the number of heads, as diffusers counts
    "use_linear_projection": True,
    "norm_num_groups": 8,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 8 * TIME_IDS + CLASSES + 1,
}
PATH: dict[str, Any] = {  # SDXL's noise
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "prediction_type": "v_prediction",
}


def examples(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random images (count, 1, 16, 16) to train on, and their classes."""
    pixels, classes = (torch.from_numpy(part) for part in digits.dataset())
    pick = torch.randint(len(pixels), (count,), generator=generator)
    return pixels[pick][:, None], classes[pick]


def corrupt(clean: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy images, timesteps and v to learn from; see `noising.diffusion`."""
    return noising.diffusion(clean, generator, scheduler=DDIMScheduler(**PATH))


def embed(classes: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The prompt embeddings (n, 1, 11) and pooled embeddings (n, 11) of ``classes`` (n,), each 0 to 9, or 10."""
    pooled = stored.one_hot(classes, CLASSES)
    return pooled[:, None], pooled


def inputs(noisy: torch.Tensor, time: torch.Tensor, classes: torch.Tensor) -> dict[str, Any]:
    """What the network is called with at timesteps ``time`` (n,) between 0, data, and 999, noise."""
    prompt, pooled = embed(classes)
    side = 8.0 * SIZE
    sizes = torch.tensor([side, side, 0.0, 0.0, side, side])  # as the pipeline says: original, corner, wanted
    return {
        "sample": noisy,
        "timestep": time,
        "encoder_hidden_states": prompt,
        "added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes.expand(len(noisy), TIME_IDS)},
    }


classifier = digits.classifier
read = digits.read


def network() -> UNet2DConditionModel:
    """The trained network in evaluation mode."""
    return stored.load(NAME, NETWORK, CONFIG)


def pipeline(model: UNet2DConditionModel | None = None, *, scheduler: str = "euler") -> StableDiffusionXLPipeline:
    """A real `StableDiffusionXLPipeline` with ``scheduler`` "euler" (SDXL's own), "ddim" or "dpm++" (2M)."""
    schedulers = {
        "euler": lambda: EulerDiscreteScheduler(**PATH),
        "ddim": lambda: DDIMScheduler(**PATH, clip_sample=False),
        "dpm++": lambda: DPMSolverMultistepScheduler(**PATH),
    }
    pipe = StableDiffusionXLPipeline(
        vae=None,
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
        unet=network() if model is None else model,
        scheduler=stored.chosen(scheduler, schedulers),
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def sample(
    pipe: StableDiffusionXLPipeline,
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
    the sample (n, 1, 16, 16) after every step.
    """
    (prompt, pooled), (away, away_pooled) = embed(classes), embed([negative] * len(classes))
    latents = pipe(
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
    return latents[:, 0]


def noise(count: int, *, seed: int) -> torch.Tensor:
    """Starting noise (count, 1, 16, 16) of variance 1 that depends on ``seed`` only; the pipeline scales it."""
    return stored.noise(count, 1, SIZE, SIZE, seed=seed)
