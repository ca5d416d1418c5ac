"""Floater and Hormann's rational interpolant against its definition in exact arithmetic; what Blaschke's accepts."""

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spectral_forecast import Blaschke, FitError, FloaterHormann, Newton


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=8, unique=True), st.integers(51, 80), st.integers(0, 5))
def test_floater_hormann_is_its_blend_in_exact_arithmetic(times, t, degree):
    times = sorted(times)
    d = min(degree, len(times) - 1)
    total, expected = Fraction(0), [Fraction(0)] * len(times)
    for i in range(len(times) - d):
        block = range(i, i + d + 1)
        blend = Fraction((-1) ** i)
        for j in block:
            blend /= t - times[j]
        total += blend
        for j in block:
            lagrange = Fraction(1)
            for k in block:
                if k != j:
                    lagrange *= Fraction(t - times[k], times[j] - times[k])
            expected[j] += blend * lagrange
    expected = np.array([float(value / total) for value in expected])
    weights = FloaterHormann(degree).weights(times, t)
    assert weights == pytest.approx(expected, rel=1e-13)


def test_floater_hormann_by_hand():
    # Degree 0 is Berrut's: alternating signs over the distances 3, 2, 1.
    assert FloaterHormann(0).weights([0, 1, 2], 3) == pytest.approx(np.array([1 / 3, -1 / 2, 1]) / (5 / 6))
    assert FloaterHormann(2).weights([0, 1, 2], 3) == pytest.approx([1, -3, 3])


def test_floater_hormann_keeps_one_degree_more_on_every_other_number_of_nodes():
    times = np.array([-1.0, -0.7, -0.6, 0.1, 0.2])
    for count in (3, 4, 5):
        error = FloaterHormann(1).weights(times[-count:], 0.4) @ times[-count:] ** 2 - 0.4**2
        assert (abs(error) < 1e-13) == (count % 2 == 1)


def test_floater_hormann_of_full_degree_is_newton():
    times = [-1.0, -0.7, -0.6, 0.1]
    assert FloaterHormann(7).weights(times, 0.4) == pytest.approx(Newton(3).weights(times, 0.4))


def test_its_weights_grow_with_the_nodes():
    sums = [np.abs(FloaterHormann(2).weights(np.arange(n), n)).sum() for n in (3, 6, 12)]
    assert sums[0] == pytest.approx(7.0)
    assert sums[0] < sums[1] < sums[2]


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=8, unique=True),
    st.integers(51, 80),
    st.integers(0, 5),
    st.integers(-400, 400),
    st.integers(-200, 200),
)
@example([-9, -8, -5], 5, 2, 0, 0)
def test_floater_hormann_depends_on_neither_the_unit_nor_the_zero_of_time(times, t, degree, exponent, shift):
    times, unit = np.array(sorted(times)), 2.0**exponent
    weights = FloaterHormann(degree).weights(times, t)
    # Whole numbers of a power of two: the differences are exact, and so the weights are the same to the last digit.
    assert np.array_equal(FloaterHormann(degree).weights((times + shift) * unit, (t + shift) * unit), weights)


def test_blaschke_of_one_node_is_its_kernel():
    # (1 - x x) / (1 - x z) with x = 0.5 / 1.5 and z = 1 / 1.5: (8 / 9) / (7 / 9).
    weights = Blaschke(radius=1.5, nodes=1).weights([-0.5, 0.0, 0.5], 1.0)
    assert weights == pytest.approx([0, 0, 8 / 7])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FloaterHormann(-1), ValueError, "`degree` is -1; write 0 or more."),
        (lambda: FloaterHormann(1.5), TypeError, "`degree` is 1.5; write a whole number, 0 or more."),
        (lambda: Blaschke(1.0), ValueError, "`radius` is 1.0; write more than 1, so that the disk holds [-1, 1]."),
        (lambda: Blaschke(np.inf), ValueError, "`radius` is inf; write a finite number."),
        (lambda: Blaschke(nodes=0), ValueError, "`nodes` is 0; write 1 or more."),
        (lambda: Blaschke(nodes=2.0), TypeError, "`nodes` is 2.0; write a whole number, 1 or more."),
    ],
)
def test_bad_parameters(make, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        make()


def test_nodes_that_float64_cannot_tell_apart_are_refused():
    with pytest.raises(FitError, match="no finite weights"):
        FloaterHormann(3).weights([-1e-300, 0.0, 1e-300, 2e-300], 1.0)
