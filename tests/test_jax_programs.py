"""What XLA makes of a forecast: one pass over the kept rows, and no copy of the ring in a wider dtype."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spectral_forecast import Corrector, Newton, make_plan, schedules
from spectral_forecast.adapters.jax import Gated, flow_euler, forecasted
from spectral_forecast.adapters.jax._ring import Ring, weighted_sum

STEPS, KEPT = 20, 9
SIGMAS = np.linspace(1.0, 0.0, STEPS + 1, dtype=np.float32)
MASK = schedules.growing(STEPS)
PLAN = make_plan(Newton(1), np.arange(STEPS), MASK, keep=KEPT)
CORRECTED = make_plan(Newton(1), np.arange(STEPS), MASK, keep=KEPT, sigmas=SIGMAS, corrector=Corrector())
SHAPE = (4, 256, 64)
X = jnp.ones(SHAPE, jnp.bfloat16)
FEATURE, RING = X.nbytes, (KEPT + 1) * X.nbytes


class Held(NamedTuple):
    """One instruction of a program whose result is in memory: it is not inside of a fusion."""

    kind: str
    dtype: str
    size: int
    line: str


def held(compiled):
    """The instructions of a compiled program that write arrays, those of its loops and branches included."""
    found, computation = [], ""
    for line in compiled.as_text().splitlines():
        if head := re.match(r"(?:ENTRY )?%([\w.\-]+) \(", line):
            computation = head[1]
        made = re.match(r"\s+(?:ROOT )?%[\w.\-]+ = (\w+)\[([\d,]*)\]\S* ([\w\-]+)\(", line)
        if made and not computation.startswith(("fused", "wrapped")):
            size = int(np.prod([int(n) for n in made[2].split(",") if n]))
            if made[3] not in ("parameter", "get-tuple-element", "bitcast"):
                found.append(Held(made[3], made[1], size, line.strip()))
    return found


def wide_copies(compiled):
    """Of what is in memory, whatever is larger than a feature and wider than its numbers."""
    return [one.line for one in held(compiled) if one.size > X.size and one.dtype != "bf16"]


def network(x, sigma):
    return jnp.tanh(x) * sigma.astype(x.dtype)


def test_the_reader_of_programs_sees_a_copy():
    def copying(rows):
        return jnp.sort(rows.astype(jnp.float32), axis=0)[KEPT].astype(rows.dtype)

    rows = jnp.ones((KEPT + 1, *SHAPE), jnp.bfloat16)
    compiled = jax.jit(copying).lower(rows).compile()
    assert wide_copies(compiled)
    assert compiled.memory_analysis().temp_size_in_bytes >= 2 * RING


@pytest.mark.parametrize("limit", [None, 0.6])
def test_a_weighted_sum_is_one_fusion(limit):
    ring = Ring(jnp.ones((KEPT + 1, *SHAPE), jnp.bfloat16), (X.dtype,))
    weights = jnp.ones(KEPT, jnp.float32) if limit is None else [jnp.ones((KEPT, 4, 1, 1), jnp.float32)]
    compiled = jax.jit(weighted_sum).lower(weights, ring).compile()
    (only,) = held(compiled)
    assert (only.kind, only.dtype, only.size) == ("fusion", "bf16", X.size)
    assert compiled.memory_analysis().temp_size_in_bytes < 1024


@pytest.mark.parametrize("limit", [None, 0.6])
def test_a_step_holds_no_second_ring(limit):
    forecast = forecasted(network, PLAN, at="output", limit=limit)
    ring = jax.eval_shape(forecast.init, X, jnp.float32(1.0))
    step = jax.jit(forecast.apply, donate_argnums=0)
    compiled = step.lower(ring, jnp.int32(3), X, jnp.float32(0.5)).compile()
    assert not wide_copies(compiled)
    memory = compiled.memory_analysis()
    assert memory.alias_size_in_bytes >= RING
    # A guarded step that evaluates compares the feature with a forecast and with the newest one, in float32.
    assert memory.temp_size_in_bytes < (0.1 if limit is None else 7.0) * FEATURE


@pytest.mark.parametrize("loop", ["scan", "fori_loop"])
@pytest.mark.parametrize(
    ("plan", "limit", "features"),
    [(CORRECTED, None, 5), (PLAN, 0.6, 8), (Gated(np.arange(STEPS), lambda e: e.change > 0.1), None, 7)],
    ids=["corrected", "guarded", "gated"],
)
def test_a_run_holds_one_ring_in_the_features_own_dtype(plan, limit, features, loop):
    def sample(plan, x):
        return flow_euler(network, plan, x, SIGMAS, at="output", forecast_limit=limit, loop=loop)

    compiled = jax.jit(sample).lower(plan, X).compile()
    assert not wide_copies(compiled)
    ring = RING if not isinstance(plan, Gated) else 3 * FEATURE
    assert ring <= compiled.memory_analysis().temp_size_in_bytes < ring + features * FEATURE
