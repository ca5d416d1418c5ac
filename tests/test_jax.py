"""The JAX adapter: what a program holds, what it computes, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax import lax
from laws import FORECASTERS

from spectral_forecast import Newton, Plan, TaylorSeer, make_plan, schedules, spectrum
from spectral_forecast.adapters.jax import ddim, flow_euler, forecasted, output, resumable

STEPS = 20
SIGMAS = np.linspace(1.0, 0.0, STEPS + 1)
CLOCK = np.linspace(-1.0, 1.0, STEPS)
MASK = schedules.growing(STEPS)
PLAN = make_plan(Newton(1), np.arange(STEPS), MASK, keep=int(MASK.sum()))
KEPT = PLAN.kept
RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(4, 4)) / 2
X = RNG.normal(size=(3, 4))


def trunk(x, sigma):
    return jnp.tanh(x @ jnp.asarray(MATRIX, x.dtype)) + sigma.astype(x.dtype)


def head(feature, x, sigma):
    return 2 * feature - 0.1 * x * sigma.astype(x.dtype)


MODEL = resumable(trunk, head)


def sample(plan, x, model=MODEL, **options):
    return flow_euler(model, plan, x, SIGMAS, **options)


def by_lists(rule, evaluate, keep=None, x=X):
    """The same run without plan, ring or JAX: features in a list, weights from the forecaster."""
    times, features = [], []
    for i in range(STEPS):
        if evaluate[i]:
            feature = np.tanh(x @ MATRIX) + SIGMAS[i]
            times.append(CLOCK[i])
            features.append(feature)
        else:
            newest = slice(None if keep is None else -keep, None)
            w = rule.weights(times[newest], CLOCK[i])
            feature = np.tensordot(w, features[newest], axes=1)
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * (2 * feature - 0.1 * x * SIGMAS[i])
    return x


@pytest.mark.parametrize("keep", [None, 1, 3])
@pytest.mark.parametrize("rule", FORECASTERS, ids=repr)
def test_equals_lists_of_features(rule, keep):
    plan = make_plan(rule, CLOCK, MASK, keep=keep)
    expected = by_lists(rule, MASK, keep)
    assert SHARED(plan, X) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    # The sum of |w| multiplies rounding errors: below 1e4 for all rules but one, which takes it to 3e5.
    gain = max(1.0, np.abs(plan.weights).sum(axis=1).max() / 1e4)
    error = np.abs(SHARED(plan, X.astype(np.float32)) - expected).max() / np.abs(expected).max()
    assert error < 1e-5 * gain


SHARED = jax.jit(sample)


@pytest.mark.parametrize("options", [{"loop": "fori_loop"}, {"at": "output", "model": lambda x, s: MODEL(x, s)[0]}])
def test_other_forms_of_the_sampler(options):
    everything = make_plan(Newton(1), np.arange(STEPS), np.ones(STEPS, dtype=bool), keep=2)
    assert sample(everything, X, **options) == pytest.approx(by_lists(Newton(1), everything.evaluate), rel=1e-12)
    if "loop" in options:
        assert np.array_equal(sample(PLAN, X, **options), sample(PLAN, X))


def test_loops_in_python_need_no_branch():
    forecast = forecasted(MODEL, PLAN, steps=STEPS)
    ring, x = forecast.init(X, jnp.asarray(1.0)), jnp.asarray(X)
    calls = []
    counted = forecasted(resumable(lambda *a: calls.append(1) or trunk(*a), head), PLAN)
    for i in range(STEPS):
        velocity, ring = counted.apply(ring, i, x, jnp.asarray(SIGMAS[i]))
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * velocity
    assert len(calls) == PLAN.evaluations
    assert x == pytest.approx(by_lists(Newton(1), MASK), rel=1e-12)


def test_the_trunk_is_traced_at_most_three_times_and_is_once_in_the_program():
    calls = []
    model = resumable(lambda *a: calls.append(1) or trunk(*a), head)
    lowered = jax.jit(lambda plan, x: sample(plan, x, model)).lower(PLAN, X)
    assert len(calls) <= 3
    assert lowered.as_text().count("stablehlo.tanh") == 1
    assert lowered.compile().as_text().count(" tanh(") <= 1


def test_a_mapped_step_still_branches():
    forecast = forecasted(MODEL, PLAN)

    def step(ring, i, x, sigma):
        return forecast.apply(ring, i, x, sigma)

    args = (jnp.asarray(X), jnp.asarray(0.5))
    rings = jax.vmap(forecast.init, in_axes=(0, None))(*args)
    mapped = jax.vmap(step, in_axes=(0, None, 0, None))
    assert str(jax.make_jaxpr(mapped)(rings, jnp.asarray(3), *args)).count("cond[") == 1
    # A plan for each item would run the network for all: the branch becomes a selection.
    each = jax.vmap(step, in_axes=(0, 0, 0, None))
    assert "cond[" not in str(jax.make_jaxpr(each)(rings, jnp.arange(3), *args))
    whole = jax.vmap(sample, in_axes=(None, 0))(PLAN, jnp.asarray(X))
    assert whole == pytest.approx(np.asarray(sample(PLAN, X)), rel=1e-12)


def test_one_executable_for_all_plans_of_a_size():
    jitted = jax.jit(lambda plan, x: sample(plan, x, loop="scan"))
    count = PLAN.evaluations
    masks = [MASK, schedules.budget(STEPS, count, window=3), schedules.mask(STEPS, range(count))]
    plans = [
        make_plan(rule, np.arange(STEPS), mask, keep=count) for rule in (Newton(2), spectrum(0.5)) for mask in masks
    ]
    results = [np.asarray(jitted(plan, X)) for plan in plans]
    assert len({result.tobytes() for result in results}) == 6
    assert jitted._cache_size() == 1
    jitted(make_plan(Newton(2), np.arange(STEPS), MASK, keep=2), X)
    assert jitted._cache_size() == 2


def test_resume_law():
    for model in (MODEL, output(lambda x, s: MODEL(x, s)[0])):
        out, feature = model(jnp.asarray(X), jnp.asarray(0.3))
        again, same = model(jnp.asarray(X), jnp.asarray(0.3), feature=feature)
        assert np.array_equal(out, again)
        assert np.array_equal(feature, same)


def test_features_may_be_pytrees():
    plain = np.asarray(sample(PLAN, X))
    tree = resumable(lambda x, s: {"a": trunk(x, s), "b": (x + s,)}, lambda f, x, s: head(f["a"], x, s) + 0 * f["b"][0])
    assert sample(PLAN, X, tree) == pytest.approx(plain, rel=1e-12)


def test_nan_in_the_scratch_row_is_inert():
    forecast = forecasted(MODEL, PLAN)
    ring = forecast.init(X, jnp.asarray(1.0))
    poisoned = jax.tree.map(lambda rows: rows.at[-1].set(jnp.nan), ring)

    def run(ring):
        def step(carry, i):
            x, ring = carry
            velocity, ring = forecast.apply(ring, i, x, jnp.asarray(SIGMAS)[i])
            return (forecast.correct(ring, i, x) + 0.05 * velocity, ring), velocity

        return lax.scan(step, (jnp.asarray(X), ring), jnp.arange(STEPS))[1]

    assert np.array_equal(run(poisoned), run(ring))
    assert np.isfinite(run(ring)).all()


def test_bfloat16_in_bfloat16_out():
    low = jnp.asarray(X, jnp.bfloat16)
    assert sample(PLAN, low).dtype == jnp.bfloat16
    forecast = forecasted(MODEL, PLAN)
    assert forecast.init(low, jnp.asarray(1.0)).rows.dtype == jnp.bfloat16
    # In half precision 256 + 1 is 256: summed in the features' own dtype the forecast would be 0.
    plan = make_plan(Newton(1), np.arange(4), schedules.mask(4, range(3)), keep=3)._replace(weights=np.ones((4, 3)))
    ring = jax.tree.map(lambda _: jnp.asarray([[256.0], [1.0], [-256.0], [0.0]], jnp.bfloat16), forecast.init(low, low))
    out, _ = forecasted(output(lambda x: x), plan).apply(ring, 3, jnp.zeros(1, jnp.bfloat16))
    assert out.tolist() == [1.0]
    assert out.dtype == jnp.bfloat16


def test_ring_rows_in_a_chosen_dtype():
    x = jnp.asarray(X, jnp.float32)
    forecast = forecasted(MODEL, PLAN, dtype=jnp.bfloat16)
    ring = forecast.init(x, jnp.asarray(1.0))
    assert ring.rows.dtype == jnp.bfloat16
    assert ring.rows.nbytes == PLAN.memory(
        jax.eval_shape(MODEL, x, jnp.asarray(1.0))[1], dtype="bfloat16", scratch=True
    )
    narrow, wide = sample(PLAN, x, dtype=jnp.bfloat16), sample(PLAN, x)
    assert narrow.dtype == jnp.float32
    assert 0.0 < np.abs(narrow - wide).max() < 0.02


@pytest.mark.parametrize("loop", ["scan", "fori_loop"])
def test_gradients_against_finite_differences(loop):
    direction = np.random.default_rng(3).normal(size=X.shape)
    turn = 1e-2 * np.random.default_rng(4).normal(size=PLAN.weights.shape)

    def loss(t):
        plan = PLAN._replace(weights=PLAN.weights + t * turn)
        return jnp.sum(jnp.cos(sample(plan, X + t * direction, loop=loop)))

    step = 1e-6
    difference = (loss(step) - loss(-step)) / (2 * step)
    assert abs(float(difference)) > 0.1
    assert jax.grad(loss)(0.0) == pytest.approx(float(difference), rel=1e-7)


def test_libraries_agree():
    features = np.random.default_rng(5).normal(size=(STEPS, 2, 6)).astype(np.float32)
    for rule in (spectrum(0.5), Newton(2), TaylorSeer(2)):
        plan = make_plan(rule, np.arange(STEPS), MASK, span=(0, STEPS))
        forecast = forecasted(lambda x: x, plan, at="output")
        apply = jax.jit(forecast.apply)
        runs = [plan.start(), plan.start(), plan.start()]
        makers = [np.asarray, torch.as_tensor, jnp.asarray]
        ring = forecast.init(jnp.asarray(features[0]))
        for i, feature in enumerate(features):
            out, ring = apply(ring, i, jnp.asarray(feature))
            if MASK[i]:
                for run, make in zip(runs, makers, strict=True):
                    run.keep(i, make(feature))
                continue
            found = [np.asarray(run.forecast(i)) for run in runs] + [np.asarray(out)]
            scale = np.abs(plan.weights[i]).sum()
            assert all(item.dtype == np.float32 for item in found)
            assert max(np.abs(item - found[0]).max() for item in found) < 1e-6 * scale


def test_donation_frees_the_ring():
    forecast = forecasted(MODEL, PLAN)
    x, sigma = jnp.asarray(X, jnp.float32), jnp.asarray(0.5, jnp.float32)
    step = jax.jit(forecast.apply, donate_argnums=0)
    ring = forecast.init(x, sigma)
    bytes_ = ring.rows.nbytes
    compiled = step.lower(ring, jnp.asarray(2), x, sigma).compile().memory_analysis()
    assert compiled.alias_size_in_bytes >= bytes_
    before = ring.rows.unsafe_buffer_pointer()
    _, new = step(ring, jnp.asarray(2), x, sigma)
    assert ring.rows.is_deleted()
    assert new.rows.unsafe_buffer_pointer() == before
    plain = jax.jit(forecast.apply)
    plain(new, jnp.asarray(3), x, sigma)
    assert not new.rows.is_deleted()


@pytest.mark.parametrize("loop", ["scan", "fori_loop"])
def test_a_loop_holds_one_ring(loop):
    x = jnp.ones((256, 4), jnp.float32)
    compiled = jax.jit(lambda plan, x: sample(plan, x, loop=loop)).lower(PLAN, x).compile()
    ring = PLAN.memory(x, scratch=True)
    assert ring < compiled.memory_analysis().temp_size_in_bytes < ring + 4 * x.nbytes


def test_corrections():
    table = 0.1 * np.random.default_rng(6).normal(size=PLAN.weights.shape) * MASK[:, None]
    plan = PLAN._replace(correction=table)
    plain = lambda x, s: MODEL(x, s)[0]  # noqa: E731
    ring, x = [None] * KEPT, X
    for i in range(STEPS):
        if MASK[i]:
            v = np.asarray(plain(x, jnp.asarray(SIGMAS[i])))
            ring[plan.slot[i]] = v
        else:
            v = sum(w * row for w, row in zip(plan.weights[i], ring, strict=True) if row is not None)
        x = x + sum(w * row for w, row in zip(table[i], ring, strict=True) if row is not None)
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * v
    assert sample(plan, X, plain, at="output", limit=None) == pytest.approx(x, rel=1e-9)
    assert np.abs(sample(PLAN, X, plain, at="output") - x).max() > 1e-3
    with pytest.raises(ValueError, match="`plan` has a corrector, which acts on outputs"):
        sample(plan, X)


def test_ddim_is_diffusers():
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(STEPS)
    times = scheduler.timesteps.numpy()
    alphas = np.append(scheduler.alphas_cumprod.numpy()[times], 1.0)

    def network(x, t):
        return jnp.tanh(x @ jnp.asarray(MATRIX)) * (1 + t / 1000)

    x, run = torch.as_tensor(X), PLAN.start()
    for i, t in enumerate(scheduler.timesteps):
        if run.evaluates(i):
            noise = torch.as_tensor(np.array(network(x.numpy(), int(t))))
            run.keep(i, noise)
        else:
            noise = run.forecast(i)
        x = scheduler.step(noise, t, x).prev_sample
    for loop in ("scan", "fori_loop"):
        mine = ddim(network, PLAN, X, times, alphas, at="output", loop=loop)
        assert mine == pytest.approx(x.numpy(), rel=1e-5, abs=1e-5)


SHORT = make_plan(Newton(1), np.arange(10), schedules.growing(10))
RING = forecasted(MODEL, PLAN).init(X, jnp.asarray(1.0))
APPLY = forecasted(MODEL, PLAN).apply


def apply(*args, plan=PLAN, model=MODEL, **options):
    return jax.jit(forecasted(model, plan, **options).apply)(*args)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sample(SHORT, X), ValueError, "`plan` is made for 10 steps, the run has 20"),
        (lambda: jax.jit(sample)(SHORT, X), ValueError, "`plan` is made for 10 steps, the run has 20"),
        (lambda: forecasted(MODEL, SHORT, steps=20), ValueError, "`plan` is made for 10 steps"),
        (
            lambda: apply(RING, 3, X, 0.5, plan=SHORT),
            ValueError,
            r"`ring` holds \d features, `plan` has weights for \d",
        ),
        (
            lambda: forecasted(MODEL, PLAN._replace(weights=PLAN.weights[:, :3])),
            ValueError,
            r"`plan` has parts of shapes \(20,\), \(20,\), \(20, 3\)",
        ),
        (lambda: forecasted(MODEL, PLAN._replace(slot=PLAN.slot[1:])), ValueError, "`plan` has parts of shapes"),
        (lambda: forecasted(MODEL, PLAN._replace(evaluate=1.0 * MASK)), TypeError, "`plan` has float64 for `evaluate`"),
        (lambda: forecasted(MODEL, [PLAN]), TypeError, "`plan` is list; write what `make_plan` returned"),
        (lambda: forecasted(MODEL, PLAN, at="head"), ValueError, "`at` is 'head'"),
        (lambda: forecasted(MODEL, PLAN, dtype=jnp.int32), TypeError, "`dtype` is int32"),
        (lambda: apply(RING.rows, 3, X, 0.5), TypeError, "`ring` is .*; write what `init` returned"),
        (lambda: apply(RING, 3, X[:2], jnp.asarray(0.5)), ValueError, "`ring` was made for features of"),
        (
            lambda: apply(RING, 3, X.astype("f4"), jnp.asarray(0.5)),
            ValueError,
            "`ring` was made for .*float64.*float32",
        ),
        (lambda: apply(RING, 0.5, X, 0.5), TypeError, "`step` is float.*; write the number of the step"),
        (lambda: APPLY(RING, 20, X, 0.5), ValueError, "`step` is 20 of a run of 20; write 0 to 19"),
        (
            lambda: forecasted(trunk, PLAN).init(X, jnp.asarray(0.5)),
            TypeError,
            '`model` returned an array.*write `at="output"`',
        ),
        (lambda: forecasted(lambda x: x, PLAN, at="output").init(jnp.arange(3)), TypeError, "`model` .* dtype int64"),
        (lambda: forecasted(lambda x: (x, ()), PLAN).init(X), ValueError, "`model` gave a feature without arrays"),
        (
            lambda: forecasted(lambda x: (x, {"h": x}), PLAN).apply(forecasted(lambda x: (x, x), PLAN).init(X), 0, X),
            ValueError,
            r"`ring` was made for features PyTreeDef\(\*\), `model` gave PyTreeDef\({'h': \*}\)",
        ),
        (lambda: forecasted(MODEL, PLAN).correct(RING, 3, X[:2]), ValueError, r"`x` has shape \(2, 4\), the kept"),
        (lambda: sample(PLAN, X, loop="while"), ValueError, "`loop` is 'while'"),
        (lambda: flow_euler(MODEL, PLAN, X, [1.0]), ValueError, r"`sigmas` has shape \(1,\)"),
        (lambda: ddim(MODEL, PLAN, X, np.arange(3), np.ones(21)), ValueError, r"`timesteps` has shape \(3,\)"),
    ],
)
def test_errors_at_trace_time(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_mapped_plan_is_refused():
    plans = jax.tree.map(lambda part: np.stack([part, part]), PLAN)
    with pytest.raises(ValueError, match="write `in_axes=None` for the plan"):
        sample(Plan(*plans), X)
