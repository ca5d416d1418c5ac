"""One plan with a corrector, one network, one sample: by NumPy, PyTorch, diffusers and JAX, on the digits model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax import lax

from spectral_forecast import Corrector, Newton, make_plan, schedules
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.adapters.jax import flow_euler
from spectral_forecast.adapters.torch import Accelerator
from spectral_forecast.benchmarks import digits, digits_jax

STEPS, CLASSES, NEGATIVE, SEED = 50, [3, 8, 1], 5, 11
SIGMAS = digits_jax.sigmas(STEPS)
NOISE = digits.noise(len(CLASSES), seed=SEED)
CLOCK = {"times": np.arange(STEPS), "span": (0, STEPS), "sigmas": SIGMAS, "corrector": Corrector()}
PLAN = make_plan(Newton(1), evaluate=schedules.balanced(SIGMAS, 10), **CLOCK)
EVERYTHING = make_plan(Newton(1), evaluate=np.ones(STEPS, dtype=bool), **CLOCK)
WITHOUT = PLAN._replace(correction=np.zeros_like(PLAN.correction))


@pytest.fixture(scope="module")
def networks():
    return digits.transformer(), digits_jax.transformer()


def velocity(network, guidance):
    """What the pipeline makes of the network in PyTorch."""
    image, text = digits.token_ids()

    @torch.no_grad()
    def branch(x, sigma, classes):
        condition = digits.embed(classes)
        return network(
            hidden_states=x,
            encoder_hidden_states=condition.prompt_embeds,
            pooled_projections=condition.pooled_prompt_embeds,
            timestep=torch.full((len(x),), float(sigma)),
            img_ids=image,
            txt_ids=text,
            return_dict=False,
        )[0]

    def model(x, sigma):
        towards = branch(x, sigma, CLASSES)
        if guidance == 1.0:
            return towards
        away = branch(x, sigma, [NEGATIVE] * len(CLASSES))
        return away + guidance * (towards - away)

    return model


def by_numpy(networks, plan, guidance, limit=0.2):
    model, x = velocity(networks[0], guidance), NOISE.numpy()
    run = None if plan is None else plan.start()
    for i in range(STEPS):
        if run is None or run.evaluates(i):
            v = model(torch.as_tensor(x), SIGMAS[i]).numpy()
            if run is not None:
                run.keep(i, v)
                x = run.correct(i, x, limit=limit)
        else:
            v = run.forecast(i)
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * v
    return x


def by_torch(networks, plan, guidance):
    model, x = velocity(networks[0], guidance), NOISE
    accelerated = None if plan is None else Accelerator(model, plan)
    for i in range(STEPS):
        v = (model if plan is None else accelerated)(x, SIGMAS[i])
        x = (x if plan is None else accelerated.correct(x)) + float(SIGMAS[i + 1] - SIGMAS[i]) * v
    assert accelerated is None or accelerated.report.events == []
    return x.numpy()


def by_diffusers(networks, plan, guidance):
    pipe = digits.pipeline(networks[0])
    if plan is not None:
        accelerate(pipe, plan)
    latents = []
    digits.sample(
        pipe, CLASSES, steps=STEPS, guidance=guidance, seed=SEED, negative=NEGATIVE, after_step=latents.append
    )
    if plan is not None:
        assert report(pipe).events == []
        assert len(report(pipe).corrections) == np.count_nonzero(plan.correction.any(axis=1))
        restore(pipe)
    return latents[-1].numpy()


def by_jax(networks, plan, guidance):
    network = networks[1]

    def model(x, sigma, towards, away):
        v = network(x, sigma, towards)
        if guidance == 1.0:
            return v
        other = network(x, sigma, away)
        return other + guidance * (v - other)

    @jax.jit
    def sample(x, towards, away):
        if plan is not None:
            return flow_euler(model, plan, x, SIGMAS, towards, away, at="output")
        sigmas = jnp.asarray(SIGMAS)
        step = lambda x, i: (x + (sigmas[i + 1] - sigmas[i]) * model(x, sigmas[i], towards, away), None)  # noqa: E731
        return lax.scan(step, x, jnp.arange(STEPS))[0]

    conditions = (digits_jax.embed(classes) for classes in (CLASSES, [NEGATIVE] * len(CLASSES)))
    return np.asarray(sample(jnp.asarray(NOISE.numpy()), *conditions))


ADAPTERS = {"NumPy": by_numpy, "PyTorch": by_torch, "diffusers": by_diffusers, "JAX": by_jax}


def relative(x, y):
    return np.linalg.norm(x - y) / np.linalg.norm(y)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_all_give_one_sample(networks, guidance):
    samples = {name: draw(networks, PLAN, guidance) for name, draw in ADAPTERS.items()}
    errors = {name: relative(x, samples["NumPy"]) for name, x in samples.items()}
    assert max(errors.values()) < 1e-5
    others = [by_numpy(networks, WITHOUT, guidance), by_numpy(networks, PLAN, guidance, limit=None)]
    assert min(relative(x, samples["NumPy"]) for x in others) > 1e-3, "neither the corrector nor its guard was tried"


def test_taking_steps_again_gives_one_sample(networks):
    """The default of diffusers, and the same by hand in PyTorch."""
    pipe = accelerate(digits.pipeline(networks[0]), evaluations=10)
    latents = []
    digits.sample(pipe, CLASSES, steps=STEPS, seed=SEED, after_step=latents.append)
    told = report(pipe)
    restore(pipe)
    accelerated = Accelerator(velocity(networks[0], 1.0), evaluations=10, sigmas=SIGMAS)
    step, x = accelerated.retaking(lambda x, v, length: x + length * v), NOISE
    for i in range(STEPS):
        x = step(x, accelerated(x, SIGMAS[i]), float(SIGMAS[i + 1] - SIGMAS[i]))
    assert relative(x.numpy(), latents[-1].numpy()) < 1e-5
    assert list(accelerated.report.evaluated.values()) == list(told.evaluated.values())
    assert np.allclose(accelerated.report.corrections, told.corrections, rtol=1e-3)
    assert len(told.corrections) >= 8


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_step_evaluated_changes_no_bit(networks, name):
    assert np.array_equal(ADAPTERS[name](networks, EVERYTHING, 1.0), ADAPTERS[name](networks, None, 1.0))
