"""What kept features say of the next error, against formulas with the kernel's own matrix, and words of refusals."""

import re

import numpy as np
import pytest
from numpy.polynomial import chebyshev

from spectral_forecast import AnalyticKernel, Newton, Reuse, bounds
from spectral_forecast.forecasters.analytic import kernel

TIMES = np.array([-1.0, -0.8, -0.5, -0.1])
FEATURES = np.random.default_rng(0).normal(size=(4, 6))
GRAM = FEATURES @ FEATURES.T


def kernel_matrix(times, rho):
    return kernel(times[:, None], times[None, :], rho)


# --- the estimate


@pytest.mark.parametrize("rule", [Reuse(), Newton(1), Newton(2)])
def test_the_estimate_is_the_past_error_times_the_ratio_of_worst_cases(rule):
    points = np.array([[0.1, 0.3], [0.5, 1.0]])
    found = bounds.estimate(rule, TIMES, points, GRAM, rho=2.5)
    replaced = rule.weights(TIMES[:3], TIMES[3])
    past = np.linalg.norm(FEATURES[3] - replaced @ FEATURES[:3])
    then = bounds.worst_case(replaced, TIMES[:3], TIMES[3], rho=2.5)
    now = [[bounds.worst_case(rule.weights(TIMES, t), TIMES, t, rho=2.5) for t in row] for row in points]
    assert found == pytest.approx(past * np.array(now) / then)
    one = bounds.estimate(rule, TIMES, 0.1, GRAM, rho=2.5)
    assert isinstance(one, float)
    assert one == pytest.approx(found[0, 0])


def test_two_features_give_an_estimate_and_one_gives_infinity():
    assert 0.0 < bounds.estimate(Reuse(), TIMES[:2], 0.1, GRAM[:2, :2], rho=2.0) < np.inf
    assert bounds.estimate(Reuse(), TIMES[:1], 0.1, GRAM[:1, :1], rho=2.0) == np.inf
    assert bounds.estimate(Reuse(), TIMES[:1], [0.1, 0.2], GRAM[:1, :1], rho=2.0).tolist() == [np.inf, np.inf]


def test_a_past_error_that_rounding_made_negative_is_none():
    assert bounds.estimate(Reuse(), TIMES[:2], 0.1, [[1.0, 1.0 + 1e-12], [1.0 + 1e-12, 1.0]], rho=2.0) == 0.0


# --- the norm


@pytest.mark.parametrize("rho", [1.3, 2.0, 5.0, 50.0])
@pytest.mark.parametrize("penalty", [1e-3, 0.5, 20.0])
def test_the_norm_is_that_of_the_fit(rho, penalty):
    inverse = np.linalg.inv(kernel_matrix(TIMES, rho) + penalty * np.eye(4))
    shown = np.trace(inverse @ GRAM)
    assert bounds.norm(TIMES, GRAM, rho=rho, ridge=penalty) == pytest.approx(np.sqrt(shown), rel=1e-10)
    noise = np.sqrt(0.3 * shown * penalty / 4)
    expected = np.sqrt(0.7 * shown)
    assert bounds.norm(TIMES, GRAM, rho=rho, ridge=penalty, noise=noise) == pytest.approx(expected, rel=1e-10)
    assert bounds.norm(TIMES, GRAM, rho=rho, ridge=penalty, noise=2.0 * noise) == 0.0


def test_by_default_the_norm_has_a_tiny_ridge_and_no_noise():
    value = bounds.norm(TIMES, GRAM, rho=2.0)
    assert isinstance(value, float)
    assert value == bounds.norm(TIMES, GRAM, rho=2.0, ridge=1e-10, noise=0.0)
    crowded = -1.0 + 1e-3 * np.arange(4)
    assert bounds.norm(crowded, GRAM, rho=2.0) == bounds.norm(crowded, GRAM, rho=2.0, ridge=1e-10)
    assert bounds.norm(crowded, GRAM, rho=2.0) != pytest.approx(bounds.norm(crowded, GRAM, rho=2.0, ridge=2e-10))


@pytest.mark.parametrize("rho", [1.0 + 1e-6, 1.0001, 1.01, 2.0, 1e100])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_the_norm_of_one_feature_is_known_however_close_the_singularity(rho, penalty):
    # At -1 all T_m**2 are 1: the terms that are not summed are known, not only bounded.
    expected = 3.0 / np.sqrt(1.0 / (1.0 - rho**-2.0) + penalty)
    assert bounds.norm([-1.0], [[9.0]], rho=rho, ridge=penalty) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rho", [1.0 + 1e-5, 1.0002, 1.0005])
def test_terms_that_are_not_summed_make_the_norm_smaller_only(rho):
    times = np.array([-1.0, -0.3, 1.0])
    exact = np.sqrt(np.trace(np.linalg.inv(kernel_matrix(times, rho)) @ GRAM[:3, :3]))
    assert 0.3 * exact <= bounds.norm(times, GRAM[:3, :3], rho=rho, ridge=0.0) <= exact * (1.0 + 1e-9)


@pytest.mark.parametrize("count", [6, 15, 120])
def test_without_a_ridge_rounding_of_the_inner_products_is_not_taken_for_roughness(count):
    rng = np.random.default_rng(1)
    times = np.linspace(-1.0, -0.98, count)
    for _ in range(20):
        c = rng.normal(size=(1, 3))
        kept = chebyshev.chebval(times, c.T)
        size = np.sqrt(np.sum((c * 8.0 ** np.arange(3)) ** 2))
        assert bounds.norm(times, kept.T @ kept, rho=8.0, ridge=0.0) <= size


def test_the_norm_scales_with_the_features():
    shown = bounds.norm(TIMES, GRAM, rho=2.0)
    for scale in (1e-8, 1e8):
        assert bounds.norm(TIMES, scale**2 * GRAM, rho=2.0) == pytest.approx(scale * shown)


def test_directions_that_the_kernel_does_not_have_in_double_precision_show_nothing():
    # Constants only: the mean of the features is all that counts.
    expected = np.linalg.norm(FEATURES.mean(axis=0))
    assert bounds.norm(TIMES, GRAM, rho=1e200, ridge=0.0) == pytest.approx(expected)


def test_noise_without_a_ridge_leaves_nothing():
    assert bounds.norm(TIMES, GRAM, rho=2.0, ridge=0.0, noise=1e-3) == 0.0
    assert bounds.norm(TIMES, GRAM, rho=2.0, ridge=0.0, noise=0.0) > 0.0
    assert bounds.norm(TIMES, GRAM, rho=2.0, noise=np.inf) == 0.0


# --- the interval


@pytest.mark.parametrize("slack", [0.0, 0.01, 2.0, 5.0])
def test_the_interval_is_around_the_distance_to_the_kernels_forecast(slack):
    points = np.array([[0.1, 0.3], [0.5, 1.0]])
    w = np.stack([[Newton(1).weights(TIMES, t) for t in row] for row in points])
    low, high = bounds.interval(w, TIMES, points, GRAM, rho=2.0, slack=slack)
    for i in np.ndindex(2, 2):
        best = AnalyticKernel(2.0, ridge=1e-10, drift=-1).weights(TIMES, points[i])
        apart = np.linalg.norm((best - w[i]) @ FEATURES)
        around = bounds.power(best, TIMES, points[i], rho=2.0) * slack * bounds.norm(TIMES, GRAM, rho=2.0)
        assert low[i] == pytest.approx(max(apart - around, 0.0))
        assert high[i] == pytest.approx(apart + around)
        one = bounds.interval(w[i], TIMES, points[i], GRAM, rho=2.0, slack=slack)
        assert one == pytest.approx((low[i], high[i]))
        assert [type(limit) for limit in one] == [float, float]


def test_by_default_the_norm_may_be_twice_what_it_seems():
    w = Newton(1).weights(TIMES, 0.3)
    assert bounds.interval(w, TIMES, 0.3, GRAM, rho=2.0) == bounds.interval(w, TIMES, 0.3, GRAM, rho=2.0, slack=2.0)


def test_rules_broadcast_against_targets_and_there_may_be_none():
    rules = np.stack([Reuse().weights(TIMES, 0.3), Newton(1).weights(TIMES, 0.3)])
    low, high = bounds.interval(rules, TIMES, 0.3, GRAM, rho=2.0)
    assert low.shape == high.shape == (2,)
    assert (low[1], high[1]) == pytest.approx(bounds.interval(rules[1], TIMES, 0.3, GRAM, rho=2.0))
    assert [limit.shape for limit in bounds.interval(rules[1], TIMES, [], GRAM, rho=2.0)] == [(0,), (0,)]


def test_a_distance_that_rounding_made_imaginary_is_none():
    best = AnalyticKernel(2.0, ridge=1e-10, drift=-1).weights(TIMES, 0.3)
    w = best + np.array([1.0, -1.0, 0.0, 0.0])
    gram = np.ones((4, 4)) + 1e-12 * (np.ones((4, 4)) - np.eye(4))
    low, high = bounds.interval(w, TIMES, 0.3, gram, rho=2.0, slack=0.0)
    assert (low, high) == (0.0, 0.0)


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0, np.nan, 1.0]])
def test_an_interval_is_for_one_finite_weight_a_time(weights):
    message = f"`weights` is {np.asarray(weights)}; write one finite weight for each of the 4 `times`."
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        bounds.interval(weights, TIMES, 0.3, GRAM, rho=2.0)


# --- the likely ellipse


def unlikely(times, gram, rho, penalty):
    """The profiled negative log-likelihood, from the kernel's closed form."""
    matrix = kernel_matrix(times, rho)
    matrix += penalty * np.trace(matrix) / times.size * np.eye(times.size)
    return np.linalg.slogdet(matrix)[1] / times.size + np.log(np.trace(np.linalg.solve(matrix, gram)))


@pytest.mark.parametrize("count", [3, 6, 14, 40])
@pytest.mark.parametrize("penalty", [1e-6, 1e-3, 0.1])
def test_the_likely_ellipse_has_the_least_negative_log_likelihood(count, penalty):
    rng = np.random.default_rng(count)
    candidates = np.geomspace(1.1, 12.0, 400)
    for rho in (1.5, 3.0, 8.0):
        times = np.sort(rng.uniform(-1.0, 1.0, count))
        c = rng.normal(size=(60, 80)) * rho ** -np.arange(80.0)
        kept = chebyshev.chebval(times, c.T) + np.sqrt(penalty) * rng.normal(size=(60, count))
        gram = kept.T @ kept
        expected = min(candidates, key=lambda r: unlikely(times, gram, r, penalty))
        found = bounds.likely_rho(times, gram, candidates=candidates, ridge=penalty)
        assert isinstance(found, float)
        assert found == pytest.approx(expected, rel=1e-12)


def test_the_default_candidates_and_ridge():
    times = np.linspace(-1.0, 0.9, 10)
    c = np.random.default_rng(2).normal(size=(60, 80)) * 2.0 ** -np.arange(80.0)
    kept = chebyshev.chebval(times, c.T)
    gram = kept.T @ kept
    candidates = np.geomspace(1.02, 10.0, 60)
    assert bounds.likely_rho(times, gram) == bounds.likely_rho(times, gram, candidates=candidates, ridge=1e-8)
    assert bounds.likely_rho(times, gram, candidates=[[2.0, 2.5], [3.0, 4.0]]) == 2.0
    assert bounds.likely_rho(times, gram, candidates=7.0) == 7.0


def test_features_without_noise_have_a_likely_ellipse_without_a_ridge():
    times = np.linspace(-1.0, 0.5, 12)
    kept = np.exp(np.outer(times, [0.3, -0.2]))  # smoother than double precision shows
    found = {bounds.likely_rho(times, kept @ kept.T, ridge=penalty) for penalty in (0.0, 1e-15, 1e-14)}
    assert len(found) == 1


def test_two_features_or_none_but_zeros_have_no_likely_ellipse():
    message = "`times` holds {} of features; write at least 3, and a `gram` that is not zero."
    with pytest.raises(ValueError, match="^" + re.escape(message.format(2)) + "$"):
        bounds.likely_rho(TIMES[:2], GRAM[:2, :2])
    with pytest.raises(ValueError, match="^" + re.escape(message.format(4)) + "$"):
        bounds.likely_rho(TIMES, np.zeros((4, 4)))
    assert bounds.likely_rho(TIMES[:3], GRAM[:3, :3]) > 1.0


# --- refusals

W = Newton(1).weights(TIMES, 0.3)
CALLS = {
    "estimate": lambda times=TIMES, gram=GRAM, **more: bounds.estimate(
        Newton(1), times, 0.3, gram, **{"rho": 2.0, **more}
    ),
    "norm": lambda times=TIMES, gram=GRAM, **more: bounds.norm(times, gram, **{"rho": 2.0, **more}),
    "interval": lambda times=TIMES, gram=GRAM, **more: bounds.interval(W, times, 0.3, gram, **{"rho": 2.0, **more}),
    "likely_rho": lambda times=TIMES, gram=GRAM, **more: bounds.likely_rho(times, gram, **more),
}
BEYOND = "`times` span [-1.1, -0.1]; map the clock to [-1, 1]."
FLAT = "`gram` has shape (3, 3); write (4, 4), one row for each of `times`."


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("estimate", {"rho": np.nan}, "`rho` is nan; write a finite number."),
        ("estimate", {"rho": 1.0}, "`rho` is 1.0; write a finite number above 1, the sum of the ellipse's semi-axes."),
        ("norm", {"rho": np.nan}, "`rho` is nan; write a finite number."),
        ("norm", {"rho": 1.0}, "`rho` is 1.0; write a finite number above 1, the sum of the ellipse's semi-axes."),
        ("norm", {"ridge": -1.0}, "`ridge` is -1.0; write 0 or more."),
        ("norm", {"noise": -1.0}, "`noise` is -1.0; write 0 or more."),
        ("norm", {"times": [-1.1, -0.8, -0.5, -0.1]}, BEYOND),
        ("norm", {"times": [0.1, 0.8, 0.9, 1.1]}, "`times` span [0.1, 1.1]; map the clock to [-1, 1]."),
        ("norm", {"times": [0.1, 0.8, 0.8, 0.9]}, "`times` repeats at index 2"),
        ("interval", {"times": [-1.1, -0.8, -0.5, -0.1]}, BEYOND),
        ("interval", {"slack": -1.0}, "`slack` is -1.0; write 0 or more."),
        ("interval", {"rho": 1.001}, "`rho` is 1.001; write 1.01 or more"),
        ("interval", {"times": [0.1, 0.2, 0.3, 0.4]}, "`t` is 0.3, not after the last kept time 0.4"),
        ("likely_rho", {"times": [-1.1, -0.8, -0.5, -0.1]}, BEYOND),
        ("likely_rho", {"ridge": -1.0}, "`ridge` is -1.0; write 0 or more."),
        *((name, {"gram": np.eye(3)}, FLAT) for name in CALLS),
    ],
)
def test_what_says_nothing_is_refused(name, wrong, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        CALLS[name](**wrong)


def test_times_that_rounding_put_outside_are_inside():
    times = np.array([-1.0 - 1e-13, 0.0, 1.0 + 1e-13])
    assert bounds.norm(times, GRAM[:3, :3], rho=2.0) == pytest.approx(bounds.norm([-1, 0, 1], GRAM[:3, :3], rho=2.0))
    with pytest.raises(ValueError, match="map the clock"):
        bounds.norm([-1.0, 1.0 + 1e-11], np.eye(2), rho=2.0)
