"""Profiles: the closed form against least squares on the features, prices, schedules, and refusals."""

import itertools
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectral_forecast import GramRun, LinearRule, Newton, Profile, Reuse, Shanks, make_plan, schedules

STEPS = 20
FIRST = [True, False, False]
INCREASING = (
    "write strictly increasing times, oldest first: step numbers `np.arange(n)`, or `-sigmas` for noise levels that "
    "fall."
)


def toy(**options):
    """The profile of three steps that are all the same."""
    return Profile.from_runs([np.ones((3, 2))], **options)


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


def test_weights_by_hand():
    # The difference d = -1 meets the change 1 with a penalty of half of d d: -1 / (1 + 0.5).
    profile = Profile.from_runs([np.array([[0.0], [1.0], [2.0]])], ridge=0.5)
    assert profile.weights([-1.0, 0.0], 1.0) == pytest.approx([-2 / 3, 5 / 3])


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_of_the_best_weights_on_dependent_features_the_smallest_are_taken(scale):
    run = scale * np.random.default_rng(0).normal(size=(STEPS, 2))
    profile, steps = Profile.from_runs([run], ridge=0.0), np.array([0, 3, 4, 9, 11, 12])
    differences = run[steps[:-1]] - run[steps[-1]]
    expected = np.linalg.pinv(differences.T, rcond=1e-6) @ (run[15] - run[steps[-1]])
    assert profile.weights(profile.times[steps], profile.times[15])[:-1] == pytest.approx(expected, rel=1e-6)


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
    error = profile.weights(profile.times[:3], profile.times[3]) @ tall[:3] - tall[3]
    assert profile.price(np.arange(STEPS) != 3) == pytest.approx(np.linalg.norm(error) / np.sqrt(len(runs)), rel=1e-6)


def test_increments_are_whatever_gives_numbers(profile):
    evaluate, increments = schedules.every(STEPS, 4), np.arange(-9, 11)
    for other in (increments.tolist(), increments.astype(np.int8), [Fraction(int(k)) for k in increments]):
        assert profile.price(evaluate, np.abs(other)) == profile.price(evaluate, np.abs(increments))
        assert profile.predicted_error(evaluate, other) == profile.predicted_error(evaluate, increments)


def test_predicted_error_is_the_sum_of_moves_for_the_way(runs, profile):
    evaluate, increments, tall = schedules.every(STEPS, 4), np.linspace(-1.0, 0.5, STEPS), np.concatenate(runs, axis=1)
    way = np.linalg.norm(increments @ tall) / np.sqrt(len(runs))
    expected = profile.price(evaluate, np.abs(increments)) / way
    assert profile.predicted_error(evaluate, increments) == pytest.approx(expected, rel=1e-9)
    assert profile.predicted_error(evaluate, np.zeros(STEPS)) == 0.0


@pytest.fixture
def ending(monkeypatch):
    """Fail where a search for a schedule would go on for ever."""
    price, calls = Profile.price, itertools.count()

    def counted(self, *arguments):
        assert next(calls) < 20_000
        return price(self, *arguments)

    monkeypatch.setattr(Profile, "price", counted)


# Where inserting one evaluation after the other does not end at a local optimum, nor do moves of fewer kinds.
@pytest.mark.usefixtures("ending")
@pytest.mark.parametrize(
    ("budget", "seed"),
    [(3, 29), (3, 43), (3, 44), *((4, seed) for seed in (2, 7, 22, 27, 42, 45, 58)), (5, 195), (5, 237)],
)
def test_no_move_by_up_to_three_steps_makes_a_schedule_cheaper(budget, seed):
    draw = np.random.default_rng(seed)
    profile, increments = Profile.from_runs([draw.normal(size=(12, 3))]), draw.random(12) ** 3
    found = profile.schedule(budget, increments)
    assert found.sum() == budget
    for old, shift in itertools.product(np.flatnonzero(found)[1:], (-3, -2, -1, 1, 2, 3)):
        if old + shift in range(12) and not found[old + shift]:
            moved = found.copy()
            moved[[old, old + shift]] = False, True
            assert profile.price(moved, increments) >= profile.price(found, increments) * (1.0 - 1e-9)


@pytest.mark.usefixtures("ending")
@pytest.mark.parametrize("jump", range(1, 12))
def test_a_schedule_finds_a_jump_wherever_it_is(jump):
    profile = Profile.from_runs([np.array([[float(step >= jump)] for step in range(12)])])
    assert np.flatnonzero(profile.schedule(2)).tolist() == [0, jump]
    assert profile.schedule(1).sum() == 1
    assert profile.schedule(12).all()


@pytest.mark.usefixtures("ending")
def test_a_search_among_schedules_as_good_as_each_other_ends():
    assert Profile.from_runs([np.ones((8, 1))]).schedule(3).sum() == 3
    # Three vectors, each twice, of which two are to be met: a second step of the first of them is no better.
    profile, increments = Profile.from_runs([np.repeat(np.eye(3), 2, axis=0)]), [0, 0, 0, 1, 0, 1]
    first, second = (schedules.mask(6, [0, step]) for step in (2, 3))
    assert profile.price(first, increments) == pytest.approx(profile.price(second, increments))
    found = profile.schedule(2, increments)
    assert profile.price(found, increments) <= profile.price(first, increments) * (1.0 + 1e-9)


@pytest.mark.usefixtures("ending")
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
    message = "`profile` was made with model toy, not flux; seed unknown, not 1. Make one for this run: `Profile.from_"
    with pytest.raises(ValueError, match=re.escape(message)):
        profile.check(model="flux", steps=STEPS, seed=1)
    message = (
        f"`times` hold -0.931034483, which is none of the 20 steps of {profile}. "
        "A profile serves the clock it was made with: the same number of steps, `times` and `span`."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_plan(profile, np.arange(30), schedules.mask(30, [0]))
    with pytest.raises(ValueError, match="serves the clock it was made with"):
        make_plan(profile, np.arange(STEPS), schedules.every(STEPS, 2), span=(0, STEPS))
    with pytest.raises(ValueError, match="serves the clock"):
        make_plan(profile, np.arange(STEPS) ** 1.1, schedules.every(STEPS, 2))


def test_a_profile_of_one_step_serves_no_other_clock():
    with pytest.raises(ValueError, match=r"`times` hold 1, which is none of the 1 steps"):
        Profile.from_runs([np.ones((1, 2))]).weights([-1.0], 1.0)


def test_times_are_the_profiles_up_to_rounding(profile):
    times, t, gap = profile.times[[0, 4, 5]], profile.times[9], 2.0 / (STEPS - 1)
    weights = profile.weights(times, t)
    assert np.array_equal(profile.weights(times, t + 0.9e-6 * gap), weights)
    assert np.array_equal(profile.weights(times + 0.9e-6 * gap, t), weights)
    for strange in ((times, t + 1.1e-6 * gap), (times + 1.1e-6 * gap, t)):
        with pytest.raises(ValueError, match="which is none of the 20 steps"):
            profile.weights(*strange)


def test_what_a_profile_notes(runs):
    profile = Profile.from_runs(runs, times=np.arange(STEPS) ** 2, span=(-39, 361), model="toy", shift=3.0)
    assert profile.settings == {"steps": "20", "runs": "4", "model": "toy", "shift": "3.0"}
    assert profile.times == pytest.approx((np.arange(STEPS) ** 2 + 39) / 200 - 1)
    assert Profile.from_runs(runs).times == pytest.approx(np.linspace(-1.0, 1.0, STEPS))
    assert Profile.from_runs(runs).ridge == 1e-4
    assert Profile.from_runs(grams=[np.eye(3, dtype=np.float32)]).gram.dtype == np.float64


def test_a_profile_in_one_line():
    profile = Profile(np.eye(2), np.array([-1.0, 1.0]), 1e-4, {"model": "x" * 33, "scheduler": "y" * 32})
    noted = f"{{'model': '{'x' * 32}…', 'scheduler': '{'y' * 32}'}}"
    assert repr(profile) == f"<Profile of 2 steps: {noted}, ridge 0.0001, digest a51f99421564>"


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
        (lambda: Profile.from_runs([]), "`runs` and `grams` hold matrices of shapes []; write runs of one length."),
        (
            lambda: Profile.from_runs([[], np.ones((3, 2)), np.ones((4, 2))]),
            "`runs` and `grams` hold matrices of shapes [(0, 0), (3, 3), (4, 4)]; write runs of one length.",
        ),
        (lambda: Profile.from_runs([[]]), "`times` has shape (0,); write one dimension with at least one time."),
        (lambda: toy(times=[0, 2, 2]), f"`times` repeats at index 2 (2, then 2); {INCREASING}"),
        (lambda: toy(span=(1, 2)), "`span` is (1, 2); write a start and a later end around the times [0, 2]."),
        (lambda: toy(ridge=-1.0), "`ridge` is -1.0; write 0 or more."),
        (
            lambda: Profile(np.eye(3), np.arange(4.0)),
            "`gram` has shape (3, 3); write the finite (4, 4) matrix of a run.",
        ),
        (
            lambda: Profile(np.diag([1.0, np.nan]), np.arange(2.0)),
            "`gram` has shape (2, 2); write the finite (2, 2) matrix of a run.",
        ),
        (
            lambda: Profile(np.eye(2), np.array([1.0, 0.0])),
            f"`times` decreases at index 1 (1, then 0); {INCREASING}",
        ),
        (lambda: toy().schedule(4), "`budget` is 4 of a run of 3 steps; write 3 or less."),
        (lambda: toy().schedule(0), "`budget` is 0; write 1 or more."),
        (
            lambda: toy().price([True]),
            "`evaluate` has shape (1,); write one boolean for each of the 3 steps.",
        ),
        (
            lambda: toy().price(FIRST, [1.0] * 4),
            "`increments` has shape (4,); write a finite number for each step.",
        ),
        (
            lambda: toy().predicted_error(FIRST, 1.0),
            "`increments` has shape (); write a finite number for each step.",
        ),
        (
            lambda: toy().predicted_error(FIRST, [1.0, 1.0, np.inf]),
            "`increments` has shape (3,); write a finite number for each step.",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
