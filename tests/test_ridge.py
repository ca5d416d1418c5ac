"""Ridge weights against exact rational arithmetic, over sixteen decades of the penalty."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectral_forecast import ridge_weights, schedules


def solve(matrix, right):
    """Gauss's elimination on fractions."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i in range(len(rows)):
        pivot = next(k for k in range(i, len(rows)) if rows[k][i] != 0)
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for k in range(len(rows)):
            if k != i:
                rows[k] = [a - rows[k][i] * b for a, b in zip(rows[k], rows[i], strict=True)]
    return [row[-1] for row in rows]


def exact_weights(steps, target, length, degree, ridge, free):
    """The normal equations in exact arithmetic: what float64 cannot do with them."""

    def basis(step):
        tau, values = Fraction(2 * step, length) - 1, [Fraction(1), Fraction(2 * step, length) - 1]
        while len(values) <= degree:
            values.append(2 * tau * values[-1] - values[-2])
        return values[: degree + 1]

    design = [basis(step) for step in steps]
    size = range(degree + 1)
    gram = [[sum(row[i] * row[j] for row in design) + (ridge if i == j >= free else 0) for j in size] for i in size]
    coefficients = solve(gram, basis(target))
    weights = [float(sum(a * b for a, b in zip(row, coefficients, strict=True))) for row in design]
    return np.array(design, dtype=float), np.array(basis(target), dtype=float), np.array(weights)


@pytest.mark.parametrize("ridge", ["1e-16", "1e-12", "1e-8", "1e-4", "1/10", "10"])
@pytest.mark.parametrize("free", [0, 1, 2])
def test_exact_arithmetic_agrees(ridge, free):
    evaluated = np.flatnonzero(schedules.growing(50)).tolist()
    for count in (3, 5, 8, 14):
        steps, target = evaluated[:count], evaluated[count - 1] + 2
        design, row, expected = exact_weights(steps, target, 50, 4, Fraction(ridge), free)
        weights = ridge_weights(design, row, ridge=float(Fraction(ridge)), free=free)
        assert np.abs(weights - expected).max() <= 1e-10 * np.abs(expected).sum()


def test_normal_equations_would_not_do():
    evaluated = np.flatnonzero(schedules.growing(50)).tolist()
    design, row, expected = exact_weights(evaluated[:6], 7, 50, 4, Fraction("1e-14"), 0)
    normal = design @ np.linalg.solve(design.T @ design + 1e-14 * np.eye(5), row)
    ours = ridge_weights(design, row, ridge=1e-14)
    mass = np.abs(expected).sum()
    assert np.abs(ours - expected).max() < 1e-10 * mass
    assert np.abs(normal - expected).max() > 1e4 * np.abs(ours - expected).max()


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 8), st.sampled_from([0.0, 1e-30, 1e-3, 1e3]), st.randoms())
def test_never_anything_but_finite(count, width, free, ridge, random):
    draw = np.random.default_rng(random.randrange(2**32))
    weights = ridge_weights(draw.normal(size=(count, width)), draw.normal(size=width), ridge=ridge, free=free)
    assert weights.shape == (count,)
    assert np.isfinite(weights).all()


def test_a_huge_penalty_leaves_only_the_free_columns():
    design = np.vander([-1.0, -0.5, 0.0, 0.3], 5, increasing=True)
    line = np.polynomial.polynomial.polyfit([-1.0, -0.5, 0.0, 0.3], np.eye(4), 1)
    row = 0.7 ** np.arange(5)
    assert ridge_weights(design, row, ridge=1e14, free=2) == pytest.approx(row[:2] @ line, abs=1e-10)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 8), st.randoms())
def test_what_the_data_leave_open_without_a_penalty_has_the_smallest_norm(count, width, rank, random):
    draw = np.random.default_rng(random.randrange(2**32))
    small = draw.integers(-3, 4, size=(count, rank)), draw.integers(-3, 4, size=(rank, width))
    design, rows = np.matmul(*small).astype(float), draw.normal(size=(width, 3))
    expected = (rows.T @ np.linalg.pinv(design, rcond=1e-13)).T
    assert ridge_weights(design, rows, ridge=0.0) == pytest.approx(expected, rel=1e-6, abs=1e-9)
