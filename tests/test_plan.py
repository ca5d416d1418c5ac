"""Plans: what they hold, how they print and travel, and what they refuse."""

import json
from re import escape
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import torch
from hypothesis import given
from laws import runs

from spectral_forecast import (
    Chebyshev,
    Corrector,
    FitError,
    Hermite,
    Newton,
    Plan,
    Reuse,
    make_plan,
    schedules,
    spectrum,
)
from spectral_forecast.guarded import GuardedRun
from spectral_forecast.plan import bytes_of
from spectral_forecast.ring import Ring


def test_a_plan_by_hand():
    plan = make_plan(Newton(1), [0.0, 1.0, 2.0, 4.0], [True, True, False, True], keep=3)
    assert plan.evaluate.tolist() == [True, True, False, True]
    assert plan.slot.tolist() == [0, 1, 3, 2]
    # Rows of evaluated steps hold the forecast that the evaluation replaces.
    expected = [[0, 0, 0], [1, 0, 0], [-1, 2, 0], [-3, 4, 0]]
    assert plan.weights == pytest.approx(np.array(expected, dtype=float))
    assert not plan.correction.any()
    assert (plan.steps, plan.evaluations, plan.kept) == (4, 3, 3)


@pytest.mark.parametrize("keep", [None, 2])
def test_the_parts_of_a_plan_have_their_dtypes(keep):
    plan = make_plan(Newton(1), [0, 1, 2], [True, True, False], keep=keep)
    assert [part.dtype for part in plan] == [np.bool_, np.int32, np.float64, np.float64]


def test_nodes_and_rows_of_a_ring_that_came_round():
    plan = make_plan(Newton(1), np.arange(7), schedules.mask(7, [0, 1, 3, 4]), keep=3)
    assert [plan.nodes(step).tolist() for step in (0, 1, 2, 4, 6)] == [
        [-1, -1, -1],
        [0, -1, -1],
        [0, 1, -1],
        [0, 1, 3],
        [4, 1, 3],
    ]
    assert [plan.rows(step).tolist() for step in (0, 1, 2, 4, 6)] == [[], [0], [0, 1], [0, 1, 2], [1, 2, 0]]


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


def test_plans_that_differ_in_one_part_only_are_not_equal():
    plan = make_plan(Newton(1), [0, 1, 2], [True, True, False])
    for name, part in plan._asdict().items():
        other = part.copy()
        other.flat[-1] += 1
        assert plan != plan._replace(**{name: other})
    assert not plan != plan._replace(slot=plan.slot.copy())  # noqa: SIM202 `!=` is what is tested


def test_plans_travel_as_json():
    times = np.arange(50)
    options = {"sigmas": np.linspace(1.0, 0.02, 50), "corrector": Corrector()}
    plan = make_plan(spectrum(0.5), times, schedules.growing(50), span=(0, 50), **options)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert plan.correction.any()
    assert [part.dtype for part in again] == [part.dtype for part in plan]
    assert not any(part.flags.writeable for part in again)


def test_json_of_whole_numbers_is_a_plan_too():
    text = '{"evaluate": [true, false], "slot": [0, 1], "weights": [[0], [1]], "correction": [[0], [0]]}'
    plan = Plan.from_json(text)
    assert plan == make_plan(Reuse(), [0, 1], [True, False])
    assert [part.dtype for part in plan] == [np.bool_, np.int32, np.float64, np.float64]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"more": 1},
            ValueError,
            "`text` holds ['correction', 'evaluate', 'more', 'slot', 'weights']; write what `Plan.to_json` returned: "
            "['correction', 'evaluate', 'slot', 'weights'].",
        ),
        ({"evaluate": [1, 1, 0]}, TypeError, "`evaluate` has dtype int64; write booleans"),
        ({"evaluate": [False, True, False]}, ValueError, "`evaluate` does not evaluate step 0"),
        (
            {"evaluate": [True, True]},
            ValueError,
            "`text` holds parts of shapes (2,), (3,), (3, 2) and (3, 2); write (N,), (N,), (N, K) and (N, K).",
        ),
        ({"slot": [0, 1]}, ValueError, "`text` holds parts of shapes (3,), (2,), (3, 2) and (3, 2)"),
        ({"weights": [0.0, 0.0, 0.0]}, ValueError, "`text` holds parts of shapes (3,), (3,), (3,) and (3, 2)"),
        (
            {"weights": [0.0, 0.0, 0.0], "correction": [0.0, 0.0, 0.0]},
            ValueError,
            "`text` holds parts of shapes (3,), (3,), (3,) and (3,)",
        ),
        ({"correction": [[0.0]] * 3}, ValueError, "`text` holds parts of shapes (3,), (3,), (3, 2) and (3, 1)"),
    ],
)
def test_json_that_is_no_plan(change, error, message):
    data = json.loads(make_plan(Newton(1), [0, 1, 2], [True, True, False]).to_json())
    with pytest.raises(error, match=escape(message)):
        Plan.from_json(json.dumps(data | change))


def test_plans_print_as_tables():
    plan = make_plan(Newton(1), np.arange(7), schedules.mask(7, [0, 3, 4]))
    assert repr(plan) == "<Plan: 3 of 7 steps evaluated, 2 features kept>"
    assert str(plan).splitlines() == [
        "Plan: 3 of 7 steps evaluated, 2 features kept",
        "evaluated: 0,3,4",
        "",
        " step         sum   sum|w|  weights",
        "    0  evaluate, keep in row 0",
        "    1     +1.0000    1.000  +1*h0",
        "    2     +1.0000    1.000  +1*h0",
        "    3  evaluate, keep in row 1",
        "    4  evaluate, keep in row 0",
        "    5     +1.0000    3.000  -1*h3  +2*h4",
        "    6     +1.0000    5.000  -2*h3  +3*h4",
    ]


def test_a_run_starts_as_its_options_say():
    plan = make_plan(Newton(1), np.arange(4), [True, True, True, False])
    bad = np.array([np.nan])
    for limit in (None, 0.3):
        with pytest.raises(ValueError, match="holds a NaN or an infinity"):
            plan.start(limit=limit).keep(0, bad)
        ring = Ring(2)
        run = plan.start(limit=limit, check_finite=False, ring=ring)
        run.keep(0, bad)
        assert ring.newest == 0
        assert isinstance(run, GuardedRun) == (limit is not None)
        with pytest.raises(ValueError, match="`ring` has 3 rows"):
            plan.start(limit=limit, ring=Ring(3))
    assert run.limit == 0.3
    for measure, error in ((False, 0.0), (True, 0.5)):
        run = plan.start(measure=measure)
        for step, feature in enumerate([1.0, 2.0]):
            run.keep(step, np.array([feature]))
        assert run.error == error
    assert plan.start().measure is False
    with pytest.raises(ValueError, match="`limit` is 0"):
        plan.start(limit=0.0)


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
    assert plan.memory({"a": array, "b": (array, [array[0]])}, dtype="float16") == 4 * 35 * 2
    assert plan.memory(np.zeros((), dtype=np.complex64)) == 4 * 8


@pytest.mark.parametrize("feature", [3, SimpleNamespace(shape=(2,)), SimpleNamespace(dtype=np.float32)])
def test_only_what_has_a_shape_and_a_dtype_has_a_size(feature):
    plan = make_plan(Reuse(), [0, 1], [True, False])
    message = (
        f"`feature` is {type(feature).__name__}, without `shape` and `dtype`; write an array, "
        "`jax.eval_shape(model, *args)` or a list, tuple or dict of them."
    )
    with pytest.raises(TypeError, match=escape(message)):
        plan.memory([feature])


def test_bytes_a_number_may_have_a_least_size():
    half, double = np.zeros(3, dtype=np.float16), np.zeros(2)
    assert bytes_of({"a": half, "b": [double]}, None, least=4) == 3 * 4 + 2 * 8
    assert bytes_of(half, np.dtype(np.int8)) == 3


def test_short_runs():
    one = make_plan(spectrum(), [5.0], [True])
    assert (one.steps, one.kept) == (1, 1)
    two = make_plan(spectrum(0.5, mode="free"), [0.0, 1.0], [True, False])
    assert two.weights[1] == pytest.approx([1.0])


def test_rules_that_count_steps_take_the_step_from_equal_clocks():
    evaluate = schedules.mask(6, [0, 1, 3])
    counted = make_plan(Hermite(2), np.arange(6), evaluate)
    assert counted.weights[5] == pytest.approx(Hermite(2, step=1.0).weights([0, 1, 3], 5))
    for times in (3.0 * np.arange(6) - 7.0, np.array([0, 1, 2, 3, 4, 5 + 1e-6])):  # equal to six digits
        assert make_plan(Hermite(2), times, evaluate).weights == pytest.approx(counted.weights, rel=1e-4)
    for times in ([0, 1, 2, 3, 4, 5.1], [0, 1, 2, 3, 4, 5 + 2e-6], [0, 1, 2, 2.9, 4, 5]):
        with pytest.raises(ValueError, match="`step` of Hermite"):
            make_plan(Hermite(2), times, evaluate)
    assert make_plan(Hermite(2), [3.0, 5.0], [True, False]).weights[1] == pytest.approx([1.0])


def test_a_rules_own_step_is_in_the_unit_of_the_times():
    times, evaluate = np.array([10.0, 20.0, 25.0, 60.0]), [True, True, True, False]
    plan = make_plan(Hermite(2, step=5.0), times, evaluate, span=(0, 100))
    assert plan.weights[3] == pytest.approx(Hermite(2, step=5.0).weights(times[:3], 60.0))


def test_the_level_where_the_run_ends_may_be_left_out():
    options = {"times": np.arange(5), "evaluate": schedules.mask(5, [0, 1, 4]), "corrector": Corrector(degree=2)}
    levels = np.array([1.0, 0.7, 0.6, 0.3, 0.2, 0.1])
    plans = [make_plan(Newton(1), sigmas=sigmas, **options) for sigmas in (levels, levels[:-1])]
    assert plans[0] == plans[1]
    # Steps 2 and 3 were forecast by a line; the parabola through 0, 1 and 4 is off it by (t - 0) (t - 1) [0, 1, 4].
    second = np.array([1 / 4, -1 / 3, 1 / 12])
    expected = (-0.3 * 2 + -0.1 * 6) * second
    row = plans[0].correction[4]
    assert row[plans[0].slot[[0, 1, 4]]] == pytest.approx(expected)


def test_noise_levels_in_single_precision_are_computed_with_in_double():
    options = {"evaluate": schedules.mask(5, [0, 1, 4]), "corrector": Corrector()}
    levels = np.linspace(1.0, 0.1, 5, dtype=np.float32)
    single, double = (make_plan(Newton(1), np.arange(5), sigmas=s, **options) for s in (levels, levels.tolist()))
    assert single == double


class Further:
    """Repeats the newest feature over one step of 0.5, and extrapolates a line over more."""

    def weights(self, times, t, /):
        return (Reuse() if t - times[-1] < 0.75 else Newton(1)).weights(times, t)


def test_a_corrected_feature_takes_no_row_of_the_forecast_it_replaces():
    plan = make_plan(
        Further(), np.arange(5), schedules.mask(5, [0, 1, 3]), sigmas=np.arange(5.0), corrector=Corrector(1)
    )
    assert plan.weights[3, plan.slot[[0, 1]]] == pytest.approx([-2.0, 3.0])
    assert plan.correction[3].any()
    assert plan.weights[3, plan.slot[3]] == 0.0


@pytest.mark.parametrize("sigmas", [None, [1.0, 0.5], [1.0, 0.7, 0.5, 0.2, 0.0], [[1.0, 0.7, 0.5]], [1.0, np.nan, 0.5]])
def test_a_corrector_needs_the_noise_levels(sigmas):
    message = (
        f"`sigmas` has shape {np.shape(sigmas)}; a corrector needs the sampler's 3 finite noise levels; "
        "the one where it ends may follow."
    )
    with pytest.raises(ValueError, match=escape(message)):
        make_plan(Newton(1), np.arange(3), [True, False, True], sigmas=sigmas, corrector=Corrector())


class Broken:
    """No weights beyond time 2."""

    def weights(self, times, t, /):
        w = np.zeros(len(times))
        w[-1] = 1.0 if t <= -0.5 else np.inf
        return w

    def __repr__(self):
        return "Broken()"


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
    with pytest.raises(TypeError, match=r"`keep` is 1\.5; write a whole number, 1 or more"):
        make_plan(Newton(1), [0, 2], [True, False], keep=1.5)
    with pytest.raises(FitError, match=escape("`forecaster` Broken() gave weights that are not finite at step 2.")):
        make_plan(Broken(), [0, 1, 2, 4], [True, True, False, False])
