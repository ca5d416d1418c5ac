"""Distances between results, on every array library."""

import math

import numpy as np
import pytest

from spectral_forecast.metrics import psnr, relative_error, rmse


def test_values_on_every_library_and_dtype(kind):
    xp, dtype = kind
    a, b = xp.asarray([1.0, 2.0, 3.0, 4.0], dtype=dtype), xp.asarray([1.0, 2.0, 3.0, 8.0], dtype=dtype)
    assert rmse(a, b) == pytest.approx(2.0)
    assert relative_error(a, b) == pytest.approx(4.0 / math.sqrt(78.0), rel=1e-6)
    assert psnr(a, b, data_range=20.0) == pytest.approx(20.0)


def test_narrow_dtypes_do_not_overflow():
    a = np.full(1000, 300.0, dtype=np.float16)
    assert rmse(a, -a) == pytest.approx(600.0)


def test_edges():
    zero, one = np.zeros(2), np.ones(2)
    assert rmse(zero, zero) == 0.0
    assert relative_error(zero, zero) == 0.0
    assert relative_error(one, zero) == math.inf
    assert psnr(one, one, data_range=1.0) == math.inf


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rmse(np.ones(2), np.ones(3)), ValueError, r"`result` has shape \(2,\), `reference` \(3,\)"),
        (lambda: rmse(np.ones(0), np.ones(0)), ValueError, "are empty"),
        (lambda: rmse(np.ones(2, dtype=int), np.ones(2, dtype=int)), TypeError, "`result` has dtype int64"),
        (lambda: psnr(np.ones(2), np.ones(2), data_range=0.0), ValueError, "`data_range` is 0.0; write a positive"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
