"""Stages and ranges of forecasts that are made element by element, in every library and dtype."""

import numpy as np
import pytest

from conftest import to_numpy
from spectral_forecast.forecasters.elementwise import PART, bounded, staged, widened

R1, R2 = [2.0, -4.0, 0.0], [1.0, -8.0, 16.0]
EARLY, MIDDLE, LATE = -0.9, 0.0, 0.9


def pair(kind):
    """Two features, oldest first, with an older one that must not matter."""
    xp, dtype = kind
    return [xp.asarray(values, dtype=dtype) for values in ([np.nan] * 3, R2, R1)]


def wide(kind):
    """The dtype that is computed in, and how many digits of the feature's it keeps."""
    xp, dtype = kind
    bits = xp.finfo(dtype).bits
    return (dtype if bits > 16 else xp.float32), {16: 1e-2, 32: 1e-6, 64: 1e-15}[bits]


def test_a_sixteenth_is_computed_with_in_float32_at_least(kind):
    ours = widened(pair(kind)[-1])
    assert ours.dtype == wide(kind)[0]
    assert to_numpy(ours).tolist() == [0.125, -0.25, 0.0]


def test_whole_features_come_back_in_their_dtype_and_inside_its_range(kind):
    xp, dtype = kind
    like = xp.ones(1, dtype=dtype)
    largest = float(xp.finfo(dtype).max)
    part = xp.asarray([0.125, -0.5, 0.0, largest / 16, -largest / 16, largest / 8, -largest / 8], dtype=wide(kind)[0])
    whole = bounded(part, like)
    assert whole.dtype == dtype
    assert to_numpy(whole).tolist() == [2.0, -8.0, 0.0, largest, -largest, largest, -largest]


def test_the_early_stage_averages(kind):
    result = staged(pair(kind), EARLY, lambda *_: pytest.fail("the rule for the middle was called"))
    assert result.dtype == kind[1]
    assert to_numpy(result) == pytest.approx(0.9 * np.array(R1) + 0.1 * np.array(R2), rel=wide(kind)[1])


@pytest.mark.parametrize(("t", "trend"), [(MIDDLE, 0.0), (LATE, 0.3)])
def test_later_stages_follow_their_rule_and_the_last_one_a_trend_too(kind, t, trend):
    seen = []

    def middle(r1, r2):
        seen.append((r1, r2))
        return r1 + 2.0 * r2

    result = staged(pair(kind), t, middle)
    (r1, r2), *more = seen
    assert more == []
    assert r1.dtype == r2.dtype == wide(kind)[0]
    assert to_numpy(r1).tolist() == (PART * np.array(R1)).tolist()
    assert to_numpy(r2).tolist() == (PART * np.array(R2)).tolist()
    assert result.dtype == kind[1]
    expected = np.array(R1) + 2.0 * np.array(R2) + trend * (np.array(R1) - np.array(R2))
    assert to_numpy(result) == pytest.approx(expected, rel=wide(kind)[1])


def test_where_a_rule_leaves_the_range_half_the_trend_is_followed(kind):
    xp, dtype = kind
    largest = float(xp.finfo(dtype).max)
    bad = xp.asarray([np.nan, -np.inf, np.inf], dtype=wide(kind)[0])
    assert to_numpy(staged(pair(kind), MIDDLE, lambda *_: bad)).tolist() == [2.5, -2.0, -8.0]
    edge = xp.asarray([largest / 8, -largest / 8, largest / 16], dtype=wide(kind)[0])
    assert to_numpy(staged(pair(kind), MIDDLE, lambda *_: edge)).tolist() == [2.5, -2.0, largest]


@pytest.mark.parametrize("t", [EARLY, MIDDLE, LATE])
def test_the_largest_features_overflow_nowhere(kind, t):
    xp, dtype = kind
    largest = float(xp.finfo(dtype).max)
    features = [xp.asarray(values, dtype=dtype) for values in ([largest, -largest], [-largest, largest])]
    result = to_numpy(staged(features, t, lambda r1, r2: 8.0 * (r1 - r2)))
    assert (np.abs(result) <= largest).all()
    assert (result < 0).tolist() == [True, False]


@pytest.mark.filterwarnings("error")
def test_no_warning_where_a_rule_divides_by_zero():
    features = [np.array(R2), np.array(R1)]
    ours = staged(features, MIDDLE, lambda r1, _: r1 / (r1 * 0.0))
    assert ours.tolist() == [2.5, -2.0, -8.0]
