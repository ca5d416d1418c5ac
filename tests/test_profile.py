"""Profiles: the closed form against least squares on the features, prices, schedules, and refusals."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectral_forecast import GramRun, LinearRule, Newton, Profile, Reuse, Shanks, make_plan, schedules

STEPS = 20


def make_run(seed, size=200, steps=STEPS):
    """Smooth vectors, each a few exponentials and a drift."""
    draw = np.random.default_rng(seed)
    t = np.linspace(0.0, 1.0, steps)[:, None]
    rates = np.array([0.5, 1.5, 4.0])
    return (
        np.exp(-t * rates) @ draw.normal(size=(3, size))
        + t**2 * draw.normal(size=size)
        + 1e-3 * draw.normal(size=(steps, size))
    )


@pytest.fixture(scope="module")
def runs():
    return [make_run(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def profile(runs):
    return Profile.from_runs(runs, model="toy", scheduler="euler", shift=3.0)


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
@given(st.sets(st.integers(0, STEPS - 2), min_size=1, max_size=8), st.integers(1, STEPS - 1))
def test_weights_are_constrained_least_squares(runs, ridge, steps, target):
    steps = np.array(sorted(steps))
    if target <= steps[-1]:
        return
    profile = Profile.from_runs(runs, ridge=ridge)
    w = profile.weights(profile.times[steps], profile.times[target])
    tall = np.concatenate(runs, axis=1)
    differences, change = tall[steps[:-1]] - tall[steps[-1]], tall[target] - tall[steps[-1]]
    size = ridge * np.sum(differences**2) / max(len(differences), 1)
    system = np.concatenate([differences.T, np.sqrt(size) * np.eye(len(differences))])
    v = np.linalg.lstsq(system, np.append(change, np.zeros(len(differences))), rcond=None)[0]
    expected = np.append(v, 1.0 - v.sum())
    assert w == pytest.approx(expected, rel=1e-6, abs=1e-6 * np.abs(expected).sum())
    assert w.sum() == pytest.approx(1.0, abs=1e-12 * (1 + np.abs(w).sum()))


def test_it_forecasts_a_run_that_it_has_not_seen(profile):
    unseen, evaluate = make_run(99), schedules.mask(STEPS, [0, 1, 2, 6, 10, 14, 17])

    def error(rule):
        weights = make_plan(rule, np.arange(STEPS), evaluate, keep=7).weights
        kept = unseen[evaluate]
        return np.linalg.norm(weights[~evaluate] @ kept - unseen[~evaluate])

    assert error(profile) < 0.5 * min(error(Reuse()), error(Newton(1)), error(Newton(2)))


def test_price_is_the_sum_of_errors(runs, profile):
    evaluate, tall = schedules.mask(STEPS, [0, 3, 9]), np.concatenate(runs, axis=1)
    weights = make_plan(profile, np.arange(STEPS), evaluate, keep=3).weights
    errors = np.linalg.norm(weights @ tall[evaluate] - tall, axis=1) / np.sqrt(len(runs))
    assert profile.price(evaluate) == pytest.approx(errors[~evaluate].sum(), rel=1e-6)
    increments = np.linspace(0.0, 1.0, STEPS)
    assert profile.price(evaluate, increments) == pytest.approx((increments * errors)[~evaluate].sum(), rel=1e-6)
    assert profile.price(np.ones(STEPS, dtype=bool)) == 0.0


def test_schedules_are_near_the_best_and_locally_optimal():
    profile = Profile.from_runs([make_run(0, steps=10)])
    for budget in (1, 2, 3, 4):
        found = profile.schedule(budget)
        assert found.sum() == budget
        every = [schedules.mask(10, [0, *rest]) for rest in itertools.combinations(range(1, 10), budget - 1)]
        best = min(map(profile.price, every))
        assert profile.price(found) <= 1.05 * best
        assert profile.price(found) < np.median([profile.price(mask) for mask in every]) or budget == 1


def test_a_run_that_evaluated_everything_is_a_profile(runs):
    recorded = GramRun(Shanks(), np.arange(STEPS), np.ones(STEPS, dtype=bool))
    for step in range(STEPS):
        recorded.keep(step, runs[0][step])
    assert Profile.from_runs(grams=[recorded.gram]).gram == pytest.approx(Profile.from_runs(runs[:1]).gram)


def test_it_refuses_another_run(profile):
    assert profile.check(model="toy", steps=STEPS, shift=3.0) is profile
    with pytest.raises(ValueError, match="`profile` was made with model toy, not flux; seed unknown, not 1"):
        profile.check(model="flux", steps=STEPS, seed=1)
    with pytest.raises(ValueError, match=r"`times` hold .* none of the 20 steps of <Profile of 20 steps: .*toy"):
        make_plan(profile, np.arange(30), schedules.every(30, 2))
    with pytest.raises(ValueError, match="serves the clock it was made with"):
        make_plan(profile, np.arange(STEPS), schedules.every(STEPS, 2), span=(0, STEPS))
    with pytest.raises(ValueError, match="serves the clock"):
        make_plan(profile, np.arange(STEPS) ** 1.1, schedules.every(STEPS, 2))


def test_it_is_a_linear_rule(profile):
    assert isinstance(profile, LinearRule)
    times, t = profile.times[[0, 4, 5]], profile.times[9]
    both = 0.5 * profile + 0.5 * Newton(1)
    expected = 0.5 * profile.weights(times, t) + 0.5 * Newton(1).weights(times, t)
    assert both.weights(times, t) == pytest.approx(expected)
    assert profile.weights(profile.times[:1], t) == pytest.approx([1.0])


@given(
    st.sets(st.integers(0, STEPS - 1), min_size=2), st.sampled_from(["noise", "constant", "zero", "line"]), st.randoms()
)
def test_weights_are_finite_for_every_set(steps, what, random):
    draw = np.random.default_rng(random.randrange(2**32))
    run = {
        "noise": draw.normal(size=(STEPS, 3)),
        "constant": np.ones((STEPS, 3)),
        "zero": np.zeros((STEPS, 3)),
        "line": np.arange(STEPS)[:, None] * np.ones(3),
    }[what]
    profile = Profile.from_runs([run], ridge=random.choice([0.0, 1e-4]))
    times = profile.times[sorted(steps)]
    w = profile.weights(times[:-1], times[-1])
    assert np.isfinite(w).all()
    assert abs(w.sum() - 1.0) <= 1e-12 * (1 + np.abs(w).sum())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Profile.from_runs([]), "`runs` and `grams` hold matrices of shapes"),
        (lambda: Profile.from_runs([np.ones((3, 2)), np.ones((4, 2))]), r"shapes \[\(3, 3\), \(4, 4\)\]"),
        (lambda: Profile(np.eye(3), np.arange(4.0)), r"`gram` has shape \(3, 3\); write the finite \(4, 4\)"),
        (lambda: Profile.from_runs([np.ones((3, 2))], ridge=-1.0), "`ridge` is -1.0"),
        (lambda: Profile.from_runs([np.ones((3, 2))]).schedule(4), "`budget` is 4 of a run of 3 steps"),
        (lambda: Profile.from_runs([np.ones((3, 2))]).price([True]), r"`evaluate` has shape \(1,\)"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
