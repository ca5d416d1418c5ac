"""Shrink against its definition, by features and norms, on times with unequal gaps."""

import numpy as np
import pytest

from spectral_forecast import Newton, Reuse, Shrink, TaylorSeer, gram, spectrum

TIMES = np.array([-1.0, -0.9, -0.7, -0.65, -0.3, -0.2, 0.1])
T = 0.25


def matrix(features):
    """The Gram matrix of the rows of an array."""
    total = np.zeros((0, 0))
    for k in range(len(features)):
        total = gram.append(total, gram.row(list(features[:k]), features[k]))
    return total


def disagreement(rule, other, features, t, times):
    """How far the forecast of one rule is from that of another, relative to its size."""
    forecast = rule.weights(times, t) @ features
    return np.linalg.norm(forecast - other.weights(times, t) @ features) / np.linalg.norm(forecast)


@pytest.mark.parametrize("count", range(4, 8))
@pytest.mark.parametrize(("rule", "other"), [(spectrum(), Newton(1)), (Newton(2), TaylorSeer(2)), (Newton(1), Reuse())])
def test_shrunk_by_the_disagreement_over_its_usual_size(rule, other, count):
    features = np.random.default_rng(count).normal(1.0, 2.0, size=(count, 4))
    times = TIMES[:count]
    past = [disagreement(rule, other, features[:k], times[k], times[:k]) for k in range(3, count)]
    ratio = disagreement(rule, other, features, T, times) / np.median(past)
    kappa = 1.0 / (1.0 + ratio * (T - times[-1]) / (times[-1] - times[-2]))
    expected = features[-1] + kappa * (rule.weights(times, T) @ features - features[-1])
    w = Shrink(rule, other).weights(times, T, matrix(features))
    assert w @ features == pytest.approx(expected, rel=1e-10)
    assert w.sum() == pytest.approx(kappa * rule.weights(times, T).sum() + 1.0 - kappa)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_nothing_is_shrunk_before_the_fourth_feature(count):
    features = np.random.default_rng(0).normal(size=(count, 4))
    w = Shrink(spectrum(), Newton(1)).weights(TIMES[:count], T, matrix(features))
    assert np.array_equal(w, spectrum().weights(TIMES[:count], T))


def test_nothing_is_shrunk_where_the_rules_used_to_agree():
    features = np.array([[1.0], [1.0], [1.0], [1.0], [1.0], [3.0]])
    w = Shrink(Newton(1), Reuse()).weights(range(6), 6, matrix(features))
    assert w == pytest.approx(Newton(1).weights(range(6), 6))


def test_forecasts_of_zero_do_not_disagree():
    # Past forecasts are 0 and 5 against 1 and 3: disagreements of 0 and 2 / 5.
    features = np.array([[3.0], [2.0], [1.0], [3.0], [2.0]])
    kappa = 1.0 / (1.0 + 1.0 / (0.5 * 2 / 5))
    w = Shrink(Newton(1), Reuse()).weights(range(5), 5, matrix(features))
    assert w @ features == pytest.approx(2.0 - kappa)
    # Now the forecast itself is 0.
    features = np.array([[1.0], [2.0], [4.0], [2.0], [1.0]])
    w = Shrink(Newton(1), Reuse()).weights(range(5), 5, matrix(features))
    assert w == pytest.approx([0, 0, 0, -1, 2])


def test_lives_where_both_rules_do():
    assert Shrink(Newton(1), Reuse()).affine
    assert not Shrink(spectrum(), Reuse()).affine
    assert not Shrink(Newton(1), spectrum()).affine
