"""What does the paper claim, and what do its own schedules say? Numbers by step of the run, for figures and tests."""

from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from spectral_forecast import Chebyshev, LinearRule, bounds, make_plan, schedules

__all__ = [
    "CLOCK",
    "RADII",
    "SCHEDULES",
    "STEPS",
    "Counterexample",
    "compare",
    "conditioning",
    "counterexample",
    "relative_error",
    "rows_of",
    "table",
]

STEPS = 50
"""Of the paper's runs."""

CLOCK = 2.0 * np.arange(STEPS) / STEPS - 1.0
"""The paper's clock, 2 i / T - 1."""

SCHEDULES = {
    "14 evaluations": schedules.growing(STEPS, 2, 0.75, 5),
    "10 evaluations": schedules.growing(STEPS, 2, 3.0, 5),
}
"""The paper's two settings: window 2, warm-up 5, growth 0.75 and 3."""

RADII = (1.2, 1.5, 2.0, 3.0, 5.0)
"""Parameters of the ellipses for which bounds are compared."""

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Counterexample(NamedTuple):
    """By skipped step: its number, the error on T_5, the bound in print and the corrected one."""

    step: NDArray[np.intp]
    error: Floats
    printed: Floats
    corrected: Floats


def counterexample(evaluate: Mask = SCHEDULES["10 evaluations"], degree: int = 4, ridge: float = 0.1) -> Counterexample:
    """Forecast T_{degree + 1} by Spectrum: its series has nothing up to the degree, and a tail of size 1.

    Examples
    --------
    >>> found = counterexample()
    >>> int(np.sum(found.error > found.printed)), found.step.size, bool(np.all(found.error <= found.corrected))
    (15, 40, True)
    """
    feature = np.cos((degree + 1) * np.arccos(CLOCK))
    rows = []
    for step in np.flatnonzero(~evaluate):
        nodes = np.flatnonzero(evaluate[:step])
        w = Chebyshev(degree, ridge=ridge).weights(CLOCK[nodes], CLOCK[step])
        facts: dict[str, Any] = {"degree": degree, "ridge": ridge, "truncation": 1.0, "coefficients": 0.0}
        limits = [f(CLOCK[nodes], CLOCK[step], **facts) for f in (bounds.ridge_unsound, bounds.ridge)]
        rows.append((abs(feature[step] - w @ feature[nodes]), *limits))
    return Counterexample(np.flatnonzero(~evaluate), *np.array(rows).T)


def compare(evaluate: Mask, rho: float, rule: LinearRule | None = None) -> tuple[Floats, Floats]:
    """Return the corrected Theorem 3.3 and the exact worst case, by skipped step, at B = 1."""
    degree, ridge = 4, 0.1
    forecaster = Chebyshev(degree, ridge=ridge) if rule is None else rule
    rows = []
    for step in np.flatnonzero(~evaluate):
        nodes, t = CLOCK[:step][evaluate[:step]], CLOCK[step]
        theorem = bounds.ridge(nodes, t, rho=rho, degree=degree, ridge=ridge)
        rows.append((theorem, bounds.worst_case(forecaster.weights(nodes, t), nodes, t, rho=rho)))
    theorem, beta = np.array(rows).T
    return theorem, beta


def table() -> list[tuple[str, float, float, float, float, int, int, int]]:
    """Ratios of Theorem 3.3 to the exact worst case.

    Each row: schedule, rho, least, median and largest ratio, at how many skipped steps Theorem 3.3 and the exact
    worst case exceed B, the error of forecasting zero, and how many steps there are.

    Examples
    --------
    >>> all(least >= 1.0 for _, _, least, *_ in table())
    True
    """
    rows = []
    for name, evaluate in SCHEDULES.items():
        for rho in RADII:
            theorem, beta = compare(evaluate, rho)
            ratio = theorem / beta
            facts = (float(np.min(ratio)), float(np.median(ratio)), float(np.max(ratio)))
            rows.append((name, rho, *facts, int(np.sum(theorem > 1.0)), int(np.sum(beta > 1.0)), ratio.size))
    return rows


def conditioning(evaluate: Mask, degree: int = 4, ridge: float = 0.1) -> Floats:
    """Return, by skipped step, the least singular value, X as printed, the true X, and the factor of the bias term."""
    rows = []
    for step in np.flatnonzero(~evaluate):
        values = np.linalg.svd(chebyshev.chebvander(CLOCK[:step][evaluate[:step]], degree), compute_uv=False)
        least = values[-1]
        filtered = values / (values**2 + ridge)
        rows.append((least, least / (least**2 + ridge), np.max(filtered), ridge / (least**2 + ridge)))
    return np.array(rows)


def rows_of(rule: LinearRule, evaluate: Mask) -> Floats:
    """Return the forecast of every step as a row over all steps, shape (T, T); evaluated steps are themselves."""
    plan = make_plan(rule, np.arange(STEPS), evaluate, span=(0, STEPS))
    table_of_rows = np.eye(STEPS)
    for step in np.flatnonzero(~evaluate):
        nodes = plan.nodes(int(step))
        table_of_rows[step] = 0.0
        table_of_rows[step, nodes[nodes >= 0]] = plan.weights[step][nodes >= 0]
    return table_of_rows


def relative_error(gram: Floats, evaluate: Mask, rule: LinearRule) -> float:
    """Return the relative root mean square error over the skipped steps of a feature with this Gram matrix (T, T)."""
    missed = np.eye(STEPS) - rows_of(rule, evaluate)
    squares = np.einsum("ij,jk,ik->i", missed, gram, missed)[~evaluate]
    return float(np.sqrt(max(np.sum(squares), 0.0) / np.sum(np.diag(gram)[~evaluate])))
