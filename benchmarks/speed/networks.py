"""Which networks are sampled? Small trained ones, large ones for a CPU, and four published architectures for a GPU.

All but the small ones have random weights: how long a step takes does not depend on them. The architectures are those
of the published models' configurations; tests count their parameters without memory.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import diffusers
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from spectral_forecast.benchmarks.quality.fields import MODELS

__all__ = ["DEEP", "LARGE", "PUBLISHED", "QUICK", "SMALL", "Network"]

COUNT = 8  # samples in a batch, of the small ones


@dataclass(frozen=True)
class Network:
    """A network, and how it is called.

    Attributes
    ----------
    name : str
    make : callable
        Returns the network; on the current default device and in the current default dtype, if it is random.
    sample : tuple of int
        Shape of the sample.
    conditions : callable
        Maps a sample to the arguments of a call that are the same at every step.
    scheduler : callable
    unit : float
        What the scheduler's timesteps are multiplied by for the network.
    large : bool
        Whether the page's statement about speed-ups is about it, and memory is measured.
    trained : bool
    parameters : int
        As published; 0 where nothing is.
    """

    name: str
    make: Callable[..., torch.nn.Module] = field(repr=False)
    sample: tuple[int, ...]
    conditions: Callable[[torch.Tensor], dict[str, Any]] = field(repr=False)
    scheduler: Callable[[], Any] = field(repr=False)
    unit: float = 1.0
    large: bool = False
    trained: bool = False
    parameters: int = 0

    def build(self, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
        """Return the network in evaluation mode; trained ones stay in float32."""
        if self.trained:
            return self.make().to(device)
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.random.fork_rng(), torch.device(device):
                torch.manual_seed(0)
                return self.make().eval().requires_grad_(requires_grad=False)
        finally:
            torch.set_default_dtype(before)

    def inputs(self, x: torch.Tensor, t: torch.Tensor) -> dict[str, Any]:
        """Return the arguments of a call that change: the sample and a timestep of the scheduler, shape ()."""
        name = "sample" if "unet" in self.name else "hidden_states"
        return {name: x, "timestep": (self.unit * t).expand(len(x))}


def _small(name: str) -> Network:
    model = MODELS[name]
    noise = model.module.noise(COUNT, seed=0)

    def conditions(x: torch.Tensor) -> dict[str, Any]:
        known = model.module.inputs(x, torch.zeros(len(x)), torch.arange(len(x)) % model.module.CLASSES)
        return {key: value for key, value in known.items() if key not in ("sample", "hidden_states", "timestep")}

    def scheduler() -> Any:
        if model.predicts == "flow":
            return FlowMatchEulerDiscreteScheduler(shift=3.0)
        predicts = {"noise": "epsilon", "v": "v_prediction"}[model.predicts]
        path = model.module.PATH | {"timestep_spacing": "trailing", "prediction_type": predicts}
        return DDIMScheduler(**path, clip_sample=False)

    unit = 1e-3 if name == "digits" else 1.0  # FLUX is told flow times
    return Network(name, model.network, tuple(noise.shape), conditions, scheduler, unit, trained=True)


def _random(*shape: int, like: torch.Tensor) -> torch.Tensor:
    """A condition that depends on its shape only."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(like)


def _flux(name: str, config: dict[str, Any], side: int, text: int, **more: Any) -> Network:
    """A network of FLUX's kind for ``side`` x ``side`` tokens."""
    sizes = {"joint_attention_dim": 4096, "pooled_projection_dim": 768} | config

    def conditions(x: torch.Tensor) -> dict[str, Any]:
        rows, columns = torch.meshgrid(*2 * [torch.arange(side, device=x.device)], indexing="ij")
        return {
            "guidance": torch.full((1,), 3.5, device=x.device),
            "encoder_hidden_states": _random(1, text, sizes["joint_attention_dim"], like=x),
            "pooled_projections": _random(1, sizes["pooled_projection_dim"], like=x),
            "img_ids": torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float(),
            "txt_ids": torch.zeros(text, 3, device=x.device),
        }

    def make(**fewer: int) -> torch.nn.Module:
        return diffusers.FluxTransformer2DModel(guidance_embeds=True, **config | fewer)

    return Network(name, make, (1, side * side, 64), conditions, _flow(3.0), 1e-3, large=True, **more)


def _repeating(network: Network, **one: int) -> Network:
    """The same with the parameters of ``one`` block of a kind for all: all of its arithmetic, little of its memory."""

    def make() -> torch.nn.Module:
        with torch.device("meta"):
            whole = network.make()
        kept = network.make(**one).state_dict()
        shared = {name: kept[re.sub(r"\.\d+\.", ".0.", name, count=1)] for name in whole.state_dict()}
        whole.load_state_dict(shared, assign=True)
        return whole

    return replace(network, make=make)


def _stable(name: str, config: dict[str, Any], side: int, text: int, **more: Any) -> Network:
    """A network of Stable Diffusion 3's kind for latents of ``side`` x ``side``."""

    def conditions(x: torch.Tensor) -> dict[str, Any]:
        return {
            "encoder_hidden_states": _random(1, text, config["joint_attention_dim"], like=x),
            "pooled_projections": _random(1, config["pooled_projection_dim"], like=x),
        }

    def make() -> torch.nn.Module:
        return diffusers.SD3Transformer2DModel(**config)

    return Network(name, make, (1, 16, side, side), conditions, _flow(3.0), large=True, **more)


def _video(
    name: str, kind: str, config: dict[str, Any], latents: tuple[int, int, int], text: int, **more: Any
) -> Network:
    """A video network of ``kind`` for latents of so many frames, rows and columns."""
    width = config.get("text_dim", 4096)
    hunyuan = kind.startswith("Hunyuan")

    def conditions(x: torch.Tensor) -> dict[str, Any]:
        known = {"encoder_hidden_states": _random(1, text, width, like=x)}
        if hunyuan:
            known["encoder_attention_mask"] = torch.ones(1, text, device=x.device, dtype=x.dtype)
            known["pooled_projections"] = _random(1, 768, like=x)
            known["guidance"] = torch.full((1,), 6000.0, device=x.device, dtype=x.dtype)
        return known

    def make() -> torch.nn.Module:
        return getattr(diffusers, kind)(**config)

    shift = 7.0 if hunyuan else 3.0
    return Network(name, make, (1, 16, *latents), conditions, _flow(shift), large=True, **more)


def _flow(shift: float) -> Callable[[], Any]:
    return lambda: FlowMatchEulerDiscreteScheduler(shift=shift)


_SD35_LARGE = {
    "sample_size": 128,
    "num_layers": 38,
    "num_attention_heads": 38,
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 2432,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
    "qk_norm": "rms_norm",
}
# All of FLUX's 57 blocks, a third as wide, for a small picture; and the smaller Wan2.1.
_NARROW = {"num_attention_heads": 8, "joint_attention_dim": 512, "pooled_projection_dim": 256}
_WAN_SMALL = {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}
_WAN, _HUNYUAN = "WanTransformer3DModel", "HunyuanVideoTransformer3DModel"

SMALL = tuple(_small(name) for name in ("digits", "photographs", "moving_digits", "digits_ddim", "digits_unet"))
QUICK = SMALL[:1]
DEEP = (_flux("FLUX-narrow", _NARROW, 14, 64),)
# Wan2.1's smaller one, for one picture of 480 x 832; FLUX.1-dev, for a small picture, in 2 GiB instead of 24.
PUBLISHED = (
    _video("Wan2.1-1.3B", _WAN, _WAN_SMALL, (1, 60, 104), 512, parameters=1_418_996_800),
    _repeating(_flux("FLUX.1-dev", {}, 14, 64, parameters=11_901_408_320), num_layers=1, num_single_layers=1),
)
# 1024 x 1024 pixels, and videos of 81 frames at 480 x 832.
LARGE = (
    _flux("FLUX.1-dev", {}, 64, 512, parameters=11_901_408_320),
    _stable("SD3.5-Large", _SD35_LARGE, 128, 333, parameters=8_056_627_520),
    _video("Wan2.1-14B", _WAN, {}, (21, 60, 104), 512, parameters=14_288_491_584),
    _video("HunyuanVideo", _HUNYUAN, {}, (21, 60, 104), 256, parameters=12_821_012_544),
)
