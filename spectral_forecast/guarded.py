"""How far can a forecast be trusted? As far as the run's own evaluations bear it out."""

from typing import Any

from array_api_compat import array_namespace

from spectral_forecast import _checks
from spectral_forecast._typing import Array
from spectral_forecast.corrector import guard
from spectral_forecast.plan import Plan
from spectral_forecast.ring import Misses, Ring, squares
from spectral_forecast.sampling import Run

__all__ = ["BLIND", "LIMIT", "WORST", "Doubts", "GuardedRun", "norms", "worsened"]

LIMIT = 0.5
"""Of the default rule's guard: chosen on small models, docs/quality.md."""

BLIND = 2.5
"""Relative error to be expected of a line through a first feature that tells nothing; chosen with `LIMIT`."""

WORST = 1e6
"""Times the limit: errors above are as good as this one, whose square is finite in every dtype that is computed in."""


class Doubts:
    r"""What is to be expected of a run's forecasts, from those that evaluations have replaced; item by item.

    A forecast that errs may still be better than its newest feature, or else worse. What is expected is the relative
    error of whichever of the two was closer to the newest evaluation, times `worse`: how many times farther off, in
    squares, forecasts have been than newest features. Of that the geometric mean is taken, each arrival counting twice
    as much as the one before it; it is 1 at the least.

    Attributes
    ----------
    worse : array or None
        That factor for each item, of a shape that broadcasts against the features; None before the first arrival.
    error : array or None
        The relative error alone, of the newest arrival.

    Examples
    --------
    >>> import numpy as np
    >>> doubts, near, far = Doubts(), np.array([[1.0]]), np.array([[4.0]])
    >>> doubts.meet(Misses(missed=near, changed=far, size=far)), doubts.worse
    (array([[0.5]]), array([[1.]]))
    >>> doubts.meet(Misses(missed=far, changed=near, size=far)), doubts.worse
    (array([[1.]]), array([[2.]]))
    """

    def __init__(self) -> None:
        self.worse: Array | None = None
        self.error: Array | None = None
        self._met = 0

    def meet(self, misses: Misses, *, blind: bool = False) -> Array:
        """Return the relative error to be expected of forecasts that go as far as the one that has been replaced.

        Parameters
        ----------
        misses : Misses
            How far off that forecast was.
        blind : bool
            Whether the run's first feature tells nothing. What missed the second by repeating it says nothing then,
            nor does what missed the third by a line through it: `BLIND` is expected after the second, whatever it was.
        """
        self._met += 1
        xp = array_namespace(misses.size)
        missed, changed, size = map(xp.sqrt, misses)  # from here on sums that are spread over devices are everyone's
        self.error = error = xp.minimum(missed, changed) / xp.where(size > 0.0, size, xp.ones_like(size))
        if self.worse is None:
            self.worse = xp.ones_like(error)
        if blind and self._met == 1:
            return xp.full_like(error, BLIND)
        if not (blind and self._met == 2):
            self.worse = worsened(missed**2, changed**2, self.worse)
        return error * self.worse


class GuardedRun(Run):
    r"""A run whose forecasts are drawn back to the newest feature where the run shows that they err.

    A forecast :math:`\hat h` becomes :math:`h_K + \varphi (\hat h - h_K)`, with :math:`\varphi` the `guard` of the
    relative error to be expected: what `Doubts` says of the newest evaluations, times the distance in steps over the
    last gap's. In smooth runs the forecasts are all but the plan's; where features turn quickly (strong guidance, long
    gaps) an extrapolation overshoots, and repeating the newest feature is what fewer steps of the sampler would do.
    Made by ``Plan.start(limit=...)``.

    Parameters
    ----------
    plan : Plan
    limit : float
        The expected relative error at which half of what a forecast adds to the newest feature is kept, above 0.
    blind : bool
        Whether the first feature tells nothing, as the output of a network that predicts noise, where there is nothing
        else; see `Doubts.meet`.
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
    array([[4. , 2. ],
           [1.2, 2. ]])
    """

    def __init__(
        self,
        plan: Plan,
        *,
        limit: float = LIMIT,
        blind: bool = False,
        check_finite: bool = True,
        ring: Ring | None = None,
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
        self.blind = blind
        self.doubt: Array | None = None
        self._doubts = Doubts()
        self._newest = -1

    def keep(self, step: int, feature: Array) -> None:
        """Keep a copy of the feature of an evaluated step, and how far off its forecast was; see `Run.keep`."""
        super().keep(step, feature)
        if self.misses is not None:
            self.doubt = self._doubts.meet(self.misses, blind=self.blind) / float(step - self._newest)
        self._newest = step

    def _part(self, step: int) -> Array | None:
        """As much as the forecast can be trusted."""
        if self.doubt is None:
            return None
        error = self.doubt * float(step - self._newest)
        xp = array_namespace(error)
        return guard(xp.minimum(error, xp.full_like(error, WORST * self.limit)), self.limit)


def norms(array: Array) -> Any:
    """Return the 2-norms of the items of a batch: the roots of `ring.squares`."""
    return array_namespace(array).sqrt(squares(array))


def worsened(missed: Array, changed: Array, before: Array) -> Array:
    """Return `Doubts.worse` after one more arrival, from the squared errors of its forecast and of the feature before.

    What is not a number says nothing.
    """
    xp = array_namespace(missed)
    one = xp.ones_like(missed)
    known = missed < WORST * changed
    ratio = xp.where(
        known, missed / xp.where(known, changed, one), xp.where(missed > changed, xp.full_like(missed, WORST), one)
    )
    return xp.sqrt(xp.maximum(before * ratio, one))
