"""Steps chosen on the way: the gate by itself, and through the adapter for diffusers."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st

from spectral_forecast import schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, calibrate, report, restore
from spectral_forecast.adapters.diffusers._calibrate import missed
from spectral_forecast.benchmarks import digits, tolerances
from spectral_forecast.tolerance import POWERS, PRIOR, Calibration, Gate, relative_error

SIGMAS = np.linspace(1.0, 0.0, 31)


def run(gate, error=0.02):
    for step in range(gate.levels.size - 1):
        if gate.evaluates(step):
            gate.arrive(step, error)
    return gate.evaluated


def test_a_smaller_tolerance_evaluates_more():
    counts = [len(run(Gate(SIGMAS, tolerance))) for tolerance in (1.0, 0.1, 0.01, 1e-3, 1e-9)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == 30


def test_larger_errors_evaluate_more():
    counts = [len(run(Gate(SIGMAS, 0.02), error)) for error in (0.01, 0.1, 0.5)]
    assert counts[0] < counts[1] < counts[2]


def test_the_first_and_the_last_step_are_evaluated_and_gaps_are_limited():
    for max_skip in (1, 3, 7):
        evaluated = run(Gate(SIGMAS, 10.0, max_skip=max_skip))
        assert evaluated[0] == 0
        assert evaluated[-1] == 29
        assert max(np.diff(evaluated)) <= max_skip + 1


def test_a_known_scale_gives_the_balanced_schedule():
    """Errors that are the power function itself keep the scale at 1, and the schedule is one of the family."""
    family = schedules.family(SIGMAS, tail=1)
    price = family[5][1]
    gate = Gate(SIGMAS, price * 1.001, max_skip=30)
    for step in range(30):
        if gate.evaluates(step):
            known = None
            if gate.evaluated:
                before = schedules.mask(30, gate.evaluated)
                cost = schedules.predicted_error(SIGMAS, before, last_gap=1.0)[step]
                known = cost / (SIGMAS[step] - SIGMAS[step + 1])
            gate.arrive(step, known)
            assert gate.scale == pytest.approx(1.0)
    np.testing.assert_array_equal(gate.evaluated, family[5][0])


def test_the_family_is_that_of_balanced():
    for chosen, error in schedules.family(SIGMAS, 8):
        expected = schedules.predicted_error(SIGMAS, schedules.mask(30, chosen)).sum()
        assert error == pytest.approx(expected)
        assert schedules.predicted_error(SIGMAS, schedules.balanced(SIGMAS, len(chosen))).sum() == pytest.approx(error)


def test_an_arrival_said_again_counts_once():
    gates = [Gate(SIGMAS, 0.02), Gate(SIGMAS, 0.02)]
    for step, error in ((0, None), (4, 0.2), (9, 0.1)):
        gates[0].arrive(step, error)
        gates[1].arrive(step, 0.7 if error else None)
        gates[1].arrive(step, error)
    assert gates[0].scale == gates[1].scale
    assert gates[0].evaluated == gates[1].evaluated


@pytest.mark.parametrize(
    ("tolerance", "words"),
    [(0.0, "above 0"), (-1.0, "above 0"), (float("nan"), "finite"), ("40", "34 dB"), ("x dB", "34 dB")],
)
def test_bad_tolerances(tolerance, words):
    with pytest.raises(ValueError, match=words):
        relative_error(tolerance)


@given(
    scale=st.floats(0.05, 20.0),
    power=st.floats(0.5, 2.0),
    estimates=st.lists(st.floats(1e-4, 1.0), min_size=2, max_size=6, unique=True),
)
def test_a_calibration_finds_a_law_as_far_as_its_prior_lets_it(scale, power, estimates):
    """The power is drawn towards 1 as if runs of that power, of squared spread `PRIOR`, had been seen, too."""
    estimates = np.array(estimates)
    found = Calibration.fit(estimates, estimates, scale * estimates**power)
    spread = float(np.sum((np.log(estimates) - np.log(estimates).mean()) ** 2))
    assert found.power == pytest.approx(1.0 + (power - 1.0) * spread / (spread + PRIOR), abs=1e-9)
    assert found[:2] == found[2:]
    middle = float(np.exp(np.log(estimates).mean()))
    assert found.error(middle) == pytest.approx(scale * middle**power)
    assert found.tolerance_for(found.error(0.02)) == pytest.approx(0.02)


def test_powers_stay_where_they_can_be_turned_around():
    asked = np.array([1.0, 1e-3, 1e-6])
    falling = Calibration.fit(asked, asked, np.array([1e-6, 1e-3, 1.0]))
    steep = Calibration.fit(asked, asked, asked**9)
    assert (falling.power, steep.power) == POWERS
    assert falling.tolerance_for(0.1) > 0.0


def test_one_run_gives_a_factor():
    assert Calibration.fit([0.1], [0.02], [0.05]) == pytest.approx((2.5, 1.0, 0.5, 1.0))


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (([], [], []), "`tolerances` has shape"),
        (([0.1], [0.1, 0.2], [0.1]), "`estimates` has shape"),
        (([0.1], [0.1], [0.0]), "`errors` is"),
        (([0.1], [float("nan")], [0.1]), "`estimates` is"),
        (([-0.1], [0.1], [0.1]), "`tolerances` is"),
    ],
)
def test_runs_that_cannot_be_fitted(pairs, words):
    with pytest.raises(ValueError, match=words):
        Calibration.fit(*pairs)


@pytest.fixture(scope="module")
def pipe():
    return digits.pipeline()


def draw(pipe, **options):
    return digits.sample(pipe, [3, 8], steps=options.pop("steps", 30), guidance=2.0, **options)


@pytest.mark.parametrize("at", ["output", "features"])
def test_through_the_adapter(pipe, at):
    full, errors, spent = draw(pipe), [], []
    for tolerance in (0.3, 0.02, "60 dB", 1e-9):
        accelerate(pipe, tolerance=tolerance, at=at)
        first = draw(pipe)
        told = report(pipe)
        assert told.events == []
        assert told.evaluated["cond"] == told.evaluated["uncond"]
        assert f"tolerance {tolerance}" in str(told)
        assert torch.equal(draw(pipe), first)
        assert report(pipe).evaluated == told.evaluated
        errors.append(float((first - full).norm() / full.norm()))
        spent.append(told.evaluations)
        if told.forecast["cond"]:
            assert told.sample_error > 0.0
        restore(pipe)
    assert spent == sorted(spent)
    assert spent[0] < spent[1] < spent[-1] == 30
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0.0
    assert "set_timesteps" not in vars(pipe.scheduler)


@pytest.fixture(scope="module")
def calibration(pipe):
    return calibrate(pipe, lambda: draw(pipe, seed=3), tolerances=("10 dB", 0.03))


def test_a_calibration_is_what_its_runs_show(pipe, calibration):
    full, rows = draw(pipe, seed=3), []
    for tolerance in ("10 dB", 0.03):
        accelerate(pipe, tolerance=tolerance)
        missed = (draw(pipe, seed=3) - full).flatten(1).norm(dim=1) / full.flatten(1).norm(dim=1)
        rows.append((relative_error(tolerance), report(pipe).sample_error, float(missed.mean())))
        restore(pipe)
    assert calibration == pytest.approx(Calibration.fit(*np.transpose(rows)), rel=1e-4)


def test_with_a_calibration_estimate_and_tolerance_are_in_its_terms(pipe, calibration):
    told = []
    for tolerance, known in ((0.05, calibration), (calibration.tolerance_for(0.05), None)):
        accelerate(pipe, tolerance=tolerance, calibration=known)
        told.append((draw(pipe), report(pipe)))
        restore(pipe)
    (first, ours), (second, plain) = told
    assert torch.equal(first, second)
    assert ours.evaluated == plain.evaluated
    assert ours.sample_error == pytest.approx(calibration.error(plain.sample_error))
    accelerate(pipe, evaluations=10, calibration=calibration)
    draw(pipe)
    assert report(pipe).sample_error == pytest.approx(calibration.error(estimated(pipe, evaluations=10)))
    restore(pipe)


def estimated(pipe, **options):
    restore(pipe)
    accelerate(pipe, **options)
    draw(pipe)
    return report(pipe).sample_error


def test_a_calibration_leaves_nothing_behind(pipe):
    def broken():
        if next(calls):
            raise RuntimeError("out of memory")
        return draw(pipe)

    calls = iter([False, True])
    with pytest.raises(RuntimeError, match="out of memory"):
        calibrate(pipe, broken)
    with pytest.raises(ValueError, match="not accelerated"):
        report(pipe)
    assert "step" not in vars(pipe.scheduler)


def test_what_cannot_be_calibrated(pipe):
    with pytest.raises(TypeError, match="`run` is int"):
        calibrate(pipe, 3)
    with pytest.raises(ValueError, match="nothing is learnt of errors"):
        calibrate(pipe, lambda: draw(pipe), tolerances=[1e-9])
    with pytest.raises(ValueError, match="`tolerances` are none"):
        calibrate(pipe, lambda: draw(pipe), tolerances=[])
    with pytest.raises(ValueError, match="`tolerance` is -1"):
        calibrate(pipe, lambda: draw(pipe), tolerances=[-1])
    sizes = iter([2, 3])
    with pytest.raises(ValueError, match="finite and alike"):
        calibrate(pipe, lambda: np.ones((next(sizes), 4)))
    with pytest.raises(ValueError, match="0 everywhere"):
        calibrate(pipe, lambda: np.zeros((2, 4)))
    with pytest.raises(TypeError, match="`calibration` is float"):
        accelerate(pipe, tolerance=0.1, calibration=2.0)
    accelerate(pipe, evaluations=10)
    with pytest.raises(ValueError, match="accelerated already"):
        calibrate(pipe, lambda: draw(pipe))
    restore(pipe)


def test_errors_are_of_items_and_lists_are_batches():
    full = [np.full((2, 2), 1.0), np.full((2, 2), 10.0)]
    ours = [np.full((2, 2), 1.1), np.full((2, 2), 10.0)]
    assert missed(ours, full) == pytest.approx(0.05)
    assert missed(torch.tensor(np.array(ours)).bfloat16(), np.array(full)) == pytest.approx(0.05, rel=0.02)
    assert missed(np.array([3.0, 4.5]), np.array([3.0, 4.0])) == pytest.approx(0.1)


def test_runs_of_other_lengths_in_between(pipe):
    accelerate(pipe, tolerance=0.05)
    first = draw(pipe)
    draw(pipe, steps=25)
    assert torch.equal(draw(pipe), first)
    restore(pipe)


def test_what_a_tolerance_does_not_go_with(pipe):
    with pytest.raises(ValueError, match="write exactly one of them"):
        accelerate(pipe, evaluations=5, tolerance=0.1)
    with pytest.raises(ValueError, match="default forecaster"):
        accelerate(pipe, tolerance=0.1, forecaster=spectrum())
    with pytest.raises(ValueError, match="`schedule` goes with `evaluations`"):
        accelerate(pipe, tolerance=0.1, schedule=schedules.even)
    with pytest.raises(ValueError, match="`tolerance` is -1"):
        accelerate(pipe, tolerance=-1)


class Field(torch.nn.Module):
    def forward(self, sample, timestep):
        return torch.tanh(sample) * (1.0 + torch.sin(3e-3 * timestep))


@pytest.mark.parametrize(("make", "steps"), [(DDPMScheduler, 20), (FlowMatchEulerDiscreteScheduler, 7)])
def test_every_step_is_evaluated_where_it_cannot_be_kept(make, steps):
    scheduler = make()
    network = accelerate(Field(), tolerance=0.1, scheduler=scheduler)
    scheduler.set_timesteps(steps)
    with pytest.warns(UserWarning, match="Nothing is forecast"):
        network(torch.ones(2, 3), scheduler.timesteps[0])
    for time in scheduler.timesteps[1:]:
        network(torch.ones(2, 3), time)
    assert report(network).evaluations == steps


def test_the_page_is_written_from_what_was_measured():
    """If not: ``python -m spectral_forecast.benchmarks.tolerances``."""
    rows = json.loads(tolerances.ROWS.read_text(encoding="utf-8"))
    written = Path(__file__).parents[1] / "docs" / "tolerance.md"
    assert written.read_text(encoding="utf-8") == tolerances.page(rows)
    assert len(rows) == len(tolerances.CELLS)
    assert importlib.import_module(tolerances.__name__).within(rows["digits, guidance 1"], 3.0) > 0.5
