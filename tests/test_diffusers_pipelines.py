"""Whole pipelines of diffusers, accelerated with guidance, against loops written by hand around the core's runs.

The loops below use neither the pipelines nor the adapter: what a pipeline makes of its arguments, when it calls its
network and with what, how it guides and which steps it takes is written out for each. On a step that is forecast, the
loop's network is called all the same, and what its head is given is replaced.
"""

import collections

import numpy as np
import pytest
import torch

from spectral_forecast import make_plan, schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.benchmarks.pipelines import PIPELINES

# What diffusers says of numpy's arrays, whoever calls it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

RULE = spectrum(0.5, mode="free")
STEPS = 50
EVALUATIONS = 14


def plan(steps):
    return make_plan(RULE, np.arange(steps), schedules.even(steps, EVALUATIONS), span=(0, steps))


class Caller:
    """A network as a loop by hand calls it: each stream's outputs, or its head's inputs, are kept and forecast."""

    def __init__(self, network, steps, head=None):
        self.network = network
        self.head = None if head is None else network.get_submodule(head)
        self.runs = collections.defaultdict(plan(steps).start)

    def __call__(self, stream, step, *args, **kwargs):
        run = self.runs[stream]
        if self.head is None:
            if not run.evaluates(step):
                return run.forecast(step)
            run.keep(step, result := self.result(*args, **kwargs))
            return result

        def swap(_module, inputs):
            if not run.evaluates(step):
                return (run.forecast(step), *inputs[1:])
            return run.keep(step, inputs[0])

        handle = self.head.register_forward_pre_hook(swap)
        try:
            return self.result(*args, **kwargs)
        finally:
            handle.remove()

    def result(self, *args, **kwargs):
        result = self.network(*args, **kwargs, return_dict=False)[0]
        return torch.stack(result) if isinstance(result, list) else result


def denoise(scheduler, sample, predict, *, begin=0):
    for step, time in enumerate(scheduler.timesteps[begin:]):
        sample = scheduler.step(predict(step, time, sample), time, sample, return_dict=False)[0]
    return sample


def guide(cond, uncond, scale):
    return uncond + scale * (cond - uncond)


def guide_halves(both, scale):
    """Guidance where the first half of a batch is the unconditional branch."""
    uncond, cond = both.chunk(2)
    return guide(cond, uncond, scale)


def twice(x):
    return torch.cat([x, x])


def both(given, name):
    return torch.cat([given[f"negative_{name}"], given[name]])


def times(time, count):
    return time.repeat(count)


def falling(steps=STEPS):
    return np.linspace(1.0, 1 / steps, steps)


def shift(tokens, least, most, longest=4096):
    """The shift of time that goes with a number of tokens: a line from 256 tokens to the longest."""
    slope = (most - least) / (longest - 256)
    return tokens * slope + (least - slope * 256)


def positions(height, width):
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3)


def flux(given, scheduler, call):
    scheduler.set_timesteps(sigmas=falling(), mu=shift(16, 0.5, 1.15))
    return denoise(scheduler, given["latents"], flux_velocity(given, call))


def flux_velocity(given, call):
    def predict(step, time, sample):
        branches = {
            sign: call(
                sign,
                step,
                hidden_states=sample,
                timestep=times(time, 1) / 1000,
                pooled_projections=given[f"{sign}pooled_prompt_embeds"],
                encoder_hidden_states=given[f"{sign}prompt_embeds"],
                txt_ids=torch.zeros(6, 3),
                img_ids=positions(4, 4),
                guidance=torch.tensor([given["guidance_scale"]]) if "guidance_scale" in given else None,
            )
            for sign in (["", "negative_"] if "true_cfg_scale" in given else [""])
        }
        return (
            guide(branches[""], branches["negative_"], given["true_cfg_scale"]) if len(branches) > 1 else branches[""]
        )

    return predict


def flux_image_to_image(given, scheduler, call):
    """Strength 0.6 enters the 50 steps at the 20th."""
    scheduler.set_timesteps(sigmas=falling(), mu=shift(16, 0.5, 1.15))
    scheduler.set_begin_index(20)
    generator = torch.Generator().manual_seed(0)
    image = given["vae"].encode(2.0 * given["image"] - 1.0).latent_dist.sample(generator)
    image = (image - given["vae"].config.shift_factor) * given["vae"].config.scaling_factor
    sigma = scheduler.sigmas[20]
    sample = sigma * torch.randn(1, 1, 8, 8, generator=generator) + (1.0 - sigma) * image
    sample = sample.reshape(1, 1, 4, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 16, 4)
    return denoise(scheduler, sample, flux_velocity(given, call), begin=20)


def stable_diffusion_3(given, scheduler, call):
    scheduler.set_timesteps(STEPS)

    def predict(step, time, sample):
        result = call(
            "both",
            step,
            hidden_states=twice(sample),
            timestep=times(time, 2),
            encoder_hidden_states=both(given, "prompt_embeds"),
            pooled_projections=both(given, "pooled_prompt_embeds"),
        )
        return guide_halves(result, given["guidance_scale"])

    return denoise(scheduler, given["latents"], predict)


def read(given, text):
    """Stable Diffusion XL's text: the last but one layer of both encoders, and the second's projection."""
    hidden = []
    for tokenizer, encoder in (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")):
        tokens = given[tokenizer](
            text, padding="max_length", max_length=12, truncation=True, return_tensors="pt"
        ).input_ids
        result = given[encoder](tokens, output_hidden_states=True)
        hidden.append(result.hidden_states[-2])
    return torch.cat(hidden, dim=-1), result.text_embeds


def stable_diffusion_xl(given, scheduler, call):
    scheduler.set_timesteps(STEPS)
    tokens, pooled = map(
        torch.cat, zip(*(read(given, given[name]) for name in ("negative_prompt", "prompt")), strict=True)
    )
    sizes = torch.tensor([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]] * 2)

    def predict(step, time, sample):
        result = call(
            "both",
            step,
            scheduler.scale_model_input(twice(sample), time),
            time,
            encoder_hidden_states=tokens,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes},
        )
        return guide_halves(result, given["guidance_scale"])

    sample = denoise(scheduler, given["latents"] * scheduler.init_noise_sigma, predict)
    return decode(given["vae"], sample)


def decode(vae, sample):
    return (vae.decode(sample / vae.config.scaling_factor).sample / 2.0 + 0.5).clamp(0.0, 1.0)


def dit(given, scheduler, call):
    """Two copies of the sample, guided alike; the class 1000 is none, and half of the channels are a variance."""
    scheduler.set_timesteps(STEPS)

    def predict(step, time, sample):
        result = call(
            "both",
            step,
            twice(sample),
            timestep=times(time, 2),
            class_labels=torch.tensor([*given["class_labels"], 1000]),
        )
        cond, uncond = result[:, :4].chunk(2)
        return guide(cond, uncond, given["guidance_scale"])

    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return decode(given["vae"], denoise(scheduler, noise, predict))


def pixart_sigma(given, scheduler, call):
    scheduler.set_timesteps(STEPS)

    def predict(step, time, sample):
        result = call(
            "both",
            step,
            twice(sample),
            encoder_hidden_states=both(given, "prompt_embeds"),
            encoder_attention_mask=both(given, "prompt_attention_mask"),
            timestep=times(time, 2),
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
        )
        return guide_halves(result, given["guidance_scale"])[:, :4]

    return denoise(scheduler, given["latents"], predict)


def text_to_image(given, scheduler, call, *, time_of=lambda time: time, masked=True):
    """What Sana and AuraFlow have in common: both branches in a batch, and text alone as a condition."""
    scheduler.set_timesteps(STEPS)
    masks = {"encoder_attention_mask": both(given, "prompt_attention_mask")} if masked else {}

    def predict(step, time, sample):
        result = call(
            "both",
            step,
            twice(sample),
            encoder_hidden_states=both(given, "prompt_embeds"),
            timestep=times(time_of(time), 2),
            **masks,
        )
        return guide_halves(result, given["guidance_scale"])

    return denoise(scheduler, given["latents"], predict)


def aura_flow(*arguments):
    return text_to_image(*arguments, time_of=lambda time: time / 1000, masked=False)


def lumina_2(given, scheduler, call):
    """Time runs from 0 to 1; the guided velocity is as long as the conditional one, row by row."""
    scheduler.set_timesteps(sigmas=falling())

    def predict(step, time, sample):
        cond, uncond = (
            call(
                sign,
                step,
                hidden_states=sample,
                timestep=times(1.0 - time / 1000, 1),
                encoder_hidden_states=given[f"{sign}prompt_embeds"],
                encoder_attention_mask=given[f"{sign}prompt_attention_mask"],
            )
            for sign in ("", "negative_")
        )
        return -as_long_as(cond, guide(cond, uncond, given["guidance_scale"]))

    return denoise(scheduler, given["latents"], predict)


def as_long_as(cond, guided):
    return guided * (torch.norm(cond, dim=-1, keepdim=True) / torch.norm(guided, dim=-1, keepdim=True))


def qwen_image(given, scheduler, call):
    """The mask of a prompt without padding is dropped; the guided velocity is as long as the conditional one."""
    scheduler.set_timesteps(sigmas=falling(), mu=shift(16, 0.5, 0.9, longest=8192))

    def predict(step, time, sample):
        cond, uncond = (
            call(
                sign,
                step,
                hidden_states=sample,
                timestep=times(time, 1) / 1000,
                encoder_hidden_states=given[f"{sign}prompt_embeds"],
                img_shapes=[[(1, 4, 4)]],
            )
            for sign in ("", "negative_")
        )
        return as_long_as(cond, guide(cond, uncond, given["true_cfg_scale"]))

    return denoise(scheduler, given["latents"], predict)


def z_image(given, scheduler, call):
    """Pictures and prompts are lists, time runs from 0 to 1, and guidance counts from the conditional branch."""
    scheduler.set_timesteps(sigmas=falling())

    def predict(step, time, sample):
        picture = sample[0][:, None]
        texts = given["prompt_embeds"] + given["negative_prompt_embeds"]
        cond, uncond = call("both", step, [picture, picture], times((1000 - time) / 1000, 2), texts)
        return -(cond + given["guidance_scale"] * (cond - uncond))[None, :, 0]

    return denoise(scheduler, given["latents"], predict)


def wan(given, scheduler, call):
    scheduler.set_timesteps(STEPS)

    def predict(step, time, sample):
        cond, uncond = (
            call(
                sign,
                step,
                hidden_states=sample,
                timestep=times(time, 1),
                encoder_hidden_states=given[f"{sign}prompt_embeds"],
            )
            for sign in ("", "negative_")
        )
        return guide(cond, uncond, given["guidance_scale"])

    return denoise(scheduler, given["latents"], predict)


def hunyuan_video(given, scheduler, call):
    """Guidance twice: embedded in the network, and by a second branch."""
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.0, STEPS + 1)[:-1])

    def predict(step, time, sample):
        cond, uncond = (
            call(
                sign,
                step,
                hidden_states=sample,
                timestep=times(time, 1),
                encoder_hidden_states=given[f"{sign}prompt_embeds"],
                encoder_attention_mask=given[f"{sign}prompt_attention_mask"].float(),
                pooled_projections=given[f"{sign}pooled_prompt_embeds"],
                guidance=torch.tensor([1000.0 * given["guidance_scale"]]),
            )
            for sign in ("", "negative_")
        )
        return guide(cond, uncond, given["true_cfg_scale"])

    return denoise(scheduler, given["latents"], predict)


def cogvideox(given, scheduler, call):
    scheduler.set_timesteps(STEPS)

    def predict(step, time, sample):
        result = call(
            "both",
            step,
            hidden_states=twice(sample),
            encoder_hidden_states=both(given, "prompt_embeds"),
            timestep=times(time, 2),
        )
        return guide_halves(result, given["guidance_scale"])

    return denoise(scheduler, given["latents"], predict)


def ltx(given, scheduler, call):
    """Positions are in seconds at 25 frames a second, and in pixels."""
    scheduler.set_timesteps(sigmas=falling(), mu=shift(32, 0.95, 2.05))

    def predict(step, time, sample):
        result = call(
            "both",
            step,
            hidden_states=twice(sample),
            encoder_hidden_states=both(given, "prompt_embeds"),
            timestep=times(time, 2),
            encoder_attention_mask=both(given, "prompt_attention_mask"),
            num_frames=2,
            height=4,
            width=4,
            rope_interpolation_scale=(8 / 25, 32, 32),
        )
        return guide_halves(result, given["guidance_scale"])

    return denoise(scheduler, given["latents"], predict)


# For each pipeline the loop, what its head is called, and the streams of its calls.
ONE, CONTEXT, CONTEXTS, CALLS = ["call 0"], ["cond_uncond"], ["cond", "uncond"], ["call 0", "call 1"]
BY_HAND = {
    "FluxPipeline": (flux, "norm_out", CONTEXTS),
    "FluxPipeline (embedded guidance)": (flux, "norm_out", ["cond"]),
    "FluxImg2ImgPipeline": (flux_image_to_image, "norm_out", CALLS),
    "StableDiffusion3Pipeline": (stable_diffusion_3, "norm_out", ONE),
    "StableDiffusionXLPipeline": (stable_diffusion_xl, None, ONE),
    "DiTPipeline": (dit, "norm_out", ONE),
    "PixArtSigmaPipeline": (pixart_sigma, "norm_out", ONE),
    "SanaPipeline": (text_to_image, "norm_out", ONE),
    "Lumina2Pipeline": (lumina_2, "norm_out", CALLS),
    "AuraFlowPipeline": (aura_flow, "norm_out", ONE),
    "QwenImagePipeline": (qwen_image, "norm_out", CONTEXTS),
    "ZImagePipeline": (z_image, "all_final_layer.2-1", ONE),
    "WanPipeline": (wan, "norm_out", CONTEXTS),
    "HunyuanVideoPipeline": (hunyuan_video, "norm_out", CONTEXTS),
    "CogVideoXPipeline": (cogvideox, "norm_final", CONTEXT),
    "LTXPipeline": (ltx, "norm_out", CONTEXT),
}
every_pipeline = pytest.mark.parametrize("entry", PIPELINES, ids=str)
CASES = [(entry, at) for entry in PIPELINES for at in ("output", "features") if at == "output" or entry.splits]


def steps_of(entry, steps=STEPS):
    """How many of the scheduler's steps the pipeline takes."""
    return steps - int(steps - steps * entry.inputs.get("strength", 1.0))


@torch.no_grad()
def by_hand(entry, at):
    pipe = entry.build()
    loop, head, _ = BY_HAND[str(entry)]
    network = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    call = Caller(network, steps_of(entry), head if at == "features" else None)
    return loop({**pipe.components, **entry.inputs, **entry.guided}, pipe.scheduler, call)


def test_the_table_is_as_long_as_promised():
    assert len({entry.name for entry in PIPELINES}) >= 10
    assert {str(entry) for entry in PIPELINES} == set(BY_HAND)


@pytest.mark.parametrize(("entry", "at"), CASES, ids=str)
def test_agrees_with_a_loop_by_hand(entry, at):
    pipe = accelerate(entry.build(), evaluations=EVALUATIONS, at=at)
    result = entry.draw(pipe)
    told = report(pipe)
    expected = by_hand(entry, at)
    assert result.shape == expected.shape
    assert (result - expected).abs().max() <= 1e-5 * expected.abs().max()
    steps = steps_of(entry)
    evaluated = np.flatnonzero(schedules.even(steps, EVALUATIONS)).tolist()
    assert told.evaluated == dict.fromkeys(BY_HAND[str(entry)][2], evaluated)
    assert len(evaluated) == told.evaluations == EVALUATIONS
    assert (told.at, told.steps, told.events) == (at, steps, [])
    assert torch.equal(entry.draw(pipe), result), "running twice is running once"
    assert report(pipe).runs == 2
    assert not report(pipe).events


@pytest.mark.parametrize(("entry", "at"), CASES, ids=str)
def test_evaluating_every_step_changes_no_bit(entry, at):
    pipe = entry.build()
    full = entry.draw(pipe, 14)
    accelerate(pipe, evaluations=14, at=at)
    assert torch.equal(entry.draw(pipe, 14), full)
    assert report(pipe).evaluations == steps_of(entry, 14)
    assert not report(pipe).events
    restore(pipe)
    accelerate(pipe, evaluations=6, at=at)
    assert (entry.draw(pipe, 14) - full).abs().max() > 1e-3 * full.abs().max(), "agreement above proves nothing"
