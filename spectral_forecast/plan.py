"""Everything decided before the first network call: which steps are evaluated, and every forecast's weights."""

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks, schedules
from spectral_forecast._typing import LinearForecaster, Times
from spectral_forecast.clock import map_clock
from spectral_forecast.corrector import Corrector
from spectral_forecast.forecasters.base import LinearRule

if TYPE_CHECKING:
    from spectral_forecast.ring import Ring
    from spectral_forecast.sampling import Run

__all__ = ["Plan", "bytes_of", "make_plan"]


class Plan(NamedTuple):  # noqa: PLW1641 arrays have no hash
    """Decisions of a run of N steps that keeps at most K features. Made by `make_plan`; read-only arrays.

    Attributes
    ----------
    evaluate : ndarray of bool, shape (N,)
        Whether the network runs at this step.
    slot : ndarray of int32, shape (N,)
        Ring row that takes this step's feature; K, a scratch row, on steps that are forecast.
    weights : ndarray of float64, shape (N, K)
        The forecast of step i is ``weights[i] @ ring[:K]``. On an evaluated step it is the forecast that the
        evaluation replaces, from the features kept before. Zero where nothing is kept yet.
    correction : ndarray of float64, shape (N, K)
        On arrival at an evaluated step, after its output is kept: ``x += correction[i] @ ring[:K]``. Zero without a
        corrector, and wherever no step was skipped before.
    """

    evaluate: NDArray[np.bool_]
    slot: NDArray[np.int32]
    weights: NDArray[np.float64]
    correction: NDArray[np.float64]

    @property
    def steps(self) -> int:
        """Number of steps N."""
        return len(self.evaluate)

    @property
    def evaluations(self) -> int:
        """How many steps run the network."""
        return int(np.sum(self.evaluate))

    @property
    def kept(self) -> int:
        """Rows of the ring, K: how many features are held at a time."""
        return int(self.weights.shape[1])

    def start(
        self,
        *,
        limit: float | None = None,
        blind: bool = False,
        check_finite: bool = True,
        ring: "Ring | None" = None,
        measure: bool = False,
    ) -> "Run":
        """Begin a run: a `sampling.Run`, or with a ``limit`` of expected errors a `guarded.GuardedRun`.

        ``blind`` is for the latter.
        """
        from spectral_forecast.guarded import GuardedRun
        from spectral_forecast.sampling import Run

        if limit is not None:
            return GuardedRun(self, limit=limit, blind=blind, check_finite=check_finite, ring=ring)
        return Run(self, check_finite=check_finite, ring=ring, measure=measure)

    def memory(self, feature: Any, *, dtype: Any = None, scratch: bool = False) -> int:
        """Return the bytes that the kept features will take, before the run.

        Parameters
        ----------
        feature : array, shape-and-dtype structure, or list, tuple or dict of them
            One feature, or its description: `jax.ShapeDtypeStruct`, a tensor on PyTorch's "meta" device. Only
            ``shape`` and ``dtype`` are looked at.
        dtype : dtype, optional
            Of the kept features, where it is not their own.
        scratch : bool
            Count the row K, too, which the ring of the JAX adapter has.

        Returns
        -------
        int

        Examples
        --------
        >>> import numpy as np
        >>> from spectral_forecast import Newton, make_plan, schedules
        >>> plan = make_plan(Newton(1), np.arange(50), schedules.growing(50), keep=2)
        >>> plan.memory(np.zeros((4096, 3072), dtype=np.float16))
        50331648
        """
        return (self.kept + scratch) * bytes_of(feature, dtype)

    def nodes(self, step: int) -> NDArray[np.intp]:
        """Return the steps whose features the forecast of ``step`` may use, in order of their ring rows.

        A row that nothing has filled yet is -1.
        """
        filled = np.full(self.kept, -1)
        for before in np.flatnonzero(self.evaluate[:step]):
            filled[self.slot[before]] = before
        return filled

    def rows(self, step: int) -> NDArray[np.intp]:
        """Return the ring rows that are filled before ``step``, that of the oldest feature first.

        Examples
        --------
        >>> import numpy as np
        >>> from spectral_forecast import Newton, make_plan, schedules
        >>> plan = make_plan(Newton(1), np.arange(6), schedules.mask(6, [0, 1, 3, 4]), keep=3)
        >>> plan.rows(2), plan.rows(5)
        (array([0, 1]), array([1, 2, 0]))
        """
        nodes = self.nodes(step)
        return np.argsort(nodes)[np.count_nonzero(nodes < 0) :]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return all(map(np.array_equal, self, other))

    def __ne__(self, other: object) -> bool:
        return not self == other  # a tuple's own `!=` would ask the arrays

    def __repr__(self) -> str:
        return f"<Plan: {self.evaluations} of {self.steps} steps evaluated, {self.kept} features kept>"

    def __str__(self) -> str:
        """Return the plan as a table."""
        lines = [
            repr(self)[1:-1],
            f"evaluated: {schedules.steps(self.evaluate)}",
            "",
            " step         sum   sum|w|  weights",
        ]
        for step in range(self.steps):
            if self.evaluate[step]:
                lines.append(f"{step:5d}  evaluate, keep in row {self.slot[step]}")
                continue
            w, nodes = self.weights[step], self.nodes(step)
            used = sorted((nodes[row], w[row]) for row in np.flatnonzero(w))
            words = "  ".join(f"{weight:+.3g}*h{node}" for node, weight in used)
            lines.append(f"{step:5d}  {w.sum():+10.4f} {np.abs(w).sum():8.3f}  {words}")
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return the plan as JSON text; `from_json` gives it back exactly."""
        return json.dumps({name: part.tolist() for name, part in self._asdict().items()})

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Return the plan that `to_json` wrote."""
        data: dict[str, Any] = json.loads(text)
        if set(data) != set(cls._fields):
            raise ValueError(f"`text` holds {sorted(data)}; write what `Plan.to_json` returned: {sorted(cls._fields)}.")
        evaluate = _checks.mask("evaluate", data["evaluate"], len(data["evaluate"]))
        slot = np.asarray(data["slot"], dtype=np.int32)
        weights, correction = (np.asarray(data[name], dtype=np.float64) for name in ("weights", "correction"))
        if weights.ndim != 2 or not len(evaluate) == len(slot) == len(weights) or correction.shape != weights.shape:
            raise ValueError(
                f"`text` holds parts of shapes {evaluate.shape}, {slot.shape}, {weights.shape} and "
                f"{correction.shape}; write (N,), (N,), (N, K) and (N, K)."
            )
        return cls(*map(_read_only, (evaluate, slot, weights, correction)))


def make_plan(
    forecaster: LinearForecaster,
    times: Times,
    evaluate: ArrayLike,
    *,
    span: tuple[float, float] | None = None,
    keep: int | None = None,
    sigmas: ArrayLike | None = None,
    corrector: Corrector | None = None,
) -> Plan:
    """Tabulate a run: for each step, the weights of the kept features in its forecast.

    Parameters
    ----------
    forecaster : LinearForecaster
        The rule; anything with a method ``weights(times, t)``. A rule that counts sampling steps and was given no
        ``step`` takes it from ``times``, if those are equally spaced.
    times : array_like, shape (N,)
        The run's clock, strictly increasing: step numbers, or minus the noise levels.
    evaluate : array_like of bool, shape (N,)
        Which steps run the network, as a schedule returns it. The first must.
    span : tuple of float, optional
        Start and end of the clock that is mapped onto [-1, 1]; it must contain ``times``. By default the first
        and the last time. The paper's clock is ``times=arange(T), span=(0, T)``.
    keep : int, optional
        Hold at most this many features, the newest. By default as many as the weights reach back: two for a line, all
        of them for a fit. Plans that are to be of one size, such as those that share an executable in JAX, are made
        with one ``keep``.
    sigmas : array_like, shape (N + 1,) or (N,), optional
        The sampler's noise levels, for the corrector: step i adds ``(sigmas[i + 1] - sigmas[i]) * output`` to the
        sample. The last one, where the run ends, may be left out.
    corrector : Corrector, optional
        Fills ``Plan.correction``. Features must be the network's outputs.

    Returns
    -------
    Plan

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import Newton, make_plan, schedules, spectrum
    >>> plan = make_plan(spectrum(), np.arange(50), schedules.growing(50), span=(0, 50))
    >>> plan
    <Plan: 14 of 50 steps evaluated, 14 features kept>
    >>> make_plan(Newton(1), np.arange(50), schedules.growing(50))
    <Plan: 14 of 50 steps evaluated, 2 features kept>
    """
    clock = _checks.increasing("times", times)
    run = _checks.mask("evaluate", evaluate, clock.size)
    evaluations = int(run.sum())
    rows = min(_checks.integer("keep", keep, least=1), evaluations) if keep is not None else evaluations
    tau = map_clock(clock, span)
    if isinstance(forecaster, LinearRule) and clock.size > 1:
        scale = (tau[-1] - tau[0]) / (clock[-1] - clock[0])
        forecaster = forecaster.with_step(_step(tau), scale=scale)
    slot = np.full(clock.size, rows, dtype=np.int32)
    weights = np.zeros((clock.size, rows))
    held: list[int] = []
    for step in range(clock.size):
        newest = held[-rows:]
        if newest:
            weights[step, slot[newest]] = forecaster.weights(tau[newest], float(tau[step]))
        if run[step]:
            slot[step] = len(held) % rows
            held.append(step)
    if not np.isfinite(weights).all():
        step = int(np.argmin(np.isfinite(weights).all(axis=1)))
        raise _checks.FitError(f"`forecaster` {forecaster!r} gave weights that are not finite at step {step}.")
    correction = np.zeros_like(weights)
    if corrector is not None:
        correction = corrector.table(tau, run, slot, weights, _levels(sigmas, clock.size))
    if keep is None:
        slot, weights, correction = _packed(run, weights, correction)
    return Plan(*map(_read_only, (run.copy(), slot, weights, correction)))


def _packed(
    evaluate: NDArray[np.bool_], weights: NDArray[np.float64], correction: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """Return the parts of a plan whose ring holds every feature, column k the k-th, for a ring as small as will do."""
    before: NDArray[np.int_] = np.cumsum(evaluate) - evaluate  # features kept when a step begins
    # Whoever guards a correction needs the forecast that was replaced, when the new feature is in the ring already.
    seen = before + correction.any(axis=1)
    steps, used = np.nonzero(weights)
    corrected, interpolated = np.nonzero(correction)
    ages = np.concatenate([seen[steps] - used, before[corrected] + 1 - interpolated, [1]])
    rows = int(ages.max())

    def pack(table: NDArray[np.float64]) -> NDArray[np.float64]:
        packed = np.zeros((len(table), rows))
        step, column = np.nonzero(table)
        packed[step, column % rows] = table[step, column]
        return packed

    slot = np.where(evaluate, before % rows, rows).astype(np.int32)
    return slot, pack(weights), pack(correction)


def _levels(sigmas: Any, steps: int) -> NDArray[np.float64]:
    """The noise levels of a run; where it ends nothing is corrected, so that this level may be missing."""
    levels = np.asarray(sigmas, dtype=np.float64)  # None becomes a NaN
    if levels.shape not in ((steps,), (steps + 1,)) or not np.isfinite(levels).all():
        raise ValueError(
            f"`sigmas` has shape {levels.shape}; a corrector needs the sampler's {steps} finite noise levels; the one "
            "where it ends may follow."
        )
    return levels


def _step(tau: NDArray[np.float64]) -> float | None:
    """The length of one step, where all are equal to six digits."""
    gaps, mean = np.diff(tau), float(tau[-1] - tau[0]) / (tau.size - 1)
    return mean if np.abs(gaps - mean).max() <= 1e-6 * mean else None


def bytes_of(feature: Any, dtype: Any, *, least: int = 1) -> int:
    """Return the bytes of a feature, or of what describes it, with ``least`` bytes a number."""
    if isinstance(feature, dict):
        feature = list(feature.values())
    if isinstance(feature, list | tuple):
        return sum(bytes_of(part, dtype, least=least) for part in feature)
    if not (hasattr(feature, "shape") and hasattr(feature, "dtype")):
        raise TypeError(
            f"`feature` is {type(feature).__name__}, without `shape` and `dtype`; write an array, "
            "`jax.eval_shape(model, *args)` or a list, tuple or dict of them."
        )
    kind = feature.dtype if dtype is None else dtype
    try:
        size = int(np.dtype(kind).itemsize)
    except TypeError:  # another library's dtype
        size = int(kind.itemsize)
    return int(math.prod(feature.shape)) * max(size, least)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
