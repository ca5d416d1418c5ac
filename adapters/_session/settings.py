"""What was an adapter asked for, and which plan follows for a run?"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from spectral_forecast import Corrector, LinearForecaster, Newton, Plan, make_plan, schedules

__all__ = ["Choice", "Settings", "even"]

WARMUP_AFTER_RESTART = 3


class Choice(NamedTuple):
    """A schedule, or why there is none, or why it is not quite what was asked for."""

    evaluate: schedules.Mask | None
    why: str = ""


@dataclass(frozen=True)
class Settings:
    """A plan, or a forecaster and a number of evaluations."""

    plan: Plan | None
    forecaster: LinearForecaster | None
    evaluations: int | None
    shared: bool = False  # whether the network is one of several that share a run's steps
    sigmas: tuple[float, ...] | None = None  # of the whole run, for
    corrector: Corrector | None = None

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
    ) -> "Settings":
        """Check what a user wrote. ``sigmas`` and a ``corrector`` go into the plans that are made here."""
        if corrector is not None and not isinstance(corrector, Corrector):
            raise TypeError(f"`corrector` is {type(corrector).__name__}; write a Corrector, or None.")
        if (plan is None) == (evaluations is None):
            raise ValueError("`plan` and `evaluations`: write exactly one of them, for instance `evaluations=14`.")
        if plan is not None:
            if not isinstance(plan, Plan):
                raise TypeError(f"`plan` is {type(plan).__name__}; write what `make_plan` returned.")
            if shared:
                raise ValueError(
                    "`plan`: a pipeline with two transformers needs `evaluations`, since each begins anew."
                )
            if forecaster is not None:
                raise ValueError("`forecaster` goes with `evaluations`; a plan has its forecaster's weights already.")
            return cls(plan, None, None)
        if not isinstance(evaluations, int) or evaluations < 1:
            raise ValueError(f"`evaluations` is {evaluations!r}; write a whole number, 1 or more.")
        rule = Newton(1) if forecaster is None else forecaster
        if not isinstance(rule, LinearForecaster):
            raise TypeError(f"`forecaster` is {type(rule).__name__}, without a method `weights(times, t)`.")
        return cls(None, rule, evaluations, shared, sigmas, None if sigmas is None else corrector)

    def __str__(self) -> str:
        """Return the forecaster as a report names it."""
        return "plan" if self.forecaster is None else repr(self.forecaster)

    def plan_for(self, steps: int | None, begin: int, evaluate: Any = None) -> Plan | None:
        """Return the plan of a run of ``steps``; None if the given one is not.

        ``evaluate`` is the schedule where no plan was given. Where networks take turns, it is that of the whole list of
        steps, and the one that takes over at step ``begin`` begins with an empty ring.
        """
        if self.plan is not None:
            return self.plan if steps in (None, self.plan.steps) else None
        return self.plan_after(evaluate, begin) if self.shared and begin else self._tabulate(evaluate, 0, len(evaluate))

    def plan_after(self, evaluate: Any, begin: int) -> Plan:
        """Return the plan of the steps from ``begin`` on, for a ring that is empty there."""
        rest = np.array(evaluate[begin:])
        rest[: WARMUP_AFTER_RESTART if self.forecaster is not None else None] = True
        return self._tabulate(rest, begin, len(evaluate))

    def _tabulate(self, evaluate: Any, begin: int, steps: int) -> Plan:
        # The paper's clock: step numbers, with the end of the run one step after the last call.
        rule = self.forecaster or _NeverForecast()
        return make_plan(
            rule,
            np.arange(begin, steps),
            evaluate,
            span=(0.0, float(steps)),
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
