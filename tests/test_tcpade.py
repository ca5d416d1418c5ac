"""TC-Padé three ways: formulas by hand, stages, gate and recursion."""

import math
import re

import array_api_strict as xp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spectral_forecast as sf
from spectral_forecast import Shanks, TCPade, TCPadePaper, TCPadeReleased, TCPadeRun, schedules
from spectral_forecast.forecasters.tcpade import interval, scaled_gram, stability, stage

FORMS = [TCPade(), TCPadePaper(), TCPadeReleased()]
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
MIDDLE, EARLY, LATE = 0.0, -0.9, 0.9
TIMES = [-0.4, -0.3, -0.2]


def arrays(*values):
    return [np.array(value, dtype=float) for value in values]


def test_the_schedule_of_20_steps():
    assert schedules.steps(interval(20)) == "0-2,4,8,12,16"
    assert 20 / interval(20).sum() == pytest.approx(2.857, abs=1e-3)
    assert schedules.steps(interval(9, every=3)) == "0-3,6"
    assert interval(5, every=1).all()
    assert interval(1).tolist() == [True]


def test_stages_follow_the_remaining_time():
    steps = [stage(2 * i / 20 - 1) for i in range(20)]
    assert steps[:6] == ["early"] * 6
    assert steps[7:16] == ["middle"] * 9
    assert steps[17:] == ["late"] * 3
    # At 0.7 and at 0.2 exactly.
    assert (stage(-0.4), stage(0.6)) == ("middle", "middle")


def test_stability_by_hand():
    straight, back = arrays([0, 0], [1, 0], [3, 0]), arrays([0, 0], [1, 0], [0, 0])
    corner, still = arrays([0, 0], [1, 0], [1, 2]), arrays([0, 0], [0, 0], [1, 2])
    for residuals, expected in ((straight, 2.0), (back, 0.0), (corner, math.sqrt(2)), (still, 2.0), (corner[1:], 2.0)):
        assert stability(scaled_gram(residuals)) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3), st.floats(0.1, 10))
def test_stability_is_that_of_the_newest_three_and_at_most_2(slope, gap):
    line = [np.array(slope) * t for t in (0, gap, gap + 1, 2 * gap + 1)]
    assert stability(scaled_gram(line)) <= 2.0
    corner = arrays([5, 1, -7], [3, 2, 0], [4, 2, 0], [4, 1, 0])
    assert stability(scaled_gram(corner)) == pytest.approx(math.sqrt(2))


def test_the_gram_matrix_is_of_shares_of_the_largest_value():
    residuals = arrays([2.0, -1.0], [0.5, 4.0])
    expected = np.array([[27.25, -19.25], [-19.25, 16.25]]) / 16
    for scale in (1e-200, 1.0, -1e250):
        assert scaled_gram([scale * residual for residual in residuals]) == pytest.approx(expected)
    assert scaled_gram([np.float16([60000.0, 30000.0])]) == pytest.approx(1.25)
    assert scaled_gram(arrays([0.0], [0.0])).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    # Below the least normal number shares are of that.
    least = np.finfo(np.float64).smallest_normal
    assert scaled_gram([np.array([least / 4])]) == pytest.approx(1 / 16)


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
    # The thresholds themselves let a step be skipped.
    assert TCPade(threshold=2.0).skips(gram[1:, 1:])
    assert TCPade(threshold=0.0).skips(scaled_gram(arrays([0, 0], [1, 0], [0, 0])))


@pytest.mark.parametrize("older", [[], [9.0, -3.0]], ids=["three", "five"])
def test_the_gram_form_by_hand(older):
    """From the newest three residuals, whatever was before them."""
    values = np.array([*older, 4.0, 2.0, 1.0])
    gram = scaled_gram(arrays(*values[:, None]))

    def forecast(t, form):
        return form.weights(t + 0.1 * np.arange(-values.size, 0), t, gram) @ values

    kappa = math.exp(-10 * 1 / 3)
    assert forecast(-0.1, TCPade()) == pytest.approx(1 - kappa * 0.5)
    assert forecast(-0.1, TCPade(modulation=3)) == pytest.approx(1 - math.exp(-1) * 0.5)
    assert forecast(-0.1, TCPade(modulation=0)) == pytest.approx(forecast(-0.1, Shanks()))
    assert forecast(-0.45, TCPade()) == pytest.approx(1.1)
    assert forecast(0.9, TCPade()) == pytest.approx(1 - kappa * 0.5 - 0.3)


def test_the_gram_form_of_one_and_of_two_residuals():
    assert TCPade().weights([0.0], 0.1, np.ones((1, 1))).tolist() == [1.0]
    residuals = arrays([2.0], [1.0])
    # Three gaps along a line, modulated.
    kappa = math.exp(-10 * 1 / 3)
    assert TCPade().forecast([0.0, 0.1], residuals, 0.4) == pytest.approx(1 - kappa * 3)
    assert TCPade().forecast([-1.0, -0.9], residuals, -0.8) == pytest.approx(1.1)


def test_no_trend_where_the_newest_two_residuals_cancel():
    for last in ([-3.0, 1.0], [0.0, 0.0]):
        gram = scaled_gram(arrays([1.0, 1.0], -np.array(last), last))
        assert TCPade().weights(TIMES, -0.1, gram) == pytest.approx([0, 0, 1])


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


def test_the_paper_of_one_and_of_two_residuals():
    assert TCPadePaper().forecast([0], arrays([3.0]), MIDDLE).tolist() == [3.0]
    expected = math.exp(-10 * 1 / 3) * 3
    assert TCPadePaper().forecast([0, 1], arrays([1.0], [2.0]), MIDDLE) == pytest.approx(expected)


@pytest.mark.parametrize("before", [1e-200, 1.0, 1e200])
def test_the_paper_reads_the_newest_three_in_any_unit(before):
    """The newest two tell the modulation, the third one no more than a ratio to its own root mean square."""
    sigma = math.exp(-5 * 1 / 5)
    third = np.array([3.0, -1.0])
    residuals = [np.array([-9.0, 7.0]), before * third, *arrays([2.0, 2.0], [1.0, 2.0])]
    expected = sigma * np.array([0, 2]) / (1 + 0.1 * sigma * third / math.sqrt(5))
    assert TCPadePaper(modulation=5).forecast(range(4), residuals, MIDDLE) == pytest.approx(expected)
    residuals[1] = np.zeros(2)
    assert TCPadePaper(modulation=5).forecast(range(4), residuals, MIDDLE) == pytest.approx([0, 2 * sigma])


@pytest.mark.parametrize(("denominator", "put"), [(5e-6, 1e-5), (-5e-6, -1e-5), (2e-5, 2e-5), (-2e-5, -2e-5)])
def test_the_papers_denominators_keep_clear_of_zero(denominator, put):
    def first(third):
        residuals = [xp.asarray(third), *(xp.ones(len(third)) for _ in range(2))]
        return float(TCPadePaper().forecast([0, 1, 2], residuals, MIDDLE)[0])

    ratio, count = 10.0 * (1.0 - denominator), 144
    others = math.sqrt((count / ratio**2 - 1) / (count - 1))
    assert first([-1.0] + (count - 1) * [others]) == pytest.approx(1.0 / put, rel=1e-6)
    assert first([-1.0] + 99 * [0.0]) == pytest.approx(1e5)


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


@pytest.mark.parametrize("unit", [1e-8, 1e-7, 1.0, 1e3])
def test_the_released_quotient_in_small_and_in_large_units(unit):
    grid = unit * np.array([-3.0, -1.01, -1.0, 0.0, 0.4, 0.9, 1.0, 2.0])
    r1, r2 = (axis.ravel() for axis in np.meshgrid(grid, grid))
    # The older ones suggest order 2 and do not enter.
    found = TCPadeReleased().forecast(range(4), [r1, -r2, r2, r1], MIDDLE)
    expected = [released(float(a), float(b)) for a, b in zip(r1, r2, strict=True)]
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-14 * unit)


def test_the_released_order_adapts_to_directions():
    def turning(cosine):
        angle = math.acos(cosine)
        return arrays(*([math.cos(k * angle), math.sin(k * angle)] for k in range(4)))

    form = TCPadeReleased(order=4)
    assert [form._order(turning(cosine)) for cosine in (0.5, 0.89, 0.91, 0.97, 0.99)] == [2, 2, 3, 3, 4]
    assert TCPadeReleased(order=3)._order(turning(0.99)) == 3
    assert form._order(turning(0.99)[:2]) == 2
    # The mean cosine of the newest three, whatever their sizes; 0 with a residual that vanishes.
    for cosines, order in (((1.0, 0.7), 2), ((1.0, 0.85), 3), ((0.85, 1.0), 3), ((1.0, 0.97), 4), ((0.0, 1.0), 2)):
        older, newer = map(math.acos, cosines)
        directions = [[math.cos(angle), math.sin(angle)] for angle in (2.0, 0.0, older, older + newer)]
        residuals = [size * np.array(direction) for size, direction in zip((1, 5, 0.2, 3), directions, strict=True)]
        assert form._order(residuals) == order
    for still in range(3):
        residuals = arrays([1.0], [1.0], [1.0])
        residuals[still] = np.zeros(1)
        assert form._order(residuals) == 2


def test_the_released_mean_before_the_quotient():
    """Where residuals are too few for the order: shares 4 : 3 : 2 : 1, and from three residuals on a damping."""
    assert TCPadeReleased().forecast([0], arrays([3.0]), MIDDLE).tolist() == [3.0]
    for change in (0.01, 1.0):
        residuals = [np.array([40.0, -50.0]) + k * change * np.array([0.6, 0.8]) for k in range(4)]
        damping = max(0.8, 1 / (1 + 10 * change))
        for count, damped in ((2, 1.0), (3, damping), (4, damping)):
            expected = damped * np.average(residuals[:count], axis=0, weights=[1, 2, 3, 4][-count:])
            assert TCPadeReleased(order=4).forecast(range(count), residuals[:count], MIDDLE) == pytest.approx(expected)


@pytest.mark.parametrize(("limit", "needed"), [(2, 3), (3, 4), (4, 5), (9, 5)])
def test_the_released_quotient_needs_one_residual_more_than_its_order(limit, needed):
    """On a line the order is 4, or the limit if that is lower."""
    form, line = TCPadeReleased(order=limit), arrays(*[[10.0 + 0.01 * k] for k in range(6)])
    for count in range(2, 7):
        r2, r1 = (float(residual[0]) for residual in line[count - 2 : count])
        found = form.forecast(range(count), line[:count], MIDDLE)[0]
        assert math.isclose(found, released(r1, r2), rel_tol=1e-12) == (count >= needed)


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


def test_the_released_gate_is_open_before_the_fifth_residual():
    zigzag = arrays(*[[1.0, (-1.0) ** k] for k in range(5)])
    assert TCPadeReleased().skips(scaled_gram(zigzag[:4]))
    assert not TCPadeReleased().skips(scaled_gram(zigzag))


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


RANGE = "write 0 to 2, the range of the stability indicator."


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
@pytest.mark.parametrize(
    ("threshold", "advice"), [(2.5, RANGE), (-0.5, "write 0 or more."), (math.inf, "write a finite number.")]
)
def test_thresholds_are_of_the_indicator(form, threshold, advice):
    assert [type(form)(threshold=edge).threshold for edge in (0.0, 2.0)] == [0.0, 2.0]
    with pytest.raises(ValueError, match=f"^{re.escape(f'`threshold` is {threshold}; {advice}')}$"):
        type(form)(threshold=threshold)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: interval(0), ValueError, "`n` is 0; write 1 or more."),
        (lambda: interval(20, 0), ValueError, "`every` is 0; write 1 or more."),
        (lambda: TCPade(modulation=-1.0), ValueError, "`modulation` is -1.0; write 0 or more."),
        (lambda: TCPadePaper(modulation=-1.0), ValueError, "`modulation` is -1.0; write 0 or more."),
        (lambda: TCPadeReleased(order=1), ValueError, "`order` is 1; write 2 or more."),
        (lambda: TCPadeRun(TCPade(), 20).forecast(0, np.ones(1)), ValueError, "`step` 0 has nothing"),
        (lambda: TCPadeRun(TCPade(), 20).evaluates(3), ValueError, "`step` is 3, but 0 of 20 comes next"),
        (lambda: TCPadeRun(TCPade(), 2).keep(0, np.ones(1), np.ones(2)), ValueError, "`outputs` is float64 of shape"),
        (lambda: TCPade().weights([0, 1, 2], 3, np.eye(3)), ValueError, "lives on [-1, 1]"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


def test_a_run_needs_one_of_the_forms():
    with pytest.raises(TypeError, match=r"`form` is Shanks.*; write TCPade\(\)"):
        TCPadeRun(Shanks(), 20)
