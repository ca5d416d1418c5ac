"""Taylor's and Bernstein's bounds: their values by hand, where they end, and what they refuse."""

from math import factorial
from re import escape

import numpy as np
import pytest

from spectral_forecast import bounds


@pytest.mark.parametrize("order", range(5))
@pytest.mark.parametrize("horizon", [-2.5, -0.5, 0.5, 3.0])
def test_taylor_by_hand(order, horizon):
    term = abs(horizon) ** (order + 1) / factorial(order + 1)
    noise = sum(abs(horizon) ** j / factorial(j) for j in range(order + 1))
    assert bounds.taylor(horizon, order) == pytest.approx(term)
    assert bounds.taylor(horizon, order, derivative=3.0, noise=0.5) == pytest.approx(3.0 * term + 0.5 * noise)
    assert bounds.taylor_extremal(horizon, order) == pytest.approx(np.copysign(term, horizon ** (order + 1)))
    moved = bounds.taylor_extremal(1.5 + horizon, order, origin=1.5, derivative=3.0)
    assert moved == pytest.approx(np.copysign(3.0 * term, horizon ** (order + 1)))
    assert isinstance(moved, np.ndarray)


def test_taylor_broadcasts():
    found = bounds.taylor([[1], [2]], 1, derivative=[1, 2, 3])
    assert found == pytest.approx(np.array([[0.5, 1.0, 1.5], [2.0, 4.0, 6.0]]))
    assert bounds.taylor_extremal([1, 2], 0, origin=[[0], [1]]) == pytest.approx(np.array([[1.0, 2.0], [0.0, 1.0]]))


def test_single_precision_is_computed_with_in_double():
    t, origin, size = np.float32(0.7), np.float32(0.1), np.float32(0.3)
    assert bounds.taylor(t, 2, derivative=size) == bounds.taylor(float(t), 2, derivative=float(size))
    for points in (t, np.array([t, 2 * t])):
        found = bounds.taylor_extremal(points, 2, origin=origin, derivative=size)
        expected = bounds.taylor_extremal(points.tolist(), 2, origin=float(origin), derivative=float(size))
        assert found.dtype == np.float64
        assert found.tolist() == expected.tolist()


def test_taylor_where_powers_overflow_or_nothing_is_missed():
    assert bounds.taylor(1e200, 3) == np.inf
    assert bounds.taylor(1e200, 3, derivative=0.0) == 0.0
    assert bounds.taylor(1e200, 3, derivative=0.0, noise=1.0) == np.inf
    assert bounds.taylor(1e200, 3, derivative=np.inf) == np.inf
    assert bounds.taylor(1.0, 3, derivative=1e308, noise=1e308) == np.inf
    assert bounds.taylor(1e-300, 3, derivative=np.inf) == np.inf
    assert bounds.taylor(0.0, 3, derivative=np.inf) == 0.0
    assert bounds.taylor(0.0, 3, derivative=np.inf, noise=0.25) == 0.25


@pytest.mark.parametrize("degree", [0, 1, 4])
def test_truncation_by_hand(degree):
    assert bounds.truncation(degree, 3.0) == pytest.approx(2.0 / 3.0**degree / 2.0)
    # 1.25 and 0.75j lie on the ellipse of parameter 2.
    tail = 2.0 * (2.0 / 3.0) ** (degree + 1) / (1.0 - 2.0 / 3.0)
    assert bounds.truncation(degree, 3.0, bound=5.0, at=[1.25, 0.75j, 0.5]) == pytest.approx(
        [5.0 * tail, 5.0 * tail, 5.0 / 3.0**degree]
    )


def test_truncation_of_an_infinite_or_huge_bound_is_infinite():
    assert bounds.truncation(5000, 2.0, bound=np.inf) == np.inf
    assert bounds.truncation(0, 1.0 + 1e-12, bound=1e300) == np.inf


def test_a_point_of_the_ellipse_is_not_inside():
    message = "`at` is [0.   1.25], outside the ellipse of parameter 2.0; write a point inside, or a larger `rho`."
    with pytest.raises(ValueError, match=f"^{escape(message)}$"):
        bounds.truncation(3, 2.0, at=[0.0, 1.25])
    assert np.isfinite(bounds.truncation(3, 2.0, at=np.nextafter(1.25, 0.0) - 1e-12))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bounds.taylor(0.5, -1), ValueError, "`order` is -1; write 0 or more."),
        (lambda: bounds.taylor_extremal(0.5, -1), ValueError, "`order` is -1; write 0 or more."),
        (lambda: bounds.taylor(0.5, 1.0), TypeError, "`order` is 1.0; write a whole number, 0 or more."),
        (lambda: bounds.truncation(-1, 2.0), ValueError, "`degree` is -1; write 0 or more."),
        (lambda: bounds.taylor([1, np.inf], 1), ValueError, "`horizon` is [ 1. inf]; write finite distances."),
        (lambda: bounds.taylor(np.nan, 1), ValueError, "`horizon` is nan; write finite distances."),
        (lambda: bounds.taylor(0.5, 1, derivative=-1.0), ValueError, "`derivative` is -1.0; write 0 or more."),
        (lambda: bounds.taylor(0.5, 1, noise=-1.0), ValueError, "`noise` is -1.0; write 0 or more."),
        (lambda: bounds.truncation(1, 2.0, bound=-1.0), ValueError, "`bound` is -1.0; write 0 or more."),
        (
            lambda: bounds.truncation(1, 1.0),
            ValueError,
            "`rho` is 1.0; write a finite number above 1, the sum of the ellipse's semi-axes.",
        ),
    ],
)
def test_what_has_no_bound_is_refused(call, error, message):
    with pytest.raises(error, match=f"^{escape(message)}$"):
        call()
