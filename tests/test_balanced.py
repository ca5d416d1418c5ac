"""Balanced schedules: what they predict, how close to the optimum the search comes, and what they obey."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral_forecast import AnalyticKernel, schedules
from spectral_forecast.plot import plot_cost
from spectral_forecast.schedules import balanced, flow_time, growing, mask, predicted_error, steps
from spectral_forecast.schedules._balanced import LAST_GAP
from spectral_forecast.schedules._search import _PLACES, Pricing


def flow(count, shift=3.0):
    """Noise levels of a flow-matching sampler."""
    levels = np.linspace(1.0, 0.0, count + 1)
    return shift * levels / (1.0 + (shift - 1.0) * levels)


def noise(count):
    """Flow times of DDIM with the scaled linear schedule of Stable Diffusion."""
    alphas = np.cumprod(1.0 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    return flow_time(np.append(np.sqrt(1.0 / alphas - 1.0)[np.linspace(999, 0, count).astype(int)], 0.0))


@st.composite
def levels(draw, longest=24):
    """Noise levels that fall to 0, by steps that differ up to a hundredfold."""
    falls = draw(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=longest))
    return np.append(np.cumsum(falls)[::-1], 0.0)


def price(sigmas, evaluate, **keywords):
    return predicted_error(sigmas, evaluate, **keywords).sum()


@given(levels(), st.data(), st.integers(-1, 2), st.sampled_from([1.2, 2.0, 4.0]), st.sampled_from([1.0, 2.0, 3.5]))
@settings(max_examples=60)
def test_prices_are_those_of_the_power_function(sigmas, data, drift, rho, last_gap):
    n = sigmas.size - 1
    evaluate = np.array([True, *data.draw(st.lists(st.booleans(), min_size=n - 1, max_size=n - 1))])
    rule = AnalyticKernel(rho, 1e-3, drift)
    found = predicted_error(sigmas, evaluate, kernel=rule, last_gap=last_gap)
    tau = 1.0 - 2.0 * sigmas[:-1] / sigmas[0]
    for step in range(n):
        expected = 0.0
        if not evaluate[step]:
            power = rule.power(tau[:step][evaluate[:step]], tau[step])
            weight = 1.0 if evaluate[step:].any() else last_gap
            expected = weight * (sigmas[step] - sigmas[step + 1]) * float(power)
        assert found[step] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def optimum(sigmas, evaluations):
    """The smallest prediction of all schedules, by trying them."""
    n = sigmas.size - 1
    chosen = [(0, *rest) for rest in itertools.combinations(range(1, n), evaluations - 1)]
    tau = 1.0 - 2.0 * sigmas[:-1] / sigmas[0]
    every = Pricing(-np.diff(sigmas), tau, AnalyticKernel(), np.arange(n + 1), 1, 0, n, LAST_GAP)
    return every(np.array(chosen)).min()


RUNS = {f"shift {shift:g}": (lambda n, shift=shift: flow(n, shift)) for shift in (1.0, 3.0, 5.0)} | {"noise": noise}


@pytest.mark.parametrize("run", RUNS)
def test_the_search_is_within_one_percent_of_the_optimum(run):
    ratios = []
    for n, budgets in ((8, range(2, 8)), (11, range(2, 10)), (14, range(2, 11)), (28, (3, 4))):
        sigmas = RUNS[run](n)
        ratios += [price(sigmas, balanced(sigmas, k)) / optimum(sigmas, k) for k in budgets]
    assert min(ratios) > 1.0 - 1e-9
    assert max(ratios) < 1.01
    assert np.mean(np.array(ratios) < 1.0 + 1e-9) >= 0.9


@given(levels(14), st.data())
@settings(max_examples=25)
def test_the_search_is_close_to_the_optimum_on_any_levels(sigmas, data):
    k = data.draw(st.integers(1, sigmas.size - 1))
    assert price(sigmas, balanced(sigmas, k)) <= 1.05 * optimum(sigmas, k) + 1e-12


@given(levels(), st.integers(1, 4), st.integers(0, 4), st.none() | st.integers(0, 6))
@settings(max_examples=60)
def test_budgets_limits_and_monotony(sigmas, warmup, tail, max_skip):
    n = sigmas.size - 1
    limits = {"warmup": warmup, "tail": tail, "max_skip": max_skip}
    least = int(mask(n, [0], **limits).sum())
    before = np.inf
    for evaluations in range(least, n + 1):
        evaluate = balanced(sigmas, evaluations, **limits)
        assert evaluate.sum() == evaluations
        assert np.array_equal(evaluate, mask(n, evaluate, **limits))  # the limits ask for nothing more
        now = price(sigmas, evaluate)
        assert now <= before * (1.0 + 1e-9)
        before = now
    assert before == 0.0
    if least > 1:
        with pytest.raises(ValueError, match=f"`evaluations` is {least - 1}, but .* ask for {least}; write so many"):
            balanced(sigmas, least - 1, **limits)


def test_long_runs_are_planned_on_some_of_their_steps():
    n = 2 * _PLACES
    sigmas = flow(n)
    prices = [price(sigmas, balanced(sigmas, k)) for k in (1, 2, 9, 10)]
    assert prices == sorted(prices, reverse=True)
    evaluate = balanced(sigmas, 10)
    around = [
        price(sigmas, mask(n, np.append(np.delete(np.flatnonzero(evaluate), k), np.flatnonzero(evaluate)[k] + move)))
        for k in range(1, 10)
        for move in (-1, 1)
    ]
    assert prices[-1] < 1.01 * min(around)
    bound = balanced(sigmas, 16, warmup=2, tail=3, max_skip=20)
    assert bound.sum() == 16
    assert np.array_equal(bound, mask(n, bound, warmup=2, tail=3, max_skip=20))


def test_it_predicts_less_than_the_other_schedules():
    for sigmas in (flow(50), flow(50, 1.0), noise(50)):
        assert price(sigmas, balanced(sigmas, 14)) < 0.9 * price(sigmas, schedules.even(50, 14))
        assert price(sigmas, balanced(sigmas, 14)) < 0.9 * price(sigmas, growing(50))


def test_the_more_the_last_gap_counts_the_later_is_the_last_evaluation():
    for sigmas in (flow(50), flow(50, 1.0), noise(50)):
        for evaluations in (6, 10, 14):
            last = [np.flatnonzero(balanced(sigmas, evaluations, last_gap=gap))[-1] for gap in (1.0, 2.0, 5.0, 1e3)]
            assert last == sorted(last)
            assert last[0] <= last[-1] == 49


def test_only_ratios_of_levels_count():
    sigmas = flow(50)
    assert np.array_equal(balanced(sigmas, 12), balanced(7.0 * sigmas, 12))
    assert np.array_equal(balanced(sigmas, 12), balanced(sigmas[:-1], 12))
    assert np.array_equal(balanced(sigmas, 12), balanced(sigmas, 12, times=-sigmas[:-1], span=(-1.0, 0.0)))
    assert not np.array_equal(balanced(sigmas, 12), balanced(sigmas, 12, times=np.arange(50), span=(0, 50)))


def test_flow_time():
    assert flow_time([np.inf, 1.0, 0.0]).tolist() == [1.0, 0.5, 0.0]
    assert (balanced(noise(50), 14)[:25].sum(), balanced(noise(50), 14).sum()) == (6, 14)
    assert steps(balanced([np.pi], 1)) == "0"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: balanced([], 1), ValueError, r"`sigmas` has shape \(0,\); write one dimension of finite noise levels"),
        (lambda: balanced([np.inf, 1.0], 1), ValueError, "write one dimension of finite noise levels"),
        (lambda: balanced([1.0, 2.0], 1), ValueError, "`sigmas` do not fall; write the run's clock, `times`, too"),
        (lambda: balanced([2.0, 1.0], 3), ValueError, "`evaluations` is 3 of a run of 2 steps"),
        (lambda: balanced([2.0, 1.0], 1, times=[0.0]), ValueError, r"`times` has shape \(1,\); write one time"),
        (lambda: balanced([2.0, 1.0], 1, kernel=2.0), TypeError, "`kernel` is 2.0; write an AnalyticKernel"),
        (lambda: balanced([2.0, 1.0], 1, last_gap=0.5), ValueError, "`last_gap` is 0.5; write 1 or more"),
        (lambda: predicted_error([2.0, 1.0], [True]), ValueError, r"`evaluate` has shape \(1,\)"),
        (lambda: flow_time([1.0, -2.0]), ValueError, "`sigmas` holds -2; write noise levels, 0 or more"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_rising_levels_need_a_clock():
    evaluate = balanced([1.0, 2.0, 0.5], 2, times=[0.0, 1.0, 2.0])
    assert evaluate.sum() == 2


def test_the_cost_to_go_is_drawn(tmp_path):
    sigmas = flow(20)
    masks = {"balanced": balanced(sigmas, 6), "even": schedules.even(20, 6)}
    figure = plot_cost(sigmas, masks, title="two", path=tmp_path / "cost.png", kernel=AnalyticKernel(3.0))
    assert (tmp_path / "cost.png").stat().st_size > 5000
    assert figure.get_suptitle() == "two"
    for line, evaluate in zip(figure.axes[2].get_lines(), masks.values(), strict=True):
        cost = predicted_error(sigmas, evaluate, kernel=AnalyticKernel(3.0))
        assert line.get_ydata()[0] == pytest.approx(cost.sum())
        assert line.get_ydata()[-1] == pytest.approx(cost[-1])
