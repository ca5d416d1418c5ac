"""Plans: what they hold, how they print and travel, and what they refuse."""

import jax
import numpy as np
import pytest
import torch
from hypothesis import given
from laws import runs

from spectral_forecast import Chebyshev, Corrector, FitError, Newton, Plan, Reuse, make_plan, schedules, spectrum


def test_a_plan_by_hand():
    plan = make_plan(Newton(1), [0.0, 1.0, 2.0, 4.0], [True, True, False, True], keep=3)
    assert plan.evaluate.tolist() == [True, True, False, True]
    assert plan.slot.tolist() == [0, 1, 3, 2]
    # Rows of evaluated steps hold the forecast that the evaluation replaces.
    expected = [[0, 0, 0], [1, 0, 0], [-1, 2, 0], [-3, 4, 0]]
    assert plan.weights == pytest.approx(np.array(expected, dtype=float))
    assert not plan.correction.any()
    assert (plan.steps, plan.evaluations, plan.kept) == (4, 3, 3)


@given(runs())
def test_a_ring_holds_the_newest(drawn):
    times, evaluate = drawn
    evaluated = np.flatnonzero(evaluate)
    for keep in (1, 2, 5):
        plan = make_plan(Newton(4), times, evaluate, keep=keep)
        assert plan.kept == min(keep, evaluated.size)
        for step in range(times.size):
            newest = evaluated[evaluated < step][-keep:]
            assert sorted(node for node in plan.nodes(step) if node >= 0) == newest.tolist()
            if newest.size:
                w = make_plan(Newton(4), times, evaluate).weights[step] if newest.size > 4 else None
                rows = [int(np.flatnonzero(plan.nodes(step) == node)[0]) for node in newest]
                assert plan.weights[step, rows].sum() == pytest.approx(1.0, abs=1e-6)
                assert w is None or sorted(w[w != 0]) == pytest.approx(sorted(plan.weights[step]), rel=1e-6)


def test_the_papers_clock():
    evaluate = schedules.growing(50)
    plan = make_plan(spectrum(), np.arange(50), evaluate, span=(0, 50))
    nodes = np.flatnonzero(evaluate[:22])
    direct = Chebyshev(4, 0.1).weights(2 * nodes / 50 - 1, 2 * 22 / 50 - 1)
    assert plan.weights[22, : nodes.size] == pytest.approx(direct, abs=1e-14)


def test_plans_are_read_only_data():
    evaluate = np.array([True, False])
    plan = make_plan(Reuse(), [0.0, 1.0], evaluate)
    evaluate[1] = True
    assert plan.evaluate.tolist() == [True, False]
    for part in plan:
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 0
    assert plan == make_plan(Reuse(), [0.0, 1.0], [True, False])
    assert plan != make_plan(Reuse(), [0.0, 1.0], [True, True])
    assert plan != "a plan"


def test_plans_travel_as_json():
    plan = make_plan(spectrum(0.5), np.arange(50), schedules.growing(50), span=(0, 50), keep=7)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert [part.dtype for part in again] == [part.dtype for part in plan]
    with pytest.raises(ValueError, match=r"`text` holds \['evaluate'\]"):
        Plan.from_json('{"evaluate": [true]}')
    with pytest.raises(ValueError, match="`text` holds parts of shapes"):
        Plan.from_json(plan.to_json().replace('"slot": [', '"slot": [0, '))


def test_plans_print_as_tables():
    plan = make_plan(Newton(1), np.arange(4), schedules.mask(4, [0, 1]))
    assert repr(plan) == "<Plan: 2 of 4 steps evaluated, 2 features kept>"
    lines = str(plan).splitlines()
    assert lines[1] == "evaluated: 0,1"
    assert lines[4] == "    0  evaluate, keep in row 0"
    assert lines[6] == "    2     +1.0000    3.000  -1*h0  +2*h1"


@given(runs())
def test_by_default_a_ring_holds_what_the_weights_reach(drawn):
    times, evaluate = drawn
    count = int(evaluate.sum())
    sigmas = np.linspace(1.0, 0.1, times.size)
    for rule in (Newton(0), Newton(1), Newton(2), Chebyshev(2, ridge=0.1)):
        for corrector in (None, Corrector(degree=2)):
            options = {"sigmas": sigmas, "corrector": corrector} if corrector else {}
            small = make_plan(rule, times, evaluate, **options)
            whole = make_plan(rule, times, evaluate, keep=count, **options)
            assert small.kept <= count
            if corrector is None and isinstance(rule, Newton):
                assert small.kept <= rule.order + 1
            run, other = small.start(), whole.start()
            for step in range(times.size):
                feature = np.array([np.cos(3.0 * step), 1.0])
                if evaluate[step]:
                    if step:
                        assert run.forecast(step) == pytest.approx(other.forecast(step), rel=1e-12)
                    run.keep(step, feature)
                    other.keep(step, feature)
                    assert run.error == pytest.approx(other.error, rel=1e-9)
                    moved = [one.correct(step, np.zeros(2)) for one in (run, other)]
                    assert moved[0] == pytest.approx(moved[1], rel=1e-9, abs=1e-12)
                else:
                    assert run.forecast(step) == pytest.approx(other.forecast(step), rel=1e-12)


def test_memory():
    plan = make_plan(Newton(1), np.arange(9), schedules.mask(9, [0, 1, 2, 5]), keep=4)
    array = np.zeros((3, 5), dtype=np.float32)
    run = plan.start()
    for step in (0, 1, 2, 5):
        run.keep(step, array)
    assert plan.memory(array) == run.nbytes == 4 * 15 * 4
    assert plan.memory(array, scratch=True) == 5 * 15 * 4
    assert plan.memory(array, dtype="float16") == plan.memory(array, dtype=np.float16) == 4 * 15 * 2
    assert plan.memory(torch.zeros(3, 5, device="meta", dtype=torch.bfloat16)) == 4 * 15 * 2
    assert plan.memory(array, dtype=torch.bfloat16) == 4 * 15 * 2
    assert plan.memory(jax.ShapeDtypeStruct((3, 5), jax.numpy.bfloat16)) == 4 * 15 * 2
    assert plan.memory({"a": array, "b": (array, [array[0]])}) == 4 * 35 * 4
    assert plan.memory(np.zeros((), dtype=np.complex64)) == 4 * 8
    with pytest.raises(TypeError, match="`feature` is int, without `shape` and `dtype`; write an array"):
        plan.memory(3)


def test_short_runs():
    one = make_plan(spectrum(), [5.0], [True])
    assert (one.steps, one.kept) == (1, 1)
    two = make_plan(spectrum(0.5, mode="free"), [0.0, 1.0], [True, False])
    assert two.weights[1] == pytest.approx([1.0])


class Broken:
    def weights(self, times, t, /):
        return np.full(len(times), np.inf)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([], []), ValueError, r"`times` has shape \(0,\)"),
        (([0, 2, 1], [True] * 3), ValueError, "`times` decreases at index 2 .*-sigmas"),
        (([0, 1, 1], [True] * 3), ValueError, "`times` repeats at index 2"),
        (([0, np.inf], [True] * 2), ValueError, "`times` holds a NaN or an infinity at index 1"),
        (([0, 1], [True]), ValueError, r"`evaluate` has shape \(1,\); write one boolean for each of the 2 steps"),
        (([0, 1], [False, True]), ValueError, "`evaluate` does not evaluate step 0"),
        (([0, 1], [0, 1]), TypeError, r"`evaluate` has dtype int64; write booleans.*schedules.mask\(2, steps\)"),
    ],
)
def test_bad_runs(arguments, error, message):
    with pytest.raises(error, match=message):
        make_plan(Newton(1), *arguments)


def test_bad_options():
    with pytest.raises(ValueError, match=r"`span` is \(0, 1\); write a start and a later end around the times"):
        make_plan(Newton(1), [0, 2], [True, False], span=(0, 1))
    with pytest.raises(ValueError, match="`span` is"):
        make_plan(Newton(1), [0, 2], [True, False], span=(3, 0))
    with pytest.raises(ValueError, match="`keep` is 0; write 1 or more"):
        make_plan(Newton(1), [0, 2], [True, False], keep=0)
    with pytest.raises(FitError, match=r"`forecaster` .* not finite at step 1"):
        make_plan(Broken(), [0, 2], [True, False])
