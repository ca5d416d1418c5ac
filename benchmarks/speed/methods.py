"""Which operations on kept features are timed? What describes one, and the table of our own."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import spectral_forecast as sf
from spectral_forecast import gram
from spectral_forecast.benchmarks.speed.state import Cell, State
from spectral_forecast.benchmarks.speed.timing import Task

__all__ = ["ALL", "OURS", "OWN", "Amount", "Method"]

OURS = "ring.sum"  # the contraction that the page's statements are about
_HALF = ("bfloat16",)


class Amount(NamedTuple):
    """Memory, in features: so many ``rows``, so many ``rings`` of K rows, and bytes for each element.

    >>> Amount(rows=1, rings=1).bytes(Cell(size=100, kept=3, dtype="bfloat16"))
    800
    """

    rows: int = 0
    rings: int = 0
    each: int = 0

    def bytes(self, cell: Cell) -> int:
        """Bytes in a cell."""
        return cell.size * ((self.rows + self.rings * cell.kept) * cell.itemsize + self.each)


NOTHING, WIDENED = Amount(), Amount(each=12)  # three rows in float32
ALL = Amount(rows=1, rings=1)  # every row is read, and one more is read or written


@dataclass(frozen=True)
class Method:
    """An operation of a method.

    Attributes
    ----------
    name : str
    what : str
        "forecast", "keep" (of an evaluation, with whatever is computed then) or "gram" (inner products).
    make : callable
        Maps a `State` to the task that is timed.
    moves : Amount
        What must be read or written at the least.
    holds, works : Amount
        What the method keeps beside the ring, and what it needs while it works.
    grows : bool
        Whether it depends on K; else it is timed with the largest only.
    ours : bool
    dtypes : tuple of str
        Those that it is timed in.
    patience : float
        Seconds that a call may take; where it would take longer, it is left out.
    """

    name: str
    what: str
    make: Callable[[State], Task] = field(repr=False)
    moves: Amount
    holds: Amount = NOTHING
    works: Amount = WIDENED
    grows: bool = True
    ours: bool = False
    dtypes: tuple[str, ...] = ("bfloat16", "float32")
    patience: float = 1.0

    @property
    def key(self) -> str:
        """What tells it from others."""
        return f"{self.what}: {self.name}"


def _products(state: State) -> Task:
    order = range(state.cell.kept)
    return Task(lambda: state.kept.products(order, state.new))


OWN = (
    Method(
        "ring.sum", "forecast", lambda state: Task(lambda: state.kept.sum(state.weights)), ALL, ours=True, patience=6.0
    ),
    Method(
        "combine, on any array library",
        "forecast",
        lambda state: Task(lambda: sf.combine(state.weights, list(state.ring))),
        ALL,
        ours=True,
        dtypes=_HALF,
    ),
    Method(
        "GuardedRun.forecast, the default",
        "forecast",
        lambda state: Task(state.default.forecast),
        Amount(3),
        holds=Amount(2),
        grows=False,
        ours=True,
    ),
    Method(
        "Run.keep", "keep", lambda state: Task(state.plain.keep), Amount(2), holds=Amount(2), grows=False, ours=True
    ),
    Method(
        "GuardedRun.keep, the default, with errors",
        "keep",
        lambda state: Task(state.default.keep),
        Amount(4),
        grows=False,
        ours=True,
    ),
    Method(
        "Run.keep, with the error of K weights",
        "keep",
        lambda state: Task(state.planned.keep),
        Amount(rows=2, rings=1),
        ours=True,
        patience=6.0,
    ),
    Method("ring.products", "gram", _products, ALL, ours=True, patience=6.0),
    Method(
        "gram.row, on any array library",
        "gram",
        lambda state: Task(lambda: gram.row(list(state.ring), state.new)),
        ALL,
        works=Amount(each=24),
        ours=True,
        dtypes=_HALF,
    ),
)
