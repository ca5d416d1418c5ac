"""What the tiny denoisers are called with: smooth curves from noise to data, conditions, and sizes that many share."""

from collections.abc import Callable
from typing import Any

import torch

__all__ = [
    "FLUX",
    "HEADS",
    "HUNYUAN",
    "WAN",
    "fixed",
    "flux_like",
    "grid",
    "image_like",
    "noisy",
    "timestep",
    "video_like",
]

FLUX = {
    "patch_size": 1,
    "in_channels": 4,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 16,
    "axes_dims_rope": (4, 4, 8),
}
HEADS = {"num_attention_heads": 2, "attention_head_dim": 16}
WAN = {
    **HEADS,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 3,
    "rope_max_seq_len": 32,
}
HUNYUAN = {
    **HEADS,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "num_refiner_layers": 2,
    "mlp_ratio": 2.0,
    "text_embed_dim": 16,
}


def fixed(*shape: int, seed: int = 1) -> torch.Tensor:
    """A condition: the same at all times."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def noisy(time: float, *shape: int) -> torch.Tensor:
    """A sample on its way from noise at time 1 to data at time 0."""
    return time * fixed(*shape, seed=2) + (1.0 - time) * torch.sin(fixed(*shape, seed=3))


def grid(height: int, width: int, axes: int = 3) -> torch.Tensor:
    """Position numbers of image tokens, (height * width, axes): zeros, rows, columns."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    zeros = [torch.zeros_like(rows)] * (axes - 2)
    return torch.stack([*zeros, rows, columns], dim=-1).reshape(-1, axes).float()


def timestep(time: float, scale: float = 1.0) -> torch.Tensor:
    return torch.tensor([scale * time])


def flux_like(channels: int = 4, text: int = 16, **more: Any) -> Callable[[float], dict[str, Any]]:
    """Inputs of the family of FLUX: packed tokens, text tokens, their positions."""

    def inputs(time: float) -> dict[str, Any]:
        return {
            "hidden_states": noisy(time, 1, 16, channels),
            "encoder_hidden_states": fixed(1, 6, text),
            "timestep": timestep(time),
            "img_ids": grid(4, 4),
            "txt_ids": torch.zeros(6, 3),
            **more,
        }

    return inputs


def video_like(channels: int, text: int, *, scale: float = 1000.0, **more: Any) -> Callable[[float], dict[str, Any]]:
    """Inputs of video transformers: latents (batch, channels, frames, height, width) and text tokens."""

    def inputs(time: float) -> dict[str, Any]:
        return {
            "hidden_states": noisy(time, 1, channels, 2, 8, 8),
            "encoder_hidden_states": fixed(1, 6, text),
            "timestep": timestep(time, scale),
            **more,
        }

    return inputs


def image_like(channels: int, text: int, *, scale: float = 1000.0, **more: Any) -> Callable[[float], dict[str, Any]]:
    """Inputs of image transformers that cut patches themselves: latents (batch, channels, height, width)."""

    def inputs(time: float) -> dict[str, Any]:
        return {
            "hidden_states": noisy(time, 1, channels, 8, 8),
            "encoder_hidden_states": fixed(1, 6, text),
            "timestep": timestep(time, scale),
            **more,
        }

    return inputs
