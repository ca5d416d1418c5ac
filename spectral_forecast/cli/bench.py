"""Run a benchmark on this machine, by name; without a name, list them.

What is measured and the page that is made of it lie in one folder, so that a run that was stopped goes on. Options that
are not listed here are the benchmark's own, as in `spectral-forecast bench quality --processes 4`; `python -m
spectral_forecast.benchmarks.quality --help` lists them.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from spectral_forecast.benchmarks.tables import markdown
from spectral_forecast.cli.output import Output, add_json

__all__ = ["BENCHMARKS", "EXTRA", "HELP", "add_arguments", "run"]

HELP = "run a benchmark by name, or list them"
EXTRA = "demo"
PASSES_ON = True
"""Arguments that are not known here go to the benchmark."""


class Benchmark(NamedTuple):
    """A benchmark: its module, what it asks, how long it takes on two cores, and how its files are named to it."""

    module: str
    question: str
    takes: str
    options: tuple[str, ...]
    rows: str = ""  # its JSON, in the folder
    needs: tuple[str, ...] = ("torch", "diffusers", "sklearn", "tqdm")


BENCHMARKS = {
    "quality": Benchmark(
        "quality",
        "how close to the full run, against some twenty methods?",
        "20 minutes",
        ("--folder", "{out}/cells", "--out", "{out}", "--rows", "{out}/quality.json"),
        "quality.json",
    ),
    "causes": Benchmark(
        "causes",
        "where does the default's error come from?",
        "3 minutes",
        ("--out", "{out}/causes.md", "--rows", "{out}/causes.json"),
        "causes.json",
    ),
    "fine-grids": Benchmark(
        "fine_grids",
        "how close to the exact solution, on finer grids?",
        "minutes",
        ("--out", "{out}/fine-grids.md", "--rows", "{out}/fine-grids.json"),
        "fine-grids.json",
    ),
    "tolerances": Benchmark(
        "tolerances",
        "is a tolerance kept, and the error estimated well?",
        "minutes",
        ("--out", "{out}/tolerance.md", "--rows", "{out}/tolerances.json"),
        "tolerances.json",
    ),
    "profiles": Benchmark("profiles", "what does a profile gain?", "5 minutes", ("--page", "{out}/profiles.md")),
    "schedulers": Benchmark(
        "schedulers",
        "with which schedulers does forecasting pay?",
        "minutes",
        ("--out", "{out}/schedulers.md", "--rows", "{out}/schedulers.json"),
        "schedulers.json",
    ),
    "supported": Benchmark(
        "supported",
        "which networks of diffusers can be forecast?",
        "minutes",
        ("--out", "{out}/supported.md", "--data", "{out}/supported.json", "--no-readme"),
        "supported.json",
    ),
    "comparison": Benchmark(
        "comparison", "what do the rules keep and amplify?", "a second", ("--out", "{out}/comparison.md"), needs=()
    ),
    "memory": Benchmark(
        "memory",
        "what do kept features take, and what does bounding it cost?",
        "minutes",
        ("--out", "{out}/memory.md", "--rows", "{out}/memory.json"),
        "memory.json",
    ),
    "serving": Benchmark("serving", "what does a server gain, that batches requests?", "minutes", ()),
    "speed": Benchmark(
        "speed",
        "what does forecasting cost, in time and memory?",
        "minutes",
        ("--out", "{out}", "--results", "{out}/speed.json"),
        "speed.json",
        needs=("torch", "diffusers", "matplotlib"),
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.usage = "spectral-forecast bench [NAME] [--out FOLDER] [--json [FILE]] [the benchmark's own options]"
    parser.add_argument("name", metavar="NAME", nargs="?", choices=_there(), help=", ".join(_there()))
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for pages and numbers (default out/bench/NAME)")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark, or list them all."""
    output = Output(options)
    if options.name is None:
        if options.rest:
            raise ValueError(f"`{options.rest[0]}` goes with a benchmark's name; write one of {', '.join(_there())}.")
        return _list(output)
    for package in BENCHMARKS[options.name].needs:
        if importlib.util.find_spec(package) is None:  # said before anything is written
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    chosen, out = BENCHMARKS[options.name], options.out or Path("out/bench") / options.name
    out.mkdir(parents=True, exist_ok=True)
    named = [word.format(out=out) for word in chosen.options]
    command = [sys.executable, "-m", f"spectral_forecast.benchmarks.{chosen.module}", *named, *options.rest]
    start = time.perf_counter()
    # What it prints are words for people, and go to the standard error where they would mix with our JSON.
    status = subprocess.run(command, check=False, stdout=2 if options.json else None).returncode
    seconds = time.perf_counter() - start
    wrote = sorted(str(path) for path in out.iterdir() if path.is_file())
    output.say(f"{options.name}: {seconds:.1f} s; {', '.join(wrote) or 'wrote nothing'}")
    rows = out / chosen.rows
    measured = json.loads(rows.read_text(encoding="utf-8")) if chosen.rows and rows.exists() else None
    output.emit({"name": options.name, "status": status, "seconds": seconds, "wrote": wrote, "measured": measured})
    return status


def _there() -> list[str]:
    """The benchmarks that are installed."""
    return [
        name
        for name, one in BENCHMARKS.items()
        if importlib.util.find_spec(f"spectral_forecast.benchmarks.{one.module}")
    ]


def _list(output: Output) -> int:
    lines = [["name", "takes", "question"]]
    lines += [[name, BENCHMARKS[name].takes, BENCHMARKS[name].question] for name in _there()]
    output.say(markdown(lines, words=True))
    output.emit([{"name": name, "question": BENCHMARKS[name].question} for name in _there()])
    return 0
