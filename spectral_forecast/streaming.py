r"""Can features be forecast without keeping them all? A few accumulated rows hold what later forecasts will ask for.

Let :math:`A_j` be the weights that the first j features have in all forecasts after them, one forecast a row. Whatever
is forecast later needs of these features only their sums with a basis of the row space of :math:`A_j`, and there are
as many such sums as its rank: ``degree + 1`` for a ridge fit of any number of features, since its weights are
:math:`\Phi (\Phi^T \Phi + \lambda I)^{-1} \varphi`; two for a line. When a feature comes, the sums change linearly. The
bases are orthonormal, and so are the updates, which amplify no error.
"""

from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from spectral_forecast import _checks
from spectral_forecast._order import Ordered
from spectral_forecast._typing import Array
from spectral_forecast._widen import widened
from spectral_forecast.combine import combine
from spectral_forecast.plan import Plan, bytes_of
from spectral_forecast.ring import nbytes

__all__ = ["StreamedPlan", "StreamedRun", "streamed"]

ROUNDING = 1e-12
"""Singular values below, of the largest, are what float64 makes of zero."""


class StreamedPlan(NamedTuple):
    """A plan in which R accumulated rows take the place of K kept features. Made by `streamed`.

    Attributes
    ----------
    evaluate : ndarray of bool, shape (N,)
        Whether the network runs at this step.
    update : ndarray of float64, shape (N, R, R + 1)
        At an evaluated step ``rows = update[i, :, :R] @ rows + update[i, :, R] * feature``. The left part is upper
        triangular, so that rows can be written over one after another, the first first.
    weights : ndarray of float64, shape (N, R)
        The forecast of step i is ``weights[i] @ rows``; on an evaluated step, the one that the evaluation replaces.
    defect : float
        Largest sum over a step of what the absolute weights of features are off those of the plan it was made from.
        Times the largest feature it bounds the difference of forecasts.
    """

    evaluate: NDArray[np.bool_]
    update: NDArray[np.float64]
    weights: NDArray[np.float64]
    defect: float

    @property
    def steps(self) -> int:
        """Number of steps N."""
        return len(self.evaluate)

    @property
    def kept(self) -> int:
        """Number of accumulated rows R."""
        return int(self.weights.shape[1])

    def start(self) -> "StreamedRun":
        """Begin a run."""
        return StreamedRun(self)

    def memory(self, feature: Any) -> int:
        """Return the bytes that the rows will take, in at least float32; see `Plan.memory`."""
        return self.kept * bytes_of(feature, None, least=4)


class StreamedRun(Ordered):
    """The accumulated rows of one run of a `StreamedPlan`, and its forecasts; used as a `Run` is.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import make_plan, schedules, spectrum
    >>> from spectral_forecast.streaming import streamed
    >>> plan = make_plan(spectrum(), np.arange(50), schedules.growing(50), span=(0, 50))
    >>> run, other = plan.start(), streamed(plan).start()
    >>> for i in range(50):
    ...     if run.evaluates(i):
    ...         run.keep(i, np.array([np.sin(0.1 * i)]))
    ...         other.keep(i, np.array([np.sin(0.1 * i)]))
    >>> bool(np.allclose(run.forecast(49), other.forecast(49)))
    True
    >>> run.nbytes, other.nbytes
    (112, 40)
    """

    plan: StreamedPlan

    def __init__(self, plan: StreamedPlan) -> None:
        self.plan = plan
        self._rows: list[Any] = []
        self._like: Any = None

    def evaluates(self, step: int) -> bool:
        """Whether the network runs at ``step``."""
        return bool(self.plan.evaluate[self._check_order(step)])

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take."""
        return sum(nbytes(row) for row in self._rows)

    def keep(self, step: int, feature: Array) -> None:
        """Add the feature of an evaluated step to the rows; steps come in order, none left out.

        Raises
        ------
        ValueError
            If the plan does not evaluate this step or another comes first, or if the feature's shape or dtype is
            another than before.
        """
        self._check_keep(step)
        true = widened(feature)
        if self._like is None:
            self._rows = [array_namespace(true).zeros_like(true) for _ in range(self.plan.kept)]
        elif (feature.shape, feature.dtype) != self._like:
            raise ValueError(
                f"`feature` of step {step} is {feature.dtype} of shape {tuple(feature.shape)}, those before were "
                f"{self._like[1]} of shape {tuple(self._like[0])}; start a new run with `plan.start()`."
            )
        self._like = feature.shape, feature.dtype
        for row, factors in enumerate(self.plan.update[step]):
            self._rows[row] = combine(factors, [*self._rows, true])
        self._next = step + 1

    def forecast(self, step: int) -> Array:
        """Return the forecast of ``step`` from the features before it, in their dtype."""
        self._check_kept(step)
        total = combine(self.plan.weights[step], self._rows)
        return array_namespace(total).astype(total, self._like[1], copy=False)


def streamed(plan: Plan, *, rows: int | None = None) -> StreamedPlan:
    """Return the plan with as few accumulated rows as its forecasts need, or approximately with fewer.

    Parameters
    ----------
    plan : Plan
        Without a corrector.
    rows : int, optional
        Hold at most this many. By default as many as give the same forecasts: for `Chebyshev`, at most ``degree + 1``,
        and two more when it is blended with ``Newton(1)``.

    Returns
    -------
    StreamedPlan

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import make_plan, schedules, spectrum
    >>> plan = make_plan(spectrum(), np.arange(50), schedules.growing(50), span=(0, 50))
    >>> short = streamed(plan)
    >>> plan.kept, short.kept, short.defect < 1e-12
    (14, 5, True)
    """
    most = None if rows is None else _checks.integer("rows", rows, least=1)
    if plan.correction.any():
        raise ValueError("`plan` has a corrector, which asks for features themselves; make the plan without one.")
    evaluated = np.flatnonzero(plan.evaluate)
    table = _by_feature(plan, evaluated)
    made = np.zeros_like(table)
    sums = np.zeros((0, 0))  # what the rows are made of, one a row: orthonormal combinations of the features so far
    parts: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for count, (step, end) in enumerate(zip(evaluated, [*evaluated[1:], plan.steps - 1], strict=True), start=1):
        update = _update(table[step + 1 :, : count - 1] @ sums.T, table[step + 1 :, count - 1], most)
        sums = np.column_stack([update[:, :-1] @ sums, update[:, -1]])
        here = slice(step + 1, end + 1)
        parts.append((update, table[here, :count] @ sums.T))
        made[here, :count] = parts[-1][1] @ sums
    width = max(1, *(len(update) for update, _ in parts))
    updates, weights = np.zeros((plan.steps, width, width + 1)), np.zeros((plan.steps, width))
    for step, (update, used) in zip(evaluated, parts, strict=True):
        size, before = len(update), update.shape[1] - 1
        updates[step, :size, :before], updates[step, :size, width] = update[:, :-1], update[:, -1]
        weights[step + 1 : step + 1 + len(used), :size] = used
    defect = float(np.abs(made - table).sum(axis=1).max())
    for part in (updates, weights):
        part.flags.writeable = False
    return StreamedPlan(plan.evaluate, updates, weights, defect)


def _by_feature(plan: Plan, evaluated: NDArray[np.intp]) -> NDArray[np.float64]:
    """The plan's weights with a column for every feature, (N, E)."""
    table = np.zeros((plan.steps, len(evaluated)))
    for step in range(plan.steps):
        rows = plan.rows(step)
        table[step, np.searchsorted(evaluated, plan.nodes(step)[rows])] = plan.weights[step, rows]
    return table


def _update(rows: NDArray[np.float64], feature: NDArray[np.float64], most: int | None) -> NDArray[np.float64]:
    """Return the new rows as combinations of the old ones and a new feature, whose weights in later steps are given.

    They are orthonormal, and span what these weights do, or the ``most`` important directions of it. Turned among
    themselves so that the part of the old rows is upper triangular.
    """
    _, values, right = np.linalg.svd(np.column_stack([rows, feature]), full_matrices=False)
    rank = int(np.sum(values > ROUNDING * max(values, default=0.0)))
    basis = right[: rank if most is None else min(rank, most)]
    turned, left = np.linalg.qr(basis[:, :-1], mode="complete")
    return np.column_stack([np.triu(left), turned.T @ basis[:, -1]])
