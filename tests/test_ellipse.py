"""Bernstein ellipses: points, boundaries, singularities, and a bound that is never too small."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectral_forecast import ellipse
from spectral_forecast.theory.functions import CATALOGUE

radii = st.floats(1.001, 50.0)


@given(radii, st.integers(1, 40))
def test_a_boundary_has_its_parameter(rho, points):
    z = ellipse.boundary(rho, points)
    assert z.shape == (points,)
    assert ellipse.parameter(z) == pytest.approx(np.full(points, rho), rel=1e-9)
    assert np.abs(z - 1) + np.abs(z + 1) == pytest.approx(np.full(points, rho + 1 / rho), rel=1e-12)


@given(st.floats(-1.0, 1.0))
def test_the_interval_has_parameter_one(x):
    assert ellipse.parameter(x) == 1.0


def test_far_points():
    assert ellipse.parameter(np.inf) == np.inf
    assert ellipse.parameter([1e200, 1e-3j])[0] == pytest.approx(2e200)
    assert ellipse.parameter(1e-3j) == pytest.approx(1e-3 + np.sqrt(1 + 1e-6))


def test_largest_is_that_of_the_nearest_singularity():
    assert ellipse.largest([0.2j, -0.2j, 5.0]) == pytest.approx(0.2 + np.sqrt(1.04))
    assert ellipse.largest([]) == np.inf
    with pytest.raises(ValueError, match=r"`singularities` holds .*on \[-1, 1\]"):
        ellipse.largest([3.0, 0.5])


@given(radii, st.floats(-1.0, 0.9), st.floats(0.01, 1.0))
def test_an_inscribed_ellipse_is_inside_and_no_larger_one_is(rho, start, length):
    end = min(start + length, 1.0)
    inner = ellipse.inscribed(rho, start, end)

    def reach(radius):
        z = (start + end) / 2 + (end - start) / 2 * ellipse.boundary(radius, 720)
        return np.max(ellipse.parameter(z))

    assert inner > 1.0
    assert reach(inner) <= rho * (1 + 1e-9)
    if inner > 1.001:
        assert reach(1.001 * inner) > rho


def test_what_is_no_point_and_no_function_is_refused():
    with pytest.raises(ValueError, match="`z` holds a NaN"):
        ellipse.parameter([0.5, np.nan])
    with pytest.raises(ValueError, match=r"`function` returned shape \(\) for 64 points; write one value a point"):
        ellipse.bound(np.sum, 2.0)


def test_inscribed_refuses_what_is_outside():
    with pytest.raises(ValueError, match="`start` and `end`"):
        ellipse.inscribed(1.1, -2.0, 0.0)
    with pytest.raises(ValueError, match="`start` and `end`"):
        ellipse.inscribed(2.0, 0.5, 0.5)


@pytest.mark.parametrize("function", CATALOGUE, ids=lambda f: f.name)
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_bound_is_the_maximum_and_never_below_it(function, share):
    rho = 1.0 + share * (min(function.rho, 6.0) - 1.0)
    largest = np.max(np.abs(function(ellipse.boundary(rho, 200_003))))
    found = ellipse.bound(function, rho)
    assert largest * (1 - 1e-9) <= found <= largest * 1.003


@given(st.floats(1.05, 6.0), st.floats(0.02, 0.98), st.floats(0.0, 2 * np.pi))
def test_no_bound_where_a_pole_is_inside(rho, share, angle):
    u = (1.0 + share * (rho - 1.0)) * np.exp(1j * angle)
    pole = (u + 1 / u) / 2
    assert ellipse.bound(lambda z: 1.0 / (z - pole), rho) == np.inf


@pytest.mark.parametrize(
    "function",
    [lambda z: 1 / z, np.sqrt, np.conj, np.abs, np.real, lambda z: np.log(z - 1), lambda z: 1 / (z - 1.25), np.round],
)
def test_no_bound_for_what_is_not_analytic(function):
    assert ellipse.bound(function, 2.0) == np.inf


def test_a_vector_is_bounded_by_its_norm():
    both = ellipse.bound(lambda z: np.stack([np.exp(z), 2 * np.exp(z)], axis=1), 2.0)
    assert both == pytest.approx(np.sqrt(5) * np.exp(1.25), rel=3e-3)


@pytest.mark.parametrize("rho", [1.0, 0.5, -2.0, np.inf, np.nan])
def test_refuses_parameters_that_are_none(rho):
    for call in (
        lambda: ellipse.boundary(rho),
        lambda: ellipse.bound(np.exp, rho),
        lambda: ellipse.inscribed(rho, 0, 1),
    ):
        with pytest.raises(ValueError, match="`rho`"):
            call()
