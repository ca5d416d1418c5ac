"""The corrector in loops by hand around the PyTorch accelerator: what is added, what is taken again, what is not."""

import gc
import itertools
import threading
import weakref

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from spectral_forecast import Corrector, Newton, combine, guarded, make_plan, schedules
from spectral_forecast.adapters._session import LIMIT, Choice
from spectral_forecast.adapters.diffusers import accelerate, report
from spectral_forecast.adapters.torch import Accelerator

STEPS = 20
EVALUATED = (0, 1, 4, 8, 9, 13, 17, 19)
EVALUATE = schedules.mask(STEPS, EVALUATED)
SIGMAS = 3.0 * np.linspace(1.0, 0.0, STEPS + 1) / (1.0 + 2.0 * np.linspace(1.0, 0.0, STEPS + 1))
CLOCK = {"times": np.arange(STEPS), "span": (0, STEPS)}
PLAN = make_plan(Newton(1), evaluate=EVALUATE, sigmas=SIGMAS, corrector=Corrector(), **CLOCK)
PLAIN = make_plan(Newton(1), evaluate=EVALUATE, **CLOCK)
EVERYTHING = make_plan(Newton(1), evaluate=np.ones(STEPS, dtype=bool), sigmas=SIGMAS, corrector=Corrector(), **CLOCK)
ARRIVALS = [4, 8, 13, 17, 19]


def field(x, sigma, shift=0.0):
    return torch.tanh(x) * (1.0 + np.sin(3.0 * sigma)) + np.cos(4.0 * sigma) + shift


def resumable(x, sigma, feature=None):
    feature = torch.tanh(x) if feature is None else feature
    return feature * (1.0 + np.sin(3.0 * sigma)) + np.cos(4.0 * sigma), feature


@pytest.fixture
def noise():
    return torch.randn(2, 5, dtype=torch.float64, generator=torch.manual_seed(0))


def euler(model, x, correct=lambda x: x, sigmas=SIGMAS):
    for sigma, following in itertools.pairwise(sigmas):
        velocity = model(x, sigma)
        x = correct(x) + (following - sigma) * velocity
    return x


def by_run(x, plan, limit=0.2, model=field, guard=None):
    run = plan.start(limit=guard)
    for i in range(STEPS):
        if run.evaluates(i):
            velocity = model(x, SIGMAS[i])
            run.keep(i, velocity)
            x = run.correct(i, x, limit=limit)
        else:
            velocity = run.forecast(i)
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * velocity
    return x


def stepped(model, x, step, sigmas=SIGMAS):
    for sigma, following in itertools.pairwise(sigmas):
        x = step(x, model(x, sigma), following - sigma)
    return x


def euler_step(x, velocity, length):
    return x + length * velocity


def adams_step(state, velocity, length):
    """Adams and Bashforth's second order for steps of any length; the state is the sample and what was before."""
    x, before, last = state
    slope = velocity if before is None else velocity + 0.5 * length / last * (velocity - before)
    return x + length * slope, velocity, length


def taken_again(x0, evaluate, step, start, sample_of, limit=LIMIT):
    """Predict, evaluate, correct: at every arrival the whole run is taken again from its beginning."""
    outputs, seen, parts = [], [], []

    def taken():
        state = start(x0)
        for number, output in enumerate(outputs):
            state = step(state, output, SIGMAS[number + 1] - SIGMAS[number])
        return sample_of(state)

    for i in range(STEPS):
        if not evaluate[i]:
            weights = Newton(1).weights([float(k) for k, _ in seen], float(i))
            outputs.append(combine(weights, [output for _, output in seen]))
            continue
        arrived = field(taken(), SIGMAS[i])
        skipped = range(seen[-1][0] + 1, i) if seen else range(0)
        if skipped:
            nodes = [*seen[-2:], (i, arrived)]
            ends = [float(k) for k, _ in nodes]
            shares = {j: [np.prod([(j - b) / (a - b) for b in ends if b != a]) for a in ends] for j in skipped}
            better = {j: sum(w * v for w, (_, v) in zip(shares[j], nodes, strict=True)) for j in skipped}
            changes = [(better[j] - outputs[j]).norm(dim=1) / better[j].norm(dim=1) for j in skipped]
            missed = torch.stack(changes).amax(dim=0)[:, None]  # of each sample of the batch
            part = torch.ones_like(missed) if limit is None else 1.0 / (1.0 + (missed / limit) ** 2)
            parts.append(float(part.mean()))
            for j in skipped:
                outputs[j] = outputs[j] + part * (better[j] - outputs[j])
        outputs.append(arrived)
        seen.append((i, arrived))
    return taken(), parts


@pytest.mark.parametrize("limit", [0.2, 0.02, None])
def test_adds_what_a_run_adds(noise, limit):
    accelerated = Accelerator(field, PLAN)
    sample = euler(accelerated, noise, lambda x: accelerated.correct(x, limit=limit))
    assert torch.equal(sample, by_run(noise, PLAN, limit))
    told = accelerated.report
    assert [arrival for arrival, _, _ in told.corrections] == ARRIVALS
    errors = [told.errors["call 0"][EVALUATED.index(arrival)] for arrival in ARRIVALS]
    assert [error for _, error, _ in told.corrections] == pytest.approx(errors, rel=1e-5)
    parts = [1.0 if limit is None else 1.0 / (1.0 + (error / limit) ** 2) for error in errors]
    assert [part for _, _, part in told.corrections] == pytest.approx(parts, rel=1e-4)
    assert told.events == []
    assert not torch.allclose(sample, by_run(noise, PLAIN), atol=1e-4)


def test_is_closer_to_the_full_run(noise):
    accelerated, full = Accelerator(field, PLAN), euler(field, noise)
    plain = (by_run(noise, PLAIN) - full).norm()
    adding = euler(accelerated, noise, lambda x: accelerated.correct(x, limit=None))
    assert (adding - full).norm() < 0.7 * plain
    step = accelerated.retaking(euler_step, limit=None)
    assert (stepped(accelerated, noise, step) - full).norm() < 0.7 * plain


def test_is_the_sample_itself_where_nothing_is_corrected(noise):
    accelerated, plain = Accelerator(field, PLAN), Accelerator(field, PLAIN)
    assert accelerated.correct(noise) is noise
    for step, sigma in enumerate(SIGMAS[:-1]):
        accelerated(noise, sigma)
        plain(noise, sigma)
        assert plain.correct(noise) is noise
        assert (accelerated.correct(noise) is noise) == (step not in ARRIVALS)
        assert accelerated.correct(noise) is noise  # a second time would be too much


@pytest.mark.parametrize("form", ["correct", "retaking"])
def test_every_step_evaluated_changes_no_bit(noise, form):
    full = euler(field, noise)
    for accelerated in (
        Accelerator(field, EVERYTHING),
        Accelerator(field, evaluations=STEPS, sigmas=SIGMAS),
        Accelerator(field, evaluations=STEPS, steps=STEPS),
    ):
        if form == "correct":
            assert torch.equal(euler(accelerated, noise, accelerated.correct), full)
        else:
            assert torch.equal(stepped(accelerated, noise, accelerated.retaking(euler_step)), full)
        assert accelerated.report.corrections == []


def test_sigmas_choose_a_balanced_schedule_and_a_corrector(noise):
    accelerated = Accelerator(field, evaluations=8, sigmas=torch.as_tensor(SIGMAS))
    sample = euler(accelerated, noise, accelerated.correct)
    evaluate = schedules.balanced(SIGMAS, 8)
    clock = {"times": -SIGMAS[:-1], "span": (-SIGMAS[0], 0.0)}  # of noise levels
    plan = make_plan(Newton(1), evaluate=evaluate, sigmas=SIGMAS, corrector=Corrector(), **clock)
    assert torch.equal(sample, by_run(noise, plan))
    assert accelerated.report.evaluated["call 0"] == np.flatnonzero(evaluate).tolist()
    other = Accelerator(field, evaluations=8, steps=STEPS, sigmas=SIGMAS, corrector=Corrector(1, damping=0.5))
    plan = make_plan(Newton(1), evaluate=evaluate, sigmas=SIGMAS, corrector=Corrector(1, damping=0.5), **clock)
    assert torch.equal(euler(other, noise, other.correct), by_run(noise, plan))


def test_a_run_that_ends_above_0_is_that_run_less_its_end(noise):
    raised = Accelerator(field, evaluations=8, sigmas=SIGMAS + 0.5)
    assert raised._session.settings == Accelerator(field, evaluations=8, sigmas=SIGMAS + 0.5 - 0.5)._session.settings
    euler(raised, noise, raised.correct, SIGMAS + 0.5)
    assert raised.report.evaluated["call 0"] == np.flatnonzero(schedules.balanced(SIGMAS, 8)).tolist()


def test_without_sigmas_steps_are_even_and_nothing_is_added(noise):
    accelerated = Accelerator(field, evaluations=8, steps=STEPS)
    sample = euler(accelerated, noise, accelerated.correct)
    plan = make_plan(Newton(1), evaluate=schedules.even(STEPS, 8), **CLOCK)
    assert torch.equal(sample, by_run(noise, plan, guard=guarded.LIMIT))
    assert accelerated.report.corrections == []
    assert Accelerator(resumable, PLAIN, at="features").correct(noise) is noise
    assert Accelerator(field, evaluations=8, steps=STEPS, streams=2).correct(noise) is noise


def test_no_corrector_leaves_it_out(noise):
    for accelerated in (
        Accelerator(field, PLAN, corrector=None),
        Accelerator(field, evaluations=8, sigmas=SIGMAS, corrector=None),
    ):
        found = [euler(accelerated, noise, correct) for correct in (accelerated.correct, lambda x: x)]
        assert torch.equal(*found)
        assert accelerated.report.events == []
        assert accelerated.retaking(euler_step) is euler_step


def test_corrections_that_nobody_asks_for_are_told_once(noise):
    accelerated = Accelerator(field, PLAN)
    assert torch.equal(euler(accelerated, noise), by_run(noise, PLAIN))
    (event,) = accelerated.report.events
    assert "write `x = accelerated.correct(x)`" in event


@pytest.mark.parametrize("form", ["correct", "retaking"])
def test_running_twice_is_running_once(noise, form):
    accelerated = Accelerator(field, PLAN if form == "correct" else PLAIN)
    if form == "correct":
        draw = lambda x, stop=None: euler(accelerated, x, accelerated.correct, SIGMAS[:stop])  # noqa: E731
    else:
        step = accelerated.retaking(euler_step)
        draw = lambda x, stop=None: stepped(accelerated, x, step, SIGMAS[:stop])  # noqa: E731
    first = draw(noise)
    assert torch.equal(draw(noise), first)
    draw(2.0 * noise, 12)  # broken off
    assert torch.equal(draw(noise), first)
    draw(noise, 8)
    accelerated.reset()
    assert accelerated.correct(noise) is noise
    assert torch.equal(draw(noise), first)


def test_a_restart_goes_on_with_the_rest_of_the_sigmas(noise):
    accelerated = Accelerator(field, evaluations=8, sigmas=SIGMAS)
    begin, x, calls = 6, noise, []
    for i, (sigma, following) in enumerate(itertools.pairwise(SIGMAS)):
        x = x if i != begin else x[:1]
        velocity = accelerated(x, sigma)
        x = accelerated.correct(x) + (following - sigma) * velocity
        calls.append(x)
    assert accelerated.report.restarts == 1
    evaluate = schedules.balanced(SIGMAS, 8)[begin:]
    evaluate[:3] = True
    plan = make_plan(
        Newton(1),
        -SIGMAS[begin:-1],
        evaluate,
        span=(-SIGMAS[0], 0.0),
        sigmas=SIGMAS[begin:],
        corrector=Corrector(),
    )
    assert plan.correction.any()
    run, y = plan.start(), calls[begin - 1][:1]
    for i in range(begin, STEPS):
        if run.evaluates(i - begin):
            velocity = field(y, SIGMAS[i])
            run.keep(i - begin, velocity)
            y = run.correct(i - begin, y)
        else:
            velocity = run.forecast(i - begin)
        y = y + (SIGMAS[i + 1] - SIGMAS[i]) * velocity
    assert torch.equal(x, y)


def test_a_given_plan_is_left_after_a_restart(noise):
    accelerated = Accelerator(field, PLAN)
    euler(accelerated, noise, accelerated.correct, SIGMAS[:7])
    for sigma in SIGMAS[6:-1]:
        accelerated(noise[:1], sigma)
        assert accelerated.correct(noise[:1]) is not None
        assert accelerated.correct(noise[:1]).shape == (1, 5)
    assert [arrival for arrival, _, _ in accelerated.report.corrections] == [4]


def test_a_correction_that_is_not_finite_is_not_made():
    made, largest = [], torch.full((3,), torch.finfo(torch.float16).max, dtype=torch.float16)
    for x in (largest, -largest):
        accelerated = Accelerator(lambda x, t: 0.5 * x * np.cos(20.0 * t), PLAN)
        for sigma in SIGMAS[:5]:
            accelerated(largest, sigma)
        assert torch.isfinite(accelerated.correct(x, limit=None)).all()
        made.append(len(accelerated.report.corrections))
    assert sorted(made) == [0, 1]


def test_another_thread_is_not_corrected(noise):
    accelerated, found = Accelerator(field, PLAN), []
    for sigma in SIGMAS[:5]:
        accelerated(noise, sigma)
    thread = threading.Thread(target=lambda: found.append(accelerated.correct(noise)))
    thread.start()
    thread.join()
    assert found[0] is noise
    assert accelerated.correct(noise) is not noise


def test_nothing_is_kept_once_the_last_step_is_corrected(noise):
    accelerated = Accelerator(field, PLAN)
    for sigma in SIGMAS[:-1]:
        accelerated(noise, sigma)
    kept = weakref.ref(accelerated._session.arrived.stream.runs[0]._ring.rows)
    accelerated.correct(noise)
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("limit", [LIMIT, None])
@pytest.mark.parametrize(
    ("step", "start", "sample_of"),
    [
        (euler_step, lambda x: x, lambda state: state),
        (adams_step, lambda x: (x, None, None), lambda state: state[0]),
    ],
    ids=["Euler", "Adams-Bashforth"],
)
def test_takes_steps_of_any_order_again(noise, step, start, sample_of, limit):
    accelerated = Accelerator(field, PLAIN)
    retaking = accelerated.retaking(step, limit=limit)
    state = start(noise)
    for sigma, following in itertools.pairwise(SIGMAS):
        state = retaking(state, accelerated(sample_of(state), sigma), following - sigma)
    expected, parts = taken_again(noise, EVALUATE, step, start, sample_of, limit)
    assert torch.allclose(sample_of(state), expected, rtol=1e-9)
    told = accelerated.report.corrections
    assert [arrival for arrival, _, _ in told] == ARRIVALS
    assert [part for _, _, part in told] == pytest.approx(parts, rel=1e-5)


def test_takes_again_what_the_diffusers_adapter_takes_again(noise):
    class Network(torch.nn.Module):
        def forward(self, sample, timestep):
            return field(sample, float(timestep) / 1000.0)

    scheduler, network = FlowMatchEulerDiscreteScheduler(), Network()
    scheduler.set_timesteps(sigmas=SIGMAS[:-1])
    accelerate(network, evaluations=8, scheduler=scheduler, schedule=lambda *_: EVALUATE)
    x = noise.float()
    for time in scheduler.timesteps:
        x = scheduler.step(network(x, time), time, x, return_dict=False)[0]
    accelerated = Accelerator(field, evaluations=8, sigmas=SIGMAS)
    accelerated._session.choose = lambda *_: Choice(EVALUATE, levels=tuple(SIGMAS))
    mine = stepped(accelerated, noise.float(), accelerated.retaking(euler_step))
    assert len(report(network).corrections) == len(ARRIVALS)
    assert torch.allclose(mine, x, rtol=1e-5, atol=1e-6)


def test_guided_outputs_of_two_streams_are_taken_again(noise):
    accelerated = Accelerator(field, PLAIN, streams=2)
    guide = lambda one, two: two + 3.0 * (one - two)  # noqa: E731
    step, x = accelerated.retaking(euler_step), noise
    for sigma, following in itertools.pairwise(SIGMAS):
        x = step(x, guide(accelerated(x, sigma), accelerated(x, sigma, shift=0.5)), following - sigma)
    whole = Accelerator(lambda x, sigma: guide(field(x, sigma), field(x, sigma, shift=0.5)), PLAIN)
    assert torch.allclose(x, stepped(whole, noise, whole.retaking(euler_step)), rtol=1e-9)
    assert len(accelerated.report.corrections) == len(ARRIVALS)


def test_features_are_taken_again(noise):
    accelerated = Accelerator(resumable, PLAIN, at="features")
    plain = stepped(accelerated, noise, euler_step)
    corrected = stepped(accelerated, noise, accelerated.retaking(euler_step))
    assert [arrival for arrival, _, _ in accelerated.report.corrections] == ARRIVALS
    full = euler(field, noise)
    assert (corrected - full).norm() < 0.9 * (plain - full).norm()


@pytest.mark.parametrize("change", [lambda x: x + 0.01, lambda x: x.add_(0.01)], ids=["anew", "in place"])
def test_a_sample_that_is_changed_between_steps_is_not_taken_again(noise, change):
    accelerated = Accelerator(field, PLAIN)
    step, x = accelerated.retaking(euler_step), noise
    for sigma, following in itertools.pairwise(SIGMAS):
        x = change(step(x, accelerated(x, sigma), following - sigma))
    assert accelerated.report.corrections == []


REFUSED = {
    "features": (lambda: Accelerator(resumable, PLAN, at="features"), 'write `at="output"` and `streams=1`'),
    "streams": (lambda: Accelerator(field, PLAN, streams=2), "`plan` has a corrector, which acts on"),
    "sigmas with a plan": (lambda: Accelerator(field, PLAN, sigmas=SIGMAS), "a plan knows them"),
    "sigmas of another length": (
        lambda: Accelerator(field, evaluations=4, steps=9, sigmas=SIGMAS),
        r"`sigmas` has shape \(21,\); write \(10,\)",
    ),
    "one sigma": (
        lambda: Accelerator(field, evaluations=4, sigmas=[1.0]),
        r"`sigmas` has shape \(1,\); write \(N \+ 1",
    ),
    "sigmas that rise": (lambda: _first_call(evaluations=4, sigmas=[0.0, 1.0, 0.5, 0.0]), "`sigmas`"),
    "correct, features": (
        lambda: Accelerator(resumable, evaluations=4, sigmas=SIGMAS, at="features").correct(torch.ones(2)),
        "`correct` adds up the outputs of one stream.*write `step = accelerated.retaking",
    ),
    "correct, streams": (
        lambda: Accelerator(field, evaluations=4, sigmas=SIGMAS, streams=2).correct(torch.ones(2)),
        "`correct` adds up the outputs of one stream",
    ),
    "several tensors": (lambda: _corrected(lambda x, sigma: (field(x, sigma), x)), "`model` returns 2 tensors"),
    "another shape": (lambda: _corrected(lambda x, sigma: field(x, sigma)[:1]), r"`x` has shape \(2,\), the kept"),
    "limit": (lambda: _corrected(field, limit=0.0), "`limit` is 0.0"),
    "both": (lambda: _corrected(field, both=True), "`correct` and `retaking` correct the same steps"),
}


def _first_call(**options):
    return Accelerator(field, **options)(torch.ones(2), 1.0)


def _corrected(model, *, both=False, limit=0.2):
    accelerated = Accelerator(model, PLAN)
    if both:
        accelerated.retaking(euler_step)
    for sigma in SIGMAS[:5]:
        accelerated(torch.ones(2), sigma)
    accelerated.correct(torch.ones(2), limit=limit)


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_correctors():
    with pytest.raises(TypeError, match="`corrector` is int; write a Corrector, or None"):
        Accelerator(field, evaluations=4, steps=9, corrector=2)
    with pytest.raises(TypeError, match="`step` is int; write a callable"):
        Accelerator(field, PLAIN).retaking(2)
