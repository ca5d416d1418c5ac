"""A run of a plan: the other half of anyone's loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import FORECASTERS, carried_out, runs

from conftest import to_numpy
from spectral_forecast import Newton, Ring, Run, make_plan, schedules, spectrum

PLAN = make_plan(Newton(1), np.arange(6), schedules.mask(6, [0, 1, 4]))


@given(runs(), st.sampled_from(FORECASTERS), st.sampled_from([None, 1, 3]))
def test_is_the_weighted_sum_of_the_plan(drawn, rule, keep):
    times, evaluate = drawn
    plan = make_plan(rule, times, evaluate, keep=keep)
    features = np.random.default_rng(0).normal(size=(times.size, 3))
    for step, value in enumerate(carried_out(plan, features)):
        if not evaluate[step]:
            nodes = plan.nodes(step)
            filled = nodes >= 0
            expected = plan.weights[step, filled] @ features[nodes[filled]]
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-9 * np.abs(plan.weights[step]).sum())


def test_works_on_every_library_and_dtype(kind):
    xp, dtype = kind
    ramp = [xp.asarray([[float(step), 2.0 * step]], dtype=dtype) for step in range(6)]
    for step, value in enumerate(carried_out(PLAN, ramp)):
        assert value.dtype == dtype
        assert to_numpy(value) == pytest.approx(np.array([[step, 2.0 * step]]), rel=float(xp.finfo(dtype).eps))


def test_stays_on_the_device(device):
    import torch

    features = [torch.ones((2, 2), device=device) for _ in range(6)]
    # Shapes alone can be checked on "meta"; whether a value is finite cannot.
    for value in carried_out(PLAN, features, check_finite=device == "cpu"):
        assert value.device.type == device


def test_running_twice_is_running_once():
    plan = make_plan(spectrum(0.5), np.arange(50), schedules.growing(50), span=(0, 50))
    features = np.random.default_rng(3).normal(size=(50, 4))
    first, second = carried_out(plan, features), carried_out(plan, features)
    aborted = plan.start()
    aborted.keep(0, features[7])
    third = carried_out(plan, features)
    assert np.array_equal(first, second)
    assert np.array_equal(first, third)


def test_a_ring_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"`ring` has 7 rows, `plan` keeps \d; write one of that size"):
        PLAN.start(ring=Ring(7))


def test_the_error_is_that_of_the_forecast_that_an_evaluation_replaces():
    """None at first, then of reuse, then of the line, which says 5."""
    run, errors = PLAN.start(measure=True), []
    for step, value in ((0, 1.0), (1, 2.0), (4, 8.0)):
        run.keep(step, np.array([value]))
        errors.append(run.error)
    assert errors == pytest.approx([0.0, 1.0 / 2.0, 3.0 / 8.0])


def test_kept_features_are_copies():
    run = PLAN.start()
    buffer = np.array([1.0])
    run.keep(0, buffer)
    buffer[0] = 2.0
    run.keep(1, buffer)
    buffer[0] = 99.0
    assert run.forecast(2).tolist() == [3.0]


def test_an_evaluated_step_can_be_forecast_before_it_is_kept():
    run = PLAN.start()
    run.keep(0, np.array([0.0]))
    run.keep(1, np.array([1.0]))
    assert run.forecast(4).tolist() == [4.0]
    run.keep(4, np.array([10.0]))
    assert run.forecast(5) == pytest.approx(13.0)


def test_bytes():
    run = PLAN.start()
    assert run.nbytes == 0
    run.keep(0, np.zeros((3, 5), dtype=np.float32))
    run.keep(1, np.zeros((3, 5), dtype=np.float32))
    assert run.nbytes == 2 * 15 * 4


def test_ready():
    run = PLAN.start()
    assert run.ready(0)
    assert not run.ready(1)
    run.keep(0, np.zeros(1))
    run.keep(1, np.zeros(1))
    assert run.ready(4)
    assert not run.ready(5)
    assert not run.ready(1)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (np.zeros(3), r"`feature` of step 1 has shape \(3,\), those kept before have \(2,\); start a new run"),
        (np.zeros(2, dtype=np.float32), "has dtype float32, those kept before have float64"),
        (np.array([0.0, np.nan]), "holds a NaN or an infinity; evaluate again"),
        (np.array([np.inf, 0.0]), "holds a NaN or an infinity"),
    ],
)
def test_features_that_change_or_are_not_finite(second, message):
    run = PLAN.start()
    run.keep(0, np.zeros(2))
    with pytest.raises(ValueError, match=message):
        run.keep(1, second)
    run.keep(1, np.ones(2))
    assert run.forecast(2).tolist() == [2.0, 2.0]


def test_a_changed_device_is_refused():
    import torch

    run = PLAN.start(check_finite=False)
    run.keep(0, torch.zeros(2))
    with pytest.raises(ValueError, match="has device meta, those kept before have cpu"):
        run.keep(1, torch.zeros(2, device="meta"))


def test_non_finite_features_pass_when_asked():
    run = PLAN.start(check_finite=False)
    run.keep(0, np.array([np.nan]))
    run.keep(1, np.array([1.0]))
    assert np.isnan(run.forecast(2)).all()


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda run: run.forecast(0), "`step` 0 has nothing to be forecast from"),
        (lambda run: run.forecast(2), "`step` is 2, but step 0 is not kept yet"),
        (lambda run: run.keep(1, np.zeros(1)), "`step` is 1, but step 0 is not kept yet"),
        (lambda run: [run.keep(0, np.zeros(1)), run.keep(0, np.zeros(1))], "`step` is 0, but step 0 is kept already"),
        (lambda run: run.keep(2, np.zeros(1)), r"`step` 2 is not evaluated by the plan; call `forecast\(2\)`"),
        (lambda run: run.evaluates(6), "`step` is 6 of a run of 6; write 0 to 5"),
        (lambda run: run.evaluates(-1), "`step` is -1"),
    ],
)
def test_misuse(misuse, message):
    with pytest.raises(ValueError, match=message):
        misuse(PLAN.start())


def test_a_run_needs_a_plan():
    with pytest.raises(TypeError, match="`plan` is list; write what `make_plan` returned"):
        Run([True, False])
