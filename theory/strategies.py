"""Hypothesis strategies for everything that the theory speaks of. The only module here that imports hypothesis."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from spectral_forecast import LinearRule
from spectral_forecast.theory.functions import CATALOGUE, RULES, TestFunction

__all__ = ["functions", "radii", "rules", "runs", "series", "vectors"]

radii = st.floats(1.02, 20.0)
"""Parameters of ellipses."""

functions: st.SearchStrategy[TestFunction] = st.sampled_from(CATALOGUE)
"""Functions of the catalogue."""

rules: st.SearchStrategy[LinearRule] = st.sampled_from(RULES)
"""Forecasters."""


@st.composite
def runs(draw: Any, *, least: int = 1, most: int = 14, end: float = 1.0) -> tuple[Any, float]:
    """Draw kept times and a later target on [-1, ``end``], gaps differing up to a hundredfold."""
    gaps = draw(st.lists(st.floats(0.01, 1.0), min_size=least, max_size=most))
    clock = np.concatenate([[0.0], np.cumsum(gaps)])
    clock = -1.0 + (end + 1.0) * clock / clock[-1]
    return clock[:-1], float(min(clock[-1], end))


@st.composite
def series(draw: Any, rho: float, *, longest: int = 24) -> Any:
    r"""Draw :math:`|c_0| \le 1`, :math:`|c_m| \le 2\rho^{-m}`, with a liking for equality and for zero."""
    share = st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1.0, 1.0))
    shares = np.array(draw(st.lists(share, min_size=1, max_size=longest)))
    limit = 2.0 * rho ** -np.arange(float(shares.size))
    limit[0] = 1.0
    return shares * limit


@st.composite
def vectors(draw: Any, rho: float, *, channels: int = 3, longest: int = 16) -> Any:
    """Draw coefficients (channels, degrees) whose 2-norm over the channels keeps the same limits."""
    drawn = [draw(series(rho, longest=longest)) for _ in range(channels)]
    length = max(map(len, drawn))
    return np.stack([np.pad(c, (0, length - len(c))) for c in drawn]) / np.sqrt(channels)
