"""Loops written by hand around the core's runs, one for each pipeline of `benchmarks/pipelines.py`.

They use neither the pipelines nor the adapter: what a pipeline makes of its arguments, when it calls its network and
with what, how it guides and which steps it takes is written out for each. On a step that is forecast, a loop that
forecasts features calls its network all the same, and replaces what the head is given.
"""

import numpy as np
import torch

from spectral_forecast import make_plan, schedules, spectrum

RULE = spectrum(0.5, mode="free")
STEPS = 50
EVALUATIONS = 14
EVEN = {"forecaster": RULE, "schedule": schedules.even, "corrector": None}


def plan(steps, begin=0):
    """The plan of a stream that is first called at ``begin``; later than at the start, three steps are its warm-up."""
    evaluate = schedules.even(steps, EVALUATIONS)[begin:]
    evaluate[: 3 if begin else 0] = True
    return make_plan(RULE, np.arange(begin, steps), evaluate, span=(0, steps))


class Caller:
    """A network as a loop by hand calls it: each stream's outputs, or its head's inputs, are kept and forecast."""

    def __init__(self, network, steps, head=None):
        self.network = network
        self.head = None if head is None else network.get_submodule(head)
        self.steps = steps
        self.runs = {}

    def __call__(self, stream, step, *args, **kwargs):
        if stream not in self.runs:
            self.runs[stream] = step, plan(self.steps, step).start()
        begin, run = self.runs[stream]
        step -= begin
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
    scheduler.set_timesteps(sigmas=given.get("sigmas", falling()), mu=shift(16, 0.5, 1.15))
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
            for sign in (["", "negative_"] if given.get("true_cfg_scale", 1.0) > 1.0 else [""])
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
    """Both branches in a batch; where layers are skipped, a third call in steps 1 to 9, with a scale of 2.8."""
    scheduler.set_timesteps(STEPS)

    def predict(step, time, sample):
        uncond, cond = call(
            "both",
            step,
            hidden_states=twice(sample),
            timestep=times(time, 2),
            encoder_hidden_states=both(given, "prompt_embeds"),
            pooled_projections=both(given, "pooled_prompt_embeds"),
        ).chunk(2)
        guided = guide(cond, uncond, given["guidance_scale"])
        if "skip_guidance_layers" not in given or not 0.01 * STEPS < step < 0.2 * STEPS:
            return guided
        skipped = call(
            "skipped",
            step,
            hidden_states=sample,
            timestep=times(time, 1),
            encoder_hidden_states=given["prompt_embeds"],
            pooled_projections=given["pooled_prompt_embeds"],
            skip_layers=given["skip_guidance_layers"],
        )
        return guided + 2.8 * (cond - skipped)

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
    scheduler.set_timesteps(
        **({"timesteps": given["timesteps"]} if "timesteps" in given else {"num_inference_steps": STEPS})
    )
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
    return sample if given["output_type"] == "latent" else decode(given["vae"], sample)


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
    """Time runs from 0 to 1; a guided velocity is as long as the conditional one, row by row."""
    scheduler.set_timesteps(sigmas=falling())

    def velocity(sign, step, time, sample):
        return call(
            sign,
            step,
            hidden_states=sample,
            timestep=times(1.0 - time / 1000, 1),
            encoder_hidden_states=given[f"{sign}prompt_embeds"],
            encoder_attention_mask=given[f"{sign}prompt_attention_mask"],
        )

    def predict(step, time, sample):
        cond = velocity("", step, time, sample)
        if (step + 1) / STEPS > given.get("cfg_trunc_ratio", 1.0):
            return -cond
        return -as_long_as(cond, guide(cond, velocity("negative_", step, time, sample), given["guidance_scale"]))

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
        picture, time = sample[0][:, None], (1000 - time) / 1000
        texts = given["prompt_embeds"] + given["negative_prompt_embeds"]
        if time > given.get("cfg_truncation", 1.0):
            return -call("cond", step, [picture], times(time, 1), texts[:1])[:, :, 0]
        cond, uncond = call("both", step, [picture, picture], times(time, 2), texts)
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
LOOPS = {
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


def steps_of(entry, steps=STEPS):
    """How many of the scheduler's steps the pipeline takes."""
    return steps - int(steps - steps * entry.inputs.get("strength", 1.0))


@torch.no_grad()
def by_hand(entry, at, loop=None, **changes):
    """What the pipeline of ``entry`` should return."""
    pipe = entry.build()
    own, head, _ = LOOPS[str(entry)]
    network = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    call = Caller(network, steps_of(entry), head if at == "features" else None)
    return (loop or own)({**pipe.components, **entry.inputs, **entry.guided, **changes}, pipe.scheduler, call)
