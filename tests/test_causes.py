"""Runs that know more than forecasts can: they are what they are said to be, and the page is of what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spectral_forecast import Newton, make_plan, schedules
from spectral_forecast.benchmarks import causes
from spectral_forecast.benchmarks.quality.cells import CELLS, Bench
from spectral_forecast.benchmarks.quality.fields import MODELS, grid

STEPS = 12
NODES = [0, 1, 3, 6, 7, 11]


@pytest.fixture(params=["digits", "digits_ddim", "digits_unet"])
def bench(request, tmp_path):
    cell = next(cell for cell in CELLS if cell.model == request.param)
    return Bench(replace(cell, steps=STEPS, samples=1), tmp_path)


def test_with_all_outputs_of_the_full_run_it_is_the_full_run(bench):
    velocity, steps = bench.flow(bench.grid)
    path = [bench.noise(), *bench.full.path[:-1]]
    run = make_plan(Newton(1), evaluate=np.ones(STEPS, dtype=bool), **steps.clock).start()
    torch.testing.assert_close(
        causes.interpolated(velocity, steps, path, list(range(STEPS))), bench.full.final, rtol=0.0, atol=1e-4
    )
    torch.testing.assert_close(
        causes.implicit(velocity, steps, bench.noise(), run), bench.full.final, rtol=0.0, atol=1e-4
    )
    # With fewer it is not.
    missed = causes.interpolated(velocity, steps, path, NODES) - bench.full.final
    assert missed.abs().max() > 1e-3


def test_interpolation_is_exact_where_outputs_are_quadratic_in_time():
    """As the corrector's is; the first gap is longer than a step only where three outputs are known."""
    steps = grid(MODELS["digits"], STEPS, 3.0)
    calls = []

    def velocity(x, level, _time):
        calls.append(level)
        return torch.full_like(x, level**2)

    noise = torch.zeros(1, 3)
    exact = float(np.sum(np.diff(steps.levels) * steps.levels[:-1] ** 2))
    nodes = [0, 1, 2, 5, 11]
    assert float(causes.interpolated(velocity, steps, [noise] * STEPS, nodes)[0, 0]) == pytest.approx(exact, rel=1e-5)
    assert len(calls) == len(nodes)
    run = make_plan(Newton(1), evaluate=schedules.mask(STEPS, nodes), **steps.clock).start()
    assert float(causes.implicit(velocity, steps, noise, run, sweeps=2)[0, 0]) == pytest.approx(exact, rel=1e-5)
    assert len(calls) == 2 * len(nodes) + 2 * 2  # once more for each, and twice after either gap


def test_sweeps_agree_with_the_equation_that_they_solve():
    """Of y' = y over one gap: the trapezoidal sums of an output that is linear between both ends."""
    steps = grid(MODELS["digits"], STEPS, 1.0)
    plan = make_plan(Newton(1), evaluate=schedules.mask(STEPS, [0, 11]), **steps.clock)
    y = causes.implicit(lambda x, *_: x, steps, torch.ones(1, 1), plan.start(), sweeps=40)
    # y[11] = 1 - (11 + (y[11] - 1) (0 + 1 + ... + 10) / 11) / 12
    before = (1.0 - 11.0 / 12.0 + 5.0 / 12.0) / (1.0 + 5.0 / 12.0)
    assert float(y) == pytest.approx(before * 11.0 / 12.0, rel=1e-5)


def test_all_runs_of_a_cell_are_measured():
    cell = next(cell for cell in CELLS if cell.model == "digits_ddim")  # not guided
    found = causes.measure(replace(cell, steps=24, samples=2))
    assert set(found) == {causes.EULER, causes.SPECTRUM, causes.OURS, causes.AGAIN, causes.EXACT}
    assert {len(values) for values in found.values()} == {2}
    assert min(found[causes.AGAIN] + found[causes.EXACT]) > max(found[causes.EULER])


def test_the_page_is_of_what_was_measured():
    """If not: ``python -m spectral_forecast.benchmarks.causes``."""
    rows = json.loads(causes.ROWS.read_text(encoding="utf-8"))
    written = Path(__file__).parents[1] / "docs" / "causes.md"
    assert written.read_text(encoding="utf-8") == causes.page(rows)
    assert list(rows) == list(causes.NAMED)
    assert {len(values) for row in rows.values() for values in row.values()} == {causes.SAMPLES}
