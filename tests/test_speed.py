"""The benchmark of speed runs through, keeps what it is told to keep, and its page is what the results say."""

import json
from pathlib import Path

import pytest

from spectral_forecast.benchmarks.speed import __main__ as command
from spectral_forecast.benchmarks.speed import end_to_end, page, planning
from spectral_forecast.benchmarks.speed.accelerations import ACCELERATIONS
from spectral_forecast.benchmarks.speed.methods import OWN
from spectral_forecast.benchmarks.speed.peers import PEERS

ROOT = Path(__file__).parents[1]


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
    assert all(row["skipped"] > 0.0 for row in runs.values())
    assert 0.0 < runs["ours, features"]["outside"] < 1.0
    assert set(results["machine"]["date"]) == set(command.PARTS)


def test_a_part_is_measured_again_and_the_others_are_kept(quick, tmp_path, monkeypatch):
    before = json.loads((quick / "new.json").read_text())
    before["machine"]["again"] = {"digits": "2026-01-01"}
    (tmp_path / "new.json").write_text(json.dumps(before))
    monkeypatch.setattr(planning, "measure", lambda **_: [before["planning"][0]])
    arguments = ["--quick", "--device", "cpu", "--out", str(tmp_path), "--results", str(tmp_path / "new.json")]
    command.main([*arguments, "--only", "planning"])
    after = json.loads((tmp_path / "new.json").read_text())
    assert after["planning"] == before["planning"][:1]
    assert all(after[part] == before[part] for part in ("contraction", "runs"))
    assert after["machine"]["load"]["runs"] == before["machine"]["load"]["runs"]
    assert after["machine"]["again"] == {"digits": "2026-01-01"}


def test_of_some_networks_measured_again_the_time_is_not_the_whole_parts(quick, tmp_path, monkeypatch):
    before = json.loads((quick / "new.json").read_text())
    before["machine"]["seconds"]["runs"] = 10**6
    (tmp_path / "new.json").write_text(json.dumps(before))
    monkeypatch.setattr(end_to_end, "measure", lambda *_, **__: before["runs"])
    arguments = ["--quick", "--device", "cpu", "--out", str(tmp_path), "--results", str(tmp_path / "new.json")]
    for more, seconds in ((["--networks", "digits"], 10**6), (["--only", "runs"], 0)):
        command.main([*arguments, *more])
        facts = json.loads((tmp_path / "new.json").read_text())["machine"]
        assert facts["seconds"]["runs"] == seconds
        # What was measured again is told until all of it is.
        assert list(facts.get("again", {})) == (["digits"] if "--networks" in more else [])
        assert ("measured again later: digits (" in (tmp_path / "speed.md").read_text()) == ("--networks" in more)


def test_of_networks_measured_on_another_machine_that_is_told(quick, tmp_path, monkeypatch):
    before = json.loads((quick / "new.json").read_text())
    now, before["machine"]["name"] = before["machine"]["name"], "an abacus"
    (tmp_path / "new.json").write_text(json.dumps(before))
    monkeypatch.setattr(end_to_end, "measure", lambda *_, **__: before["runs"])
    arguments = ["--quick", "--device", "cpu", "--out", str(tmp_path), "--results", str(tmp_path / "new.json")]
    command.main([*arguments, "--networks", "digits"])
    facts = json.loads((tmp_path / "new.json").read_text())["machine"]
    assert facts["name"] == "an abacus"
    assert facts["again"]["digits"].endswith(f", {now}")
    command.main([*arguments, "--only", "runs"])
    assert json.loads((tmp_path / "new.json").read_text())["machine"]["name"] == now


def test_networks_that_are_no_longer_measured_are_dropped(quick, tmp_path, monkeypatch):
    before = json.loads((quick / "new.json").read_text())
    row = before["runs"]["rows"][0]
    before["runs"]["rows"] += [row | {"network": "FLUX.9"}, row | {"network": "photographs"}]
    (tmp_path / "new.json").write_text(json.dumps(before))
    monkeypatch.setattr(end_to_end, "measure", lambda *_, **__: {"rows": [], "left_out": []})
    command.main(
        ["--networks", "digits", "--device", "cpu", "--out", str(tmp_path), "--results", str(tmp_path / "new.json")]
    )
    after = json.loads((tmp_path / "new.json").read_text())
    assert [row["network"] for row in after["runs"]["rows"]] == ["photographs"]


def test_a_part_without_the_others_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="of which there are none"):
        command.main(["--only", "planning", "--results", str(tmp_path / "none.json")])


def test_an_unknown_network_is_refused(quick):
    with pytest.raises(SystemExit, match=r"has FLUX\.9; write some of digits"):
        command.main(["--networks", "FLUX.9", "--device", "cpu", "--results", str(quick / "new.json")])


@pytest.mark.parametrize("path", sorted(page.RESULTS.glob("speed*.json")), ids=lambda path: path.stem)
def test_the_page_is_what_the_results_say(path):
    found = json.loads(path.read_text())
    assert page.page(found) == (ROOT / "docs" / f"{path.stem}.md").read_text(encoding="utf-8")


def test_there_are_results():
    assert (page.RESULTS / "speed.json").exists()
