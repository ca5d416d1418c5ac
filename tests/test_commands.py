"""What all commands share: help on a screen, JSON, errors that say what to type, completion, no bars in pipes."""

import ast
import json
import re
import runpy
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from spectral_forecast import Plan, bounds, make_plan, schedules, spectrum
from spectral_forecast.benchmarks import demo, known, supported
from spectral_forecast.benchmarks.listing import UNTIMED, scheduler_limits
from spectral_forecast.benchmarks.models import MODELS
from spectral_forecast.cli import bench, main, parser

ROOT = Path(__file__).parents[1]
COMMANDS = next(action.choices for action in parser()._actions if action.dest == "command")


def told(capsys, *arguments):
    """What a command prints as JSON, and nothing else."""
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_fits_a_screen(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = (parser() if name is None else parser()._subparsers._group_actions[0].choices[name]).format_help()
    assert len(lines.splitlines()) <= 40
    assert max(map(len, lines.splitlines())) <= 100


def test_every_command_but_the_completion_has_json():
    without = {name for name, command in COMMANDS.items() if "--json" not in command._option_string_actions}
    assert without == {"completion"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plna"], "did you mean `plan`? `spectral-forecast --help`"),
        (["plan", "--stepz", "3"], "did you mean `--steps`? `spectral-forecast plan --help`"),
        (["plan", "--step", "3"], "did you mean `--steps`?"),  # no abbreviations, which later options would break
        (["bounds", "--forecaster", "newtn"], "did you mean `newton`?"),
        (["sample"], "the following arguments are required: PIPELINE, PROMPTS, OUT\n`spectral-forecast sample --help`"),
        (["plan", "extra"], "unrecognized arguments: extra"),
        (["bench", "qualty"], "did you mean `quality`?"),
    ],
)
def test_wrong_words_get_the_right_ones(capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_commands_on_the_pages_are_commands():
    """Each console block's line, and each whole command in a sentence, is one that the parser takes."""
    lines = []
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```(?:console|sh)\n(.*?)```", text, flags=re.DOTALL):
            lines += re.findall(r"^\$ (spectral-forecast .*)$", block, flags=re.MULTILINE)
        lines += re.findall(r"`(spectral-forecast (?:demo|plan|bounds|models|bench|completion)[^`]*)`", text)
    assert len(lines) > 15
    for line in lines:
        words = shlex.split(" ".join(line.split()))[1:]
        if words[1:] != ["--help"]:
            options, rest = parser().parse_known_args(words)
            assert not rest or options.command == "bench", line


def test_a_file_that_cannot_be_written(capsys, tmp_path):
    assert main(["plan", "--json", str(tmp_path / "missing" / "plan.json")]) == 2
    assert f"No such file or directory: {tmp_path / 'missing' / 'plan.json'}" in capsys.readouterr().err


def test_an_interrupt_is_told_in_a_line(capsys, monkeypatch):
    def interrupted(_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", interrupted)
    assert main(["bench"]) == 130
    assert capsys.readouterr().err == "spectral-forecast bench: interrupted\n"


def test_a_reader_that_has_seen_enough_is_no_error():
    program = [sys.executable, "-m", "spectral_forecast", "models"]
    process = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait() == 0


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("spectral-forecast 0.")


def test_a_plan_is_printed_as_json_alone(capsys):
    assert main(["plan", "--steps", "20", "--json"]) == 0
    plan = Plan.from_json(capsys.readouterr().out)
    assert plan == make_plan(spectrum(), range(20), schedules.growing(20), span=(0, 20))


def test_bounds(capsys, tmp_path):
    clock = np.arange(20)
    plan = make_plan(spectrum(0.5), clock, schedules.budget(20, 8), span=(0, 20))
    options = ["bounds", "--steps", "20", "--evaluations", "8", "--blend", "0.5", "--rho", "2", "4"]
    found = told(capsys, *options)
    assert found["forecasts"] == np.flatnonzero(~plan.evaluate).tolist()
    for rho in ("2", "4"):
        exact = bounds.of_plan(plan, clock, span=(0, 20), rho=float(rho))[~plan.evaluate]
        assert np.allclose(found["worst_case"][rho], exact, rtol=1e-12)
    assert main([*options, "--json", str(tmp_path / "bounds.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[word.strip() for word in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]
    assert [row[0] for row in rows] == [*map(str, found["forecasts"]), "largest"]
    assert float(rows[-1][1]) == pytest.approx(max(found["weights_abs_sum"]), rel=1e-2)
    assert float(rows[-1][2]) == pytest.approx(max(found["worst_case"]["2"]), rel=1e-3)
    assert json.loads((tmp_path / "bounds.json").read_text()) == found


def test_bounds_where_nothing_is_forecast(capsys):
    assert told(capsys, "bounds", "--steps", "2")["forecasts"] == []
    assert main(["bounds", "--rho", "1"]) == 2
    assert "`rho` is 1.0; write a finite number above 1" in capsys.readouterr().err


def test_models(capsys):
    everything = told(capsys, "models")
    assert {(one["name"], one["note"]) for one in everything["networks"]} >= {(m.name, m.note) for m in MODELS}
    found = told(capsys, "models", "WAN", "unipc")
    assert {one["name"] for one in found["networks"]} >= {"WanTransformer3DModel", "WanVACETransformer3DModel"}
    assert all("wan" in one["name"].lower() for one in found["networks"])
    assert {one["class"] for one in found["schedulers"]} == {"UniPCMultistepScheduler"}
    assert main(["models", "unipc"]) == 0
    assert "| network" not in capsys.readouterr().out
    assert main(["models", "t5film"]) == 0
    assert "takes none of timestep" in capsys.readouterr().out
    assert main(["models", "nothing-like-it"]) == 2
    assert "write part of a class's name" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:__array")  # what diffusers says when some schedulers are made
def test_the_data_of_models_are_those_of_the_pages():
    """If not: ``python -m spectral_forecast.benchmarks.supported``."""
    found = known.read()
    page = (ROOT / "docs" / "supported.md").read_text(encoding="utf-8")
    for one in found["networks"]:
        name = one["name"] + (f" ({one['note']})" if one["note"] else "")
        skipped = "" if one["skipped"] is None else f"{one['skipped']:.0%}".replace("%", " %")
        yes = {True: "yes", False: "no"}
        start = f"| {name} | {one['makes']} | {yes[one['output']]} | {yes[one['features']]} | {skipped}".rstrip()
        (line,) = [line for line in page.splitlines() if line.replace("  ", " ").startswith(start.replace("  ", " "))]
        assert line.endswith(f"| {one['remark']} |")
    assert len(found["networks"]) == len(MODELS) + len(UNTIMED)
    assert f"with diffusers {found['diffusers']} " in page
    assert found["schedulers"] == scheduler_limits()


@pytest.mark.filterwarnings("ignore:__array")
def test_the_data_of_models_are_written_as_they_are_read():
    model = next(model for model in MODELS if model.name == "UNet1DModel")
    row = supported.Row(model, True, False, np.nan, np.nan, False, "a reason")
    data = supported.data([row])
    assert set(data) == set(known.read())
    assert [set(one) for one in data["networks"]] == [set(known.read()["networks"][0])] * (1 + len(UNTIMED))
    assert json.loads(json.dumps(data))["networks"][0]["skipped"] is None


def test_models_and_bounds_need_no_framework():
    program = (
        "import sys; from spectral_forecast.cli import main\n"
        "assert main(['models', 'flux']) == main(['bounds']) == main(['bench']) == 0\n"
        "heavy = {'torch', 'jax', 'diffusers', 'matplotlib', 'shtab'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_bench_lists_and_runs(capsys, tmp_path):
    listed = told(capsys, "bench")
    assert {one["name"] for one in listed} >= {"quality", "fine-grids", "tolerances", "profiles", "comparison"}
    ran = told(capsys, "bench", "comparison", "--out", str(tmp_path))
    assert (ran["status"], ran["wrote"]) == (0, [str(tmp_path / "comparison.md")])
    assert (tmp_path / "comparison.md").read_text() == (ROOT / "docs" / "comparison.md").read_text()
    # What is not known here goes to the benchmark, which refuses it itself.
    assert main(["bench", "comparison", "--out", str(tmp_path), "--processes", "4"]) == 2
    assert main(["bench", "--processes=4"]) == 2
    assert "`--processes=4` goes with a benchmark's name" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::RuntimeWarning:runpy")  # that the module was imported before
@pytest.mark.parametrize("name", [name for name in bench._there() if bench.BENCHMARKS[name].options])
def test_benchmarks_take_the_options_that_they_are_given(capsys, monkeypatch, name):
    one = bench.BENCHMARKS[name]
    monkeypatch.setattr(sys, "argv", ["bench", "--help"])
    with pytest.raises(SystemExit):
        runpy.run_module(f"spectral_forecast.benchmarks.{one.module}", run_name="__main__")
    help_ = capsys.readouterr().out
    assert all(word in help_ for word in one.options if word.startswith("--"))


def test_the_demo_tells_its_numbers(capsys, monkeypatch, tmp_path):
    rows = [demo.Method("full run: Euler"), demo.Method("our default", default=14, at="output")]
    monkeypatch.setattr(demo, "COUNT", 2)
    monkeypatch.setattr(demo, "methods", lambda: rows)
    full, ours = told(capsys, "demo", "--out", str(tmp_path), "--repeats", "1")
    assert (full["evaluations"], full["speedup"], full["psnr"], full["beta"]) == (50, 1.0, None, None)
    assert (ours["method"], ours["evaluations"]) == ("our default", 14)
    table = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert f"| {ours['psnr']:.1f} |" in " ".join(table.split())
    assert {path.name for path in tmp_path.iterdir()} == {
        *("report.json", "report.md", "samples.png", "error_by_step.png"),
    }


def test_completion(capsys):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    ask = (
        "complete -p spectral-forecast >/dev/null || exit 1\n"
        "COMP_WORDS=(spectral-forecast {words}) COMP_CWORD={at}\n"
        "$(complete -p spectral-forecast | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
        'printf "%s\\n" "${{COMPREPLY[@]}}"'
    )

    def completed(words):
        program = script + ask.format(words=words or "''", at=max(len(words.split()), 1))
        done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=False)
        return set(done.stdout.split())

    assert set(COMMANDS) <= completed("")
    assert completed("pl") == {"plan"}
    assert {"--steps", "--json"} <= completed("plan --")
    assert completed("plan --forecaster tay") == {"taylorseer"}


def test_a_benchmark_without_its_packages_writes_nothing(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, _=find_spec: None if name == "sklearn" else _(name))
    assert main(["bench", "quality", "--out", str(tmp_path / "out")]) == 1
    assert "sklearn is not installed; write `pip install 'spectral-forecast[demo]'`" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_completion_without_its_package(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "zsh"]) == 1
    assert "write `pip install 'spectral-forecast[completion]'`" in capsys.readouterr().err


def test_no_bar_is_drawn_into_a_pipe():
    """Each says ``disable=None``, which is: where nobody looks at a terminal; or decides by itself."""
    bars = 0
    for folder in ("spectral_forecast/cli", "adapters", "benchmarks", "theory"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tqdm":
                    bars += 1
                    assert "disable" in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"
    assert bars > 5
