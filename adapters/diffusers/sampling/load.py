"""How does a process get its pipeline?"""

import torch
from diffusers import DiffusionPipeline

from spectral_forecast.adapters.diffusers.sampling.processes import Share

__all__ = ["load"]


def load(source: str, variant: str | None, dtype: str, device: str, share: Share) -> DiffusionPipeline:
    """Load a pipeline onto this process's device; only the first process's has a progress bar."""
    try:
        pipe = DiffusionPipeline.from_pretrained(source, dtype=getattr(torch, dtype), variant=variant)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # of diffusers, transformers, safetensors or the hub's client
        lines = str(error).strip().splitlines() or [""]
        raise ValueError(f"`PIPELINE`: {source} cannot be loaded: {type(error).__name__}: {lines[0]}") from error
    pipe.set_progress_bar_config(disable=None if share.index == 0 else True, leave=False, position=1)
    numbered = f"{device}:{share.local}" if device == "cuda" else device
    return pipe.to(numbered)
