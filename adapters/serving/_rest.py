"""Which forecasts of a plan can be made from the features of a later step on?

A request whose features had to be dropped in mid-run goes on with these, and with evaluations instead of the others.
"""

import numpy as np

from spectral_forecast import Plan

__all__ = ["rest"]


def rest(plan: Plan, begin: int) -> Plan:
    """Return the plan of the steps from ``begin`` on, for a ring that is empty there.

    Parameters
    ----------
    plan : Plan
        Of N steps.
    begin : int
        0 to N - 1.

    Returns
    -------
    Plan
        Of N - ``begin`` steps, which keeps no more features than ``plan`` and evaluates wherever that does. Forecasts
        are those of ``plan``; where they need a feature from before ``begin`` the step is evaluated instead, and
        corrections of such steps are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import Newton, make_plan, schedules
    >>> plan = make_plan(Newton(1), np.arange(9), schedules.mask(9, [0, 1, 4, 7]), keep=2)
    >>> schedules.steps(rest(plan, 2).evaluate)  # steps 2 to 8: 2 and 3 ask for 0 and 1, and 5 and 6 for 1 and 4
    '0-5'
    """
    evaluate, slot, weights, correction = (np.array(part[begin:]) for part in plan)
    filled = np.zeros(plan.kept, dtype=bool)  # by what the plan wants there
    order: list[int] = []  # of the rows, by when they are filled first
    for step in range(len(evaluate)):
        missing = np.flatnonzero((weights[step] != 0.0) & ~filled)
        if not evaluate[step] and (missing.size or not filled.any()):
            # Its own feature takes a row that holds nothing the plan will ask for.
            evaluate[step] = True
            slot[step] = missing[0] if missing.size else 0
            weights[step] = 0.0
        elif evaluate[step]:
            filled[slot[step]] = True
            weights[step] *= not missing.size
            # It takes back what the steps before were forecast from, so it asks for that, too.
            correction[step] *= not correction[step][~filled].any()
        if evaluate[step] and slot[step] not in order:
            order.append(int(slot[step]))
    number = np.full(plan.kept + 1, len(order), dtype=slot.dtype)
    number[order] = np.arange(len(order))
    return Plan(evaluate, number[slot], weights[:, order], correction[:, order])
