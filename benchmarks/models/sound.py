"""Transformers that make sound."""

import torch

from spectral_forecast.benchmarks.models._inputs import HEADS, fixed, noisy, timestep
from spectral_forecast.benchmarks.models._table import Model

__all__ = ["SOUND"]

SOUND = (
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
            "hidden_states": noisy(time, 1, 4, 16),
            "timestep": timestep(time),
            "encoder_hidden_states": fixed(1, 6, 8),
            "global_hidden_states": fixed(1, 1, 8),
            "rotary_embedding": (torch.cos(fixed(17, 8)), torch.sin(fixed(17, 8))),
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
            "hidden_states": noisy(time, 1, 16, 4),
            "timestep": timestep(time),
            "timestep_r": timestep(time),
            "encoder_hidden_states": fixed(1, 6, 16),
            "context_latents": fixed(1, 16, 8),
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
            "hidden_states": noisy(time, 1, 4, 16),
            "timestep": timestep(time),
            "encoder_hidden_states": fixed(1, 6, 16),
            "global_hidden_states": fixed(1, 16),
        },
        kind="sound",
    ),
    Model(
        "LongCatAudioDiTTransformer",
        {"dit_dim": 32, "dit_depth": 6, "dit_heads": 2, "dit_text_dim": 16, "latent_dim": 4, "ff_mult": 2.0},
        lambda time: {
            "hidden_states": noisy(time, 1, 16, 4),
            "encoder_hidden_states": fixed(1, 6, 16),
            "encoder_attention_mask": torch.ones(1, 6, dtype=torch.bool),
            "timestep": timestep(time),
            "latent_cond": fixed(1, 16, 4),
        },
        kind="sound",
    ),
    Model(
        "MiniMaxMusic3Transformer1DModel",
        {
            **HEADS,
            "in_channels": 4,
            "condition_dim": 8,
            "num_layers": 2,
            "ff_inner_dim": 32,
            "rotary_dim": 8,
            "fourier_embedding_dim": 16,
        },
        lambda time: {
            "hidden_states": noisy(time, 1, 4, 16),
            "timestep": timestep(time),
            "encoder_hidden_states": fixed(1, 16, 8),
        },
        kind="sound",
    ),
)
