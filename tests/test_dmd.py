"""Dynamic mode decomposition against the same in features, by a singular value decomposition of the tall matrix."""

import numpy as np
import pytest

from spectral_forecast import DMD, Newton, gram


def drawn(*size):
    """Random numbers, the same in every run."""
    return np.random.default_rng(7).normal(size=size)


def matrix(features):
    """The Gram matrix of the rows of an array."""
    total = np.zeros((0, 0))
    for k in range(len(features)):
        total = gram.append(total, gram.row(list(features[:k]), features[k]))
    return total


def modes(features, spacings, *, threshold=1e-4, cap=False):
    """Tu et al.'s exact modes of the rows, carried on for some spacings from the last one."""
    before, after = features[:-1].T, features[1:].T
    left, values, right = np.linalg.svd(before, full_matrices=False)
    leading = values > threshold * values[0]
    left, values, right = left[:, leading], values[leading], right[leading]
    mu, vectors = np.linalg.eig(left.T @ after @ right.T / values)
    exact = after @ right.T / values @ vectors
    amplitudes = np.linalg.lstsq(exact, after[:, -1].astype(complex), rcond=None)[0]
    if cap:
        mu = np.where(np.abs(mu) > 1.0, mu / np.abs(mu), mu)
    return (exact @ (mu.astype(complex) ** spacings * amplitudes)).real


@pytest.mark.parametrize("cap", [False, True])
@pytest.mark.parametrize("spacings", [1.0, 2.0, 0.75])
@pytest.mark.parametrize("count", [4, 5, 6])
def test_weights_from_inner_products_are_the_modes_of_the_features(count, spacings, cap):
    features = drawn(count, 20) + 3.0
    times = 0.5 * np.arange(count) - 2.0
    w = DMD(cap=cap).weights(times, times[-1] + 0.5 * spacings, matrix(features))
    assert w @ features == pytest.approx(modes(features, spacings, cap=cap), rel=1e-6, abs=1e-6)
    assert w[0] == 0.0


def test_singular_values_below_the_threshold_are_left_out():
    left, right = 10.0 * np.linalg.qr(drawn(20, 5))[0], np.linalg.qr(drawn(4, 4))[0]
    features = np.concatenate([(left[:, :4] * [1.0, 0.5, 0.19, 0.01] @ right).T, left[:, 4:].T + drawn(1, 20)])
    results = {}
    for threshold in (0.0, 0.1, 0.3, 0.9):
        w = DMD(threshold=threshold).weights(range(5), 6, matrix(features))
        assert w @ features == pytest.approx(modes(features, 2, threshold=threshold), rel=1e-6)
        results[threshold] = w[-1]
    assert len({round(value, 3) for value in results.values()}) == 4


@pytest.mark.parametrize("history", [4, 5, 6])
def test_no_more_than_the_history_enters(history):
    features = drawn(9, 12)
    w = DMD(history=history).weights(range(9), 10.5, matrix(features))
    assert w[: 1 - history].tolist() == [0.0] * (10 - history)
    expected = DMD(history=9).weights(range(history), history + 1.5, matrix(features[-history:]))
    assert w[-history:] == pytest.approx(expected, rel=1e-6)
    assert w @ features == pytest.approx(modes(features[-history:], 2.5), rel=1e-6)


def test_only_equally_spaced_features_enter():
    features = drawn(6, 12)
    w = DMD().weights([0, 5, 6, 7, 8, 9], 10, matrix(features))
    assert w @ features == pytest.approx(modes(features[-5:], 1), rel=1e-6)


@pytest.mark.parametrize("times", [[0], [0, 1], [0, 1, 2], [0, 2, 3, 4]])
def test_fewer_than_four_equally_spaced_features_make_a_line(times):
    features = drawn(len(times), 12)
    assert DMD().weights(times, 6, matrix(features)).tolist() == Newton(1).weights(times, 6).tolist()


def test_a_feature_of_zero_has_no_mode_at_any_threshold():
    features = np.array([[0.0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 3], [1, 1, 1]])
    assert DMD(threshold=0.0).weights(range(5), 5, matrix(features)) @ features == pytest.approx(modes(features, 1))


@pytest.mark.parametrize("features", [np.zeros((6, 3)), np.concatenate([np.zeros((5, 3)), np.ones((1, 3))])])
def test_without_modes_the_newest_feature_is_repeated(features):
    assert DMD().weights(range(6), 7, matrix(features)).tolist() == [0, 0, 0, 0, 0, 1]


def test_what_overflows_is_repeated():
    # One mode that grows a thousandfold per spacing, a thousand spacings on.
    features = 1000.0 ** np.arange(5.0)[:, None]
    assert DMD().weights(range(5), 1004, matrix(features)).tolist() == [0, 0, 0, 0, 1]
    # Squares of the newest feature and of the differences to it are finite, of the older features they are not.
    parts = 1e154 * np.array([0.3, 0.2, 0.3, 0.1, 1.2])
    assert DMD().weights(range(5), 6, np.outer(parts, parts)).tolist() == [0, 0, 0, 0, 1]


def test_the_published_settings_are_the_default():
    assert DMD() == DMD(history=6, threshold=1e-4, cap=False)
    assert DMD(4, 0.0).threshold == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DMD(3), r"`history` is 3; write 4 or more\."),
        (lambda: DMD(threshold=-1.0), r"`threshold` is -1\.0; write 0 or more\."),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()
