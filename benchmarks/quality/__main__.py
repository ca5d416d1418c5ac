"""Measure the cells that were not measured before, and write the results, the pictures and the page."""

import argparse
import json
import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm import tqdm

from spectral_forecast.benchmarks.quality import closer, paired
from spectral_forecast.benchmarks.quality.cells import CELLS, Cell, measure
from spectral_forecast.benchmarks.quality.page import RESULTS, compact, page, pictures


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m spectral_forecast.benchmarks.quality", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("out/quality"), help="what is measured is kept here")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="where quality.md and its images go")
    parser.add_argument("--rows", type=Path, default=RESULTS, help="JSON of what was measured")
    parser.add_argument("--models", nargs="*", help="measure the cells of these only, and write nothing")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--closer", action="store_true", help="measure on more samples what is left open, too")
    parser.add_argument("--again", action="store_true", help="measure everything again")
    options = parser.parse_args()
    wanted = [(measure, cell) for cell in CELLS] + [(paired.measure, cell) for cell in paired.PAIRED]
    wanted = [item for item in wanted if options.models is None or item[1].model in options.models]
    context = multiprocessing.get_context("spawn")  # forked processes would share PyTorch's threads
    with ProcessPoolExecutor(options.processes, mp_context=context) as pool:
        measured = _measured(pool, wanted, options)
        if options.models is not None:
            return
        results = compact(measured[: len(CELLS)]) | {"paired": measured[len(CELLS) :]}
        if options.closer:
            found = [
                (cell, closer.left_open(paired.Paired(**item)))
                for cell, item in zip(paired.PAIRED, results["paired"], strict=True)
            ]
            several = _measured(pool, [(closer.measure, cell, pairs) for cell, pairs in found if pairs], options)
            results["closer"] = [row for rows in several for row in rows]
        elif options.rows.exists():
            results["closer"] = json.loads(options.rows.read_text()).get("closer", [])
    for folder in (options.rows.parent, options.out / "images"):
        folder.mkdir(parents=True, exist_ok=True)
    options.rows.write_text(
        json.dumps(results, separators=(",", ":"))
        .replace('[["', '\n[["')
        .replace('],["', '],\n["')
        .replace(',{"', ',\n{"')
    )
    pictures(results, options.out / "images")
    (options.out / "quality.md").write_text(page(results), encoding="utf-8")


def _measured(pool: Executor, wanted: list[Any], options: argparse.Namespace) -> list[Any]:
    """Return what functions measure in cells; the largest come first, since the last ones should be over soon."""
    order = sorted(wanted, key=lambda item: _size(item[1]), reverse=True)
    jobs = {item: pool.submit(*item, options.folder, again=options.again) for item in order}
    for job in tqdm(as_completed(jobs.values()), total=len(jobs), desc="cells", unit="cell", disable=None):
        job.result()
    return [jobs[item].result() for item in wanted]


def _size(cell: Cell) -> int:
    """How much is to be computed: the predictions of a full run."""
    return cell.samples * cell.steps * (1 if cell.guidance == 1.0 else 2)


if __name__ == "__main__":
    main()
