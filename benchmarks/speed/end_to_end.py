"""How much sooner is a whole run over? Accelerated runs beside plain evaluations; as a share of N/evaluations."""

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from tqdm import tqdm

from spectral_forecast.benchmarks.speed.accelerations import (
    ACCELERATIONS,
    Acceleration,
    Setting,
    first_block_changes,
)
from spectral_forecast.benchmarks.speed.bench import Bench
from spectral_forecast.benchmarks.speed.memory import Peak
from spectral_forecast.benchmarks.speed.networks import Network

__all__ = ["PRECISE", "measure"]

PRECISE = 0.005
"""Standard error of a share of N/evaluations that ends the rounds."""


@dataclass
class _Way:
    """An acceleration with a number of evaluations, and what was measured of it."""

    acceleration: Acceleration
    setting: Setting
    evaluated: int = 0
    extra: int = 0
    seconds: list[float] = field(default_factory=list)
    speedups: list[float] = field(default_factory=list)
    skipped: list[float] = field(default_factory=list)  # of an evaluation, what another call takes
    report: Any = None

    def run(self, bench: Bench, *, counts: bool = True) -> None:
        """Run accelerated, next to plain evaluations, of which a full run would be N; ``counts`` if times are kept."""
        with self.acceleration.put(bench.module, self.setting) as told:
            found = bench.beside()
            self.report = told and told()
        self.evaluated = found.evaluated
        if counts:
            self.seconds.append(found.seconds)
            self.speedups.append(bench.steps * found.evaluation / found.seconds)
            self.skipped.append(found.skipped / found.evaluation)

    @property
    def error(self) -> float:
        """Standard error of the mean share of N/evaluations; infinite after one round."""
        if len(self.speedups) < 2:
            return math.inf
        scale = self.evaluated / self.setting.steps
        return scale * statistics.stdev(self.speedups) / math.sqrt(len(self.speedups))


def measure(
    networks: Sequence[Network],
    device: torch.device,
    dtype: torch.dtype,
    *,
    budgets: Sequence[int] = (14, 10),
    steps: int = 50,
    rounds: int = 3,
    most: int = 0,
    compiled: Mapping[str, str | None] = MappingProxyType({}),
) -> dict[str, Any]:
    """Sample with every network in every accelerated way, in turns; those ``compiled``, by their backends, once more.

    Every way runs once more before, to see what it takes of memory, and ``rounds`` times for its time; our own go on
    until the standard error of their share is `PRECISE`, or for ``most`` rounds in all.

    Returns
    -------
    dict
        "rows": for each network, way and budget the evaluations counted, the median ``seconds``, those of a ``full``
        run, the median ``speedup``, of N plain evaluations that were timed along the run over the run, ``share``, the
        speed-up over N/evaluations, of two rounds or more its standard ``error``, and, but for those compiled, in parts
        of an evaluation ``skipped``, a call in which none is made, and ``outside``, what is not in the network's
        blocks. "left_out": what does not go with a network, and why.
    """
    rows: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    for network in tqdm(networks, desc="whole runs", unit="network", disable=None):
        bench = Bench(network, device, dtype, steps)
        ways, full = _warmed(bench, budgets, left_out)
        outside = _round(bench.outside())
        for number in range(max(rounds, most)):
            for way in ways:
                if number < rounds or (way.acceleration.ours and way.error > PRECISE):
                    way.run(bench)
        for way in ways:
            parts = {"skipped": _round(statistics.median(way.skipped)), "outside": outside}
            rows.append(_row(bench, way, full, compiled=False) | parts)
        if backend := compiled.get(network.name):
            try:
                full = _compiled(bench, ways, rounds, backend)
            except Exception as error:  # whatever a backend lacks, as a compiler of C++
                left_out.append(_missing(network, "compiled", error))
            else:
                rows += [_row(bench, way, full, compiled=True) for way in ways]
        del bench, ways
    return {"rows": rows, "left_out": left_out}


def _warmed(bench: Bench, budgets: Sequence[int], left_out: list[dict[str, Any]]) -> tuple[list[_Way], float]:
    """Run each way once: count evaluations, look at memory, and leave out what does not go."""
    bench.run(steps=3)
    with first_block_changes(bench.module) as residuals, Peak(bench.device) as full:
        seconds = bench.run()
    ways = []
    for evaluations in budgets:
        for acceleration in ACCELERATIONS:
            way = _Way(acceleration, Setting(bench.steps, evaluations, bench.scheduler, residuals))
            try:
                with warnings.catch_warnings(), Peak(bench.device) as peak:
                    warnings.simplefilter("ignore")  # what they say is an event of the report
                    way.run(bench, counts=False)
            except Exception as error:  # another package's, of any kind; the page tells it
                missing = _missing(bench.network, acceleration.name, error)
                left_out += [missing] if missing not in left_out else []
                continue
            way.extra = peak.bytes - full.bytes
            ways.append(way)
    return ways, seconds


def _compiled(bench: Bench, ways: Sequence[_Way], rounds: int, backend: str) -> float:
    """Run all rounds once more, compiled; one way after the other, since each change of a network compiles it anew.

    Returns the seconds of a full run.
    """
    torch.compiler.reset()
    try:
        bench.module.compile(backend=backend)
        bench.run()
        full = statistics.median(bench.run() for _ in range(rounds))
        for way in ways:
            torch.compiler.reset()
            with way.acceleration.put(bench.module, way.setting) as told:
                bench.run()
                way.seconds = [bench.run() for _ in range(rounds)]
                way.speedups = [full / seconds for seconds in way.seconds]
                way.report = told and told()
    finally:
        torch.compiler.reset()
    return full


def _missing(network: Network, method: str, error: Exception) -> dict[str, Any]:
    """What is left out, and why: the first line that says it."""
    lines = str(error).strip().split("\n")
    why = next((line for line in lines if not line.endswith(":")), type(error).__name__)
    return {"network": network.name, "method": method, "why": why}


def _row(bench: Bench, way: _Way, full: float, *, compiled: bool) -> dict[str, Any]:
    speedup = statistics.median(way.speedups)
    row = {
        "network": bench.network.name,
        "large": bench.network.large,
        "parameters": sum(part.numel() for part in bench.module.parameters()),
        "dtype": str(bench.dtype).removeprefix("torch."),
        "compiled": compiled,
        "method": way.acceleration.name,
        "ours": way.acceleration.ours,
        "steps": bench.steps,
        "budget": way.setting.evaluations,
        "evaluated": way.evaluated,
        "full": _round(full),
        "seconds": _round(statistics.median(way.seconds)),
        "speedup": _round(speedup),
        "share": _round(speedup * way.evaluated / bench.steps),
        "rounds": len(way.seconds),
        "extra": way.extra,
    }
    if math.isfinite(way.error):
        row["error"] = _round(way.error)
    if way.report is not None:
        row |= {"kept": way.report.peak_bytes, "forecasting": _round(way.report.seconds / way.seconds[-1])}
        row["events"] = way.report.events
    return row


def _round(value: float) -> float:
    return float(f"{value:.4g}")
