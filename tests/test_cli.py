"""The command line."""

import json
import sys

import pytest

from spectral_forecast import Plan, make_plan, schedules, spectrum
from spectral_forecast.cli import main


def test_plan_prints_the_papers_schedule(capsys):
    assert main(["plan", "--steps", "50", "--window", "2", "--growth", "0.75", "--warmup", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "forecaster: Chebyshev(degree=4, ridge=0.1, free=0)"
    assert lines[1] == "Plan: 14 of 50 steps evaluated, 14 features kept"
    assert lines[2] == "evaluated: 0-4,6,8,11,15,20,25,31,38,46"
    assert sum("evaluate, keep" in line for line in lines) == 14
    assert lines[-1].startswith("worst case: 1.155 times the feature's bound in the ellipse rho = 2, at step 45")


@pytest.mark.parametrize(
    ("options", "evaluated"),
    [
        (["--interval", "6"], "0-4,10,16,22,28,34,40,46"),
        (["--interval", "4", "--warmup", "3"], "0-2,6,10,14,18,22,26,30,34,38,42,46"),
        (["--evaluations", "14"], "0-4,6,8,11,15,20,25,31,38,46"),
        (["--evaluate", "0-2,5,9", "--steps", "10"], "0-2,5,9"),
        (["--evaluate", "0", "--steps", "10", "--tail", "1", "--max-skip", "3"], "0,4,8,9"),
    ],
)
def test_schedules(capsys, options, evaluated):
    assert main(["plan", *options]) == 0
    assert f"evaluated: {evaluated}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["--blend", "0.5", "--mode", "free"], repr(spectrum(0.5, mode="free"))),
        (["--forecaster", "chebyshev", "--degree", "3", "--free", "1"], "Chebyshev(degree=3, ridge=0.1, free=1)"),
        (["--forecaster", "newton", "--order", "2"], "Newton(order=2)"),
        (["--forecaster", "taylorseer", "--order", "3"], "TaylorSeer(order=3)"),
        (["--forecaster", "reuse"], "Reuse()"),
    ],
)
def test_forecasters(capsys, options, rule):
    assert main(["plan", *options]) == 0
    assert capsys.readouterr().out.startswith(f"forecaster: {rule}\n")


def test_plan_writes_files(capsys, tmp_path):
    assert main(["plan", "--json", str(tmp_path / "p.json"), "--plot", str(tmp_path / "p.png"), "--keep", "4"]) == 0
    plan = Plan.from_json((tmp_path / "p.json").read_text())
    assert plan == make_plan(spectrum(), range(50), schedules.growing(50), span=(0, 50), keep=4)
    assert json.loads((tmp_path / "p.json").read_text())["evaluate"][0] is True
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert "p.png" in capsys.readouterr().out


def test_short_runs(capsys):
    assert main(["plan", "--steps", "1"]) == 0
    assert main(["plan", "--steps", "2", "--interval", "2", "--warmup", "1"]) == 0
    assert "evaluated: 0\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "`n` is 0; write 1 or more"),
        (["--interval", "4", "--evaluations", "5"], "`--evaluations` and `--interval` are two schedules"),
        (["--evaluate", "0,a"], "`--evaluate` holds 'a'; write steps and ranges"),
        (["--evaluations", "60"], "`evaluations` is 60 of a run of 50 steps"),
        (["--ridge", "-1"], "`ridge` is -1.0; write 0 or more"),
        (["--rho", "1"], "`rho` is 1.0; write a finite number above 1"),
    ],
)
def test_bad_input_exits_with_2(capsys, options, message):
    assert main(["plan", *options]) == 2
    assert message in capsys.readouterr().err


def test_the_demo_knows_two_backends(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["demo", "--backend", "numpy"])
    assert exit_.value.code == 2
    assert "choose from" in capsys.readouterr().err


def test_a_missing_flax_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "flax", None)
    monkeypatch.delitem(sys.modules, "spectral_forecast.benchmarks.demo_jax", raising=False)
    monkeypatch.delitem(sys.modules, "spectral_forecast.benchmarks.digits_jax", raising=False)
    monkeypatch.delitem(sys.modules, "spectral_forecast.benchmarks.flux_nnx", raising=False)
    assert main(["demo", "--backend", "jax"]) == 1
    assert "flax is not installed; write `pip install 'spectral-forecast[demo]'`" in capsys.readouterr().err
