"""A program for `test_jax_sharding`: runs on 8 host devices and prints what it found, as JSON."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from spectral_forecast import Corrector, Newton, make_plan, schedules
from spectral_forecast.adapters.jax import Gated, flow_euler, forecasted, resumable

STEPS, KEPT = 20, 9
SIGMAS = np.linspace(1.0, 0.0, STEPS + 1, dtype=np.float32)
PLAN = make_plan(Newton(1), np.arange(STEPS), schedules.growing(STEPS), keep=KEPT)
CORRECTED = make_plan(
    Newton(1), np.arange(STEPS), schedules.growing(STEPS), keep=KEPT, sigmas=SIGMAS, corrector=Corrector()
)
MATRIX = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32) / 2
X = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
SPOILT = np.where(np.arange(16)[:, None] == 5, np.float32(np.nan), X)  # an item of the third device
MODEL = resumable(lambda x, s: jnp.tanh(x @ jnp.asarray(MATRIX)) + s, lambda h, _, s: 2 * h - s)
COLLECTIVES = (
    r"= (.*) (?:all-gather|all-reduce|all-to-all|collective-permute|collective-broadcast|reduce-scatter)(?:-start)?\("
)
LIMIT = 0.05  # of guarded forecasts' errors


def sample(plan, x):
    return flow_euler(MODEL, plan, x, SIGMAS)


def corrected(plan, x):
    """The same at outputs, with corrections that the guard takes something of."""
    return flow_euler(lambda x, s: MODEL(x, s)[0], plan, x, SIGMAS, at="output", limit=0.02)


def guarded(plan, x):
    """Forecasts that are drawn back, item by item."""
    return flow_euler(MODEL, plan, x, SIGMAS, forecast_limit=LIMIT)


def gate(evidence):
    """True for few items only, so that devices would decide differently."""
    return evidence.change > 0.6


def numbers(text):
    """How many numbers each collective of a program carries."""
    sizes = [re.findall(r"\w+\[([\d,]*)\]", shapes) for shapes in re.findall(COLLECTIVES, text)]
    return [sum(int(np.prod([int(n) for n in size.split(",") if n])) for size in one) for one in sizes]


def facts(function, *args, expected):
    """What the compiled program of a function holds, and how far its result is from that on one device."""
    jitted = jax.jit(function)
    text = jitted.lower(*args).compile().as_text()
    result = jitted(*args)
    return {
        "collectives": len(re.findall(COLLECTIVES, text)),
        "numbers": numbers(text),
        "rings": sorted(set(re.findall(rf"f32\[({KEPT + 1},[\d,]+)\]", text))),
        "spec": str(result.sharding.spec),
        "error": float(np.abs(np.asarray(result) - expected).max()),
    }


def in_steps(x):
    """The ring made outside of a program, and one jitted call a step, which is given the ring to reuse."""
    forecast = forecasted(MODEL, PLAN)
    ring = forecast.init(x, SIGMAS[0])
    apply, reused = jax.jit(forecast.apply, donate_argnums=0), []
    for i in range(STEPS):
        before, places = ring.rows, addresses(ring.rows)
        velocity, ring = apply(ring, i, x, SIGMAS[i])
        reused.append(before.is_deleted() and addresses(ring.rows) == places)
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * velocity
    return x, str(ring.rows.sharding.spec), all(reused[1:])


def addresses(array):
    """Where an array's parts lie in memory."""
    return [part.data.unsafe_buffer_pointer() for part in array.addressable_shards]


def tokens_spread(mesh):
    """Tokens instead of items over the devices: what a guarded run, and a forecast of it alone, communicates."""
    x = np.random.default_rng(2).normal(size=(2, 16, 6)).astype(np.float32)
    spread = jax.device_put(x, NamedSharding(mesh, P(None, "data")))
    forecast = forecasted(MODEL, PLAN, limit=LIMIT)
    skipped = int(np.flatnonzero(~PLAN.evaluate)[0])
    ring = jax.jit(forecast.init)(spread, SIGMAS[0])
    alone = jax.jit(lambda ring, x: forecast.apply(ring, skipped, x, SIGMAS[skipped]))
    run = facts(guarded, PLAN, spread, expected=np.asarray(guarded(PLAN, x)))
    return run | {"forecast": numbers(alone.lower(ring, spread).compile().as_text())}


def spoilt(x):
    """One device's items hold a NaN; what the others' become, beside what they would have been."""
    nan = jax.device_put(SPOILT, x.sharding)
    found = {}
    for name, function, plan in (
        ("plan", sample, PLAN),
        ("guarded", guarded, PLAN),
        ("corrected", corrected, CORRECTED),
    ):
        clean, other = (np.asarray(jax.jit(function)(plan, one)) for one in (x, nan))
        rest = np.arange(16) != 5
        found[name] = {
            "nan": bool(np.isnan(other[5]).all()),
            "finite": bool(np.isfinite(other[rest]).all()),
            "same": bool(np.array_equal(other[rest], clean[rest])),
        }
    return found


def with_collectives(mesh):
    """Collectives of a model whose trunk and head multiply by sharded matrices: without forecasting, and with it."""
    wide = jax.device_put(np.ones((48, 64), np.float32) / 48, NamedSharding(mesh, P(None, "data")))
    x = np.tile(X, (1, 8))

    def trunk(x, s, wide):
        return jnp.tanh(x @ wide @ wide.T @ wide) + s

    def head(h, x, s, wide):
        return h @ wide.T - 0.1 * x + s

    def plain(_plan, x, wide):
        def step(x, i):
            s = jnp.asarray(SIGMAS)
            return x + (s[i + 1] - s[i]) * head(trunk(x, s[i], wide), x, s[i], wide), None

        return jax.lax.scan(step, x, jnp.arange(STEPS))[0]

    def forecast(plan, x, wide):
        return flow_euler(resumable(trunk, head), plan, x, SIGMAS, wide)

    return [facts(function, PLAN, x, wide, expected=0.0)["collectives"] for function in (plain, forecast)]


def main():
    """Sample on one device, and on eight with Auto axes, Explicit axes and `shard_map`."""
    found = {"devices": jax.device_count()}
    expected, mended = np.asarray(sample(PLAN, X)), np.asarray(corrected(CORRECTED, X))
    drawn = np.asarray(guarded(PLAN, X))
    found["guarded differs"] = float(np.abs(drawn - expected).max())
    found["corrected differs"] = float(np.abs(np.asarray(corrected(PLAN, X)) - mended).max())
    for kind in (AxisType.Auto, AxisType.Explicit):
        mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
        with jax.set_mesh(mesh):
            x = jax.device_put(X, NamedSharding(mesh, P("data")))
            found[kind.name] = facts(sample, PLAN, x, expected=expected)
            found[kind.name]["corrected"] = facts(corrected, CORRECTED, x, expected=mended)
            found[kind.name]["known to correct nothing"] = facts(lambda x: corrected(PLAN, x), x, expected=mended)
            found[kind.name]["guarded"] = facts(guarded, PLAN, x, expected=drawn)
            stepped, found[kind.name]["stepped ring"], found[kind.name]["reused"] = in_steps(x)
            found[kind.name]["spoilt"] = spoilt(x)
            if kind is AxisType.Auto:
                found["with collectives"] = with_collectives(mesh)
                found["tokens"] = tokens_spread(mesh)
            found[kind.name]["stepped error"] = float(np.abs(np.asarray(stepped) - expected).max())
    with jax.set_mesh(jax.make_mesh((8,), ("data",))):
        x = jax.device_put(X, P("data"))

        def mapped(function):
            return jax.shard_map(function, in_specs=(P(), P("data")), out_specs=P("data"))

        found["shard_map"] = facts(mapped(sample), PLAN, x, expected=expected)
        shards = np.concatenate([np.asarray(corrected(CORRECTED, part)) for part in np.split(X, 8)])
        found["corrected shards differ"] = float(np.abs(shards - mended).max())
        found["shard_map"]["corrected"] = facts(mapped(corrected), CORRECTED, x, expected=shards)
        found["shard_map"]["guarded"] = facts(mapped(guarded), PLAN, x, expected=drawn)
        clock = np.arange(STEPS)
        gated = np.asarray(sample(Gated(clock, gate), X))
        found["gated differs from the plan"] = float(np.abs(gated - expected).max())
        named = Gated(clock, gate, axis_name="data")
        found["gated"] = facts(mapped(lambda _, x: sample(named, x)), PLAN, x, expected=gated)
        decide = jax.jit(mapped(lambda _, x: sample(named, x)))
        others = [np.asarray(decide(PLAN, one))[np.arange(16) != 5] for one in (x, jax.device_put(SPOILT, P("data")))]
        found["gated"]["others with a NaN"] = float(np.abs(others[0] - others[1]).max())
        try:
            mapped(lambda _, x: sample(Gated(clock, gate), x))(PLAN, x)
        except ValueError as error:
            found["unnamed"] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
