"""Pictures, as far as they say something that can be wrong."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import Normalize, SymLogNorm

from spectral_forecast import AnalyticKernel, Chebyshev, Newton, make_plan, schedules
from spectral_forecast.plot import plot_ellipse, plot_plan

RULES = {"line": Newton(1), "Spectrum": Chebyshev(4, ridge=0.1), "kernel": AnalyticKernel(2.0, ridge=1e-3)}
TIMES = [-1.0, -0.8, -0.5, -0.1, 0.2]


@pytest.mark.parametrize("pole", [0.4 + 1.6j, -0.9 - 0.3j, 2.0 + 0.1j])
@pytest.mark.parametrize("share", [0.3, 0.95])
def test_the_function_stays_within_the_worst_cases_that_are_drawn(pole, share, tmp_path):
    with mpl.rc_context():
        figure = plot_ellipse(TIMES, RULES, pole=pole, share=share, path=tmp_path / "ellipse.png")
    assert (tmp_path / "ellipse.png").stat().st_size > 10_000
    plane, right = figure.axes
    lines = [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), line.get_label()) for line in right.lines]
    whole = next(line for line in lines if line[2] == "the function")
    edges = [line for line in lines if line[2].startswith("_") and len(line[0]) > len(TIMES)]
    assert len(edges) == 2 * len(RULES)
    for below, above in zip(edges[::2], edges[1::2], strict=True):
        true = 1.0 / np.abs(below[0] - pole) ** 2
        assert np.interp(below[0], *whole[:2]) == pytest.approx(true, rel=1e-2)
        assert (below[1] <= true).all()
        assert (true <= above[1]).all()
    drawn = {line.get_label(): line for line in plane.lines}
    assert set(zip(*drawn["poles"].get_data(), strict=True)) == {(pole.real, pole.imag), (pole.real, -pole.imag)}


@pytest.mark.parametrize(("rule", "colours"), [(Newton(1), Normalize), (Newton(3), SymLogNorm)])
def test_a_plan_is_drawn_with_each_weight_where_it_belongs(rule, colours):
    evaluated = [0, 1, 2, 3, 6]
    plan = make_plan(rule, np.arange(9), schedules.mask(9, evaluated))
    top, middle, bottom = plot_plan(plan).axes[:3]
    (mesh,) = middle.collections
    assert type(mesh.norm) is colours
    table = np.ma.filled(mesh.get_array().astype(float), 0.0).reshape(len(evaluated), 9)
    for step in range(9):
        before = [node for node in evaluated if node < step]
        weights = [] if step in evaluated else rule.weights(before, step)
        assert table[: len(weights), step] == pytest.approx(weights)
        assert not table[len(weights) :, step].any()
    assert len({bar.get_facecolor() for bar in np.array(top.patches)[evaluated]}) == 1
    skipped = [step for step in range(9) if step not in evaluated]
    gain, constants = (line.get_data() for line in bottom.lines[:2])
    assert gain[0].tolist() == constants[0].tolist() == skipped
    assert gain[1] == pytest.approx(np.abs(table).sum(axis=0)[skipped])
    assert constants[1] == pytest.approx(np.ones(len(skipped)))


def test_errors():
    with pytest.raises(ValueError, match=r"`share` is 1\.0; write a number between 0 and 1"):
        plot_ellipse(TIMES, RULES, share=1.0)
    with pytest.raises(ValueError, match="`times`"):
        plot_ellipse([0.0, -1.0], RULES)
