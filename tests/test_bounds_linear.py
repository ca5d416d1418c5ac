"""Worst cases of weighted sums, against sums in extended precision, closed forms and words of refusals."""

import re
import tracemalloc

import numpy as np
import pytest
from numpy.polynomial import chebyshev

from spectral_forecast import Chebyshev, Newton, Reuse, bounds, make_plan, schedules
from spectral_forecast.forecasters.analytic import kernel

TIMES = np.array([-1.0, -0.8, -0.5, -0.1])
W = Newton(2).weights(TIMES, 0.3)
NEAR = [1.0 + 1e-3, 1.0 + 1e-5, 1.0 + 1e-6, 1.0 + 1e-7]


def misses(w, times, t, degree):
    """E_m up to a degree on [-1, 1], in the longest floating-point format."""
    angles = np.arccos(np.append(times, t).astype(np.longdouble))
    return np.cos(np.outer(np.arange(degree + 1), angles)) @ np.append(-np.asarray(w), 1.0).astype(np.longdouble)


@pytest.mark.parametrize("rho", [1.0 + 1e-12, *NEAR, 1.5, 3.0, 1e3, 1e200])
def test_without_weights_the_worst_case_is_that_of_the_feature(rho):
    # E_m = T_m(1) = 1 for all m: geometric series. Close to 1 most of them is what the sum leaves to its bound.
    beta, power = (of([0.0], [-1.0], 1.0, rho=rho) for of in (bounds.worst_case, bounds.power))
    assert 1.0 - 1e-9 <= beta / ((rho + 1.0) / (rho - 1.0)) <= 1.0 + 1e-9
    assert 1.0 - 1e-9 <= power / (-np.expm1(-2.0 * np.log(rho))) ** -0.5 <= 1.0 + 1e-6


@pytest.mark.parametrize("rho", [1.01, 1.1, 1.5, 3.0, 30.0, 1e5])
@pytest.mark.parametrize("t", [0.1, 0.7, 1.0])
def test_values_are_those_of_a_sum_in_extended_precision_and_never_below(rho, t):
    for rule in (Reuse(), Newton(1), Newton(2), Chebyshev(3)):
        w = rule.weights(TIMES, t)
        missed = np.abs(misses(w, TIMES, t, 4000))
        decay = np.longdouble(rho) ** -np.arange(4001)
        rounding = 1e-14 * (1.0 + np.abs(w).sum()) / (1.0 - 1.0 / rho) ** 2 + 1e-12
        for found, exact in (
            (bounds.worst_case(w, TIMES, t, rho=rho), missed[0] + 2.0 * np.sum((decay * missed)[1:])),
            (bounds.power(w, TIMES, t, rho=rho), np.sqrt(np.sum((decay * missed) ** 2))),
        ):
            assert exact <= found <= exact + rounding


def test_rounding_of_high_orders_is_added():
    """Angles are good to an ulp, their multiples of high orders are not."""
    rho, degree = 1.00025, 160_000
    decay = np.longdouble(rho) ** -np.arange(degree + 1)
    for t in (-0.538, -0.5256, 0.3):  # angles whose rounding is of opposite signs
        times = [t - 0.0005]  # so close that a whole series of misses feels the same error of an angle
        missed = decay * np.abs(misses([1.0], times, t, degree))
        assert missed[0] + 2.0 * np.sum(missed[1:]) <= bounds.worst_case([1.0], times, t, rho=rho)
        assert np.sqrt(np.sum(missed**2)) <= bounds.power([1.0], times, t, rho=rho)


@pytest.mark.parametrize("rho", [1.0 + 1e-12, *NEAR])
def test_power_stays_in_proportion_close_to_the_interval(rho):
    points, signed = np.append(TIMES, 0.3), np.append(-W, 1.0)
    exact = np.sqrt(signed @ kernel(points[:, None], points[None, :], rho) @ signed)
    assert exact * (1.0 - 1e-3) <= bounds.power(W, TIMES, 0.3, rho=rho) <= 4.0 * exact


@pytest.mark.parametrize("rho", [1.8, 4.0])
def test_times_on_both_sides_of_the_interval(rho):
    times, t = np.array([-1.1, -1.02, -0.3]), 1.12
    w = Newton(2).weights(times, t)
    missed = np.abs(chebyshev.chebvander(np.append(times, t), 500).T @ np.append(-w, 1.0)) * rho ** -np.arange(501.0)
    assert bounds.worst_case(w, times, t, rho=rho) == pytest.approx(2.0 * missed.sum() - missed[0], rel=1e-10)
    assert bounds.power(w, times, t, rho=rho) == pytest.approx(np.sqrt(np.sum(missed**2)), rel=1e-10)


def test_a_time_that_is_barely_inside_has_a_value_still():
    rho = np.nextafter(4.0, 5.0)
    t = 2.125  # on the ellipse of parameter 4
    assert np.isfinite(bounds.worst_case([1.0], [0.0], t, rho=rho))
    with pytest.raises(ValueError, match="outside the ellipse"):
        bounds.worst_case([1.0], [0.0], t, rho=4.0)


def test_many_forecasts_of_long_series_are_those_one_by_one():
    points = np.linspace(0.0, 1.0, 25)  # more than are summed at once
    w = np.stack([Newton(1).weights(TIMES, t) for t in points])
    whole = bounds.worst_case(w, TIMES, points, rho=1.0002)
    some = [0, 19, 20, 24]
    assert whole[some] == pytest.approx(
        [bounds.worst_case(w[i], TIMES, points[i], rho=1.0002) for i in some], rel=1e-12
    )


@pytest.mark.parametrize("of", [bounds.worst_case, bounds.power])
def test_rules_targets_and_radii_broadcast(of):
    rules = np.stack([Reuse().weights(TIMES, 0.3), W])
    points, rho = np.array([0.3, 0.5, 0.9]), np.array([2.0, 3.0, 4.0, 5.0])
    whole = of(rules[:, None, None], TIMES, points[:, None], rho=rho)
    assert whole.shape == (2, 3, 4)
    for i, j, k in np.ndindex(2, 3, 4):
        one = of(rules[i], TIMES, points[j], rho=rho[k])
        assert isinstance(one, float)
        assert whole[i, j, k] == pytest.approx(one, rel=1e-12)
    assert of(rules, TIMES, 0.3, rho=2.0) == pytest.approx(of(rules, TIMES, [0.3, 0.3], rho=[2.0, 2.0]))
    assert of(W, TIMES, np.zeros(0), rho=2.0).shape == (0,)


def test_each_rule_has_its_own_noise():
    rules = np.stack([Reuse().weights(TIMES, 0.3), W])
    loud, quiet = (bounds.worst_case(rules, TIMES, 0.3, rho=2.0, noise=noise) for noise in ([0.5, 2.0], 0.0))
    assert loud - quiet == pytest.approx([0.5, 2.0 * np.abs(W).sum()])


def test_easy_series_are_short():
    """Terms that add nothing take memory and time: the longest series have 200,000."""
    tracemalloc.start()
    bounds.worst_case(W, TIMES, 0.3, rho=2.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000


def test_bound_and_noise_scale_their_parts():
    beta, mass = bounds.worst_case(W, TIMES, 0.3, rho=2.0), np.abs(W).sum()
    assert bounds.worst_case(W, TIMES, 0.3, rho=2.0, bound=1.0, noise=0.0) == beta
    for bound in (0.0, 1.0, 2.5):
        for noise in (0.0, 1.0, 3.0):
            value = bounds.worst_case(W, TIMES, 0.3, rho=2.0, bound=bound, noise=noise)
            assert value == pytest.approx(bound * beta + noise * mass, rel=1e-14)


def test_what_is_not_known_is_infinite():
    assert bounds.worst_case(np.zeros(4), TIMES, 0.3, rho=2.0, noise=np.inf) == np.inf
    assert bounds.worst_case(W, TIMES, 0.3, rho=2.0, bound=[0.0, np.inf]).tolist() == [0.0, np.inf]


@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_weights_of_other_dtypes_are_taken_in_double_precision(kind):
    w = (W * 10.0).astype(kind)
    for of in (bounds.worst_case, bounds.power, bounds.worst_function):
        assert np.array_equal(of(w, TIMES, 0.3, rho=2.0), of(w.astype(np.float64), TIMES, 0.3, rho=2.0))
    loud = {"rho": 2.0, "bound": 0.0, "noise": 1.0}
    assert bounds.worst_case(w, TIMES, 0.3, **loud) == np.sum(np.abs(w.astype(np.float64)))


# --- the worst function


def test_the_worst_function_has_the_largest_coefficients_and_the_signs_of_the_misses():
    w = Reuse().weights(TIMES, 0.3)
    missed = misses(w, TIMES, 0.3, 256)
    c = bounds.worst_function(w, TIMES, 0.3, rho=1.5)
    limits = 2.0 * 1.5 ** -np.arange(257.0)
    limits[0] = 1.0
    # Reuse keeps constants: E_0 is 0, and so without a sign.
    assert missed[0] == 0.0
    assert c == pytest.approx(np.where(missed < 0.0, -limits, limits), rel=1e-14)
    assert bounds.worst_function(w, TIMES, 0.3, rho=1.5, bound=3.0, degree=5) == pytest.approx(3.0 * c[:6], rel=1e-14)
    assert bounds.worst_function(w, TIMES, 0.3, rho=1.5, bound=0.0, degree=0).tolist() == [0.0]
    assert bounds.worst_function([-2.0], [-1.0], 0.3, rho=1.5, degree=0).tolist() == [1.0]
    assert bounds.worst_function([2.0], [-1.0], 0.3, rho=1.5, degree=0).tolist() == [-1.0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rho": np.nan}, "`rho` is nan; write a finite number."),
        ({"rho": 1.0}, "`rho` is 1.0; write a finite number above 1, the sum of the ellipse's semi-axes."),
        ({"rho": 2.0, "degree": -1}, "`degree` is -1; write 0 or more."),
        ({"rho": 2.0, "bound": -1.0}, "`bound` is -1.0; write 0 or more."),
        ({"rho": 2.0, "bound": np.inf}, "`bound` is inf; write a finite number."),
        ({"t": 1.2, "rho": 1.1}, "`times` and `t` span [-1, 1.2], outside the ellipse of parameter 1.1,"),
    ],
)
def test_worst_function_refuses(wrong, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        bounds.worst_function(W, TIMES, **{"t": 0.3, **wrong})


@pytest.mark.parametrize("weights", [[1.0], 1.0, np.ones((4, 1)), [0.0, 0.0, np.inf, 1.0], np.full((2, 4), np.nan)])
def test_weights_are_one_for_each_time_and_finite(weights):
    message = f"`weights` is {np.asarray(weights)}; write one finite weight for each of the 4 `times`."
    for of in (bounds.worst_case, bounds.power, bounds.worst_function):
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            of(weights, TIMES, 0.3, rho=2.0)


@pytest.mark.parametrize("name", ["bound", "noise"])
def test_worst_case_names_the_size_that_is_negative(name):
    with pytest.raises(ValueError, match=re.escape(f"`{name}` is -1.0; write 0 or more.")):
        bounds.worst_case(W, TIMES, 0.3, rho=2.0, **{name: -1.0})


# --- the Lebesgue function


def test_lebesgue_sums_the_sizes_of_the_weights_at_every_target():
    points = np.array([[0.0, 0.2], [0.5, 1.0]])
    expected = [[np.abs(Newton(2).weights(TIMES, t)).sum() for t in row] for row in points]
    assert bounds.lebesgue(Newton(2), TIMES, points) == pytest.approx(np.array(expected))
    assert isinstance(bounds.lebesgue(Newton(2), TIMES, 0.5), float)
    assert bounds.lebesgue(Newton(1), [3, 5], 6) == pytest.approx(2.0)  # on any clock


# --- plans


@pytest.mark.parametrize("keep", [None, 2])
@pytest.mark.parametrize("span", [None, (0.0, 20.0)])
def test_the_worst_cases_of_a_plan_are_those_of_its_forecasts(keep, span):
    clock, evaluate = np.arange(12.0) + 0.1 * np.arange(12) ** 1.5, schedules.growing(12, 2, 1.0, 3)
    plan = make_plan(Newton(1), clock, evaluate, keep=keep, span=span)
    beta = bounds.of_plan(plan, clock, rho=1.8, span=span)
    start, end = span or (clock[0], clock[-1])
    tau = 2.0 * (clock - start) / (end - start) - 1.0
    assert np.isnan(beta).tolist() == evaluate.tolist()
    for step in np.flatnonzero(~evaluate):
        kept = np.flatnonzero(evaluate[:step])[-2:]
        w = Newton(1).weights(tau[kept], tau[step])
        assert beta[step] == pytest.approx(bounds.worst_case(w, tau[kept], tau[step], rho=1.8), rel=1e-9)


def test_of_plan_wants_the_clock_of_the_plan():
    plan = make_plan(Reuse(), np.arange(8), schedules.every(8, 2))
    with pytest.raises(ValueError, match=r"^`times` holds 7 steps, the plan has 8; write the plan's own clock\.$"):
        bounds.of_plan(plan, np.arange(7), rho=2.0)
    with pytest.raises(ValueError, match=r"^`times` repeats at index 1"):
        bounds.of_plan(plan, np.zeros(8), rho=2.0)
