"""Features in the host's memory: the next forecast is made ahead of time, and is none other than the one asked for."""

import threading
import time

import numpy as np
import pytest
import torch

from spectral_forecast import Newton, make_plan, schedules
from spectral_forecast.adapters._session import ring as rings
from spectral_forecast.adapters._session.host import HostRing
from spectral_forecast.adapters._session.ring import TorchRing
from spectral_forecast.ring import Ring

STEPS = 12
MASK = schedules.mask(STEPS, [0, 1, 2, 6, 7, 11])
PLAN = make_plan(Newton(2), np.arange(STEPS), MASK)
W = np.array([2.0, -1.5])


def feature(step, shape=(3, 4, 5), dtype=torch.bfloat16):
    generator = torch.Generator().manual_seed(step)
    return (torch.randn(shape, generator=generator) * 0.1 + step).to(dtype)


def forecasts(ring, limit, small, **kinds):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rings, "SMALL", small)
        run = PLAN.start(limit=limit, ring=ring, check_finite=False)
        made = {}
        for step in range(STEPS):
            if run.evaluates(step):
                run.keep(step, feature(step, **kinds))
            else:
                made[step] = run.forecast(step)
        return made


@pytest.fixture
def threads(monkeypatch):
    """In which threads sums were made."""
    names, made = [], HostRing._sent

    def noted(self, weights):
        names.append(threading.current_thread().name)
        return made(self, weights)

    monkeypatch.setattr(HostRing, "_sent", noted)
    return names


@pytest.mark.parametrize("limit", [None, 0.4])
@pytest.mark.parametrize("small", [0, 2**18], ids=["large", "small"])
@pytest.mark.parametrize("shape", [(3, 64, 5), (7,), (1, 2, 64)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_forecasts_are_those_of_a_ring_that_stays(limit, small, shape, dtype):
    here, away = (
        forecasts(ring, limit, small, shape=shape, dtype=dtype) for ring in (TorchRing(PLAN.kept), HostRing(PLAN.kept))
    )
    assert here.keys() == away.keys() == set(np.flatnonzero(~MASK).tolist())
    for step in here:
        torch.testing.assert_close(away[step], here[step], rtol=0, atol=0)


@pytest.mark.parametrize("limit", [None, 0.4])
def test_all_but_the_first_forecast_of_a_gap_are_made_ahead(threads, limit):
    forecasts(HostRing(PLAN.kept), limit, 2**18)
    assert threads.count("spectral_forecast: the next forecast") == 4  # of steps 4, 5, 9 and 10
    if limit is None:  # or errors are measured, too
        assert len(threads) == 6


def ring(*values):
    made = HostRing(len(values))
    for row, value in enumerate(values):
        made.put(row, torch.full((2, 3), value))
    return made


def test_what_differs_from_what_was_expected_is_made_anew(threads):
    kept = ring(1.0, 3.0)
    kept.ahead(W)
    assert kept.sum(W + 1.0).unique().tolist() == [3.0 - 1.5]
    assert len(threads) == 2
    assert kept.sum(W).unique().tolist() == [2.0 - 4.5]
    assert len(threads) == 3, "what was made ahead is not kept"


def test_another_doubt_is_heeded():
    """The adapters tell a run what the sampler makes of its forecasts after it has begun with the next."""
    run, others = (PLAN.start(limit=0.4, ring=kind(PLAN.kept), check_finite=False) for kind in (HostRing, TorchRing))
    for each in (run, others):
        for step in range(3):
            each.keep(step, feature(step, dtype=torch.float32))
    first = run.forecast(3)
    run.doubt = others.doubt = 5.0 * run.doubt
    assert (run.forecast(4) == others.forecast(4)).all()
    assert (first != others.forecast(3)).any()


def test_a_row_is_not_overwritten_while_it_is_read(monkeypatch):
    kept, made = ring(1.0, 3.0), rings.small_sum

    def slow(rows, weights):
        before = rows.clone()
        time.sleep(0.05)
        assert torch.equal(before, rows)
        return made(rows, weights)

    monkeypatch.setattr(rings, "small_sum", slow)
    kept.ahead(W)
    kept.put(0, torch.full((2, 3), 5.0))
    assert kept.sum(W).unique().tolist() == [10.0 - 4.5], "and what was made of it does not count"


def test_an_error_is_that_of_whoever_asks(monkeypatch):
    kept, made = ring(1.0, 3.0), rings.small_sum

    def fails(rows, weights):
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError("no room")
        return made(rows, weights)

    monkeypatch.setattr(rings, "small_sum", fails)
    kept.ahead(W)
    with pytest.raises(MemoryError, match="no room"):
        kept.sum(W)
    assert kept.sum(W).unique().tolist() == [2.0 - 4.5], "the next one is made as ever"
    kept.ahead(W)
    kept.put(0, torch.full((2, 3), 5.0))  # nobody asked


@pytest.mark.parametrize("limit", [None, 0.4])
def test_a_ring_is_told_of_what_is_forecast_from_the_same_features(limit):
    class Told(Ring):
        eager = True
        heard = ()

        def ahead(self, weights, part=None):
            self.heard = (*self.heard, weights.tolist())

    told = Told(PLAN.kept)
    run = PLAN.start(limit=limit, ring=told)
    for step in range(STEPS):
        if not run.evaluates(step):
            run.forecast(step)
            continue
        if step in (6, 11):
            run.forecast(step)  # of an evaluated step, before it is kept: the one after it needs what is not there yet
        run.keep(step, np.array([float(step)]))
    assert list(told.heard) == [PLAN.weights[step].tolist() for step in (4, 5, 9, 10)]


def test_sums_are_made_on_the_host_whatever_the_default_device(monkeypatch):
    monkeypatch.setattr(rings, "SMALL", 0)
    for shape in ((2, 64), (2, 5)):  # by blocks and by chunks
        for weights in (W, np.array([2.0, -1.0]), np.zeros(2)):
            kept = TorchRing(2)
            for row in range(2):
                kept.put(row, torch.full(shape, 1.0 + row, dtype=torch.bfloat16))
            with torch.device("meta"):
                assert kept.sum(weights).unique().tolist() == [weights @ [1.0, 2.0]]


def test_a_row_takes_what_comes_from_another_device_in_one_piece():
    """Into memory with gaps it would be copied twice, and not from where it is pinned."""
    host, own = HostRing(5), TorchRing(5)
    for held in (host, own):
        held.like = torch.empty(()).expand(2, 8192)
    assert host._rows_for(torch.empty(2, 8192, device="meta")).stride() == (2 * 8192, 8192, 8192, 1)
    assert own._rows_for(torch.empty(2, 8192)).stride() == (256, 32 * 5 * 256, 5 * 256, 1)
