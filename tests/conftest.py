"""Fixtures that every test of features shares: the array libraries, their dtypes and devices."""

import json
import os
from pathlib import Path

import array_api_compat.numpy
import array_api_compat.torch
import array_api_strict
import jax
import numpy as np
import pytest
from hypothesis import settings

jax.config.update("jax_enable_x64", True)
# On CI the same examples every time, elsewhere new ones: a law that fails rarely is found by people, not by chance.
settings.register_profile("laws", max_examples=500, deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.register_profile("brief", max_examples=25, deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "laws"))

LIBRARIES = {
    "numpy": array_api_compat.numpy,
    "strict": array_api_strict,
    "torch": array_api_compat.torch,
    "jax": jax.numpy,
}
FLOATS = ("float64", "float32", "float16", "bfloat16")
KINDS = [(name, kind) for name, xp in LIBRARIES.items() for kind in FLOATS if hasattr(xp, kind)]


def to_numpy(array):
    """A float64 copy on the host."""
    if isinstance(array, array_api_compat.torch.Tensor):
        array = array.double().numpy(force=True)
    elif isinstance(array, array_api_strict._array_object.Array):
        array = np.from_dlpack(array)
    return np.asarray(array).astype(np.float64)


@pytest.fixture(params=LIBRARIES)
def xp(request):
    """Each array library once."""
    return LIBRARIES[request.param]


@pytest.fixture(params=KINDS, ids="-".join)
def kind(request):
    """Each array library with each of its floating dtypes: (xp, dtype)."""
    name, dtype = request.param
    return LIBRARIES[name], getattr(LIBRARIES[name], dtype)


@pytest.fixture(params=["cpu", "meta"])
def device(request):
    """PyTorch devices; "meta" has shapes but no values, so whatever reads a value on the host fails on it."""
    return request.param


@pytest.fixture(scope="session")
def reference():
    """Forecasts of the released codes on eight analytic features, and the schedules they were made with."""
    folder = Path(__file__).parent / "data"
    with np.load(folder / "forecasts.npz") as arrays:
        forecasts = dict(arrays)
    return forecasts, json.loads((folder / "schedules.json").read_text())["schedules"]
