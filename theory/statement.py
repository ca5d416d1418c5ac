"""What a checked statement is made of: its words, and the tally of the cases that tried to break it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["GROUP", "Advance", "Outcome", "Statement", "Tally", "batches"]

Advance: TypeAlias = Callable[[int], Any] | None
"""Told how many cases are done, for a progress bar."""

GROUP = 64
"""Cases that share their kept times and their rule, so that one matrix product checks them all."""

_SLACK = 1e-9


@dataclass(frozen=True)
class Statement:
    """A statement in words, in LaTeX, with its proof or source.

    Parameters
    ----------
    name, title : str
        A short name for tables, and a heading.
    words, latex, proof : str
        The statement, its formula, and a short proof or where to find one. Markdown.
    sharp : bool
        Whether some function attains the bound; then cases of equality are drawn and have to be found.
    wrong : str
        What the deliberately wrong variant gets wrong.
    """

    name: str
    title: str
    words: str
    latex: str
    proof: str
    sharp: bool
    wrong: str


@dataclass(frozen=True)
class Outcome:
    """What the cases said of one inequality.

    Attributes
    ----------
    name : str
        Of the inequality.
    cases, violations : int
        How many were drawn, and in how many the error was above the bound.
    worst : float
        Largest ratio of error to bound.
    tight : int
        Cases within 1 % of equality.
    median : float
        Median ratio: how loose the bound typically is.
    """

    name: str
    cases: int
    violations: int
    worst: float
    tight: int
    median: float


class Tally:
    """Collects errors and bounds, and counts.

    An error violates its bound when it is above it by more than a relative 1e-9 and the rounding that was declared.
    Ratios are taken where the bound is well above rounding, which is subtracted from the error.

    Examples
    --------
    >>> tally = Tally("an example")
    >>> tally.add([0.5, 1.0, 1.1], 1.0)
    >>> tally.outcome()
    Outcome(name='an example', cases=3, violations=1, worst=1.1, tight=1, median=1.0)
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._ratios: list[Any] = []
        self._cases = 0
        self._violations = 0

    def add(self, error: ArrayLike, bound: ArrayLike, *, rounding: ArrayLike = 0.0) -> None:
        """Count cases. A NaN on either side is a violation."""
        errors, limits, fuzz = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (error, bound, rounding)))
        self._cases += errors.size
        self._violations += int(np.sum(~(errors <= limits * (1.0 + _SLACK) + fuzz)))
        clear = (limits > 1e4 * fuzz) & (limits > 0.0) & np.isfinite(limits)
        self._ratios.append((np.maximum(errors[clear] - fuzz[clear], 0.0) / limits[clear]).ravel())

    def outcome(self) -> Outcome:
        """Return the counts so far."""
        ratios = np.concatenate([np.zeros(0), *self._ratios])
        worst, median = (float(f(ratios)) if ratios.size else 0.0 for f in (np.max, np.median))
        # An unlimited ratio above 1 is a violation, not a case of equality.
        tight = int(np.sum((ratios >= 0.99) & (ratios <= 1.0 + _SLACK)))
        return Outcome(self.name, self._cases, self._violations, worst, tight, median)


def batches(examples: int, advance: Advance, size: int = GROUP) -> Any:
    """Yield the sizes of groups that add up to ``examples``, telling ``advance`` after each.

    Examples
    --------
    >>> list(batches(100, None))
    [64, 36]
    """
    left = examples
    while left > 0:
        count = min(size, left)
        yield count
        left -= count
        if advance is not None:
            advance(count)
