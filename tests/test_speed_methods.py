"""What the benchmark of speed times is what it says: published arithmetic, our own sums, and calls in turns."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import spectral_forecast as sf
from spectral_forecast.benchmarks.speed import contraction, machine, planning, timing
from spectral_forecast.benchmarks.speed.contraction import measure
from spectral_forecast.benchmarks.speed.methods import OURS, OWN
from spectral_forecast.benchmarks.speed.peers import PEERS
from spectral_forecast.benchmarks.speed.restated import HiCache, Spectrum
from spectral_forecast.benchmarks.speed.state import Cell, State
from spectral_forecast.benchmarks.speed.timing import Task, interleaved

CPU = torch.device("cpu")
TIMES = -1.0 + 0.04 * np.arange(9)


def curve(times):
    """Smooth features, one row a time."""
    return torch.cos(torch.outer(torch.as_tensor(times), torch.linspace(0.5, 3.0, 40, dtype=torch.float64)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.2)])
def test_the_released_arithmetic_is_spectrums(dtype, tolerance):
    released = Spectrum(curve(TIMES).to(dtype), TIMES)
    released.fit()
    expected = sf.Chebyshev(4, ridge=0.1).weights(TIMES, -0.6) @ curve(TIMES).numpy()
    forecast = released.predict(-0.6)
    assert forecast.dtype == dtype
    np.testing.assert_allclose(forecast.double().numpy(), expected, atol=tolerance)


def test_joining_a_feature_drops_the_oldest():
    released = Spectrum(curve(TIMES), TIMES)
    released.keep(curve([-0.6])[0], -0.6)
    assert torch.equal(released.matrix, torch.cat([curve(TIMES)[1:], curve([-0.6])]))
    assert released.times == [*TIMES[1:], -0.6]


@pytest.mark.parametrize("order", [1, 2])
def test_the_restated_hicache_is_our_hermite(order):
    steps, target = [0, 1, 2, 5, 9], 12
    cache = HiCache(order)
    for step, feature in zip(steps, curve(np.array(steps) / 10), strict=True):
        cache.update(feature, step)
    expected = sf.Hermite(order, step=1.0).weights(steps, target) @ curve(np.array(steps) / 10).numpy()
    np.testing.assert_allclose(cache.predict(target).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_every_contraction_of_ours_with_all_weights_is_the_same_sum(dtype):
    state = State(Cell(1000, 6, dtype), CPU)
    expected = state.weights @ state.ring.double().numpy()
    product = next(method for method in PEERS if method.name.startswith("BLAS: weights"))
    contractions = [method for method in OWN if method.what == "forecast" and method.moves.rings]
    for method in [*contractions, product]:
        np.testing.assert_allclose(method.make(state).run().double().numpy(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("method", [*OWN, *PEERS], ids=lambda method: method.key)
def test_every_method_can_be_called_again_and_again(method):
    state = State(Cell(1000, 6, "bfloat16"), CPU)
    task = method.make(state)
    for _ in range(4):
        if task.before is not None:
            task.before()
        found = task.run()
        if method.what == "forecast":
            found = found[0] if isinstance(found, list) else found
            assert found.shape == (1000,)
            assert torch.isfinite(found).all()


def test_tasks_take_turns_and_what_comes_before_is_not_repeated():
    calls = []
    tasks = {
        "a": Task(lambda: calls.append("a"), before=lambda: calls.append("before")),
        "b": Task(lambda: calls.append("b"), before=lambda: None),
    }
    times = interleaved(tasks, CPU, seconds=0.0, between=lambda: calls.append("between"), least=2)
    assert calls == ["before", "a", "b", *2 * ["between", "before", "a", "between", "b"]]  # the first is not counted
    assert [len(own.seconds) for own in times.values()] == [2, 2]


def test_what_takes_long_has_fewer_rounds(monkeypatch):
    now = [0.0]

    def takes(seconds):
        def run():
            now[0] += seconds

        return Task(run)

    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    tasks = {"short": takes(0.1), "long": takes(2.0)}
    times = interleaved(tasks, CPU, seconds=3.0, beside=takes(0.5), least=2, most=4)
    assert [own.seconds for own in times.values()] == [pytest.approx([0.1] * 4), pytest.approx([2.0] * 2)]
    assert [len(own.beside) for own in times.values()] == [4, 2]
    assert times["long"].over(times["short"]) == pytest.approx(20.0)  # of the rounds that both have


def test_what_takes_new_memory_is_run_until_it_does_not(monkeypatch):
    """Eight times at the most: the system's new pages take longer than many an operation."""
    pages, calls = [0], {"settles": 0, "never": 0}

    def takes(name, most):
        def run():
            calls[name] += 1
            pages[0] += 10**5 if calls[name] <= most else 10

        return Task(run, before=lambda: None)

    monkeypatch.setattr(timing, "_new_pages", lambda: pages[0])
    interleaved({"settles": takes("settles", 3), "never": takes("never", 10**6)}, CPU, seconds=0.0, least=2)
    assert calls == {"settles": 4 + 2, "never": 8 + 2}


def test_each_cell_has_a_process_of_its_own_with_large_pages(monkeypatch):
    """One after the other; what is set for them is not left behind."""
    began = []

    class Pool:
        def __init__(self, workers, context):
            began.append((workers, context.get_start_method(), os.environ.get(machine.PAGES)))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, function, cell, keys, *_):
            assert function is contraction._cell
            row = {"method": "any", "what": "forecast", "dtype": cell.dtype, "size": cell.size, "keys": keys}
            return SimpleNamespace(result=lambda: ([row], 1.0))

    monkeypatch.setattr(contraction.concurrent.futures, "ProcessPoolExecutor", Pool)
    monkeypatch.delenv(machine.PAGES, raising=False)
    cells = (Cell(10, 2, "bfloat16"), Cell(20, 2, "bfloat16"))
    for before in (None, "0"):
        if before is not None:
            monkeypatch.setenv(machine.PAGES, before)
        found = measure(cells, CPU, cap=2**20, seconds=0.0)
        assert [row["size"] for row in found["rows"]] == [10, 20]
        assert all(f"forecast: {OURS}" in row["keys"] for row in found["rows"])
        assert os.environ.get(machine.PAGES) == before
    assert began == [(1, "spawn", "1")] * 4


def test_what_is_too_large_or_too_slow_is_left_out_and_said():
    cells = (Cell(1000, 2, "bfloat16"), Cell(10**9, 14, "bfloat16"))
    found = measure(cells, CPU, cap=2**20, seconds=0.0, copy=2**16)
    assert {row["size"] for row in found["rows"]} == {1000}
    (left_out,) = found["left_out"]
    assert (left_out["size"], left_out["method"]) == (10**9, "all")
    assert "26.1 GiB" in left_out["why"]


def test_of_a_large_ring_the_contraction_alone_is_timed(monkeypatch):
    monkeypatch.setitem(contraction.ALONE, "cpu", 3000.0)
    cells = (Cell(10, 2, "bfloat16"), Cell(1000, 2, "bfloat16"))
    found = measure(cells, CPU, cap=2**20, seconds=0.0, copy=2**16)
    assert {row["method"] for row in found["rows"] if row["size"] == 1000} == {OURS}
    assert len({row["method"] for row in found["rows"] if row["size"] == 10}) > 5
    assert [(one["size"], one["method"]) for one in found["left_out"]] == [(1000, f"all but {OURS}")]


def test_a_copy_is_as_large_as_a_large_ring():
    state = State(Cell(1000, 4, "bfloat16"), CPU)
    source, target = contraction._halves(state, 3000)
    assert (source.nbytes, target.nbytes) == (4000, 4000)
    target.copy_(source)
    assert torch.equal(state.memory[4000:], state.memory[:4000])
    source, target = contraction._halves(state, 5000)
    assert source.nbytes == target.nbytes == 5000


def test_planning_is_timed_for_every_length():
    rows = planning.measure(steps=(10, 20), seconds=0.0)
    assert {row["steps"] for row in rows} == {0, 10, 20}
    assert all(row["seconds"] > 0.0 for row in rows)
