"""The corrector: what it is exact on, what it leaves alone, and how far the guard lets it go."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from laws import runs

from conftest import to_numpy
from spectral_forecast import AnalyticKernel, Corrector, Newton, Plan, Reuse, make_plan, schedules, spectrum
from spectral_forecast.corrector import guard

RULES = [Reuse(), Newton(1), Newton(2), spectrum(0.5, mode="free"), AnalyticKernel()]


def sample(plan, network, sigmas, x, *, limit=None):
    """Euler's method, as anyone would write it, and the sample before every step."""
    run, seen = plan.start(), []
    for i in range(plan.steps):
        if run.evaluates(i):
            velocity = network(x, i)
            run.keep(i, velocity)
            x = run.correct(i, x, limit=limit)
        else:
            velocity = run.forecast(i)
        seen.append(x)
        x = x + float(sigmas[i + 1] - sigmas[i]) * velocity
    return x, seen


def falling(count, seed=0):
    """Noise levels of uneven steps."""
    return np.append(np.cumsum(np.random.default_rng(seed).uniform(0.1, 1.0, count))[::-1], 0.0)


@given(runs(), st.integers(1, 4), st.sampled_from(RULES), st.integers(0, 2**32 - 1))
def test_polynomials_are_integrated_as_if_every_step_were_evaluated(drawn, degree, rule, seed):
    times, evaluate = drawn
    evaluate[:degree] = True  # until then there are too few outputs for the degree
    sigmas = falling(times.size)
    plan = make_plan(rule, times, evaluate, sigmas=sigmas, corrector=Corrector(degree))
    tau = times / times[-1]
    values = np.polynomial.chebyshev.chebval(tau, np.random.default_rng(seed).normal(size=(degree + 1, 3))).T
    exact = np.concatenate([np.zeros((1, 3)), np.cumsum(np.diff(sigmas)[:, None] * values, axis=0)])
    _, seen = sample(plan, lambda _, i: values[i], sigmas, np.zeros(3))
    size = 1.0 + np.abs(plan.correction).sum(axis=1).max() + np.abs(plan.weights).sum(axis=1).max() * sigmas[0]
    for step in np.flatnonzero(evaluate):
        assert seen[step] == pytest.approx(exact[step], abs=1e-11 * size)


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0])
def test_the_kernel_interpolates_smooth_velocities(rate):
    evaluate = schedules.even(50, 10)
    times, sigmas = np.arange(50), np.linspace(1.0, 0.0, 51)
    network = lambda _, i: np.array([np.cos(rate * i / 25)])  # noqa: E731
    full, _ = sample(make_plan(Reuse(), times, np.ones(50, dtype=bool)), network, sigmas, np.zeros(1))
    errors = []
    for corrector in (None, Corrector(kernel=AnalyticKernel(2.0, 1e-6))):
        plan = make_plan(Newton(1), times, evaluate, sigmas=sigmas, corrector=corrector)
        errors.append(abs(sample(plan, network, sigmas, np.zeros(1))[0] - full)[0])
    assert errors[1] < 0.5 * errors[0]


@given(runs(), st.sampled_from(RULES), st.integers(1, 3), st.sampled_from([None, 0.2]))
@settings(max_examples=60)
def test_the_table_is_the_interpolated_less_the_used(drawn, rule, degree, limit):
    times, evaluate = drawn
    sigmas = falling(times.size, seed=1)
    plan = make_plan(rule, times, evaluate, sigmas=sigmas, corrector=Corrector(degree, damping=0.7))
    network = lambda x, i: np.sin(x + times[i] / times[-1])  # noqa: E731
    found, _ = sample(plan, network, sigmas, np.ones(2), limit=limit)
    x, kept, moved, v = np.ones(2), [], np.zeros(2), None
    for i in range(times.size):
        tau = lambda steps: 2.0 * times[steps] / times[-1] - 1.0  # noqa: E731
        if evaluate[i]:
            v = network(x, i)
            if kept and kept[-1][0] + 1 < i:
                steps = [step for step, _ in kept]
                w = rule.with_step(None).weights(tau(steps), tau(i))
                missed = v - sum(a * output for a, (_, output) in zip(w, kept, strict=True))
                part = 1.0 if limit is None else guard(np.linalg.norm(missed) / np.linalg.norm(v), limit)
                newest = [*kept, (i, v)][-degree - 1 :]
                for j, used in moved:
                    nodes = tau([step for step, _ in newest])
                    inside = sum(
                        output * np.prod([(tau(j) - b) / (a - b) for b in nodes if b != a])
                        for a, (_, output) in zip(nodes, newest, strict=True)
                    )
                    x = x + part * 0.7 * (sigmas[j + 1] - sigmas[j]) * (inside - used)
            kept.append((i, v))
            moved = []
        else:
            w = rule.with_step(None).weights(tau([step for step, _ in kept]), tau(i))
            v = sum(a * output for a, (_, output) in zip(w, kept, strict=True))
            moved.append((i, v))
        x = x + (sigmas[i + 1] - sigmas[i]) * v
    size = 1.0 + np.abs(plan.correction).sum() + np.abs(plan.weights).sum(axis=1).max()
    assume(size < 1e6)
    assert found == pytest.approx(x, rel=1e-7 * size, abs=1e-9 * size)


@given(st.integers(1, 40), st.sampled_from(RULES), st.integers(1, 3))
@settings(max_examples=40)
def test_a_run_of_evaluations_is_not_touched(steps, rule, degree):
    evaluate = np.ones(steps, dtype=bool)
    sigmas = falling(steps)
    plan = make_plan(rule, np.arange(steps), evaluate, sigmas=sigmas, corrector=Corrector(degree))
    assert plan == make_plan(rule, np.arange(steps), evaluate)
    run, x = plan.start(), np.ones(3)
    for i in range(steps):
        run.keep(i, np.cos(x))
        assert run.correct(i, x) is x


@given(st.floats(0, 1e6), st.floats(0.01, 1.0))
def test_the_guard_is_between_nothing_and_all(error, limit):
    part = guard(error, limit)
    assert 0.0 <= part <= 1.0
    assert guard(0.0, limit) == 1.0
    assert guard(limit, limit) == 0.5
    assert guard(1.01 * error, limit) <= part
    assert part * error <= 0.5 * limit * (1 + 1e-12)  # what is made of a correction that grows like the error


def test_the_guard_weakens_a_correction_by_its_run():
    sigmas = np.array([3.0, 2.0, 1.0, 0.0])
    plan = make_plan(Reuse(), np.arange(3), [True, False, True], sigmas=sigmas, corrector=Corrector(1))
    changes = {}
    for limit in (None, 0.5, 0.1):
        run = plan.start()
        run.keep(0, np.array([3.0, 4.0]))
        run.keep(2, np.array([6.0, 8.0]))
        assert run.error == pytest.approx(0.5)
        changes[limit] = run.correct(2, np.zeros(2), limit=limit)
    assert changes[None] == pytest.approx([-1.5, -2.0])  # half of the change, interpolated, over a step of -1
    assert changes[0.5] == pytest.approx(changes[None] / 2)
    assert changes[0.1] == pytest.approx(changes[None] / 26)


def test_features_that_vanish_are_no_division_by_zero():
    sigmas = np.array([3.0, 2.0, 1.0, 0.0])
    plan = make_plan(Reuse(), np.arange(3), [True, False, True], sigmas=sigmas, corrector=Corrector(1))
    for first, error in ((0.0, 0.0), (1.0, np.inf)):
        run = plan.start()
        run.keep(0, np.full(2, first))
        run.keep(2, np.zeros(2))
        assert run.error == error
        assert np.isfinite(run.correct(2, np.ones(2))).all()


def test_works_on_every_library_and_dtype(kind):
    xp, dtype = kind
    sigmas = np.linspace(1.0, 0.0, 9)
    evaluate = schedules.mask(8, [0, 1, 4, 7])
    plan = make_plan(Newton(1), np.arange(8), evaluate, sigmas=sigmas, corrector=Corrector())
    values = [np.array([[1.0 + (step / 8) ** 2, 2.0 - step / 8]]) for step in range(8)]
    found, _ = sample(plan, lambda _, i: xp.asarray(values[i], dtype=dtype), sigmas, xp.ones((1, 2), dtype=dtype))
    exact, _ = sample(plan, lambda _, i: values[i], sigmas, np.ones((1, 2)))
    assert found.dtype == dtype
    assert to_numpy(found) == pytest.approx(exact, abs=20 * float(xp.finfo(dtype).eps))


def test_a_sample_keeps_its_own_dtype():
    plan = make_plan(Reuse(), np.arange(3), [True, False, True], sigmas=[3.0, 2.0, 1.0], corrector=Corrector(1))
    run = plan.start()
    run.keep(0, torch.ones(2, dtype=torch.bfloat16))
    run.keep(2, torch.full((2,), 2.0, dtype=torch.bfloat16))
    x = torch.full((2,), 0.123456789, dtype=torch.float32)
    moved = run.correct(2, x, limit=None)
    assert moved.dtype == torch.float32
    assert moved == pytest.approx(x.numpy() - 0.5, rel=1e-6)


def test_a_short_ring():
    sigmas, times = falling(12), np.arange(12)
    evaluate = schedules.mask(12, [0, 1, 5, 9])
    network = lambda x, i: np.cos(x + i / 6)  # noqa: E731
    whole, short = (
        make_plan(Newton(1), times, evaluate, keep=keep, sigmas=sigmas, corrector=Corrector()) for keep in (None, 3)
    )
    assert sample(short, network, sigmas, np.ones(2))[0] == pytest.approx(sample(whole, network, sigmas, np.ones(2))[0])
    with pytest.raises(ValueError, match=r"`keep` is 2, too few to correct at step 5 .* dropped there; write 3"):
        make_plan(Newton(1), times, evaluate, keep=2, sigmas=sigmas, corrector=Corrector())


def test_corrections_travel_as_json():
    plan = make_plan(
        Newton(1), np.arange(9), schedules.even(9, 5), sigmas=falling(9), corrector=Corrector(3, damping=0.5)
    )
    assert plan.correction.any()
    assert not plan.correction[~plan.evaluate].any()
    assert Plan.from_json(plan.to_json()) == plan
    full = make_plan(Newton(1), np.arange(9), schedules.even(9, 5), sigmas=falling(9), corrector=Corrector(3))
    assert plan.correction == pytest.approx(0.5 * full.correction)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Corrector(0), ValueError, "`degree` is 0; write 1 or more"),
        (lambda: Corrector(kernel=2.0), TypeError, "`kernel` is 2.0; write an AnalyticKernel"),
        (lambda: Corrector(damping=1.5), ValueError, "`damping` is 1.5; write 0"),
        (lambda: guard(0.1, 0.0), ValueError, "`limit` is 0.0; write the relative error"),
        (lambda: _planned(None), ValueError, r"`sigmas` has shape \(\); a corrector needs the sampler's 3 finite"),
        (lambda: _planned([1.0, 0.5]), ValueError, r"`sigmas` has shape \(2,\)"),
        (lambda: _planned([1.0, 0.5, np.nan]), ValueError, "a corrector needs the sampler's 3 finite noise levels"),
        (lambda: _kept().correct(0, np.zeros(1)), ValueError, "`step` is 0, but step 2 was kept last"),
        (lambda: _kept().correct(2, np.zeros(3)), ValueError, r"`x` has shape \(3,\), the kept features have \(1,\)"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


def _planned(sigmas):
    return make_plan(Reuse(), np.arange(3), [True, False, True], sigmas=sigmas, corrector=Corrector(1))


def _kept():
    run = _planned([3.0, 2.0, 1.0]).start()
    run.keep(0, np.ones(1))
    run.keep(2, np.zeros(1))
    return run
