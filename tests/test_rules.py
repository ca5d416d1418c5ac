"""What all rules share: how arguments are checked and passed on, sums and multiples, and equal spacings."""

import re
from dataclasses import dataclass

import numpy as np
import pytest

from spectral_forecast import Chebyshev, FitError, Hermite, Newton, Reuse, Shanks, TCPade
from spectral_forecast.forecasters.base import Combination, LinearRule
from spectral_forecast.forecasters.gram_rule import GramRule, equally_spaced

TIMES, T = [-1.0, -0.5, -0.25], 0.5


@dataclass(frozen=True)
class Written(LinearRule):
    """A rule that writes down what it is asked for."""

    seen: list
    exactness = 0

    def _weights(self, times, t):
        self.seen.append((times, t))
        return np.ones(times.size)


@dataclass(frozen=True)
class WrittenGram(GramRule):
    """The same with a Gram matrix."""

    seen: list

    def _weights(self, times, t, gram):
        self.seen.append((times, t, gram))
        return np.ones(times.size)


def test_a_rule_of_ones_own_gets_float64():
    seen = []
    assert Written(seen).weights([0, 1, 3], 4).tolist() == [1, 1, 1]
    (times, t), *more = seen
    assert (times.dtype, times.tolist(), type(t), t, more) == (np.float64, [0, 1, 3], float, 4, [])


def test_a_gram_rule_of_ones_own_gets_float64():
    seen = []
    assert WrittenGram(seen).weights([0, 3], 4, [[2, 1], [1, 2]]).tolist() == [1, 1]
    (times, t, gram), *more = seen
    assert (times.dtype, times.tolist(), type(t), t, more) == (np.float64, [0, 3], float, 4, [])
    assert (gram.dtype, gram.tolist()) == (np.float64, [[2, 1], [1, 2]])


@pytest.mark.parametrize("rule", [Newton(1), Shanks()], ids=repr)
@pytest.mark.parametrize(
    ("times", "t", "message"),
    [
        ([], 2.0, "`times` has shape (0,); write one dimension with at least one time."),
        ([0.0, 0.0], 2.0, "`times` repeats at index 1 (0, then 0); "),
        ([0.0, 1.0], 1.0, "`t` is 1, not after the last kept time 1; "),
        ([0.0, 1.0], np.nan, "`t` is nan; write a finite number."),
    ],
)
def test_times_are_checked(rule, times, t, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        rule.weights(times, t, *[np.eye(len(times))] * isinstance(rule, GramRule))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Chebyshev().weights([0, 1], 2),
            "`times` and `t` span [0, 2], but Chebyshev(degree=4, ridge=0.1, free=0) lives on [-1, 1]; "
            "map the run's clock, as `make_plan(..., span=(start, end))` does.",
        ),
        (
            lambda: TCPade().weights([0, 1], 2, np.eye(2)),
            "`times` and `t` span [0, 2], but TCPade(threshold=0.7, modulation=10.0) lives on [-1, 1]; "
            "map the run's clock, as `GramRun(..., span=(start, end))` does.",
        ),
    ],
)
def test_another_clock_than_the_rules_is_an_error(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()


def test_no_finite_weights_is_an_error_of_fit():
    message = "Newton(order=1) has no finite weights at `t` = 1 for `times` [0.e+000 5.e-324]; "
    with pytest.raises(FitError, match=f"^{re.escape(message)}"):
        Newton(1).weights([0.0, 5e-324], 1.0)


@pytest.mark.parametrize(
    "gram", [np.eye(3), np.eye(2)[:1], np.eye(2)[:, :1], np.ones(2), [[1, 0], [0, np.nan]], [[np.inf, 0], [0, 1]]]
)
def test_a_gram_matrix_is_finite_and_as_large_as_the_times(gram):
    message = (
        f"`gram` has shape {np.shape(gram)}; write the finite (2, 2) matrix that `gram.append` made of the features "
        "at these times."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Shanks().weights([0, 1], 2, gram)


@pytest.mark.parametrize(
    ("make", "terms"),
    [
        (lambda: Newton(2) + Reuse(), ((1.0, Newton(2)), (1.0, Reuse()))),
        (lambda: Newton(2) - Reuse(), ((1.0, Newton(2)), (-1.0, Reuse()))),
        (lambda: 2 * Newton(1), ((2.0, Newton(1)),)),
        (lambda: Newton(1) * 2, ((2.0, Newton(1)),)),
        (lambda: Newton(1) / 4, ((0.25, Newton(1)),)),
        (lambda: -Newton(1), ((-1.0, Newton(1)),)),
        (
            lambda: 3 * (2 * Newton(1) - Reuse() / 2) + Newton(0),
            ((6.0, Newton(1)), (-1.5, Reuse()), (1.0, Newton(0))),
        ),
    ],
)
def test_sums_and_multiples_are_flat(make, terms):
    rule = make()
    assert rule == Combination(terms)
    expected = sum(factor * part.weights(TIMES, T) for factor, part in terms)
    assert rule.weights(TIMES, T) == pytest.approx(expected, abs=1e-15)
    assert eval(repr(rule)) == rule


@pytest.mark.parametrize(
    ("nonsense", "message"),
    [
        (lambda rule: rule + 1, "unsupported operand type(s) for +: 'Newton' and 'int'"),
        (lambda rule: 1 + rule, "unsupported operand type(s) for +: 'int' and 'Newton'"),
        (lambda rule: rule - 1, "unsupported operand type(s) for -: 'Newton' and 'int'"),
        (lambda rule: rule * 1j, "unsupported operand type(s) for *: 'Newton' and 'complex'"),
        (lambda rule: rule * rule, "unsupported operand type(s) for *: 'Newton' and 'Newton'"),
        (lambda rule: rule / None, "unsupported operand type(s) for /: 'Newton' and 'NoneType'"),
    ],
)
def test_rules_are_added_to_rules_and_multiplied_by_real_numbers(nonsense, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        nonsense(Newton(1))


def test_multiples_are_finite():
    with pytest.raises(ValueError, match=r"^`factor` is inf; write a finite number\.$"):
        np.inf * Newton(1)


@pytest.mark.parametrize(
    ("rule", "exactness"),
    [
        (0.5 * Newton(2) + 0.5 * Newton(1), 1),
        (0.1 * Newton(3) + 0.2 * Newton(2) + 0.7 * Newton(4), 2),
        (sum((0.1 * Newton(1) for _ in range(9)), start=0.1 * Newton(1)), 1),  # 1 but for rounding
        (2 * Newton(2) - Newton(1), 1),
        (Newton(2) + Reuse(), -1),
        (0.5 * Newton(2) + 0.5001 * Newton(1), -1),
        (0.5 * Newton(1) + 0.5 * Chebyshev(), -1),
    ],
)
def test_a_combination_keeps_what_every_term_keeps_if_its_factors_sum_to_one(rule, exactness):
    assert rule.exactness == exactness


def test_a_combination_lives_where_every_term_does():
    assert (0.5 * Newton(1) + 0.5 * Reuse()).affine
    assert not (0.5 * Newton(1) + 0.5 * Chebyshev()).affine


def test_only_rules_that_count_steps_change_with_the_step():
    assert Newton(2).with_step(0.5) == Newton(2).with_step(None, scale=3.0) == Newton(2)
    both = 0.25 * Hermite(1) + 0.25 * Hermite(1, step=0.5) + 0.5 * Newton(1)
    assert both.with_step(0.1) == 0.25 * Hermite(1, step=0.1) + 0.25 * Hermite(1, step=0.5) + 0.5 * Newton(1)
    assert both.with_step(None, scale=3.0) == 0.25 * Hermite(1) + 0.25 * Hermite(1, step=1.5) + 0.5 * Newton(1)


@pytest.mark.parametrize(
    ("gaps", "count"),
    [
        ([], 1),
        ([7.0], 2),
        ([2.0, 2.0, 2.0], 4),
        ([1.0, 2.0, 2.0], 3),
        ([3.0, 2.0, 2.0], 3),
        ([2.0, 2.0, 1.0], 2),
        ([2.0, 3.0, 2.0, 2.0], 3),
        ([2 + 1.8e-6, 2.0], 3),
        ([2 - 1.8e-6, 2.0], 3),
        ([2 + 2.2e-6, 2.0], 2),
        ([2 - 2.2e-6, 2.0], 2),
    ],
)
def test_equal_spacings_are_counted_from_the_newest_to_six_digits(gaps, count):
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    assert equally_spaced(times) == equally_spaced(1e-3 * times) == count
