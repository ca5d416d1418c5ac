"""Which of diffusers' pipelines run from end to end with forecasts, and how is a tiny one of each built and called?

A table, read by the tests. Every pipeline is diffusers' own, around the network of the same class in
`benchmarks/models.py`, with random weights and the scheduler that its published checkpoint comes with. Text is handed
over encoded, but for Stable Diffusion XL, which reads a prompt and draws an image; nothing is downloaded.
"""

import inspect
import string
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    CogVideoXDDIMScheduler,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from spectral_forecast.benchmarks.models import MODELS
from spectral_forecast.benchmarks.models._inputs import fixed

__all__ = ["PIPELINES", "Pipeline"]


@dataclass(frozen=True, eq=False)
class Pipeline:
    """A pipeline of diffusers, tiny.

    Attributes
    ----------
    name : str
        Its class in diffusers.
    network : str
        Its network's class, built as the table in `benchmarks/models.py` says.
    scheduler : callable
        Builds its scheduler.
    inputs : dict
        What its call is given besides the number of steps.
    guided : dict
        The arguments that switch guidance on. Both branches are given in ``inputs``.
    config : dict
        What differs in the network's configuration.
    parts : callable
        Builds its further components by name; those left out are None.
    note : str
        Which use of the pipeline this is, where it has several.
    """

    name: str
    network: str
    scheduler: Callable[[], Any] = field(repr=False)
    inputs: dict[str, Any] = field(repr=False)
    guided: dict[str, Any] = field(repr=False)
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    parts: Callable[[], dict[str, Any]] = field(default=dict, repr=False)
    note: str = ""

    def __str__(self) -> str:
        return self.name + (f" ({self.note})" if self.note else "")

    @property
    def splits(self) -> bool:
        """Whether its network's features can be forecast."""
        return self._model().splits

    def build(self) -> diffusers.DiffusionPipeline:
        """Return the pipeline, its network in evaluation mode, all weights random but always the same."""
        model, kind = self._model(), getattr(diffusers, self.name)
        network = replace(model, config={**model.config, **self.config}).build()
        torch.manual_seed(1)
        parts = {"unet" if "UNet" in self.network else "transformer": network, "scheduler": self.scheduler()}
        parts |= self.parts()
        parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
        missing = [one.name for one in parameters if one.default is one.empty and one.name not in parts]
        pipe = kind(**parts, **dict.fromkeys(missing))
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def draw(self, pipe: diffusers.DiffusionPipeline, steps: int = 50, **changes: Any) -> torch.Tensor:
        """Call the pipeline with guidance and return its latents, or its image; ``changes`` go to the call."""
        generator = torch.Generator().manual_seed(0)
        arguments = {"num_inference_steps": steps, "generator": generator, **self.inputs, **self.guided, **changes}
        return pipe(**arguments, return_dict=False)[0]

    def _model(self) -> Any:
        return next(model for model in MODELS if model.name == self.network and not model.note)


def _flow(shift: float, **more: Any) -> Callable[[], Any]:
    return lambda: FlowMatchEulerDiscreteScheduler(shift=shift, **more)


def _text(width: int = 16, pooled: int = 0, mask: str = "", mask_type: torch.dtype = torch.long) -> dict[str, Any]:
    """Prompts as a text encoder would have made them, a positive and a negative one, and their masks' names."""
    parts = {"prompt_embeds": (1, 6, width)} | ({"pooled_prompt_embeds": (1, pooled)} if pooled else {})
    positive = {name: fixed(*shape, seed=4) for name, shape in parts.items()}
    negative = {f"negative_{name}": fixed(*shape, seed=5) for name, shape in parts.items()}
    ones = torch.ones(1, 6, dtype=mask_type)
    return positive | negative | ({mask: ones, f"negative_{mask}": ones} if mask else {})


def _latent(*shape: int, size: int = 64, **more: Any) -> dict[str, Any]:
    """Starting noise of a square picture of ``size`` pixels; the result is not decoded."""
    return {"latents": fixed(*shape, seed=2), "height": size, "width": size, "output_type": "latent", **more}


def _autoencoder(channels: int) -> AutoencoderKL:
    """A decoder that enlarges by 8, untrained."""
    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels,
        norm_num_groups=2,
        shift_factor=0.1,
    ).eval()


def _prompt_reader() -> dict[str, Any]:
    """Stable Diffusion XL's two tokenizers, which know letters only, and its two text encoders; and the decoder."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    words = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=12,
        projection_dim=8,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
        pad_token_id=len(words) - 1,
    )

    def tokenizer() -> Any:
        vocabulary = {word: number for number, word in enumerate(words)}
        return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=12)

    return {
        "tokenizer": tokenizer(),
        "tokenizer_2": tokenizer(),
        "text_encoder": CLIPTextModel(config).eval(),
        "text_encoder_2": CLIPTextModelWithProjection(config).eval(),
        "vae": _autoencoder(4),
    }


_FLUX_SHIFT = _flow(3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15)
# These two would round the size to one of a list, and have a text as their default negative prompt.
_UNBINNED = {"use_resolution_binning": False, "negative_prompt": None}

PIPELINES = (
    Pipeline(
        "FluxPipeline",
        "FluxTransformer2DModel",
        _FLUX_SHIFT,
        {**_text(pooled=16), **_latent(1, 16, 4)},
        {"true_cfg_scale": 3.0},
    ),
    Pipeline(
        "FluxPipeline",
        "FluxTransformer2DModel",
        _FLUX_SHIFT,
        {**_text(pooled=16), **_latent(1, 16, 4)},
        {"guidance_scale": 3.5},
        config={"guidance_embeds": True},
        note="embedded guidance",
    ),
    Pipeline(
        "FluxImg2ImgPipeline",
        "FluxTransformer2DModel",
        _FLUX_SHIFT,
        {
            **_text(pooled=16),
            "image": torch.sigmoid(fixed(1, 3, 64, 64, seed=3)),
            "height": 64,
            "width": 64,
            "strength": 0.6,
            "output_type": "latent",
        },
        {"true_cfg_scale": 3.0},
        parts=lambda: {"vae": _autoencoder(1)},
    ),
    Pipeline(
        "StableDiffusion3Pipeline",
        "SD3Transformer2DModel",
        _flow(3.0),
        {**_text(pooled=16), **_latent(1, 4, 8, 8)},
        {"guidance_scale": 4.0},
    ),
    Pipeline(
        "StableDiffusionXLPipeline",
        "UNet2DConditionModel",
        lambda: EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        ),
        {**_latent(1, 4, 8, 8), "prompt": "a cat", "negative_prompt": "blurred", "output_type": "pt"},
        {"guidance_scale": 4.0},
        parts=_prompt_reader,
    ),
    Pipeline(
        "DiTPipeline",
        "DiTTransformer2DModel",
        lambda: DDIMScheduler(clip_sample=False),
        {"class_labels": [3], "output_type": "pt"},
        {"guidance_scale": 4.0},
        parts=lambda: {"vae": _autoencoder(4)},
    ),
    Pipeline(
        "PixArtSigmaPipeline",
        "PixArtTransformer2DModel",
        DPMSolverMultistepScheduler,
        {**_UNBINNED, **_text(mask="prompt_attention_mask"), **_latent(1, 4, 8, 8)},
        {"guidance_scale": 4.0},
    ),
    Pipeline(
        "SanaPipeline",
        "SanaTransformer2DModel",
        lambda: DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
        {**_UNBINNED, **_text(mask="prompt_attention_mask"), **_latent(1, 4, 8, 8, size=256)},
        {"guidance_scale": 4.0},
    ),
    Pipeline(
        "Lumina2Pipeline",
        "Lumina2Transformer2DModel",
        _flow(6.0),
        {**_text(mask="prompt_attention_mask", mask_type=torch.bool), **_latent(1, 4, 8, 8)},
        {"guidance_scale": 4.0},
    ),
    Pipeline(
        "AuraFlowPipeline",
        "AuraFlowTransformer2DModel",
        _flow(1.73),
        {**_text(mask="prompt_attention_mask"), **_latent(1, 4, 8, 8)},
        {"guidance_scale": 3.5},
    ),
    Pipeline(
        "QwenImagePipeline",
        "QwenImageTransformer2DModel",
        _flow(
            1.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
        ),
        {**_text(mask="prompt_embeds_mask"), **_latent(1, 16, 16)},
        {"true_cfg_scale": 4.0},
    ),
    Pipeline(
        "ZImagePipeline",
        "ZImageTransformer2DModel",
        _flow(3.0),
        {
            "prompt_embeds": [fixed(6, 16, seed=4)],
            "negative_prompt_embeds": [fixed(6, 16, seed=5)],
            **_latent(1, 4, 8, 8),
        },
        {"guidance_scale": 3.0},
    ),
    # Video
    Pipeline(
        "WanPipeline",
        "WanTransformer3DModel",
        lambda: UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
        {**_text(), **_latent(1, 4, 2, 8, 8), "num_frames": 5},
        {"guidance_scale": 5.0},
    ),
    Pipeline(
        "HunyuanVideoPipeline",
        "HunyuanVideoTransformer3DModel",
        _flow(7.0),
        {**_text(pooled=8, mask="prompt_attention_mask"), **_latent(1, 4, 2, 8, 8), "num_frames": 5},
        {"guidance_scale": 6.0, "true_cfg_scale": 3.0},
    ),
    Pipeline(
        "CogVideoXPipeline",
        "CogVideoXTransformer3DModel",
        CogVideoXDDIMScheduler,
        {**_text(), **_latent(1, 3, 4, 8, 8), "num_frames": 9},
        {"guidance_scale": 6.0},
    ),
    Pipeline(
        "LTXPipeline",
        "LTXVideoTransformer3DModel",
        _flow(1.0, use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, shift_terminal=0.1),
        {**_text(mask="prompt_attention_mask"), **_latent(1, 32, 4, size=128), "num_frames": 9},
        {"guidance_scale": 3.0},
    ),
)
