"""What the digits' pipeline makes of two classes, as latents: the runs that adapters are compared on."""

from spectral_forecast.benchmarks import digits


def drawn(pipe, steps, *, tokens=1, **options):
    """A run with a text prompt of so many tokens."""
    condition = digits.embed([3, 8])
    return pipe(
        prompt_embeds=condition.prompt_embeds.repeat(1, tokens, 1),
        pooled_prompt_embeds=condition.pooled_prompt_embeds,
        num_inference_steps=steps,
        height=128,
        width=128,
        latents=digits.noise(2, seed=0),
        output_type="latent",
        **options,
    ).images
