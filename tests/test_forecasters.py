"""Laws that every forecaster obeys, and what each one says of itself."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import FORECASTERS, nodes, runs
from numpy.polynomial import chebyshev

import spectral_forecast as sf
from spectral_forecast import Chebyshev, Newton, Reuse, TaylorSeer, make_plan, schedules, spectrum

every_rule = pytest.mark.parametrize("rule", FORECASTERS, ids=repr)


@every_rule
@given(nodes(), st.lists(st.floats(-1, 1), min_size=8, max_size=8))
def test_reproduces_polynomials_of_its_degree_on_any_nodes(rule, drawn, coefficients):
    times, t = drawn
    w = rule.weights(times, t)
    assert w.shape == times.shape
    assert w.dtype == np.float64
    assert np.isfinite(w).all()
    degree = min(rule.exactness, times.size - 1)
    polynomial = coefficients[: degree + 1]
    if degree < 0:
        return
    mass = 1.0 + np.abs(w).sum()
    assert abs(w.sum() - 1.0) <= 1e-12 * mass
    forecast = w @ chebyshev.chebval(times, polynomial)
    assert abs(forecast - chebyshev.chebval(t, polynomial)) <= 1e-11 * mass * (1 + np.abs(polynomial).sum())


@every_rule
def test_does_not_reproduce_the_degree_above(rule):
    times, t = np.array([-1.0, -0.93, -0.8, -0.72, -0.5, -0.41, -0.3]), 0.1
    above = rule.exactness + 1
    # Two numbers of nodes, because Floater and Hormann's rule keeps a degree more on every other number.
    errors = [rule.weights(kept, t) @ kept**above - t**above for kept in (times, times[1:])]
    assert max(map(abs, errors)) > 1e-4


@every_rule
@given(runs(), st.sampled_from([2.0**-10, 0.5, 1.0, 64.0]), st.integers(-1000, 1000), st.sampled_from([None, 1, 3]))
def test_plans_do_not_change_with_the_clock(rule, drawn, scale, shift, keep):
    times, evaluate = drawn
    plan = make_plan(rule, times, evaluate, keep=keep)
    other = make_plan(rule.with_step(None, scale=scale), scale * times + shift, evaluate, keep=keep)
    mass = 1.0 + np.abs(plan.weights).sum(axis=1, keepdims=True)
    assert (np.abs(plan.weights - other.weights) <= 1e-10 * mass).all()
    assert np.array_equal(plan.slot, other.slot)


@every_rule
@given(nodes(least=2), st.data())
def test_degrades_gracefully_with_few_nodes(rule, drawn, data):
    times, t = drawn
    few = data.draw(st.integers(1, times.size))
    w = rule.weights(times[-few:], t)
    assert w.shape == (few,)
    assert np.isfinite(w).all()
    if rule.exactness >= 0:
        assert abs(w.sum() - 1.0) <= 1e-12 * (1 + np.abs(w).sum())
        if few == 1:
            assert w[0] == pytest.approx(1.0, abs=1e-15)


@every_rule
@settings(max_examples=1000)
@given(nodes(most=20))
def test_weights_are_finite_from_one_node_to_twenty(rule, drawn):
    times, t = drawn
    w = rule.weights(times, t)
    assert w.shape == times.shape
    assert np.isfinite(w).all()


@every_rule
def test_is_data(rule):
    clone = eval(repr(rule), vars(sf))
    assert clone.weights([-1.0, 0.0, 0.25], 0.5) == pytest.approx(rule.weights([-1.0, 0.0, 0.25], 0.5), abs=1e-15)
    assert hash(rule) == hash(eval(repr(rule), vars(sf)))
    assert isinstance(rule, sf.LinearForecaster)


def test_forward_is_not_backward():
    times = [-1.0, -0.9, -0.6, -0.5]
    values = np.array([1.0, 2.0, 4.0, 8.0])
    for rule in FORECASTERS[1:]:
        if rule != Newton(0) and rule != TaylorSeer(0):
            w = rule.weights(times, -0.2)
            assert abs(w @ values - w @ values[::-1]) > 0.5


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=6, unique=True), st.integers(51, 80))
def test_newton_is_lagrange_in_exact_arithmetic(times, t):
    times = sorted(times)
    exact = []
    for j, x in enumerate(times):
        value = Fraction(1)
        for k, y in enumerate(times):
            if k != j:
                value *= Fraction(t - y, x - y)
        exact.append(float(value))
    assert Newton(5).weights(times, t) == pytest.approx(exact, rel=1e-13)


def test_newton_of_order_1_and_taylorseer_of_order_1_agree():
    assert TaylorSeer(1).weights([0, 1, 4], 9) == pytest.approx(Newton(1).weights([0, 1, 4], 9))


def test_taylorseer_of_order_2_by_hand():
    # gaps 1 then 2: D1 = (c - b)/2, D2 = (D1 - (b - a)/1)/2; horizon 2: c + 2 D1 + 2 D2.
    assert TaylorSeer(2).weights([0, 1, 3], 5) == pytest.approx([1.0, -2.5, 2.5])


@pytest.mark.parametrize("blend", [1, 0.5])
@pytest.mark.parametrize("schedule", ["growing_n2_a0.75_w5", "growing_n2_a3_w5", "every4_w3"])
def test_parity_with_the_released_spectrum(reference, schedule, blend):
    forecast, expected = _replay(reference, spectrum(blend), schedule, f"spectrum/{schedule}/w{blend}/float32")
    errors = np.linalg.norm(forecast - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert errors.max() < 1e-5


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("schedule", ["growing_n2_a0.75_w5", "growing_n2_a3_w5", "every4_w3"])
def test_parity_with_taylorseer(reference, schedule, order):
    forecast, expected = _replay(reference, TaylorSeer(order), schedule, f"taylorseer/{schedule}/order{order}")
    errors = np.linalg.norm(forecast - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert errors.max() < 1e-9


def _replay(reference, rule, schedule, name):
    """Forecasts of all skipped steps by ``rule``, and those of the reference."""
    arrays, evaluated = reference
    features = arrays["features"]
    plan = make_plan(rule, np.arange(50), schedules.mask(50, evaluated[schedule]), span=(0, 50))
    run, forecasts, skipped = plan.start(), [], ~plan.evaluate
    for step in range(50):
        if run.evaluates(step):
            run.keep(step, features[step])
        else:
            forecasts.append(run.forecast(step))
    return np.array(forecasts), arrays[name][skipped]


def test_the_papers_weights_do_not_sum_to_one_and_the_free_modes_do():
    def sums(rule):
        masks = (schedules.growing(50), schedules.growing(50, 2, 3.0))
        return np.concatenate([make_plan(rule, np.arange(50), m, span=(0, 50)).weights.sum(axis=1)[~m] for m in masks])

    paper = sums(spectrum())
    assert (round(paper.min(), 2), round(paper.max(), 2)) == (0.65, 0.96)
    assert sums(spectrum(mode="free")) == pytest.approx(1.0, abs=1e-12)


def test_spectrum_names_its_parts():
    assert spectrum() == Chebyshev(4, 0.1, 0)
    assert spectrum(0.0) == Newton(1)
    assert spectrum(mode="free", degree=0) == Chebyshev(0, 0.1, 1)
    times, t = [-1.0, -0.5, 0.0], 0.5
    blend = 0.25 * Chebyshev(4, 0.1).weights(times, t) + 0.75 * Newton(1).weights(times, t)
    assert spectrum(0.25).weights(times, t) == pytest.approx(blend)


def test_arithmetic_of_rules():
    times, t = [-1.0, -0.5, 0.0], 0.5
    both = (Newton(2) + Reuse()) / 2
    assert both.weights(times, t) == pytest.approx(0.5 * Newton(2).weights(times, t) + np.array([0, 0, 0.5]))
    assert (Newton(1) - Reuse()).weights(times, t) == pytest.approx(Newton(1).weights(times, t) - np.array([0, 0, 1]))
    assert (-Reuse()).weights(times, t) == pytest.approx([0, 0, -1])
    assert both.exactness == 0
    assert (Newton(2) + Reuse()).exactness == -1
    for nonsense in (lambda: Newton(1) + 1, lambda: Newton(1) * "a", lambda: Newton(1) - None, lambda: Newton() / []):
        with pytest.raises(TypeError):
            nonsense()


@every_rule
@pytest.mark.parametrize(
    ("times", "t", "message"),
    [
        ([], 0.5, r"`times` has shape \(0,\)"),
        ([[0.0, 0.1]], 0.5, r"`times` has shape \(1, 2\)"),
        ([0.0, 0.2, 0.1], 0.5, r"`times` decreases at index 2 .*-sigmas"),
        ([0.0, 0.2, 0.2], 0.5, "`times` repeats at index 2"),
        ([0.0, np.nan], 0.5, "`times` holds a NaN or an infinity at index 1"),
        ([0.0, 0.2], 0.2, "`t` is 0.2, not after the last kept time 0.2"),
        ([0.0, 0.2], 0.1, "`t` is 0.1, not after"),
        ([0.0, 0.2], np.inf, "`t` is inf; write a finite number"),
    ],
)
def test_bad_times(rule, times, t, message):
    with pytest.raises(ValueError, match=message):
        rule.weights(times, t)


def test_global_rules_refuse_another_clock():
    with pytest.raises(ValueError, match=r"lives on \[-1, 1\]; map the run's clock"):
        Chebyshev().weights([0, 1, 2], 3)
    with pytest.raises(ValueError, match=r"Combination|lives on"):
        spectrum(0.5).weights([0, 1, 2], 3)
    assert Newton(2).weights([0, 1, 2], 3) == pytest.approx([1, -3, 3])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Chebyshev(-1), ValueError, "`degree` is -1; write 0 or more"),
        (lambda: Chebyshev(2.5), TypeError, "`degree` is 2.5; write a whole number"),
        (lambda: Chebyshev(4, ridge=-0.1), ValueError, "`ridge` is -0.1; write 0 or more"),
        (lambda: Chebyshev(4, ridge=np.nan), ValueError, "`ridge` is nan; write a finite number"),
        (lambda: Chebyshev(4, free=6), ValueError, "`free` is 6; write at most"),
        (lambda: Newton(-1), ValueError, "`order` is -1"),
        (lambda: TaylorSeer(-1), ValueError, "`order` is -1"),
        (lambda: spectrum(1.5), ValueError, "`blend` is 1.5"),
        (lambda: spectrum(mode="best"), ValueError, "`mode` is 'best'"),
    ],
)
def test_bad_parameters(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_times_too_close_for_float64_are_a_typed_error():
    with pytest.raises(sf.FitError, match="no finite weights"):
        Newton(3).weights([-1e-300, 0.0, 1e-300, 2e-300], 1.0)
