"""Measure contraction, planning and whole runs, and write results, pictures and page; or compare results."""

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("CACHE_DIT_LOG_LEVEL", "ERROR")  # read when it is imported

import torch

from spectral_forecast.benchmarks.speed import contraction, end_to_end, machine, networks, planning
from spectral_forecast.benchmarks.speed.compare import TOLERANCES, compare, told
from spectral_forecast.benchmarks.speed.figures import pictures
from spectral_forecast.benchmarks.speed.page import RESULTS, page, stem

PARTS = ("contraction", "planning", "runs")
GIB = 2**30


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark, or compare; return the exit status."""
    options = _options(arguments)
    paths = options.results or [RESULTS / f"{stem(options.device)}.json"]
    if options.compare is not None:
        old, new = ([json.loads(path.read_text()) for path in several] for several in (options.compare, paths))
        worse, common = compare(old, new)
        print(told(worse, common, old, new))
        return 1 if worse else 0
    if len(paths) > 1:
        raise SystemExit("`--results` names several files, which are for `--compare`; write one.")
    (path,) = paths
    results = _known(path, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    for part in options.only or (PARTS if options.networks is None else ("runs",)):
        results = _measure(part, torch.device(options.device), options, results)
        path.write_text(_lines(results))  # what is measured is kept if the rest is interrupted; `--only` goes on
    pictures(results, options.out / "images", stem(options.device))
    (options.out / f"{stem(options.device)}.md").write_text(page(results), encoding="utf-8")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    tolerances = ", ".join(f"{name} {value:.0%}" for name, value in TOLERANCES.items()).replace("%", "%%")
    parser = argparse.ArgumentParser(prog="python -m spectral_forecast.benchmarks.speed", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="where the page and its images go")
    parser.add_argument("--results", nargs="+", type=Path, help="JSON of what was measured; default: the committed one")
    parser.add_argument(
        "--compare", nargs="+", type=Path, metavar="OLD", help=f"are results (medians of several) worse? {tolerances}"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="measure these parts, and keep the others' results")
    parser.add_argument("--networks", nargs="+", help="of whole runs measure these, and keep the others' results")
    parser.add_argument("--rounds", type=int, help="of whole runs; by default 5, of large networks 3 (ours up to 12)")
    parser.add_argument("--ring-gib", type=float, help="largest ring; by default 6, and 48 on a GPU")
    parser.add_argument(
        "--compile", nargs="?", const="inductor", metavar="BACKEND", help="compile all networks, not one only"
    )
    parser.add_argument("--quick", action="store_true", help="a few small cells and one small network")
    return parser.parse_args(arguments)


def _known(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The results that are kept where only a part is measured."""
    if options.only is None and options.networks is None:
        return {}
    if not path.exists():
        raise SystemExit("`--only` and `--networks` keep the other results, of which there are none; leave them out.")
    return json.loads(path.read_text())


def _measure(part: str, device: torch.device, options: argparse.Namespace, known: dict[str, Any]) -> dict[str, Any]:
    """Return the results with a part measured anew."""
    parts: dict[str, Callable[[], Any]] = {
        "contraction": lambda: _contraction(device, options),
        "planning": lambda: planning.measure(
            steps=(20,) if options.quick else planning.STEPS, seconds=0.0 if options.quick else 0.15
        ),
        "runs": lambda: _runs(device, options, known.get("runs", {"rows": [], "left_out": []})),
    }
    begun, before = time.perf_counter(), machine.load()
    found = parts[part]()
    facts, kept = machine.describe(device), known.get("machine", {})
    today = datetime.date.today().isoformat()
    new: dict[str, dict[str, Any]] = {
        "date": {part: today},
        "load": {part: [before, machine.load()]},
        "seconds": {part: round(time.perf_counter() - begun)},
    }
    for name, value in new.items():  # of some networks only, the whole part's stay
        facts[name] = value | kept.get(name, {}) if options.networks else kept.get(name, {}) | value
    again = kept.get("again", {}) if options.networks or part != "runs" else {}
    here = facts["name"]
    if options.networks:  # the name stays that of the machine on which the rest was measured
        facts["name"] = kept.get("name", here)
    when = today if here == facts["name"] else f"{today}, {here}"
    facts["again"] = again | dict.fromkeys(options.networks or (), when)
    return known | {part: found, "machine": facts}


def _contraction(device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    cap = GIB * (options.ring_gib or (48.0 if device.type == "cuda" else 6.0))
    if options.quick:
        return contraction.measure(contraction.QUICK, device, cap=cap, seconds=0.0, copy=2**22)
    return contraction.measure(contraction.CELLS, device, cap=cap, seconds=4.0)


def _runs(device: torch.device, options: argparse.Namespace, known: dict[str, Any]) -> dict[str, Any]:
    if options.quick:
        compiled = {network.name: options.compile for network in networks.QUICK}
        quick: dict[str, Any] = {"budgets": (6,), "steps": 12, "rounds": 1, "compiled": compiled}
        return end_to_end.measure(networks.QUICK, device, torch.float32, **quick)
    everything = [(networks.SMALL, torch.float32, 5, 0)]
    if device.type == "cuda":
        everything += [(networks.LARGE, torch.bfloat16, 3, 12)]
    else:
        everything += [(networks.DEEP, torch.bfloat16, 3, 12), (networks.PUBLISHED, torch.bfloat16, 2, 4)]
    names = [network.name for group, *_ in everything for network in group]
    wanted = options.networks or names
    if unknown := set(wanted) - set(names):
        raise SystemExit(f"`--networks` has {', '.join(sorted(unknown))}; write some of {', '.join(names)}.")
    once = names if options.compile else [network.name for network in networks.QUICK]
    compiled = dict.fromkeys(once, options.compile or "inductor")
    kept = set(names) - set(wanted)
    found = {key: [row for row in known[key] if row["network"] in kept] for key in known}
    for group, dtype, rounds, most in everything:
        chosen = [network for network in group if network.name in wanted]
        turns = {"rounds": rounds, "most": most} if options.rounds is None else {"rounds": options.rounds}
        new = end_to_end.measure(chosen, device, dtype, **turns, compiled=compiled)
        found = {key: found[key] + new[key] for key in found}
    return {key: sorted(rows, key=lambda row: names.index(row["network"])) for key, rows in found.items()}


def _lines(results: dict[str, Any]) -> str:
    """Return JSON with a row a line, so that a change of one shows."""
    return json.dumps(results, separators=(",", ":")).replace('{"', '\n{"').lstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
