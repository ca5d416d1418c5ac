"""Whole runs in the benchmark of speed: the networks are what they should be, and every way leaves no trace."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from diffusers import FluxTransformer2DModel

from spectral_forecast.adapters._session import Session
from spectral_forecast.benchmarks.speed import end_to_end
from spectral_forecast.benchmarks.speed.accelerations import ACCELERATIONS, Setting, first_block_changes
from spectral_forecast.benchmarks.speed.bench import Bench, Timed
from spectral_forecast.benchmarks.speed.networks import DEEP, LARGE, PUBLISHED, SMALL, Network

CPU = torch.device("cpu")


@pytest.mark.parametrize("network", [*LARGE, *DEEP, *PUBLISHED], ids=lambda network: network.name)
def test_the_architectures_are_as_large_as_published_and_take_their_inputs(network):
    """On the "meta" device: shapes are computed, and nothing is held."""
    meta = torch.device("meta")
    module = network.build(meta, torch.bfloat16)
    count = sum(part.numel() for part in module.parameters())
    assert network.parameters in (0, count)
    x = torch.empty(network.sample, dtype=torch.bfloat16, device=meta)
    with torch.no_grad():
        changing = network.inputs(x, torch.tensor(500.0, device=meta))
        out = module(**network.conditions(x), **changing, return_dict=False)[0]
    assert out.shape == x.shape
    assert out.dtype == x.dtype


def test_the_random_networks_are_the_same_each_time():
    config = {"num_layers": 1, "num_single_layers": 1, "num_attention_heads": 1}
    shallow = replace(DEEP[0], make=lambda: FluxTransformer2DModel(**config))
    first, second = (shallow.build(CPU, torch.bfloat16) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_wide_networks_blocks_have_parameters_in_common_and_are_blocks_of_their_own(monkeypatch):
    narrow = {"num_attention_heads": 1, "joint_attention_dim": 16, "pooled_projection_dim": 16}
    whole = FluxTransformer2DModel
    monkeypatch.setattr("diffusers.FluxTransformer2DModel", lambda **config: whole(**config | narrow))
    module = PUBLISHED[1].build(CPU, torch.bfloat16)
    for blocks, count in ((module.transformer_blocks, 19), (module.single_transformer_blocks, 38)):
        assert len({id(block) for block in blocks}) == count
        for parts in zip(*(block.parameters() for block in blocks), strict=True):
            assert len({part.data_ptr() for part in parts}) == 1
    assert all(part.device == CPU and part.dtype == torch.bfloat16 for part in module.parameters())
    assert len({part.data_ptr() for part in module.x_embedder.parameters()}) == 2


@pytest.fixture(scope="module")
def bench():
    return Bench(SMALL[0], CPU, torch.float32, 12)


def test_ways_leave_no_trace_and_spend_what_they_are_asked_for(bench):
    """All of them after each other, and the network is what it was; FirstBlockCache comes near only."""

    def forwards():
        return {name: vars(module).get("forward") for name, module in bench.module.named_modules()}

    names = list(forwards())
    with first_block_changes(bench.module) as residuals:
        bench.run()
    assert len(residuals) == 12
    for acceleration in (*ACCELERATIONS[::-1], *ACCELERATIONS):
        setting = Setting(12, 6, bench.scheduler, residuals)
        with bench.counted() as count, acceleration.put(bench.module, setting):
            bench.run()
        assert abs(count[0] - 6) <= ("FirstBlock" in acceleration.name), acceleration.name
    with bench.counted() as count:
        bench.run()
    assert count[0] == 12
    assert list(forwards()) == names  # in this order, which diffusers' caches go by
    assert not [name for name, forward in forwards().items() if "cache_dit" in getattr(forward, "__module__", "")]


def test_evaluations_are_timed_beside_a_run(bench, monkeypatch):
    """By a twin that shares the parameters and that nothing is put around; its time is not the run's."""
    pairs = zip(bench.module.parameters(), bench.twin.parameters(), strict=True)
    assert all(ours is twins for ours, twins in pairs)
    clock = [0.0]

    def after(function, seconds):
        def run(*args, **kwargs):
            clock[0] += seconds
            return function(*args, **kwargs)

        return run

    monkeypatch.setattr("spectral_forecast.benchmarks.speed.bench.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(bench.twin, "forward", after(bench.twin.forward, 100.0))
    monkeypatch.setattr(Network, "inputs", after(Network.inputs, 1.0))  # asked for at every step
    monkeypatch.setattr(Session, "call", after(Session.call, 10.0))
    with ACCELERATIONS[0].put(bench.module, Setting(12, 6, bench.scheduler)) as told:
        assert bench.beside() == (132.0, 6, 100.0, 10.0)
        assert told().evaluations == 6
    assert bench.run() == 12.0


def test_what_is_outside_of_the_blocks_is_timed(bench, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("spectral_forecast.benchmarks.speed.bench.time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def passes(seconds):
        return lambda *_: clock.__setitem__(0, clock[0] + seconds)

    inside = [*bench.twin.transformer_blocks, *bench.twin.single_transformer_blocks]
    outside = [bench.twin.x_embedder, bench.twin.proj_out]
    handles = [block.norm1.register_forward_hook(passes(1.0)) for block in bench.twin.transformer_blocks]
    handles += [block.norm.register_forward_hook(passes(1.0)) for block in bench.twin.single_transformer_blocks]
    handles += [layer.register_forward_hook(passes(0.5)) for layer in outside]
    try:
        assert bench.outside() == pytest.approx(1.0 / (1.0 + len(inside)))
    finally:
        for handle in handles:
            handle.remove()
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in inside)


@pytest.mark.parametrize(("noise", "ours"), [(0.0, 3), (0.2, 7)])
def test_our_own_runs_go_on_until_their_mean_is_known(monkeypatch, noise, ours):
    """Each way runs once more before, whose time does not count, however far off it is."""
    ran = []

    def beside(bench):
        ran.append(bench)
        late = 10.0 if len(ran) <= 2 else 1.0 + noise * (len(ran) % 4 < 2)
        return Timed(6.0 * late, 6, 1.0, 0.01)

    monkeypatch.setattr(Bench, "beside", beside)
    monkeypatch.setattr(end_to_end, "ACCELERATIONS", [ACCELERATIONS[0], ACCELERATIONS[2]])
    found = end_to_end.measure(SMALL[:1], CPU, torch.float32, budgets=(6,), steps=12, rounds=3, most=7)
    assert [(row["ours"], row["rounds"]) for row in found["rows"]] == [(True, ours), (False, 3)]
    assert len(ran) == 2 + ours + 3
    assert all(0.8 < row["share"] <= 1.0 for row in found["rows"])
    assert (found["rows"][0]["error"] > 0.0) == (noise > 0.0)


def test_compiled_runs_are_measured_too(monkeypatch):
    """Graphs are captured and run as they are, of ours at outputs only: capturing takes seconds."""
    monkeypatch.setattr(end_to_end, "ACCELERATIONS", ACCELERATIONS[:1])
    options = {"budgets": (6,), "steps": 10, "rounds": 1, "compiled": {SMALL[0].name: "eager"}}
    found = end_to_end.measure(SMALL[:1], CPU, torch.float32, **options)
    assert [(row["compiled"], row["evaluated"], row["events"]) for row in found["rows"]] == [
        (False, 6, []),
        (True, 6, []),
    ]


def test_without_a_compiler_the_other_runs_are_measured(monkeypatch):
    def fails(*_):
        raise RuntimeError("no compiler of C++\nat all")

    monkeypatch.setattr(end_to_end, "ACCELERATIONS", ACCELERATIONS[:1])
    options = {"budgets": (6,), "steps": 10, "rounds": 1, "compiled": {SMALL[0].name: fails}}
    found = end_to_end.measure(SMALL[:1], CPU, torch.float32, **options)
    assert [row["compiled"] for row in found["rows"]] == [False]
    (missing,) = found["left_out"]
    assert missing["network"] == SMALL[0].name
    assert missing["why"] == "RuntimeError: no compiler of C++"
