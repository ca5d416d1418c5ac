"""Which steps run the network, by their numbers? Boolean masks over the steps of a run, from a few numbers."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import _checks

__all__ = ["Mask", "budget", "counted", "even", "every", "growing", "limits", "mask", "steps"]

Mask = NDArray[np.bool_]


def every(n: int, interval: int, *, warmup: int = 1, tail: int = 0, max_skip: int | None = None) -> Mask:
    """Evaluate every ``interval``-th step after the warm-up (FORA, ToCa, TaylorSeer).

    Parameters
    ----------
    n : int
        Number of steps of the run, 1 or more.
    interval : int
        Distance between evaluations, 1 or more.
    warmup, tail, max_skip
        As for every schedule of this module.

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    >>> steps(every(20, 6, warmup=3))
    '0-2,8,14'
    """
    return growing(n, _checks.integer("interval", interval, least=1), 0.0, warmup=warmup, tail=tail, max_skip=max_skip)


def growing(
    n: int,
    window: float = 2,
    growth: float = 0.75,
    warmup: int = 5,
    *,
    tail: int = 0,
    max_skip: int | None = None,
) -> Mask:
    """Evaluate at distances that grow by ``growth`` from one evaluation to the next (Spectrum, Appendix B.1).

    After the warm-up a step is evaluated when the number of steps since the last evaluation is a multiple of the
    window, rounded down; each such evaluation makes the window wider by ``growth``.

    Parameters
    ----------
    n : int
        Number of steps of the run, 1 or more.
    window : float
        First distance between evaluations, 1 or more.
    growth : float
        What each evaluation adds to it, 0 or more. 0 is a fixed interval.
    warmup, tail, max_skip
        As for every schedule of this module.

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    The paper's two settings, 14 and 10 evaluations:

    >>> steps(growing(50, 2, 0.75, warmup=5))
    '0-4,6,8,11,15,20,25,31,38,46'
    >>> steps(growing(50, 2, 3.0, warmup=5))
    '0-4,6,11,19,30,44'
    """
    length, warmup, tail, limit = limits(n, warmup, tail, max_skip)
    width = _checks.finite("window", window)
    if width < 1.0:
        raise ValueError(f"`window` is {width}; write 1 (every step is evaluated) or more.")
    growth = _checks.nonnegative("growth", growth)
    evaluate = np.zeros(length, dtype=bool)
    skipped = 0
    for step in range(length):
        if step < warmup or step >= length - tail:
            evaluate[step] = True
        elif (skipped + 1) % math.floor(width) == 0 or skipped == limit:
            evaluate[step] = True
            width = round(width + growth, 3)
        skipped = 0 if evaluate[step] else skipped + 1
    return evaluate


def mask(
    n: int,
    evaluated: Iterable[int] | Mask,
    *,
    warmup: int = 1,
    tail: int = 0,
    max_skip: int | None = None,
) -> Mask:
    """Evaluate the given steps, and those that the limits ask for.

    Parameters
    ----------
    n : int
        Number of steps of the run, 1 or more.
    evaluated : iterable of int, or array of bool, shape (n,)
        Step numbers from 0 to ``n - 1``, in any order, or one boolean a step.
    warmup, tail, max_skip
        As for every schedule of this module.

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    >>> steps(mask(20, [0, 5], tail=1, max_skip=6))
    '0,5,12,19'
    """
    length, warmup, tail, limit = limits(n, warmup, tail, max_skip)
    chosen = np.asarray(evaluated if isinstance(evaluated, np.ndarray) else list(evaluated))
    if chosen.dtype == np.bool_:
        evaluate = _checks.mask("evaluated", chosen, length).copy()
    else:
        evaluate = np.zeros(length, dtype=bool)
        for step in chosen.tolist():
            number = _checks.integer("evaluated", step, least=0)
            if number >= length:
                raise ValueError(f"`evaluated` names step {number} of a run of {length}; write 0 to {length - 1}.")
            evaluate[number] = True
        _checks.mask("evaluated", evaluate, length)
    evaluate[:warmup] = True
    evaluate[length - tail :] = True
    skipped = 0
    for step in range(length):
        evaluate[step] |= skipped == limit
        skipped = 0 if evaluate[step] else skipped + 1
    return evaluate


def budget(n: int, evaluations: int, *, window: float = 2, warmup: int = 5) -> Mask:
    """Return the growing schedule with a given number of evaluations.

    Of the growths that give the number, in steps of 0.25 and else of 0.01, the largest is taken: its last
    evaluation is the latest. Where no growth gives it, the schedule with the most evaluations below it is filled
    up, each time in the middle of the widest gap.

    Parameters
    ----------
    n : int
        Number of steps of the run, 1 or more.
    evaluations : int
        How many of them to evaluate, 1 to ``n``.
    window, warmup
        As in `growing`; the warm-up is at most half of the evaluations.

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    >>> steps(budget(50, 14)) == steps(growing(50, 2, 0.75, warmup=5))
    True
    >>> steps(budget(28, 9))
    '0-3,5,8,13,19,27'
    """
    length, count = counted(n, evaluations)
    warmup = max(1, min(warmup, count // 2))
    best = mask(length, [0])
    for step in (0.25, 0.01):
        for growth in np.arange(0.0, length, step):
            candidate = growing(length, window, round(float(growth), 3), warmup)
            if best.sum() <= candidate.sum() <= count:
                best = candidate
            elif candidate.sum() < count:
                break
        if best.sum() == count:
            return best
    while best.sum() < count:
        bounds = np.append(np.flatnonzero(best), length)
        widest = int(np.argmax(np.diff(bounds)))
        best[(bounds[widest] + bounds[widest + 1]) // 2] = True
    return best


def even(n: int, evaluations: int, *, warmup: int = 2, tail: int = 2) -> Mask:
    """Evaluate the first and the last steps, and spread the other evaluations evenly between them.

    Parameters
    ----------
    n : int
        Number of steps of the run, 1 or more.
    evaluations : int
        How many of them to evaluate, 1 to ``n``.
    warmup, tail : int
        First and last steps evaluated, 1 or more and 0 or more; where there are fewer evaluations, the first ones
        come first.

    Returns
    -------
    ndarray of bool, shape (n,)

    Notes
    -----
    The published schedules make the longest forecasts at the end, where a sampler's steps are the longest and nothing
    later makes up for an error. On the digits model, the last two steps are worth more than any others
    (docs/schedulers.md).

    Examples
    --------
    >>> steps(even(50, 14))
    '0,1,5,10,14,18,22,27,31,35,39,44,48,49'
    """
    length, count = counted(n, evaluations)
    warmup = min(_checks.integer("warmup", warmup, least=1), count)
    tail = min(_checks.integer("tail", tail, least=0), count - warmup)
    evaluate = np.zeros(length, dtype=bool)
    evaluate[:warmup] = True
    evaluate[length - tail :] = True
    between = np.linspace(warmup - 1, length - tail, count - warmup - tail + 2)[1:-1]
    # Neighbours are a step apart or more; rounding halves up keeps them so, rounding to even would not.
    evaluate[np.floor(between + 0.5).astype(int)] = True
    return evaluate


def steps(evaluate: Mask) -> str:
    """Return the evaluated steps in words, runs of three or more shortened.

    Examples
    --------
    >>> steps(mask(9, [0, 1, 2, 4, 5, 8]))
    '0-2,4,5,8'
    """
    words: list[str] = []
    for run in np.split(numbers := np.flatnonzero(evaluate), np.flatnonzero(np.diff(numbers) > 1) + 1):
        words += [f"{run[0]}-{run[-1]}"] if run.size > 2 else [str(step) for step in run]
    return ",".join(words)


def counted(n: int, evaluations: int) -> tuple[int, int]:
    """Check and return the steps of a run and a number of evaluations."""
    length = _checks.integer("n", n, least=1)
    count = _checks.integer("evaluations", evaluations, least=1)
    if count > length:
        raise ValueError(f"`evaluations` is {count} of a run of {length} steps; write {length} or fewer.")
    return length, count


def limits(n: int, warmup: int, tail: int, max_skip: int | None) -> tuple[int, int, int, int]:
    """Check and return the arguments that all schedules share; no limit on skips is one that is never reached."""
    length = _checks.integer("n", n, least=1)
    return (
        length,
        _checks.integer("warmup", warmup, least=1),
        min(_checks.integer("tail", tail, least=0), length),
        length if max_skip is None else _checks.integer("max_skip", max_skip, least=0),
    )
