"""How long does it take? Several tasks in turns, so that a slow moment of the machine meets all of them."""

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

__all__ = ["Task", "Times", "interleaved", "wait"]

SHORT = 2e-3  # seconds; what is shorter is repeated until it is not
MOST = 50  # times
WARM, FEW = 8, 20  # times at the most, until there are fewer new pages than this (large ones have 2 MB)


@dataclass(frozen=True)
class Task:
    """What is timed, and what is done before it each time and is not."""

    run: Callable[[], object]
    before: Callable[[], object] | None = None


@dataclass
class Times:
    """Seconds of one task, round by round, and of what was timed right before it.

    >>> Times([3.0, 1.0, 2.0]).median
    2.0
    >>> Times([3.0, 1.0, 2.0]).over(Times([1.0, 1.0, 1.0]))
    2.0
    """

    seconds: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.seconds)

    def over(self, other: "Times") -> float:
        """Median of the ratios to another task, each of one round; of the rounds that both have."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=False))


def wait(device: torch.device) -> None:
    """Wait until a device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    tasks: Mapping[str, Task],
    device: torch.device,
    *,
    seconds: float,
    between: Callable[[], object] | None = None,
    beside: Task | None = None,
    least: int = 3,
    most: int = 15,
) -> dict[str, Times]:
    """Time tasks in turns: a round runs each once, or a short one several times, and long ones drop out.

    Parameters
    ----------
    tasks : mapping of str to Task
    device : torch.device
        Where they run; an accelerator is waited for.
    seconds : float
        For the rounds of one task, with what comes before it; ``least`` are run anyway, and no more than ``most``.
        Before them each is run until the memory that it takes is no longer new.
    between : callable, optional
        Run before whatever is timed.
    beside : Task, optional
        Timed right before each task, for what the machine was like then.

    Returns
    -------
    dict of str to Times
        Seconds of one run of each.
    """
    repeats = {name: _repeats(task, device) for name, task in tasks.items()}
    times, left = {name: Times() for name in tasks}, dict.fromkeys(tasks, seconds)
    for count in range(most):
        for name, task in tasks.items():
            if count >= least and left[name] <= 0.0:
                continue
            begun = time.perf_counter()
            if beside is not None:
                times[name].beside.append(_once(beside, device, between=between))
            times[name].seconds.append(_once(task, device, repeats[name], between))
            left[name] -= time.perf_counter() - begun
    return times


def _once(task: Task, device: torch.device, repeats: int = 1, between: Callable[[], object] | None = None) -> float:
    for before in (between, task.before):
        if before is not None:
            before()
    wait(device)
    begun = time.perf_counter()
    for _ in range(repeats):
        task.run()
    wait(device)
    return (time.perf_counter() - begun) / repeats


def _repeats(task: Task, device: torch.device) -> int:
    """Warm up, and count how often a task is run for one number."""
    if _warmed(task, device) > 10.0 * SHORT or task.before is not None:
        return 1
    return max(1, min(MOST, round(SHORT / max(_once(task, device), 1e-9))))


def _warmed(task: Task, device: torch.device) -> float:
    """Run a task until the memory that it takes is no longer new; return the seconds of the last time."""
    for _ in range(WARM):
        before = _new_pages()
        seconds = _once(task, device)
        if _new_pages() - before < FEW:
            break
    return seconds


def _new_pages() -> int:
    """How many pages of memory the system has had to find for this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
