"""What the bounds take and refuse: sizes, radii, times and Gram matrices."""

from re import escape

import numpy as np
import pytest

from spectral_forecast import Newton, bounds

TIMES = np.array([-1.0, -0.5, 0.0])
GRAM = np.diag([1.0, 0.5, 0.0])


@pytest.mark.parametrize(
    ("rho", "shown"), [(1, "1.0"), (0.5, "0.5"), (np.inf, "inf"), (np.nan, "nan"), ([2, 1], "[2. 1.]")]
)
def test_a_radius_is_finite_and_above_one(rho, shown):
    message = f"`rho` is {shown}; write a finite number above 1, the sum of the ellipse's semi-axes."
    with pytest.raises(ValueError, match=f"^{escape(message)}$"):
        bounds.truncation(0, rho)


def test_radii_may_be_close_to_one():
    assert bounds.truncation(0, [1.25, 3]) == pytest.approx([8.0, 1.0])


@pytest.mark.parametrize(
    ("bound", "shown"), [(-1, "-1.0"), (-1e-300, "-1e-300"), (np.nan, "nan"), ([1, -1], "[ 1. -1.]")]
)
def test_sizes_are_not_negative(bound, shown):
    message = f"`bound` is {shown}; write 0 or more."
    with pytest.raises(ValueError, match=f"^{escape(message)}$"):
        bounds.truncation(0, 2.0, bound=bound)


def test_sizes_may_be_zero_small_or_infinite():
    assert bounds.truncation(0, 2.0, bound=[0, 0.25, np.inf]) == pytest.approx([0.0, 0.5, np.inf])


def test_numbers_give_a_float_and_arrays_an_array():
    assert type(bounds.truncation(0, 2.0)) is float
    assert bounds.truncation(0, [2.0]).shape == (1,)


@pytest.mark.parametrize(
    ("times", "t", "message"),
    [
        ([0.0, 0.0], 0.5, "`times` repeats at index 1 (0, then 0)"),
        (TIMES, 0.0, "`t` is 0, not after the last kept time 0"),
        (TIMES, [0.5, np.nan], "`t` is nan; write a finite number."),
        (TIMES, [[0.5], [-0.25]], "`t` is -0.25, not after the last kept time 0"),
    ],
)
def test_every_target_lies_after_the_kept_times(times, t, message):
    with pytest.raises(ValueError, match=escape(message)):
        bounds.lebesgue(Newton(1), times, t)


def test_targets_may_be_whole_numbers():
    assert bounds.lebesgue(Newton(1), [0, 1], [2, 3]) == pytest.approx([3.0, 5.0])


@pytest.mark.parametrize(
    ("times", "t", "span"),
    [
        ([-1.5, 0.0], 0.5, "[-1.5, 0.5]"),
        ([-1.0 - 2e-12, 0.0], 0.5, "[-1, 0.5]"),
        ([-1.0, 0.0], [0.5, 1.0 + 2e-12, 0.75], "[-1, 1]"),
        ([-1.0, 0.0], [0.5, 1.5, 0.75], "[-1, 1.5]"),
        ([-2.0, 0.0, 0.25], [], "[-2, 0.25]"),
        ([0.0, 0.5, 1.25], [], "[0, 1.25]"),
    ],
)
def test_a_bound_on_the_interval_holds_nowhere_else(times, t, span):
    message = f"`times` and `t` span {span}; this bound holds on [-1, 1]: map the clock there."
    with pytest.raises(ValueError, match=f"^{escape(message)}$"):
        bounds.ridge(times, t, rho=2.0, degree=1)


@pytest.mark.parametrize("t", [1.0, 1.0 + 1e-12, []])
def test_the_interval_has_its_ends_and_some_rounding(t):
    expected = bounds.ridge([-1.0, 0.0], np.minimum(t, 1.0), rho=2.0, degree=1)
    assert bounds.ridge([-1.0 - 1e-12, 0.0], t, rho=2.0, degree=1) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("times", "t", "rho", "span", "least", "end"),
    [
        (TIMES, 1.25, 2.0, "[-1, 1.25]", "2", "1.25"),
        (TIMES, [1.5, 0.5], [[2.0, 4.0]], "[-1, 1.5]", "2", "1.25"),
        ([-1.25, -0.5, 0.0], 0.5, [[4.0], [2.0]], "[-1.25, 0.5]", "2", "1.25"),
        ([-1.0, 0.0, 3.0], [], 4.0, "[-1, 3]", "4", "2.125"),
    ],
)
def test_nothing_is_bounded_outside_the_ellipse(times, t, rho, span, least, end):
    message = (
        f"`times` and `t` span {span}, outside the ellipse of parameter {least}, which meets the real line at "
        f"-+{end}: nothing bounds the error there. Map the clock to [-1, 1], or write a larger `rho` if the feature "
        "is analytic that far."
    )
    weights = np.broadcast_to([0.0, -1.0, 2.0], (*np.shape(t), 3))
    with pytest.raises(ValueError, match=f"^{escape(message)}$"):
        bounds.worst_case(weights, times, t, rho=rho)


def test_every_ellipse_that_holds_the_times_has_a_bound():
    found = bounds.worst_case([0.0, -1.0, 2.0], [-1.2, -0.5, 0.0], 1.2, rho=[[2.0], [4.0]])
    assert found.shape == (2, 1)
    assert np.isfinite(found).all()
    assert found[0] > found[1]


@pytest.mark.parametrize("gram", [np.eye(2), np.zeros((3, 2)), np.zeros(3)])
def test_a_gram_matrix_has_a_row_for_each_time(gram):
    message = f"`gram` has shape {gram.shape}; write (3, 3), one row for each of `times`."
    with pytest.raises(ValueError, match=f"^{escape(message)}$"):
        bounds.norm(TIMES, gram, rho=2.0)


@pytest.mark.parametrize("place", [(0, 1), (2, 2)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1e-3])
def test_a_gram_matrix_holds_inner_products(place, value):
    gram = GRAM.copy()
    gram[place] = value
    if place == (0, 1) and value == -1e-3:
        assert np.isfinite(bounds.norm(TIMES, gram, rho=2.0))
        return
    message = "`gram` holds a NaN, an infinity or a negative square; write inner products of the features."
    with pytest.raises(ValueError, match=f"^{escape(message)}$"):
        bounds.norm(TIMES, gram, rho=2.0)


def test_single_precision_is_computed_with_in_double():
    gram = (2e38 * np.eye(3)).astype(np.float32)  # whose trace is more than single precision holds
    assert bounds.norm(TIMES, gram, rho=2.0) == bounds.norm(TIMES, gram.astype(np.float64), rho=2.0)
    t = np.float32(0.1)
    assert bounds.stable_exponent(TIMES, t, rho=2.0) == bounds.stable_exponent(TIMES, float(t), rho=2.0)
