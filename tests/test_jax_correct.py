"""The corrector in JAX: what a program with one holds, what it computes, and that its guard is `Run.correct`'s."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from spectral_forecast import Corrector, Newton, make_plan, schedules, spectrum
from spectral_forecast.adapters.jax import Gated, ddim, flow_euler, forecasted

STEPS = 20
SIGMAS = np.linspace(1.0, 0.0, STEPS + 1)
EVALUATE = schedules.mask(STEPS, [0, 1, 2, 6, 7, 11, 15, 19])
ALPHAS = 1.0 / (1.0 + np.linspace(3.0, 0.0, STEPS + 1) ** 2)  # of sigma = 3 ... 0
X = np.random.default_rng(0).normal(size=(3, 4))


LINEAR, PARABOLA = Newton(1), Corrector()


def plan_of(rule=LINEAR, evaluate=EVALUATE, sigmas=SIGMAS, corrector=PARABOLA, keep=None):
    return make_plan(rule, np.arange(STEPS), evaluate, span=(0, STEPS), keep=keep, sigmas=sigmas, corrector=corrector)


PLAN, PLAIN = plan_of(), plan_of(corrector=None)
EVERYTHING = plan_of(evaluate=np.ones(STEPS, dtype=bool))


def model(x, sigma):
    return jnp.tanh(x) * (1.0 + jnp.sin(3.0 * sigma)) + jnp.cos(2.0 * sigma)


def sample(plan, x, model=model, **options):
    return flow_euler(model, plan, x, SIGMAS, at="output", **options)


def by_run(plan, x=X, limit=0.2, network=model):
    """The same in a loop by hand, and the parts that the guard let through."""
    run, parts = plan.start(), []
    for i in range(STEPS):
        if run.evaluates(i):
            velocity = np.asarray(network(x, jnp.asarray(SIGMAS[i])))
            run.keep(i, velocity)
            x = run.correct(i, x, limit=limit)
            parts += [1.0 / (1.0 + (run.error / 0.2) ** 2)] if plan.correction[i].any() else []
        else:
            velocity = run.forecast(i)
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * velocity
    return x, parts


@pytest.mark.parametrize("limit", [0.2, 0.01, None])
@pytest.mark.parametrize(
    ("rule", "keep"),
    [(Newton(1), None), (Newton(1), 4), (Newton(1), 3), (Newton(0), 2), (spectrum(0.5, mode="free"), None)],
    ids=repr,
)
def test_is_what_a_run_does(rule, keep, limit):
    plan = plan_of(rule, keep=keep)
    expected, parts = by_run(plan, limit=limit)
    assert SHARED[limit](plan, X) == pytest.approx(expected, rel=1e-9)
    assert sample(plan, X, limit=limit, loop="fori_loop") == pytest.approx(expected, rel=1e-9)
    forecast, x = forecasted(model, plan, at="output"), X
    ring = forecast.init(X, jnp.asarray(1.0))
    for i in range(STEPS):
        velocity, ring = forecast.apply(ring, i, x, jnp.asarray(SIGMAS[i]))
        x = forecast.correct(ring, i, x, limit=limit)
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * velocity
    assert x == pytest.approx(expected, rel=1e-9)
    assert 0.05 < min(parts) < 0.9
    others = [by_run(plan, limit=other)[0] for other in {0.2, 0.01, None} - {limit}]
    assert all(np.abs(other - expected).max() > 1e-4 for other in others)


SHARED = {limit: jax.jit(lambda plan, x, limit=limit: sample(plan, x, limit=limit)) for limit in (0.2, 0.01, None)}


def test_the_default_limit_is_that_of_a_run():
    assert sample(PLAN, X) == pytest.approx(by_run(PLAN)[0], rel=1e-9)


@pytest.mark.parametrize("how", ["known", "traced"])
def test_every_step_evaluated_changes_no_bit(how):
    def full(x):
        sigmas = jnp.asarray(SIGMAS)
        step = lambda x, i: (x + (sigmas[i + 1] - sigmas[i]) * model(x, sigmas[i]), None)  # noqa: E731
        return lax.scan(step, x, jnp.arange(STEPS))[0]

    expected = np.asarray(jax.jit(full)(X))
    if how == "known":
        assert np.array_equal(jax.jit(lambda x: sample(EVERYTHING, x))(X), expected)
    assert np.array_equal(SHARED[0.2](EVERYTHING, X), expected)


def test_without_a_corrector_nothing_is_computed():
    forecast = forecasted(model, PLAIN, at="output")
    ring = forecast.init(X, jnp.asarray(1.0))
    program = jax.make_jaxpr(forecast.correct)(ring, 3, X)
    assert program.eqns == []
    assert forecast.correct(ring, 3, X) is X
    gated = forecasted(model, Gated(np.arange(STEPS), lambda evidence: evidence.skipped >= 2), at="output")
    assert gated.correct(gated.init(X, jnp.asarray(1.0)), 3, X, limit=None) is X
    programs = [str(jax.make_jaxpr(lambda x, plan=plan: sample(plan, x))(X)) for plan in (PLAIN, EVERYTHING, PLAN)]
    # The network, the correction, and in it the forecast that it is guarded by.
    assert [program.count("cond[") for program in programs] == [1, 1, 3]
    assert ["sqrt" in program for program in programs] == [False, False, True]


def test_steps_without_a_correction_return_the_sample():
    forecast = forecasted(model, PLAN, at="output")
    ring = forecast.init(X, jnp.asarray(1.0))
    for i in range(STEPS):
        _, ring = forecast.apply(ring, i, X, jnp.asarray(SIGMAS[i]))
        assert (forecast.correct(ring, i, X) is X) == (not PLAN.correction[i].any())
        # A traced step runs neither the norms nor the sum: what it does not read may be a NaN.
        poisoned = jax.tree.map(lambda rows: jnp.full_like(rows, jnp.nan), ring)
        if not PLAN.correction[i].any():
            assert np.array_equal(jax.jit(forecast.correct, static_argnums=3)(poisoned, i, X, 0.2), X)


def test_one_executable_and_one_network():
    jitted = jax.jit(sample)
    other = Corrector(3, damping=0.5)
    plans = [
        plan_of(keep=8),
        plan_of(corrector=None, keep=8),
        plan_of(Newton(2), keep=8),
        plan_of(corrector=other, keep=8),
    ]
    assert len({np.asarray(jitted(plan, X)).tobytes() for plan in plans}) == 4
    assert jitted._cache_size() == 1
    lowered = jitted.lower(PLAN, X)
    assert lowered.as_text().count("stablehlo.tanh") == 1


def test_a_loop_with_a_corrector_holds_one_ring():
    x = jnp.ones((2560, 4))
    compiled = jax.jit(sample).lower(PLAN, x).compile()
    ring = PLAN.memory(x, scratch=True)
    assert ring < compiled.memory_analysis().temp_size_in_bytes < ring + 4 * x.nbytes


def test_gradients_against_finite_differences():
    direction = np.random.default_rng(3).normal(size=X.shape)
    loss = jax.jit(lambda t: jnp.sum(jnp.cos(sample(PLAN, X + t * direction))))
    step = 1e-6
    difference = float(loss(step) - loss(-step)) / (2 * step)
    assert abs(difference) > 0.1
    assert jax.grad(loss)(0.0) == pytest.approx(difference, rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_exact_forecasts_are_no_division_by_zero(value):
    def loss(x):
        return jnp.sum(sample(PLAN, x, lambda x, s: value + 0.0 * x * s))

    assert loss(X) == pytest.approx(np.sum(X - value))
    assert jax.grad(loss)(X) == pytest.approx(np.ones_like(X))


def test_outputs_that_vanish_are_not_corrected():
    def flash(x, sigma):
        return jnp.where(sigma > 0.9, 1.0, 0.0) * jnp.ones_like(x)

    plan = plan_of(evaluate=schedules.mask(STEPS, [0, 1, 6, 11]))
    assert sample(plan, X, flash) == pytest.approx(by_run(plan, network=flash)[0])


def test_rows_in_half_precision():
    x = jnp.asarray(X, jnp.float32)
    low, high = sample(PLAN, x, dtype=jnp.bfloat16), sample(PLAN, x)
    assert low.dtype == jnp.float32
    assert 0.0 < np.abs(low - high).max() < 0.03


def test_each_item_of_a_vmap_is_guarded_by_its_own_error():
    items = np.stack([X, 0.1 * X - 1.0])
    mapped = jax.vmap(sample, in_axes=(None, 0))(PLAN, items)
    each = np.stack([by_run(PLAN, item)[0] for item in items])
    assert mapped == pytest.approx(each, rel=1e-9)
    assert np.abs(by_run(PLAN, items)[0] - each).max() > 1e-5


def test_the_error_is_of_all_leaves_together():
    both = {"a": X, "b": 3.0 * X[:2]}

    def joined(x, sigma):
        parts = model(jnp.concatenate([x["a"], x["b"]]), sigma)
        return {"a": parts[:3], "b": parts[3:]}

    forecast = forecasted(joined, PLAN, at="output")
    ring, x = forecast.init(both, jnp.asarray(1.0)), both
    for i in range(STEPS):
        velocity, ring = forecast.apply(ring, i, x, jnp.asarray(SIGMAS[i]))
        x = forecast.correct(ring, i, x)
        x = jax.tree.map(lambda x, v, i=i: x + (SIGMAS[i + 1] - SIGMAS[i]) * v, x, velocity)
    whole = by_run(PLAN, np.concatenate([both["a"], both["b"]]))[0]
    assert np.concatenate([x["a"], x["b"]]) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("limit", [0.2, None])
def test_ddim_is_corrected_in_its_own_coordinates(limit):
    sigmas = np.sqrt(1.0 / ALPHAS - 1.0)
    plan = plan_of(sigmas=sigmas)
    run, x = plan.start(), X
    for i in range(STEPS):
        if run.evaluates(i):
            noise = np.asarray(model(x, jnp.asarray(SIGMAS[i])))
            run.keep(i, noise)
            x = np.sqrt(ALPHAS[i]) * run.correct(i, x / np.sqrt(ALPHAS[i]), limit=limit)
        else:
            noise = run.forecast(i)
        data = (x - np.sqrt(1.0 - ALPHAS[i]) * noise) / np.sqrt(ALPHAS[i])
        x = np.sqrt(ALPHAS[i + 1]) * data + np.sqrt(1.0 - ALPHAS[i + 1]) * noise
    mine = jax.jit(lambda plan, x: ddim(model, plan, x, SIGMAS[:-1], ALPHAS, at="output", limit=limit))(plan, X)
    assert mine == pytest.approx(x, rel=1e-8)


def test_a_bad_limit():
    with pytest.raises(ValueError, match=r"`limit` is 0\.0; write the relative error"):
        sample(PLAN, X, limit=0.0)
