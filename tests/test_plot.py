"""Pictures, as far as they say something that can be wrong."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import Normalize, SymLogNorm

from spectral_forecast import AnalyticKernel, Chebyshev, Newton, make_plan, schedules
from spectral_forecast.plot import plot_ellipse, plot_errors, plot_plan, plot_quality, plot_samples, tiles

RULES = {"line": Newton(1), "Spectrum": Chebyshev(4, ridge=0.1), "kernel": AnalyticKernel(2.0, ridge=1e-3)}
TIMES = [-1.0, -0.8, -0.5, -0.1, 0.2]


def words(texts):
    return [text.get_text() for text in texts]


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
    assert words(middle.get_yticklabels()) == [str(step) for step in evaluated]
    assert words(bottom.get_legend().get_texts()) == ["sum of |w|: gain of noise", "sum of w: 1 keeps constants"]


def test_errors_are_drawn_as_they_are_given(tmp_path):
    errors = {"bold": [0.0, 0.2, 0.3, np.inf], "careful": [0.0, 0.01, 0.02, 0.01], "fewer steps": [np.nan] * 3 + [0.1]}
    evaluated = {"bold": np.array([True, False, False, True]), "careful": np.array([True, False, True, True])}
    figure = plot_errors(
        errors, evaluated=evaluated, styles={"bold": "--"}, title="a title", path=tmp_path / "errors.png"
    )
    assert (tmp_path / "errors.png").read_bytes().startswith(b"\x89PNG")
    (axis,) = figure.axes
    bold, careful, fewer = axis.lines
    assert bold.get_xdata().tolist() == [0, 1, 2, 3]
    # On a logarithmic axis there is no place for 0, nor for what is not finite.
    assert bold.get_ydata() == pytest.approx([np.nan, 0.2, 0.3, np.nan], nan_ok=True)
    assert careful.get_ydata() == pytest.approx([np.nan, 0.01, 0.02, 0.01], nan_ok=True)
    assert (bold.get_markevery(), careful.get_markevery()) == ([0, 3], [0, 2, 3])
    assert [line.get_linestyle() for line in axis.lines] == ["--", "-", "None"]
    assert fewer.get_marker() == "D"
    assert axis.get_yscale() == "log"
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("step (dots: the network runs)", "relative error")
    assert axis.get_title() == "a title"
    assert words(figure.legends[0].get_texts()) == list(errors)


def test_decibels_are_drawn_on_a_linear_axis():
    figure = plot_errors({"run": [np.inf, 30.0, 0.0, -3.0]}, quantity="PSNR / dB", log=False)
    (axis,) = figure.axes
    assert axis.lines[0].get_ydata() == pytest.approx([np.nan, 30.0, 0.0, -3.0], nan_ok=True)
    assert axis.lines[0].get_markevery() == []
    assert (axis.get_yscale(), axis.get_xlabel(), axis.get_ylabel()) == ("linear", "step", "PSNR / dB")


def test_every_run_has_a_colour_of_its_own():
    figure = plot_errors({str(number): [0.1, 0.2] for number in range(16)})
    assert len({line.get_color() for line in figure.axes[0].lines}) == 16


@pytest.mark.parametrize("spread", [False, True])
def test_quality_is_drawn_as_it_is_given(spread, tmp_path):
    rows = np.array([[8, 30.0, 1.0], [14, 40.0, 2.0]])[:, : 2 + spread]
    panels = {"first": {"ours": rows, "Euler": rows - 1.0}, "second": {"Euler": rows}, "third": {"ours": rows}}
    figure = plot_quality(
        panels, levels={"second": 45.0}, across=2, quantity="SSIM", title="a title", path=tmp_path / "quality.svg"
    )
    assert "<svg" in (tmp_path / "quality.svg").read_text()
    first, second, third, empty = figure.axes
    assert [axis.get_title() for axis in figure.axes[:3]] == list(panels)
    assert not empty.axison
    ours, euler = first.containers
    assert ours.lines[0].get_xydata().tolist() == rows[:, :2].tolist()
    assert euler.lines[0].get_xydata().tolist() == (rows[:, :2] - 1.0).tolist()
    assert ours.has_yerr == spread
    if spread:
        (bars,) = ours.lines[2]
        assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[29.0, 31.0], [38.0, 42.0]]
    # A method's colour is its own in every panel.
    assert second.containers[0].lines[0].get_color() == euler.lines[0].get_color()
    assert third.containers[0].lines[0].get_color() == ours.lines[0].get_color()
    assert second.lines[-1].get_ydata() == [45.0, 45.0]
    (legend,) = figure.legends
    assert words(legend.get_texts()) == ["ours", "Euler", "full run"]
    assert legend.get_title().get_text() == "a title"
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("evaluations", "SSIM")


@pytest.mark.parametrize("shape", [(6, 4, 5), (6, 4, 5, 3), (6, 3, 4, 5)])
def test_tiles_hold_every_sample(shape):
    samples = np.random.default_rng(0).uniform(-1.5, 1.5, shape)
    picture = tiles(samples, 4)
    assert picture.shape[:2] == (2 * 6, 4 * 7)
    for number, sample in enumerate(samples):
        row, column = divmod(number, 4)
        part = picture[6 * row + 1 : 6 * row + 5, 7 * column + 1 : 7 * column + 6]
        wanted = np.moveaxis(sample, 0, -1) if shape[1] == 3 else sample
        assert part == pytest.approx((wanted.clip(-1, 1) + 1) / 2)
    assert (picture[:, ::7] == 0.3).all()  # lines around samples
    assert (picture[6:, 14:] == 0.3).all()  # two are missing in the last row


def test_samples_are_drawn_in_rows(tmp_path):
    noise = np.random.default_rng(1).uniform(0.0, 255.0, (3, 8, 8))
    rows = {"full run": noise, "14 evaluations\n35.7 dB": noise[::-1]}
    figure = plot_samples(rows, values=(0.0, 255.0), path=tmp_path / "samples.png")
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")
    for axis, (name, samples) in zip(figure.axes, rows.items(), strict=True):
        assert np.asarray(axis.images[0].get_array()) == pytest.approx(tiles(samples, 3, values=(0.0, 255.0)))
        assert axis.images[0].get_clim() == (0.0, 1.0)
        assert words(axis.get_yticklabels()) == [name]


def test_errors():
    with pytest.raises(ValueError, match=r"`share` is 1\.0; write a number between 0 and 1"):
        plot_ellipse(TIMES, RULES, share=1.0)
    with pytest.raises(ValueError, match="`times`"):
        plot_ellipse([0.0, -1.0], RULES)
    with pytest.raises(ValueError, match=r"`errors\['a'\]` has shape \(1, 2\); write one number for each step\."):
        plot_errors({"a": [[0.1, 0.2]]})
    with pytest.raises(ValueError, match="`evaluated` names 'b', `errors` does not; write one of a"):
        plot_errors({"a": [0.1, 0.2]}, evaluated={"b": np.array([True, False])})
    with pytest.raises(ValueError, match="`styles` names 'b'"):
        plot_errors({"a": [0.1, 0.2]}, styles={"b": "--"})
    with pytest.raises(ValueError, match=r"`evaluated\['a'\]` has shape \(1,\); write one boolean for each of the 2"):
        plot_errors({"a": [0.1, 0.2]}, evaluated={"a": np.array([True])})
    with pytest.raises(ValueError, match="`panels` is empty"):
        plot_quality({})
    with pytest.raises(ValueError, match=r"`panels\['a'\]\['b'\]` has shape \(2,\); write rows of evaluations and"):
        plot_quality({"a": {"b": [14, 30.0]}})
    with pytest.raises(ValueError, match="`rows` holds nothing"):
        plot_samples({})
    with pytest.raises(ValueError, match=r"`rows` holds 'a': \(2, 4, 4\), 'b': \(3, 4, 4\); write equally many"):
        plot_samples({"a": np.zeros((2, 4, 4)), "b": np.zeros((3, 4, 4))})
    with pytest.raises(ValueError, match=r"`samples` has shape \(4, 4\); write \(n, h, w\)"):
        tiles(np.zeros((4, 4)), 2)
    with pytest.raises(ValueError, match="`across` is 0; write 1 or more"):
        tiles(np.zeros((1, 4, 4)), 0)
    with pytest.raises(ValueError, match=r"`values` is \(1, -1\); write what is black, then what is white"):
        tiles(np.zeros((1, 4, 4)), 1, values=(1, -1))
