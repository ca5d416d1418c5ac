"""The weighted sum, on every array library, dtype and device."""

import array_api_compat.torch as torch
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import LIBRARIES, to_numpy
from spectral_forecast import combine


def features(xp, dtype, *shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return [xp.astype(xp.asarray(row), dtype) for row in values]


def test_is_the_weighted_sum(kind):
    xp, dtype = kind
    kept = features(xp, dtype, 5, 3, 4)
    weights = np.array([0.5, -2.0, 0.0, 1.25, 3.0])
    forecast = combine(weights, kept)
    assert forecast.dtype == dtype
    assert forecast.shape == (3, 4)
    expected = np.tensordot(weights, [to_numpy(row) for row in kept], axes=1)
    assert to_numpy(forecast) == pytest.approx(expected, rel=4 * float(xp.finfo(dtype).eps), abs=1e-6)


def test_accumulates_in_at_least_float32(kind):
    xp, dtype = kind
    kept = [xp.asarray([2048.0], dtype=dtype), xp.asarray([1.0], dtype=dtype), xp.asarray([-2048.0], dtype=dtype)]
    # In half precision 2048 + 1 is 2048: summed in the features' own dtype the result would be 0.
    assert to_numpy(combine(np.ones(3), kept)) == pytest.approx([1.0])


def test_stacked_and_listed_features_agree(xp):
    kept = features(xp, xp.float32, 4, 6)
    weights = [0.1, 0.2, 0.3, 0.4]
    stacked = xp.stack(kept)
    assert stacked.shape == (4, 6)
    assert np.array_equal(to_numpy(combine(weights, kept)), to_numpy(combine(weights, stacked)))


def test_batched_is_item_by_item(xp):
    kept = features(xp, xp.float32, 3, 5, 7)
    weights = [1.5, -2.0, 1.5]
    batch = to_numpy(combine(weights, kept))
    for item in range(5):
        assert np.array_equal(batch[item], to_numpy(combine(weights, [row[item, :] for row in kept])))


def test_one_weight_of_one_is_a_bitwise_copy(kind):
    xp, dtype = kind
    kept = features(xp, dtype, 3, 8)
    assert np.array_equal(to_numpy(combine([0.0, 0.0, 1.0], kept)), to_numpy(kept[2]))


def test_features_of_weight_zero_are_not_read(xp):
    poisoned = [xp.asarray([np.nan, np.inf]), xp.asarray([1.0, 2.0])]
    assert to_numpy(combine([0.0, 2.0], poisoned)).tolist() == [2.0, 4.0]
    assert to_numpy(combine([0.0, 0.0], poisoned)).tolist() == [0.0, 0.0]


def test_stays_on_the_device(device):
    kept = [torch.ones((2, 3), device=device), torch.ones((2, 3), device=device)]
    forecast = combine([0.5, 0.25], kept)
    assert forecast.device.type == device
    assert forecast.shape == (2, 3)


def test_inputs_are_left_alone():
    kept = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    for row in kept:
        row.flags.writeable = False
    forecast = combine([0.0, 1.0], kept)
    forecast += 1.0
    assert kept[1].tolist() == [3.0, 4.0]


def test_complex_features():
    kept = [np.array([1j]), np.array([1.0 + 0j])]
    assert combine([2.0, -1.0], kept).tolist() == [-1 + 2j]


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8))
def test_is_linear_in_the_weights(weights):
    kept = np.random.default_rng(1).normal(size=(len(weights), 5))
    whole = combine(weights, kept)
    parts = sum(combine(np.where(np.arange(len(weights)) == k, weights, 0.0), kept) for k in range(len(weights)))
    assert whole == pytest.approx(parts, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("xp", LIBRARIES.values(), ids=LIBRARIES)
def test_integers_are_refused(xp):
    with pytest.raises(TypeError, match="write floating-point arrays"):
        combine([1.0], [xp.asarray([1, 2])])


@pytest.mark.parametrize(
    ("weights", "kept", "message"),
    [
        ([], [], "write one weight for each feature"),
        ([1.0], [np.ones(2), np.ones(2)], r"`weights` has shape \(1,\) for 2 `features`"),
        ([1.0, np.nan], [np.ones(2), np.ones(2)], "`weights` holds a NaN"),
        ([1.0, 1.0], [np.ones(2), np.ones((1, 2))], r"`features\[1\]` is float64 of shape \(1, 2\)"),
        ([1.0, 1.0], [np.ones(2), np.ones(2, dtype=np.float32)], r"`features\[1\]` is float32 of shape"),
    ],
)
def test_bad_input(weights, kept, message):
    with pytest.raises(ValueError, match=message):
        combine(weights, kept)
