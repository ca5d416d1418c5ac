r"""How good is what the kept features say of the next error? Not theorems: coverage, measured.

Two things are measured, on drawn vectors and on the real model: the estimate :math:`\eta` of `bounds.estimate`, by the
ratio of error to estimate; and `bounds.interval`, by the slack that it needs to hold the error.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import AnalyticKernel, Chebyshev, LinearRule, Newton, bounds, spectrum
from spectral_forecast.theory.paper import CLOCK, SCHEDULES
from spectral_forecast.theory.statement import Advance

__all__ = ["CHANNELS", "FORECASTERS", "Coverage", "Record", "drawn", "follow", "summary"]

CHANNELS = (1, 4, 16, 64)
"""Lengths of the drawn vectors."""

FORECASTERS: dict[str, LinearRule] = {
    "Spectrum, blend 1": spectrum(1.0),
    "Spectrum, blend 0.5": spectrum(0.5),
    "linear": Newton(1),
    "analytic kernel": AnalyticKernel(2.0, ridge=1e-3),
}
"""The rules that are followed, by the name that the report gives them."""

Floats = NDArray[np.float64]


def drawn(examples: int, seed: int = 0, *, advance: Advance = None) -> dict[int, Floats]:
    """Return eta / error for drawn analytic vectors with the right rho, by number of channels.

    Coefficients are independent, normal or uniform, times rho**-m with rho from 1.2 to 4; steps are those of the
    paper's two schedules; rules are Spectrum's, linear and the analytic kernel.

    Examples
    --------
    >>> ratios = drawn(400)[64]
    >>> bool(np.mean((ratios >= 0.5) & (ratios <= 2.0)) >= 0.9)
    True
    """
    rng = np.random.default_rng(seed)
    ratios: dict[int, list[Floats]] = {channels: [] for channels in CHANNELS}
    rules = (*FORECASTERS.values(), Chebyshev(4, ridge=0.1, free=2), Newton(2))
    left = examples
    while left > 0:
        group = min(16, left)
        rho = float(np.exp(rng.uniform(np.log(1.2), np.log(4.0))))
        evaluate = list(SCHEDULES.values())[rng.integers(2)]
        step = int(rng.choice(np.flatnonzero(~evaluate)))
        rule = rules[rng.integers(len(rules))]
        nodes, t = CLOCK[:step][evaluate[:step]], CLOCK[step]
        orders = np.arange(np.ceil(30.0 / np.log(rho)))
        channels = int(rng.choice(CHANNELS))
        shape = (group, channels, orders.size)
        series = (rng.normal(size=shape) if rng.random() < 0.5 else rng.uniform(-1.0, 1.0, shape)) * rho**-orders
        features = series @ np.cos(np.outer(orders, np.arccos(np.append(nodes, t))))
        error = np.linalg.norm(features[..., -1] - features[..., :-1] @ rule.weights(nodes, t), axis=1)
        # The estimate is eta = e_K * factor, linear in the past error: one call gives the factor of the group.
        replaced = np.append(-rule.weights(nodes[:-1], nodes[-1]), 1.0)
        unit = bounds.estimate(rule, nodes, t, np.outer(replaced, replaced), rho=rho) / float(replaced @ replaced)
        ratios[channels].append(unit * np.linalg.norm(features[..., :-1] @ replaced, axis=1) / error)
        left -= group
        if advance is not None:
            advance(group)
    return {channels: np.concatenate([np.zeros(0), *parts]) for channels, parts in ratios.items()}


class Record(NamedTuple):
    """A run followed with a forecaster, by skipped step.

    Attributes
    ----------
    step : ndarray of int
        Its number.
    error, estimate, distance, unit : ndarray of float64
        True error; eta; the distance d of the forecast to the kernel's and P * norm, of which the interval is
        d -+ slack * P * norm. All relative to the feature's root mean square norm over the run.
    rho : ndarray of float64
        Ellipse that was used.
    """

    step: NDArray[np.intp]
    error: Floats
    estimate: Floats
    distance: Floats
    unit: Floats
    rho: Floats

    def slack(self) -> Floats:
        """Return the least slack with which the interval holds each error."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.unit > 0.0, np.abs(self.error - self.distance) / self.unit, np.inf)


def follow(gram: Floats, evaluate: NDArray[np.bool_], rule: LinearRule, *, rho: float | None = None) -> Record:
    """Follow a run whose features have the inner products ``gram`` (T, T), as if only the past were known.

    Without ``rho`` it is estimated anew at each evaluation, by `bounds.likely_rho`, from the features kept so far.

    Examples
    --------
    >>> values = np.exp(1j * np.outer(CLOCK, np.linspace(0.0, 3.0, 32)))
    >>> run = follow((values @ values.conj().T).real, SCHEDULES["14 evaluations"], Newton(1), rho=3.0)
    >>> run.step.size, bool(np.all(np.isfinite(run.estimate)))
    (36, True)
    """
    scale = float(np.sqrt(np.mean(np.diag(gram))))
    rows = []
    radius, at = rho, -1
    for step in np.flatnonzero(~evaluate):
        nodes = np.flatnonzero(evaluate[:step])
        kept = gram[np.ix_(nodes, nodes)]
        if rho is None and nodes[-1] != at:
            radius, at = bounds.likely_rho(CLOCK[nodes], kept), int(nodes[-1])
        assert radius is not None
        w = rule.weights(CLOCK[nodes], CLOCK[step])
        missed = np.zeros(len(gram))
        missed[nodes], missed[step] = -w, 1.0
        error = np.sqrt(max(float(missed @ gram @ missed), 0.0))
        eta = bounds.estimate(rule, CLOCK[nodes], CLOCK[step], kept, rho=radius)
        low, high = bounds.interval(w, CLOCK[nodes], CLOCK[step], kept, rho=radius, slack=0.0)
        _, one = bounds.interval(w, CLOCK[nodes], CLOCK[step], kept, rho=radius, slack=1.0)
        rows.append((error / scale, eta / scale, low / scale, (one - high) / scale, radius))
    return Record(np.flatnonzero(~evaluate), *np.array(rows).T)


class Coverage(NamedTuple):
    """How often the error was covered, and what would have covered 95 % of the cases.

    Attributes
    ----------
    cases : int
        Forecasts, over all runs.
    median : float
        Median of eta / error.
    within_two, covered, covered_more : float
        Shares: eta within a factor 2 of the error; error at most eta; error at most 1.5 eta.
    factor : float
        What eta has to be multiplied by to cover 95 %.
    interval : float
        Share of errors inside the interval with slack 2.
    slack : float
        Slack with which the interval holds 95 %.
    width : float
        Median of the interval's upper end, slack 2, over the error.
    """

    cases: int
    median: float
    within_two: float
    covered: float
    covered_more: float
    factor: float
    interval: float
    slack: float
    width: float


def summary(records: list[Record]) -> Coverage:
    """Return coverage over many runs: of eta, of 1.5 eta, of the interval with slack 2."""
    ratio = np.concatenate([run.error / run.estimate for run in records])
    slack = np.concatenate([run.slack() for run in records])
    width = np.concatenate([(run.distance + 2.0 * run.unit) / run.error for run in records])
    return Coverage(
        ratio.size,
        float(np.median(1.0 / ratio)),
        float(np.mean((ratio >= 0.5) & (ratio <= 2.0))),
        float(np.mean(ratio <= 1.0)),
        float(np.mean(ratio <= 1.5)),
        float(np.quantile(ratio, 0.95)),
        float(np.mean(slack <= 2.0)),
        float(np.quantile(slack, 0.95)),
        float(np.median(width)),
    )
