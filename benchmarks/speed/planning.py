"""How long does the host take to plan? Plans, weights, schedules and Gram weights, and LAPACK's solves."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

import spectral_forecast as sf
from spectral_forecast import gram, schedules
from spectral_forecast.benchmarks.speed.timing import Task, interleaved
from spectral_forecast.ridge import ridge_weights

__all__ = ["STEPS", "measure"]

STEPS = (20, 50, 100, 200)
KEPT = 14
RULES = (sf.Newton(1), sf.TaylorSeer(2), sf.spectrum(), sf.spectrum(0.5, mode="free"), sf.AnalyticKernel())
GRAM_RULES = (sf.Shanks(), sf.DMD(), sf.Shrink(sf.spectrum(), sf.Newton(1)))


def measure(*, seconds: float, steps: Sequence[int] = STEPS) -> list[dict[str, Any]]:
    """Return a row for each operation on the host: ``what``, ``steps`` N, ``kept`` K and ``seconds``."""
    tasks = _tasks(steps)
    times = interleaved({str(key): Task(run) for key, run in tasks.items()}, torch.device("cpu"), seconds=seconds)
    columns = ("what", "steps", "kept", "seconds")
    return [dict(zip(columns, (*key, _round(times[str(key)].median)), strict=True)) for key in tasks]


def _tasks(lengths: Sequence[int]) -> dict[tuple[str, int, int], Callable[[], Any]]:
    tasks: dict[tuple[str, int, int], Callable[[], Any]] = {}
    for steps in lengths:
        levels = np.linspace(1.0, 0.0, steps + 1)
        mask = schedules.even(steps, round(0.28 * steps))
        kept = int(mask.sum())
        for rule in (sf.Newton(1), sf.spectrum()):
            tasks[f"make_plan, {rule!r}", steps, kept] = _plan(rule, steps, mask)
        tasks["schedules.balanced", steps, kept] = _balanced(levels, kept)
    times, t = -1.0 + 0.07 * np.arange(KEPT), 0.04
    for kept in (2, 6, KEPT):
        for rule in RULES:
            tasks[f"{rule!r}.weights", 0, kept] = _weights(rule.with_step(0.04), times[-kept:], t)
    matrix = _gram(KEPT)
    for rule in GRAM_RULES:
        tasks[f"{rule!r}.weights from inner products", 0, KEPT] = _gram_weights(rule, times, t, matrix)
    tasks["gram.append", 0, KEPT] = lambda: gram.append(matrix[:-1, :-1], matrix[-1])
    tasks |= _solves(times, t)
    return tasks


def _solves(times: NDArray[np.float64], t: float) -> dict[tuple[str, int, int], Callable[[], Any]]:
    """The ridge weights of degree 4 once more: our solve, and LAPACK's own two ways."""
    design = chebyshev.chebvander(times, 4)
    target = chebyshev.chebvander([t], 4)[0]
    stacked = np.vstack([design, np.sqrt(0.1) * np.eye(5)])
    right = np.vstack([np.eye(KEPT), np.zeros((5, KEPT))])

    def normal() -> NDArray[np.float64]:
        factor = scipy.linalg.cho_factor(design.T @ design + 0.1 * np.eye(5))
        return np.asarray(design @ scipy.linalg.cho_solve(factor, target))

    return {
        ("solve of the ridge: ours, QR", 0, KEPT): lambda: ridge_weights(design, target, ridge=0.1),
        ("solve of the ridge: LAPACK, gelsd", 0, KEPT): lambda: target @ scipy.linalg.lstsq(stacked, right)[0],
        ("solve of the ridge: LAPACK, Cholesky of normal equations", 0, KEPT): normal,
    }


def _plan(rule: Any, steps: int, mask: schedules.Mask) -> Callable[[], Any]:
    return lambda: sf.make_plan(rule, np.arange(steps), mask, span=(0, steps))


def _balanced(levels: NDArray[np.float64], budget: int) -> Callable[[], Any]:
    return lambda: schedules.balanced(levels, budget)


def _weights(rule: Any, times: NDArray[np.float64], t: float) -> Callable[[], Any]:
    return lambda: rule.weights(times, t)


def _gram_weights(rule: Any, times: NDArray[np.float64], t: float, matrix: Any) -> Callable[[], Any]:
    return lambda: rule.weights(times, t, matrix)


def _gram(count: int) -> NDArray[np.float64]:
    """The Gram matrix of a smooth curve."""
    features = [np.cos(np.linspace(0.0, 3.0, 64) * (1.0 + 0.1 * k)) for k in range(count)]
    matrix = np.zeros((0, 0))
    for k, feature in enumerate(features):
        matrix = gram.append(matrix, gram.row(features[:k], feature))
    return matrix


def _round(value: float) -> float:
    return float(f"{value:.4g}")
