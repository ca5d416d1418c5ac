"""Everything the report says, measured: the statements tried, their wrong variants, the certificates followed."""

import time
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from spectral_forecast.theory import (
    certificate,
    extrapolation,
    propagation,
    recovery,
    ridge,
    stability,
    taylor,
    trajectory,
    truncation,
    worst_case,
)
from spectral_forecast.theory.paper import SCHEDULES
from spectral_forecast.theory.statement import Advance, Outcome, Statement

__all__ = ["STATEMENTS", "Findings", "Real", "Verdict", "measure", "table"]

STATEMENTS: tuple[ModuleType, ...] = (
    taylor,
    truncation,
    ridge,
    worst_case,
    recovery,
    extrapolation,
    propagation,
    stability,
)
"""The modules, one a statement, in the order of the report."""

_WRONG_EXAMPLES = 4000
_SAMPLES = 6


class Verdict(NamedTuple):
    """What became of one statement.

    Attributes
    ----------
    statement : Statement
        Its words.
    outcomes : tuple of Outcome
        Of its inequalities; the first is the statement itself.
    caught : int
        Cases in which the deliberately wrong variant was violated.
    wrong_cases : int
        Of how many.
    seconds : float
        Time of the check.
    """

    statement: Statement
    outcomes: tuple[Outcome, ...]
    caught: int
    wrong_cases: int
    seconds: float

    @property
    def holds(self) -> bool:
        """No violation, equality found where claimed, and the wrong variant caught."""
        sharp = self.outcomes[0].tight > 0 or not self.statement.sharp
        return sharp and self.caught > 0 and all(outcome.violations == 0 for outcome in self.outcomes)


class Real(NamedTuple):
    """Certificates on the real model: runs recorded and followed, by guidance and tensor, and forecaster.

    Attributes
    ----------
    runs : dict
        Trajectories by guidance.
    followed : dict
        Records by (guidance, tensor, forecaster, "estimated" or "2"): both schedules, all samples.
    """

    runs: dict[float, list[trajectory.Trajectory]]
    followed: dict[tuple[float, str, str, str], list[certificate.Record]]

    def pooled(self, radius: str, guidance: float | None = None) -> certificate.Coverage:
        """Return the coverage over all runs with ``radius``, or over those with one guidance."""
        chosen = [k for k in self.followed if k[3] == radius and guidance in (None, k[0])]
        return certificate.summary([record for key in chosen for record in self.followed[key]])


class Findings(NamedTuple):
    """All that was measured. ``real`` is a sentence where the model could not run."""

    examples: int
    seed: int
    verdicts: list[Verdict]
    ratios: dict[int, Any]
    real: Real | str


def measure(examples: int, seed: int = 0, *, advance: Advance = None) -> Findings:
    """Try every statement on ``examples`` cases and follow the certificates."""
    verdicts = []
    for module in STATEMENTS:
        start = time.perf_counter()
        outcomes = module.check(examples, seed, advance=advance)
        seconds = time.perf_counter() - start
        wrong = module.check(_WRONG_EXAMPLES, seed, bound=module.wrong)
        caught = sum(outcome.violations for outcome in wrong)
        verdicts.append(Verdict(module.STATEMENT, outcomes, caught, sum(o.cases for o in wrong[:1]), seconds))
    ratios = certificate.drawn(examples, seed, advance=advance)
    return Findings(examples, seed, verdicts, ratios, _real(seed))


def _real(seed: int) -> Real | str:
    runs: dict[float, list[trajectory.Trajectory]] = {}
    followed: dict[tuple[float, str, str, str], list[certificate.Record]] = {}
    for guidance in (1.0, 4.0):
        recorded = trajectory.record(_SAMPLES, seed=seed, guidance=guidance)
        if isinstance(recorded, str):
            return recorded
        runs[guidance] = recorded
        for run in recorded:
            for name, rule in certificate.FORECASTERS.items():
                for radius, rho in (("estimated", None), ("2", 2.0)):
                    followed[guidance, run.name, name, radius] = [
                        certificate.follow(gram, evaluate, rule, rho=rho)
                        for gram in run.gram
                        for evaluate in SCHEDULES.values()
                    ]
    return Real(runs, followed)


def table(findings: Findings) -> str:
    """Return the outcome of every inequality as a Markdown table, which also reads well on a terminal."""
    head = [
        "statement",
        "inequality",
        "cases",
        "violations",
        "largest ratio",
        "within 1 %",
        "median ratio",
        "wrong variant",
    ]
    rows = []
    for verdict in findings.verdicts:
        for k, outcome in enumerate(verdict.outcomes):
            rows.append(
                [
                    verdict.statement.name if k == 0 else "",
                    outcome.name,
                    f"{outcome.cases:,}",
                    str(outcome.violations),
                    f"{outcome.worst:.6f}",
                    f"{outcome.tight:,}",
                    f"{outcome.median:.3g}",
                    f"caught, {verdict.caught} of {verdict.wrong_cases}" if k == 0 else "",
                ]
            )
    return grid(head, rows, left=(0, 1, 7))


def grid(head: list[str], rows: list[list[str]], *, left: tuple[int, ...] = (0,)) -> str:
    """Return a Markdown table with aligned columns, numbers to the right.

    Examples
    --------
    >>> print(grid(["name", "value"], [["x", "1"], ["yy", "20"]]))
    | name | value |
    |:-----|------:|
    | x    |     1 |
    | yy   |    20 |
    """
    widths = [int(np.max([len(row[k]) for row in (head, *rows)])) for k in range(len(head))]

    def line(cells: list[str]) -> str:
        parts = [c.ljust(w) if k in left else c.rjust(w) for k, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "| " + " | ".join(parts) + " |"

    rule = [":" + "-" * (w + 1) if k in left else "-" * (w + 1) + ":" for k, w in enumerate(widths)]
    return "\n".join([line(head), "|" + "|".join(rule) + "|", *map(line, rows)])
