"""The small trained models: they load, draw what they are asked for, and what they train on is what they say."""

import importlib

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from spectral_forecast.benchmarks import digits, moving_digits, noising, stored, train

# Inside diffusers' EulerDiscreteScheduler.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

NAMES = ("photographs", "moving_digits", "digits_ddim", "digits_unet")
SHAPES = {"photographs": (3, 32, 32), "moving_digits": (8, 16, 16), "digits_ddim": (16, 16), "digits_unet": (16, 16)}


@pytest.fixture(params=NAMES)
def model(request):
    return importlib.import_module(f"spectral_forecast.benchmarks.{request.param}")


def test_facts_belong_to_the_weights(model):
    facts = stored.facts(model.NAME)
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in model.CONFIG.items()}
    assert facts["config"] == plain
    parameters = sum(value.numel() for value in model.network().parameters())
    assert facts["parameters"] == parameters
    assert 0.5e6 <= parameters <= 1.6e6
    assert (stored.WEIGHTS / f"{model.NAME}.safetensors").stat().st_size <= 4e6
    assert facts["loss"][-1] < 0.5 * facts["loss"][0]


# Measured here: 1.0, 0.33, 1.0, 1.0; guessing would give 0.1. docs/models.md has more samples of more steps.
@pytest.mark.parametrize(
    ("name", "least"), [("photographs", 0.9), ("moving_digits", 0.2), ("digits_ddim", 0.9), ("digits_unet", 0.9)]
)
def test_a_classifier_takes_guided_samples_for_what_was_asked_for(name, least):
    model = importlib.import_module(f"spectral_forecast.benchmarks.{name}")
    wanted = np.arange(30) % model.CLASSES
    samples = model.sample(model.pipeline(), wanted.tolist(), steps=20, guidance=2.0, seed=7)
    assert samples.shape == (30, *SHAPES[name])
    assert torch.isfinite(samples).all()
    assert (model.read(samples) == wanted).mean() > least
    if name == "moving_digits":
        _, places = model.locate(samples)
        # Measured: 0.86. Frames of different videos, put together, would give 0.13.
        assert (places.diff(dim=1).abs().sum(-1) <= 2).float().mean() > 0.7


def test_every_step_is_shown_and_runs_repeat(model):
    pipe, seen = model.pipeline(), []
    first = model.sample(pipe, [1, 2], steps=3, guidance=2.0, seed=3, after_step=seen.append)
    assert len(seen) == 3
    assert torch.equal(seen[-1].reshape(first.shape), first)
    assert torch.equal(model.sample(pipe, [1, 2], steps=3, guidance=2.0, seed=3), first)
    assert not torch.equal(model.sample(pipe, [1, 2], steps=3, guidance=2.0, seed=4), first)
    assert "step" not in vars(pipe.scheduler)


def test_a_hand_written_loop_gives_the_pipeline_s_sample(model):
    """The noise, the network's arguments and the scheduler are what `sample` uses."""
    pipe = model.pipeline()
    expected = model.sample(pipe, [4, 5], steps=4, seed=2)
    pipe.scheduler.set_timesteps(4)
    flow = isinstance(pipe.scheduler, FlowMatchEulerDiscreteScheduler)
    sample = model.noise(2, seed=2) * getattr(pipe.scheduler, "init_noise_sigma", 1.0)
    network = model.network()
    with torch.no_grad():
        for time in pipe.scheduler.timesteps:
            scaled = sample if flow else pipe.scheduler.scale_model_input(sample, time)
            own = (time / 1000.0 if flow else time).expand(2)
            out = network(**model.inputs(scaled, own, torch.tensor([4, 5])), return_dict=False)[0]
            sample = pipe.scheduler.step(out, time, sample, return_dict=False)[0]
    assert torch.allclose(sample.reshape(expected.shape), expected, atol=1e-4)


def test_guidance_leads_away_from_no_class(model):
    pipe = model.pipeline()
    plain, guided = (model.sample(pipe, [1, 6], steps=3, guidance=guidance) for guidance in (1.0, 4.0))
    assert not torch.allclose(plain, guided, atol=1e-3)


@pytest.mark.parametrize("name", ["photographs", "moving_digits", "digits_unet"])
def test_a_negative_class(name):
    model = importlib.import_module(f"spectral_forecast.benchmarks.{name}")
    pipe = model.pipeline()
    away = [model.sample(pipe, [1, 6], steps=3, guidance=4.0, negative=negative) for negative in (model.CLASSES, 3)]
    assert not torch.allclose(*away, atol=1e-3)


def test_an_unknown_scheduler_is_refused(model):
    with pytest.raises(ValueError, match="`scheduler` is 'heun'"):
        model.pipeline(model.network(), scheduler="heun")


@pytest.mark.parametrize("name", [*NAMES, "digits"])
def test_examples_depend_on_the_seed_only(name):
    model = importlib.import_module(f"spectral_forecast.benchmarks.{name}")
    (one, one_class), (two, two_class) = (model.examples(6, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(one_class, two_class)
    assert one.abs().max() <= 1.0
    assert ((one_class >= 0) & (one_class < model.CLASSES)).all()


def test_a_digit_moves_one_pixel_a_frame_and_bounces():
    digit = torch.full((1, 8, 8), 0.5)
    video = moving_digits.videos(digit, torch.tensor([[3, 6]]), torch.tensor([[0, 1]]))
    windows, places = moving_digits.locate(video[:, 0])
    assert places[0].tolist() == [[3, 6], [3, 7], [3, 8], [3, 7], [3, 6], [3, 5], [3, 4], [3, 3]]
    assert torch.equal(windows, digit[:, None].expand(1, 8, 8, 8))
    assert float(video.sum()) == 8 * (0.5 * 64 - 1.0 * (256 - 64))


def test_noisy_examples_lie_on_the_sampler_s_path():
    clean = torch.linspace(-1.0, 1.0, 40).reshape(4, 10)
    noisy, sigma, velocity = noising.flow(clean, torch.Generator().manual_seed(0), centre=0.5)
    assert torch.allclose(noisy - sigma[:, None] * velocity, clean, atol=1e-6)
    scheduler = DDIMScheduler(prediction_type="epsilon")
    noisy, time, eps = noising.diffusion(clean, torch.Generator().manual_seed(0), scheduler=scheduler)
    kept = scheduler.alphas_cumprod[time][:, None]
    assert torch.allclose(noisy, kept.sqrt() * clean + (1.0 - kept).sqrt() * eps, atol=1e-6)
    scheduler = DDIMScheduler(prediction_type="v_prediction")
    noisy, time, v = noising.diffusion(clean, torch.Generator().manual_seed(0), scheduler=scheduler)
    assert torch.allclose(kept.sqrt() * noisy - (1.0 - kept).sqrt() * v, clean, atol=1e-5)


def test_training_saves_what_can_be_loaded(tmp_path, monkeypatch):
    recipe = train.Recipe(updates=2, batch=4)
    train.train(digits, recipe, tmp_path)
    monkeypatch.setattr(stored, "WEIGHTS", tmp_path)
    facts = stored.facts(digits.NAME)
    assert (facts["updates"], facts["batch"], len(facts["loss"])) == (2, 4, 1)
    again = digits.transformer()
    train.train(digits, recipe, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), digits.transformer().parameters(), strict=True))
