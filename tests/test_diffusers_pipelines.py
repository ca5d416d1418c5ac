"""Whole pipelines of diffusers, accelerated with guidance, against loops written by hand around the core's runs."""

import numpy as np
import pytest
import torch
from by_hand import EVALUATIONS, EVEN, LOOPS, by_hand, steps_of

from spectral_forecast import schedules
from spectral_forecast.adapters.diffusers import accelerate, limits, report, restore
from spectral_forecast.benchmarks.pipelines import PIPELINES

# What diffusers says of numpy's arrays, whoever calls it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

CASES = [(entry, at) for entry in PIPELINES for at in ("output", "features") if at == "output" or entry.splits]


def test_the_table_is_as_long_as_promised():
    assert len({entry.name for entry in PIPELINES}) >= 10
    assert {str(entry) for entry in PIPELINES} == set(LOOPS)


@pytest.mark.parametrize(("entry", "at"), CASES, ids=str)
def test_agrees_with_a_loop_by_hand(entry, at):
    pipe = accelerate(entry.build(), evaluations=EVALUATIONS, at=at, **EVEN)
    result = entry.draw(pipe)
    told = report(pipe)
    expected = by_hand(entry, at)
    assert result.shape == expected.shape
    assert (result - expected).abs().max() <= 1e-5 * expected.abs().max()
    steps = steps_of(entry)
    evaluated = np.flatnonzero(schedules.even(steps, EVALUATIONS)).tolist()
    assert told.evaluated == dict.fromkeys(LOOPS[str(entry)][2], evaluated)
    assert len(evaluated) == told.evaluations == EVALUATIONS
    assert (told.at, told.steps, told.events) == (at, steps, [])
    assert torch.equal(entry.draw(pipe), result), "running twice is running once"
    assert report(pipe).runs == 2
    assert not report(pipe).events


@pytest.mark.parametrize("entry", PIPELINES, ids=str)
def test_the_default_runs_twice_alike(entry):
    """Balanced over the scheduler's noise levels, with linear extrapolation, and corrected."""
    pipe = entry.build()
    full, before = entry.draw(pipe), set(vars(pipe.scheduler))
    result = entry.draw(accelerate(pipe, evaluations=EVALUATIONS))
    told = report(pipe)
    assert told.evaluations == EVALUATIONS
    assert not told.events
    assert (len(told.corrections) >= 5) == limits(pipe.scheduler).correct
    assert torch.isfinite(result).all()
    assert not torch.equal(result, full)
    assert torch.equal(entry.draw(pipe), result)
    restore(pipe)
    assert set(vars(pipe.scheduler)) <= before
    assert torch.equal(entry.draw(pipe), full)


@pytest.mark.parametrize(("entry", "at"), CASES, ids=str)
def test_evaluating_every_step_changes_no_bit(entry, at):
    pipe = entry.build()
    full = entry.draw(pipe, 14)
    accelerate(pipe, evaluations=14, at=at)
    assert torch.equal(entry.draw(pipe, 14), full)
    assert report(pipe).evaluations == steps_of(entry, 14)
    assert not report(pipe).events
    restore(pipe)
    accelerate(pipe, evaluations=6, at=at)
    assert (entry.draw(pipe, 14) - full).abs().max() > 1e-3 * full.abs().max(), "agreement above proves nothing"
