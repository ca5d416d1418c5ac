"""`spectral-forecast calibrate` on a tiny pipeline that draws classes, and `sample --calibration` with its file."""

import json

import numpy as np
import pytest
import tiny
import torch
from diffusers import DDIMScheduler, DiTPipeline

from spectral_forecast.adapters.diffusers import calibrate
from spectral_forecast.adapters.diffusers._calibrate import Trial, learnt, of_tolerances
from spectral_forecast.adapters.diffusers.calibrating import make_calibration
from spectral_forecast.adapters.diffusers.sampling import Job, runs
from spectral_forecast.adapters.diffusers.sampling.processes import Share
from spectral_forecast.cli import main
from spectral_forecast.tolerance import Calibration

STEPS = 20
CALL = ["--steps", str(STEPS), "--guidance", "1"]


@pytest.fixture(scope="module")
def dit(tmp_path_factory):
    return tiny.classes(tmp_path_factory.mktemp("dit"), DDIMScheduler(timestep_spacing="trailing", clip_sample=False))


@pytest.fixture(scope="module")
def written(dit, tmp_path_factory):
    """A file that the command wrote, and what it gave as JSON."""
    folder = tmp_path_factory.mktemp("written")
    told = folder / "told.json"
    assert (
        main(["calibrate", *map(str, dit), *CALL, "--runs", "2", "--out", str(folder / "a.json"), "--json", str(told)])
        == 0
    )
    return folder / "a.json", json.loads(told.read_text())


def command(dit, *arguments):
    return main(["calibrate", *map(str, dit), *CALL, *map(str, arguments)])


def test_it_is_that_of_calibrate(dit, written):
    """What the command learns from one run is what the function learns from the same one."""
    job = Job(str(dit[0]), dit[1], None, steps=STEPS, guidance=1.0, seed=5)
    found = make_calibration(job, written[0].with_name("one.json"), runs=1)
    pipe = DiTPipeline.from_pretrained(dit[0])
    pipe.set_progress_bar_config(disable=True)

    def run():
        generator = torch.Generator().manual_seed(5)
        call = {"num_inference_steps": STEPS, "guidance_scale": 1.0, "output_type": "latent"}
        return pipe([3], generator=generator, **call).images

    assert found.calibration == calibrate(pipe, run)
    assert found.failed == {}


def test_it_is_written_and_told(written):
    path, told = written
    content = json.loads(path.read_text())
    assert content["calibration"] == told["calibration"] == Calibration(**told["calibration"])._asdict()
    assert (content["steps"], content["guidance"], content["grid"], content["at"]) == (STEPS, 1.0, None, "output")
    assert (told["path"], told["failed"]) == (str(path), {})
    trials = [Trial(**one) for one in told["trials"]]
    assert [one.tolerance for one in trials] == sorted((one.tolerance for one in trials), reverse=True)
    assert {one.samples for one in trials} <= {1, 2}
    assert Calibration(**told["calibration"]) == Calibration.fit(
        *np.transpose([(one.tolerance, one.estimate, one.error) for one in trials])
    )


def test_sample_heeds_it(dit, written, tmp_path, capsys):
    path, told = written
    tolerance = told["trials"][0]["tolerance"]
    fast = ["sample", *map(str, dit), *CALL, "--tolerance", str(tolerance)]
    assert main([*fast, str(tmp_path / "plain")]) == 0
    assert main([*fast, str(tmp_path / "calibrated"), "--calibration", str(path)]) == 0
    asked = Calibration(**told["calibration"]).tolerance_for(tolerance)
    assert main(["sample", *map(str, dit), *CALL, "--tolerance", str(asked), str(tmp_path / "asked")]) == 0
    plain, calibrated, other = (
        json.loads((tmp_path / name / "00001.json").read_text())["report"] for name in ("plain", "calibrated", "asked")
    )
    assert calibrated["evaluated"] == other["evaluated"]
    law = Calibration(**told["calibration"]).error
    assert calibrated["sample_error"] == pytest.approx(law(other["sample_error"]))
    assert calibrated["sample_error"] != plain["sample_error"]
    assert main([*fast, str(tmp_path / "plain"), "--calibration", str(path)]) == 2
    assert "was written with other settings (calibration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--calibration", "A"], "`calibration` goes with `tolerance`"),
        (["--tolerance", "0.1", "--calibration", "MISSING"], "No such file or directory"),
        (
            ["--tolerance", "0.1", "--calibration", "PROMPTS"],
            "is no file that `spectral-forecast calibrate` has written",
        ),
        (["--tolerance", "0.1", "--calibration", "LIST"], "is no file that `spectral-forecast calibrate` has written"),
        (
            ["--tolerance", "0.1", "--calibration", "A", "--steps", "30", "--at", "features"],
            "was learnt with others (steps 20, now 30, at 'output', now 'features'); learn it again for these",
        ),
    ],
)
def test_what_sample_refuses(dit, written, tmp_path, capsys, arguments, message):
    (tmp_path / "list.json").write_text("[1, 2]")
    files = {"A": written[0], "PROMPTS": dit[1], "LIST": tmp_path / "list.json", "MISSING": tmp_path / "missing.json"}
    words = [str(files.get(word, word)) for word in arguments]
    assert main(["sample", *map(str, dit), str(tmp_path / "out"), *CALL, *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "THERE"], "is there already; write another file, or `--replace`"),
        (["--out", "NEW", "--runs", "0"], "`runs` is 0; write 1 or more"),
        (["--out", "NEW", "--batch", "0"], "`batch` is 0; write 1 or more"),
        (["--out", "NEW", "--frames", "3"], "`frames`: DiTPipeline does not take it"),
    ],
)
def test_bad_arguments(dit, tmp_path, capsys, arguments, message):
    files = {"THERE": tmp_path / "there.json", "NEW": tmp_path / "new.json"}
    files["THERE"].write_text("{}")
    assert command(dit, *(files.get(word, word) for word in arguments)) == 2
    assert message in capsys.readouterr().err
    assert files["THERE"].read_text() == "{}"
    assert not files["NEW"].exists()


def test_a_run_that_fails_is_left_out(dit, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(DiTPipeline, "__call__", tiny.without_eights(DiTPipeline.__call__))
    assert command(dit, "--out", tmp_path / "a.json", "--runs", "2", "--json", tmp_path / "told.json") == 1
    assert "run 1 failed: RuntimeError: out of eights" in capsys.readouterr().err
    assert {one["samples"] for one in json.loads((tmp_path / "told.json").read_text())["trials"]} == {1}
    dit[1].with_name("eight.txt").write_text("8\n")
    assert command((dit[0], dit[1].with_name("eight.txt")), "--out", tmp_path / "b.json") == 2
    assert "no run was whole: RuntimeError: out of eights" in capsys.readouterr().err
    assert not (tmp_path / "b.json").exists()


def test_only_the_first_process_writes(dit, tmp_path, monkeypatch, capsys):
    gathered = []
    share = Share(1, 2, 1, lambda: gathered.append("waited"), lambda items: gathered.append(len(items)) or [])
    monkeypatch.setattr(runs, "my_share", lambda **_: share)
    assert command(dit, "--out", tmp_path / "a.json", "--runs", "2") == 0
    assert gathered == [4, "waited"]  # of four tolerances
    assert not (tmp_path / "a.json").exists()
    assert capsys.readouterr().out == ""


def test_trials_are_averaged_over_their_samples():
    trials = [
        Trial(0.1, 0.02, 0.04, 1, 10),
        Trial(0.3, 0.1, 0.2, 2, 6),
        Trial(0.1, 0.05, 0.1, 3, 12),
        Trial(0.1, 0.0, 0.0, 9, 50, ("nothing was forecast",)),
    ]
    assert of_tolerances(trials) == [
        Trial(0.3, 0.1, 0.2, 2, 6),
        Trial(0.1, pytest.approx(0.0425), pytest.approx(0.085), 4, 12),
    ]
    assert learnt(trials) == learnt(of_tolerances(trials))
    with pytest.raises(ValueError, match="nothing is learnt of errors: nothing was forecast"):
        learnt(trials[3:])
