"""The benchmark of speed: what it times is what it says, it runs through, and it sees what has become slower."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import spectral_forecast as sf
from spectral_forecast.benchmarks.speed import __main__ as command
from spectral_forecast.benchmarks.speed import end_to_end, networks, page, planning, statements
from spectral_forecast.benchmarks.speed.accelerations import ACCELERATIONS, Setting, first_block_changes
from spectral_forecast.benchmarks.speed.compare import compare
from spectral_forecast.benchmarks.speed.contraction import measure
from spectral_forecast.benchmarks.speed.end_to_end import Bench
from spectral_forecast.benchmarks.speed.methods import OURS, OWN
from spectral_forecast.benchmarks.speed.networks import LARGE, SMALL
from spectral_forecast.benchmarks.speed.peers import PEERS
from spectral_forecast.benchmarks.speed.restated import HiCache, Spectrum
from spectral_forecast.benchmarks.speed.state import Cell, State
from spectral_forecast.benchmarks.speed.timing import Task, interleaved

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
TIMES = -1.0 + 0.04 * np.arange(9)


def curve(times):
    """Smooth features, one row a time."""
    return torch.cos(torch.outer(torch.as_tensor(times), torch.linspace(0.5, 3.0, 40, dtype=torch.float64)))


# What is timed


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.2)])
def test_the_released_arithmetic_is_spectrums(dtype, tolerance):
    released = Spectrum(curve(TIMES).to(dtype), TIMES)
    released.fit()
    expected = sf.Chebyshev(4, ridge=0.1).weights(TIMES, -0.6) @ curve(TIMES).numpy()
    forecast = released.predict(-0.6)
    assert forecast.dtype == dtype
    np.testing.assert_allclose(forecast.double().numpy(), expected, atol=tolerance)


def test_joining_a_feature_drops_the_oldest():
    released = Spectrum(curve(TIMES), TIMES)
    released.keep(curve([-0.6])[0], -0.6)
    assert torch.equal(released.matrix, torch.cat([curve(TIMES)[1:], curve([-0.6])]))
    assert released.times == [*TIMES[1:], -0.6]


@pytest.mark.parametrize("order", [1, 2])
def test_the_restated_hicache_is_our_hermite(order):
    steps, target = [0, 1, 2, 5, 9], 12
    cache = HiCache(order)
    for step, feature in zip(steps, curve(np.array(steps) / 10), strict=True):
        cache.update(feature, step)
    expected = sf.Hermite(order, step=1.0).weights(steps, target) @ curve(np.array(steps) / 10).numpy()
    np.testing.assert_allclose(cache.predict(target).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_every_contraction_of_ours_with_all_weights_is_the_same_sum(dtype):
    state = State(Cell(1000, 6, dtype), CPU)
    expected = state.weights @ state.ring.double().numpy()
    product = next(method for method in PEERS if method.name.startswith("BLAS: weights"))
    contractions = [method for method in OWN if method.what == "forecast" and method.moves.rings]
    for method in [*contractions, product]:
        np.testing.assert_allclose(method.make(state).run().double().numpy(), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("method", [*OWN, *PEERS], ids=lambda method: method.key)
def test_every_method_can_be_called_again_and_again(method):
    state = State(Cell(1000, 6, "bfloat16"), CPU)
    task = method.make(state)
    for _ in range(4):
        if task.before is not None:
            task.before()
        found = task.run()
        if method.what == "forecast":
            found = found[0] if isinstance(found, list) else found
            assert found.shape == (1000,)
            assert torch.isfinite(found).all()


def test_tasks_take_turns_and_what_comes_before_is_not_repeated():
    calls = []
    tasks = {
        "a": Task(lambda: calls.append("a"), before=lambda: calls.append("before")),
        "b": Task(lambda: calls.append("b"), before=lambda: None),
    }
    times = interleaved(tasks, CPU, seconds=0.0, least=2)
    assert calls == ["before", "a", "b"] * 3  # the first is not counted
    assert [len(own.seconds) for own in times.values()] == [2, 2]


def test_what_is_too_large_or_too_slow_is_left_out_and_said():
    cells = (Cell(1000, 2, "bfloat16"), Cell(10**9, 14, "bfloat16"))
    found = measure(cells, CPU, cap=2**20, seconds=0.0, copy=2**16)
    assert {row["size"] for row in found["rows"]} == {1000}
    (left_out,) = found["left_out"]
    assert (left_out["size"], left_out["method"]) == (10**9, "all")
    assert "26.1 GiB" in left_out["why"]


def test_planning_is_timed_for_every_length():
    rows = planning.measure(steps=(10, 20), seconds=0.0)
    assert {row["steps"] for row in rows} == {0, 10, 20}
    assert all(row["seconds"] > 0.0 for row in rows)


# Networks


@pytest.mark.parametrize("network", [*LARGE, *networks.MIDDLING], ids=lambda network: network.name)
def test_the_architectures_are_as_large_as_published_and_take_their_inputs(network):
    """On the "meta" device: shapes are computed, and nothing is held."""
    meta = torch.device("meta")
    module = network.build(meta, torch.bfloat16)
    count = sum(part.numel() for part in module.parameters())
    assert network.parameters in (0, count)
    x = torch.empty(network.sample, dtype=torch.bfloat16, device=meta)
    with torch.no_grad():
        changing = network.inputs(x, torch.tensor(500.0, device=meta))
        out = module(**network.conditions(x), **changing, return_dict=False)[0]
    assert out.shape == x.shape
    assert out.dtype == x.dtype


def test_the_random_networks_are_the_same_each_time():
    first, second = (networks.MIDDLING[0].build(CPU, torch.bfloat16) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.fixture(scope="module")
def bench():
    return Bench(SMALL[0], CPU, torch.float32, 12)


def test_ways_leave_no_trace_and_spend_what_they_are_asked_for(bench):
    """All of them after each other, and the network is what it was; FirstBlockCache comes near only."""

    def forwards():
        return {name: vars(module).get("forward") for name, module in bench.module.named_modules()}

    names = list(forwards())
    with first_block_changes(bench.module) as residuals:
        bench.run()
    assert len(residuals) == 12
    for acceleration in (*ACCELERATIONS[::-1], *ACCELERATIONS):
        setting = Setting(12, 6, bench.scheduler, residuals)
        with bench.counted() as count, acceleration.put(bench.module, setting):
            bench.run()
        assert abs(count[0] - 6) <= ("FirstBlock" in acceleration.name), acceleration.name
    with bench.counted() as count:
        bench.run()
    assert count[0] == 12
    assert list(forwards()) == names  # in this order, which diffusers' caches go by
    assert not [name for name, forward in forwards().items() if "cache_dit" in getattr(forward, "__module__", "")]


def test_compiled_runs_are_measured_too(monkeypatch):
    """Graphs are captured and run as they are, of ours at outputs only: capturing takes seconds."""
    monkeypatch.setattr(end_to_end, "ACCELERATIONS", ACCELERATIONS[:1])
    options = {"budgets": (6,), "steps": 10, "rounds": 1, "backend": "eager"}
    found = end_to_end.measure(SMALL[:1], CPU, torch.float32, **options)
    assert [(row["compiled"], row["evaluated"], row["events"]) for row in found["rows"]] == [
        (False, 6, []),
        (True, 6, []),
    ]


# The command


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What `--quick` wrote."""
    folder = tmp_path_factory.mktemp("speed")
    arguments = ["--quick", "--device", "cpu", "--out", str(folder), "--results", str(folder / "new.json")]
    assert command.main(arguments) == 0
    return folder


def test_a_quick_run_writes_everything(quick):
    results = json.loads((quick / "new.json").read_text())
    assert (quick / "speed.md").read_text() == page.page(results)
    assert {path.name for path in (quick / "images").iterdir()} == {"speed_growth.png", "speed_runs.png"}
    for method in (*OWN, *PEERS):
        assert method.name in {row["method"] for row in results["contraction"]["rows"]}
    runs = {row["method"]: row for row in results["runs"]["rows"]}
    assert set(runs) == {way.name for way in ACCELERATIONS}
    assert all(row["evaluated"] == 6 for name, row in runs.items() if "FirstBlock" not in name)
    assert not any(row["events"] for row in runs.values() if row["ours"])
    assert not results["runs"]["left_out"]


def test_a_part_is_measured_again_and_the_others_are_kept(quick, tmp_path, monkeypatch):
    before = json.loads((quick / "new.json").read_text())
    (tmp_path / "new.json").write_text(json.dumps(before))
    monkeypatch.setattr(planning, "measure", lambda **_: [before["planning"][0]])
    arguments = ["--quick", "--device", "cpu", "--out", str(tmp_path), "--results", str(tmp_path / "new.json")]
    command.main([*arguments, "--only", "planning"])
    after = json.loads((tmp_path / "new.json").read_text())
    assert after["planning"] == before["planning"][:1]
    assert all(after[part] == before[part] for part in ("contraction", "runs"))
    assert after["machine"]["load"]["runs"] == before["machine"]["load"]["runs"]


def test_a_part_without_the_others_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="of which there are none"):
        command.main(["--only", "planning", "--results", str(tmp_path / "none.json")])


def test_an_unknown_network_is_refused(quick):
    with pytest.raises(SystemExit, match=r"has FLUX\.9; write some of digits"):
        command.main(["--networks", "FLUX.9", "--device", "cpu", "--results", str(quick / "new.json")])


# Comparison


def results(**changes):
    """Results of one contraction and one run, of which some numbers are changed."""
    contraction = {"method": OURS, "what": "forecast", "ours": True, "size": 10**7, "kept": 14, "dtype": "bfloat16"}
    contraction |= {"fraction": 0.8, "over": 6.0}
    run = {"network": "A", "large": True, "compiled": False, "method": "ours, outputs", "ours": True, "budget": 14}
    run |= {"share": 0.99}
    for key, value in changes.items():
        (run if key in run else contraction)[key] = value
    return {"machine": {"device": "cpu"}, "contraction": {"rows": [contraction]}, "runs": {"rows": [run]}}


@pytest.mark.parametrize("changes", [{}, {"fraction": 0.65}, {"over": 4.6}, {"share": 0.945}, {"fraction": 0.95}])
def test_equal_and_slightly_slower_results_pass(changes):
    assert compare(results(), results(**changes)) == ([], 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fraction": 0.6}, "forecast, combine, F = 1e+07, K = 14, bfloat16: fraction 0.8 has become 0.6"),
        ({"over": 4.4}, "over 6 has become 4.4"),
        ({"share": 0.93}, "A, ours, outputs, 14 evaluations: share 0.99 has become 0.93"),
    ],
)
def test_slower_results_fail(changes, words):
    (worse,), _ = compare(results(), results(**changes))
    assert words.replace("combine", OURS) in worse


@pytest.mark.parametrize("changes", [{"ours": False}, {"size": 10**5}])
def test_others_and_short_times_are_not_compared(changes):
    _, common = compare(results(**changes), results(**changes))
    assert common == (1 if "size" in changes else 2)


def test_results_that_have_nothing_in_common_are_refused():
    with pytest.raises(ValueError, match="nothing in common"):
        compare(results(), results(kept=2, network="B"))
    other = copy.deepcopy(results()) | {"machine": {"device": "cuda"}}
    with pytest.raises(ValueError, match="measured on cpu, the new results on cuda"):
        compare(results(), other)


@pytest.mark.parametrize(("share", "status"), [(0.99, 0), (0.5, 1)])
def test_the_command_says_what_is_worse_and_how_it_ended(tmp_path, capsys, share, status):
    for name, found in (("old", results()), ("new", results(share=share))):
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    arguments = ["--compare", str(tmp_path / "old.json"), "--results", str(tmp_path / "new.json")]
    assert command.main(arguments) == status
    printed = capsys.readouterr().out
    assert f"3 ratios compared, {status} worse" in printed
    assert ("share 0.99 has become 0.5" in printed) == (status == 1)


def test_what_is_not_measured_any_more_is_named(tmp_path, capsys):
    for name, found in (("old", results()), ("new", results(network="B"))):
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    assert command.main(["--compare", str(tmp_path / "old.json"), "--results", str(tmp_path / "new.json")]) == 0
    assert "Measured before and not now:\nA, ours, outputs, 14 evaluations: share" in capsys.readouterr().out


# The page


@pytest.mark.parametrize("path", sorted(page.RESULTS.glob("speed*.json")), ids=lambda path: path.stem)
def test_the_page_is_what_the_results_say(path):
    found = json.loads(path.read_text())
    assert page.page(found) == (ROOT / "docs" / f"{path.stem}.md").read_text(encoding="utf-8")


def test_there_are_results():
    assert (page.RESULTS / "speed.json").exists()


@pytest.mark.parametrize(("fraction", "holds"), [(0.7, "yes"), (0.69, "**no**")])
def test_a_statement_holds_if_every_number_does(fraction, holds):
    lines = statements.statements(results(fraction=fraction))
    assert lines[0][1] == holds
    assert "in 1 of 1" in lines[0][2] or holds == "**no**"
    assert lines[-1] == ["and at features", "–", "not measured"]
