"""The JAX adapter on eight devices, and docs/jax.md on eight devices; in programs of their own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command):
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found():
    return json.loads(run("tests/on_8_devices.py").splitlines()[-1])


@pytest.mark.parametrize("kind", ["Auto", "Explicit", "shard_map"])
def test_no_collectives_and_a_sharded_ring(found, kind):
    assert found["devices"] == 8
    assert found[kind]["collectives"] == 0
    assert found[kind]["rings"] == ["10,2,6"]  # of 16 items every device has two
    assert "'data'" in found[kind]["spec"]
    assert found[kind]["error"] < 1e-6


def test_no_collectives_are_added_to_those_of_the_model(found):
    without, forecast = found["with collectives"]
    assert forecast == without >= 2


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_a_corrector_is_guarded_by_a_norm_over_all_devices(found, kind):
    assert found[kind]["corrected"]["error"] < 1e-6 < 1e-3 < found["corrected differs"]
    assert found[kind]["corrected"]["numbers"] == [2]  # one collective, of two squared norms
    assert "'data'" in found[kind]["corrected"]["spec"]
    assert found[kind]["known to correct nothing"]["collectives"] == 0


def test_a_corrector_in_a_shard_map_is_guarded_by_each_shards_norm(found):
    assert found["shard_map"]["corrected"]["collectives"] == 0
    assert found["shard_map"]["corrected"]["error"] < 1e-6 < 1e-5 < found["corrected shards differ"]


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_a_ring_that_is_made_outside_of_the_program(found, kind):
    assert found[kind]["stepped ring"].startswith("P(None, 'data'")
    assert found[kind]["stepped error"] < 2e-6
    assert found[kind]["reused"]  # every device writes into the memory that it gave away


@pytest.mark.parametrize("kind", ["Auto", "Explicit", "shard_map"])
def test_guarded_forecasts_add_no_collectives_where_items_are_spread(found, kind):
    assert found[kind]["guarded"]["numbers"] == []
    assert found[kind]["guarded"]["error"] < 1e-6 < 1e-2 < found["guarded differs"]
    assert "'data'" in found[kind]["guarded"]["spec"]


def test_guarded_forecasts_of_tokens_that_are_spread(found):
    """Norms of items that no device has whole: three numbers an item in an evaluation, and nothing in a forecast."""
    assert found["tokens"]["numbers"] == [3 * 2]
    assert found["tokens"]["forecast"] == []
    assert found["tokens"]["error"] < 2e-6


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_a_nan_on_one_device_stays_there(found, kind):
    for name, told in found[kind]["spoilt"].items():
        assert told["nan"]
        assert told["finite"]
        # A correction that is guarded by all items' norm is not made: it is not known how far off forecasts were.
        assert told["same"] == (name != "corrected")


def test_gates_agree_on_all_devices(found):
    assert found["gated differs from the plan"] > 1e-3
    assert found["gated"]["error"] < 1e-6
    assert found["gated"]["numbers"] == [1]  # the agreement itself
    assert found["gated"]["others with a NaN"] == 0.0  # no device decides otherwise for it
    assert found["unnamed"].startswith("`axis_name` does not cover the mesh axes ['data']")


def test_the_page_on_eight_devices(tmp_path):
    page = (ROOT / "docs" / "jax.md").read_text()
    needed = ("# JAX", "## Your own scan", "## Decisions at run time", "## Many devices")
    sections = [part for part in re.split(r"^(?=#+ )", page, flags=re.M) if part.startswith(needed)]
    assert len(sections) == len(needed)
    program = tmp_path / "page.py"
    program.write_text("\n".join(re.findall(r"^```python\n(.*?)^```", "".join(sections), flags=re.M | re.S)))
    run("-W", "error", str(program))
