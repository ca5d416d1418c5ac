"""Rules that count sampling steps: their published formulas by hand, and the step that a plan fills in."""

import re
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import hermite
from test_forecasters import _replay

from spectral_forecast import AdamsBashforth, FoCa, Hermite, Newton, Reuse, TaylorSeer, make_plan, schedules


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("schedule", ["growing_n2_a0.75_w5", "growing_n2_a3_w5", "every4_w3"])
def test_parity_with_hicache(reference, schedule, order):
    forecast, expected = _replay(reference, Hermite(order, 0.5), schedule, f"hicache/{schedule}/order{order}_sigma0.5")
    errors = np.linalg.norm(forecast - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert errors.max() < 1e-8


@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=8), st.floats(0.001, 10.0))
def test_hermite_at_one_over_root_two_is_taylorseer_of_order_1(gaps, step):
    times = np.cumsum(gaps)
    hermite, taylor = Hermite(1, 2**-0.5, step=step), TaylorSeer(1)
    w = taylor.weights(times[:-1], times[-1])
    assert hermite.weights(times[:-1], times[-1]) == pytest.approx(w, abs=1e-12 * np.abs(w).sum())


def test_hermite_of_order_2_by_hand():
    # D1 = c - b, D2 = a - 2b + c; k = 2, sigma = 1/2: x = 1, H1 = 2, H2 = 2; c + D1 + D2 / 4.
    assert Hermite(2, step=1.0).weights([0, 1, 2], 4) == pytest.approx([0.25, -1.5, 2.25])


@pytest.mark.parametrize("order", range(5))
@pytest.mark.parametrize("count", range(1, 7))
@pytest.mark.parametrize("sigma", [0.5, 0.8])
def test_hermite_is_its_formula_on_unequal_gaps(order, count, sigma):
    # In steps of 0.5 the times are 0, 1, 3, 4, 8, 9 and the target is 12.
    steps, values = np.array([0.0, 1.0, 3.0, 4.0, 8.0, 9.0])[:count], np.array([0.3, -1.2, 0.7, 2.0, -0.4, 1.1])
    differences = [values[:1]]
    for gap, value in zip(np.diff(steps), values[1:], strict=False):
        updated = [value]
        for before in differences[-1][:order]:
            updated.append((updated[-1] - before) / gap)
        differences.append(updated)
    x = sigma * (12 - steps[-1])
    expected = sum(
        difference * sigma**j * hermite.hermval(x, np.eye(6)[j]) / factorial(j)
        for j, difference in enumerate(differences[-1])
    )
    w = Hermite(order, sigma, step=0.5).weights(0.5 * steps - 3.0, 3.0)
    assert w.shape == (count,)
    assert w @ values[:count] == pytest.approx(expected, rel=1e-9)


def test_short_steps_and_small_arguments_are_fine():
    assert Hermite(0, 1e-3, step=1e-3).weights([0, 1], 2) == pytest.approx([0, 1])


def test_the_papers_hermite_is_the_default():
    assert Hermite() == Hermite(2, 0.5, step=None)
    # A contraction by a hair more or less than 1 / sqrt(2) leaves a line's slope to 1e-9.
    assert [Hermite(order, 2**-0.5).exactness for order in range(4)] == [0, 1, 1, 1]
    assert [Hermite(1, sigma).exactness for sigma in (0.5, 1.0, 0.7071067812, 0.7071067811)] == [0, 0, 0, 0]


@pytest.mark.parametrize("make", [Hermite, AdamsBashforth, FoCa])
def test_a_clock_sets_the_step_where_there_is_none_and_scales_it_where_there_is(make):
    assert make().with_step(0.25) == make(step=0.25)
    assert make(step=0.5).with_step(0.25) == make(step=0.5)
    assert make(step=0.5).with_step(0.25, scale=3.0) == make(step=1.5)
    assert make().with_step(None, scale=3.0) == make()


def recursion(coefficients, evaluated, last):
    """The published loops over single steps, on unit vectors."""
    values = []
    for step in range(last + 1):
        if step in evaluated:
            values.append(np.eye(len(evaluated))[evaluated.index(step)])
        else:
            formula = coefficients(min(len(values), 9))
            values.append(sum(c * v for c, v in zip(formula, values[::-1], strict=False)))
    return values[last]


def binomial(order):
    rows = {1: [1], 2: [2, -1], 3: [3, -3, 1], 4: [4, -6, 4, -1]}
    return lambda known: rows[min(known, order)]


def foca(last):
    return lambda known: [[1], [2, -1], last][min(known, 3) - 1]


@pytest.mark.parametrize(
    ("rule", "coefficients"),
    [
        *((AdamsBashforth(order, step=0.5), binomial(order)) for order in (1, 2, 3, 4)),
        (FoCa(step=0.5), foca([5 / 2, -2, 1 / 2])),
        (FoCa(corrector=False, step=0.5), foca([7 / 3, -5 / 3, 1 / 3])),
    ],
)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_closed_forms_are_the_published_recursions(rule, coefficients, gaps):
    steps = [0, *np.cumsum(gaps).tolist()]
    expected = recursion(coefficients, steps[:-1], steps[-1])
    weights = rule.weights(0.5 * np.array(steps[:-1]), 0.5 * steps[-1])
    assert np.abs(weights - expected).max() <= 1e-12 * np.abs(expected).sum()


def test_after_a_full_warm_up_the_recursions_keep_polynomials():
    times = np.array([0.0, 1.0, 2.0, 5.0, 9.0])
    assert AdamsBashforth(3, step=1.0).weights(times, 12) @ times**2 == pytest.approx(144)
    assert FoCa(step=1.0).weights(times, 12) @ times == pytest.approx(12)
    assert AdamsBashforth(1, step=0.7).weights(times, 12) == pytest.approx(Reuse().weights(times, 12))


def test_make_plan_fills_in_the_step_on_equal_steps_only():
    mask = schedules.mask(8, [0, 1, 2, 5])
    plan = make_plan(Hermite(2), np.arange(8), mask)
    assert plan.weights[3, :3] == pytest.approx(Hermite(2, step=1.0).weights([0, 1, 2], 3))
    assert make_plan(Hermite(2), 0.1 * np.arange(8) - 3, mask, span=(-4, 3)).weights == pytest.approx(plan.weights)
    assert make_plan(Hermite(2, step=1.0), np.arange(8), mask).weights == pytest.approx(plan.weights)
    both = make_plan(0.5 * FoCa() + 0.5 * Newton(1), np.arange(8), mask)
    assert both.weights[3, :3] == pytest.approx([0.25, -1.5, 2.25])
    uneven = np.array([0.0, 1, 2, 3, 4, 5, 6, 8])
    with pytest.raises(ValueError, match=r"`step` of Hermite\(step=None, order=2.* is None.*np.arange"):
        make_plan(Hermite(2), uneven, mask)
    assert make_plan(Hermite(2, step=1.0), uneven, mask).weights[:7] == pytest.approx(plan.weights[:7])


@pytest.mark.parametrize("rule", [Hermite(), AdamsBashforth(), FoCa()])
def test_no_step_no_weights(rule):
    message = (
        f"`step` of {rule} is None, but the rule counts sampling steps; write `step=` the length of one in the unit of "
        "the clock. `make_plan` fills it in on clocks with equal steps, such as `np.arange(n)`."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        rule.weights([0, 1], 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hermite(-1), "`order` is -1; write 0 or more."),
        (lambda: Hermite(1, 0.0), "`sigma` is 0.0; write a number above 0, such as the paper's 0.5."),
        (lambda: Hermite(1, -0.5), "`sigma` is -0.5; write a number above 0, such as the paper's 0.5."),
        (lambda: Hermite(1, np.inf), "`sigma` is inf; write a finite number."),
        (lambda: Hermite(1, step=0.0), "`step` is 0.0; write the length of one sampling step, above 0."),
        (lambda: Hermite(1, step=-0.5), "`step` is -0.5; write the length of one sampling step, above 0."),
        (lambda: FoCa(step=np.nan), "`step` is nan; write a finite number."),
        (lambda: AdamsBashforth(0), "`order` is 0; write 1 or more."),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()
