"""The calibrator for cache-dit, inside cache-dit's own cache on a tiny FLUX pipeline, and by itself."""

import gc
import importlib
import sys
import weakref

import cache_dit
import numpy as np
import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel

from spectral_forecast import AnalyticKernel, Newton, Reuse, schedules, spectrum
from spectral_forecast.adapters.cache_dit import ForecastCalibrator, ForecastCalibratorConfig
from spectral_forecast.benchmarks import digits

STEPS = 12
EVALUATED = [0, 1, 2, 5, 9]
RULE = spectrum(0.5, mode="free")
TINY = {**digits.CONFIG, "num_layers": 2, "num_single_layers": 2, "num_attention_heads": 1}


@pytest.fixture
def pipe():
    torch.manual_seed(0)
    call = FluxPipeline.__call__
    pipe = digits.pipeline(FluxTransformer2DModel(**TINY).eval())
    yield pipe
    cache_dit.disable_cache(pipe)
    assert FluxPipeline.__call__ is call


def enable(pipe, *, separate=False, **options):
    """Let cache-dit skip all but the first block at the steps that are not in `EVALUATED`."""
    cache = cache_dit.DBCacheConfig(
        Fn_compute_blocks=1,
        Bn_compute_blocks=0,
        max_warmup_steps=3,
        enable_separate_cfg=separate,
        num_inference_steps=STEPS,
        steps_computation_mask=schedules.mask(STEPS, EVALUATED).astype(int).tolist(),
        steps_computation_policy="static",
    )
    options = {"steps": STEPS, **options}
    cache_dit.enable_cache(pipe, cache_config=cache, calibrator_config=ForecastCalibratorConfig(**options))


def draw(pipe, *, guidance=1.0):
    return digits.sample(pipe, [3, 8], steps=STEPS, guidance=guidance)


def contexts(pipe):
    """cache-dit's contexts, one for each list of blocks; each owns its calibrators."""
    return list(pipe._context_manager._cached_context_manager.values())


@pytest.fixture
def calls(monkeypatch):
    """What every calibrator of ours was given and asked for: (calibrator, name, step, feature, forecast or not)."""
    seen = []
    update, approximate = ForecastCalibrator.update, ForecastCalibrator.approximate

    def watched_update(self, feature, name="default"):
        seen.append((id(self), name, self.current_step, feature.clone(), False))
        return update(self, feature, name)

    def watched_approximate(self, name="default"):
        result = approximate(self, name)
        seen.append((id(self), name, self.current_step, result.clone(), True))
        return result

    monkeypatch.setattr(ForecastCalibrator, "update", watched_update)
    monkeypatch.setattr(ForecastCalibrator, "approximate", watched_approximate)
    return seen


@pytest.mark.parametrize("keep", [None, 2])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_every_forecast_is_the_rule_applied_to_the_features_seen(pipe, calls, guidance, keep):
    full = draw(pipe, guidance=guidance)
    enable(pipe, separate=guidance > 1.0, keep=keep)
    assert not torch.equal(draw(pipe, guidance=guidance), full)
    streams = {(who, name) for who, name, *_ in calls}
    assert len(streams) == (2 if guidance == 1.0 else 4)  # image and text tokens, of each branch
    for stream in streams:
        features, forecasts = {}, {}
        for who, name, step, tensor, forecast in calls:
            if (who, name) == stream:
                (forecasts if forecast else features)[step] = tensor
        assert list(features) == EVALUATED
        assert list(forecasts) == [step for step in range(STEPS) if step not in EVALUATED]
        for step, forecast in forecasts.items():
            before = [node for node in EVALUATED if node < step][-(keep or STEPS) :]
            weights = RULE.weights(2.0 * np.array(before) / STEPS - 1.0, 2.0 * step / STEPS - 1.0)
            expected = sum(weight * features[node].double() for weight, node in zip(weights, before, strict=True))
            assert torch.allclose(forecast.double(), expected, rtol=1e-5, atol=1e-6)


def test_what_the_cache_returns_is_the_input_and_the_forecast_residual(pipe):
    """With reuse, a skipped step adds the last residual: a loop over the network's own parts says so, too."""
    enable(pipe, forecaster=Reuse(), keep=1)
    cached = draw(pipe)
    cache_dit.disable_cache(pipe)
    network, residual = pipe.transformer, None
    blocks = [*network.transformer_blocks, *network.single_transformer_blocks]

    def middle(step):
        """Take the place of all blocks but the first: run them, or add what they added last."""
        nonlocal residual
        held = {}

        def first(_module, _args, _kwargs, out):
            held["text"], held["image"] = out

        def last(_module, _args, _kwargs, out):
            nonlocal residual
            text, image = out
            if step in EVALUATED:
                residual = (text - held["text"], image - held["image"])
                return out
            return held["text"] + residual[0], held["image"] + residual[1]

        return [
            blocks[0].register_forward_hook(first, with_kwargs=True),
            blocks[-1].register_forward_hook(last, with_kwargs=True),
        ]

    condition, (image_ids, text_ids) = digits.embed([3, 8]), digits.token_ids()
    scheduler = digits.pipeline(network).scheduler
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / STEPS, STEPS))
    sample = digits.noise(2, seed=0)
    with torch.no_grad():
        for step, time in enumerate(scheduler.timesteps):
            hooks = middle(step)
            velocity = network(
                hidden_states=sample,
                timestep=time.expand(2) / 1000,
                encoder_hidden_states=condition.prompt_embeds,
                pooled_projections=condition.pooled_prompt_embeds,
                img_ids=image_ids,
                txt_ids=text_ids,
                return_dict=False,
            )[0]
            for hook in hooks:
                hook.remove()
            sample = scheduler.step(velocity, time, sample, return_dict=False)[0]
    assert torch.allclose(cached, digits.images(sample), atol=1e-5)


def test_a_second_run_equals_the_first(pipe):
    enable(pipe)
    assert torch.equal(draw(pipe), draw(pipe))


def test_disabling_leaves_no_feature_and_the_full_run(pipe, calls):
    full = draw(pipe)
    enable(pipe)
    draw(pipe)
    held = [weakref.ref(part) for context in contexts(pipe) for part in context.get_calibrators()]
    assert len(held) == 2
    assert all(calibrator().kept for calibrator in held)
    cache_dit.disable_cache(pipe)
    gc.collect()
    assert not any(calibrator() for calibrator in held)
    calls.clear()
    assert torch.equal(draw(pipe), full)
    assert not calls


def test_other_calibrators_are_made_as_before(pipe):
    config = cache_dit.DBCacheConfig(Fn_compute_blocks=1, max_warmup_steps=2, residual_diff_threshold=10.0)
    cache_dit.enable_cache(pipe, cache_config=config, calibrator_config=cache_dit.TaylorSeerCalibratorConfig())
    draw(pipe)
    assert {type(context.calibrator).__name__ for context in contexts(pipe)} == {"TaylorSeerCalibrator"}


@pytest.mark.parametrize("rule", [RULE, Newton(2), Reuse(), AnalyticKernel()], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_constants_are_kept(rule, dtype):
    constant = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    calibrator = ForecastCalibrator(rule, steps=STEPS)
    for step in range(STEPS):
        calibrator.mark_step_begin()
        if step in EVALUATED:
            calibrator.update(constant)
        else:
            forecast = calibrator.approximate()
            assert forecast.dtype == dtype
            assert torch.allclose(forecast, constant, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=0.0)


def walk(calibrator, features):
    """Show a calibrator features by step; return its forecast of the step after the last."""
    for step in range(max(features) + 2):
        calibrator.mark_step_begin()
        if step in features:
            calibrator.update(features[step])
    return calibrator.approximate()


def test_lines_without_a_length_and_with_too_many_features():
    line = {step: torch.tensor([2.0 * step, -1.0 * step]) for step in (0, 1, 4, 6)}
    calibrator = ForecastCalibrator(Newton(1), keep=2)
    assert walk(calibrator, line).tolist() == [14.0, -7.0]
    assert [step for step, _ in calibrator.kept["default"]] == [4, 6]


def test_features_are_copied():
    calibrator = ForecastCalibrator(Reuse())
    feature = torch.ones(3)
    calibrator.mark_step_begin()
    calibrator.update(feature)
    feature.zero_()
    calibrator.mark_step_begin()
    assert calibrator.approximate().tolist() == [1.0, 1.0, 1.0]


def test_of_a_step_given_twice_the_last_counts():
    calibrator = ForecastCalibrator(Newton(1))
    for value in (0.0, 1.0, 5.0):
        if value < 5.0:
            calibrator.mark_step_begin()
        calibrator.update(torch.tensor([value]))
    calibrator.mark_step_begin()
    assert calibrator.approximate().tolist() == [10.0]


def test_names_are_apart_and_a_reset_forgets():
    calibrator = ForecastCalibrator(Reuse())
    calibrator.mark_step_begin()
    calibrator.update(torch.ones(1), name="image")
    calibrator.update(torch.zeros(2), name="text")
    calibrator.mark_step_begin()
    assert calibrator.approximate("image").tolist() == [1.0]
    assert calibrator.approximate("text").tolist() == [0.0, 0.0]
    calibrator.reset_cache()
    with pytest.raises(RuntimeError, match="nothing to forecast from"):
        calibrator.approximate("image")


def test_a_feature_that_is_not_finite_is_not_kept():
    calibrator = ForecastCalibrator(Newton(1))
    features = {0: torch.tensor([0.0]), 1: torch.tensor([1.0]), 2: torch.tensor([float("nan")])}
    with pytest.warns(UserWarning, match="step 2 is not finite"):
        assert walk(calibrator, features).tolist() == [3.0]


def test_another_shape_drops_what_was_kept():
    features = {0: torch.ones(2), 1: torch.ones(2), 2: torch.full((3,), 5.0)}
    assert walk(ForecastCalibrator(Newton(1)), features).tolist() == [5.0, 5.0, 5.0]


def test_errors_say_what_to_write():
    with pytest.raises(ValueError, match="steps=50"):
        ForecastCalibratorConfig()
    with pytest.raises(ValueError, match="`keep` is 0"):
        ForecastCalibratorConfig(steps=50, keep=0)
    with pytest.raises(TypeError, match="without a method `weights"):
        ForecastCalibratorConfig(forecaster="taylor", steps=50)
    calibrator = ForecastCalibrator(RULE, steps=3)
    with pytest.raises(RuntimeError, match="a step 3"):
        walk(calibrator, {0: torch.ones(1), 2: torch.ones(1)})


def test_a_config_says_what_it_is():
    config = ForecastCalibratorConfig(forecaster=Newton(1), keep=3)
    assert config.strify() == "SpectralForecast"
    assert config.strify(details=True) == "Forecast(Newton(order=1))"
    assert repr(ForecastCalibrator(Newton(1), 50, 3)) == "ForecastCalibrator(Newton(order=1), steps=50, keep=3)"
    assert ForecastCalibratorConfig(steps=50).update(**config.as_dict()).to_kwargs() == {
        "forecaster": Newton(1),
        "steps": 50,
        "keep": 3,
    }


def test_without_cache_dit_the_error_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "cache_dit"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cache_dit", None)
    monkeypatch.delitem(sys.modules, "spectral_forecast.adapters.cache_dit")
    with pytest.raises(ImportError, match=r"spectral-forecast\[cache-dit\]"):
        importlib.import_module("spectral_forecast.adapters.cache_dit")
