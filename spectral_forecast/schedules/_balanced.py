"""Which steps run the network, by what forecasts cost the sample? From the sampler's noise levels alone."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks
from spectral_forecast.clock import map_clock
from spectral_forecast.schedules._counted import Mask, counted, limits, mask

if TYPE_CHECKING:
    from spectral_forecast.forecasters.analytic import AnalyticKernel
    from spectral_forecast.schedules._search import Pricing

__all__ = ["balanced", "family", "flow_time", "predicted_error"]

LAST_GAP = 2.0
"""Chosen on digits, photographs and digits_ddim of the benchmarks."""


def balanced(
    sigmas: ArrayLike,
    evaluations: int,
    *,
    times: ArrayLike | None = None,
    span: tuple[float, float] | None = None,
    kernel: "AnalyticKernel | None" = None,
    last_gap: float = LAST_GAP,
    warmup: int = 1,
    tail: int = 0,
    max_skip: int | None = None,
) -> Mask:
    r"""Return the schedule with the smallest predicted error of the sample.

    What counts at a skipped step is the error of its forecast times the length of the sampler's step. The schedule
    minimises :math:`\sum_i w_i |\sigma_{i+1} - \sigma_i| P_S(i)` over the skipped steps i, where :math:`P_S(i)` is the
    power function of `AnalyticKernel`: the worst error of the best forecast from the steps evaluated before i. The
    weight :math:`w_i` is ``last_gap`` after the last evaluation, since nothing makes up for those errors, else 1.

    Parameters
    ----------
    sigmas : array_like, shape (N + 1,) or (N,)
        The sampler's noise levels, and where the run ends. An end of 0 may be left out; from a run that ends elsewhere
        subtract its end. For a model that predicts the noise write ``flow_time(sigmas)``.
    evaluations : int
        How many steps to evaluate, 1 to N.
    times, span
        The clock on which features are smooth, as for `make_plan`. By default minus the noise levels, which must fall
        then, from the first to the end of the run.
    kernel : AnalyticKernel, optional
        The class of features; ``AnalyticKernel(rho=2, ridge=1e-3, drift=1)`` by default.
    last_gap : float
        What errors after the last evaluation count, 1 or more. Those before it are in part made up for on arrival at
        the next: by a corrector, and since networks draw samples back.
    warmup, tail, max_skip
        As for every schedule of this module.

    Returns
    -------
    ndarray of bool, shape (N,)

    Raises
    ------
    ValueError
        If ``evaluations`` are fewer than the limits ask for.

    Notes
    -----
    More evaluations never predict a larger error. The search is not exhaustive; in 116 runs whose optimum is known it
    found each. 50 steps take a tenth of a second, 1000 a few.

    Planned on the clock of noise levels, the digits model comes out 0.4 to 4.5 dB better with 8 evaluations than
    planned on step numbers, and 0.6 to 3.6 dB better with 14 (the default of the adapters; guidance 1, 4 and 8).

    Examples
    --------
    >>> from spectral_forecast import schedules
    >>> sigmas = np.linspace(1.0, 0.0, 51)
    >>> shifted = 3 * sigmas / (1 + 2 * sigmas)
    >>> schedules.steps(balanced(shifted, 10))
    '0,7,15,22,29,35,40,44,47,49'
    >>> schedules.steps(balanced(shifted, 10, last_gap=1))
    '0,6,14,21,28,34,39,43,46,48'
    >>> schedules.steps(balanced(shifted, 10, warmup=2, tail=2, max_skip=7))
    '0,1,8,16,24,32,39,44,48,49'
    """
    from spectral_forecast.schedules._search import search

    levels = _levels(sigmas)
    length, count = counted(levels.size - 1, evaluations)
    price = _pricing(levels, times, span, kernel, (warmup, tail, max_skip), last_gap=last_gap)
    start = np.flatnonzero(mask(length, [0], warmup=warmup, tail=tail, max_skip=max_skip))
    if count < start.size:
        raise ValueError(
            f"`evaluations` is {count}, but `warmup`, `tail` and `max_skip` ask for {start.size}; write so many."
        )
    return mask(length, search(price, start, count)[-1])


def family(
    sigmas: ArrayLike,
    most: int | None = None,
    *,
    times: ArrayLike | None = None,
    span: tuple[float, float] | None = None,
    kernel: "AnalyticKernel | None" = None,
    last_gap: float = LAST_GAP,
    warmup: int = 1,
    tail: int = 0,
    max_skip: int | None = None,
) -> list[tuple[NDArray[np.intp], float]]:
    """Return the balanced schedules of all numbers of evaluations, fewest first, each with its predicted error.

    Parameters
    ----------
    sigmas, times, span, kernel, last_gap, warmup, tail, max_skip
        As for `balanced`.
    most : int, optional
        Evaluations of the last one; all steps by default, which takes a second for 50 and more than its cube for more.

    Returns
    -------
    list of (ndarray of int, float)
        The evaluated steps, and the sum of `predicted_error`, which falls from one to the next.

    Examples
    --------
    >>> sigmas = np.linspace(1.0, 0.0, 13)
    >>> [(len(chosen), round(error, 3)) for chosen, error in family(sigmas, 6)][2:]
    [(3, 0.288), (4, 0.168), (5, 0.099), (6, 0.065)]
    """
    from spectral_forecast.schedules._search import search

    levels = _levels(sigmas)
    price = _pricing(levels, times, span, kernel, (warmup, tail, max_skip), last_gap=last_gap)
    start = np.flatnonzero(mask(levels.size - 1, [0], warmup=warmup, tail=tail, max_skip=max_skip))
    count = counted(levels.size - 1, levels.size - 1 if most is None else most)[1]
    found = search(price, start, max(count, start.size))
    return [(chosen, float(price(chosen[None])[0])) for chosen in found]


def predicted_error(
    sigmas: ArrayLike,
    evaluate: ArrayLike,
    *,
    times: ArrayLike | None = None,
    span: tuple[float, float] | None = None,
    kernel: "AnalyticKernel | None" = None,
    last_gap: float = LAST_GAP,
) -> NDArray[np.float64]:
    r"""Return what each step adds to the predicted error of the sample; their sum is what `balanced` minimises.

    Parameters
    ----------
    sigmas, times, span, kernel, last_gap
        As for `balanced`.
    evaluate : array_like of bool, shape (N,)
        A schedule.

    Returns
    -------
    ndarray of float64, shape (N,)
        :math:`w_i |\sigma_{i+1} - \sigma_i| P_S(i)`, and 0 at evaluated steps, in units of the feature's norm in the
        kernel's space. That norm is not known: compare schedules with it, do not read it as an error.

    Examples
    --------
    >>> from spectral_forecast import schedules
    >>> sigmas = np.linspace(1.0, 0.0, 51)
    >>> masks = schedules.growing(50), schedules.even(50, 14)
    >>> [float(predicted_error(sigmas, evaluate).sum().round(3)) for evaluate in masks]
    [0.052, 0.045]
    >>> float(predicted_error(sigmas, balanced(sigmas, 14)).sum().round(3))
    0.039
    """
    levels = _levels(sigmas)
    run = _checks.mask("evaluate", evaluate, levels.size - 1)
    price = _pricing(levels, times, span, kernel, (1, 0, None), last_gap=last_gap)
    return np.asarray(price.by_step(np.flatnonzero(run)[None, :])[0])


def flow_time(sigmas: ArrayLike) -> NDArray[np.float64]:
    r"""Return the flow time :math:`\sigma / (1 + \sigma)` of noise levels: the length of a step for `balanced`.

    A model that predicts the noise has :math:`\sigma = \sqrt{1/\bar\alpha - 1}` from 0 to 100 and more, and almost the
    whole of that range in a few first steps. In flow time, where data and noise are mixed as
    :math:`(1 - t) x_0 + t \varepsilon`, it runs from 0 to 1.

    Examples
    --------
    >>> flow_time([3.0, 1.0, 0.0])
    array([0.75, 0.5 , 0.  ])
    """
    levels = np.asarray(sigmas, dtype=np.float64)
    if not (levels >= 0.0).all():
        raise ValueError(f"`sigmas` holds {levels[~(levels >= 0.0)].flat[0]:.6g}; write noise levels, 0 or more.")
    return 1.0 - 1.0 / (1.0 + levels)  # 1 at the infinite level of a run that begins with nothing but noise


def _levels(sigmas: ArrayLike) -> NDArray[np.float64]:
    """The noise levels of a run, with the one where it ends."""
    levels = np.asarray(sigmas, dtype=np.float64)
    if levels.ndim != 1 or levels.size == 0 or not np.isfinite(levels).all():
        raise ValueError(f"`sigmas` has shape {levels.shape}; write one dimension of finite noise levels, one a step.")
    return levels if levels[-1] == 0.0 and levels.size > 1 else np.append(levels, 0.0)


def _pricing(
    levels: NDArray[np.float64],
    times: Any,
    span: Any,
    kernel: Any,
    asked: tuple[int, int, int | None],
    *,
    last_gap: float,
) -> "Pricing":
    """What `balanced` minimises. Forecasters import this module, so theirs are imported late."""
    from spectral_forecast.forecasters.analytic import AnalyticKernel
    from spectral_forecast.schedules._search import Pricing

    length, warmup, tail, max_skip = limits(levels.size - 1, *asked)
    rule = AnalyticKernel() if kernel is None else kernel
    if not isinstance(rule, AnalyticKernel):
        raise TypeError(f"`kernel` is {rule!r}; write an AnalyticKernel, whose power function is the prediction.")
    if times is None:
        if (np.diff(levels) >= 0.0).any():
            raise ValueError("`sigmas` do not fall; write the run's clock, `times`, too.")
        times, span = -levels[:-1], (-levels[0], -levels[-1]) if span is None else span
    clock = _checks.increasing("times", times)
    if clock.size != length:
        raise ValueError(f"`times` has shape {clock.shape}; write one time for each of the {length} steps.")
    tau = map_clock(clock, span)
    if _checks.finite("last_gap", last_gap) < 1.0:
        raise ValueError(f"`last_gap` is {last_gap}; write 1 or more: less would make it pay to evaluate less.")
    return Pricing(np.abs(np.diff(levels)), tau, rule, np.arange(length + 1), warmup, tail, max_skip, float(last_gap))
