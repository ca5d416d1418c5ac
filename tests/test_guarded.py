"""Guarded forecasts: what a run shows of its own errors decides how far they go."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spectral_forecast import Corrector, GuardedRun, Newton, Reuse, Run, make_plan, schedules

STEPS = 12
EVALUATE = schedules.mask(STEPS, [0, 1, 3, 6, 7, 10])
PLAN = make_plan(Newton(1), np.arange(STEPS), EVALUATE)
FEATURES = hnp.arrays(np.float64, (STEPS, 3, 4), elements=st.integers(-4000, 4000).map(lambda n: n / 8))


def forecasts(run, features):
    seen = {}
    for step in range(STEPS):
        if run.evaluates(step):
            run.keep(step, features[step])
        else:
            seen[step] = run.forecast(step)
    return seen


def by_hand(features, limit, *, blind=False):
    """Straight lines through the newest two features, each drawn back by what the arrivals so far told."""
    kept, doubt, worse, seen = [], None, np.ones(features.shape[1]), {}
    for step in range(STEPS):
        if kept:
            newest = features[kept[-1]]
            slope = (newest - features[kept[-2]]) / (kept[-1] - kept[-2]) if len(kept) > 1 else 0.0 * newest
            line = newest + slope * (step - kept[-1])
        if EVALUATE[step]:
            if kept:
                true, size = features[step], np.linalg.norm(features[step], axis=1)
                changed, missed = (np.linalg.norm(true - other, axis=1) for other in (newest, line))
                for i in range(len(worse)) if not blind or len(kept) > 2 else ():
                    ratio = (missed[i] / changed[i]) ** 2 if changed[i] else 1.0 if not missed[i] else 1e6
                    worse[i] = max(1.0, np.sqrt(worse[i] * min(ratio, 1e6)))
                doubt = worse * np.minimum(missed, changed) / np.where(size > 0.0, size, 1.0) / (step - kept[-1])
                if blind and len(kept) == 1:
                    doubt = np.full_like(doubt, 2.5) / (step - kept[-1])
            kept.append(step)
            continue
        part = 1.0 if doubt is None else 1.0 / (1.0 + (doubt * (step - kept[-1]) / limit) ** 2)
        seen[step] = newest + np.reshape(part, (-1, 1)) * (line - newest)
    return seen


@given(FEATURES, st.floats(0.05, 5.0), st.booleans())
def test_agrees_with_a_loop_by_hand(features, limit, blind):
    expected = by_hand(features, limit, blind=blind)
    found = forecasts(PLAN.start(limit=limit, blind=blind), features)
    assert found.keys() == expected.keys()
    for step, forecast in found.items():
        np.testing.assert_allclose(forecast, expected[step], rtol=1e-9, atol=1e-6)


@given(FEATURES)
def test_the_limits_are_the_plan_and_the_newest_feature(features):
    plain, reused = (
        forecasts(PLAN.start(), features),
        forecasts(make_plan(Reuse(), np.arange(STEPS), EVALUATE).start(), features),
    )
    for limit, expected in ((1e12, plain), (1e-12, reused)):
        for step, forecast in forecasts(PLAN.start(limit=limit), features).items():
            exact = by_hand(features, limit)[step]  # where an arrival was exact to the last digit, neither limit holds
            assert np.allclose(forecast, expected[step], rtol=1e-6, atol=1e-6) or np.allclose(forecast, exact)


@pytest.mark.parametrize("rule", [Newton(1), Newton(2)])
def test_what_the_rule_reproduces_is_not_drawn_back(rule):
    line = np.arange(STEPS)[:, None, None] * np.array([[[1.0, -2.0], [0.5, 3.0]]]) + 1.0
    late = {step for step in range(STEPS) if step > 3}
    plan = make_plan(rule, np.arange(STEPS), EVALUATE)
    for step, forecast in forecasts(plan.start(limit=0.1), line).items():
        if step in late:
            np.testing.assert_allclose(forecast, line[step], rtol=1e-2)


@given(FEATURES)
def test_items_do_not_see_each_other(features):
    together = forecasts(PLAN.start(limit=0.6), features)
    for item in range(features.shape[1]):
        alone = forecasts(PLAN.start(limit=0.6), features[:, item : item + 1])
        for step, forecast in alone.items():
            np.testing.assert_array_equal(forecast, together[step][item : item + 1])


def test_an_overshoot_is_drawn_back():
    """A feature that turns: extrapolated, it is farther off than repeated, and guarded it is closer than both."""
    turning = np.array([[[np.cos(2.0 * i), np.sin(2.0 * i)]] for i in range(STEPS)])
    errors = {}
    for name, run in (("plain", PLAN.start()), ("guarded", PLAN.start(limit=0.6))):
        errors[name] = sum(np.linalg.norm(v - turning[step]) for step, v in forecasts(run, turning).items())
    assert errors["guarded"] < 0.7 * errors["plain"]


def test_what_was_worse_than_repeating_time_and_again_is_trusted_less():
    """Of two runs whose newest forecast erred alike, the one that has erred before, too, goes less far."""
    turning = np.cumsum([0.0, 1.0, -1.2, 1.4, -1.6, 1.8, 0.0])  # there and back, so that lines go the wrong way
    once = np.append(turning[3] + np.arange(-3, 1) * (turning[4] - turning[3]), turning[4:6])  # a line that turns once
    plan = make_plan(Newton(1), np.arange(7), schedules.mask(7, range(6)))
    runs, steps = [plan.start(limit=0.5), plan.start(limit=0.5)], []
    for run, path in zip(runs, (turning[:6], once), strict=True):
        for step in range(6):
            run.keep(step, np.array([[path[step] + 10.0]]))
        steps.append(abs(run.forecast(6) - run._ring.row(run._ring.newest)).item())
    assert 0.0 < steps[0] < 0.7 * steps[1]
    assert runs[0]._doubts.worse > 1.5 * runs[1]._doubts.worse > 1.0


@pytest.mark.parametrize("rule", [Newton(1), Newton(2)])
def test_what_was_not_a_number_is_not_remembered(rule):
    """An item that was not finite for one evaluation is forecast again as soon as that one is out of reach."""
    features = np.random.default_rng(0).normal(size=(STEPS, 3, 4))
    spoilt = features.copy()
    spoilt[1, 1] = np.nan
    plan = make_plan(rule, np.arange(STEPS), EVALUATE)
    found = forecasts(plan.start(limit=0.5, check_finite=False), spoilt)
    assert np.isnan(found[2][1]).all()
    assert np.isfinite(found[11]).all()
    np.testing.assert_array_equal(found[11][0], forecasts(plan.start(limit=0.5), features)[11][0])


def test_what_a_blind_first_feature_led_to_is_not_held_against_the_others():
    line = 1.0 + np.arange(STEPS)[:, None, None] * np.array([[[1.0, -2.0]]])
    line[0] = 50.0
    open_eyed, blind = (forecasts(PLAN.start(limit=0.5, blind=blind), line) for blind in (False, True))
    late = [step for step in blind if step > 7]
    np.testing.assert_allclose([blind[step] for step in late], line[late], rtol=1e-6)
    assert all(np.abs(blind[step] - line[step]).sum() <= np.abs(open_eyed[step] - line[step]).sum() for step in late)


def test_arrays_of_other_libraries(xp):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(STEPS, 2, 3)).astype(np.float32)
    expected = forecasts(PLAN.start(limit=0.6), features)
    found = forecasts(PLAN.start(limit=0.6), [xp.asarray(feature) for feature in features])
    for step, forecast in found.items():
        assert forecast.dtype == xp.float32
        np.testing.assert_allclose(np.asarray(forecast), expected[step], rtol=1e-5, atol=1e-5)


def test_half_precision_stays():
    run = PLAN.start(limit=0.6)
    assert all(v.dtype == np.float16 for v in forecasts(run, np.ones((STEPS, 2, 3), dtype=np.float16)).values())


def test_nothing_is_not_divided_by():
    found = forecasts(PLAN.start(limit=0.6), np.zeros((STEPS, 2, 3)))
    assert all(np.array_equal(v, np.zeros((2, 3))) for v in found.values())


def test_doubt_can_be_told():
    run = PLAN.start(limit=0.6)
    assert isinstance(run, GuardedRun)
    assert isinstance(run, Run)
    for step in (0, 1):
        run.keep(step, np.full((2, 1), float(step)))
    run.doubt = np.array([[0.0], [0.6]])
    np.testing.assert_allclose(run.forecast(2), [[2.0], [1.5]])


def test_bad_limits():
    for limit in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="`limit`"):
            PLAN.start(limit=limit)
    plan = make_plan(Newton(1), np.arange(STEPS), EVALUATE, sigmas=np.linspace(1, 0, STEPS + 1), corrector=Corrector())
    with pytest.raises(ValueError, match="`limit`: the plan has a corrector"):
        plan.start(limit=0.6)
