"""U-Nets, whose blocks change the shape of what they pass on, so that their outputs are forecast."""

import torch

from spectral_forecast.benchmarks.models._inputs import fixed, noisy, timestep
from spectral_forecast.benchmarks.models._table import Model

__all__ = ["UNETS"]

UNETS = (
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
            "sample": noisy(time, 2, 4, 8, 8),
            "timestep": torch.tensor(int(1000 * time)),
            "encoder_hidden_states": fixed(2, 6, 16),
            "added_cond_kwargs": {"text_embeds": fixed(2, 8), "time_ids": torch.ones(2, 6)},
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
        lambda time: {"sample": noisy(time, 2, 3, 8, 8), "timestep": torch.tensor(int(1000 * time))},
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
            "sample": noisy(time, 1, 4, 2, 8, 8),
            "timestep": torch.tensor(int(1000 * time)),
            "encoder_hidden_states": fixed(1, 6, 16),
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
            "sample": noisy(time, 1, 2, 8, 8, 8),
            "timestep": timestep(time),
            "encoder_hidden_states": fixed(1, 1, 16),
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
            "sample": noisy(time, 1, 4, 8, 8),
            "timestep": torch.tensor(int(1000 * time)),
            "encoder_hidden_states": fixed(1, 6, 16),
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
            "sample": noisy(time, 1, 4, 8, 8),
            "timestep_ratio": timestep(time),
            "clip_text_pooled": fixed(1, 1, 16),
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
        lambda time: {"sample": noisy(time, 2, 4, 32), "timestep": torch.tensor(int(1000 * time))},
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
            "sample": noisy(time, 1, 4, 2, 8, 8),
            "timestep": torch.tensor(int(1000 * time)),
            "fps": torch.tensor([8]),
            "image_latents": fixed(1, 4, 2, 8, 8),
            "image_embeddings": fixed(1, 16),
            "encoder_hidden_states": fixed(1, 6, 16),
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
            "sample": noisy(time, 1, 4, 8, 8),
            "timestep": torch.tensor(int(1000 * time)),
            "encoder_hidden_states": fixed(1, 6, 16),
        },
        remark="its blocks change the shape of what they pass on",
    ),
)
