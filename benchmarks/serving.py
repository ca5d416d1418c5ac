"""What does a server gain? Seconds a request, with many requests in at a time over the digits transformer.

``OMP_NUM_THREADS=1 python -m spectral_forecast.benchmarks.serving`` prints a Markdown table. One request joins a tick
while there is room, and each samples one digit by 50 Euler steps. "By hand" is a loop without a `Pool`, which evaluates
all of them; "waiting": forecasts are made first, so that evaluations fall together. Seconds are those that the
processor spends on this process, whatever else it does.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from spectral_forecast import Newton, Plan, make_plan, schedules
from spectral_forecast.adapters.serving import Pool, PoolReport
from spectral_forecast.benchmarks import digits
from spectral_forecast.benchmarks.tables import markdown
from spectral_forecast.guarded import LIMIT

__all__ = ["by_hand", "main", "measure", "served"]

STEPS = 50
FLOW = np.linspace(1.0, 0.0, STEPS + 1)
LEVELS = digits.SHIFT * FLOW / (1.0 + (digits.SHIFT - 1.0) * FLOW)


class Job:
    """One request: a digit on its way."""

    def __init__(self, number: int) -> None:
        self.x, self.step = digits.noise(1, seed=number), 0
        self.classes = torch.tensor([number % digits.CLASSES])

    @property
    def inputs(self) -> tuple[Any, ...]:
        return self.x, float(LEVELS[self.step]), self.classes

    def advance(self, velocity: torch.Tensor) -> None:
        """Make one of Euler's steps."""
        self.x = self.x + float(LEVELS[self.step + 1] - LEVELS[self.step]) * velocity
        self.step += 1


class Network:
    """The digits transformer, told which shapes its tokens have."""

    def __init__(self) -> None:
        self.transformer = digits.transformer()

    def __call__(self, x: torch.Tensor, t: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return self.transformer(**digits.inputs(x, t, classes), return_dict=False)[0]


def planned(evaluations: int) -> Plan:
    """Return the default of the other adapters: linear extrapolation on a balanced schedule."""
    return make_plan(Newton(1), -LEVELS[:-1], schedules.balanced(LEVELS, evaluations), span=(-LEVELS[0], -LEVELS[-1]))


def ticks(count: int, width: int) -> Iterator[tuple[list[Job], list[Job]]]:
    """Yield the jobs that are in at each tick, and those that have just come, until all ``count`` are done."""
    jobs: list[Job] = []
    begun = 0
    while jobs or begun < count:
        come = [Job(begun)] if begun < count and len(jobs) < width else []
        begun += len(come)
        jobs += come
        yield jobs, come
        jobs = [job for job in jobs if job.step < STEPS]


def by_hand(network: Network, count: int, width: int) -> None:
    """Serve by evaluating every step, in batches of all requests that are in."""
    for jobs, _ in ticks(count, width):
        x, levels, classes = zip(*(job.inputs for job in jobs), strict=True)
        velocities = network(torch.cat(x), torch.tensor(levels), torch.cat(classes))
        for k, job in enumerate(jobs):
            job.advance(velocities[k : k + 1])


def served(network: Network, count: int, width: int, evaluations: int, *, waits: bool = False) -> PoolReport:
    """Serve by a pool, and return its report; requests to be evaluated wait for each other or do not."""
    pool, plan, requests = Pool(network), planned(evaluations), {}
    for jobs, come in ticks(count, width):
        requests |= {job: pool.join(plan, job.x, limit=LIMIT) for job in come}
        forecast = [job for job in jobs if not requests[job].evaluates]
        called = forecast if waits and forecast else jobs
        outputs = pool.call({requests[job]: job.inputs for job in called})
        for job in called:
            job.advance(outputs[requests[job]])
    return pool.report


@torch.no_grad()
def measure(count: int, widths: tuple[int, ...], repeats: int) -> str:
    """Return the table; seconds of CPU are medians of ``repeats`` rounds through all forms, after one that warms up."""
    network = Network()
    kinds = [(0, False), (STEPS, False), (14, False), (14, True), (10, False), (10, True)]
    forms = [(width, *kind) for width in widths for kind in kinds]
    seconds: dict[tuple[int, int, bool], list[float]] = {form: [] for form in forms}
    told: dict[tuple[int, int, bool], PoolReport | None] = dict.fromkeys(forms)
    for turn in tqdm(range(repeats + 1), desc="serving", unit="round", disable=None):
        for form in forms:
            width, evaluations, waits = form
            begun = time.process_time()
            if evaluations:
                told[form] = served(network, count, width, evaluations, waits=waits)
            else:
                by_hand(network, count, width)
            if turn:
                seconds[form].append((time.process_time() - begun) / count)
    lines = [
        ["requests in", "evaluations", "CPU seconds a request", "speed-up", "items a call", "forecasting / µs a step"]
    ]
    for form, taken in seconds.items():
        (width, evaluations, waits), report, middle = form, told[form], statistics.median(taken)
        words = [f"{middle:.3f}", f"{statistics.median(seconds[width, 0, False]) / middle:.2f}×"]
        if report is None:
            lines.append([str(width), "all, by hand", *words, "–", "–"])
            continue
        items = f"{report.evaluated / report.calls:.1f}"
        spent = f"{1e6 * report.seconds / report.forecast:.0f}" if report.forecast else "–"
        lines.append([str(width), f"{evaluations}{', waiting' * waits}", *words, items, spent])
    return markdown(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=24)
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(measure(options.requests, tuple(options.widths), options.repeats))


if __name__ == "__main__":
    main()
