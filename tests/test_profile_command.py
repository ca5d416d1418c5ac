"""`spectral-forecast profile` on a tiny pipeline that draws classes, and `sample --profile` with what it wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from diffusers import DDIMScheduler, DiTPipeline

from spectral_forecast import Profile, schedules
from spectral_forecast.adapters.diffusers import record
from spectral_forecast.adapters.diffusers.profiling import predictions
from spectral_forecast.adapters.diffusers.sampling import runs
from spectral_forecast.adapters.diffusers.sampling.processes import Share
from spectral_forecast.cli import main
from spectral_forecast.forecasters import profile_folder

ROOT = Path(__file__).parents[1]
STEPS = 10
CALL = ["--steps", str(STEPS), "--guidance", "1"]


@pytest.fixture(scope="module")
def dit(tmp_path_factory):
    return tiny.classes(tmp_path_factory.mktemp("dit"), DDIMScheduler())


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder of named profiles."""
    monkeypatch.setenv(profile_folder.VARIABLE, str(tmp_path / "profiles"))
    return tmp_path / "profiles"


def moves():
    """How far each step moves the noise level, in flow time."""
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(STEPS)
    kept = scheduler.alphas_cumprod[scheduler.timesteps].double().numpy()
    return np.abs(np.diff(schedules.flow_time([*np.sqrt(1.0 / kept - 1.0), 0.0])))


def profile(dit, *arguments):
    return main(["profile", *map(str, dit), *CALL, *map(str, arguments)])


def launched(dit, *arguments):
    """The command in two processes, as `accelerate launch` starts them on several GPUs."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--no_python", sys.executable]
    program = ["-m", "spectral_forecast", "profile", *map(str, dit), *CALL, *map(str, arguments)]
    names = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}
    kept = {name: value for name, value in os.environ.items() if name not in names}
    environment = kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *launcher, *program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_a_profile_by_name(dit, folder, tmp_path, capsys):
    assert profile(dit, "--out", "tiny", "--runs", "2", "--predict", "4", "6") == 0
    told = capsys.readouterr().out
    found = Profile.load("tiny")
    assert (found.times.size, found.settings["runs"], found.settings["scheduler"]) == (STEPS, "2", "DDIMScheduler")
    assert told.startswith(f"2 runs of {STEPS} steps: output of DiTTransformer2DModel, DDIMScheduler")
    assert told.endswith(f"wrote {folder / 'tiny.safetensors'}\n")
    again = tmp_path / "told.json"
    assert profile(dit, "--out", tmp_path / "again.json", "--runs", "2", "--predict", "4", "6", "--json", again) == 0
    data = json.loads(again.read_text())
    assert (data["path"], data["steps"], data["failed"]) == (str(tmp_path / "again.json"), STEPS, {})
    assert [one["evaluations"] for one in data["predictions"]] == [4, 6]
    rows = [[word.strip() for word in line.strip("|").split("|")] for line in told.splitlines() if line[:1] == "|"]
    for row, count in zip(rows[2:], (4, 6), strict=True):
        evaluate = found.schedule(count, moves())
        error = found.predicted_error(evaluate, moves())
        assert row == [str(count), schedules.steps(evaluate), f"{100 * error:.2f} %"]
    drawn = tmp_path / "drawn"
    sample = ["sample", *map(str, dit), str(drawn), *CALL, "--evaluations", "4", "--profile", "tiny"]
    assert main(sample) == 0
    noted = json.loads((drawn / "00001.json").read_text())["report"]
    assert noted["evaluated"]["call 0"] == np.flatnonzero(found.schedule(4, moves())).tolist()
    assert noted["events"] == []
    assert found.digest in noted["forecaster"]
    # Another profile is another setting: its results do not belong into this folder.
    assert profile(dit, "--out", "tiny", "--runs", "1", "--replace") == 0
    assert main(sample) == 2
    assert "was written with other settings (forecaster" in capsys.readouterr().err


def test_runs_are_those_of_the_pipeline(dit, tmp_path):
    """Prompts are taken again from other noise when there are more runs than prompts."""
    assert profile(dit, "--out", tmp_path / "a.json", "--runs", "4", "--seed", "5") == 0
    pipe = DiTPipeline.from_pretrained(dit[0])
    pipe.set_progress_bar_config(disable=True)
    with record(pipe) as recorder:
        for label, seed in ((3, 5), (8, 6), (207, 7), (3, 8)):
            generator = torch.Generator().manual_seed(seed)
            pipe([label], num_inference_steps=STEPS, guidance_scale=1.0, generator=generator)
    assert np.array_equal(Profile.load(tmp_path / "a.json").gram, recorder.profile().gram)


def test_two_processes_make_the_profile_of_one(dit, tmp_path):
    assert profile(dit, "--out", tmp_path / "one.json", "--runs", "3") == 0
    done = launched(dit, "--out", tmp_path / "two.json", "--runs", "3")
    assert done.returncode == 0, done.stderr
    one, two = (Profile.load(tmp_path / name) for name in ("one.json", "two.json"))
    assert np.array_equal(one.gram, two.gram)
    assert (one.settings, one.digest) == (two.settings, two.digest)
    assert done.stdout.count("wrote") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "two.json"]


def test_more_processes_than_runs(dit, tmp_path):
    done = launched(dit, "--out", tmp_path / "two.json", "--runs", "1")
    assert done.returncode == 0, done.stderr
    assert Profile.load(tmp_path / "two.json").settings["runs"] == "1"


def test_processes_that_cannot_talk_are_refused(dit, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert profile(dit, "--out", tmp_path / "a.json") == 2
    assert "2 processes cannot share what they record; start them with `accelerate launch`" in capsys.readouterr().err


def test_only_the_first_process_writes(dit, tmp_path, monkeypatch, capsys):
    gathered = []
    share = Share(1, 2, 1, lambda: gathered.append("waited"), lambda items: gathered.append(len(items)) or [])
    monkeypatch.setattr(runs, "my_share", lambda **_: share)
    assert profile(dit, "--out", tmp_path / "a.json", "--runs", "4") == 0
    assert gathered == [2, "waited"]
    assert not (tmp_path / "a.json").exists()
    assert capsys.readouterr().out == ""


def test_a_run_that_fails_is_left_out(dit, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(DiTPipeline, "__call__", tiny.without_eights(DiTPipeline.__call__))
    assert profile(dit, "--out", tmp_path / "a.json", "--runs", "3") == 1
    assert "run 1 failed: RuntimeError: out of eights" in capsys.readouterr().err
    assert Profile.load(tmp_path / "a.json").settings["runs"] == "2"
    dit[1].with_name("eight.txt").write_text("8\n")
    assert profile((dit[0], dit[1].with_name("eight.txt")), "--out", tmp_path / "b.json") == 2
    assert "no whole run was recorded: RuntimeError: out of eights" in capsys.readouterr().err
    assert not (tmp_path / "b.json").exists()


def test_features(dit, tmp_path, capsys):
    assert profile(dit, "--out", tmp_path / "a.json", "--runs", "1", "--at", "features") == 0
    assert "features of DiTTransformer2DModel" in capsys.readouterr().out
    fast = ["sample", *map(str, dit), str(tmp_path / "out"), *CALL, "--evaluations", "4"]
    assert main([*fast, "--profile", str(tmp_path / "a.json")]) == 2
    assert "made with at features, not output" in capsys.readouterr().err
    assert main([*fast, "--profile", str(tmp_path / "a.json"), "--at", "features"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "a b"], "`path` is 'a b'; write a name of letters"),
        (["--out", "a", "--runs", "0"], "`runs` is 0; write 1 or more"),
        (["--out", "a", "--batch", "0"], "`batch` is 0; write 1 or more"),
        (["--out", "THERE"], "there.json is there already; write another name, or `--replace`"),
        (["--out", "a", "--frames", "3"], "`frames`: DiTPipeline does not take it"),
    ],
)
def test_bad_arguments(dit, folder, tmp_path, capsys, arguments, message):
    (tmp_path / "there.json").write_text("{}")
    assert profile(dit, *(word.replace("THERE", str(tmp_path / "there.json")) for word in arguments)) == 2
    assert message in capsys.readouterr().err
    assert not folder.exists()
    assert (tmp_path / "there.json").read_text() == "{}"


def test_sample_needs_evaluations_and_a_profile(dit, tmp_path, capsys):
    fast = ["sample", *map(str, dit), str(tmp_path / "out"), *CALL, "--profile", "missing"]
    assert main(fast) == 2
    assert "`--profile` goes with `--evaluations`" in capsys.readouterr().err
    assert main([*fast, "--evaluations", "4"]) == 2
    assert "missing.safetensors holds no profile: there is no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_noise_levels_nothing_is_predicted():
    one = Profile.from_runs([np.arange(4.0)[:, None] ** 2])
    (found,) = predictions(one, [2])
    assert (found.error, found.evaluate.tolist()) == (None, one.schedule(2).tolist())
