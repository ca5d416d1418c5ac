"""What a user writes who checks types strictly; `tests/test_typing.py` checks it, and that its mistakes are found."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import (
    Chebyshev,
    Corrector,
    LinearForecaster,
    Newton,
    Plan,
    bounds,
    citation,
    combine,
    make_plan,
    metrics,
    schedules,
    spectrum,
)


class Mine:
    """A rule of one's own needs no base class."""

    def weights(self, times: ArrayLike, t: float, /) -> NDArray[np.float64]:
        """Repeat the newest feature."""
        w = np.zeros(np.size(np.asarray(times)))
        w[-1] = 1.0
        return w


def planned(rule: LinearForecaster, sigmas: NDArray[np.float64]) -> Plan:
    """Make a plan."""
    evaluate = schedules.balanced(sigmas, 14)
    return make_plan(rule, np.arange(50), evaluate, sigmas=sigmas, corrector=Corrector(degree=2))


rules: list[LinearForecaster] = [Mine(), Newton(1), spectrum(0.5), 0.5 * Newton(1) + 0.5 * Chebyshev(4, ridge=0.1)]
plans = [planned(rule, np.linspace(1.0, 0.0, 51)) for rule in rules]
weights: NDArray[np.float64] = plans[0].weights[7]
worst: NDArray[np.float64] = bounds.of_plan(plans[0], np.arange(50), rho=2.0)
text: str = citation(rules[0])
forecast = combine(weights[:2], [np.zeros(3), np.ones(3)])
error: float = metrics.rmse(np.zeros(3), np.ones(3))
run = plans[0].start()
decided: bool = run.evaluates(0)
again: Plan = Plan.from_json(plans[0].to_json())

# Mistakes, each of which a type checker must find.
Newton("1")  # expect: error
make_plan("newton", np.arange(50), schedules.growing(50))  # expect: error
spectrum(0.5, mode="fre")  # expect: error
plans[0].evaluations = 3  # expect: error
