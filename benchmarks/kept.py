"""How is a page written from what was measured, and only what is missing measured? For benchmarks that take minutes."""

import argparse
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

__all__ = ["main"]


def main(
    description: str | None,
    measure: Callable[[Any], Any],
    cells: Mapping[str, Any],
    page: Callable[[dict[str, Any]], str],
    *,
    rows: Path,
    out: Path,
) -> None:
    """Measure the cells that a JSON file does not hold yet, keep them there, and write the page from that file.

    Parameters
    ----------
    description : str, optional
        Of the command.
    measure : callable
        Maps a cell to plain data; called in other processes.
    cells : mapping of str to object
        By the names that they have in the file.
    page : callable
        Maps what was measured, by name, to the page.
    rows, out : Path
        The JSON file and the page, where the command line names no others.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--rows", type=Path, default=rows, help="JSON of what was measured")
    parser.add_argument("--again", action="store_true", help="measure everything again")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    known = {} if options.again or not options.rows.exists() else json.loads(options.rows.read_text())
    for path in (options.rows, options.out):
        path.parent.mkdir(parents=True, exist_ok=True)
    missing = {name: cell for name, cell in cells.items() if name not in known}
    with ProcessPoolExecutor(options.processes) as pool:
        found = tqdm(pool.map(measure, missing.values()), total=len(missing), disable=None)
        for name, row in zip(missing, found, strict=True):
            known[name] = row
            options.rows.write_text(json.dumps(known, indent=1) + "\n")
    options.out.write_text(page({name: known[name] for name in cells}), encoding="utf-8")
