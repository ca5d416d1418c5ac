"""The accelerator of plain PyTorch denoisers, in loops by hand and under the samplers of k-diffusion."""

import copy
import gc
import importlib
import importlib.util
import itertools
import pickle
import sys
import types
import weakref

import numpy as np
import pytest
import torch

from spectral_forecast import Newton, make_plan, schedules, spectrum
from spectral_forecast.adapters.torch import Accelerator
from spectral_forecast.guarded import LIMIT

STEPS = 20
EVALUATED = (0, 1, 2, 5, 9, 14, 18, 19)
PLAN = make_plan(Newton(2), np.arange(STEPS), schedules.mask(STEPS, EVALUATED), span=(0, STEPS))


class Denoiser(torch.nn.Module):
    """The exact denoiser of Gaussian data of covariance C around m: m + C (C + sigma^2)^-1 (x - m)."""

    def __init__(self):
        super().__init__()
        self.sigma_min, self.calls = 0.02, []
        self.register_buffer("mean", torch.tensor([1.0, -2.0, 0.5]))
        self.register_buffer("variance", torch.tensor([0.3, 1.0, 4.0]))

    def forward(self, x, sigma, shift=0.0):
        self.calls.append(float(sigma.max()))
        variance = self.variance / (self.variance + sigma[:, None] ** 2)
        return self.mean + shift + variance * (x - self.mean)


class Resumable(Denoiser):
    """The same with a head: the feature is what the variance makes of x."""

    def forward(self, x, sigma, feature=None):
        if feature is None:
            self.calls.append(float(sigma.max()))
            feature = {"moved": x - self.mean, "scale": self.variance.expand_as(x)}
        scale = feature["scale"] / (feature["scale"] + sigma[:, None] ** 2)
        return self.mean + scale * feature["moved"], feature


class Counted:
    """What the accelerator does, by counting calls: for one run in which nothing unexpected happens."""

    def __init__(self, model, plan, limit=None):
        self.model, self.run, self.step = model, plan.start(limit=limit), -1

    def __call__(self, x, sigma):
        self.step += 1
        if not self.run.evaluates(self.step):
            return self.run.forecast(self.step)
        denoised = self.model(x, sigma)
        self.run.keep(self.step, denoised)
        return denoised


@pytest.fixture
def model():
    return Denoiser().double()


@pytest.fixture
def noise():
    return 10.0 * torch.randn(4, 3, dtype=torch.float64, generator=torch.manual_seed(0))


@pytest.fixture(scope="module")
def sampling():
    """k_diffusion.sampling without the rest of its package, whose imports (torchvision, wandb) it does not use."""
    names = ("k_diffusion", "torchvision", "torchvision.transforms")
    before = {name: sys.modules.get(name) for name in names}
    package = types.ModuleType("k_diffusion")
    package.__path__ = list(importlib.util.find_spec("k_diffusion").submodule_search_locations)
    stand_in = types.ModuleType("torchvision.transforms")
    stand_in.functional = None
    sys.modules.update({"k_diffusion": package, "torchvision": stand_in, "torchvision.transforms": stand_in})
    yield importlib.import_module("k_diffusion.sampling")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("k_diffusion", "torchvision")]:
        del sys.modules[name]
    sys.modules.update({name: module for name, module in before.items() if module is not None})


def euler(model, x, sigmas, **options):
    for sigma, following in itertools.pairwise(sigmas):
        denoised = model(x, sigma.expand(len(x)), **options)
        x = x + (x - denoised) / sigma * (following - sigma)
    return x


def sigmas(steps=STEPS):
    return torch.cat([torch.logspace(1, -1.5, steps, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])


def test_agrees_with_a_loop_by_hand(model, noise):
    expected = euler(Counted(model, PLAN), noise, sigmas())
    model.calls.clear()
    accelerated = Accelerator(model, PLAN)
    assert torch.equal(euler(accelerated, noise, sigmas()), expected)
    assert model.calls == [float(sigmas()[step]) for step in EVALUATED]
    told = accelerated.report
    assert tuple(told.evaluated["call 0"]) == EVALUATED
    assert told.events == []
    assert told.line.startswith("8/20 evaluated, error ~")


def test_running_twice_is_running_once(model, noise):
    accelerated = Accelerator(model, evaluations=9, steps=STEPS, forecaster=spectrum())
    first = euler(accelerated, noise, sigmas())
    assert torch.equal(euler(accelerated, noise, sigmas()), first)
    assert (accelerated.report.runs, accelerated.report.evaluations) == (2, 9)


def test_an_aborted_run_poisons_nothing(model, noise):
    accelerated = Accelerator(model, PLAN)
    first = euler(accelerated, noise, sigmas())
    euler(accelerated, noise, sigmas()[:7])
    assert torch.equal(euler(accelerated, noise, sigmas()), first)
    euler(accelerated, noise, sigmas()[:7])
    accelerated.reset()
    assert torch.equal(euler(accelerated, 2 * noise, sigmas()), euler(Counted(model, PLAN), 2 * noise, sigmas()))


def test_every_step_evaluated_changes_no_bit(model, noise):
    plan = make_plan(Newton(1), np.arange(STEPS), np.ones(STEPS, dtype=bool))
    assert torch.equal(euler(Accelerator(model, plan), noise, sigmas()), euler(model, noise, sigmas()))


def test_a_function_is_no_network_that_processes_share(noise):
    def sample():
        return euler(Accelerator(lambda x, sigma: x / (1.0 + sigma[:, None] ** 2), PLAN), noise, sigmas())

    alone = sample()
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        assert torch.equal(sample(), alone)
    finally:
        torch.distributed.destroy_process_group()


def test_streams_are_told_apart_by_order(model, noise):
    accelerated = Accelerator(model, PLAN, streams=2)
    guided, x = [], noise
    for sigma in sigmas()[:-1]:
        both = [accelerated(x, sigma.expand(4), shift=shift) for shift in (0.0, 3.0)]
        guided.append(both[1] - both[0])
    # The field moves the data by the shift whatever the noise, so the branches' difference is constant: kept exactly.
    assert all(torch.allclose(difference, torch.full_like(x, 3.0), atol=1e-12) for difference in guided)
    assert accelerated.report.evaluated == {"call 0": [*EVALUATED], "call 1": [*EVALUATED]}


def test_features_of_a_resumable_model(noise):
    model = Resumable().double()
    accelerated = Accelerator(model, PLAN, at="features")
    assert accelerated(noise, sigmas()[0].expand(4)).shape == noise.shape
    accelerated.reset()
    model.calls.clear()
    sample = euler(accelerated, noise, sigmas())
    assert len(model.calls) == len(EVALUATED)
    run, x = [PLAN.start(), PLAN.start()], noise
    for step, (sigma, following) in enumerate(itertools.pairwise(sigmas())):
        given = sigma.expand(4)
        if PLAN.evaluate[step]:
            denoised, feature = model(x, given)
            run[0].keep(step, feature["moved"])
            run[1].keep(step, feature["scale"])
        else:
            denoised, _ = model(x, given, feature={"moved": run[0].forecast(step), "scale": run[1].forecast(step)})
        x = x + (x - denoised) / sigma * (following - sigma)
    assert torch.equal(sample, x)
    assert accelerated.report.at == "features"


def test_a_model_that_is_not_resumable_is_refused(model, noise):
    with pytest.raises(ValueError, match='returned Tensor; with `at="features"`'):
        Accelerator(model, PLAN, at="features")(noise, sigmas()[0].expand(4))

    def forgetful(x, _sigma, feature=None):
        return (x + 1.0 if feature is None else feature), x

    with pytest.raises(ValueError, match="forgetful gives another output"):
        Accelerator(forgetful, PLAN, at="features")(noise, sigmas()[0].expand(4))


@pytest.mark.parametrize("resumed", [lambda x: x.float(), lambda x: (x, x), lambda x: x[:1], lambda _: "nothing"])
def test_a_model_that_is_resumed_in_another_form_is_refused(noise, resumed):
    def changing(x, _sigma, feature=None):
        return (x if feature is None else resumed(x)), x

    with pytest.raises(ValueError, match="changing gives another output"):
        Accelerator(changing, PLAN, at="features")(noise, sigmas()[0].expand(4))


def test_whole_numbers_are_not_forecast(noise):
    accelerated = Accelerator(lambda x, _sigma: x.long(), PLAN)
    for sigma in sigmas()[:-1]:
        assert torch.equal(accelerated(noise, sigma.expand(4)), noise.long())
    told = accelerated.report
    assert told.forecast == {"call 0": []}
    assert told.events == [
        "step 0, stream call 0: nothing is forecast: the network's result holds no floating-point tensors alone"
    ]


# What each sampler calls in a run of n sigmas, the last of them followed by zero.
DETERMINISTIC = {
    "sample_euler": lambda n: n,
    "sample_heun": lambda n: 2 * n - 1,
    "sample_dpm_2": lambda n: 2 * n - 1,
    "sample_lms": lambda n: n,
    "sample_dpmpp_2m": lambda n: n,
}


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_samplers_of_k_diffusion(sampling, model, noise, name):
    sample, levels = getattr(sampling, name), sampling.get_sigmas_karras(STEPS, 0.05, 10.0).double()
    full = sample(model, noise, levels, disable=True)
    calls = len(model.calls)
    assert calls == DETERMINISTIC[name](STEPS)
    everything = Accelerator(model, evaluations=calls, steps=calls)
    assert torch.equal(sample(everything, noise, levels, disable=True), full)
    model.calls.clear()
    accelerated = Accelerator(model, evaluations=calls // 2, steps=calls)
    first = sample(accelerated, noise, levels, disable=True)
    assert len(model.calls) == calls // 2
    assert accelerated.report.events == []
    assert torch.equal(sample(accelerated, noise, levels, disable=True), first)
    evaluate = schedules.even(calls, calls // 2)
    plan = make_plan(Newton(1), np.arange(calls), evaluate, span=(0, calls))
    assert torch.equal(sample(Counted(model, plan, limit=LIMIT), noise, levels, disable=True), first)


@pytest.mark.parametrize(
    "name", ["sample_euler_ancestral", "sample_dpmpp_2s_ancestral", "sample_dpmpp_sde", "sample_dpmpp_2m_sde"]
)
def test_samplers_that_add_noise_run_unchanged_when_all_is_evaluated(sampling, model, noise, name):
    levels = sampling.get_sigmas_karras(STEPS, 0.05, 10.0).double()

    def sample(model):
        torch.manual_seed(1)
        options = {"noise_sampler": lambda *_: torch.randn_like(noise)}
        return getattr(sampling, name)(model, noise, levels, disable=True, **options)

    full = sample(model)
    calls = len(model.calls)
    accelerated = Accelerator(model, evaluations=calls, steps=calls)
    assert torch.equal(sample(accelerated), full)
    assert accelerated.report.events == []


def test_a_sampler_that_turns_back_is_evaluated_rightly(sampling, model, noise):
    # DPM-Solver's step-size control rejects steps and tries them again: each time a run begins anew.
    full = sampling.sample_dpm_adaptive(model, noise, 0.05, 10.0, disable=True)
    accelerated = Accelerator(model, evaluations=1000, steps=1000)
    assert torch.equal(sampling.sample_dpm_adaptive(accelerated, noise, 0.05, 10.0, disable=True), full)


@pytest.mark.parametrize("kind", ["batch", "dtype"])
def test_a_changed_form_restarts(model, noise, kind):
    accelerated = Accelerator(model, PLAN)
    euler(accelerated, noise, sigmas()[:8])
    other = noise[:2] if kind == "batch" else noise.float()
    assert torch.isfinite(accelerated(other, sigmas()[7].expand(len(other)))).all()
    assert accelerated.report.restarts == 1
    assert "its input `x` changed from" in accelerated.report.events[0]


def test_more_calls_than_planned_are_evaluated(model, noise):
    accelerated = Accelerator(model, PLAN)
    levels = torch.linspace(10.0, 0.1, STEPS + 4, dtype=torch.float64)
    model.calls.clear()
    euler(accelerated, noise, levels)
    assert len(model.calls) == len(EVALUATED) + 3
    assert "the plan has 20 steps and is over" in accelerated.report.events[0]


def test_a_value_that_is_not_finite_is_not_kept(model, noise):
    accelerated = Accelerator(model, PLAN)
    levels = sigmas()
    for step, sigma in enumerate(levels[:-1]):
        x = noise * float("nan") if step == 5 else noise
        result = accelerated(x, sigma.expand(4))
        assert torch.isfinite(result).all() == (step != 5)
    assert "not finite" in accelerated.report.events[0]


def test_features_are_let_go(model, noise):
    accelerated = Accelerator(model, PLAN)
    euler(accelerated, noise, sigmas()[:8])
    kept = [weakref.ref(run._ring.rows) for run in accelerated._session.streams["call 0"].runs]
    assert len(kept) == 1
    euler(accelerated, noise, sigmas())
    gc.collect()
    assert [ref() for ref in kept] == [None]
    assert not accelerated._session.streams


def test_reads_like_the_model(model):
    accelerated = Accelerator(model, PLAN)
    assert accelerated.sigma_min == model.sigma_min
    assert repr(accelerated) == "<Accelerator of Denoiser: 0/0 evaluated>"
    with pytest.raises(AttributeError, match="no_such_thing"):
        accelerated.no_such_thing  # noqa: B018


def test_copies_are_apart(model, noise):
    accelerated = Accelerator(model, PLAN)
    first = euler(accelerated, noise, sigmas())
    for other in (copy.deepcopy(accelerated), pickle.loads(pickle.dumps(accelerated))):
        assert torch.equal(euler(other, noise, sigmas()), first)
        assert (other.report.runs, accelerated.report.runs) == (2, 1)
        assert other.model is not model


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "exactly one"),
        ({"plan": PLAN, "evaluations": 4}, ValueError, "exactly one"),
        ({"evaluations": 4}, ValueError, "`steps` goes with `evaluations`"),
        ({"plan": PLAN, "steps": 4}, ValueError, "`steps` goes with `evaluations`"),
        ({"evaluations": 0, "steps": 4}, ValueError, "`evaluations` is 0"),
        ({"evaluations": 2, "steps": 2.5}, ValueError, "`steps` is 2.5"),
        ({"plan": PLAN, "streams": 0}, ValueError, "`streams` is 0"),
        ({"plan": PLAN, "at": "blocks"}, ValueError, '`at` is \'blocks\'; write "output" or "features"'),
        ({"plan": 14}, TypeError, "`plan` is int"),
        ({"evaluations": 2, "steps": 4, "forecaster": "newton"}, TypeError, "`forecaster` is str"),
        ({"model": 3, "plan": PLAN}, TypeError, "`model` is int"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Accelerator(**{"model": Denoiser(), **arguments})
