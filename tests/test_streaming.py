"""Plans in which a few accumulated rows take the place of kept features."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import FORECASTERS, runs

from spectral_forecast import (
    AnalyticKernel,
    Chebyshev,
    Corrector,
    Newton,
    make_plan,
    schedules,
    spectrum,
    streamed,
)

GROWING = schedules.growing(50)


def forecasts(plan, feature):
    run, found = plan.start(), {}
    for step in range(plan.steps):
        if step:
            found[step] = run.forecast(step)
        if run.evaluates(step):
            run.keep(step, feature(step))
    return found


def wave(step):
    return np.array([[np.cos(0.3 * step), 1.0], [np.sin(0.1 * step), 0.1 * step]])


@pytest.mark.parametrize("rule", FORECASTERS, ids=repr)
@given(drawn=runs())
@settings(max_examples=30)
def test_forecasts_are_those_of_the_plan(rule, drawn):
    times, evaluate = drawn
    plan = make_plan(rule, times, evaluate)
    short = streamed(plan)
    size = 1.0 + np.abs(plan.weights).sum(axis=1).max()
    assert short.kept <= plan.kept
    assert short.defect < 1e-10 * size
    expected, found = (forecasts(one, wave) for one in (plan, short))
    largest = max(np.abs(wave(step)).max() for step in range(times.size))
    for step, value in found.items():
        assert np.abs(value - expected[step]).max() < 1e-10 * size * largest


@pytest.mark.parametrize(("steps", "interval"), [(50, 3), (400, 3)])
@pytest.mark.parametrize("free", [0, 1, 2])
@pytest.mark.parametrize("degree", [0, 2, 4, 6])
def test_a_ridge_fit_keeps_one_row_more_than_its_degree(steps, interval, degree, free):
    rule = Chebyshev(degree, ridge=0.1, free=min(free, degree + 1))
    evaluate = schedules.every(steps, interval, warmup=3)
    plan = make_plan(rule, np.arange(steps), evaluate, span=(0, steps))
    assert plan.kept > steps / 4 or degree == 0
    assert streamed(plan).kept == degree + 1
    assert streamed(plan).defect < 1e-11
    blend = make_plan(0.5 * rule + 0.5 * Newton(1), np.arange(steps), evaluate, span=(0, steps))
    assert streamed(blend).kept <= degree + 3


def test_updates_amplify_nothing():
    """Rows are orthonormal combinations of features: an update's own rows are orthonormal, too."""
    plan = streamed(make_plan(spectrum(0.5), np.arange(400), schedules.every(400, 3, warmup=3), span=(0, 400)))
    for update in plan.update[plan.evaluate]:
        product = update @ update.T
        size = np.linalg.matrix_rank(update)
        assert np.abs(product[:size, :size] - np.eye(size)).max() < 1e-12
        assert not product[size:].any()
        assert not np.tril(update[:, :-1], -1).any()


@given(rows=st.integers(1, 5), seed=st.integers(0, 99))
def test_fewer_rows_are_off_by_the_defect_at_most(rows, seed):
    plan = make_plan(AnalyticKernel(), np.arange(50), GROWING, span=(0, 50))
    short, whole = streamed(plan, rows=rows), streamed(plan)
    assert short.kept == rows < whole.kept
    assert whole.defect < short.defect
    values = np.random.default_rng(seed).uniform(-1, 1, (50, 3))
    expected, found = (forecasts(one, lambda step: values[step]) for one in (plan, short))
    worst = max(np.abs(found[step] - expected[step]).max() for step in found)
    assert worst <= short.defect + 1e-12


def test_the_defect_is_attained():
    plan = make_plan(spectrum(), np.arange(50), GROWING, span=(0, 50))
    short = streamed(plan, rows=2)
    units = np.eye(50)
    expected, found = (forecasts(one, lambda step: units[step]) for one in (plan, short))
    assert max(np.abs(found[step] - expected[step]).sum() for step in found) == pytest.approx(short.defect)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_on_tensors(dtype):
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(3, 2, 500, generator=generator)

    def feature(step):
        return (base[0] + 0.02 * step * base[1] + np.cos(0.1 * step) * base[2]).to(dtype)

    plan = make_plan(spectrum(0.5, mode="free"), np.arange(50), GROWING, span=(0, 50))
    short = streamed(plan)
    run = short.start()
    run.keep(0, feature(0))
    assert run.nbytes == short.memory(feature(0)) == short.memory(feature(0).to("meta")) == 7 * 1000 * 4
    expected, found = (forecasts(one, feature) for one in (plan, short))
    for step, value in found.items():
        assert value.dtype == dtype
        error = (value.float() - expected[step].float()).norm() / expected[step].float().norm()
        assert error < (2.0**-8 if dtype == torch.bfloat16 else 1e-5)


def test_errors():
    plan = make_plan(spectrum(), np.arange(50), GROWING, span=(0, 50))
    sigmas = np.linspace(1.0, 0.0, 51)
    with pytest.raises(ValueError, match="`plan` has a corrector"):
        streamed(make_plan(Newton(1), np.arange(50), GROWING, sigmas=sigmas, corrector=Corrector()))
    with pytest.raises(ValueError, match="`rows` is 0"):
        streamed(plan, rows=0)
    run = streamed(plan).start()
    with pytest.raises(ValueError, match="nothing to be forecast from"):
        run.forecast(0)
    run.keep(0, np.ones(3))
    with pytest.raises(ValueError, match="step 1 is not kept yet"):
        run.keep(2, np.ones(3))
    with pytest.raises(ValueError, match=r"`feature` of step 1 is float32 .* those before were float64"):
        run.keep(1, np.ones(3, dtype=np.float32))
    run.keep(1, np.ones(3))
    with pytest.raises(ValueError, match="step 1 is kept already"):
        run.keep(1, np.ones(3))
    for step in (2, 3, 4):
        run.keep(step, np.ones(3))
    with pytest.raises(ValueError, match="not evaluated by the plan; call `forecast"):
        run.keep(5, np.ones(3))
    with pytest.raises(ValueError, match="`step` is 50 of a run of 50"):
        run.evaluates(50)
