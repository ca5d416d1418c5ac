"""Floater and Hormann's rational interpolant against its definition in exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectral_forecast import FitError, FloaterHormann, Newton


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


def test_bad_parameters():
    with pytest.raises(ValueError, match="`degree` is -1; write 0 or more"):
        FloaterHormann(-1)
    with pytest.raises(FitError, match="no finite weights"):
        FloaterHormann(3).weights([-1e-300, 0.0, 1e-300, 2e-300], 1.0)
