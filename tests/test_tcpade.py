"""TC-Padé three ways: formulas by hand, stages, gate, recursion, and never a value that is not finite."""

import math

import array_api_compat.torch as torch
import array_api_strict
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spectral_forecast as sf
from conftest import to_numpy
from spectral_forecast import Shanks, TCPade, TCPadePaper, TCPadeReleased, TCPadeRun, schedules
from spectral_forecast.forecasters.tcpade import interval, scaled_gram, stability, stage

FORMS = [TCPade(), TCPadePaper(), TCPadeReleased()]
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
MIDDLE, EARLY, LATE = 0.0, -0.9, 0.9


def arrays(*values):
    return [np.array(value, dtype=float) for value in values]


def test_the_schedule_of_20_steps():
    assert schedules.steps(interval(20)) == "0-2,4,8,12,16"
    assert 20 / interval(20).sum() == pytest.approx(2.857, abs=1e-3)
    assert schedules.steps(interval(9, every=3)) == "0-3,6"
    with pytest.raises(ValueError, match="`every` is 0"):
        interval(20, 0)


def test_stages_follow_the_remaining_time():
    steps = [stage(2 * i / 20 - 1) for i in range(20)]
    assert steps[:6] == ["early"] * 6
    assert steps[7:16] == ["middle"] * 9
    assert steps[17:] == ["late"] * 3


def test_stability_by_hand():
    straight, back = arrays([0, 0], [1, 0], [3, 0]), arrays([0, 0], [1, 0], [0, 0])
    corner, still = arrays([0, 0], [1, 0], [1, 2]), arrays([0, 0], [0, 0], [1, 2])
    for residuals, expected in ((straight, 2.0), (back, 0.0), (corner, math.sqrt(2)), (still, 2.0), (corner[1:], 2.0)):
        assert stability(scaled_gram(residuals)) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.floats(-1, 1), min_size=9, max_size=9))
def test_stability_and_the_printed_indicator_are_one(values):
    residuals = list(np.array(values).reshape(3, 3))
    newest, before = residuals[2] - residuals[1], residuals[1] - residuals[0]
    if min(np.linalg.norm(newest), np.linalg.norm(before)) < 1e-3:
        return
    printed = 0.5 * np.linalg.norm(newest / np.linalg.norm(newest) - before / np.linalg.norm(before))
    assert 0 <= printed <= 1 + 1e-12
    assert stability(scaled_gram(residuals)) ** 2 + 4 * printed**2 == pytest.approx(4, abs=1e-9)


def test_presets():
    for form in (TCPade, TCPadePaper, TCPadeReleased):
        assert (form.slow().threshold, form.fast().threshold) == (1.0, 0.7)
    turned = math.radians(125)
    residuals = arrays([0, 0], [1, 0], [1 + math.cos(turned), math.sin(turned)])
    gram = scaled_gram(residuals)
    assert TCPade.fast().skips(gram)
    assert not TCPade.slow().skips(gram)


def test_the_gram_form_by_hand():
    residuals = arrays([4.0], [2.0], [1.0])
    gram = scaled_gram(residuals)
    times = [-0.4, -0.3, -0.2]
    kappa = math.exp(-10 * 1 / 3)
    assert TCPade().weights(times, -0.1, gram) @ np.array([4, 2, 1.0]) == pytest.approx(1 - kappa * 0.5)
    assert TCPade(modulation=0).weights(times, -0.1, gram) == pytest.approx(Shanks().weights(times, -0.1, gram))
    assert TCPade().weights([-1, -0.9, -0.8], -0.7, gram) == pytest.approx([0, 0.1, 0.9])
    late = TCPade().weights([0.6, 0.7, 0.8], 0.9, gram) @ np.array([4, 2, 1.0])
    assert late == pytest.approx(1 - kappa * 0.5 - 0.3)
    assert TCPade().forecast(times, residuals, -0.1) == pytest.approx(1 - kappa * 0.5)


def test_the_paper_by_hand():
    residuals = arrays([3.0, -1.0], [2.0, 2.0], [1.0, 2.0])
    sigma = math.exp(-10 * 1 / 5)
    top = sigma * np.array([2 * 1 - 2, 2 * 2 - 2])
    expected = top / (1 + 0.1 * sigma * np.array([3, -1]) / math.sqrt(5))
    assert TCPadePaper().forecast([0, 1, 2], residuals, MIDDLE) == pytest.approx(expected)
    assert TCPadePaper().forecast([0, 1, 2], residuals, LATE) == pytest.approx(expected + 0.3 * np.array([-1, 0]))
    assert TCPadePaper().forecast([0, 1, 2], residuals, EARLY) == pytest.approx([1.1, 2.0])
    scaled = [1e4 * residual for residual in residuals]
    assert TCPadePaper().forecast([0, 1, 2], scaled, MIDDLE) == pytest.approx(1e4 * expected)


def released(r1, r2):
    """The quotient, its limits and its blend, number by number."""
    delta, m = abs(r1 - r2), 0.5 * (abs(r1) + abs(r2))
    sigma = math.exp(-5 * delta / (m + 1e-7))
    p, mean = sigma * (2 * r1 - r2) / (1 - 0.1 * sigma), 0.6 * r1 + 0.4 * r2
    limit = max(delta / 2, 0.1 * m)
    p = mean + min(max(p - mean, -limit), limit)
    beta = 0.7 * sigma + 0.3
    return beta * p + (1 - beta) * mean


@given(st.lists(st.floats(-100, 100), min_size=16, max_size=16))
def test_the_released_quotient_number_by_number(values):
    r4, r3, r2, r1 = residuals = list(np.array(values).reshape(4, 4))
    # Five residuals are more than any order asks for.
    found = TCPadeReleased(order=2).forecast(range(4), residuals, MIDDLE)
    expected = np.array([released(float(a), float(b)) for a, b in zip(r1, r2, strict=True)])
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    late = TCPadeReleased(order=2).forecast(range(4), residuals, LATE)
    assert late == pytest.approx(expected + 0.3 * (r1 - r2), rel=1e-12, abs=1e-10)
    early = TCPadeReleased(order=2).forecast(range(4), residuals, EARLY)
    assert early == pytest.approx(0.9 * r1 + 0.1 * r2, rel=1e-12, abs=1e-12)
    assert np.isfinite(r4 + r3).all()


def test_the_released_order_adapts_to_directions():
    def turning(cosine):
        angle = math.acos(cosine)
        return arrays(*([math.cos(k * angle), math.sin(k * angle)] for k in range(4)))

    form = TCPadeReleased(order=4)
    assert [form._order(turning(cosine)) for cosine in (0.5, 0.89, 0.91, 0.97, 0.99)] == [2, 2, 3, 3, 4]
    assert TCPadeReleased(order=3)._order(turning(0.99)) == 3
    assert form._order(turning(0.99)[:2]) == 2
    # At order 4 four residuals are too few for the quotient: a damped mean stands in for it.
    residuals = turning(0.99)
    change = np.linalg.norm(residuals[3] - residuals[2])
    damping = max(0.8, 1 / (1 + 10 * change))
    mean = 0.4 * residuals[3] + 0.3 * residuals[2] + 0.2 * residuals[1] + 0.1 * residuals[0]
    assert form.forecast(range(4), residuals, MIDDLE) == pytest.approx(damping * mean)
    mean = (0.4 * residuals[1] + 0.3 * residuals[0]) / 0.7
    assert form.forecast(range(2), residuals[:2], MIDDLE) == pytest.approx(mean)


KINDS = [
    (array_api_strict, "float32"),
    (np, "float16"),
    (np, "float32"),
    (torch, "float16"),
    (torch, "bfloat16"),
    (torch, "float32"),
    (jnp, "float16"),
    (jnp, "bfloat16"),
    (jnp, "float32"),
]


def extremes(xp, kind):
    info = xp.finfo(getattr(xp, kind))
    largest, smallest = float(info.max), float(info.smallest_normal)
    values = [0.0, 1.0, 1.0 + float(info.eps), largest, largest / 2, smallest, smallest / 4, 1e-7, 3.0]
    return st.sampled_from(values + [-value for value in values])


@pytest.mark.parametrize(("xp", "kind"), KINDS, ids=lambda part: getattr(part, "__name__", part).split(".")[-1])
@pytest.mark.parametrize("form", FORMS[1:], ids=lambda form: type(form).__name__)
@settings(max_examples=150)
@given(st.data())
def test_finite_in_finite_out(form, xp, kind, data):
    count = data.draw(st.integers(1, 6))
    values = data.draw(st.lists(extremes(xp, kind), min_size=3 * count, max_size=3 * count))
    residuals = [xp.asarray(values[3 * k : 3 * k + 3], dtype=getattr(xp, kind)) for k in range(count)]
    if data.draw(st.booleans()):
        residuals[-1] = residuals[0]
    for t in (EARLY, MIDDLE, LATE):
        times = np.linspace(-1.0, t - 0.05, count) if count > 1 else [t - 0.05]
        found = form.forecast(times, residuals, t)
        assert found.dtype == residuals[0].dtype
        assert found.shape == residuals[0].shape
        assert np.isfinite(to_numpy(found)).all()


@pytest.mark.parametrize(("xp", "kind"), KINDS, ids=lambda part: getattr(part, "__name__", part).split(".")[-1])
@pytest.mark.parametrize("form", FORMS[1:], ids=lambda form: type(form).__name__)
@settings(max_examples=30)
@given(st.data())
def test_runs_stay_finite(form, xp, kind, data):
    values = data.draw(st.lists(extremes(xp, kind), min_size=40, max_size=40))
    run = TCPadeRun(form, 20)
    for step in range(20):
        inputs, outputs = (xp.asarray([values[2 * step + k]], dtype=getattr(xp, kind)) for k in range(2))
        if run.evaluates(step):
            run.keep(step, inputs, outputs)
        else:
            assert np.isfinite(to_numpy(run.forecast(step, inputs))).all()


def drive(form, path, evaluate=None):
    """A run whose residual is a function of the step; the steps that it evaluated, and its outputs."""
    run, evaluated, outputs = TCPadeRun(form, 20, evaluate), [], []
    for step in range(20):
        inputs = np.array([float(step), -1.0])
        if run.evaluates(step):
            evaluated.append(step)
            outputs.append(inputs + path(step))
            run.keep(step, inputs, outputs[-1])
        else:
            outputs.append(run.forecast(step, inputs))
    assert run.evaluations == len(evaluated)
    return evaluated, outputs


@pytest.mark.parametrize("form", [TCPade(), TCPadePaper(), TCPadeReleased(threshold=0.0)])
def test_a_straight_trajectory_is_evaluated_by_schedule(form):
    evaluated, _ = drive(form, lambda i: np.array([1.0, 2.0]) + 0.01 * i)
    assert evaluated == [0, 1, 2, 4, 8, 12, 16]


def test_the_released_code_shuts_its_gate_by_its_own_forecasts():
    evaluated, _ = drive(TCPadeReleased(), lambda i: np.array([1.0, 2.0]) + 0.01 * i)
    assert len(evaluated) > 7


def test_a_turning_trajectory_shuts_the_gate():
    def zigzag(i):
        return np.array([1.0, 0.1 * (-1) ** i])

    assert len(drive(TCPade.slow(), zigzag)[0]) == 20
    assert len(drive(TCPade(threshold=0.0), zigzag)[0]) == 7

    def turn(i):
        return np.array([math.cos(2.2 * i), math.sin(2.2 * i)])

    fast, slow = (len(drive(form, turn)[0]) for form in (TCPade.fast(), TCPade.slow()))
    assert 7 <= fast < slow


def test_released_forecasts_enter_the_history_and_follow_the_input():
    form, path = TCPadeReleased(threshold=0.0), lambda i: np.array([1.0 + 0.1 * i, 2.0])
    _, outputs = drive(form, path)
    kept = [path(step) for step in (0, 1, 2)]
    for step in (3,):
        expected = form.forecast(range(3), kept, 2 * step / 20 - 1) + 0.2 * np.array([1.0, 0.0])
        assert outputs[step] - [step, -1.0] == pytest.approx(expected)
        kept.append(expected)
    kept.append(path(4))
    for step in (5, 6, 7):
        expected = form.forecast(range(5), kept[-5:], 2 * step / 20 - 1) + 0.2 * np.array([1.0, 0.0])
        assert outputs[step] - [step, -1.0] == pytest.approx(expected)
        kept.append(expected)


def test_the_other_forms_forecast_from_evaluated_residuals_only():
    for form in (TCPade(), TCPadePaper()):
        path = lambda i: np.array([1.0 + 0.5**i, 2.0])  # noqa: E731
        _, outputs = drive(form, path)
        for step in (5, 6, 7):
            times = [2 * i / 20 - 1 for i in (0, 1, 2, 4)]
            expected = form.forecast(times, [path(i) for i in (0, 1, 2, 4)], 2 * step / 20 - 1)
            assert outputs[step] - [step, -1.0] == pytest.approx(expected)


@every_form
def test_is_data(form):
    assert eval(repr(form), vars(sf)) == form
    assert isinstance(form, sf.Forecaster)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: TCPade(threshold=2.5), ValueError, "`threshold` is 2.5; write 0 to 2"),
        (lambda: TCPadePaper(modulation=-1.0), ValueError, "`modulation` is -1.0; write 0 or more"),
        (lambda: TCPadeReleased(order=1), ValueError, "`order` is 1; write 2 or more"),
        (lambda: TCPadeRun(Shanks(), 20), TypeError, r"`form` is Shanks.*; write TCPade\(\)"),
        (lambda: TCPadeRun(TCPade(), 20).forecast(0, np.ones(1)), ValueError, "`step` 0 has nothing"),
        (lambda: TCPadeRun(TCPade(), 20).evaluates(3), ValueError, "`step` is 3, but 0 of 20 comes next"),
        (lambda: TCPadeRun(TCPade(), 2).keep(0, np.ones(1), np.ones(2)), ValueError, "`outputs` is float64 of shape"),
        (lambda: TCPade().weights([0, 1, 2], 3, np.eye(3)), ValueError, r"lives on \[-1, 1\]"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
