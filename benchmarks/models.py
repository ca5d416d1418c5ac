"""Which of diffusers' denoisers does the adapter know, and how is a tiny one of each built and called?

A table, read by the tests and by ``python -m spectral_forecast.benchmarks.supported``. Every network has two blocks or
more in every list of blocks, random weights, and inputs that follow a smooth curve from noise to data.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import diffusers
import torch

__all__ = ["MODELS", "TIMES", "Model", "run"]

TIMES = tuple(1.0 - step / 8 for step in range(8))


@dataclass(frozen=True, eq=False)
class Model:
    """A denoiser of diffusers, tiny.

    Attributes
    ----------
    name : str
        Its class in diffusers.
    config : dict
        What its constructor is given.
    inputs : callable
        From a time between 1 (noise) and 0 (data) to the arguments of its forward.
    kind : str
        What it makes.
    remark : str
        Why its features cannot be forecast, as the adapter words it; empty where they can be.
    note : str
        Which of the network's variants this is, where it has several.
    """

    name: str
    config: dict[str, Any] = field(repr=False)
    inputs: Callable[[float], dict[str, Any]] = field(repr=False)
    kind: str = "image"
    remark: str = ""
    note: str = ""

    @property
    def splits(self) -> bool:
        """Whether its features can be forecast."""
        return not self.remark

    def __str__(self) -> str:
        return self.name + (f" ({self.note})" if self.note else "")

    def build(self, seed: int = 0) -> torch.nn.Module:
        """Return the network with random weights, also where training begins with zeros or a checkpoint is needed.

        Zeros in a head or a gate would make the result independent of the blocks, and every test of them pass.
        """
        torch.manual_seed(seed)
        network = getattr(diffusers, self.name)(**self.config).eval().requires_grad_(requires_grad=False)
        generator = torch.Generator().manual_seed(seed)
        for parameter in network.parameters():
            if parameter.ndim > 1 and parameter.numel():
                scale = parameter.shape[1:].numel() ** -0.5
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
            elif not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        return network


@torch.no_grad()
def run(network: torch.nn.Module, model: Model, times: tuple[float, ...] = TIMES) -> list[torch.Tensor]:
    """Call a network at each time, in order; return its first tensor each time."""
    return [_first(network(**model.inputs(time), return_dict=False)) for time in times]


def _first(result: Any) -> torch.Tensor:
    while not isinstance(result, torch.Tensor):
        result = result[0]
    return result


def _fixed(*shape: int, seed: int = 1) -> torch.Tensor:
    """A condition: the same at all times."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _noisy(time: float, *shape: int) -> torch.Tensor:
    """A sample on its way from noise at time 1 to data at time 0."""
    return time * _fixed(*shape, seed=2) + (1.0 - time) * torch.sin(_fixed(*shape, seed=3))


def _grid(height: int, width: int, axes: int = 3) -> torch.Tensor:
    """Position numbers of image tokens, (height * width, axes): zeros, rows, columns."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    zeros = [torch.zeros_like(rows)] * (axes - 2)
    return torch.stack([*zeros, rows, columns], dim=-1).reshape(-1, axes).float()


def _t(time: float, scale: float = 1.0) -> torch.Tensor:
    return torch.tensor([scale * time])


def _flux_like(channels: int = 4, text: int = 16, **more: Any) -> Callable[[float], dict[str, Any]]:
    """Inputs of the family of FLUX: packed tokens, text tokens, their positions."""

    def inputs(time: float) -> dict[str, Any]:
        return {
            "hidden_states": _noisy(time, 1, 16, channels),
            "encoder_hidden_states": _fixed(1, 6, text),
            "timestep": _t(time),
            "img_ids": _grid(4, 4),
            "txt_ids": torch.zeros(6, 3),
            **more,
        }

    return inputs


def _video_like(channels: int, text: int, *, scale: float = 1000.0, **more: Any) -> Callable[[float], dict[str, Any]]:
    """Inputs of video transformers: latents (batch, channels, frames, height, width) and text tokens."""

    def inputs(time: float) -> dict[str, Any]:
        return {
            "hidden_states": _noisy(time, 1, channels, 2, 8, 8),
            "encoder_hidden_states": _fixed(1, 6, text),
            "timestep": _t(time, scale),
            **more,
        }

    return inputs


def _image_like(channels: int, text: int, *, scale: float = 1000.0, **more: Any) -> Callable[[float], dict[str, Any]]:
    """Inputs of image transformers that cut patches themselves: latents (batch, channels, height, width)."""

    def inputs(time: float) -> dict[str, Any]:
        return {
            "hidden_states": _noisy(time, 1, channels, 8, 8),
            "encoder_hidden_states": _fixed(1, 6, text),
            "timestep": _t(time, scale),
            **more,
        }

    return inputs


_FLUX = {
    "patch_size": 1,
    "in_channels": 4,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 16,
    "axes_dims_rope": (4, 4, 8),
}
_HEADS = {"num_attention_heads": 2, "attention_head_dim": 16}
_WAN = {
    **_HEADS,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 3,
    "rope_max_seq_len": 32,
}
_HUNYUAN = {
    **_HEADS,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "num_refiner_layers": 2,
    "mlp_ratio": 2.0,
    "text_embed_dim": 16,
}

_PLAIN = (
    Model(
        "FluxTransformer2DModel", {**_FLUX, "pooled_projection_dim": 16}, _flux_like(pooled_projections=_fixed(1, 16))
    ),
    Model(
        "Flux2Transformer2DModel",
        {**_FLUX, "timestep_guidance_channels": 16, "axes_dims_rope": (4, 4, 4, 4), "mlp_ratio": 2.0},
        _flux_like(img_ids=_grid(4, 4, axes=4), txt_ids=torch.zeros(6, 4), guidance=torch.ones(1)),
    ),
    Model(
        "Flux3Transformer2DModel",
        {
            **{k: v for k, v in _FLUX.items() if k != "patch_size"},
            "cond_in_channels": 4,
            "timestep_channels": 16,
            "axes_dims_rope": (4, 4, 4, 4),
            "mlp_ratio": 2.0,
        },
        _flux_like(img_ids=_grid(4, 4, axes=4), txt_ids=torch.zeros(6, 4)),
    ),
    Model(
        "SD3Transformer2DModel",
        {
            **_HEADS,
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 3,
            "joint_attention_dim": 16,
            "caption_projection_dim": 32,
            "pooled_projection_dim": 16,
            "pos_embed_max_size": 8,
            "dual_attention_layers": (0,),
            "qk_norm": "rms_norm",
        },
        _image_like(4, 16, pooled_projections=_fixed(1, 16)),
    ),
    Model(
        "AuraFlowTransformer2DModel",
        {
            **_HEADS,
            "sample_size": 8,
            "num_mmdit_layers": 2,
            "num_single_dit_layers": 2,
            "joint_attention_dim": 16,
            "caption_projection_dim": 32,
            "pos_embed_max_size": 64,
        },
        _image_like(4, 16, scale=1.0),
    ),
    Model(
        "ChromaTransformer2DModel",
        {**_FLUX, "approximator_num_channels": 16, "approximator_hidden_dim": 16, "approximator_layers": 2},
        _flux_like(),
    ),
    Model("BriaTransformer2DModel", {**_FLUX, "axes_dims_rope": [4, 4, 8]}, _flux_like()),
    Model(
        "BriaFiboTransformer2DModel",
        {**_FLUX, "axes_dims_rope": [4, 4, 8], "joint_attention_dim": 32, "text_encoder_dim": 16},
        _flux_like(text=32, text_encoder_layers=[_fixed(1, 6, 16, seed=k) for k in range(4)]),
    ),
    Model(
        "CogView3PlusTransformer2DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "text_embed_dim": 16,
            "time_embed_dim": 16,
            "condition_dim": 4,
            "pos_embed_max_size": 8,
            "sample_size": 8,
        },
        _image_like(
            4,
            16,
            original_size=torch.tensor([[64.0, 64.0]]),
            target_size=torch.tensor([[64.0, 64.0]]),
            crop_coords=torch.zeros(1, 2),
        ),
    ),
    Model(
        "CogView4Transformer2DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "text_embed_dim": 16,
            "time_embed_dim": 16,
            "condition_dim": 4,
            "rope_axes_dim": (16, 16),
        },
        _image_like(
            4,
            16,
            original_size=torch.tensor([[64.0, 64.0]]),
            target_size=torch.tensor([[64.0, 64.0]]),
            crop_coords=torch.zeros(1, 2),
        ),
    ),
    Model(
        "GlmImageTransformer2DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "text_embed_dim": 16,
            "time_embed_dim": 16,
            "condition_dim": 4,
            "prior_vq_quantizer_codebook_size": 32,
        },
        _image_like(
            4,
            16,
            prior_token_id=torch.arange(16)[None],
            prior_token_drop=torch.zeros(1, dtype=torch.bool),
            target_size=torch.tensor([[64.0, 64.0]]),
            crop_coords=torch.zeros(1, 2),
        ),
    ),
    Model(
        "DiTTransformer2DModel",
        {**_HEADS, "in_channels": 4, "out_channels": 8, "num_layers": 2, "sample_size": 8, "norm_num_groups": 4},
        lambda time: {
            "hidden_states": _noisy(time, 2, 4, 8, 8),
            "timestep": torch.tensor([int(1000 * time)] * 2),
            "class_labels": torch.tensor([3, 8]),
        },
    ),
    Model(
        "Transformer2DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 8,
            "num_layers": 2,
            "sample_size": 8,
            "patch_size": 2,
            "cross_attention_dim": 32,
            "attention_bias": True,
            "norm_type": "ada_norm_single",
            "num_embeds_ada_norm": 1000,
            "norm_elementwise_affine": False,
            "caption_channels": 16,
            "use_additional_conditions": False,
        },
        _image_like(4, 16, added_cond_kwargs={"resolution": None, "aspect_ratio": None}),
    ),
    Model(
        "PixArtTransformer2DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 8,
            "num_layers": 2,
            "sample_size": 8,
            "cross_attention_dim": 32,
            "caption_channels": 16,
            "use_additional_conditions": False,
        },
        _image_like(4, 16, added_cond_kwargs={"resolution": None, "aspect_ratio": None}),
    ),
    Model(
        "HunyuanDiT2DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "patch_size": 2,
            "sample_size": 8,
            "hidden_size": 32,
            "num_layers": 4,
            "mlp_ratio": 2.0,
            "cross_attention_dim": 16,
            "cross_attention_dim_t5": 16,
            "pooled_projection_dim": 16,
            "text_len": 6,
            "text_len_t5": 4,
            "use_style_cond_and_image_meta_size": False,
        },
        _image_like(
            4,
            16,
            text_embedding_mask=torch.ones(1, 6),
            encoder_hidden_states_t5=_fixed(1, 4, 16),
            text_embedding_mask_t5=torch.ones(1, 4),
        ),
    ),
    Model(
        "LuminaNextDiT2DModel",
        {
            "sample_size": 8,
            "hidden_size": 32,
            "num_layers": 2,
            "num_attention_heads": 2,
            "num_kv_heads": 1,
            "multiple_of": 16,
            "cross_attention_dim": 16,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 4, 8, 8),
            "timestep": _t(time),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "encoder_mask": torch.ones(1, 6, dtype=torch.bool),
            "image_rotary_emb": torch.polar(torch.ones(4, 4, 8), _fixed(4, 4, 8)),
            "cross_attention_kwargs": {},
        },
    ),
    Model(
        "Lumina2Transformer2DModel",
        {
            "sample_size": 8,
            "in_channels": 4,
            "hidden_size": 32,
            "num_layers": 2,
            "num_refiner_layers": 2,
            "num_attention_heads": 2,
            "num_kv_heads": 1,
            "multiple_of": 16,
            "axes_dim_rope": (4, 4, 8),
            "axes_lens": (32, 8, 8),
            "cap_feat_dim": 16,
        },
        _image_like(4, 16, scale=1.0, encoder_attention_mask=torch.ones(1, 6, dtype=torch.bool)),
    ),
    Model(
        "SanaTransformer2DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 16,
            "cross_attention_dim": 32,
            "caption_channels": 16,
            "sample_size": 8,
        },
        _image_like(4, 16),
    ),
    Model(
        "PriorTransformer",
        {**_HEADS, "num_layers": 2, "embedding_dim": 8, "num_embeddings": 7, "additional_embeddings": 4},
        lambda time: {
            "hidden_states": _noisy(time, 1, 8),
            "timestep": _t(time, 1000.0),
            "proj_embedding": _fixed(1, 8),
            "encoder_hidden_states": _fixed(1, 7, 8),
        },
    ),
    Model(
        "OmniGenTransformer2DModel",
        {
            "in_channels": 4,
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 32,
            "num_layers": 2,
            "pad_token_id": 0,
            "vocab_size": 32,
            "time_step_dim": 16,
            "rope_scaling": {"long_factor": [1.0] * 8, "short_factor": [1.0] * 8},
            "pos_embed_max_size": 8,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 4, 8, 8),
            "timestep": _t(time),
            "input_ids": torch.arange(1, 7)[None],
            "input_img_latents": [],
            "input_image_sizes": {},
            "attention_mask": torch.ones(1, 23, 23),
            "position_ids": torch.arange(23)[None],
        },
    ),
    Model(
        "HiDreamImageTransformer2DModel",
        {
            **_HEADS,
            "patch_size": 2,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "num_single_layers": 2,
            "caption_channels": [16, 16],
            "text_emb_dim": 16,
            "axes_dims_rope": (4, 4, 8),
            "max_resolution": (8, 8),
            "llama_layers": (0, 1, 2, 3),
            "force_inference_output": True,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 4, 8, 8),
            "timesteps": _t(time, 1000.0),
            "encoder_hidden_states_t5": _fixed(1, 6, 16),
            "encoder_hidden_states_llama3": _fixed(4, 1, 6, 16),
            "pooled_embeds": _fixed(1, 16),
        },
    ),
    Model(
        "QwenImageTransformer2DModel",
        {
            **_HEADS,
            "in_channels": 16,
            "out_channels": 4,
            "num_layers": 2,
            "joint_attention_dim": 16,
            "axes_dims_rope": (4, 4, 8),
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 16, 16),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "encoder_hidden_states_mask": torch.ones(1, 6, dtype=torch.bool),
            "timestep": _t(time),
            "img_shapes": [[(1, 4, 4)]],
        },
    ),
    Model(
        "QwenImage21Transformer2DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "context_in_dim": 16,
            "mlp_ratio": 2,
            "axes_dims_rope": (4, 4, 8),
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 16, 4),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "timestep": _t(time),
            "img_shapes": [[(1, 4, 4)]],
            "img_mask": torch.tensor([[False] * 6 + [True] * 4]),
        },
    ),
    Model(
        "NucleusMoEImageTransformer2DModel",
        {
            **_HEADS,
            "in_channels": 16,
            "out_channels": 4,
            "num_layers": 5,
            "joint_attention_dim": 16,
            "axes_dims_rope": (4, 4, 8),
            "mlp_ratio": 2.0,
            "num_experts": 4,
            "moe_intermediate_dim": 16,
            "capacity_factors": 2.0,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 16, 16),
            "img_shapes": [(1, 4, 4)],
            "encoder_hidden_states": _fixed(1, 6, 16),
            "encoder_hidden_states_mask": torch.ones(1, 6, dtype=torch.bool),
            "timestep": _t(time),
        },
    ),
    Model(
        "ZImageTransformer2DModel",
        {
            "in_channels": 4,
            "dim": 64,
            "n_layers": 4,
            "n_refiner_layers": 2,
            "n_heads": 4,
            "n_kv_heads": 4,
            "cap_feat_dim": 16,
            "axes_dims": [4, 4, 8],
            "axes_lens": [64, 16, 16],
        },
        lambda time: {"x": [_noisy(time, 4, 1, 8, 8)], "t": _t(time), "cap_feats": [_fixed(6, 16)]},
    ),
    Model(
        "ErnieImageTransformer2DModel",
        {
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_layers": 2,
            "ffn_hidden_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "text_in_dim": 16,
            "rope_axes_dim": (4, 4, 8),
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 4, 4, 4),
            "timestep": _t(time, 1000.0),
            "text_bth": _fixed(1, 6, 16),
            "text_lens": torch.tensor([6]),
        },
    ),
    Model(
        "HunyuanImageTransformer2DModel",
        {**_HUNYUAN, "num_single_layers": 2, "rope_axes_dim": (8, 8)},
        _image_like(4, 16, encoder_attention_mask=torch.ones(1, 6)),
    ),
    Model(
        "LongCatImageTransformer2DModel",
        {**_FLUX, "pooled_projection_dim": 16, "axes_dims_rope": [4, 4, 8]},
        _flux_like(),
    ),
    Model("OvisImageTransformer2DModel", {**_FLUX, "out_channels": 4}, _flux_like()),
    Model(
        "PRXTransformer2DModel",
        {
            "in_channels": 4,
            "context_in_dim": 16,
            "hidden_size": 32,
            "mlp_ratio": 2.0,
            "num_heads": 2,
            "depth": 2,
            "axes_dim": [8, 8],
        },
        _image_like(4, 16, scale=1.0),
    ),
    Model(
        "Ideogram4Transformer2DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "num_layers": 2,
            "intermediate_size": 32,
            "adaln_dim": 16,
            "llm_features_dim": 16,
            "mrope_section": (4, 2, 2),
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 22, 4),
            "timestep": _t(time),
            "encoder_hidden_states": _fixed(1, 22, 16),
            "position_ids": torch.cat([torch.zeros(6, 3), _grid(4, 4)])[None].long(),
            "segment_ids": torch.ones(1, 22, dtype=torch.long),
            "indicator": torch.tensor([[3] * 6 + [2] * 16]),
        },
    ),
    Model(
        "Krea2Transformer2DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "num_layers": 4,
            "num_key_value_heads": 1,
            "intermediate_size": 32,
            "timestep_embed_dim": 16,
            "text_hidden_dim": 16,
            "num_text_layers": 2,
            "text_num_attention_heads": 2,
            "text_num_key_value_heads": 2,
            "text_intermediate_size": 16,
            "axes_dims_rope": (4, 4, 8),
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 16, 4),
            "encoder_hidden_states": _fixed(1, 6, 2, 16),
            "timestep": _t(time),
            "position_ids": torch.cat([torch.zeros(6, 3), _grid(4, 4)]),
        },
    ),
    Model(
        "JoyImageEditTransformer3DModel",
        {
            "in_channels": 4,
            "hidden_size": 32,
            "num_attention_heads": 2,
            "text_dim": 16,
            "mlp_width_ratio": 2.0,
            "num_layers": 2,
            "rope_dim_list": [4, 4, 8],
        },
        _video_like(4, 16),
    ),
    Model(
        "JoyImageEditPlusTransformer3DModel",
        {
            "in_channels": 4,
            "hidden_size": 32,
            "num_attention_heads": 2,
            "text_dim": 16,
            "mlp_width_ratio": 2.0,
            "num_layers": 2,
            "rope_dim_list": [4, 4, 8],
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 16, 4, 1, 2, 2),
            "timestep": _t(time, 1000.0),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "shape_list": [[(1, 4, 4)]],
        },
    ),
    Model(
        "BriaFibo2Transformer2DModel",
        {
            "in_channels": 4,
            "dim": 64,
            "n_layers": 7,
            "n_refiner_layers": 2,
            "n_heads": 4,
            "cap_feat_dim": 16,
            "injection_layer_ids": (1, 3),
            "perceiver_num_layers": 2,
            "min_num_gist_tokens": 2,
            "max_num_gist_tokens": 4,
            "gist_step": 2,
            "gist_min_text_len": 4,
            "gist_max_text_len": 8,
            "axes_dims": (4, 4, 8),
            "axes_lens": (32, 16, 16),
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 4, 8, 8),
            "timestep": _t(time),
            "encoder_hidden_states": _fixed(1, 3, 6, 16),
        },
    ),
    # Video
    Model(
        "CogVideoXTransformer3DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "time_embed_dim": 16,
            "text_embed_dim": 16,
            "num_layers": 2,
            "sample_width": 8,
            "sample_height": 8,
            "sample_frames": 9,
            "max_text_seq_length": 6,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 3, 4, 8, 8),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "timestep": _t(time, 1000.0),
        },
        kind="video",
    ),
    Model(
        "ConsisIDTransformer3DModel",
        {
            "num_attention_heads": 2,
            "attention_head_dim": 24,
            "in_channels": 4,
            "out_channels": 4,
            "time_embed_dim": 16,
            "text_embed_dim": 16,
            "num_layers": 4,
            "sample_width": 8,
            "sample_height": 8,
            "sample_frames": 9,
            "max_text_seq_length": 6,
            "is_train_face": True,
            "cross_attn_interval": 2,
            "cross_attn_dim_head": 16,
            "cross_attn_num_heads": 1,
            "LFE_id_dim": 2,
            "LFE_vit_dim": 4,
            "LFE_depth": 5,
            "LFE_dim_head": 4,
            "LFE_num_heads": 1,
            "LFE_num_id_token": 1,
            "LFE_num_querie": 1,
            "LFE_output_dim": 32,
            "LFE_ff_mult": 1,
            "LFE_num_scale": 1,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 3, 4, 8, 8),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "timestep": _t(time, 1000.0),
            "id_cond": torch.ones(1, 2),
            "id_vit_hidden": [torch.ones(1, 2, 4)],
        },
        kind="video",
    ),
    Model(
        "CosmosTransformer3DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "mlp_ratio": 2.0,
            "text_embed_dim": 16,
            "adaln_lora_dim": 4,
            "max_size": (4, 16, 16),
            "concat_padding_mask": False,
        },
        _video_like(4, 16, fps=16),
        kind="video",
    ),
    Model(
        "EasyAnimateTransformer3DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "patch_size": 2,
            "sample_width": 8,
            "sample_height": 8,
            "num_layers": 2,
            "mmdit_layers": 2,
            "time_embed_dim": 16,
            "text_embed_dim": 16,
            "time_position_encoding_type": "3d_rope",
        },
        _video_like(4, 16),
        kind="video",
    ),
    Model(
        "HunyuanVideoTransformer3DModel",
        {**_HUNYUAN, "num_single_layers": 2, "pooled_projection_dim": 8, "rope_axes_dim": (4, 4, 8)},
        _video_like(
            4,
            16,
            encoder_attention_mask=torch.ones(1, 6),
            pooled_projections=_fixed(1, 8),
            guidance=torch.tensor([6000.0]),
        ),
        kind="video",
    ),
    Model(
        "HunyuanVideo15Transformer3DModel",
        {
            **_HUNYUAN,
            "attention_head_dim": 128,
            "num_layers": 5,
            "text_embed_2_dim": 8,
            "image_embed_dim": 8,
            "rope_axes_dim": (32, 48, 48),
            "target_size": 16,
            "task_type": "t2v",
        },
        _video_like(
            4,
            16,
            encoder_attention_mask=torch.ones(1, 6),
            encoder_hidden_states_2=_fixed(1, 4, 8),
            encoder_attention_mask_2=torch.ones(1, 4),
            image_embeds=torch.zeros(1, 3, 8),
        ),
        kind="video",
    ),
    Model(
        "HunyuanVideoFramepackTransformer3DModel",
        {
            **_HUNYUAN,
            "num_layers": 4,
            "num_single_layers": 2,
            "pooled_projection_dim": 8,
            "rope_axes_dim": (4, 4, 8),
            "has_image_proj": True,
            "image_proj_dim": 8,
            "has_clean_x_embedder": True,
        },
        _video_like(
            4,
            16,
            encoder_attention_mask=torch.ones(1, 6),
            pooled_projections=_fixed(1, 8),
            image_embeds=_fixed(1, 3, 8),
            indices_latents=torch.arange(2),
            latents_clean=_fixed(1, 4, 1, 8, 8),
            indices_latents_clean=torch.arange(1),
            latents_history_2x=_fixed(1, 4, 2, 8, 8),
            indices_latents_history_2x=torch.arange(2),
            latents_history_4x=_fixed(1, 4, 4, 8, 8),
            indices_latents_history_4x=torch.arange(4),
            guidance=torch.tensor([6000.0]),
        ),
        kind="video",
    ),
    Model(
        "Kandinsky5Transformer3DModel",
        {
            "in_visual_dim": 4,
            "out_visual_dim": 4,
            "in_text_dim": 16,
            "in_text_dim2": 8,
            "time_dim": 16,
            "model_dim": 32,
            "ff_dim": 32,
            "num_text_blocks": 2,
            "num_visual_blocks": 2,
            "axes_dims": (4, 4, 8),
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 2, 8, 8, 4),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "timestep": _t(time, 1000.0),
            "pooled_projections": _fixed(1, 8),
            "visual_rope_pos": (torch.arange(2), torch.arange(4), torch.arange(4)),
            "text_rope_pos": torch.arange(6),
        },
        kind="video",
    ),
    Model(
        "Kandinsky6Transformer3DModel",
        {
            "in_visual_dim": 4,
            "out_visual_dim": 4,
            "in_text_dim": 16,
            "in_text_dim2": 8,
            "time_dim": 16,
            "model_dim": 32,
            "ff_dim": 32,
            "num_text_blocks": 2,
            "num_visual_blocks": 2,
            "axes_dims": (4, 4, 8),
            "visual_cond": False,
            "in_audio_dim": 4,
            "out_audio_dim": 4,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 2, 8, 8, 4),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "timestep": _t(time, 1000.0),
            "pooled_projections": _fixed(1, 8),
            "audio_hidden_states": _noisy(time, 1, 5, 4),
        },
        kind="video and sound",
    ),
    Model(
        "Kandinsky6SRTransformer3DModel",
        {
            "in_visual_dim": 4,
            "out_visual_dim": 4,
            "time_dim": 16,
            "model_dim": 32,
            "ff_dim": 32,
            "num_visual_blocks": 2,
            "axes_dims": (4, 4, 8),
        },
        lambda time: {"hidden_states": _noisy(time, 1, 2, 8, 8, 9), "timestep": _t(time, 1000.0)},
        kind="video",
    ),
    Model(
        "LTXVideoTransformer3DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "cross_attention_dim": 32,
            "num_layers": 2,
            "caption_channels": 16,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 32, 4),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "timestep": _t(time, 1000.0),
            "encoder_attention_mask": torch.ones(1, 6, dtype=torch.bool),
            "num_frames": 2,
            "height": 4,
            "width": 4,
        },
        kind="video",
    ),
    Model(
        "LTX2VideoTransformer3DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "cross_attention_dim": 32,
            "audio_in_channels": 4,
            "audio_out_channels": 4,
            "audio_num_attention_heads": 2,
            "audio_attention_head_dim": 8,
            "audio_cross_attention_dim": 16,
            "num_layers": 4,
            "caption_channels": 16,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 32, 4),
            "audio_hidden_states": _noisy(time, 1, 5, 4),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "audio_encoder_hidden_states": _fixed(1, 6, 16),
            "timestep": _t(time, 1000.0),
            "num_frames": 2,
            "height": 4,
            "width": 4,
            "audio_num_frames": 5,
        },
        kind="video and sound",
    ),
    Model(
        "LatteTransformer3DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 8,
            "num_layers": 2,
            "cross_attention_dim": 32,
            "attention_bias": True,
            "sample_size": 8,
            "patch_size": 2,
            "norm_type": "ada_norm_single",
            "num_embeds_ada_norm": 1000,
            "norm_elementwise_affine": False,
            "caption_channels": 16,
            "video_length": 2,
            "activation_fn": "gelu-approximate",
        },
        _video_like(4, 16),
        kind="video",
    ),
    Model(
        "AllegroTransformer3DModel",
        {
            "num_attention_heads": 2,
            "attention_head_dim": 24,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "cross_attention_dim": 48,
            "sample_height": 8,
            "sample_width": 8,
            "sample_frames": 2,
            "caption_channels": 16,
        },
        _video_like(4, 16),
        kind="video",
    ),
    Model(
        "MochiTransformer3DModel",
        {
            **_HEADS,
            "num_layers": 2,
            "pooled_projection_dim": 16,
            "in_channels": 4,
            "text_embed_dim": 16,
            "time_embed_dim": 16,
            "max_sequence_length": 6,
        },
        _video_like(4, 16, encoder_attention_mask=torch.ones(1, 6, dtype=torch.bool)),
        kind="video",
    ),
    Model(
        "MotifVideoTransformer3DModel",
        {
            **{k: v for k, v in _HUNYUAN.items() if k != "num_refiner_layers"},
            "num_single_layers": 2,
            "num_decoder_layers": 2,
            "rope_axes_dim": (4, 4, 8),
        },
        _video_like(4, 16),
        kind="video",
    ),
    Model(
        "SanaVideoTransformer3DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "num_cross_attention_heads": 2,
            "cross_attention_head_dim": 16,
            "cross_attention_dim": 32,
            "caption_channels": 16,
            "sample_size": 8,
        },
        _video_like(4, 16),
        kind="video",
    ),
    Model("SkyReelsV2Transformer3DModel", _WAN, _video_like(4, 16), kind="video"),
    Model("WanTransformer3DModel", _WAN, _video_like(4, 16), kind="video"),
    Model(
        "WanVACETransformer3DModel",
        {**_WAN, "vace_layers": [0, 1], "vace_in_channels": 4},
        _video_like(4, 16, control_hidden_states=_fixed(1, 4, 2, 8, 8), control_hidden_states_scale=torch.ones(2)),
        kind="video",
    ),
    Model("ChronoEditTransformer3DModel", _WAN, _video_like(4, 16), kind="video"),
    Model(
        "WanAnimateTransformer3DModel",
        {
            **_WAN,
            "in_channels": 12,
            "latent_channels": 4,
            "num_layers": 4,
            "image_dim": 16,
            "motion_encoder_channel_sizes": {"4": 16, "8": 16, "16": 16},
            "motion_encoder_size": 16,
            "motion_style_dim": 8,
            "motion_dim": 4,
            "motion_encoder_dim": 16,
            "face_encoder_hidden_dim": 16,
            "face_encoder_num_heads": 2,
            "inject_face_latents_blocks": 2,
        },
        _video_like(
            12,
            16,
            encoder_hidden_states_image=_fixed(1, 3, 16),
            pose_hidden_states=_fixed(1, 4, 1, 8, 8),
            face_pixel_values=_fixed(1, 3, 4, 16, 16),
        ),
        kind="video",
    ),
    Model(
        "AnyFlowTransformer3DModel",
        _WAN,
        lambda time: {
            "hidden_states": _noisy(time, 1, 2, 4, 8, 8),
            "timestep": torch.full((1, 2), 1000.0 * time),
            "r_timestep": torch.full((1, 2), 1000.0 * time - 125.0),
            "encoder_hidden_states": _fixed(1, 6, 16),
        },
        kind="video",
    ),
    Model(
        "HeliosTransformer3DModel",
        {**{k: v for k, v in _WAN.items() if k != "rope_max_seq_len"}, "num_layers": 6, "rope_dim": (4, 4, 8)},
        _video_like(4, 16),
        kind="video",
    ),
    Model(
        "SanaWMTransformer3DModel",
        {
            "in_channels": 4,
            "num_layers": 4,
            "hidden_size": 32,
            "num_attention_heads": 2,
            "linear_head_dim": 16,
            "caption_channels": 16,
            "mlp_ratio": 2.0,
            "softmax_every_n": 2,
            "chunk_plucker_post_attn_blocks": 0,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 4, 2, 8, 8),
            "timestep": torch.full((1, 1, 2), 1000.0 * time),
            "encoder_hidden_states": _fixed(1, 1, 6, 16),
            "encoder_attention_mask": torch.ones(1, 6),
        },
        kind="video",
    ),
    Model(
        "MiniMaxH3Transformer3DModel",
        {
            **_HEADS,
            "hidden_size": 32,
            "num_layers": 2,
            "num_refiner_layers": 2,
            "ffn_dim": 32,
            "in_channels": 4,
            "audio_in_channels": 4,
            "text_dim": 16,
            "freq_dim": 16,
            "time_embed_hidden_dim": 16,
            "time_embed_dim": 16,
            "rope_freq_dim": 2,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 16, 16),
            "audio_hidden_states": _noisy(time, 1, 5, 4),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "timestep": _t(time),
            "timestep_indices": torch.zeros(27, dtype=torch.long),
            "token_tags": torch.tensor([0] * 6 + [1] * 16 + [2] * 5),
            "position_ids": torch.arange(27)[:, None].expand(27, 3).float(),
            "text_indices": torch.arange(6),
            "video_indices": torch.arange(6, 22),
            "audio_indices": torch.arange(22, 27),
        },
        kind="video and sound",
    ),
    # Sound
    Model(
        "StableAudioDiTModel",
        {
            "sample_size": 16,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "num_key_value_attention_heads": 1,
            "cross_attention_dim": 16,
            "time_proj_dim": 16,
            "global_states_input_dim": 8,
            "cross_attention_input_dim": 8,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 4, 16),
            "timestep": _t(time),
            "encoder_hidden_states": _fixed(1, 6, 8),
            "global_hidden_states": _fixed(1, 1, 8),
            "rotary_embedding": (torch.cos(_fixed(17, 8)), torch.sin(_fixed(17, 8))),
        },
        kind="sound",
    ),
    Model(
        "AceStepTransformer1DModel",
        {
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 6,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "in_channels": 12,
            "audio_acoustic_hidden_dim": 4,
            "sliding_window": 8,
            "encoder_hidden_size": 16,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 16, 4),
            "timestep": _t(time),
            "timestep_r": _t(time),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "context_latents": _fixed(1, 16, 8),
        },
        kind="sound",
    ),
    Model(
        "StableAudio3DiTModel",
        {
            "io_channels": 4,
            "embed_dim": 32,
            "depth": 2,
            "num_heads": 2,
            "cond_token_dim": 16,
            "global_cond_dim": 16,
            "local_add_cond_dim": 5,
            "timestep_features_dim": 16,
            "ff_mult": 2.0,
            "num_memory_tokens": 4,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 4, 16),
            "timestep": _t(time),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "global_hidden_states": _fixed(1, 16),
        },
        kind="sound",
    ),
    Model(
        "LongCatAudioDiTTransformer",
        {"dit_dim": 32, "dit_depth": 6, "dit_heads": 2, "dit_text_dim": 16, "latent_dim": 4, "ff_mult": 2.0},
        lambda time: {
            "hidden_states": _noisy(time, 1, 16, 4),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "encoder_attention_mask": torch.ones(1, 6, dtype=torch.bool),
            "timestep": _t(time),
            "latent_cond": _fixed(1, 16, 4),
        },
        kind="sound",
    ),
    Model(
        "MiniMaxMusic3Transformer1DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "condition_dim": 8,
            "num_layers": 2,
            "ff_inner_dim": 32,
            "rotary_dim": 8,
            "fourier_embedding_dim": 16,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 4, 16),
            "timestep": _t(time),
            "encoder_hidden_states": _fixed(1, 16, 8),
        },
        kind="sound",
    ),
    # U-Nets
    Model(
        "UNet2DConditionModel",
        {
            "sample_size": 8,
            "block_out_channels": (16, 32, 32),
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 1, 2),
            "attention_head_dim": (2, 2, 4),
            "cross_attention_dim": 16,
            "norm_num_groups": 4,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 32,
        },
        lambda time: {
            "sample": _noisy(time, 2, 4, 8, 8),
            "timestep": torch.tensor(int(1000 * time)),
            "encoder_hidden_states": _fixed(2, 6, 16),
            "added_cond_kwargs": {"text_embeds": _fixed(2, 8), "time_ids": torch.ones(2, 6)},
        },
        remark="its blocks change the shape of what they pass on",
    ),
    Model(
        "UNet2DModel",
        {
            "sample_size": 8,
            "block_out_channels": (16, 32),
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            "norm_num_groups": 4,
        },
        lambda time: {"sample": _noisy(time, 2, 3, 8, 8), "timestep": torch.tensor(int(1000 * time))},
        remark="its blocks change the shape of what they pass on",
    ),
    Model(
        "UNet3DConditionModel",
        {
            "sample_size": 8,
            "block_out_channels": (16, 32),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
            "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
            "cross_attention_dim": 16,
            "attention_head_dim": 8,
            "norm_num_groups": 4,
        },
        lambda time: {
            "sample": _noisy(time, 1, 4, 2, 8, 8),
            "timestep": torch.tensor(int(1000 * time)),
            "encoder_hidden_states": _fixed(1, 6, 16),
        },
        kind="video",
        remark="its blocks change the shape of what they pass on",
    ),
    Model(
        "UNetSpatioTemporalConditionModel",
        {
            "sample_size": 8,
            "block_out_channels": (32, 64),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 12,
            "cross_attention_dim": 16,
            "num_attention_heads": (2, 4),
            "num_frames": 2,
        },
        lambda time: {
            "sample": _noisy(time, 1, 2, 8, 8, 8),
            "timestep": _t(time),
            "encoder_hidden_states": _fixed(1, 1, 16),
            "added_time_ids": torch.ones(1, 3),
        },
        kind="video",
        remark="its blocks change the shape of what they pass on",
    ),
    Model(
        "Kandinsky3UNet",
        {
            "time_embedding_dim": 16,
            "groups": 2,
            "attention_head_dim": 4,
            "layers_per_block": 2,
            "block_out_channels": (16, 32),
            "cross_attention_dim": 16,
            "encoder_hid_dim": 16,
        },
        lambda time: {
            "sample": _noisy(time, 1, 4, 8, 8),
            "timestep": torch.tensor(int(1000 * time)),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "encoder_attention_mask": torch.ones(1, 6),
        },
        remark="its blocks change the shape of what they pass on",
    ),
    Model(
        "StableCascadeUNet",
        {
            "in_channels": 4,
            "out_channels": 4,
            "timestep_ratio_embedding_dim": 16,
            "conditioning_dim": 16,
            "block_out_channels": (16, 32),
            "num_attention_heads": (2, 2),
            "down_num_layers_per_block": (1, 1),
            "up_num_layers_per_block": (1, 1),
            "clip_text_pooled_in_channels": 16,
            "clip_seq": 2,
            "dropout": (0.0, 0.0),
        },
        lambda time: {
            "sample": _noisy(time, 1, 4, 8, 8),
            "timestep_ratio": _t(time),
            "clip_text_pooled": _fixed(1, 1, 16),
        },
        remark="the blocks that could be skipped hold only 4 % of its parameters",
    ),
    Model(
        "UNet1DModel",
        {
            "sample_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": (32, 32, 64),
            "extra_in_channels": 64,
        },
        lambda time: {"sample": _noisy(time, 2, 4, 32), "timestep": torch.tensor(int(1000 * time))},
        kind="sound",
        remark="its blocks change the shape of what they pass on",
    ),
    Model(
        "I2VGenXLUNet",
        {
            "sample_size": 8,
            "block_out_channels": (16, 32),
            "layers_per_block": 1,
            "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
            "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
            "cross_attention_dim": 16,
            "attention_head_dim": 8,
            "norm_num_groups": 4,
        },
        lambda time: {
            "sample": _noisy(time, 1, 4, 2, 8, 8),
            "timestep": torch.tensor(int(1000 * time)),
            "fps": torch.tensor([8]),
            "image_latents": _fixed(1, 4, 2, 8, 8),
            "image_embeddings": _fixed(1, 16),
            "encoder_hidden_states": _fixed(1, 6, 16),
        },
        kind="video",
        remark="its blocks change the shape of what they pass on",
    ),
    Model(
        "DreamLiteUNetModel",
        {
            "sample_size": 8,
            "block_out_channels": (16, 32, 32),
            "layers_per_block": 1,
            "cross_attention_dim": 16,
            "attention_head_dim": 8,
            "norm_num_groups": 4,
            "ff_mult": 2,
        },
        lambda time: {
            "sample": _noisy(time, 1, 4, 8, 8),
            "timestep": torch.tensor(int(1000 * time)),
            "encoder_hidden_states": _fixed(1, 6, 16),
        },
        remark="its blocks change the shape of what they pass on",
    ),
    Model(
        "SanaWMLTX2RefinerTransformer3DModel",
        {
            **_HEADS,
            "in_channels": 4,
            "out_channels": 4,
            "cross_attention_dim": 32,
            "audio_in_channels": 4,
            "audio_out_channels": 4,
            "audio_num_attention_heads": 2,
            "audio_attention_head_dim": 8,
            "audio_cross_attention_dim": 16,
            "num_layers": 4,
            "caption_channels": 16,
        },
        lambda time: {
            "hidden_states": _noisy(time, 1, 32, 4),
            "encoder_hidden_states": _fixed(1, 6, 16),
            "timestep": _t(time, 1000.0),
            "video_rotary_emb": (torch.cos(_fixed(1, 32, 32)), torch.sin(_fixed(1, 32, 32))),
        },
        kind="video",
    ),
)


def _variant(
    name: str,
    note: str,
    config: dict[str, Any] | None = None,
    change: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    **more: Any,
) -> Model:
    """Another use of a network: its configuration and inputs changed; ``more`` are inputs that it is given besides."""
    plain = next(model for model in _PLAIN if model.name == name)
    return replace(
        plain,
        config={**plain.config, **(config or {})},
        inputs=lambda time: {**change(plain.inputs(time)), **more},
        note=note,
    )


def _twice(inputs: dict[str, Any]) -> dict[str, Any]:
    """Both guidance branches in one batch."""
    return {
        key: torch.cat([value, 0.5 * value]) if key not in _UNBATCHED and isinstance(value, torch.Tensor) else value
        for key, value in inputs.items()
    }


_UNBATCHED = ("img_ids", "txt_ids", "timestep")

_VARIANTS = (
    _variant("FluxTransformer2DModel", "both branches in a batch", None, _twice),
    _variant(
        "FluxTransformer2DModel",
        "ControlNet residuals",
        controlnet_block_samples=[_fixed(1, 16, 32)],
        controlnet_single_block_samples=[_fixed(1, 16, 32)],
    ),
    _variant("SD3Transformer2DModel", "ControlNet residuals", block_controlnet_hidden_states=[_fixed(1, 16, 32)] * 3),
    _variant("SD3Transformer2DModel", "skipped layers", skip_layers=[1]),
    _variant("QwenImageTransformer2DModel", "ControlNet residuals", controlnet_block_samples=[_fixed(1, 16, 32)] * 2),
    _variant(
        "HunyuanDiT2DModel",
        "ControlNet residuals",
        None,
        lambda inputs: {**inputs, "controlnet_block_samples": [_fixed(1, 16, 32)]},  # a list that it uses up
    ),
    _variant("SanaTransformer2DModel", "ControlNet residuals", controlnet_block_samples=(_fixed(1, 64, 32),)),
    _variant(
        "ZImageTransformer2DModel",
        "two of other sizes",
        None,
        lambda inputs: {
            "x": [*inputs["x"], inputs["x"][0][..., :4]],
            "t": inputs["t"].expand(2),
            "cap_feats": [*inputs["cap_feats"], inputs["cap_feats"][0][:3]],
        },
    ),
    _variant(
        "WanTransformer3DModel",
        "image to video",
        {"image_dim": 16, "added_kv_proj_dim": 32},
        encoder_hidden_states_image=_fixed(1, 3, 16),
    ),
    _variant(
        "WanTransformer3DModel",
        "a time for every token",
        None,
        lambda inputs: {**inputs, "timestep": torch.cat([torch.zeros(1, 16), inputs["timestep"].expand(1, 16)], dim=1)},
    ),
    _variant("WanVACETransformer3DModel", "a hint after the last block", {"num_layers": 5, "vace_layers": [0, 4]}),
    _variant("HunyuanVideoTransformer3DModel", "first frame given", {"image_condition_type": "token_replace"}),
    _variant(
        "CogVideoXTransformer3DModel",
        "rotary positions",
        {"use_rotary_positional_embeddings": True},
        image_rotary_emb=(torch.cos(_fixed(48, 16)), torch.sin(_fixed(48, 16))),
    ),
    _variant(
        "LTXVideoTransformer3DModel",
        "a time for every token",
        None,
        lambda inputs: {**inputs, "timestep": torch.cat([torch.zeros(1, 16), inputs["timestep"].expand(1, 16)], dim=1)},
    ),
    _variant("UNet2DConditionModel", "ControlNet residuals", mid_block_additional_residual=_fixed(2, 32, 2, 2)),
)

MODELS = _PLAIN + _VARIANTS
