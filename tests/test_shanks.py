"""Shanks's transformation against sums of powers, against a recurrence fitted to the features, and by hand."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectral_forecast import Newton, Shanks, gram


def matrix(features):
    """The Gram matrix of the rows of an array."""
    total = np.zeros((0, 0))
    for k in range(len(features)):
        total = gram.append(total, gram.row(list(features[:k]), features[k]))
    return total


def forecast(rule, times, t, features):
    return rule.weights(times, t, matrix(features)) @ features


def recurrence(differences, order, steps):
    """Differences ``steps`` ahead by the recurrence that fits these best, its roots put into the unit disk."""
    past = np.array([differences[i - order : i][::-1].T for i in range(order, len(differences))])
    a = np.linalg.lstsq(past.reshape(-1, order), differences[order:].ravel(), rcond=None)[0]
    roots = np.roots(np.append(1.0, -a))
    a = -np.poly(roots / np.maximum(np.abs(roots), 1.0))[1:]
    known = list(differences)
    for _ in range(steps):
        known.append(a @ known[: -order - 1 : -1])
    return np.array(known[len(differences) :])


@pytest.mark.parametrize("q", [1.0, 1 - 5e-7, 1 - 2e-6, 0.9, 0.5, 0.02, -0.02, -0.5, -1.0])
@pytest.mark.parametrize("rule", [Shanks(), Shanks(1, window=5), Shanks(1, window=9)], ids=repr)
def test_the_newest_difference_is_multiplied_by_a_sum_of_powers(rule, q):
    features = np.cumsum(q ** np.arange(-2.0, 3.0))[:, None]
    times = 0.25 * np.arange(5)
    for n in (1, 2, 5, 20):
        w = rule.weights(times, times[-1] + 0.25 * n, matrix(features))
        expected = q**2 * math.fsum(q**k for k in range(1, n + 1))
        assert w @ features - features[-1] == pytest.approx(expected, rel=1e-8, abs=1e-11)
        assert w.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("rule", [Shanks(), Shanks(1, window=5)], ids=repr)
@pytest.mark.parametrize("n", [0.5, 1.75])
def test_powers_that_are_not_whole_take_the_principal_branch(rule, n):
    q, features = -0.5, np.cumsum((-0.5) ** np.arange(-2.0, 3.0))[:, None]
    expected = q**2 * q * (1 - abs(q) ** n * math.cos(math.pi * n)) / (1 - q)
    assert forecast(rule, np.arange(5), 4 + n, features) - features[-1] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("growth", [0.5, 1.0, 1.6])
@pytest.mark.parametrize(
    ("rule", "count", "used", "order"),
    [
        (Shanks(1, window=3), 5, 3, 1),
        (Shanks(1, window=4), 7, 4, 1),
        (Shanks(1, window=9), 7, 7, 1),
        (Shanks(2), 7, 5, 2),
        (Shanks(2, window=6), 7, 6, 2),
        (Shanks(2), 4, 4, 1),
        (Shanks(3), 6, 6, 2),
        (Shanks(3, window=8), 9, 8, 3),
    ],
    ids=repr,
)
def test_the_recurrence_is_fitted_to_the_newest_equally_spaced_features(rule, count, used, order, growth, seed):
    """Whatever was kept before them, as many as the window holds, and of the highest order that they determine."""
    features = growth ** np.arange(count)[:, None] * np.random.default_rng(seed).normal(size=(count, 8))
    differences = recurrence(np.diff(features[-used:], axis=0), order, 4)
    times = np.append(-7.0, np.arange(3.0, 3.0 + 2 * (count - 1), 2.0)) if count > used else 2.0 * np.arange(count)
    for n in (1, 2, 4):
        found = forecast(rule, times, times[-1] + 2.0 * n, features)
        assert found == pytest.approx(features[-1] + differences[:n].sum(axis=0), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("rule", [Shanks(2), Shanks(2, window=7)], ids=repr)
@pytest.mark.parametrize("steps", [0.3, 1.0, 2.5])
def test_damped_oscillations_are_forecast_exactly(rule, steps):
    draw, times = np.random.default_rng(0), 0.5 * np.arange(7)
    constant, real, imaginary = draw.normal(size=(3, 6))

    def feature(t):
        return constant + np.real((real + 1j * imaginary) * np.exp((-0.2 + 1.3j) * np.asarray(t)[..., None]))

    assert forecast(rule, times, 3.0 + steps, feature(times)) == pytest.approx(feature(3.0 + steps), abs=1e-8)


@pytest.mark.parametrize("rule", [Shanks(), Shanks(2), Shanks(3, window=9)], ids=repr)
@pytest.mark.parametrize("moved", [0, 1])
def test_features_that_stand_still_are_kept(rule, moved):
    for value in (0.0, 1.0):
        for count in range(1 + moved, 10):
            features = np.full((count + moved, 2), value)
            features[:moved] = 5.0
            assert forecast(rule, range(len(features)), 11.5, features) == pytest.approx(features[-1])


@pytest.mark.parametrize("unit", [1e-140, 1e-3, 1.0, 1e140])
@pytest.mark.parametrize("rule", [Shanks(), Shanks(2), Shanks(2, window=6)], ids=repr)
def test_weights_have_no_unit(rule, unit):
    for times in (np.arange(7), np.cumsum([0, 1, 2, 1, 3, 1, 2])):
        features = np.array([0.9, 0.7, 0.5]) ** times[:, None] * [1.0, 2.0, -3.0]
        expected = rule.weights(times, 1.2 * times[-1], matrix(features))
        assert rule.weights(times, 1.2 * times[-1], matrix(unit * features)) == pytest.approx(expected)
        assert rule.weights(unit * times, 1.2 * unit * times[-1], matrix(features)) == pytest.approx(expected)


@pytest.mark.parametrize("rule", [Shanks(), Shanks(2), Shanks(1, window=5)], ids=repr)
@pytest.mark.parametrize(
    ("values", "ratio"),
    [
        ([9.0, 0.0, 2.0, 0.0], -0.5),
        ([9.0, 0.0, 2.0, 1.0], -0.25),
        ([9.0, 0.0, 1.0, -9.0], -1.0),
        ([9.0, 0.0, 2.0, 2.0], 0.0),
        ([9.0, 0.0, 1.0, 4.0], 1.0),
        ([9.0, 0.0, 1.0, 9.0], 1.0),
        ([9.0, 1.0, 1.0, 2.0], 1.0),
        ([1.0, 2.0], 1.0),
    ],
)
def test_on_unequal_gaps_a_ratio_that_no_decay_explains_is_taken_and_clipped(rule, values, ratio):
    """The gaps are 1 and 2; the ratio is that of the difference quotients."""
    features, times = np.array(values)[:, None], np.array([-4.0, 0.0, 1.0, 3.0])[-len(values) :]
    for n in (1, 2):
        expected = features[-1] + (features[-1] - features[-2]) * sum(ratio**k for k in range(1, n + 1))
        assert forecast(rule, times, 3.0 + 2.0 * n, features) == pytest.approx(expected)
    if ratio == 1.0:
        assert rule.weights(times, 8.0, matrix(features)) == pytest.approx(Newton(1).weights(times, 8.0))


@pytest.mark.parametrize("order", [1, 2, 3])
@given(st.data())
def test_is_exact_on_geometric_sequences(order, data):
    ratios = data.draw(st.lists(st.floats(0.1, 0.95), min_size=order, max_size=order))
    ratios = np.sort(ratios)
    if np.diff(ratios, append=2.0).min() < 0.15:
        return
    steps = data.draw(st.sampled_from([1.0, 2.0, 0.5, 2.5]))
    parts = np.random.default_rng(0).normal(size=(order + 1, 6))
    times = np.arange(2 * order + 1.0)

    def feature(t):
        return parts[0] + ratios ** np.asarray(t)[..., None] @ parts[1:]

    features = feature(times)
    w = Shanks(order).weights(times, times[-1] + steps, matrix(features))
    tolerance = {1: 1e-13, 2: 1e-9, 3: 1e-6}[order]
    assert np.abs(w @ features - feature(times[-1] + steps)).max() <= tolerance
    assert w.sum() == pytest.approx(1.0)


@given(
    st.floats(0.02, 0.999),
    st.floats(0.1, 5.0),
    st.floats(0.1, 5.0),
    st.floats(0.1, 5.0),
)
def test_order_1_is_exact_on_any_three_times(q, before, gap, ahead):
    times = np.array([0.0, before, before + gap])
    constant, factor = np.random.default_rng(0).normal(size=(2, 5))
    features = constant + np.outer(q**times, factor)
    w = Shanks().weights(times, times[-1] + ahead, matrix(features))
    expected = constant + q ** (times[-1] + ahead) * factor
    # Differences carry the rounding of the features.
    rounding = 1e-15 / (q**before * -np.expm1(np.log(q) * min(before, gap)))
    assert np.abs(w @ features - expected).max() <= (1 + ahead / min(before, gap)) ** 2 * (1e-13 + 10 * rounding)


@pytest.mark.parametrize("stretch", [1e-10, 1e-7, 1e-5])
def test_order_1_is_exact_on_gaps_that_are_almost_equal(stretch):
    times = np.array([0.0, 1.0, 2.0, 3.0 + stretch])
    assert forecast(Shanks(), times, 9.0, 0.5 ** times[:, None]) == pytest.approx(0.5**9, rel=1e-13)


def test_the_usual_formula_is_not_exact_on_unequal_gaps():
    times, q = np.array([0.0, 1.0, 3.0]), 0.5
    features = q ** times[:, None]
    quotients = np.diff(features[:, 0]) / np.diff(times)
    usual = quotients[1] / quotients[0]
    forecast = features[2] + (features[2] - features[1]) * usual * (1 - usual) / (1 - usual)
    assert abs(forecast[0] - q**5.0) > 0.03
    assert Shanks().weights(times, 5.0, matrix(features)) @ features == pytest.approx(q**5.0, abs=1e-15)


def test_by_hand():
    # Differences 2 then -1: q = -1/2; one gap ahead +1/2.
    features = np.array([[0.0], [2.0], [1.0]])
    assert Shanks().weights([0, 1, 2], 3, matrix(features)) == pytest.approx([0, 0.5, 0.5])
    assert Shanks().weights([0, 1, 2], 2.5, matrix(features)) @ features == pytest.approx(1 + 1 / 3)
    # A growing sequence is clipped to a line.
    growing = np.array([[0.0], [1.0], [3.0]])
    assert Shanks().weights([0, 1, 2], 4, matrix(growing)) == pytest.approx(Newton(1).weights([0, 1, 2], 4))
    still = np.ones((3, 2))
    assert Shanks().weights([0, 1, 2], 4, matrix(still)).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_keeps_lines(order):
    times = np.arange(7.0)
    features = 3.0 + np.outer(times, [1.0, -2.0])
    w = Shanks(order).weights(times, 9.5, matrix(features))
    assert w @ features == pytest.approx(3.0 + 9.5 * np.array([1.0, -2.0]), rel=1e-5)


def test_averages_noise_over_a_longer_window():
    draw, times = np.random.default_rng(3), np.arange(12.0)
    errors = {None: [], 12: []}
    for _ in range(30):
        parts = draw.normal(size=(2, 50))
        features = parts[0] + np.outer(0.9**times, parts[1]) + 5e-3 * draw.normal(size=(12, 50))
        expected = parts[0] + 0.9**19 * parts[1]
        for window, found in errors.items():
            found.append(np.linalg.norm(Shanks(1, window).weights(times, 19, matrix(features)) @ features - expected))
    assert np.median(errors[12]) < 0.8 * np.median(errors[None])


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_default_window_is_the_least(order):
    features = np.random.default_rng(0).normal(size=(9, 12))
    least = Shanks(order, window=2 * order + 1)
    assert forecast(least, range(9), 10.5, features) == pytest.approx(forecast(Shanks(order), range(9), 10.5, features))


def test_one_feature_is_reused():
    assert Shanks().weights([3.0], 4.0, np.ones((1, 1))).tolist() == [1.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Shanks(0), "`order` is 0; write 1 or more."),
        (lambda: Shanks(1, window=0), "`window` is 0; write 1 or more."),
        (lambda: Shanks(1, window=2), "`window` is 2; write `2 * order + 1` = 3 or more."),
        (lambda: Shanks(2, window=4), "`window` is 4; write `2 * order + 1` = 5 or more."),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
