import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from spectral_forecast import schedules
from spectral_forecast.adapters.diffusers import accelerate, report
from spectral_forecast.benchmarks.quality import cells, closer, methods, page, paired, sampling
from spectral_forecast.benchmarks.quality.cells import CELLS, Bench, Cell, measure
from spectral_forecast.benchmarks.quality.fields import AT_ONCE, MODELS, Field, grid
from spectral_forecast.benchmarks.quality.methods import METHODS

ROOT = Path(__file__).parents[1]
pytestmark = [  # inside diffusers' solvers
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
]
DEFAULT = "guarded, balanced, velocity, corrector"
TINY = Cell("digits", 3.0, 4.0, "class", steps=12, samples=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("quality")


@pytest.fixture(scope="module")
def bench(folder):
    return Bench(TINY, folder)


@pytest.fixture(scope="module")
def measured(folder):
    return measure(TINY, folder)


def test_every_method_spends_exactly_its_budget(measured):
    flow = {method.name for method in METHODS if not method.velocity}
    assert {row["method"] for row in measured["rows"]} == flow
    assert [row["evaluations"] for row in measured["rows"]] == [row["budget"] for row in measured["rows"]]
    page.compact([measured])


def test_rows_of_too_many_evaluations_are_refused(measured):
    cheat = {"cell": measured["cell"], "rows": [measured["rows"][0] | {"evaluations": 50}]}
    with pytest.raises(ValueError, match="spent 50"):
        page.compact([cheat])


def test_what_is_measured_is_not_measured_again(measured, folder, monkeypatch):
    monkeypatch.setattr(cells, "Bench", None)
    assert measure(TINY, folder) == measured
    with pytest.raises(TypeError):
        measure(TINY, folder, (replace(METHODS[0], name="new"),))


@pytest.mark.parametrize("name", ["guarded, balanced, corrector", "FORA", "TeaCache-style gate", "DMD"])
def test_a_fully_evaluated_run_is_the_full_run(bench, name):
    method = next(method for method in METHODS if method.name == name)
    again = bench.sample(method, TINY.steps, bench.profile(), bench.changes())
    assert torch.equal(again.final, bench.full.final)
    assert again.evaluations == TINY.steps


def test_the_full_run_is_the_pipelines(bench):
    digits = bench.model.module
    pipe = digits.pipeline()
    drawn = digits.sample(pipe, [0], steps=TINY.steps, guidance=4.0, seed=100, negative=5)
    torch.testing.assert_close(digits.images(bench.full.final), drawn, atol=2e-5, rtol=0)


def test_the_default_of_flow_matching_is_the_adapters(bench):
    digits = bench.model.module
    pipe = digits.pipeline()
    accelerate(pipe, evaluations=8)
    drawn = digits.sample(pipe, [0], steps=TINY.steps, guidance=4.0, seed=100, negative=5)
    method = next(method for method in METHODS if method.name == "guarded, balanced, corrector")
    ours = bench.sample(method, 8, None, None)
    assert not torch.allclose(ours.final, bench.full.final, atol=1e-3)
    torch.testing.assert_close(digits.images(ours.final), drawn, atol=1e-4, rtol=0)


@pytest.mark.parametrize("model", ["digits_ddim", "digits_unet"])
def test_the_default_of_models_of_noise_is_the_adapters(folder, model):
    bench = Bench(replace(TINY, model=model, steps=20, samples=2), folder)
    method = next(method for method in METHODS if method.name == DEFAULT)
    ours = bench.sample(method, 8, None, None)
    predicts = {"noise": "epsilon", "v": "v_prediction"}[bench.model.predicts]
    path = bench.model.module.PATH | {"timestep_spacing": "trailing", "prediction_type": predicts}
    scheduler = DDIMScheduler(**path, clip_sample=False)
    scheduler.set_timesteps(20)
    velocity, x = bench.field(), bench.noise()
    velocity.model = replace(bench.model, predicts="noise")  # what the network says is what the scheduler is given
    accelerate(velocity.network, evaluations=8, scheduler=scheduler)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(velocity(x, 0.0, float(t)), t, x).prev_sample
    assert report(velocity.network).evaluations == 8
    torch.testing.assert_close(ours.final, x, atol=1e-3, rtol=0)


def test_ddim_is_eulers_method_in_flow_time(folder):
    bench = Bench(replace(TINY, model="digits_ddim", steps=5), folder)
    method = next(method for method in METHODS if method.name == DEFAULT)
    again = bench.sample(method, 5, None, None)
    torch.testing.assert_close(again.final, bench.full.final, atol=1e-4, rtol=0)
    scheduler = DDIMScheduler(**bench.model.module.PATH, clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(5)
    velocity, x = bench.field(), bench.noise()
    with torch.no_grad():
        for t in scheduler.timesteps:
            level = (1.0 / scheduler.alphas_cumprod[t] - 1.0) ** 0.5
            x = scheduler.step(velocity(x, float(level), float(t)), t, x).prev_sample
    torch.testing.assert_close(bench.full.final, x, atol=2e-3, rtol=0)


def test_comparing_with_itself_is_perfect_and_with_noise_is_not(bench):
    same = bench.compare(bench.full)
    assert same["psnr"] == [100.0, 0.0]
    assert same["error"] == [0.0, 0.0]
    assert same["ssim"][0] == pytest.approx(1.0)
    noise = bench.compare(sampling.Sample(bench.noise()))
    assert noise["psnr"][0] < 15.0
    assert noise["error"][0] > 0.5


def test_many_samples_are_predicted_in_parts():
    """It is faster, and the same but for rounding."""
    model, many = MODELS["digits"], 2 * AT_ONCE
    network = model.network()
    noise, classes = model.module.noise(many, seed=0), np.arange(many) % 10
    sizes = []
    network.register_forward_pre_hook(
        lambda _module, _args, given: sizes.append(len(given["hidden_states"])), with_kwargs=True
    )
    field = Field(model, network, classes, (classes + 5) % 10, 4.0)
    parts = field(noise, 0.7, 0.7)
    assert sizes == 4 * [AT_ONCE]
    assert field.calls == 1
    alone = [Field(model, network, classes[k : k + 1], (classes[k : k + 1] + 5) % 10, 4.0) for k in (0, many - 1)]
    assert torch.allclose(parts[:1], alone[0](noise[:1], 0.7, 0.7), atol=1e-5)
    assert torch.allclose(parts[-1:], alone[1](noise[-1:], 0.7, 0.7), atol=1e-5)


@pytest.mark.parametrize("name", ["digits", "digits_ddim", "digits_unet"])
def test_what_one_method_has_evaluated_another_does_not_compute_again(name, folder):
    """Samples are the same bits, and all evaluations are counted."""
    cell = replace(TINY, model=name, shift=1.0)
    shared, runs, counts = Bench(cell, folder), [], []
    shared.network.register_forward_pre_hook(lambda *_: runs.append(1))
    chosen = {method.name: method for method in METHODS}
    for method in (chosen[paired.PLAIN], chosen[DEFAULT], chosen[DEFAULT]):
        alone = Bench(cell, folder)
        alone.known.clear()
        sample, expected = (bench.sample(method, 6, None, None) for bench in (shared, alone))
        assert torch.equal(sample.final, expected.final)
        assert sample.evaluations == expected.evaluations == 6
        counts.append(len(runs))
    assert counts[1] < 12
    assert counts[2] == counts[1]


@pytest.mark.parametrize("name", [paired.EULER, "UniPC, order 2", DEFAULT])
def test_seconds_of_what_was_known_are_those_that_it_took(name, folder):
    bench, method = Bench(TINY, folder), next(method for method in METHODS if method.name == name)
    bench.sample(method, 6, None, None)
    bench.known.update({key: known._replace(seconds=1000.0) for key, known in bench.known.items()})
    assert 6000.0 < bench.sample(method, 6, None, None).seconds < 7000.0


def test_where_features_are_forecast_the_network_itself_is_called_at_each_step(bench):
    """It forecasts them; what it would have been asked must not be looked up."""
    method = next(method for method in METHODS if method.name == paired.SPECTRUM)
    assert method.place == "features"
    before = dict(bench.known)
    first, second = (bench.sample(method, 6, None, None) for _ in range(2))
    assert torch.equal(first.final, second.final)
    assert first.evaluations == second.evaluations == 6
    assert bench.known.keys() == before.keys()


@pytest.mark.parametrize("name", list(MODELS))
def test_longer_grids_hold_the_shorter_ones(name):
    short, long = grid(MODELS[name], 10, 3.0), grid(MODELS[name], 40, 3.0)
    for part in ("levels", "lengths", "scales"):
        np.testing.assert_allclose(getattr(long, part)[::4], getattr(short, part), rtol=1e-12)
    assert short.levels[-1] == 0.0
    assert (np.diff(short.levels) < 0.0).all()


@pytest.mark.parametrize("budget", [2, 5, 7, 13, 20])
def test_fixed_intervals_and_the_gate_spend_the_budget(budget):
    assert methods.every(20, budget, 1).sum() == budget
    changes = np.random.default_rng(0).random(20)
    mask = methods.gate(changes, budget)
    assert mask.sum() == budget
    assert mask[0]
    assert mask[-1]


def test_fixed_intervals_are_the_published_ones():
    assert schedules.steps(methods.every(50, 13, 1)) == schedules.steps(schedules.every(50, 4))
    assert schedules.steps(methods.every(50, 14, 3)) == schedules.steps(schedules.every(50, 4, warmup=3))


def test_the_page_is_what_the_results_say():
    results = json.loads(page.RESULTS.read_text())
    assert [cell["full"]["name"] for cell in results["cells"]] == [cell.name for cell in CELLS]
    assert page.page(results) == (ROOT / "docs" / "quality.md").read_text(encoding="utf-8")


def test_the_default_is_the_one_that_was_chosen():
    assert page.default(page.read(json.loads(page.RESULTS.read_text()))) == DEFAULT


def test_nothing_was_chosen_by_the_other_noise():
    results = json.loads(page.RESULTS.read_text())["paired"]
    assert [cell["cell"]["name"] for cell in results] == [cell.name for cell in CELLS]
    assert {cell["cell"]["seed"] for cell in results}.isdisjoint(cell.seed for cell in CELLS)
    assert {name for cell in results for name in cell["psnr"]} == {paired.EULER, paired.SPECTRUM, paired.PLAIN, DEFAULT}
    counts = {len(values) for cell in results for by in cell["psnr"].values() for values in by.values()}
    assert counts == {paired.SAMPLES}


@pytest.mark.parametrize("model", ["digits", "digits_ddim"])
def test_pairs_are_of_the_same_samples(model, folder, monkeypatch):
    """What is measured in pairs is what is measured alone; a full run is at the cap; nothing is measured twice."""
    cell = replace(TINY, model=model, shift=1.0, samples=2)
    monkeypatch.setattr(Cell, "budgets", lambda *_: (5, TINY.steps))
    found = paired.measure(cell, folder)
    bench = Bench(cell, folder)
    for name, values in found["psnr"].items():
        sample = bench.sample(next(method for method in METHODS if method.name == name), 5, None, None)
        expected = cells.psnr(bench.pictures(sample.final), bench.pictures(bench.full.final))
        assert values["5"] == pytest.approx(expected.tolist(), abs=0.006)
        assert min(values[str(TINY.steps)]) > 60.0
    monkeypatch.setattr(paired, "Bench", None)
    assert paired.measure(cell, folder) == found
    with pytest.raises(TypeError):
        paired.measure(cell, folder, again=True)


def test_gains_are_means_of_differences_with_their_standard_errors():
    cell = paired.Paired({"name": "a cell"}, {"one": {"14": [30.0, 20.0, 26.0]}, "other": {"14": [20.0, 11.0, 15.0]}})
    gain = cell.gain("one", "other", 14)
    assert (gain.mean, gain.error) == (pytest.approx(10.0), pytest.approx(1.0 / 3.0**0.5))
    assert str(gain) == "+10.0 ± 0.6 dB"
    assert gain.below(11.5)
    assert not gain.below(11.0)
    assert not cell.hard  # it has no run of Spectrum


def test_statements_say_where_they_do_not_hold():
    def cell(name, spectrum, euler, plain, ours):
        psnr = {paired.EULER: {"14": euler}, paired.PLAIN: {"14": plain}, paired.OURS: {"14": ours}}
        return paired.Paired({"name": name}, psnr | {paired.SPECTRUM: {"14": spectrum}})

    good = cell("good", [20.0, 22.0], [25.0, 26.0], [30.0, 34.0], [33.0, 35.0])
    assert all(holds for _, holds, _ in paired.statements([good]))
    bad = cell("bad", [20.0, 22.0], [28.0, 29.0], [30.0, 30.0], [27.0, 28.0])
    easy = cell("easy", [29.0, 30.0], [25.0, 26.0], [30.0, 30.0], [30.0, 31.0])
    said = paired.statements([good, bad, easy])
    assert [holds for _, holds, _ in said] == [False, False, False]
    assert [numbers.split(";")[0] for _, _, numbers in said] == ["in 1 of 2", "in 2 of 3", "in 2 of 3"]
    assert "least -2.5 ± 0.5 dB; for sure not in 1" in said[2][2]
    text = paired.section([good, bad])
    assert "- bad, 14 evaluations: -1.0 ± 0.0 dB" in text
    assert "bad (hard)" in text


def test_left_open_is_what_two_standard_errors_do_not_tell():
    values = {
        paired.EULER: {"6": [29.0, 31.0], "14": [20.0, 21.0]},
        paired.SPECTRUM: {"14": [19.0, 21.0]},
        paired.PLAIN: {"6": [30.1, 29.9], "14": [30.0, 30.0]},
        paired.OURS: {"6": [30.0, 30.0], "14": [30.0, 30.0]},
    }
    found = closer.left_open(paired.Paired({"name": "hard"}, values))
    assert found == (closer.Pair(paired.SPECTRUM, 14), closer.Pair(paired.EULER, 6))
    easy = values | {paired.SPECTRUM: {"14": [39.0, 41.0]}}
    assert closer.left_open(paired.Paired({"name": "easy"}, easy)) == (closer.Pair(paired.EULER, 6),)


def test_other_samples_tell_more_closely(folder, monkeypatch):
    cell = replace(TINY, samples=2)
    monkeypatch.setattr(closer, "SEEDS", (41, 42))
    pairs = (closer.Pair(paired.EULER, 6), closer.Pair(paired.PLAIN, 5))
    rows = closer.measure(cell, pairs, folder)
    chosen = {method.name: method for method in METHODS}
    for row, pair in zip(rows, pairs, strict=True):
        gains = []
        for seed in (41, 42):
            bench = Bench(replace(cell, seed=seed), folder)
            finals = (bench.sample(chosen[name], pair.budget, None, None).final for name in (DEFAULT, pair.other))
            ours, other = (cells.psnr(bench.pictures(x), bench.pictures(bench.full.final)) for x in finals)
            gains += (ours - other).tolist()
        assert row["mean"] == pytest.approx(np.mean(gains), abs=1e-3)
        assert row["error"] == pytest.approx(np.std(gains, ddof=1) / 2.0, abs=1e-3)
        assert (row["cell"], row["other"], row["budget"], row["samples"]) == (cell.name, pair.other, pair.budget, 4)
    monkeypatch.setattr(closer, "Bench", None)
    assert closer.measure(cell, pairs, folder) == rows
    with pytest.raises(TypeError):
        closer.measure(cell, pairs[:1], folder)


def test_what_was_left_open_is_of_other_samples_and_told():
    results = json.loads(page.RESULTS.read_text())
    known = [paired.Paired(**cell) for cell in results["paired"]]
    wanted = [(cell.name, pair.other, pair.budget) for cell in known for pair in closer.left_open(cell)]
    assert [(row["cell"], row["other"], row["budget"]) for row in results["closer"]] == wanted
    assert {row["samples"] for row in results["closer"]} == {len(closer.SEEDS) * paired.SAMPLES}
    assert {cell.seed for cell in (*CELLS, *paired.PAIRED)}.isdisjoint(closer.SEEDS)
    row = results["closer"][0]
    for mean, error, told in ((9.0, 0.1, "**no**, for sure"), (-9.9, 30.0, "**no**"), (11.0, 0.1, "yes, for sure")):
        text = closer.section([row | {"other": paired.SPECTRUM, "budget": 14, "mean": mean, "error": error}], known)
        assert text.splitlines()[-1].split("|")[-2].strip() == told


def test_a_third_of_the_cells_is_hard():
    long = [cell for cell in page.read(json.loads(page.RESULTS.read_text())) if cell.long]
    assert 3 * sum(cell.hard for cell in long) >= len(long)
