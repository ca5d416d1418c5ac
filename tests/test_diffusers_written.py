"""Calls that write keys and values into a cache are run, whatever the plan says; those that read one are forecast."""

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models.transformers.transformer_glm_image import GlmImageKVCache

from spectral_forecast import make_plan, schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.benchmarks.models import MODELS
from spectral_forecast.benchmarks.models._inputs import fixed

STEPS = 20
RULE = spectrum(0.5, mode="free")
EVEN = {"forecaster": RULE, "schedule": schedules.even, "corrector": None}
PLANNED = np.flatnonzero(schedules.even(STEPS, 8)).tolist()
LATE = sorted({1, 2, 3, *PLANNED} - {0})  # a stream that begins anew at step 1
WRITES = "it writes into its cache, and its feature is not kept"


class Block(torch.nn.Module):
    """A block that remembers what it sees of a reference, or reads that."""

    def __init__(self, *, in_place):
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)
        self.in_place = in_place

    def forward(self, hidden, layer, mode):
        if mode == "extract" and self.in_place:
            layer["keys"].copy_(hidden)
        elif mode == "extract":
            layer["keys"] = hidden.clone()
        return hidden + torch.tanh(self.inner(hidden + layer["keys"]))


class Remembering(torch.nn.Module):
    """A network that is called as Wan-Animate 2 is: once with a reference, then with the two branches of each step."""

    def __init__(self, *, in_place):
        super().__init__()
        self.blocks = torch.nn.ModuleList(Block(in_place=in_place) for _ in range(3))
        self.head = torch.nn.Linear(4, 4)

    def forward(self, sample, timestep, kv_cache, kv_cache_mode, negative=False):
        hidden = -sample if negative else sample
        hidden = hidden + timestep / 1000
        for block, layer in zip(self.blocks, kv_cache.layers, strict=True):
            hidden = block(hidden, layer, kv_cache_mode)
        return self.head(hidden)


class Cache:
    def __init__(self):
        self.layers = [{"keys": torch.zeros(1, 4)} for _ in range(3)]


@pytest.fixture(params=[False, True], ids=["new tensors", "in place"])
def network(request):
    torch.manual_seed(0)
    return Remembering(in_place=request.param).eval().requires_grad_(requires_grad=False)


@pytest.fixture(params=["output", "features"])
def at(request):
    return request.param


def scheduler():
    made = FlowMatchEulerDiscreteScheduler(shift=3.0)
    made.set_timesteps(STEPS)
    return made


def loop(call, clock, cache, *, extract_always=False):
    """One reference, then two branches a step."""
    sample = fixed(1, 4, seed=2)
    for step, time in enumerate(clock.timesteps):
        if step == 0 or extract_always:
            call("extract", step, torch.sin(fixed(1, 4)), time, cache, "extract")
        cond = call("cond", step, sample, time, cache, "cached")
        uncond = call("uncond", step, sample, time, cache, "cached", negative=True)
        sample = clock.step(uncond + 2.0 * (cond - uncond), time, sample, return_dict=False)[0]
    return sample


def direct(network):
    return lambda _stream, _step, *args, **kwargs: network(*args, **kwargs)


def by_hand(network, at):
    """Step 0 is evaluated and forgotten, since the order of the calls changes after it; then a plan from step 1 on."""
    evaluate = schedules.even(STEPS, 8)[1:]
    evaluate[:3] = True
    plan = make_plan(RULE, np.arange(1, STEPS), evaluate, span=(0, STEPS))
    runs = {"cond": plan.start(), "uncond": plan.start()}

    def call(stream, step, *args, **kwargs):
        if step == 0:
            return network(*args, **kwargs)
        run, kept = runs[stream], []
        if not run.evaluates(step - 1):
            forecast = run.forecast(step - 1)
            return network.head(forecast) if at == "features" else forecast
        handle = network.head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        result = network(*args, **kwargs)
        handle.remove()
        run.keep(step - 1, kept[0] if at == "features" else result)
        return result

    return loop(call, scheduler(), Cache())


def test_the_reference_is_read_once_and_the_steps_are_forecast(network, at):
    expected, cache, clock = by_hand(network, at), Cache(), scheduler()
    full = loop(direct(network), scheduler(), kept := Cache())
    accelerate(network, evaluations=8, scheduler=clock, at=at, **EVEN)
    result = loop(direct(network), clock, cache)
    told = report(network)
    assert (result - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert not torch.equal(result, full)
    assert all(torch.equal(one["keys"], other["keys"]) for one, other in zip(cache.layers, kept.layers, strict=True))
    assert told.evaluated == {"call 0": [0, *LATE], "call 1": [0, *LATE], "call 2": [0]}
    assert told.events == [
        f"step 0, stream call 0: {WRITES}",
        "step 1, stream call 0: restarted: was first seen in the middle of the run",
        "step 1, stream call 1: restarted: its input `negative` changed from False to True",
    ]
    assert told.at == at


def test_evaluating_every_step_changes_no_bit(network, at):
    full, clock = loop(direct(network), scheduler(), Cache()), scheduler()
    accelerate(network, evaluations=STEPS, scheduler=clock, at=at)
    assert torch.equal(loop(direct(network), clock, Cache()), full)


def test_a_cache_that_is_written_at_every_step_is_always_written(network, at):
    full = loop(direct(network), scheduler(), kept := Cache(), extract_always=True)
    cache, clock = Cache(), scheduler()
    accelerate(network, evaluations=8, scheduler=clock, at=at, **EVEN)
    result = loop(direct(network), clock, cache, extract_always=True)
    told = report(network)
    assert all(torch.equal(one["keys"], other["keys"]) for one, other in zip(cache.layers, kept.layers, strict=True))
    assert told.evaluated == {"call 0": list(range(STEPS)), "call 1": PLANNED, "call 2": PLANNED}
    assert sum(WRITES in event for event in told.events) == STEPS
    assert not torch.equal(result, full)


def test_glm_image_writes_once_and_reads_at_every_step(at):
    """The condition image is written before the loop; the conditional branch reads it, the other does without."""
    model = next(model for model in MODELS if model.name == "GlmImageTransformer2DModel")
    network = model.build()

    @torch.no_grad()
    def draw(clock):
        caches = GlmImageKVCache(num_layers=2)
        caches.set_mode("write")
        given = {key: value for key, value in model.inputs(0.0).items() if key != "hidden_states"}
        network(torch.sin(fixed(1, 4, 8, 8)), **given, kv_caches=caches)
        caches.next_sample()
        clock.set_timesteps(STEPS)
        sample = fixed(1, 4, 8, 8, seed=2)
        for time in clock.timesteps:
            branches = []
            for mode in ("read", "skip"):
                caches.set_mode(mode)
                given["timestep"] = time.expand(1) - 1  # as the pipeline does
                branches.append(network(sample, **given, kv_caches=caches, return_dict=False)[0])
            sample = clock.step(branches[1] + 2.0 * (branches[0] - branches[1]), time, sample, return_dict=False)[0]
        return sample

    full, clock = draw(FlowMatchEulerDiscreteScheduler(shift=3.0)), FlowMatchEulerDiscreteScheduler(shift=3.0)
    accelerate(network, evaluations=STEPS, scheduler=clock, at=at)
    assert torch.equal(draw(clock), full)
    restore(network)
    accelerate(network, evaluations=8, scheduler=clock, at=at, **EVEN)
    result = draw(clock)
    assert result.isfinite().all()
    assert not torch.equal(result, full)
    assert report(network).evaluated == {"call 0": PLANNED, "call 1": PLANNED}
    assert not report(network).events
    assert torch.equal(draw(clock), result)


class Handing(Remembering):
    """AnyFlow's causal network returns the cache besides its sample."""

    def forward(self, sample, timestep, kv_cache, kv_cache_mode):
        result = super().forward(sample, timestep, kv_cache, kv_cache_mode)
        return result, [layer["keys"] for layer in kv_cache.layers]


@torch.no_grad()
def test_a_cache_that_is_handed_on_is_not_kept():
    network, cache, clock = Handing(in_place=True).eval(), Cache(), scheduler()
    accelerate(network, evaluations=8, scheduler=clock, **EVEN)
    for time in clock.timesteps:
        _, keys = network(fixed(1, 4, seed=2), time, cache, "cached")
        assert all(one is layer["keys"] for one, layer in zip(keys, cache.layers, strict=True))
    assert report(network).peak_bytes == 7 * 4 * 4  # the weights do not reach further
