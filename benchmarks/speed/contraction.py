"""What do a forecast, a kept evaluation and a row of inner products cost? Bytes, seconds, share of a copy's speed."""

import concurrent.futures
import multiprocessing
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import psutil
import torch
from tqdm import tqdm

from spectral_forecast.benchmarks.speed.machine import keep_memory, large_pages
from spectral_forecast.benchmarks.speed.methods import OURS, OWN, Method
from spectral_forecast.benchmarks.speed.peers import PEERS, RELEASED
from spectral_forecast.benchmarks.speed.state import Cell, State
from spectral_forecast.benchmarks.speed.timing import Task, Times, interleaved

__all__ = ["CELLS", "QUICK", "measure"]

SIZES = (10**4, 10**5, 10**6, 10**7, 5 * 10**7, 2 * 10**8)
CELLS = (
    *(Cell(size, kept, "bfloat16") for size in SIZES for kept in (2, 6, 14)),
    *(Cell(10**7, kept, "bfloat16") for kept in (4, 8, 10, 12)),
    *(Cell(size, kept, "float32") for size in SIZES[1:-1] for kept in (2, 14)),
)
QUICK = (Cell(10**4, 2, "bfloat16"), Cell(10**4, 14, "bfloat16"))
BEYOND_CACHES = 10**6  # elements, from which times grow with the bytes
COPY = 2**28  # bytes that are copied at least, far more than caches hold
READ = 2**27  # bytes that are read before each task
ALONE = {"cpu": 1.5 * 2**30, "cuda": 48.0 * 2**30}  # bytes of a ring, beyond which nothing else has room


def measure(
    cells: Sequence[Cell], device: torch.device, *, cap: float, seconds: float, copy: int = COPY
) -> dict[str, Any]:
    """Time every method in every cell, in turns with a copy; each cell in a process of its own.

    How fast memory is depends on where it lies: what one cell leaves behind is not to decide that for the next.

    Parameters
    ----------
    cells : sequence of Cell
    device : torch.device
    cap : float
        Bytes of the largest ring.
    seconds : float
        For the rounds of one method in one cell; three rounds are made anyway.
    copy : int
        Bytes that are copied; half of the ring, if that is more.

    Returns
    -------
    dict
        "rows": for each method and cell the median ``seconds``, the ``bytes`` that must move, the ``fraction`` of the
        copy's bytes per second (median over rounds) and ``over``, how often it fits into the released arithmetic's
        time. "left_out": what was not timed, and why. "copy": bytes per second in each cell; "copied": of how
        many at least; "read": bytes of something else that are read before each.
    """
    rows: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    speeds: list[float] = []
    largest = {dtype: max(cell.kept for cell in cells if cell.dtype == dtype) for dtype in {c.dtype for c in cells}}
    for cell in tqdm(sorted(cells, key=lambda cell: cell.ring), desc="contraction", unit="cell", disable=None):
        if why := _too_large(cell, device, cap):
            left_out.append(_named(cell) | {"method": "all", "why": why})
            continue
        alone = ALONE[device.type]
        chosen = _chosen(cell, largest[cell.dtype], rows, min(_free(device), 6.0 * alone) - 2 * cell.ring)
        if cell.ring > alone:
            why = f"a ring of {_gib(cell.ring)}, beside which they may have no room"
            left_out.append(_named(cell) | {"method": f"all but {OURS}", "why": why})
            chosen = ((method, "") for method in OWN if method.name == OURS)
        timed = []
        for method, reason in chosen:
            if reason:
                left_out.append(_named(cell) | {"method": method.key, "why": reason})
            else:
                timed.append(method.key)
        with large_pages(), concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            found, speed = process.submit(_cell, cell, timed, device, seconds, copy).result()
        rows += found
        speeds.append(speed)
    return {"rows": rows, "left_out": left_out, "copy": speeds, "copied": copy, "read": READ}


def _cell(
    cell: Cell, keys: Sequence[str], device: torch.device, seconds: float, copy: int
) -> tuple[list[dict[str, Any]], float]:
    """The rows of the methods that have these keys, and the bytes per second of a copy."""
    keep_memory()
    methods = [method for method in (*OWN, *PEERS) if method.key in keys]
    state = State(cell, device)
    source, target = _halves(state, copy)
    copied = source.nbytes
    tasks = {method.key: method.make(state) for method in methods}
    # The caches are to hold nothing that a task reads, and nothing that the one before has written and memory lacks.
    read = torch.zeros(READ // 4, device=device).sum
    times = interleaved(tasks, device, seconds=seconds, between=read, beside=Task(lambda: target.copy_(source)))
    released: Times | None = times.get(f"forecast: {RELEASED}")
    rows: list[dict[str, Any]] = []
    copies: list[float] = []
    for method in methods:
        moved = method.moves.bytes(cell)
        own = times[method.key]
        row = _named(cell) | {"method": method.name, "what": method.what, "ours": method.ours}
        row |= {"seconds": _round(own.median), "bytes": moved, "rounds": len(own.seconds)}
        row["fraction"] = _round(moved / (2.0 * copied) * Times(own.beside).over(own))
        copies += own.beside
        if released is not None and method.what == "forecast":
            row["over"] = _round(released.over(own))
        rows.append(row)
    return rows, _round(2.0 * copied / statistics.median(copies))


def _halves(state: State, least: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What is copied onto what: half of the ring onto the other, or so many bytes where those are more."""
    half = state.memory.nbytes // 2
    if half >= least:
        return state.memory[:half], state.memory[-half:]
    source = torch.zeros(least, dtype=torch.uint8, device=state.device)
    return source, torch.empty_like(source)


def _chosen(cell: Cell, most: int, rows: list[dict[str, Any]], free: float) -> Iterator[tuple[Method, str]]:
    """The methods that a cell has, each with the reason why it is left out there."""
    held = 0
    for method in (*OWN, *PEERS):
        if cell.dtype not in method.dtypes or (not method.grows and cell.kept != most):
            continue
        need = method.holds.bytes(cell)
        peak = need + method.works.bytes(cell)
        took = _expected(cell, method, rows)
        if held + peak > free:
            yield method, "it needs more memory than there is"
        elif took > method.patience:
            yield method, f"a call would take more than {method.patience:g} s"
        else:
            held += need
            yield method, ""


def _expected(cell: Cell, method: Method, rows: list[dict[str, Any]]) -> float:
    """Seconds that a method will take at the least, if they grow with its bytes; 0 where nothing is known."""
    known = [
        row["seconds"] * method.moves.bytes(cell) / row["bytes"]
        for row in rows
        if (row["method"], row["what"], row["dtype"]) == (method.name, method.what, cell.dtype)
        and row["size"] >= BEYOND_CACHES
    ]
    return min(known, default=0.0)


def _too_large(cell: Cell, device: torch.device, cap: float) -> str:
    if cell.ring > cap:
        return f"a ring of {_gib(cell.ring)}, and {_gib(cap)} are allowed"
    need = 1.5 * cell.ring + 12 * cell.size
    if need > _free(device):
        return f"it needs {_gib(need)}, and {_gib(_free(device))} are free"
    return ""


def _free(device: torch.device) -> float:
    """Bytes that may be used: four fifths of what is free."""
    return 0.8 * (torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available)


def _named(cell: Cell) -> dict[str, Any]:
    return {"size": cell.size, "kept": cell.kept, "dtype": cell.dtype}


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"


def _round(value: float) -> float:
    return float(f"{value:.4g}")
