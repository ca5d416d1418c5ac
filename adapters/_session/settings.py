"""What was an adapter asked for, and which plan follows for a run?"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from spectral_forecast import Corrector, LinearForecaster, Newton, Plan, make_plan, schedules
from spectral_forecast.adapters._session.memory import DEFAULT, Memory
from spectral_forecast.guarded import LIMIT
from spectral_forecast.tolerance import Calibration, Gate, relative_error

__all__ = ["Choice", "Settings", "even"]

WARMUP_AFTER_RESTART = 3


class Choice(NamedTuple):
    """A schedule, or why there is none, or why it is not quite what was asked for."""

    evaluate: schedules.Mask | None
    why: str = ""
    levels: tuple[float, ...] | None = None  # noise levels of the steps and of the end, where they are known
    gate: Gate | None = None  # decides on the way; ``evaluate`` is then what is known beforehand


@dataclass(frozen=True)
class Settings:
    """A plan, or a forecaster and a number of evaluations."""

    plan: Plan | None
    forecaster: LinearForecaster | None
    evaluations: int | None
    shared: bool = False  # whether the network is one of several that share a run's steps
    tolerance: float | str | None = None
    default: bool = False  # whether no rule was asked for: the clock is that of noise levels, and forecasts are guarded
    sigmas: tuple[float, ...] | None = None  # of the whole run, for
    corrector: Corrector | None = None
    memory: Memory = DEFAULT
    calibration: Calibration | None = None  # what estimates and the tolerance are worth

    @classmethod
    def of(
        cls,
        plan: Any,
        evaluations: Any,
        forecaster: Any,
        *,
        shared: bool = False,
        sigmas: tuple[float, ...] | None = None,
        corrector: Any = None,
        tolerance: float | str | None = None,
        memory: Memory = DEFAULT,
    ) -> "Settings":
        """Check what a user wrote. ``sigmas`` and a ``corrector`` go into the plans that are made here."""
        if corrector is not None and not isinstance(corrector, Corrector):
            raise TypeError(f"`corrector` is {type(corrector).__name__}; write a Corrector, or None.")
        if sum(given is not None for given in (plan, evaluations, tolerance)) != 1:
            raise ValueError(
                "`plan`, `evaluations` and `tolerance`: write exactly one of them, for instance `evaluations=14`."
            )
        if tolerance is not None:
            relative_error(tolerance)
            if shared or forecaster is not None:
                raise ValueError("`tolerance` goes with one network and the default forecaster; write `evaluations=`.")
            return cls(None, Newton(1), None, default=True, tolerance=tolerance, memory=memory)
        if plan is not None:
            if not isinstance(plan, Plan):
                raise TypeError(f"`plan` is {type(plan).__name__}; write what `make_plan` returned.")
            if shared:
                raise ValueError(
                    "`plan`: a pipeline with two transformers needs `evaluations`, since each begins anew."
                )
            if forecaster is not None:
                raise ValueError("`forecaster` goes with `evaluations`; a plan has its forecaster's weights already.")
            return cls(plan, None, None, memory=memory)
        if not isinstance(evaluations, int) or evaluations < 1:
            raise ValueError(f"`evaluations` is {evaluations!r}; write a whole number, 1 or more.")
        rule = Newton(1) if forecaster is None else forecaster
        if not isinstance(rule, LinearForecaster):
            raise TypeError(f"`forecaster` is {type(rule).__name__}, without a method `weights(times, t)`.")
        made = None if sigmas is None else corrector
        rest = {"default": forecaster is None, "sigmas": sigmas, "corrector": made, "memory": memory}
        return cls(None, rule, evaluations, shared, **rest)

    def __str__(self) -> str:
        """Return the forecaster as a report names it."""
        within = "" if self.tolerance is None else f", tolerance {self.tolerance}"
        return "plan" if self.forecaster is None else f"{self.forecaster!r}{', guarded' * self.default}{within}"

    def gate(self, levels: tuple[float, ...], max_skip: int | None) -> Gate:
        """Return what decides on the way about a run along noise levels."""
        aim = relative_error(self.tolerance)
        return Gate(levels, aim if self.calibration is None else self.calibration.tolerance_for(aim), max_skip=max_skip)

    def error(self, estimate: Any) -> Any:
        """Return the error of a sample that an estimate stands for."""
        return estimate if self.calibration is None else self.calibration.error(estimate)

    @property
    def limit(self) -> float | None:
        """Of the forecasts' guard, if they have one; a plan with a corrector corrects what it has forecast itself."""
        return LIMIT if self.default and self.corrector is None else None

    def plan_for(self, steps: int | None, begin: int, choice: Choice | None = None) -> Plan | None:
        """Return the plan of a run of ``steps``; None if the given one is not.

        ``choice`` is the schedule where no plan was given. Where networks take turns, it is that of the whole list of
        steps, and the one that takes over at step ``begin`` begins with an empty ring.
        """
        if self.plan is not None or choice is None or choice.evaluate is None:
            return self.plan if self.plan is not None and steps in (None, self.plan.steps) else None
        if self.shared and begin:
            return self.plan_after(choice.evaluate, begin, choice.levels)
        return self._tabulate(choice.evaluate, 0, len(choice.evaluate), choice.levels)

    def plan_after(self, evaluate: Any, begin: int, levels: tuple[float, ...] | None = None) -> Plan:
        """Return the plan of the steps from ``begin`` on, for a ring that is empty there."""
        rest = np.array(evaluate[begin:])
        rest[: WARMUP_AFTER_RESTART if self.forecaster is not None else None] = True
        return self._tabulate(rest, begin, len(evaluate), levels)

    def grown(self, plan: Plan, step: int, begin: int, levels: tuple[float, ...] | None) -> Plan:
        """Return a plan, which begins at the run's step ``begin``, with its own ``step`` evaluated, too."""
        evaluate = plan.evaluate.copy()
        evaluate[step] = True
        return self._tabulate(evaluate, begin, begin + plan.steps, levels)

    def smaller(self, plan: Plan, rows: int, begin: int, levels: tuple[float, ...] | None) -> Plan:
        """Return a plan, which begins at the run's step ``begin``, that holds ``rows`` features."""
        return self._tabulate(plan.evaluate, begin, begin + plan.steps, levels, rows)

    @property
    def fixed(self) -> bool:
        """Whether plans have the rows that they have."""
        return self.plan is not None or self.corrector is not None

    def _tabulate(
        self, evaluate: Any, begin: int, steps: int, levels: tuple[float, ...] | None, keep: int | None = None
    ) -> Plan:
        rule = self.forecaster or _NeverForecast()
        clock, span = np.arange(begin, steps, dtype=np.float64), (0.0, float(steps))  # the papers'
        if self.default and levels is not None:
            clock, span = -np.asarray(levels[begin - steps - 1 : -1]), (-levels[0], -levels[-1])
        return make_plan(
            rule,
            clock,
            evaluate,
            span=span,
            keep=keep if self.tolerance is None else 2,
            sigmas=None if self.sigmas is None else self.sigmas[begin:],
            corrector=self.corrector,
        )


def even(steps: int, evaluations: int) -> Choice:
    """Spread the evaluations evenly."""
    return Choice(schedules.even(steps, min(evaluations, steps)))


class _NeverForecast:
    """Weights for a plan without forecasts: a run that was given a plan, not a rule, and has left it."""

    def weights(self, times: Any, t: float, /) -> Any:
        return np.zeros(len(times))
