"""The bounds as functions: true, sharp where they say so, broadcasting, and refusing what has no bound."""

import warnings
from math import factorial

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.polynomial import chebyshev

from spectral_forecast import AnalyticKernel, Chebyshev, Newton, Reuse, bounds, schedules
from spectral_forecast.forecasters.analytic import kernel
from spectral_forecast.theory import strategies as draw

CLOCK = 2.0 * np.arange(50) / 50 - 1.0
TIMES = np.array([-1.0, -0.8, -0.5, -0.1])


# --- Theorem 3.1


@given(st.integers(0, 8), st.floats(-1.5, 1.5), st.floats(0.0, 1e6), st.floats(-2.0, 2.0))
def test_taylor_is_attained_by_its_extremal_function(order, horizon, limit, origin):
    t = origin + horizon
    value = bounds.taylor_extremal(t, order, origin=origin, derivative=limit)
    assert np.abs(value) == pytest.approx(bounds.taylor(t - origin, order, derivative=limit), rel=1e-13, abs=1e-300)
    assert abs(value) == pytest.approx(
        limit * abs(t - origin) ** (order + 1) / factorial(order + 1), rel=1e-12, abs=1e-300
    )


@given(st.integers(0, 6), st.floats(-1.0, 1.0), st.floats(-3.0, 3.0), st.floats(-1.0, 1.0))
def test_taylor_holds_for_exponentials(order, horizon, rate, origin):
    terms = [np.exp(rate * origin) * (rate * horizon) ** j / factorial(j) for j in range(order + 1)]
    error = abs(np.exp(rate * (origin + horizon)) - sum(terms))
    limit = abs(rate) ** (order + 1) * max(np.exp(rate * origin), np.exp(rate * (origin + horizon)))
    assert error <= bounds.taylor(horizon, order, derivative=limit) + 1e-13 * np.exp(6.0)


def test_taylor_noise_is_the_sum_of_the_terms():
    assert bounds.taylor(0.5, 2, derivative=0.0, noise=0.1) == pytest.approx(0.1 * (1 + 0.5 + 0.125))


def test_taylor_of_a_high_order_does_not_overflow():
    assert 0.0 < bounds.taylor(40.0, 300) < 1e-100
    assert bounds.taylor(1e200, 3) == np.inf
    assert bounds.taylor(0.0, 1, derivative=np.inf) == 0.0
    assert bounds.taylor(1e-300, 3, derivative=np.inf) == np.inf


# --- Theorem 3.2


@given(draw.radii, st.integers(0, 12), st.data())
def test_truncation_holds_for_every_series_of_the_class(rho, degree, data):
    c = data.draw(draw.series(rho))
    x = np.append(np.linspace(-1.0, 1.0, 21), data.draw(st.floats(-1.0, 1.0)))
    tail = np.where(np.arange(c.size) > degree, c, 0.0)
    assert np.max(np.abs(chebyshev.chebval(x, tail))) <= bounds.truncation(degree, rho) * (1 + 1e-12) + 1e-13


@given(st.floats(1.05, 20.0), st.integers(0, 12), st.floats(0.0, 0.95))
def test_truncation_is_the_sum_of_its_tail_inside_the_ellipse_too(rho, degree, share):
    r = rho**share
    x = (r + 1 / r) / 2
    m = np.arange(degree + 1, degree + 4000)
    exact = np.sum(np.exp(m * np.log(r / rho)) + np.exp(-m * np.log(r * rho)))
    found = bounds.truncation(degree, rho, at=x)
    assert exact <= found * (1 + 1e-6)
    assert share > 0 or exact == pytest.approx(found, rel=1e-6)


# --- Theorem 3.3


def refuted(evaluate):
    """Steps at which the error on T_5 exceeds the printed bound, and all errors and bounds by step."""
    rows = {}
    for step in np.flatnonzero(~evaluate):
        times, t = CLOCK[:step][evaluate[:step]], CLOCK[step]
        feature = np.cos(5 * np.arccos(np.append(times, t)))
        error = abs(feature[-1] - Chebyshev(4, ridge=0.1).weights(times, t) @ feature[:-1])
        known = {"degree": 4, "ridge": 0.1, "truncation": 1.0, "coefficients": 0.0}
        rows[int(step)] = error, bounds.ridge_unsound(times, t, **known), bounds.ridge(times, t, **known)
    return rows


def test_the_printed_form_is_refuted_by_the_counterexample():
    rows = refuted(schedules.growing(50, 2, 3.0, 5))
    assert len(rows) == 40
    assert sum(error > printed for error, printed, _ in rows.values()) == 15
    assert all(error <= corrected for error, _, corrected in rows.values())
    error, printed, _ = rows[43]
    assert (round(error, 3), round(printed, 3)) == (4.149, 1.803)


def test_the_corrected_form_is_the_printed_one_at_the_worst_singular_value():
    values = np.linalg.svd(chebyshev.chebvander(TIMES, 2), compute_uv=False)
    amplification = np.max(values / (values**2 + 0.1))
    expected = 2.0 * (1 + np.sqrt(3 * 4) * amplification) + np.sqrt(3) * 0.1 / (values[-1] ** 2 + 0.1) * 5.0
    assert bounds.ridge(TIMES, 0.1, degree=2, truncation=2.0, coefficients=5.0) == pytest.approx(expected)
    assert amplification <= 1 / (2 * np.sqrt(0.1))


@given(st.floats(1.1, 8.0), draw.runs(), st.integers(0, 6), st.floats(1e-5, 1e2), st.data())
def test_ridge_holds_and_its_terms_add_up(rho, run, degree, penalty, data):
    times, t = run
    c = data.draw(draw.series(rho))
    w = Chebyshev(degree, ridge=penalty).weights(times, t)
    signed = chebyshev.chebval(t, c) - w @ chebyshev.chebval(times, c)
    assert abs(signed) <= bounds.ridge(times, t, rho=rho, degree=degree, ridge=penalty) * (1 + 1e-9)
    terms = bounds.ridge_terms(times, t, c, degree=degree, ridge=penalty)
    assert sum(terms) == pytest.approx(signed, abs=1e-9 * (1 + np.abs(w).sum()))


def test_terms_are_those_of_the_normal_equations():
    c = np.array([1.0, -0.5, 0.25, 0.7, -0.3])
    phi, row = chebyshev.chebvander(TIMES, 2), chebyshev.chebvander(0.2, 2)[0]
    inverse = np.linalg.inv(phi.T @ phi + 0.1 * np.eye(3))
    tail = np.where(np.arange(5) > 2, c, 0.0)
    terms = bounds.ridge_terms(TIMES, 0.2, c, degree=2, ridge=0.1)
    assert terms.truncation == pytest.approx(chebyshev.chebval(0.2, tail))
    assert terms.aliasing == pytest.approx(-row @ inverse @ phi.T @ chebyshev.chebval(TIMES, tail))
    assert terms.shrinkage == pytest.approx(0.1 * row @ inverse @ c[:3])


def test_without_a_penalty_there_is_no_bound_while_the_fit_is_not_determined():
    assert bounds.ridge(TIMES, 0.2, rho=2.0, degree=4, ridge=0.0) == np.inf
    assert np.isfinite(bounds.ridge(TIMES, 0.2, rho=2.0, degree=3, ridge=0.0))
    assert bounds.ridge(TIMES, 0.2, rho=2.0, ridge=[0.0, 0.1])[0] == np.inf


def test_a_singular_value_lost_in_rounding_is_not_trusted():
    times = np.linspace(-1.0, -1.0 + 1e-6, 8)  # six Chebyshev polynomials, which float64 cannot tell apart here
    values = np.linalg.svd(chebyshev.chebvander(times, 5), compute_uv=False)
    assert values[-1] < 1e-14 * values[0]
    # The bias term is that of a singular value of 0: the penalty decides.
    known = {"degree": 5, "truncation": 0.0, "coefficients": 1.0}
    assert bounds.ridge(times, 0.0, ridge=1e-60, **known) == pytest.approx(np.sqrt(6))
    assert bounds.ridge(times, 0.0, ridge=0.0, **known) == np.inf


@pytest.mark.parametrize("growth", [0.75, 3.0])
@pytest.mark.parametrize("rho", [1.2, 1.5, 2.0, 3.0, 5.0])
def test_the_exact_worst_case_is_never_above_theorem_3_3(growth, rho):
    evaluate = schedules.growing(50, 2, growth, 5)
    for step in np.flatnonzero(~evaluate):
        times, t = CLOCK[:step][evaluate[:step]], CLOCK[step]
        beta = bounds.worst_case(Chebyshev(4, ridge=0.1).weights(times, t), times, t, rho=rho)
        assert beta <= bounds.ridge(times, t, rho=rho)


# --- the exact worst case


@given(st.floats(1.05, 20.0), draw.runs(), draw.rules, st.data())
def test_worst_case_holds_for_series_vectors_and_noise(rho, run, rule, data):
    times, t = run
    w = rule.weights(times, t)
    c = data.draw(draw.vectors(rho))
    noise = data.draw(st.sampled_from([0.0, 1e-3, 1.0]))
    shaken = noise * np.array(data.draw(st.lists(st.sampled_from([-1, 1]), min_size=w.size, max_size=w.size)))
    error = chebyshev.chebval(t, c.T) - (chebyshev.chebval(times, c.T) + shaken / np.sqrt(len(c))) @ w
    limit = bounds.worst_case(w, times, t, rho=rho, noise=noise)
    assert np.linalg.norm(error) <= limit * (1 + 1e-9) + 1e-11 * (1 + np.abs(w).sum())


@given(st.floats(1.1, 20.0), draw.runs(), draw.rules)
def test_worst_case_is_attained(rho, run, rule):
    times, t = run
    w = rule.weights(times, t)
    degree = int(np.ceil(35 / np.log(rho)))
    c = bounds.worst_function(w, times, t, rho=rho, bound=3.0, degree=degree)
    assert (np.abs(c[1:]) <= 6.0 * rho ** -np.arange(1.0, degree + 1) * (1 + 1e-12)).all()
    error = abs(chebyshev.chebval(t, c) - w @ chebyshev.chebval(times, c))
    limit = bounds.worst_case(w, times, t, rho=rho, bound=3.0)
    assert error == pytest.approx(limit, rel=1e-6, abs=1e-9 * (1 + np.abs(w).sum()))


@given(st.floats(1.01, 20.0), draw.runs(), draw.rules)
def test_worst_case_is_never_below_a_long_sum(rho, run, rule):
    times, t = run
    w = rule.weights(times, t)
    orders = np.arange(20_000)
    missed = np.abs(np.cos(np.outer(orders, np.arccos(np.append(times, t)))) @ np.append(-w, 1.0))
    with np.errstate(under="ignore"):
        exact = missed[0] + 2.0 * np.sum(rho ** -orders[1:].astype(float) * missed[1:])
    found = bounds.worst_case(w, times, t, rho=rho)
    assert exact <= found * (1 + 1e-15)
    assert found <= exact + 1e-8 * (1 + np.abs(w).sum())


def test_worst_case_reaches_beyond_the_interval_but_not_out_of_the_ellipse():
    w = Newton(1).weights(TIMES, 1.1)
    inside = bounds.worst_case(w, TIMES, 1.1, rho=2.0)
    pole = chebyshev.Chebyshev.interpolate(lambda x: 1 / (1.3 - x), 200)
    # 1 / (1.3 - x) is bounded by 20 in the ellipse, which ends at 1.25
    assert abs(1 / 0.2 - w @ (1 / (1.3 - TIMES))) <= 20.0 * inside
    assert pole(0.0) == pytest.approx(1 / 1.3)
    for t in (1.25, 1.3, 5.0):
        with pytest.raises(ValueError, match=r"outside the ellipse of parameter 2.*larger `rho`"):
            bounds.worst_case(w, TIMES, t, rho=2.0)
    with pytest.raises(ValueError, match=r"outside the ellipse"):
        bounds.worst_case(w, TIMES, 1.1, rho=[2.0, 1.2])


def test_worst_case_broadcasts():
    points = np.array([0.0, 0.3, 0.6])
    w = np.stack([Newton(2).weights(TIMES, t) for t in points])
    rho = np.array([[1.5], [3.0]])
    whole = bounds.worst_case(w, TIMES, points, rho=rho, bound=[1.0, 2.0, 0.0], noise=0.1)
    assert whole.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            one = bounds.worst_case(w[j], TIMES, points[j], rho=rho[i, 0], bound=[1.0, 2.0, 0.0][j], noise=0.1)
            assert isinstance(one, float)
            assert whole[i, j] == pytest.approx(one, rel=1e-12)


@given(draw.runs(least=2), st.floats(1.1, 10.0))
def test_noise_adds_the_lebesgue_function(run, rho):
    times, t = run
    w = Newton(1).weights(times, t)
    quiet, loud = (bounds.worst_case(w, times, t, rho=rho, noise=e) for e in (0.0, 0.5))
    assert loud - quiet == pytest.approx(0.5 * bounds.lebesgue(Newton(1), times, t), rel=1e-9, abs=1e-12 * loud)


# --- optimal recovery


@given(st.floats(1.05, 8.0), draw.runs(), draw.rules)
def test_power_is_the_quadratic_form_of_the_kernel(rho, run, rule):
    times, t = run
    w = np.append(-rule.weights(times, t), 1.0)
    points = np.append(times, t)
    squared = w @ kernel(points[:, None], points[None, :], rho) @ w
    scale = np.abs(w).sum() ** 2 * kernel(1.0, 1.0, rho)
    assert bounds.power(-w[:-1], times, t, rho=rho) ** 2 == pytest.approx(squared, abs=1e-11 * scale)


@given(st.floats(1.05, 5.0), draw.runs(), draw.rules)
def test_no_rule_has_less_power_than_the_kernel(rho, run, rule):
    times, t = run
    best = AnalyticKernel(rho, ridge=0.0, drift=-1).power(times, t)
    assert best <= bounds.power(rule.weights(times, t), times, t, rho=rho) * (1 + 1e-9) + 1e-12


@given(st.floats(1.05, 5.0), draw.runs(), draw.rules, st.data())
def test_power_norm_and_interval_hold(rho, run, rule, data):
    times, t = run
    c = data.draw(draw.vectors(rho))
    size = np.sqrt(np.sum((c * rho ** np.arange(c.shape[1])) ** 2))
    assume(size > 0)
    w = rule.weights(times, t)
    kept, truth = chebyshev.chebval(times, c.T), chebyshev.chebval(t, c.T)
    error = np.linalg.norm(truth - kept @ w)
    fuzz = 1e-11 * (1 + np.abs(w).sum()) * size
    assert error <= bounds.power(w, times, t, rho=rho) * size * (1 + 1e-9) + fuzz
    gram = kept.T @ kept
    shown = bounds.norm(times, gram, rho=rho)
    assert shown <= size * (1 + 1e-9)
    if shown > 0:
        low, high = bounds.interval(w, times, t, gram, rho=rho, slack=size / shown * (1 + 1e-6))
        assert low - 1e-7 * size - fuzz <= error <= high + 1e-7 * size + fuzz


def test_the_norm_with_noise_stays_below_the_norm():
    rng = np.random.default_rng(0)
    c = np.array([1.0, 0.5, 0.25])
    size = np.sqrt(np.sum((c * 2.0 ** np.arange(3)) ** 2))
    undeclared = []
    for _ in range(200):
        kept = chebyshev.chebval(TIMES, c) + 5e-2 * rng.choice([-1, 1], TIMES.size)
        gram = np.outer(kept, kept)
        assert 0.0 < bounds.norm(TIMES, gram, rho=2.0, noise=5e-2, ridge=1e-1) <= size
        undeclared.append(bounds.norm(TIMES, gram, rho=2.0, ridge=1e-12))
    assert max(undeclared) > size  # noise that is not declared looks like roughness
    assert bounds.norm(TIMES, gram, rho=2.0, noise=1e-2, ridge=0.0) == 0.0


def test_likely_rho_finds_the_ellipse_it_was_drawn_from():
    rng = np.random.default_rng(1)
    for rho in (1.3, 2.0, 4.0):
        c = rng.normal(size=(400, 60)) * rho ** -np.arange(60.0)
        kept = chebyshev.chebval(np.linspace(-1.0, 0.9, 14), c.T)
        assert bounds.likely_rho(np.linspace(-1.0, 0.9, 14), kept.T @ kept, ridge=0.0) == pytest.approx(rho, rel=0.1)


# --- the estimate


def test_estimate_is_the_past_error_times_the_ratio_of_worst_cases():
    features = np.random.default_rng(2).normal(size=(4, 9))
    rule, t = Newton(1), 0.3
    past = np.linalg.norm(features[-1] - rule.weights(TIMES[:-1], TIMES[-1]) @ features[:-1])
    now = bounds.worst_case(rule.weights(TIMES, t), TIMES, t, rho=2.0)
    then = bounds.worst_case(rule.weights(TIMES[:-1], TIMES[-1]), TIMES[:-1], TIMES[-1], rho=2.0)
    gram = features @ features.T
    assert bounds.estimate(rule, TIMES, t, gram, rho=2.0) == pytest.approx(past * now / then)
    apart = features - features[-1]
    assert bounds.estimate(rule, TIMES, t, apart @ apart.T, rho=2.0) == pytest.approx(past * now / then)
    assert bounds.estimate(rule, TIMES, [0.3, 0.4], gram, rho=2.0).shape == (2,)


def test_nothing_is_estimated_from_one_feature():
    assert bounds.estimate(Reuse(), [-1.0], 0.0, [[1.0]], rho=2.0) == np.inf


# --- what no rule can beat, and the sample


@given(st.integers(1, 80), st.floats(1.05, 10.0), st.floats(0.0, 0.999))
def test_chebyshev_polynomials_come_close_to_the_limit_of_extrapolation(n, rho, share):
    r = rho**share
    value = np.cosh(n * np.log(r))
    limit = bounds.extrapolation((r + 1 / r) / 2, rho=rho, noise=1.0, bound=np.cosh(n * np.log(rho)))
    assert value <= limit * (1 + 1e-9)
    assert value >= limit / 2 ** (1 - share) * (1 - 1e-6)


def test_the_exponent_falls_from_one_to_zero():
    targets = np.linspace(-0.499999, -0.2, 40)
    alpha = bounds.stable_exponent([-1.0, -0.5], targets, rho=2.0)
    assert alpha[0] > 0.98
    assert (np.diff(alpha) < 0).all()
    assert bounds.stable_exponent([-1.0, 0.999], 1.0, rho=50.0) > 0.9


def test_extrapolation_refuses_points_outside():
    with pytest.raises(ValueError, match="`x`"):
        bounds.extrapolation([1.0, 1.25], rho=2.0, noise=1e-3)
    assert bounds.extrapolation(0.3, rho=2.0, noise=1e-3) == 1e-3
    assert bounds.extrapolation(1.1, rho=2.0, noise=0.0) == 0.0
    assert bounds.extrapolation(1.1, rho=2.0, noise=np.inf, bound=np.inf) == np.inf
    assert bounds.extrapolation(1.1, rho=2.0, noise=1.0, bound=np.inf) == np.inf


@given(st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=12), st.floats(0.0, 5.0), st.data())
def test_propagation_is_attained(steps, rate, data):
    sigmas = np.concatenate([[0.0], np.cumsum(steps)])[::-1]
    errors = np.array(data.draw(st.lists(st.floats(0.0, 1.0), min_size=len(steps), max_size=len(steps))))
    x = 0.0
    for step, error in zip(np.diff(sigmas), errors, strict=True):
        x += step * (-rate * x - error)
    assert bounds.propagation(sigmas, errors, rate) == pytest.approx(x, rel=1e-9, abs=1e-300)
    many = bounds.propagation(sigmas, np.stack([errors, 2 * errors]), np.full(len(steps), rate))
    assert many == pytest.approx([x, 2 * x], rel=1e-9, abs=1e-300)


# --- refusals


W = np.array([0.0, 0.0, -1.0, 2.0])
GRAM = np.eye(4)
OF_RHO = {
    "truncation": lambda rho: bounds.truncation(4, rho),
    "ridge": lambda rho: bounds.ridge(TIMES, 0.1, rho=rho),
    "ridge_unsound": lambda rho: bounds.ridge_unsound(TIMES, 0.1, rho=rho),
    "worst_case": lambda rho: bounds.worst_case(W, TIMES, 0.1, rho=rho),
    "worst_function": lambda rho: bounds.worst_function(W, TIMES, 0.1, rho=rho),
    "power": lambda rho: bounds.power(W, TIMES, 0.1, rho=rho),
    "estimate": lambda rho: bounds.estimate(Newton(1), TIMES, 0.1, GRAM, rho=rho),
    "norm": lambda rho: bounds.norm(TIMES, GRAM, rho=rho),
    "interval": lambda rho: bounds.interval(W, TIMES, 0.1, GRAM, rho=rho),
    "stable_exponent": lambda rho: bounds.stable_exponent(TIMES, 0.1, rho=rho),
    "extrapolation": lambda rho: bounds.extrapolation(0.1, rho=rho, noise=0.1),
    "likely_rho": lambda rho: bounds.likely_rho(TIMES, GRAM, candidates=[2.0, rho]),
}


@pytest.mark.parametrize("rho", [1.0, 0.9, 0.0, -3.0, np.nan, np.inf])
@pytest.mark.parametrize("name", OF_RHO)
def test_no_bound_without_an_ellipse(name, rho):
    with pytest.raises(ValueError, match="`rho`"):
        OF_RHO[name](rho)


@pytest.mark.parametrize("value", [-1.0, -1e-300, np.nan])
def test_sizes_may_not_be_negative(value):
    calls = {
        "`derivative`": lambda: bounds.taylor(0.1, 1, derivative=value),
        "`noise`": lambda: bounds.worst_case(W, TIMES, 0.1, rho=2.0, noise=value),
        "`bound`": lambda: bounds.worst_case(W, TIMES, 0.1, rho=2.0, bound=[1.0, value]),
        "`ridge`": lambda: bounds.ridge(TIMES, 0.1, rho=2.0, ridge=value),
        "`errors`": lambda: bounds.propagation([1.0, 0.0], [value], 1.0),
        "`lipschitz`": lambda: bounds.propagation([1.0, 0.0], [1.0], value),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=name):
            call()
    for call in (
        lambda: bounds.truncation(2, 2.0, bound=value),
        lambda: bounds.ridge(TIMES, 0.1, rho=2.0, bound=value),
    ):
        with pytest.raises(ValueError, match="`bound`"):
            call()


@pytest.mark.parametrize("t", [-0.1, -0.5, np.nan, np.inf])
def test_targets_lie_after_the_kept_times(t):
    for call in (
        lambda: bounds.worst_case(W, TIMES, [0.1, t], rho=2.0),
        lambda: bounds.ridge(TIMES, t, rho=2.0),
        lambda: bounds.estimate(Newton(1), TIMES, t, GRAM, rho=2.0),
        lambda: bounds.interval(W, TIMES, t, GRAM, rho=2.0),
        lambda: bounds.lebesgue(Newton(1), TIMES, t),
    ):
        with pytest.raises(ValueError, match="`t`"):
            call()


def test_clocks_that_were_not_mapped_are_refused():
    steps = np.arange(5.0)
    for call in (
        lambda: bounds.worst_case(np.ones(5) / 5, steps, 6.0, rho=2.0),
        lambda: bounds.ridge(steps, 6.0, rho=2.0),
        lambda: bounds.norm(steps, np.eye(5), rho=2.0),
        lambda: bounds.interval(np.ones(5) / 5, steps, 6.0, np.eye(5), rho=2.0),
    ):
        with pytest.raises(ValueError, match=r"\[-1, 1\]"):
            call()


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="`weights`"):
        bounds.worst_case([1.0], TIMES, 0.1, rho=2.0)
    with pytest.raises(ValueError, match="`weights`"):
        bounds.power([0.0, 0.0, np.nan, 1.0], TIMES, 0.1, rho=2.0)
    with pytest.raises(ValueError, match=r"`gram` has shape \(2, 2\)"):
        bounds.estimate(Newton(1), TIMES, 0.1, np.eye(2), rho=2.0)
    with pytest.raises(ValueError, match="`errors`"):
        bounds.propagation([1.0, 0.5, 0.0], [1.0], 1.0)
    with pytest.raises(ValueError, match="`rho` is None"):
        bounds.ridge(TIMES, 0.1, truncation=1.0)
    with pytest.raises(ValueError, match="`at`"):
        bounds.truncation(3, 2.0, at=[0.0, 1.25])


def test_infinite_sizes_give_infinite_bounds_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bounds.worst_case(W, TIMES, 0.1, rho=2.0, bound=np.inf) == np.inf
        assert bounds.worst_case(W, TIMES, 0.1, rho=2.0, noise=np.inf) == np.inf
        assert bounds.ridge(TIMES, 0.1, rho=2.0, bound=np.inf) == np.inf
        assert bounds.truncation(5000, 2.0, bound=np.inf) == np.inf
        assert bounds.propagation([1.0, 0.0], [np.inf], 0.0) == np.inf
        assert bounds.propagation([1.0, 0.5, 0.0], [1.0, 0.0], np.inf) == np.inf
        assert np.isfinite(bounds.worst_case(W, TIMES, 0.1, rho=1.0 + 1e-12))
