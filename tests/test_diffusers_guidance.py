"""Guidance branches that come and go, and time in real pipelines: what the adapter makes of each, on tiny pipelines.

Two laws hold for every case: with every step evaluated nothing changes by a bit, and with 14 of 50 the run is finite,
the same when it is run again, and reported either as planned or with the reason why not.
"""

import functools
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from by_hand import by_hand, denoise
from diffusers import FluxControlNetModel, SD3ControlNetModel
from diffusers.models.attention_processor import PAGCFGIdentitySelfAttnProcessor2_0

from spectral_forecast import schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, report
from spectral_forecast.benchmarks.models._inputs import fixed
from spectral_forecast.benchmarks.pipelines import PIPELINES, _autoencoder

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),  # inside diffusers
    pytest.mark.filterwarnings("ignore:.*`FluxPosEmbed` .* is deprecated:FutureWarning"),  # its FLUX ControlNet
]

RULE = spectrum(0.5, mode="free")
EVEN = {"forecaster": RULE, "schedule": schedules.even, "corrector": None}
TABLE = {str(entry): entry for entry in PIPELINES}
PLANNED = np.flatnonzero(schedules.even(50, 14)).tolist()
SIGMAS = np.linspace(1.0, 0.02, 50) ** 1.5
ALL = list(range(50))
LATENT = "float32(4, 1, 8, 8) on cpu"


def control(kind, name):
    """A pipeline with an untrained ControlNet of ``kind``, whose residuals are not zero as they are before training."""
    entry = TABLE[name]

    def parts():
        config = {"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 16, "joint_attention_dim": 16}
        config |= {"pooled_projection_dim": 16, "in_channels": 4}
        if kind is FluxControlNetModel:
            config |= {"num_single_layers": 1, "axes_dims_rope": [4, 4, 8], "patch_size": 1}
        else:
            config |= {"sample_size": 8, "out_channels": 4, "caption_projection_dim": 32, "pos_embed_max_size": 8}
        network = kind(**config).eval().requires_grad_(requires_grad=False)
        for parameter in network.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape))
        return {"controlnet": network, "vae": _autoencoder(1 if kind is FluxControlNetModel else 4)}

    changed = {
        "StableDiffusion3Pipeline": "StableDiffusion3ControlNetPipeline",
        "FluxPipeline": "FluxControlNetPipeline",
    }
    picture = {"control_image": torch.sigmoid(fixed(1, 3, 64, 64, seed=6))}
    return replace(entry, name=changed[name], parts=parts, inputs={**entry.inputs, **picture})


PAG_PIXART = replace(
    TABLE["PixArtSigmaPipeline"],
    name="PixArtSigmaPAGPipeline",
    parts=lambda: {"pag_applied_layers": ["blocks.1"]},
)
PAG_XL = replace(TABLE["StableDiffusionXLPipeline"], name="StableDiffusionXLPAGPipeline")


@dataclass(frozen=True, eq=False)
class Case:
    """A pipeline, what its call is given, and the steps that each stream should evaluate, with the events' reasons."""

    title: str
    entry: Any
    changes: dict[str, Any]
    evaluated: dict[str, list[int]]
    reasons: list[str] = field(default_factory=list)
    always: dict[str, list[int]] = field(default_factory=dict)  # with every step evaluated, where not all 50 are

    def __str__(self):
        return self.title


def both(streams, steps):
    return dict.fromkeys(streams, steps)


CASES = [
    Case("SD3 without guidance", TABLE["StableDiffusion3Pipeline"], {"guidance_scale": 1.0}, {"call 0": PLANNED}),
    Case("SD3 with guidance 0", TABLE["StableDiffusion3Pipeline"], {"guidance_scale": 0.0}, {"call 0": PLANNED}),
    Case("FLUX without guidance", TABLE["FluxPipeline"], {"true_cfg_scale": 1.0}, {"cond": PLANNED}),
    Case("FLUX with guidance", TABLE["FluxPipeline"], {}, both(["cond", "uncond"], PLANNED)),
    Case("LTX without guidance", TABLE["LTXPipeline"], {"guidance_scale": 1.0}, {"cond_uncond": PLANNED}),
    # The third call, with a layer left out, comes in steps 1 to 9 only; three steps of it are a new warm-up.
    Case(
        "SD3 with skipped layers",
        TABLE["StableDiffusion3Pipeline"],
        {"skip_guidance_layers": [1]},
        {"call 0": PLANNED, "call 1": [1, 2, 3, 5]},
        ["step 1, stream call 1: restarted: was first seen in the middle of the run"],
        {"call 0": ALL, "call 1": list(range(1, 10))},
    ),
    # The second call is left out from the 26th step on.
    Case(
        "Lumina 2 with truncated guidance",
        TABLE["Lumina2Pipeline"],
        {"cfg_trunc_ratio": 0.5},
        {"call 0": PLANNED, "call 1": [step for step in PLANNED if step < 25]},
        always={"call 0": ALL, "call 1": list(range(25))},
    ),
    # Both branches in a list, of which one is left out when time, which runs from 0 to 1, is past a half.
    Case(
        "Z-Image with truncated guidance",
        TABLE["ZImagePipeline"],
        {"cfg_truncation": 0.5},
        {"call 0": sorted({*PLANNED, 38, 39, 40})},
        [f"step 38, stream call 0: restarted: its input `x` changed from {LATENT}, {LATENT} to {LATENT}"],
    ),
    Case("PixArt with perturbed attention", PAG_PIXART, {"pag_scale": 3.0}, {"call 0": PLANNED}),
    Case("SDXL with perturbed attention", PAG_XL, {"pag_scale": 3.0, "output_type": "latent"}, {"call 0": PLANNED}),
    Case(
        "FLUX image to image",
        TABLE["FluxImg2ImgPipeline"],
        {"strength": 0.6},
        both(["call 0", "call 1"], np.flatnonzero(schedules.even(30, 14)).tolist()),
        always=both(["call 0", "call 1"], list(range(30))),
    ),
    Case("FLUX at other sigmas", TABLE["FluxPipeline"], {"sigmas": SIGMAS}, both(["cond", "uncond"], PLANNED)),
    Case(
        "SDXL at other timesteps",
        TABLE["StableDiffusionXLPipeline"],
        {"timesteps": list(range(981, 0, -20)), "output_type": "latent"},
        {"call 0": PLANNED},
    ),
    Case(
        "SD3 with a ControlNet",
        control(SD3ControlNetModel, "StableDiffusion3Pipeline"),
        {"control_guidance_end": 0.7},
        {"call 0": PLANNED},
    ),
    Case(
        "FLUX with a ControlNet",
        control(FluxControlNetModel, "FluxPipeline"),
        {"control_guidance_end": 0.7},
        both(["call 0", "call 1"], PLANNED),
    ),
]
WAYS = [(case, at) for case in CASES for at in ("output", "features") if at == "output" or case.entry.splits]
every_way = pytest.mark.parametrize(("case", "at"), WAYS, ids=str)


def draw(case, pipe):
    torch.manual_seed(0)  # Stable Diffusion 3 encodes the ControlNet's picture with noise of its own
    return case.entry.draw(pipe, **case.changes)


@functools.cache
def plain(case):
    return draw(case, case.entry.build())


@every_way
def test_evaluating_every_step_changes_no_bit(case, at):
    pipe = accelerate(case.entry.build(), evaluations=50, at=at)
    assert torch.equal(draw(case, pipe), plain(case))
    told = report(pipe)
    assert told.evaluated == (case.always or dict.fromkeys(case.evaluated, ALL))
    assert not any(told.forecast.values())
    assert told.events == case.reasons


@every_way
def test_a_run_is_as_planned_or_says_why_not(case, at):
    pipe = accelerate(case.entry.build(), evaluations=14, at=at, **EVEN)
    result = draw(case, pipe)
    told = report(pipe)
    assert result.isfinite().all()
    assert told.at == at
    assert told.evaluated == case.evaluated
    assert told.events == case.reasons
    assert torch.equal(draw(case, pipe), result)
    assert not torch.equal(result, plain(case))


# What can be checked against a loop by hand: the third call of Stable Diffusion 3 has a plan of its own from step 1 on,
# and so has the one branch that is left of Z-Image's two.
BY_HAND = [
    "FLUX without guidance",
    "SD3 with skipped layers",
    "Lumina 2 with truncated guidance",
    "Z-Image with truncated guidance",
    "FLUX at other sigmas",
    "SDXL at other timesteps",
]


@pytest.mark.parametrize(("case", "at"), [way for way in WAYS if str(way[0]) in BY_HAND], ids=str)
def test_agrees_with_a_loop_by_hand(case, at):
    result = draw(case, accelerate(case.entry.build(), evaluations=14, at=at, **EVEN))
    expected = by_hand(case.entry, at, **case.changes)
    assert (result - expected).abs().max() <= 1e-5 * expected.abs().max()


def perturbed_pixart(given, scheduler, call):
    """Three branches in a batch, the last with the identity for the self-attention of block 1."""
    call.network.transformer_blocks[1].attn1.set_processor(PAGCFGIdentitySelfAttnProcessor2_0())
    scheduler.set_timesteps(50)

    def thrice(name):
        return torch.cat([given[f"negative_{name}"], given[name], given[name]])

    def predict(step, time, sample):
        uncond, cond, perturbed = call(
            "all",
            step,
            torch.cat([sample] * 3),
            encoder_hidden_states=thrice("prompt_embeds"),
            encoder_attention_mask=thrice("prompt_attention_mask"),
            timestep=time.repeat(3),
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        ).chunk(3)
        return (uncond + given["guidance_scale"] * (cond - uncond) + 3.0 * (cond - perturbed))[:, :4]

    return denoise(scheduler, given["latents"], predict)


@pytest.mark.parametrize("at", ["output", "features"])
def test_perturbed_attention_agrees_with_a_loop_by_hand(at):
    pipe = accelerate(PAG_PIXART.build(), evaluations=14, at=at, **EVEN)
    result = PAG_PIXART.draw(pipe, pag_scale=3.0)
    expected = by_hand(TABLE["PixArtSigmaPipeline"], at, perturbed_pixart)
    assert (result - expected).abs().max() <= 1e-5 * expected.abs().max()


OTHER_RUNS = {
    "steps": {"num_inference_steps": 20},
    "resolution": {"height": 96, "latents": fixed(1, 24, 4, seed=7)},
    "guidance": {"true_cfg_scale": 1.0},
    "batch": {
        "latents": fixed(2, 16, 4, seed=7),
        **{
            name: value.repeat(2, *[1] * (value.ndim - 1))
            for name, value in TABLE["FluxPipeline"].inputs.items()
            if "embeds" in name
        },
    },
}


@pytest.mark.parametrize("at", ["output", "features"])
def test_a_later_run_may_differ_in_everything(at):
    """Every run is that of a pipeline which has not run before."""
    entry = TABLE["FluxPipeline"]
    pipe = accelerate(entry.build(), evaluations=8, at=at, **EVEN)

    def run(pipe, changes):
        return entry.draw(pipe, **{"num_inference_steps": 12, **changes})

    first = run(pipe, {})
    for changes in OTHER_RUNS.values():
        fresh = run(accelerate(entry.build(), evaluations=8, at=at, **EVEN), changes)
        assert torch.equal(run(pipe, changes), fresh)
        assert report(pipe).evaluations == 8
        assert not report(pipe).events
    half = {name: value.bfloat16() for name, value in entry.inputs.items() if isinstance(value, torch.Tensor)}
    pipe.to(dtype=torch.bfloat16)
    result = run(pipe, half)
    assert result.dtype == torch.bfloat16
    assert torch.equal(
        result, run(accelerate(entry.build().to(dtype=torch.bfloat16), evaluations=8, at=at, **EVEN), half)
    )
    assert report(pipe).evaluations == 8
    assert not report(pipe).events
    pipe.to(dtype=torch.float32)
    assert report(pipe).runs == len(OTHER_RUNS) + 2
    pipe.transformer.load_state_dict(entry.build().transformer.state_dict())  # not rounded to bfloat16
    assert torch.equal(run(pipe, {}), first)
