"""How do I forecast inside my own sampler? The loop's other half (arXiv 2603.01623, Algorithm 1).

Ten lines around any loop, with arrays of any library::

    run = plan.start()
    for i, t in enumerate(timesteps):
        if run.evaluates(i):
            feature = network(x, t)
            run.keep(i, feature)
            x = run.correct(i, x)  # for a plan with a corrector
        else:
            feature = run.forecast(i)
        x = step(x, feature, t)
"""

import math

import numpy as np
from array_api_compat import array_namespace

from spectral_forecast._order import Ordered
from spectral_forecast._typing import Array, Weights
from spectral_forecast.corrector import guard
from spectral_forecast.plan import Plan
from spectral_forecast.ring import Misses, Ring

__all__ = ["Run"]


class Run(Ordered):
    """The features of one run of a `Plan`, and its forecasts. Made by `Plan.start`.

    One run serves one stream of features: with two guidance branches, start two.

    Parameters
    ----------
    plan : Plan
    check_finite : bool
        Whether a kept feature with a NaN or an infinity is an error. The check reads the feature once and, on an
        accelerator, waits for it.
    ring : Ring, optional
        Holds the features; by default a portable one. It has the plan's number of rows.
    measure : bool
        Whether to measure the error of every forecast that an evaluation replaces, in one pass over the features that
        it is made of. Where the plan corrects it is measured in any case.

    Attributes
    ----------
    misses : Misses or None
        Of the newest evaluation, where it was measured.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import Newton, make_plan, schedules
    >>> plan = make_plan(Newton(1), np.arange(6), schedules.mask(6, [0, 1, 3]))
    >>> run = plan.start()
    >>> for i in range(6):
    ...     if run.evaluates(i):
    ...         run.keep(i, np.array([2.0 * i]))
    ...     else:
    ...         print(i, run.forecast(i))
    2 [4.]
    4 [8.]
    5 [10.]
    """

    plan: Plan

    def __init__(
        self, plan: Plan, *, check_finite: bool = True, ring: Ring | None = None, measure: bool = False
    ) -> None:
        if not isinstance(plan, Plan):
            raise TypeError(f"`plan` is {type(plan).__name__}; write what `make_plan` returned.")
        self.plan = plan
        self.check_finite = check_finite
        self.measure = measure
        self.misses: Misses | None = None
        self._ring = Ring(plan.kept) if ring is None else ring
        if self._ring.kept != plan.kept:
            raise ValueError(f"`ring` has {self._ring.kept} rows, `plan` keeps {plan.kept}; write one of that size.")

    def evaluates(self, step: int) -> bool:
        """Whether the network runs at ``step``."""
        return bool(self.plan.evaluate[self._check_step(step)])

    def ready(self, step: int) -> bool:
        """Whether ``step`` can come next: all evaluated steps before it are kept, and none after it."""
        return self._next <= self._check_step(step) and not self.plan.evaluate[self._next : step].any()

    def fits(self, feature: Array) -> bool:
        """Whether a feature has the shape, dtype and device of those kept before."""
        return not self._ring.changes(feature)

    @property
    def nbytes(self) -> int:
        """Bytes that the kept features take."""
        return self._ring.nbytes

    def keep(self, step: int, feature: Array) -> None:
        """Keep a copy of the feature of an evaluated step; steps come in order, none left out.

        Raises
        ------
        ValueError
            If the plan does not evaluate this step or another comes first, or if the feature's shape, dtype or
            device differs from those kept before, or if it is not finite.
        """
        self._check_keep(step)
        if changes := self._ring.changes(feature):
            name, (old, new) = next(iter(changes.items()))
            raise ValueError(
                f"`feature` of step {step} has {name} {new}, those kept before have {old}; "
                "start a new run with `plan.start()` when the features change."
            )
        xp = array_namespace(feature) if self.check_finite else None
        if xp is not None and not bool(xp.all(xp.isfinite(feature))):
            raise ValueError(
                f"`feature` of step {step} holds a NaN or an infinity; evaluate again, or "
                "`plan.start(check_finite=False)` to let it through."
            )
        self._observe(step, feature)
        self._ring.put(int(self.plan.slot[step]), feature)
        self._next = step + 1

    def forecast(self, step: int) -> Array:
        """Return the forecast of ``step`` from the features kept before it.

        On an evaluated step that is not kept yet this is the forecast that the evaluation replaces.

        Raises
        ------
        ValueError
            If the feature of an evaluated step before this one is missing, or a later one is kept already.
        """
        self._check_kept(step)
        weights, part = self._weights(step), self._part(step)
        made = self._ring.sum(weights) if part is None else self._ring.drawn(weights, part)
        if self._ring.eager and self._follows(step + 1):
            self._ring.ahead(self._weights(step + 1), self._part(step + 1))
        return made

    def correct(self, step: int, x: Array, *, limit: float | None = 0.2) -> Array:
        """Return the sample, moved by the plan's correction: on arrival at ``step``, after `keep`, before the update.

        Parameters
        ----------
        step : int
            The step that was kept last.
        x : array
            The sample, of the features' shape. It is not changed.
        limit : float, optional
            The relative error of the forecast that this evaluation replaced, at which half of the correction is made;
            see `spectral_forecast.corrector.guard`. None makes all of it. With a limit the run waits for the error.

        Returns
        -------
        array
            Of the sample's dtype; ``x`` itself where the plan corrects nothing.
        """
        w: Weights = self.plan.correction[self._check_step(step)]
        if step != self._next - 1:
            raise ValueError(f"`step` is {step}, but step {self._next - 1} was kept last; `keep` it, then correct.")
        if not w.any():
            return x
        if limit is not None:
            w = w * guard(self.error, limit)
        if "shape" in (changes := self._ring.changes(x)):
            raise ValueError(
                f"`x` has shape {tuple(x.shape)}, the kept features have {changes['shape'][0]}; only outputs "
                "can correct a sample."
            )
        return self._ring.moved(x, w)

    @property
    def error(self) -> float:
        """Relative error of the forecast that the newest evaluation replaced, where it was measured; else 0."""
        if self.misses is None:
            return 0.0
        missed, size = (float(array_namespace(part).sum(part)) for part in (self.misses.missed, self.misses.size))
        return math.sqrt(missed / size) if size > 0.0 else math.inf if missed > 0.0 else 0.0

    def _observe(self, step: int, feature: Array) -> None:
        """Look at a feature before it is kept, which may take the place of one that was used to forecast it."""
        measured = self._next > 0 and (self.measure or bool(self.plan.correction[step].any()))
        self.misses = self._ring.misses(self._weights(step), feature) if measured else None

    def _follows(self, step: int) -> bool:
        """Whether ``step`` is there, and forecast from what is kept now."""
        return step < self.plan.steps and self.ready(step) and not self.plan.evaluate[step]

    def _part(self, step: int) -> Array | None:
        """What is taken of a forecast's difference to the newest feature; None for all of it."""
        return None

    def _weights(self, step: int) -> Weights:
        """The weights of the ring's rows, shape (K,)."""
        return np.asarray(self.plan.weights[step])
