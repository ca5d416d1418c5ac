"""Guarded forecasts in JAX are `GuardedRun`'s, in every kind of loop; and what a program with them holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax import lax
from laws import carried_out

from spectral_forecast import Corrector, Newton, make_plan, schedules, spectrum
from spectral_forecast.adapters.jax import Gated, ddim, flow_euler, forecasted, resumable

STEPS, LIMIT = 12, 0.6
EVALUATE = schedules.mask(STEPS, [0, 1, 3, 6, 7, 10])
PLAN = make_plan(Newton(1), np.arange(STEPS), EVALUATE)
SIGMAS = np.linspace(1.0, 0.0, STEPS + 1)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4))
MATRIX = RNG.normal(size=(4, 4))
FEATURES = hnp.arrays(np.float64, (STEPS, 3, 4), elements=st.integers(-4000, 4000).map(lambda n: n / 8))


def by_run(features, plan=PLAN, limit=LIMIT):
    """Every step's feature, kept or forecast, by `GuardedRun`."""
    return np.stack([np.asarray(one, np.float64) for one in carried_out(plan, features, limit=limit)])


@jax.jit
def replayed(plan, features):
    """The same in one scan."""
    forecast = forecasted(lambda i, features: features[i], plan, at="output", limit=LIMIT)

    def step(ring, i):
        out, ring = forecast.apply(ring, i, i, features)
        return ring, out

    return lax.scan(step, forecast.init(0, features), jnp.arange(STEPS))[1]


def velocity(x, sigma):
    """It turns quickly, so that forecasts err."""
    return jnp.tanh(x @ jnp.asarray(MATRIX, x.dtype)) + jnp.cos(9.0 * sigma).astype(x.dtype)


def sample(plan, x, model=velocity, limit=LIMIT, **options):
    return flow_euler(model, plan, x, SIGMAS, **{"at": "output"} | options, forecast_limit=limit)


def by_hand(plan, x, limit=LIMIT, network=velocity):
    run = plan.start(limit=limit)
    for i in range(STEPS):
        if run.evaluates(i):
            run.keep(i, v := np.asarray(network(x, jnp.asarray(SIGMAS[i]))))
        else:
            v = run.forecast(i)
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * v
    return x


@settings(max_examples=100)
@given(FEATURES)
def test_is_what_a_guarded_run_does(features):
    np.testing.assert_allclose(replayed(PLAN, features), by_run(features), rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("keep", [None, 3, 2])
@pytest.mark.parametrize("rule", [Newton(1), Newton(2), spectrum(0.5, mode="free")], ids=repr)
@pytest.mark.parametrize("shape", [(3, 4), (5,), (2, 3, 2), ()])
def test_rules_rings_and_shapes(rule, keep, shape):
    plan = make_plan(rule, np.arange(STEPS), EVALUATE, span=(0, STEPS), keep=keep)
    features = np.random.default_rng(1).normal(size=(STEPS, *shape))
    expected = by_run(features, plan)
    assert replayed(plan, features) == pytest.approx(expected, rel=1e-9)
    assert np.abs(np.asarray(replayed(plan, features)) - by_run(features, plan, 1e9)).max() > 1e-3


@pytest.mark.parametrize("limit", [0.6, 0.05])
@pytest.mark.parametrize("loop", ["scan", "fori_loop"])
def test_in_a_sampler(loop, limit):
    expected = by_hand(PLAN, X, limit)
    assert sample(PLAN, X, limit=limit, loop=loop) == pytest.approx(expected, rel=1e-9)
    assert np.abs(np.asarray(sample(PLAN, X, limit=None)) - expected).max() > 1e-3


def test_in_a_loop_in_python():
    forecast = forecasted(velocity, PLAN, at="output", limit=LIMIT)
    ring, x = forecast.init(X, jnp.asarray(1.0)), X
    for i in range(STEPS):
        v, ring = forecast.apply(ring, i, x, jnp.asarray(SIGMAS[i]))
        x = forecast.correct(ring, i, x) + (SIGMAS[i + 1] - SIGMAS[i]) * v
    assert x == pytest.approx(by_hand(PLAN, X), rel=1e-9)


def test_by_the_samplers_of_noise_prediction():
    alphas = 1.0 / (1.0 + np.linspace(3.0, 0.0, STEPS + 1) ** 2)
    results = [
        np.asarray(ddim(velocity, PLAN, X, SIGMAS[:-1], alphas, at="output", forecast_limit=limit))
        for limit in (LIMIT, 1e9, None)
    ]
    assert results[1] == pytest.approx(results[2], rel=1e-6)
    assert np.abs(results[0] - results[2]).max() > 1e-3


def test_at_features():
    model = resumable(velocity, lambda feature, _x, s: feature * jnp.cos(s))
    run, x = PLAN.start(limit=LIMIT), X
    for i in range(STEPS):
        if run.evaluates(i):
            run.keep(i, feature := np.asarray(velocity(x, jnp.asarray(SIGMAS[i]))))
        else:
            feature = run.forecast(i)
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * feature * np.cos(SIGMAS[i])
    assert sample(PLAN, X, model, at="features") == pytest.approx(x, rel=1e-9)


def test_each_leaf_and_each_item_has_its_own_doubt():
    features = {"a": RNG.normal(size=(STEPS, 3, 4)), "b": (RNG.normal(size=(STEPS, 5)),)}
    forecast = forecasted(lambda i, f: jax.tree.map(lambda leaf: leaf[i], f), PLAN, at="output", limit=LIMIT)
    ring, seen = forecast.init(0, features), []
    for i in range(STEPS):
        out, ring = jax.jit(forecast.apply)(ring, jnp.asarray(i), i, features)
        seen.append(out)
    assert np.stack([out["a"] for out in seen]) == pytest.approx(by_run(features["a"]), rel=1e-9)
    assert np.stack([out["b"][0] for out in seen]) == pytest.approx(by_run(features["b"][0]), rel=1e-9)
    assert ring.doubt["a"].shape == (3, 1)
    assert ring.doubt["b"][0].shape == (1,)
    alone = np.asarray(replayed(PLAN, features["a"][:, :1]))
    assert alone == pytest.approx(by_run(features["a"])[:, :1], rel=1e-9)


def test_under_vmap_each_is_guarded_by_its_own_error():
    items = np.stack([X, 0.1 * X - 1.0])
    mapped = jax.vmap(sample, in_axes=(None, 0))(PLAN, items)
    assert mapped == pytest.approx(np.stack([by_hand(PLAN, item) for item in items]), rel=1e-9)
    rows = jax.vmap(lambda x: sample(PLAN, x))(jnp.asarray(X))  # items without an axis of a batch
    assert rows == pytest.approx(by_hand(PLAN, X), rel=1e-9)
    assert str(jax.make_jaxpr(jax.vmap(sample, in_axes=(None, 0)))(PLAN, items)).count("cond[") >= 1


@pytest.mark.parametrize("loop", ["scan", "fori_loop"])
def test_gradients_against_finite_differences(loop):
    direction = np.random.default_rng(3).normal(size=X.shape)

    def loss(t):
        return jnp.sum(jnp.cos(sample(PLAN, X + t * direction, loop=loop)))

    step = 1e-6
    difference = float((loss(step) - loss(-step)) / (2 * step))
    assert abs(difference) > 0.05
    assert jax.grad(loss)(0.0) == pytest.approx(difference, rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_exact_forecasts_have_derivatives(value):
    def loss(x):
        return jnp.sum(sample(PLAN, x, lambda x, s: value + 0.0 * x * s))

    assert loss(X) == pytest.approx(np.sum(X - value))
    assert jax.grad(loss)(X) == pytest.approx(np.ones_like(X))


def test_one_executable_for_all_plans_and_the_network_once_in_it():
    jitted = jax.jit(sample)
    for rule in (Newton(1), Newton(2), spectrum(0.5)):
        jitted(make_plan(rule, np.arange(STEPS), EVALUATE, keep=6), X)
    assert jitted._cache_size() == 1
    assert jitted.lower(PLAN, X).as_text().count("stablehlo.tanh") == 1


def test_half_precision():
    low = jnp.asarray(RNG.normal(size=(STEPS, 3, 4)), jnp.bfloat16)
    forecasts = replayed(PLAN, low)
    assert forecasts.dtype == jnp.bfloat16
    # `GuardedRun` rounds the plan's forecast before it is drawn back, the program once at the end.
    expected = by_run(np.asarray(low, np.float64))
    assert np.asarray(forecasts, np.float64) == pytest.approx(expected, rel=0.02, abs=0.02)
    x = jnp.asarray(X, jnp.float32)
    narrow, wide = sample(PLAN, x, dtype=jnp.bfloat16), sample(PLAN, x)
    assert narrow.dtype == jnp.float32
    assert 0.0 < np.abs(narrow - wide).max() < 0.02


def test_memory_is_the_plans_and_two_numbers_an_item():
    x = jnp.asarray(X, jnp.bfloat16)
    for limit, more in ((None, 0), (LIMIT, 2 * 4 * len(X))):
        ring = forecasted(lambda x: x, PLAN, at="output", limit=limit).init(x)
        held = sum(leaf.nbytes for leaf in jax.tree.leaves(ring))
        assert held == PLAN.memory(x, scratch=True) + more


def test_one_items_nan_stays_its_own():
    features = RNG.normal(size=(STEPS, 3, 4))
    spoilt = features.copy()
    spoilt[3, 1] = np.nan
    whole, found = np.asarray(replayed(PLAN, features)), np.asarray(replayed(PLAN, spoilt))
    assert np.array_equal(found[:, [0, 2]], whole[:, [0, 2]])
    assert np.isnan(found[4, 1]).all()


CORRECTED = make_plan(Newton(1), np.arange(STEPS), EVALUATE, sigmas=SIGMAS, corrector=Corrector(), keep=3)


def test_where_the_plan_is_traced_nothing_is_corrected():
    plain = make_plan(Newton(1), np.arange(STEPS), EVALUATE, keep=3)
    assert np.array_equal(jax.jit(sample)(CORRECTED, X), jax.jit(sample)(plain, X))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: forecasted(velocity, PLAN, limit=0.0), ValueError, r"`limit` is 0\.0; write the expected"),
        (lambda: forecasted(velocity, PLAN, limit=np.nan), ValueError, "`limit`"),
        (lambda: sample(CORRECTED, X), ValueError, "`limit`: the plan has a corrector"),
        (
            lambda: sample(Gated(np.arange(STEPS), lambda e: e.skipped > 2), X),
            TypeError,
            "`limit` guards the forecasts",
        ),
        (
            lambda: forecasted(lambda x: x, PLAN, at="output", limit=LIMIT).apply(
                forecasted(lambda x: x, PLAN, at="output").init(X), 0, X
            ),
            ValueError,
            "`ring` was made without a `limit`, this run is with one",
        ),
        (
            lambda: forecasted(lambda x: x, PLAN, at="output").apply(
                forecasted(lambda x: x, PLAN, at="output", limit=LIMIT).init(X), 0, X
            ),
            ValueError,
            "`ring` was made with a `limit`, this run is without one",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
