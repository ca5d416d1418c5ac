"""The digits transformer in JAX: the same network, the same samples, read as well; and the demo."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from spectral_forecast import make_plan, schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, restore
from spectral_forecast.adapters.jax import flow_euler, from_nnx
from spectral_forecast.benchmarks import demo_jax, digits, digits_jax, jax_loops
from spectral_forecast.cli import main

STEPS, COUNT = 50, 40
FULL = make_plan(spectrum(0.5), np.arange(STEPS), np.ones(STEPS, dtype=bool), keep=1)
PLAN = make_plan(spectrum(0.5), np.arange(STEPS), schedules.growing(STEPS), span=(0, STEPS))
WANTED = np.arange(COUNT) % digits.CLASSES


@pytest.fixture(scope="module")
def network():
    return digits_jax.transformer()


@torch.no_grad()
def in_torch(model, x, sigma, classes):
    condition = digits.embed(classes)
    image, text = digits.token_ids()
    return model(
        hidden_states=x,
        encoder_hidden_states=condition.prompt_embeds,
        pooled_projections=condition.pooled_prompt_embeds,
        timestep=torch.as_tensor(sigma),
        img_ids=image,
        txt_ids=text,
        return_dict=False,
    )[0].numpy()


def test_parity_with_torch(network):
    x = digits.noise(11, seed=3)
    sigmas = np.linspace(0.0, 1.0, 11, dtype=np.float32)
    expected = in_torch(digits.transformer(), x, sigmas, np.arange(11))
    out = network(jnp.asarray(x.numpy()), jnp.asarray(sigmas), digits_jax.embed(np.arange(11)))
    assert out.dtype == jnp.float32
    assert np.abs(out - expected).max() < 1e-4
    assert np.abs(expected).max() > 1.0


def test_the_pipelines_clock_and_packing():
    scheduler = digits.pipeline().scheduler
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / STEPS, STEPS))
    assert digits_jax.sigmas(STEPS) == pytest.approx(scheduler.sigmas.numpy(), abs=1e-6)
    x = digits.noise(2, seed=0)
    assert np.array_equal(digits_jax.images(x.numpy()), digits.images(x).numpy())
    assert np.array_equal(digits_jax.embed([3, 10]), digits.embed([3, 10]).pooled_prompt_embeds.numpy())


def test_resume_law(network):
    model, state = from_nnx(network, blocks=demo_jax.BLOCKS, head="norm_out")
    args = (state, jnp.asarray(digits.noise(2, seed=0).numpy()), jnp.float32(0.4), digits_jax.embed([1, 2]))
    out, feature = model(*args)
    assert feature.shape == (2, 64, 96)
    assert np.array_equal(model(*args, feature=feature)[0], out)
    # Whatever stands in for the blocks: nothing but the feature reaches the head.
    program = str(jax.make_jaxpr(model)(*args, feature=feature))
    assert "softmax" not in program
    assert "dot_general" in program


@pytest.mark.parametrize("plan", [FULL, PLAN], ids=["50 evaluations", "14 evaluations"])
def test_samples_are_torchs_and_are_read_as_well(network, plan):
    model, state = from_nnx(network, blocks=demo_jax.BLOCKS, head="norm_out")

    @jax.jit
    def sample(plan, state, x, condition):
        def step(x, sigma, state, condition, feature=None):
            return model(state, x, sigma, condition, feature=feature)

        return flow_euler(step, plan, x, digits_jax.sigmas(STEPS), state, condition)

    x = jnp.asarray(digits.noise(COUNT, seed=7).numpy())
    mine = np.asarray(digits_jax.images(sample(plan, state, x, digits_jax.embed(WANTED))))
    pipe = digits.pipeline()
    if plan is PLAN:
        accelerate(pipe, plan, at="features")
    theirs = digits.sample(pipe, WANTED, steps=STEPS, seed=7).numpy()
    restore(pipe)
    assert mine == pytest.approx(theirs, abs=2e-3)
    reader, _ = digits.classifier()
    right = [int((reader.predict(images.reshape(COUNT, -1)) == WANTED).sum()) for images in (mine, theirs)]
    assert right[0] == right[1] >= 0.8 * COUNT


def test_the_demo(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_jax, "COUNT", 2)
    assert main(["demo", "--backend", "jax", "--out", str(tmp_path), "--repeats", "1"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(lines) == 12
    assert lines[2].startswith("| full run: Euler")
    quality = [float(line.split("|")[7]) for line in lines[3:]]
    assert min(quality) > 15.0
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert "8 plans share 4 executables" in (tmp_path / "report.md").read_text().replace("\n", " ")


def test_the_demo_refuses_zero_repeats(capsys, tmp_path):
    assert main(["demo", "--backend", "jax", "--out", str(tmp_path), "--repeats", "0"]) == 2
    assert "`repeats` is 0" in capsys.readouterr().err


def test_the_forms_of_the_loop_agree():
    lines = jax_loops.measure(2, 1).splitlines()
    assert len(lines) == 9
    errors = [line.split("|")[4].strip() for line in lines[4:]]
    assert errors[:2] == ["0.0000"] * 2
    assert len(set(errors[2:])) == 1
    assert 0.0 < float(errors[2]) < 0.2
