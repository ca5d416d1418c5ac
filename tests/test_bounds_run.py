"""What no rule can beat, and what errors of features do to a sample: values by hand, their ends, and refusals."""

from re import escape

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectral_forecast import bounds, ellipse


def test_the_exponent_on_the_whole_interval_is_that_of_the_ellipse():
    # 1.25 lies on the ellipse of parameter 2, and 2 = 8 ** (1 / 3).
    assert bounds.stable_exponent([-1, 1], 1.25, rho=8) == pytest.approx(2 / 3, abs=1e-4)


def test_the_exponent_on_a_part_of_the_interval_by_hand():
    times, points = [-0.9, 0.2, 0.3], np.array([[0.4], [0.9]])
    x = (points + 0.3) / 0.6
    local = ellipse.inscribed(2.0, -0.9, 0.3)
    expected = 1.0 - np.arccosh(x) / np.log(local)
    assert bounds.stable_exponent(times, points, rho=2.0) == pytest.approx(expected)
    assert type(bounds.stable_exponent(times, 0.4, rho=2.0)) is float


@given(st.floats(1.1, 10.0), st.floats(0.0, 0.99), st.floats(0.0, 1.0), st.floats(1e-3, 1e3))
def test_the_limit_of_extrapolation_is_a_geometric_mean(rho, share, noise, bound):
    r = rho**share
    for x in ((r + 1 / r) / 2, (r - 1 / r) / 2 * 1j):
        found = bounds.extrapolation(x, rho=rho, noise=noise, bound=bound)
        assert found == pytest.approx(min(noise, bound) ** (1 - share) * bound**share, rel=1e-6, abs=1e-12)


def test_the_limit_of_extrapolation_where_sizes_are_extreme():
    assert bounds.extrapolation(1.25, rho=4.0, noise=0.01) == pytest.approx(0.1)
    assert bounds.extrapolation([0.3, 1.0], rho=4.0, noise=0.01) == pytest.approx([0.01, 0.01])
    assert bounds.extrapolation(0.3, rho=4.0, noise=0.0) == 0.0
    assert bounds.extrapolation(0.3, rho=4.0, noise=0.01, bound=np.inf) == 0.01
    assert bounds.extrapolation(1.25, rho=4.0, noise=0.0) == 0.0
    assert bounds.extrapolation(1.25, rho=4.0, noise=0.01, bound=0.0) == 0.0
    assert bounds.extrapolation(1.25, rho=4.0, noise=5.0, bound=2.0) == pytest.approx(2.0)
    assert bounds.extrapolation(1.25, rho=4.0, noise=0.0, bound=np.inf) == np.inf
    assert bounds.extrapolation(1.25, rho=4.0, noise=1e308, bound=1e308) == pytest.approx(1e308)


ABOVE_ONE = "write a finite number above 1, the sum of the ellipse's semi-axes."


def euler(sigmas, errors, rates):
    """The distance of two samples of ``v = -L x``, of which one is pushed at every step."""
    x = 0.0
    for step, error, rate in zip(np.abs(np.diff(sigmas)), errors, rates, strict=True):
        x += step * (rate * x + error)
    return x


@pytest.mark.parametrize("sigmas", [[1.0, 0.6, 0.5, 0.0], [0.0, 0.5, 0.6, 1.0], [3, 2, 2, 0]])
def test_propagation_is_eulers_rule(sigmas):
    errors, rates = [0.1, 0.3, 0.2], [1.0, 2.0, 5.0]
    assert bounds.propagation(sigmas, errors, rates) == pytest.approx(euler(sigmas, errors, rates))
    assert bounds.propagation(sigmas, errors, 2.0) == pytest.approx(euler(sigmas, errors, [2.0] * 3))
    assert type(bounds.propagation(sigmas, errors, 2)) is float
    found = bounds.propagation(sigmas, [errors, errors[::-1]], [[rates], [rates[::-1]]])
    expected = [[euler(sigmas, e, r) for e in (errors, errors[::-1])] for r in (rates, rates[::-1])]
    assert found == pytest.approx(np.array(expected))


def test_propagation_computes_with_single_precision_in_double():
    sigmas = np.array([1.0, 0.7, 0.1], dtype=np.float32)
    assert bounds.propagation(sigmas, [0.1, 0.2], 2.0) == bounds.propagation(sigmas.tolist(), [0.1, 0.2], 2.0)


def test_propagation_where_sizes_are_infinite():
    sigmas = [1.0, 0.5, 0.0]
    assert bounds.propagation(sigmas, [0.0, 0.5], np.inf) == 0.25
    assert bounds.propagation(sigmas, [0.5, 0.0], np.inf) == np.inf
    assert bounds.propagation(sigmas, [np.inf, 0.0], 0.0) == np.inf
    assert bounds.propagation(sigmas, [1e308, 1e308], 1e308) == np.inf
    assert bounds.propagation([1.0, 1.0], [np.inf], 0.0) == np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bounds.stable_exponent([0.0, 0.1], 0.2, rho=np.inf), "`rho` is inf; write a finite number."),
        (lambda: bounds.stable_exponent([0.0, 0.1], 0.2, rho=1.0), f"`rho` is 1.0; {ABOVE_ONE}"),
        (
            lambda: bounds.stable_exponent([0.0], 0.2, rho=2.0),
            "`times` holds one time; write at least two, an interval to extrapolate from.",
        ),
        (
            lambda: bounds.extrapolation([1.0, 1.25], rho=2.0, noise=0.1),
            "`x` is [1.   1.25], not inside the ellipse of parameter 2.0: nothing bounds the function there.",
        ),
        (lambda: bounds.extrapolation(0.0, rho=1.0, noise=0.1), f"`rho` is 1.0; {ABOVE_ONE}"),
        (lambda: bounds.extrapolation(0.0, rho=2.0, noise=-0.1), "`noise` is -0.1; write 0 or more."),
        (lambda: bounds.extrapolation(0.0, rho=2.0, noise=0.1, bound=-1), "`bound` is -1.0; write 0 or more."),
        (lambda: bounds.propagation([1.0, 0.0], [-1.0], 0.0), "`errors` is [-1.]; write 0 or more."),
        (lambda: bounds.propagation([1.0, 0.0], [1.0], -1.0), "`lipschitz` is -1.0; write 0 or more."),
        (
            lambda: bounds.propagation([1.0, 0.5, 0.0], [1.0], 0.0),
            "`errors` has shape (1,); write one for each of the 2 steps.",
        ),
        (lambda: bounds.propagation([1.0, 0.5], 1.0, 0.0), "`errors` has shape (); write one for each of the 1 steps."),
    ],
)
def test_what_has_no_bound_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{escape(message)}$"):
        call()


@pytest.mark.parametrize("sigmas", [[[1.0, 0.5]], [1.0], [1.0, np.nan]])
def test_a_run_has_at_least_one_step(sigmas):
    message = f"`sigmas` has shape {np.shape(sigmas)}; write the finite N + 1 times of N steps, N at least 1."
    with pytest.raises(ValueError, match=f"^{escape(message)}$"):
        bounds.propagation(sigmas, [1.0], 0.0)


def test_nothing_is_extrapolated_out_of_the_ellipse():
    with pytest.raises(ValueError, match=r"span \[0, 1.25\], outside the ellipse of parameter 2, which"):
        bounds.stable_exponent([0.0, 0.1], 1.25, rho=2.0)
