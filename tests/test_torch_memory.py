"""How features are held: known beforehand, within a bound, and told."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectral_forecast import Newton, make_plan, schedules, spectrum
from spectral_forecast.adapters._session.memory import Memory
from spectral_forecast.adapters._session.ring import TorchRing
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.adapters.torch import Accelerator
from spectral_forecast.benchmarks import digits, memory

STEPS = 12
FLUX, WAN, HUNYUAN = (1, 4096, 3072), (1, 32760, 5120), (1, 118800, 3072)  # what the last block gives
PLAN = make_plan(spectrum(), np.arange(50), schedules.growing(50), span=(0, 50))


@pytest.fixture(scope="module")
def network():
    return digits.transformer()


@pytest.fixture
def pipe(network):
    yield digits.pipeline(network)
    restore(network)


def draw(pipe):
    return digits.sample(pipe, [3, 8], steps=STEPS, guidance=2.0)


@pytest.mark.parametrize("shape", [FLUX, WAN, HUNYUAN], ids=["FLUX", "Wan", "HunyuanVideo"])
@given(bound=st.integers(0, 2**36), streams=st.integers(1, 4), fixed=st.booleans(), eight=st.booleans())
def test_video_size_rings_never_exceed_the_bound(shape, bound, streams, fixed, eight):
    """By shape, on the meta device: another device than the host, whose features the host can hold."""
    feature = torch.empty(shape, dtype=torch.bfloat16, device="meta")
    asked = Memory(bound, torch.float8_e4m3fn if eight else None)
    holding = asked.hold(PLAN, [feature], streams, fixed=fixed)
    held = TorchRing(holding.rows, dtype=asked.dtype)
    held.put(0, feature) if not eight else None
    row = feature.numel() * (1 if eight else 2)
    assert eight or held.nbytes == holding.rows * row
    assert (0 if holding.host else holding.rows * row * streams) <= bound
    assert bool(holding.why) == holding.host
    assert holding.host == (PLAN.memory(feature, dtype=asked.dtype) > bound // streams)


@pytest.mark.parametrize(("device", "host"), [("meta", True), ("cpu", False)])
def test_offloading_is_from_another_device_than_the_host(device, host):
    holding = Memory(offload=True).hold(PLAN, [torch.empty(2, 64, 32, device=device)], 1, fixed=False)
    assert (holding.rows, holding.host) == (PLAN.kept, host)


@given(bound=st.integers(0, 10**6), streams=st.integers(1, 4), fixed=st.booleans())
def test_on_the_host_fewer_are_held(bound, streams, fixed):
    feature = torch.empty(2, 64, 32)
    holding = Memory(bound).hold(PLAN, [feature], streams, fixed=fixed)
    if holding is None:
        assert bound // streams < (PLAN.memory(feature) if fixed else 2 * feature.nbytes)
        return
    assert not holding.host
    assert holding.rows * feature.nbytes * streams <= bound
    assert holding.rows == PLAN.kept or (holding.rows >= 2 and not fixed and str(holding.rows) in holding.why)
    assert (holding.rows + 1) * feature.nbytes > bound // streams or holding.rows == PLAN.kept


def test_fewer_rows_are_held_within_the_bound(pipe):
    options = {
        "evaluations": 6,
        "forecaster": spectrum(0.5, mode="free"),
        "schedule": schedules.even,
        "corrector": None,
    }
    accelerate(pipe, **options)
    draw(pipe)
    whole = report(pipe).peak_bytes
    row = 2 * 64 * 4 * 4
    restore(pipe)
    bound = 2 * 3 * row + 5
    assert bound < whole
    accelerate(pipe, **options, max_bytes=bound)
    draw(pipe)
    first = report(pipe)
    result = draw(pipe)
    told = report(pipe)
    assert first.peak_bytes == told.peak_bytes == 2 * 3 * row <= bound
    # Only the first run does not know how many branches there will be.
    assert any("begins anew, since 2 share `max_bytes`" in event for event in first.events)
    assert len(told.events) == 2
    assert all("3 features are held" in event for event in told.events)
    assert told.restarts == 0
    assert told.evaluations == 6
    assert torch.isfinite(result).all()
    assert torch.equal(draw(pipe), result)


def test_what_corrections_take_is_told(pipe):
    row = 2 * 64 * 4 * 4
    longest = []
    for corrector in ({}, {"corrector": None}):
        accelerate(pipe, evaluations=6, **corrector)
        draw(pipe)
        told = report(pipe)
        restore(pipe)
        assert told.peak_bytes == 2 * 2 * row
        gaps = np.diff([*told.evaluated["cond"], STEPS]) - 1
        longest.append((told.corrector_bytes / row, gaps.max()))
    (held, gap), (without, _) = longest
    assert gap + 2 <= held <= gap + 3  # the newest outputs, those of the skipped steps, and the one that arrives
    assert without <= 3


def test_outputs_are_taken_where_features_do_not_fit(pipe):
    accelerate(pipe, evaluations=6)
    expected = draw(pipe)
    restore(pipe)
    row = 2 * 64 * 4 * 4
    accelerate(pipe, evaluations=6, at="features", max_bytes=4 * row)
    with pytest.warns(UserWarning, match="features do not fit into `max_bytes`; outputs are forecast instead"):
        draw(pipe)
    assert torch.equal(draw(pipe), expected)
    told = report(pipe)
    assert (told.at, told.peak_bytes, told.restarts) == ("output", 4 * row, 0)


def test_nothing_is_forecast_where_nothing_fits(pipe):
    full = draw(pipe)
    accelerate(pipe, evaluations=6, max_bytes=100)
    assert torch.equal(draw(pipe), full)
    told = report(pipe)
    assert told.evaluations == STEPS
    assert told.peak_bytes == 0
    assert "nothing is forecast: what is to be kept does not fit" in told.events[0]


def test_a_plan_is_not_made_smaller(pipe):
    plan = make_plan(Newton(2), np.arange(STEPS), schedules.mask(STEPS, [0, 1, 2, 5, 9]))
    accelerate(pipe, plan, max_bytes=2 * 64 * 4 * 4 * 2 * 2)
    full = draw(pipe)
    assert report(pipe).evaluations == STEPS
    restore(pipe)
    assert torch.equal(draw(pipe), full)


@pytest.mark.parametrize("at", ["output", "features"])
def test_rows_of_another_dtype(pipe, at):
    known = {}
    results = {}
    for dtype in (None, torch.float64, torch.bfloat16, torch.float8_e4m3fn):
        accelerate(pipe, evaluations=6, at=at, dtype=dtype, corrector=None)
        results[dtype] = draw(pipe)
        known[dtype] = report(pipe).peak_bytes
        assert not report(pipe).events
        restore(pipe)
    assert known[torch.float64] == 2 * known[None] == 4 * known[torch.bfloat16] == 8 * known[torch.float8_e4m3fn]
    errors = {dtype: float((result - results[None]).norm() / results[None].norm()) for dtype, result in results.items()}
    assert errors[torch.float64] < 1e-6 < errors[torch.bfloat16] < 0.01
    assert errors[torch.bfloat16] < errors[torch.float8_e4m3fn] < 0.1


def test_features_of_a_large_range_fit_into_eight_bits():
    """Scaled by their largest number: 8 bits alone end at 448."""
    feature = 1e4 * torch.linspace(-1, 1, 2048).reshape(2, 1024)
    ring = TorchRing(2, dtype=torch.float8_e4m3fn)
    for row, factor in enumerate((1.0, 3.0)):
        ring.put(row, factor * feature)
    found = ring.sum(np.array([-1.0, 2.0]))
    assert (found - 5.0 * feature).norm() < 0.1 * (5.0 * feature).norm()
    misses = ring.misses(np.array([-1.0, 2.0]), 5.0 * feature)
    assert misses.missed.sum().sqrt() == pytest.approx(float((found - 5.0 * feature).norm()), rel=1e-3)
    assert ring.drawn(np.array([-1.0, 2.0]), torch.tensor([[1.0], [0.0]]))[1] == pytest.approx(ring.row(1)[1], rel=1e-3)


def test_an_accelerator_of_a_loop_of_ones_own():
    def model(x, t):
        return torch.sin(x) * t

    def sample(accelerated):
        x = torch.ones(2, 8)
        for t in np.linspace(1.0, 0.1, 20):
            x = x - 0.05 * accelerated(x, t)
        return accelerated.report

    options = {"evaluations": 8, "steps": 20, "forecaster": spectrum()}
    assert sample(Accelerator(model, **options)).peak_bytes > 3 * 64
    told = sample(Accelerator(model, **options, max_bytes=3 * 64))
    assert told.peak_bytes == 3 * 64
    assert sample(Accelerator(model, **options, dtype=torch.bfloat16, max_bytes=3 * 64)).peak_bytes == 6 * 32


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_bytes": -1}, ValueError, "`max_bytes` is -1; write the bytes"),
        ({"max_bytes": 1e9}, ValueError, "`max_bytes` is 1000000000.0"),
        ({"dtype": torch.int8}, TypeError, "`dtype` is torch.int8; write a floating dtype"),
        ({"dtype": "float16"}, TypeError, "`dtype` is 'float16'"),
        ({"offload": 1}, TypeError, "`offload` is 1; write True or False"),
    ],
)
def test_errors(pipe, options, error, message):
    with pytest.raises(error, match=message):
        accelerate(pipe, evaluations=6, **options)
    with pytest.raises(error, match=message):
        Accelerator(lambda x, _t: x, evaluations=6, steps=20, **options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="moves features between two devices")
@pytest.mark.parametrize("options", [{"offload": True}, {"max_bytes": 0}])
def test_features_are_held_by_the_host(options):
    network = digits.transformer().to("cuda")
    results = []
    for extra in ({}, options):
        pipe = accelerate(digits.pipeline(network), evaluations=6, at="features", **extra)
        results.append(draw(pipe))
        told = report(pipe)
        restore(pipe)
    assert told.host_bytes == told.peak_bytes > 0
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)


def test_the_page_is_the_one_that_its_numbers_give():
    """If not: ``python -m spectral_forecast.benchmarks.memory``."""
    rows = json.loads(memory.ROWS.read_text(encoding="utf-8"))
    written = Path(__file__).parents[1] / "docs" / "memory.md"
    assert written.read_text(encoding="utf-8") == memory.page(rows)
