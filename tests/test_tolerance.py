"""Steps chosen on the way: the gate by itself, and through the adapter for diffusers."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

from spectral_forecast import schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.benchmarks import digits, tolerances
from spectral_forecast.tolerance import Gate, relative_error

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
                known = schedules.predicted_error(SIGMAS, before)[step] / (SIGMAS[step] - SIGMAS[step + 1])
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
