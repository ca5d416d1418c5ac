"""Profiles of pipelines: recorded without a trace, used on their own schedule, refused where they do not belong."""

import gc
import weakref

import numpy as np
import pytest
import torch
from diffusers import (
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FluxTransformer2DModel,
    LCMScheduler,
    WanPipeline,
)

from spectral_forecast import Newton, Profile, schedules
from spectral_forecast.adapters.diffusers import _profiled, accelerate, record, report, restore
from spectral_forecast.adapters.diffusers._record import Recorded, merged
from spectral_forecast.benchmarks import digits

TINY = {**digits.CONFIG, "num_layers": 1, "num_single_layers": 2, "num_attention_heads": 1}
STEPS = 12


def transformer(**changes):
    torch.manual_seed(0)
    return FluxTransformer2DModel(**{**TINY, **changes}).eval()


@pytest.fixture
def network():
    return transformer()


@pytest.fixture
def pipe(network):
    return digits.pipeline(network)


@pytest.fixture(params=["output", "features"])
def at(request):
    return request.param


@pytest.fixture(scope="module")
def profile():
    """Of two runs of the tiny network, with two branches each."""
    return recorded(digits.pipeline(transformer()))


def draw(pipe, *, steps=STEPS, classes=(3, 8), seed=0, **options):
    return digits.sample(pipe, list(classes), steps=steps, guidance=2.0, seed=seed, **options)


def recorded(pipe, at="output", seeds=(0, 1)):
    with record(pipe, at=at) as recorder:
        for seed in seeds:
            draw(pipe, seed=seed)
    assert not recorder.left_out
    return recorder.profile()


def attributes(network):
    """What every module holds besides its weights, by name."""
    return {name: set(vars(module)) for name, module in network.named_modules()}


def break_off(at_step):
    """A callback that raises after a step."""
    steps = []

    def after_step(_sample):
        steps.append(None)
        if len(steps) == at_step:
            raise KeyboardInterrupt

    return after_step


def test_recording_changes_nothing(pipe, network, at):
    before, forward = attributes(network), network.forward
    plain = [draw(pipe, seed=seed) for seed in range(3)]
    with record(pipe, at=at) as recorder:
        assert all(torch.equal(draw(pipe, seed=seed), plain[seed]) for seed in range(3))
        assert (report(pipe).at, report(pipe).events, report(pipe).evaluations) == (at, [], STEPS)
        assert not recorder._session.streams
    assert (len(recorder.runs), recorder.left_out) == (3, [])
    assert (attributes(network), network.forward) == (before, forward)
    assert "step" not in vars(pipe.scheduler)
    assert torch.equal(draw(pipe), plain[0])
    assert len(recorder.runs) == 3


def test_matrices_are_those_of_the_networks_results(pipe, network):
    results = []
    handle = network.register_forward_hook(lambda *call: results.append(call[-1][0].double().flatten().numpy()))
    profile = recorded(pipe)
    handle.remove()
    branches = [results[start::2][run * STEPS : (run + 1) * STEPS] for start in (0, 1) for run in (0, 1)]
    expected = Profile.from_runs(branches)
    assert profile.gram == pytest.approx(expected.gram, rel=1e-5, abs=1e-6 * expected.gram.max())
    assert profile.times == pytest.approx(2.0 * np.arange(STEPS) / STEPS - 1.0)


def test_settings_fill_themselves_in(profile):
    told = profile.settings
    assert told["network"] == "FluxTransformer2DModel"
    assert (told["scheduler"], told["scheduler.shift"]) == ("FlowMatchEulerDiscreteScheduler", "3.0")
    assert (told["steps"], told["at"], told["runs"]) == (str(STEPS), "output", "2")
    assert len(told["timesteps"].split()) == STEPS
    assert told["timesteps"].startswith("1000 ")


def test_a_profile_survives_its_file(profile, pipe, tmp_path):
    profile.save(tmp_path / "tiny.json")
    results = []
    for rule in (profile, Profile.load(tmp_path / "tiny.json")):
        accelerate(pipe, evaluations=6, forecaster=rule)
        results.append(draw(pipe, seed=5))
        assert not report(pipe).events
        restore(pipe)
    assert torch.equal(*results)


def test_a_profile_chooses_its_own_steps(profile, pipe, at):
    profile = profile if at == "output" else recorded(pipe, at)
    for count in (4, 6, STEPS, STEPS + 3):
        accelerate(pipe, evaluations=count, forecaster=profile, at=at)
        draw(pipe, seed=5)
        told = report(pipe)
        expected = profile.schedule(min(count, STEPS), -np.diff(pipe.scheduler.sigmas.numpy()))
        assert told.evaluated["cond"] == told.evaluated["uncond"] == np.flatnonzero(expected).tolist()
        assert (told.events, told.at, told.restarts) == ([], at, 0)
        assert profile.digest in told.forecaster
        restore(pipe)
    accelerate(pipe, evaluations=5, forecaster=profile, at=at, schedule=schedules.even)
    draw(pipe)
    assert report(pipe).evaluated["cond"] == np.flatnonzero(schedules.even(STEPS, 5)).tolist()


def test_it_forecasts_better_than_a_line():
    """The trained digits, of classes and from noise that the profile has not seen."""
    pipe = digits.pipeline()
    with record(pipe) as recorder:
        digits.sample(pipe, [0, 1, 2, 3], seed=0)
    profile = recorder.profile(guidance=1.0)
    assert profile.settings["guidance"] == "1.0"
    full, errors = digits.sample(pipe, [5, 6, 7], seed=9), []
    for rule in (Newton(1), profile):
        accelerate(pipe, evaluations=14, forecaster=rule, corrector=None)
        errors.append(float((digits.sample(pipe, [5, 6, 7], seed=9) - full).norm()))
        restore(pipe)
    assert 0.0 < errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_single_layers": 3}, r"network_config \w{16}, not \w{16}"),
        ({"scheduler": FlowMatchEulerDiscreteScheduler(shift=5.0)}, "scheduler.shift 3.0, not 5.0"),
        ({"scheduler": FlowMatchEulerDiscreteScheduler()}, "scheduler.shift 3.0, not the default"),
        ({"scheduler": FlowMatchHeunDiscreteScheduler(shift=3.0)}, "not FlowMatchHeunDiscreteScheduler"),
        ({"at": "features"}, "at output, not features"),
    ],
)
def test_foreign_pipelines_are_refused(profile, change, message):
    pipe = digits.pipeline(transformer(**{name: value for name, value in change.items() if name in TINY}))
    pipe.scheduler = change.get("scheduler", pipe.scheduler)
    before = attributes(pipe.transformer)
    for rule in (profile, 0.5 * Newton(1) + 0.5 * profile):
        with pytest.raises(ValueError, match=f"`forecaster`: the profile was made with .*{message}.*with `record`"):
            accelerate(pipe, evaluations=5, forecaster=rule, at=change.get("at", "output"))
    assert attributes(pipe.transformer) == before


def test_a_profile_that_does_not_know_its_network_is_refused(pipe):
    nameless = Profile.from_runs([np.eye(STEPS)], times=np.arange(STEPS), span=(0.0, STEPS))
    with pytest.raises(ValueError, match="at unknown, not output; network unknown, not FluxTransformer2DModel"):
        accelerate(pipe, evaluations=5, forecaster=nameless)


def test_foreign_runs_are_evaluated(profile, pipe):
    plain = draw(pipe, steps=STEPS + 1), draw(pipe)
    accelerate(pipe, evaluations=5, forecaster=profile)
    with pytest.warns(UserWarning, match=f"Nothing is forecast: the profile was made with steps {STEPS}, not 13"):
        assert torch.equal(draw(pipe, steps=STEPS + 1), plain[0])
    assert "made with steps 12, not 13. Record one" in report(pipe).events[0]
    assert not torch.equal(draw(pipe), plain[1])  # a run of its own kind is forecast again
    assert (report(pipe).events, report(pipe).evaluations) == ([], 5)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=5.0)
    with pytest.warns(UserWarning, match=r"scheduler\.shift 3\.0, not 5\.0"):
        draw(pipe)
    assert (len(report(pipe).evaluated["cond"]), len(report(pipe).events)) == (STEPS, 1)


def test_other_noise_levels_are_a_foreign_run(profile, pipe):
    """The same scheduler, but the pipeline is given the noise levels."""
    accelerate(pipe, evaluations=5, forecaster=profile)
    original = pipe.scheduler.set_timesteps

    def set_timesteps(*args, sigmas, **kwargs):
        return original(*args, sigmas=np.asarray(sigmas) ** 2, **kwargs)

    pipe.scheduler.set_timesteps = set_timesteps
    with pytest.warns(UserWarning, match=r"level 0\.970588 at step 1, not 0\.94.* \(another shift"):
        draw(pipe)
    assert report(pipe).evaluations == STEPS


def call(network, classes, time):
    """The network as a loop of one's own calls it."""
    count = len(classes)
    return network(
        **digits.inputs(digits.noise(count, seed=0), torch.full((count,), time / 1000), torch.tensor(classes)),
        return_dict=False,
    )[0]


@torch.no_grad()
def test_a_restart_in_mid_run_goes_on_forecasting(profile, network):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(STEPS, sigmas=np.linspace(1.0, 1.0 / STEPS, STEPS))
    accelerate(network, scheduler=scheduler, evaluations=4, forecaster=profile)
    for step, time in enumerate(scheduler.timesteps):
        assert torch.isfinite(call(network, [3, 8] if step < 4 else [3], float(time))).all()
    told = report(network)
    assert told.restarts == 1
    assert {4, 5, 6} <= set(told.evaluated["call 0"])
    assert max(told.forecast["call 0"]) > 6


@torch.no_grad()
@pytest.mark.parametrize("guided", [range(5), range(5, STEPS), range(STEPS)])
def test_guidance_of_some_steps_only_is_left_out(network, guided):
    """Its branch has not all steps; the other one is recorded."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(STEPS)
    results = [[], []]
    with record(network, scheduler=scheduler) as recorder:
        for step, time in enumerate(scheduler.timesteps):
            results[0].append(call(network, [3, 8], float(time)))
            if step in guided:
                results[1].append(call(network, [1, 1], float(time)))
    (found,), branches = recorder.runs, results if len(guided) == STEPS else results[:1]
    expected = Profile.from_runs(branches)
    assert found.gram == pytest.approx(expected.gram, rel=1e-5, abs=1e-6 * expected.gram.max())


def test_an_interrupted_run_is_left_out(pipe, network, at):
    before = attributes(network)
    plain = draw(pipe)
    with record(pipe, at=at) as recorder:
        with pytest.raises(KeyboardInterrupt):
            draw(pipe, seed=1, after_step=break_off(5))
        assert torch.equal(draw(pipe), plain)
        assert len(recorder.profile().times) == STEPS
        with pytest.raises(KeyboardInterrupt):
            draw(pipe, seed=2, after_step=break_off(STEPS - 1))
    assert (len(recorder.runs), recorder.left_out) == (
        1,
        ["run 1: it ended after 5 steps", f"run 3: it ended after {STEPS - 1} steps"],
    )
    assert attributes(network) == before
    assert torch.equal(draw(pipe), plain)


def test_an_exception_leaves_nothing_behind(pipe, network, at):
    before, plain = attributes(network), draw(pipe)
    with pytest.raises(KeyboardInterrupt), record(pipe, at=at) as recorder:
        draw(pipe, after_step=break_off(5))
    assert attributes(network) == before
    assert torch.equal(draw(pipe), plain)
    with pytest.raises(ValueError, match="no whole run was recorded: run 1: it ended after 5 steps"):
        recorder.profile()
    accelerate(pipe, evaluations=5)  # nothing stands in its way


def test_a_recorder_keeps_no_network_alive(at):
    pipe = digits.pipeline(transformer())
    with record(pipe, at=at) as recorder:
        draw(pipe)
    alive = weakref.ref(pipe.transformer)
    del pipe
    gc.collect()
    assert alive() is None
    assert len(recorder.runs) == 1


def test_a_run_with_a_feature_that_is_not_finite_is_left_out(pipe, network):
    calls = []

    def spoil(_module, _inputs, output):
        calls.append(None)
        return (output[0] * torch.nan,) if len(calls) == 7 else None

    handle = network.register_forward_hook(spoil)
    with record(pipe) as recorder:
        draw(pipe)
        handle.remove()
        draw(pipe)
    assert len(recorder.runs) == 1
    assert recorder.left_out == ["run 1: step 4, stream cond: its feature was not finite and is not kept"]


@torch.no_grad()
def test_a_run_without_a_scheduler_is_left_out(pipe, network):
    pipe.scheduler = None
    with record(pipe) as recorder:
        call(network, [3], 1000.0)
    assert (recorder.runs, recorder.left_out) == ([], ["run 1: its number of steps is not known"])


class Plain(torch.nn.Module):
    """A network without a configuration."""

    def __init__(self, width):
        super().__init__()
        self.inner = torch.nn.Linear(width, width)

    def forward(self, sample, timestep):
        return torch.tanh(self.inner(sample)) * torch.cos(timestep / 300.0)


@torch.no_grad()
def test_a_network_without_a_configuration_is_known_by_its_parameters():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(STEPS)
    network = Plain(4)
    with record(network, scheduler=scheduler) as recorder:
        for time in scheduler.timesteps:
            network(torch.ones(1, 4), time)
    profile = recorder.profile()
    accelerate(network, evaluations=5, forecaster=profile, scheduler=scheduler)
    with pytest.raises(ValueError, match=r"the profile was made with network_config \w{16}, not \w{16}"):
        accelerate(Plain(5), evaluations=5, forecaster=profile, scheduler=scheduler)


def test_runs_of_two_kinds_are_no_profile(pipe):
    with record(pipe) as recorder:
        draw(pipe)
        draw(pipe, steps=STEPS + 1)
    with pytest.raises(ValueError, match=r"runs differ: steps 12, not 13\. Record those of one kind"):
        recorder.profile()


def test_what_cannot_be_recorded(pipe, network):
    with pytest.raises(ValueError, match="`scheduler` is needed to record a network"), record(network):
        pass
    two = WanPipeline(None, None, None, pipe.scheduler, transformer=network, transformer_2=transformer())
    with pytest.raises(ValueError, match="two networks that take turns cannot be recorded"), record(two):
        pass
    with record(pipe), pytest.raises(ValueError, match="is accelerated already"):
        accelerate(pipe, evaluations=5)
    accelerate(pipe, evaluations=5)
    with pytest.raises(ValueError, match="is accelerated already; call `restore`"), record(pipe):
        pass
    restore(pipe)
    with record(pipe) as recorder, pytest.raises(ValueError, match="no whole run was recorded: none was made"):
        recorder.profile()


def test_two_networks_that_take_turns_have_no_profile(profile, pipe, network):
    two = WanPipeline(None, None, None, pipe.scheduler, transformer=network, transformer_2=transformer())
    with pytest.raises(ValueError, match="is a profile, which serves one network"):
        accelerate(two, evaluations=5, forecaster=profile)


@pytest.mark.parametrize(
    ("scheduler", "evaluated"),
    [
        (DDPMScheduler(), "spread"),  # one forecast in a row: its limits go first
        (FlowMatchHeunDiscreteScheduler(), "own"),  # no noise levels that fall from step to step
        (LCMScheduler(), None),
    ],
)
def test_a_schedulers_limits_go_first(scheduler, evaluated):
    scheduler.set_timesteps(STEPS)
    steps = len(scheduler.timesteps)
    gram = np.diag(np.arange(1.0, steps + 1.0))
    traits = {"at": "output"} | _profiled.of_scheduler(scheduler) | _profiled.of_run(scheduler, steps)
    profile = merged([Recorded(gram, traits)])
    choice = _profiled.choose(profile, scheduler, steps, 5, at="output")
    if evaluated is None:
        assert choice.evaluate is None
        assert "every step is evaluated" in choice.why
        return
    gaps = np.diff(np.flatnonzero([*choice.evaluate, True]))
    expected = {"spread": gaps.max() <= 2, "own": np.array_equal(choice.evaluate, profile.schedule(5))}
    assert expected[evaluated]
    assert _profiled.choose(profile, scheduler, steps, 5, at="features").evaluate is None
