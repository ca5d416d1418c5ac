"""Other uses of the networks of the table: ControlNet's residuals, both branches in a batch, a time for every token."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from spectral_forecast.benchmarks.models._inputs import fixed
from spectral_forecast.benchmarks.models._table import Model
from spectral_forecast.benchmarks.models.image import IMAGE
from spectral_forecast.benchmarks.models.unets import UNETS
from spectral_forecast.benchmarks.models.video import VIDEO

__all__ = ["VARIANTS"]


def _variant(
    name: str,
    note: str,
    config: dict[str, Any] | None = None,
    change: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    **more: Any,
) -> Model:
    """Another use of a network: its configuration and inputs changed; ``more`` are inputs that it is given besides."""
    plain = next(model for model in IMAGE + VIDEO + UNETS if model.name == name)
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

VARIANTS = (
    _variant("FluxTransformer2DModel", "both branches in a batch", None, _twice),
    _variant(
        "FluxTransformer2DModel",
        "ControlNet residuals",
        controlnet_block_samples=[fixed(1, 16, 32)],
        controlnet_single_block_samples=[fixed(1, 16, 32)],
    ),
    _variant("SD3Transformer2DModel", "ControlNet residuals", block_controlnet_hidden_states=[fixed(1, 16, 32)] * 3),
    _variant("SD3Transformer2DModel", "skipped layers", skip_layers=[1]),
    _variant("QwenImageTransformer2DModel", "ControlNet residuals", controlnet_block_samples=[fixed(1, 16, 32)] * 2),
    _variant(
        "HunyuanDiT2DModel",
        "ControlNet residuals",
        None,
        lambda inputs: {**inputs, "controlnet_block_samples": [fixed(1, 16, 32)]},  # a list that it uses up
    ),
    _variant("SanaTransformer2DModel", "ControlNet residuals", controlnet_block_samples=(fixed(1, 64, 32),)),
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
        encoder_hidden_states_image=fixed(1, 3, 16),
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
        image_rotary_emb=(torch.cos(fixed(48, 16)), torch.sin(fixed(48, 16))),
    ),
    _variant(
        "LTXVideoTransformer3DModel",
        "a time for every token",
        None,
        lambda inputs: {**inputs, "timestep": torch.cat([torch.zeros(1, 16), inputs["timestep"].expand(1, 16)], dim=1)},
    ),
    _variant("UNet2DConditionModel", "ControlNet residuals", mid_block_additional_residual=fixed(2, 32, 2, 2)),
)
