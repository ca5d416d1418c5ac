"""Chebyshev, spectrum, Newton, TaylorSeer against other computations of the same, on times with unequal gaps."""

import re

import numpy as np
import pytest
from numpy.polynomial import chebyshev, polynomial

from spectral_forecast import Chebyshev, Newton, Reuse, TaylorSeer, spectrum
from spectral_forecast.forecasters.polynomial import difference_weights

TIMES = np.array([-1.0, -0.95, -0.8, -0.7, -0.4, -0.3, 0.1])
T = 0.3
VALUES = np.array([0.3, -1.2, 0.7, 2.0, -0.4, 1.1, 0.9])
every_count = pytest.mark.parametrize("count", range(1, 8))


@every_count
@pytest.mark.parametrize("degree", [0, 1, 4])
@pytest.mark.parametrize("free", [0, 1, 2, 5])
def test_chebyshev_is_the_penalised_normal_equations(count, degree, free):
    times, free = TIMES[:count], min(free, degree + 1, count)
    design = chebyshev.chebvander(times, degree)
    penalty = 0.3 * np.diag((np.arange(degree + 1) >= free).astype(float))
    expected = design @ np.linalg.solve(design.T @ design + penalty, chebyshev.chebvander(T, degree)[0])
    assert Chebyshev(degree, ridge=0.3, free=free).weights(times, T) == pytest.approx(expected, rel=1e-7)


@every_count
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("free", [0, 1])
def test_without_a_ridge_chebyshev_is_least_squares_of_as_high_a_degree_as_there_is(count, degree, free):
    rule = Chebyshev(degree, ridge=0.0, free=free)
    fit = polynomial.polyfit(TIMES[:count], VALUES[:count], min(degree, count - 1))
    assert rule.weights(TIMES[:count], T) @ VALUES[:count] == pytest.approx(polynomial.polyval(T, fit), rel=1e-9)
    assert rule.exactness == degree


def test_the_papers_rule_is_the_default():
    assert Chebyshev() == Chebyshev(4, ridge=0.1, free=0)
    assert [Chebyshev(free=free).exactness for free in (0, 1, 5)] == [-1, 0, 4]


def test_spectrum_is_chebyshev_and_a_line():
    assert spectrum() == spectrum(1) == Chebyshev(4, 0.1, 0)
    assert spectrum(degree=6, ridge=0.5) == Chebyshev(6, 0.5, 0)
    assert [spectrum(mode="free", degree=degree).free for degree in (0, 1, 2, 4)] == [1, 2, 2, 2]
    assert spectrum(0) == Newton(1)
    assert spectrum(0.25) == 0.25 * Chebyshev(4, 0.1, 0) + 0.75 * Newton(1)
    assert spectrum(0.25, mode="free", degree=3, ridge=0.0) == 0.25 * Chebyshev(3, 0.0, 2) + 0.75 * Newton(1)


def lagrange(nodes, t):
    """Values at t of the polynomials that are 1 at one node and 0 at the others."""
    return polynomial.polyvander(t, nodes.size - 1)[0] @ np.linalg.inv(polynomial.polyvander(nodes, nodes.size - 1))


@every_count
@pytest.mark.parametrize("order", range(4))
def test_newton_passes_through_the_newest_features(count, order):
    newest = TIMES[:count][-order - 1 :]
    expected = np.append(np.zeros(count - newest.size), lagrange(newest, T))
    assert Newton(order).weights(TIMES[:count], T) == pytest.approx(expected, rel=1e-9)


def published_differences(order):
    """TaylorSeer's recursion as it runs along: the newest differences, after each feature."""
    differences = [VALUES[:1]]
    for gap, value in zip(np.diff(TIMES), VALUES[1:], strict=True):
        updated = [value]
        for before in differences[-1][:order]:
            updated.append((updated[-1] - before) / gap)
        differences.append(np.array(updated))
    return differences


@every_count
@pytest.mark.parametrize("order", range(5))
def test_taylorseer_is_the_published_recursion(count, order):
    expected = published_differences(order)[count - 1]
    factors = difference_weights(TIMES[:count], order)
    assert factors.shape == (min(order + 1, count), count)
    assert factors @ VALUES[:count] == pytest.approx(expected, rel=1e-9)
    k = T - TIMES[count - 1]
    taylor = sum(d * k**j / [1, 1, 2, 6, 24][j] for j, d in enumerate(expected))
    assert TaylorSeer(order).weights(TIMES[:count], T) @ VALUES[:count] == pytest.approx(taylor, rel=1e-9)


@every_count
def test_reuse_is_newton_of_order_0(count):
    assert Reuse().weights(TIMES[:count], T).tolist() == [0.0] * (count - 1) + [1.0]
    assert Newton(0).weights(TIMES[:count], T).tolist() == [0.0] * (count - 1) + [1.0]


def test_lines_are_the_default_of_local_rules():
    assert (Newton(), TaylorSeer()) == (Newton(1), TaylorSeer(1))
    assert [Newton(order).exactness for order in range(4)] == [0, 1, 2, 3]
    assert [TaylorSeer(order).exactness for order in range(4)] == [0, 1, 1, 1]


@pytest.mark.parametrize("make", [Newton, TaylorSeer, Chebyshev])
def test_degree_0_is_the_least(make):
    assert make(0).weights(TIMES, T).shape == TIMES.shape
    name = "degree" if make is Chebyshev else "order"
    with pytest.raises(ValueError, match=f"^`{name}` is -1; write 0 or more\\.$"):
        make(-1)
    with pytest.raises(TypeError, match=f"^`{name}` is 1\\.5; write a whole number, 0 or more\\.$"):
        make(1.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Chebyshev(ridge=-0.1), "`ridge` is -0.1; write 0 or more."),
        (lambda: Chebyshev(free=-1), "`free` is -1; write 0 or more."),
        (lambda: Chebyshev(3, free=5), "`free` is 5; write at most `degree + 1` = 4."),
        (lambda: spectrum(-0.5), "`blend` is -0.5; write 0 or more."),
        (lambda: spectrum(1.5), "`blend` is 1.5; write a share from 0 (linear) to 1 (Chebyshev)."),
        (lambda: spectrum(mode="best"), '`mode` is \'best\'; write "paper" or "free".'),
    ],
)
def test_errors_say_what_to_write(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()
