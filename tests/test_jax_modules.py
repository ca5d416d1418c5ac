"""Flax and Equinox modules made resumable, and gates that decide at run time."""

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from spectral_forecast import Newton, make_plan, schedules
from spectral_forecast.adapters.jax import Gated, flow_euler, forecasted, from_equinox, from_linen, from_nnx, resumable

STEPS = 20
SIGMAS = np.linspace(1.0, 0.0, STEPS + 1, dtype=np.float32)
PLAN = make_plan(Newton(1), np.arange(STEPS), schedules.growing(STEPS))
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)


class LinenBlock(linen.Module):
    @linen.compact
    def __call__(self, x, text):
        return x + jnp.tanh(linen.Dense(4)(x)), 2 * text


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x, sigma):
        temb = jnp.cos(sigma) * jnp.ones(4)
        h, text = linen.Dense(4, name="embed")(x), jnp.ones(4)
        for n in range(3):
            h, text = LinenBlock(name=f"block_{n}")(x=h + sigma, text=text)
        h = linen.LayerNorm(name="norm_out")(h) * temb
        return linen.Dense(4, name="proj_out")(h)


class Norm(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.LayerNorm(4, rngs=rngs)

    def __call__(self, x, temb):
        return self.norm(x) * temb


class Block(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(4, 4, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x):
        return x + self.drop(jnp.tanh(self.linear(x)))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Linear(4, 4, rngs=rngs)
        self.blocks = nnx.List([Block(rngs) for _ in range(3)])
        self.final = Norm(rngs)
        self.proj_out = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x, sigma):
        h = self.embed(x) + sigma
        for block in self.blocks:
            h = block(h)
        return self.proj_out(self.final(x=h, temb=jnp.cos(sigma)))


class Equinox(equinox.Module):
    embed: equinox.nn.Linear
    blocks: list
    norm_out: equinox.nn.LayerNorm
    proj_out: equinox.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key, 4)
        self.embed, self.proj_out = (equinox.nn.Linear(4, 4, key=k, dtype=jnp.float32) for k in keys[:2])
        self.blocks = [equinox.nn.MLP(4, 4, 8, 1, jnp.tanh, key=k, dtype=jnp.float32) for k in keys[2:]]
        self.norm_out = equinox.nn.LayerNorm(4, dtype=jnp.float32)

    def __call__(self, x, sigma):
        h = jax.vmap(self.embed)(x) + sigma
        for block in self.blocks:
            h = jax.vmap(block)(h)
        return jax.vmap(self.proj_out)(jax.vmap(self.norm_out)(h) * jnp.cos(sigma))


class Whole(equinox.Module):
    """`Equinox` with its norm over all items, so that the head is called once and outside of `vmap`."""

    inner: Equinox
    blocks: list
    head: "Tail"

    def __init__(self, key):
        self.inner = Equinox(key)
        self.blocks = [Rows(block) for block in self.inner.blocks]
        self.head = Tail(self.inner.norm_out, self.inner.proj_out)

    def __call__(self, x, sigma):
        h = jax.vmap(self.inner.embed)(x) + sigma
        for block in self.blocks:
            h = block(h)
        return self.head(h, sigma)


class Rows(equinox.Module):
    one: equinox.nn.MLP

    def __call__(self, x):
        return jax.vmap(self.one)(x)


class Tail(equinox.Module):
    norm: equinox.nn.LayerNorm
    out: equinox.nn.Linear

    def __call__(self, h, sigma):
        return jax.vmap(self.out)(jax.vmap(self.norm)(h) * jnp.cos(sigma))


def linen_case():
    module = Linen()
    variables = module.init(jax.random.key(0), X, SIGMAS[0])
    model = from_linen(module, blocks={LinenBlock: lambda x, text: (x, text)}, head="norm_out")
    return model, variables, lambda x, s: module.apply(variables, x, s)


def in_evaluation():
    module = Nnx(nnx.Rngs(0))
    module.eval()
    return module


def nnx_case():
    module = in_evaluation()
    return *from_nnx(module, blocks="blocks", head="final"), module


def equinox_case():
    module = Whole(jax.random.key(0))
    return *from_equinox(module, blocks=lambda m: m.blocks, head=lambda m: m.head), module


CASES = pytest.mark.parametrize("case", [linen_case, nnx_case, equinox_case])


def sample(plan, x, parameters, model):
    return flow_euler(
        lambda x, s, parameters, feature=None: model(parameters, x, s, feature=feature), plan, x, SIGMAS, parameters
    )


@CASES
def test_resume_law(case):
    model, parameters, plain = case()
    out, feature = model(parameters, X, SIGMAS[3])
    assert np.array_equal(out, plain(X, SIGMAS[3]))
    again, same = model(parameters, X, SIGMAS[3], feature=feature)
    assert np.array_equal(again, out)
    assert np.array_equal(same, feature)
    other, _ = model(parameters, X, SIGMAS[3], feature=feature * jnp.arange(4.0))
    assert np.abs(other - out).max() > 1e-2
    assert np.array_equal(plain(X, SIGMAS[3]), out)  # the module itself was left alone


@CASES
def test_runs_as_by_hand(case):
    model, parameters, plain = case()
    features, x = [], X
    for i in range(STEPS):
        if PLAN.evaluate[i]:
            out, feature = model(parameters, x, SIGMAS[i])
            assert np.array_equal(out, plain(x, SIGMAS[i]))
            features.append((i, feature))
        else:
            (i1, f1), (i2, f2) = features[-2:]
            out, _ = model(parameters, x, SIGMAS[i], feature=f2 + (f2 - f1) * (i - i2) / (i2 - i1))
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * out
    assert sample(PLAN, X, parameters, model) == pytest.approx(np.asarray(x), rel=1e-5, abs=1e-5)


@CASES
def test_the_blocks_are_once_in_the_program(case):
    model, parameters, _ = case()
    lowered = jax.jit(lambda plan, x, p: sample(plan, x, p, model)).lower(PLAN, X, parameters)
    blocks = 2 if case is equinox_case else 3
    assert lowered.as_text().count("stablehlo.tanh") == blocks
    # Parameters are operands of the program: it holds no constant of their size.
    assert not [line for line in lowered.as_text().splitlines() if "constant" in line and "4x4x" in line]


@CASES
def test_gradients_reach_the_parameters_through_the_branch(case):
    model, parameters, _ = case()
    leaves, tree = jax.tree.flatten(parameters)
    key = jax.random.key(1)
    turn = [jax.random.normal(key, leaf.shape, leaf.dtype) if leaf.dtype == jnp.float32 else None for leaf in leaves]

    def loss(t):
        moved = [leaf if way is None else leaf + t * way for leaf, way in zip(leaves, turn, strict=True)]
        return jnp.sum(sample(PLAN, X, tree.unflatten(moved), model) ** 2)

    loss, step = jax.jit(loss), jnp.float32(1e-2)
    difference = (loss(step) - loss(-step)) / (2 * step)
    assert abs(float(difference)) > 0.1
    assert jax.jit(jax.grad(loss))(jnp.float32(0.0)) == pytest.approx(float(difference), rel=2e-2)


def test_nnx_state_may_change_between_calls_of_one_executable():
    model, state, module = nnx_case()
    jitted = jax.jit(lambda state, x: sample(PLAN, x, state, model))
    first = jitted(state, X)
    twice = jax.tree.map(lambda leaf: leaf * 2 if leaf.dtype == jnp.float32 else leaf, state)
    assert np.abs(jitted(twice, X) - first).max() > 1e-3
    assert jitted._cache_size() == 1
    assert np.array_equal(jitted(nnx.state(module), X), first)


def test_without_blocks_the_trunk_is_dropped_all_the_same():
    for blocks, left in (("blocks", 0), ((), 3)):
        model, state = from_nnx(in_evaluation(), blocks=blocks, head="final")
        resumed = jax.make_jaxpr(lambda s, x, model=model: model(s, x, SIGMAS[3], feature=x)[0])(state, X)
        assert str(resumed).count("= tanh ") == left
        lowered = jax.jit(lambda plan, x, s, model=model: sample(plan, x, s, model)).lower(PLAN, X, state)
        assert lowered.as_text().count("stablehlo.tanh") == 3


class Encoded(linen.Module):
    """Its blocks run in a method that is not ``__call__``."""

    def setup(self):
        self.block, self.norm_out = LinenBlock(), linen.LayerNorm()

    def encode(self, x):
        return self.block(x, x)[0]

    def __call__(self, x, sigma):
        return self.norm_out(self.encode(x)) * jnp.cos(sigma)


class OneBlock(nnx.Module):
    def __init__(self, rngs):
        self.block, self.norm = Block(rngs), nnx.LayerNorm(4, rngs=rngs)

    def __call__(self, x, sigma):
        return self.norm(self.block(x)) * jnp.cos(sigma)


def encoded_case():
    module = Encoded()
    variables = module.init(jax.random.key(0), X, SIGMAS[0])
    return from_linen(module, blocks={LinenBlock: lambda x, text: (x, text)}, head="norm_out"), variables


def one_block_case():
    module = OneBlock(nnx.Rngs(0))
    module.eval()
    return from_nnx(module, blocks="block", head="norm")


@pytest.mark.parametrize("case", [encoded_case, one_block_case])
def test_blocks_in_other_methods_and_without_a_list_are_skipped(case):
    model, parameters = case()
    out, feature = model(parameters, X, SIGMAS[3])
    resumed = jax.make_jaxpr(lambda p, f: model(p, X, SIGMAS[3], feature=f)[0])(parameters, feature)
    assert str(resumed).count("= tanh ") == 0
    assert np.array_equal(model(parameters, X, SIGMAS[3], feature=feature)[0], out)


def test_a_head_that_is_not_called_once():
    model, state = from_nnx(Nnx(nnx.Rngs(0)), blocks="blocks", head="final.norm")
    assert model(state, X, SIGMAS[0])[1].shape == X.shape
    variables = linen_case()[1]
    with pytest.raises(ValueError, match="`head`: a submodule named 'tail' was called 0 times"):
        from_linen(Linen(), blocks=LinenBlock, head="tail")(variables, X, SIGMAS[0])


def network(x, sigma):
    return jnp.tanh(3 * x) + sigma


def by_hand(gate, order, x, steps=STEPS):
    """A gated run with features in a list and NumPy's polynomial fit."""
    kept, count, skipped, last = [], 0, 0, x
    for i in range(steps):
        change = np.abs(x - last).mean(axis=1) / np.abs(last).mean(axis=1)
        if count == 0 or np.any(gate(skipped, change)):
            v = np.tanh(3 * x) + SIGMAS[i]
            kept, count, skipped, last = [*kept, (i, v)][-order - 1 :], count + 1, 0, x
        else:
            nodes = [node for node, _ in kept]
            w = Newton(order).weights(nodes, i) if len(nodes) > 1 else [1.0]
            v, skipped = np.tensordot(w, [f for _, f in kept], axes=1), skipped + 1
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * v
    return x, count


def move(evidence):
    return (evidence.change > 0.2) | (evidence.skipped >= 3)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_gated_runs_equal_lists(order):
    x = np.asarray(X, dtype=np.float64)
    expected, count = by_hand(lambda skipped, change: (change > 0.2) | (skipped >= 3), order, x)
    assert 5 < count < STEPS
    forecast = forecasted(network, Gated(np.arange(STEPS), move, order=order), at="output", steps=STEPS)

    @jax.jit
    def run(x):
        def step(carry, i):
            x, ring = carry
            v, ring = forecast.apply(ring, i, x, jnp.asarray(SIGMAS)[i])
            return (forecast.correct(ring, i, x) + jnp.diff(jnp.asarray(SIGMAS))[i] * v, ring), None

        return jax.lax.scan(step, (x, forecast.init(x, SIGMAS[0])), jnp.arange(STEPS))[0]

    x, ring = run(x)
    assert ring.evaluations == count
    assert x == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_gates_that_always_and_never_ask():
    always = flow_euler(network, Gated(np.arange(STEPS), lambda _: True), X, SIGMAS, at="output")
    full = make_plan(Newton(1), np.arange(STEPS), np.ones(STEPS, dtype=bool), keep=1)
    assert np.array_equal(always, flow_euler(network, full, X, SIGMAS, at="output"))
    never = flow_euler(network, Gated(np.arange(STEPS), lambda _: False), X, SIGMAS, at="output")
    assert never == pytest.approx(np.asarray(X - network(X, SIGMAS[0])), rel=1e-5)


def test_a_mapped_gate_needs_the_name_of_the_map():
    def run(name):
        gated = Gated(np.arange(STEPS), move, axis_name=name)
        each = jax.vmap(lambda x: flow_euler(network, gated, x, SIGMAS, at="output"), axis_name="items")
        return str(jax.make_jaxpr(each)(X)).count("cond["), each(X)

    branches, together = run("items")
    assert (branches, run(None)[0]) == (1, 0)
    batch = flow_euler(network, Gated(np.arange(STEPS), move), X, SIGMAS, at="output")
    assert together == pytest.approx(np.asarray(batch), rel=1e-6)


def test_devices_that_would_decide_apart_are_refused():
    mesh = jax.make_mesh((1,), ("items",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.PartitionSpec("items")

    def run(x, name):
        return flow_euler(network, Gated(np.arange(STEPS), move, axis_name=name), x, SIGMAS, at="output")

    def shared(name):
        return jax.shard_map(lambda x: run(x, name), mesh=mesh, in_specs=spread, out_specs=spread)(X)

    with pytest.raises(ValueError, match=r"`axis_name` does not cover the mesh axes \['items'\]"):
        shared(None)
    assert shared("items") == pytest.approx(np.asarray(run(X, None)), rel=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda f, r: f.apply(r.ring, 1, X, X),
            TypeError,
            "`ring` is Ring; write what `init` of this `Gated` returned",
        ),
        (lambda f, r: f.apply(r, 1, X[:2], X[:2]), ValueError, "`ring` was made for a first argument of shape"),
        (
            lambda _, r: forecasted(network, Gated(np.arange(9), move, order=2), at="output").apply(r, 1, X, X),
            ValueError,
            "`order` 2 needs 3",
        ),
        (lambda *_: flow_euler(network, Gated(np.arange(9), move), X, SIGMAS), ValueError, "`plan` is made for 9"),
    ],
)
def test_gated_errors(call, error, message):
    forecast = forecasted(network, Gated(np.arange(STEPS), move), at="output")
    with pytest.raises(error, match=message):
        call(forecast, forecast.init(X, X))


def test_a_gated_model_may_be_resumable():
    model = resumable(lambda x, _: jnp.tanh(3 * x), lambda feature, _, s: feature + s)
    gated = Gated(np.arange(STEPS), lambda e: e.skipped >= 1, order=0)
    x, feature = X, None
    for i in range(STEPS):
        out, feature = model(x, SIGMAS[i], feature=feature if i % 2 else None)
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * out
    assert flow_euler(model, gated, X, SIGMAS) == pytest.approx(np.asarray(x), rel=1e-5)
