"""The schedules of the papers, and the limits that every schedule obeys."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectral_forecast import schedules
from spectral_forecast.schedules import budget, even, every, growing, mask, steps


@pytest.mark.parametrize(
    ("window", "warmup", "growth", "evaluations"),
    [  # arXiv 2603.01623, Table 6
        (4, 1, 0.0, 13),
        (4, 3, 0.0, 14),
        (4, 5, 0.0, 16),
        (2, 5, 0.75, 14),
        (8, 5, 0.0, 10),
        (6, 1, 0.0, 9),
        (6, 3, 0.0, 10),
        (6, 5, 0.0, 12),
        (2, 5, 3.0, 10),
    ],
)
def test_evaluations_of_the_papers_schedules(window, warmup, growth, evaluations):
    assert growing(50, window, growth, warmup).sum() == evaluations
    if growth == 0.0:
        assert np.array_equal(every(50, window, warmup=warmup), growing(50, window, growth, warmup))


def test_steps_of_the_papers_schedules(reference):
    assert steps(growing(50, 2, 0.75, 5)) == "0-4,6,8,11,15,20,25,31,38,46"
    assert steps(growing(50, 2, 3.0, 5)) == "0-4,6,11,19,30,44"
    _, published = reference
    assert np.flatnonzero(growing(50, 2, 0.75, 5)).tolist() == published["growing_n2_a0.75_w5"]
    assert np.flatnonzero(growing(50, 2, 3.0, 5)).tolist() == published["growing_n2_a3_w5"]
    assert np.flatnonzero(every(50, 4, warmup=3)).tolist() == published["every4_w3"]


limits = {"warmup": st.integers(1, 12), "tail": st.integers(0, 12), "max_skip": st.none() | st.integers(0, 12)}


@given(
    st.integers(1, 80),
    st.one_of(
        st.tuples(st.just(every), st.integers(1, 12)),
        st.tuples(st.just(growing), st.floats(1, 10), st.floats(0, 5)),
        st.tuples(st.just(mask), st.just([0])),
    ),
    st.fixed_dictionaries(limits),
)
def test_limits_hold(n, schedule, given_limits):
    make, *arguments = schedule
    evaluate = make(n, *arguments, **given_limits)
    assert evaluate.shape == (n,)
    assert evaluate.dtype == np.bool_
    assert evaluate[: given_limits["warmup"]].all()
    assert evaluate[max(0, n - given_limits["tail"]) :].all()
    if given_limits["max_skip"] is not None:
        runs = "".join("e" if step else "s" for step in evaluate).split("e")
        assert max(map(len, runs)) <= given_limits["max_skip"]


@given(st.integers(1, 100), st.data())
def test_budgets_are_met(n, data):
    evaluations = data.draw(st.integers(1, n))
    for evaluate in (budget(n, evaluations), even(n, evaluations)):
        assert evaluate.sum() == evaluations
        assert evaluate[0]


@given(st.integers(1, 100), st.integers(1, 5), st.integers(0, 5), st.data())
def test_even_is_even(n, warmup, tail, data):
    evaluations = data.draw(st.integers(1, n))
    evaluate = even(n, evaluations, warmup=warmup, tail=tail)
    assert evaluate.sum() == evaluations
    assert evaluate[: min(warmup, evaluations)].all()
    if evaluations >= warmup + tail:
        assert evaluate[n - tail :].all()
        gaps = np.diff(np.flatnonzero(evaluate)[warmup - 1 : evaluations - tail + (tail > 0)])
        assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


def test_budget_of_14_is_the_papers():
    assert np.array_equal(budget(50, 14), growing(50, 2, 0.75, 5))


def test_short_runs():
    for n in (1, 2):
        assert growing(n).all()
        assert every(n, 4, warmup=5).all()
        assert mask(n, [0]).sum() == 1
        assert budget(n, n).all()
    assert steps(every(2, 4)) == "0"


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_words_say_which_steps(flags):
    evaluate = np.array([True, *flags])
    numbers = []
    for word in steps(evaluate).split(","):
        first, _, last = word.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    assert numbers == np.flatnonzero(evaluate).tolist()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: every(0, 4), ValueError, "`n` is 0; write 1 or more"),
        (lambda: every(10, 0), ValueError, "`interval` is 0; write 1 or more"),
        (lambda: every(10, 1.5), TypeError, "`interval` is 1.5; write a whole number"),
        (lambda: growing(10, 0.5), ValueError, "`window` is 0.5; write 1"),
        (lambda: growing(10, 2, -1), ValueError, "`growth` is -1.0; write 0 or more"),
        (lambda: growing(10, warmup=0), ValueError, "`warmup` is 0; write 1 or more"),
        (lambda: growing(10, tail=-1), ValueError, "`tail` is -1; write 0 or more"),
        (lambda: growing(10, max_skip=-1), ValueError, "`max_skip` is -1"),
        (lambda: mask(10, [0, 10]), ValueError, "`evaluated` names step 10 of a run of 10; write 0 to 9"),
        (lambda: mask(10, [0, -1]), ValueError, "`evaluated` is -1"),
        (lambda: mask(10, [1, 2]), ValueError, "`evaluated` does not evaluate step 0"),
        (lambda: mask(10, np.ones(9, dtype=bool)), ValueError, r"`evaluated` has shape \(9,\); write one boolean"),
        (lambda: budget(10, 11), ValueError, "`evaluations` is 11 of a run of 10 steps; write 10 or fewer"),
        (lambda: even(10, 11), ValueError, "`evaluations` is 11 of a run of 10 steps; write 10 or fewer"),
        (lambda: even(10, 5, tail=-1), ValueError, "`tail` is -1; write 0 or more"),
        (lambda: budget(10, 0), ValueError, "`evaluations` is 0; write 1 or more"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_masks_are_not_shared():
    given_mask = np.array([True, False, False])
    schedules.mask(3, given_mask, tail=1)
    assert given_mask.tolist() == [True, False, False]
