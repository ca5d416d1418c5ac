"""How far can a forecast be trusted? As far as the run's own evaluations bear it out."""

from typing import Any

from array_api_compat import array_namespace

from spectral_forecast import _checks
from spectral_forecast._typing import Array
from spectral_forecast._widen import widened
from spectral_forecast.corrector import guard
from spectral_forecast.plan import Plan
from spectral_forecast.ring import Misses, Ring, squares
from spectral_forecast.sampling import Run

__all__ = ["LIMIT", "WORST", "GuardedRun", "expected", "norms"]

LIMIT = 0.4
"""Of the default rule's guard: chosen on small models, docs/quality.md."""

WORST = 1e6
"""Times the limit: errors above are as good as this one, whose square is finite in every dtype that is computed in."""


class GuardedRun(Run):
    r"""A run whose forecasts are drawn back to the newest feature where the run shows that they err.

    A forecast :math:`\hat h` becomes :math:`h_K + \varphi (\hat h - h_K)`, with :math:`\varphi` the `guard` of the
    relative error to be expected: that of the newest evaluation's forecast, or of the feature before it if that was
    closer, times the distance in steps over the last gap's. In smooth runs the forecasts are all but the plan's; where
    features turn quickly (strong guidance, long gaps) an extrapolation overshoots, and repeating the newest feature is
    what fewer steps of the sampler would do. Made by ``Plan.start(limit=...)``.

    Parameters
    ----------
    plan : Plan
    limit : float
        The expected relative error at which half of what a forecast adds to the newest feature is kept, above 0.
    check_finite, ring
        As for `Run`; errors are measured at every evaluation.

    Attributes
    ----------
    doubt : array or None
        Expected relative error one step ahead, of a shape that broadcasts against the features; it may be set, by
        whoever knows better what the features are used for.

    Notes
    -----
    Items of a batch, the first axis of features with two axes or more, are judged one by one: what happens to one does
    not depend on the others. Nothing is waited for, and the network is not called.

    Examples
    --------
    A line is extrapolated as it is, a zigzag hardly at all:

    >>> import numpy as np
    >>> from spectral_forecast import Newton, make_plan, schedules
    >>> plan = make_plan(Newton(1), np.arange(4), schedules.mask(4, [0, 1, 2]))
    >>> run = plan.start(limit=0.6)
    >>> for i in range(3):
    ...     run.keep(i, np.array([[1.0 + i, 2.0], [(-1.0) ** i, 2.0]]))
    >>> run.forecast(3).round(2)
    array([[4.  , 2.  ],
           [1.62, 2.  ]])
    """

    def __init__(
        self, plan: Plan, *, limit: float = LIMIT, check_finite: bool = True, ring: Ring | None = None
    ) -> None:
        super().__init__(plan, check_finite=check_finite, ring=ring, measure=True)
        if _checks.finite("limit", limit) <= 0.0:
            raise ValueError(f"`limit` is {limit}; write the expected relative error at which half of a step is taken.")
        if plan.correction.any():
            raise ValueError(
                "`limit`: the plan has a corrector, which takes back what the plan itself forecasts; make the plan "
                "without one, or leave out `limit`."
            )
        self.limit = limit
        self.doubt: Array | None = None
        self._newest = -1

    def keep(self, step: int, feature: Array) -> None:
        """Keep a copy of the feature of an evaluated step, and how far off its forecast was; see `Run.keep`."""
        super().keep(step, feature)
        self.doubt = None if self.misses is None else _relative(self.misses) / float(step - self._newest)
        self._newest = step

    def _part(self, step: int) -> Array | None:
        """As much as the forecast can be trusted."""
        if self.doubt is None:
            return None
        error = self.doubt * float(step - self._newest)
        xp = array_namespace(error)
        return guard(xp.minimum(error, xp.full_like(error, WORST * self.limit)), self.limit)


def expected(feature: Array, newest: Array, forecast: Array) -> Array:
    """Return the relative error of a forecast of ``feature``, or of the feature before it if that is less; by items."""
    true = widened(feature)
    return _relative(Misses(squares(true - widened(forecast)), squares(true - widened(newest)), squares(true)))


def norms(array: Array) -> Any:
    """Return the 2-norms of the items of a batch: the roots of `ring.squares`."""
    return array_namespace(array).sqrt(squares(array))


def _relative(misses: Misses) -> Array:
    """The lesser of two errors, relative to the feature."""
    xp = array_namespace(misses.size)
    error, size = xp.sqrt(xp.minimum(misses.missed, misses.changed)), xp.sqrt(misses.size)
    return error / xp.where(size > 0.0, size, xp.ones_like(size))
