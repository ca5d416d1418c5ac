"""The analytic kernel and its power function, and Blaschke's weights, against exact arithmetic."""

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import nodes
from test_ridge import solve

from spectral_forecast import AnalyticKernel, Blaschke, Newton, schedules
from spectral_forecast.forecasters.analytic import kernel

points = st.floats(-1.0, 1.0)


@given(points, points, st.sampled_from([1.01, 1.1, 1.5, 2.0, 3.0, 10.0]))
def test_the_closed_form_is_the_series(x, y, rho):
    m = np.arange(int(40 / np.log(rho)) + 2)
    terms = np.exp(-2.0 * np.log(rho) * m)
    series = np.sum(terms * np.cos(m * np.arccos(x)) * np.cos(m * np.arccos(y)))
    assert abs(kernel(x, y, rho) - series) <= 1e-13 * terms.sum()


def test_kernel_by_hand():
    # T_m(1) = 1 and T_m(-1) = (-1)^m: geometric series. At 0 and 0: T_2k = (-1)^k.
    assert kernel([1.0, 1.0, 0.0], [1.0, -1.0, 0.0], 2.0) == pytest.approx([4 / 3, 4 / 5, 16 / 15], rel=1e-15)
    assert kernel(np.zeros((3, 1)), np.zeros(4), 2.0).shape == (3, 4)


def test_kernel_takes_any_numbers_and_rounding_beyond_its_ends():
    assert kernel(1, -1, 2) == pytest.approx(4 / 5, rel=1e-15)
    narrow = np.array([0.3, -0.7], dtype=np.float32)
    assert np.array_equal(
        kernel(narrow, narrow, 1.5), kernel(narrow.astype(np.float64), narrow.astype(np.float64), 1.5)
    )
    assert kernel(1 + 5e-13, -1 - 5e-13, 2.0) == kernel(1.0, -1.0, 2.0)


def exact_kernel(x, y, rho, degree):
    """The series in fractions."""

    def polynomials(point):
        values = [Fraction(1), point]
        while len(values) <= degree:
            values.append(2 * point * values[-1] - values[-2])
        return values

    pairs = zip(polynomials(x), polynomials(y), strict=True)
    return sum(a * b / rho ** (2 * m) for m, (a, b) in enumerate(pairs))


def exact_kriging(ridge, drift, steps=(0, 1, 2, 4, 6, 9), target=12, length=20):
    """Times, target, weights and squared power function by the bordered system, in fractions, for rho = 2."""
    degree, rho = 56, Fraction(2)
    times, t = [Fraction(2 * step, length) - 1 for step in steps], Fraction(2 * target, length) - 1
    columns = range(drift + 1)
    matrix = [
        [exact_kernel(x, y, rho, degree) + (Fraction(ridge) if x == y else 0) for y in times] + [x**j for j in columns]
        for x in times
    ]
    matrix += [[y**j for y in times] + [0 for _ in columns] for j in columns]
    right = [exact_kernel(x, t, rho, degree) for x in times] + [t**j for j in columns]
    solution = solve(matrix, right)
    explained = sum(a * b for a, b in zip(solution, right, strict=True))
    weights = np.array([float(value) for value in solution[: len(times)]])
    nodes = np.array([float(x) for x in times])
    return nodes, float(t), weights, float(exact_kernel(t, t, rho, degree) - explained)


@pytest.mark.parametrize("ridge", ["1e-12", "1e-8", "1e-3", "1"])
@pytest.mark.parametrize("drift", [-1, 0, 1])
def test_weights_are_universal_kriging_in_exact_arithmetic(ridge, drift):
    times, t, expected, squared = exact_kriging(ridge, drift)
    rule = AnalyticKernel(2.0, float(Fraction(ridge)), drift)
    assert np.abs(rule.weights(times, t) - expected).max() <= 1e-10 * np.abs(expected).sum()
    assert rule.power(times, t) ** 2 == pytest.approx(squared, rel=1e-9)


def test_a_bordered_solve_would_not_do():
    steps = np.flatnonzero(schedules.growing(50))[:8].tolist()
    times, t, expected, _ = exact_kriging("1e-12", 1, steps, steps[-1] + 2, 50)
    drift = np.stack([np.ones_like(times), times], axis=1)
    matrix = kernel(times[:, None], times, 2.0) + 1e-12 * np.eye(8)
    bordered = np.block([[matrix, drift], [drift.T, np.zeros((2, 2))]])
    solved = np.linalg.solve(bordered, np.append(kernel(times, t, 2.0), [1.0, t]))[:8]
    ours = AnalyticKernel(2.0, 1e-12, 1).weights(times, t)
    mass = np.abs(expected).sum()
    assert np.abs(ours - expected).max() < 1e-11 * mass
    assert np.abs(solved - expected).max() > 1e4 * np.abs(ours - expected).max()


@given(nodes(), st.sampled_from([1.2, 2.0]), st.sampled_from([0.0, 1e-3]), st.integers(-1, 2), st.randoms())
def test_power_bounds_the_error(drawn, rho, ridge, drift, random):
    times, t = drawn
    rule = AnalyticKernel(rho, ridge, drift)
    c = np.random.default_rng(random.randrange(2**32)).normal(size=30) * rho ** -np.arange(30.0)
    norm = np.linalg.norm(c * rho ** np.arange(30.0))
    error = np.polynomial.chebyshev.chebval(t, c) - rule.weights(times, t) @ np.polynomial.chebyshev.chebval(times, c)
    assert abs(error) <= rule.power(times, t) * norm * (1 + 1e-9) + 1e-12


def test_power_is_attained():
    # The function with the worst error is the residual of the kernel itself.
    rule, times, t = AnalyticKernel(2.0, 0.0, -1), np.array([-1.0, -0.8, -0.5]), 0.0
    w = rule.weights(times, t)

    def worst(x):
        return kernel(x, t, 2.0) - kernel(np.asarray(x)[..., None], times, 2.0) @ w

    norm = np.sqrt(worst(t) - w @ worst(times))
    assert worst(t) - w @ worst(times) == pytest.approx(rule.power(times, t) * norm)
    assert rule.power(times, times) == pytest.approx(0.0, abs=1e-12)


def test_power_of_many_targets_is_power_of_each():
    rule, times = AnalyticKernel(), [-1.0, -0.7, -0.6]
    many = rule.power(times, [[-0.5, 0.0], [0.5, 1.0]])
    assert many.shape == (2, 2)
    assert many[1, 0] == pytest.approx(float(rule.power(times, 0.5)), rel=1e-13)
    assert (np.diff(many.ravel()) > 0).all()


@pytest.mark.parametrize(("rho", "drift"), [(1.1, 0), (2.0, 3), (1e4, 1), (1e10, -1), (1e10, 1), (1e10, 3)])
def test_power_is_what_the_weights_miss_of_the_series(rho, drift):
    rule, times, t = AnalyticKernel(rho, 0.0, drift), np.array([-1.0, -0.8, -0.5, -0.2]), 0.1
    w, m = rule.weights(times[: drift + 2], t), np.arange(max(drift + 1, 0), 600)

    def polynomials(x):
        return np.cos(m * np.arccos(x))

    missed = polynomials(t) - sum(a * polynomials(x) for a, x in zip(w, times, strict=False))
    scaled = rho ** (drift + 1.0 - m) * missed
    assert rule.power(times[: drift + 2], t) == pytest.approx(rho ** -(drift + 1.0) * np.linalg.norm(scaled), rel=1e-6)


def test_a_high_drift_is_kept_in_a_wide_ellipse():
    times, t = np.linspace(-1.0, 0.4, 9), 0.6
    w = AnalyticKernel(1e10, 0.1, 5).weights(times, t)
    assert w @ np.vander(times, 6) == pytest.approx(np.vander([t], 6)[0])


def test_rounding_beyond_the_ends_of_the_clock_is_no_error():
    rule, kept = AnalyticKernel(), [-0.5, 0.0]
    expected = rule.weights([-1.0, *kept], 1.0)
    assert rule.weights([-1 - 5e-13, *kept], 1 + 5e-13) == pytest.approx(expected)
    assert rule.power([-1 - 5e-13, *kept], 1 + 5e-13) == pytest.approx(rule.power([-1.0, *kept], 1.0))


def test_a_larger_drift_than_nodes_is_lowered():
    assert AnalyticKernel(2.0, 0.1, 5).weights([-1.0, 0.0, 0.5], 0.8) == pytest.approx(
        Newton(2).weights([-1.0, 0.0, 0.5], 0.8)
    )
    assert AnalyticKernel(2.0, 0.1, 1).weights([0.5], 0.8) == pytest.approx([1.0])


@given(
    st.lists(st.integers(-60, 60), min_size=1, max_size=7, unique=True),
    st.integers(61, 64),
    st.sampled_from([Fraction(17, 16), Fraction(5, 4), Fraction(2), Fraction(100)]),
)
def test_blaschke_in_exact_arithmetic(steps, target, radius):
    times, t = [Fraction(step, 64) for step in sorted(steps)], Fraction(target, 64)
    x, z = [time / radius for time in times], t / radius
    expected = []
    for j in range(len(x)):
        value = (1 - x[j] ** 2) / (1 - x[j] * z)
        for k in range(len(x)):
            if k != j:
                # A quotient of two Blaschke factors (z - a) / (1 - a z).
                value *= (z - x[k]) / (1 - x[k] * z) * (1 - x[k] * x[j]) / (x[j] - x[k])
        expected.append(float(value))
    weights = Blaschke(float(radius), 7).weights([float(time) for time in times], float(t))
    assert weights == pytest.approx(expected, rel=1e-12)


def test_blaschke_reproduces_its_own_poles_and_tends_to_newton():
    times, t, radius = np.array([-0.9, -0.3, 0.2, 0.4]), 0.7, 1.3
    for pole in times[-3:]:
        f = 1.0 / (1.0 - pole * times / radius**2)
        assert Blaschke(radius, 3).weights(times, t) @ f == pytest.approx(1.0 / (1.0 - pole * t / radius**2))
    assert Blaschke(1e8, 3).weights(times, t) == pytest.approx(Newton(2).weights(times, t))


def test_what_the_kernel_keeps_is_its_drift():
    assert AnalyticKernel() == AnalyticKernel(2.0, 1e-3, 1)
    assert [AnalyticKernel(1.01, 0.0, drift).exactness for drift in (-1, 0, 3)] == [-1, 0, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AnalyticKernel(1.0), "`rho` is 1.0; write more than 1, the sum of the ellipse's semi-axes."),
        (lambda: AnalyticKernel(1.001), "`rho` is 1.001; write 1.01 or more: the series has 37 / log(rho) terms."),
        (lambda: AnalyticKernel(2.0, -1.0), "`ridge` is -1.0; write 0 or more."),
        (lambda: AnalyticKernel(drift=-2), "`drift` is -2; write -1 or more."),
        (lambda: AnalyticKernel().power([0.0, 0.5], 1.5), "`t` holds 1.5; write points of [-1, 1]."),
        (lambda: AnalyticKernel().power([-3.0, 0.5], 0.7), "`times` holds -3; write points of [-1, 1]."),
        (
            lambda: AnalyticKernel().power([], 0.7),
            "`times` has shape (0,); write one dimension with at least one time.",
        ),
        (lambda: kernel([0.0, 1.5, 2.5], 0.0, 2.0), "`x` holds 1.5; write points of [-1, 1]."),
        (lambda: kernel(0.0, np.nan, 2.0), "`y` holds nan; write points of [-1, 1]."),
        (lambda: kernel(0.0, 0.0, 0.5), "`rho` is 0.5; write more than 1, the sum of the ellipse's semi-axes."),
        (lambda: kernel(0.0, 0.0, np.inf), "`rho` is inf; write a finite number."),
        (lambda: Blaschke(1.0), "`radius` is 1.0; write more than 1"),
        (lambda: Blaschke(2.0, 0), "`nodes` is 0; write 1 or more."),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make()


def test_a_disk_lives_on_the_clock():
    with pytest.raises(ValueError, match=r"lives on \[-1, 1\]"):
        Blaschke().weights([0, 1, 2], 3)
