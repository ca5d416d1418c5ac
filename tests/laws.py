"""The table of shipped forecasters, and the strategies that the laws draw from."""

import numpy as np
from hypothesis import strategies as st

from spectral_forecast import (
    AdamsBashforth,
    AnalyticKernel,
    Blaschke,
    Chebyshev,
    FloaterHormann,
    FoCa,
    Hermite,
    Newton,
    Reuse,
    TaylorSeer,
    spectrum,
)

FORECASTERS = [
    Reuse(),
    *(Newton(order) for order in range(5)),
    *(TaylorSeer(order) for order in range(5)),
    *(Chebyshev(4, ridge=0.1, free=free) for free in range(6)),
    Chebyshev(3, ridge=0.0),
    Chebyshev(6, ridge=1e-12, free=1),
    spectrum(),
    spectrum(0.5),
    spectrum(0.5, mode="free"),
    2.0 * Newton(2) - Newton(1),
    *(AnalyticKernel(2.0, 1e-3, drift) for drift in range(-1, 3)),
    AnalyticKernel(1.2, 0.1, 0),
    Blaschke(1.5, 3),
    Blaschke(1.2, 2),
    *(FloaterHormann(degree) for degree in range(4)),
    *(Hermite(order, step=0.125) for order in range(1, 4)),
    Hermite(2, sigma=2**-0.5, step=0.03125),
    *(AdamsBashforth(order, step=0.125) for order in range(2, 5)),
    FoCa(step=0.125),
    FoCa(corrector=False, step=0.125),
    0.5 * FoCa(step=0.25) + 0.5 * Newton(1),
]


@st.composite
def nodes(draw, least=1, most=12):
    """Times of kept features and a later target on [-1, 1], with gaps that differ up to a hundredfold."""
    count = draw(st.integers(least, most))
    gaps = draw(st.lists(st.floats(0.01, 1.0), min_size=count, max_size=count))
    start, end = draw(st.sampled_from([(-1.0, 1.0), (-1.0, -0.3), (0.2, 0.9)]))
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    times = start + (end - start) * times / times[-1]
    return times[:-1], float(min(times[-1], 1.0))


@st.composite
def runs(draw, longest=30):
    """Integer times of a run, and a mask of evaluated steps."""
    gaps = draw(st.lists(st.integers(1, 20), min_size=1, max_size=longest - 1))
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    later = draw(st.lists(st.booleans(), min_size=len(gaps), max_size=len(gaps)))
    return times, np.array([True, *later])


def carried_out(plan, features, **options):
    """All features of a run, kept or forecast."""
    run, seen = plan.start(**options), []
    for step, feature in enumerate(features):
        if run.evaluates(step):
            run.keep(step, feature)
            seen.append(feature)
        else:
            seen.append(run.forecast(step))
    return seen
