"""TC-Padé's forms that work element by element never give a value that is not finite, on any library and dtype."""

import array_api_compat.torch as torch
import array_api_strict
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import to_numpy
from spectral_forecast import TCPadePaper, TCPadeReleased, TCPadeRun

FORMS = [TCPadePaper(), TCPadeReleased()]
KINDS = [
    (array_api_strict, "float32"),
    (np, "float16"),
    (np, "float32"),
    (torch, "float16"),
    (torch, "bfloat16"),
    (torch, "float32"),
    (jnp, "float16"),
    (jnp, "bfloat16"),
    (jnp, "float32"),
]


def extremes(xp, kind):
    info = xp.finfo(getattr(xp, kind))
    largest, smallest = float(info.max), float(info.smallest_normal)
    values = [0.0, 1.0, 1.0 + float(info.eps), largest, largest / 2, smallest, smallest / 4, 1e-7, 3.0]
    return st.sampled_from(values + [-value for value in values])


@pytest.mark.parametrize(("xp", "kind"), KINDS, ids=lambda part: getattr(part, "__name__", part).split(".")[-1])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
@settings(max_examples=150)
@given(st.data())
def test_finite_in_finite_out(form, xp, kind, data):
    count = data.draw(st.integers(1, 6))
    values = data.draw(st.lists(extremes(xp, kind), min_size=3 * count, max_size=3 * count))
    residuals = [xp.asarray(values[3 * k : 3 * k + 3], dtype=getattr(xp, kind)) for k in range(count)]
    if data.draw(st.booleans()):
        residuals[-1] = residuals[0]
    for t in (-0.9, 0.0, 0.9):
        times = np.linspace(-1.0, t - 0.05, count) if count > 1 else [t - 0.05]
        found = form.forecast(times, residuals, t)
        assert found.dtype == residuals[0].dtype
        assert found.shape == residuals[0].shape
        assert np.isfinite(to_numpy(found)).all()


@pytest.mark.parametrize(("xp", "kind"), KINDS, ids=lambda part: getattr(part, "__name__", part).split(".")[-1])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
@settings(max_examples=30)
@given(st.data())
def test_runs_stay_finite(form, xp, kind, data):
    values = data.draw(st.lists(extremes(xp, kind), min_size=40, max_size=40))
    run = TCPadeRun(form, 20)
    for step in range(20):
        inputs, outputs = (xp.asarray([values[2 * step + k]], dtype=getattr(xp, kind)) for k in range(2))
        if run.evaluates(step):
            run.keep(step, inputs, outputs)
        else:
            assert np.isfinite(to_numpy(run.forecast(step, inputs))).all()
