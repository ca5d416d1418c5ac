"""The corrector under diffusers' schedulers: skipped steps are taken again, as a loop by hand would take them."""

import copy
import functools
import gc
import inspect
import pickle
import weakref

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from spectral_forecast import Corrector, Newton, combine, make_plan, schedules
from spectral_forecast.adapters._session import LIMIT
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.adapters.diffusers._correct import Step
from spectral_forecast.adapters.diffusers._path import Path

# NumPy's, of what diffusers' multistep schedulers do.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
]

STEPS = 20
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
SCHEDULERS = {
    "Euler, flow": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
    "UniPC, flow": lambda: UniPCMultistepScheduler(**FLOW),
    "DPM++ 2M, flow": lambda: DPMSolverMultistepScheduler(**FLOW),
    "DEIS, flow": lambda: DEISMultistepScheduler(**FLOW),
    "Euler": lambda: EulerDiscreteScheduler(prediction_type="v_prediction"),
    "DDIM": lambda: DDIMScheduler(prediction_type="v_prediction", clip_sample=False),
    "UniPC": lambda: UniPCMultistepScheduler(prediction_type="v_prediction"),
    "DDIM, from noise alone": lambda: DDIMScheduler(
        prediction_type="v_prediction", clip_sample=False, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    ),
    "DDIM, noise": lambda: DDIMScheduler(clip_sample=False),
    "Euler, noise": EulerDiscreteScheduler,
}


NOISE = ("DDIM, noise", "Euler, noise")


class Field(torch.nn.Module):
    """A network of which nothing matters but that its output is smooth in time and in the sample."""

    def forward(self, sample, timestep):
        time = timestep.double() / 1000.0
        return torch.tanh(sample) * (1.0 + torch.sin(3.0 * time)) + torch.cos(4.0 * time)


@pytest.fixture(params=SCHEDULERS)
def scheduler(request):
    return SCHEDULERS[request.param]()


@pytest.fixture
def noise():
    return torch.randn(2, 5, dtype=torch.float64, generator=torch.manual_seed(0))


def draw(network, scheduler, x, steps=STEPS, *, change=None, **options):
    scheduler.set_timesteps(steps)
    for number, time in enumerate(scheduler.timesteps):
        seen = scheduler.scale_model_input(x, time) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(network(seen, time), time, x, return_dict=False, **options)[0]
        x = x if change is None else change(number, x)
    return x


def taken(make, outputs, x):
    """The sample after steps with these outputs, by a scheduler that never did anything else."""
    scheduler = make()
    scheduler.set_timesteps(STEPS)
    for output, time in zip(outputs, scheduler.timesteps, strict=False):
        x = scheduler.step(output, time, x, return_dict=False)[0]
    return x


class Velocity:
    """What an output stands for: in flow matching itself, and of a prediction of v or of noise, noise less data."""

    def __init__(self, scheduler):
        flow = "Flow" in type(scheduler).__name__ or scheduler.config.get("use_flow_sigmas")
        sigmas = getattr(scheduler, "sigmas", None)
        self.kind = "flow" if flow else scheduler.config.prediction_type
        self.scheduler = scheduler
        if flow:
            self.levels = [float(sigma) for sigma in sigmas[:STEPS]]
            if type(scheduler).__name__ == "DEISMultistepScheduler":  # its last step does not move
                self.levels = [1.0 - k / STEPS for k in range(STEPS)]
            return
        if sigmas is None:
            kept = [float(scheduler.alphas_cumprod[time]) for time in scheduler.timesteps]
        else:
            kept = [1.0 / (1.0 + float(sigma) ** 2) for sigma in sigmas[:STEPS]]
        self.parts = [(k**0.5, (1.0 - k) ** 0.5) for k in kept]  # of data and of noise
        self.levels = [noise / (data + noise) for data, noise in self.parts]

    def seen(self, step, x):
        """What the network is given: data and noise with squares that sum to one."""
        if self.kind == "flow":
            return x
        return x * self.parts[step][0] if type(self.scheduler).__name__ == "EulerDiscreteScheduler" else x

    def __call__(self, step, output, x):
        if self.kind == "flow":
            return output
        (data, noise), x = self.parts[step], self.seen(step, x)
        if self.kind == "epsilon":
            return output - (x - noise * output) / data
        return (noise * x + data * output) - (data * x - noise * output)

    def output(self, step, velocity, x):
        if self.kind == "flow":
            return velocity
        (data, noise), x = self.parts[step], self.seen(step, x)
        if self.kind == "epsilon":
            return (data * velocity + x) / (data + noise)
        return (velocity - (noise - data) * x) / (data + noise)


def guarded(nodes, step, level, doubt):
    """A straight line through the newest two velocities, drawn back by what the newest arrival told."""
    (newest, at, value), before = nodes[-1], nodes[-2:-1]
    slope = sum((value - other) / (at - then) for _, then, other in before)
    part = 1.0 if doubt is None else 1.0 / (1.0 + (doubt * (step - newest) / 0.5) ** 2)
    return value + part * slope * (level - at)


def by_hand(make, x0, evaluate, degree=2, damping=1.0, *, default=False):
    """Predict, evaluate, correct, with the whole run taken again from its beginning at every step.

    What is predicted is the output over step numbers, or by ``default`` the velocity over noise levels, guarded.
    """
    field, times = Field(), make()
    times.set_timesteps(STEPS)
    velocity = Velocity(times)
    outputs, raw, seen, used, parts, doubt, worse = [], [], [], {}, [], None, 1.0
    for step, time in enumerate(times.timesteps):
        x = taken(make, outputs, x0)
        if not evaluate[step] and default:
            nodes = [(k, level, v) for (k, _), (level, v) in zip(raw, seen, strict=True)]
            used[step] = guarded(nodes, step, velocity.levels[step], doubt)
            outputs.append(velocity.output(step, used[step], x))
            continue
        if not evaluate[step]:
            weights = Newton(1).weights([float(k) for k, _ in raw], float(step))
            outputs.append(combine(weights, [v for _, v in raw]))
            used[step] = velocity(step, outputs[-1], x)
            continue
        arrived = field(velocity.seen(step, x), time)
        skipped = range(raw[-1][0] + 1, step) if raw else range(0)
        nodes = [*seen[-degree:], (velocity.levels[step], velocity(step, arrived, x))]
        # Newton's rule through the nodes, the newest of them in the future of the skipped step.
        ends, better = np.array([level for level, _ in nodes]), {}
        for j in skipped:
            at = velocity.levels[j]
            shares = [np.prod([(at - b) / (a - b) for b in ends if b != a]) for a in ends]
            better[j] = sum(share * v for share, (_, v) in zip(shares, nodes, strict=True))
        if skipped:
            changes = [(better[j] - used[j]).norm(dim=1) / better[j].norm(dim=1) for j in skipped]
            part = damping / (1.0 + (torch.stack(changes).amax(dim=0) / LIMIT) ** 2)[:, None]
            if len(seen) == 1 and velocity.kind == "epsilon":
                part = torch.full_like(part, damping)
            parts.append(float(part.mean()))
            for j in skipped:
                moved = used[j] + part * (better[j] - used[j])
                outputs[j] = velocity.output(j, moved, taken(make, outputs[:j], x0))
        if raw:
            nodes_before = [(k, level, v) for (k, _), (level, v) in zip(raw, seen, strict=True)]
            true, rivals = nodes[-1][1], (seen[-1][1], guarded(nodes_before, step, velocity.levels[step], None))
            changed, missed = ((true - other).norm(dim=1) for other in rivals)
            if velocity.kind != "epsilon" or len(seen) > 2:
                worse = (worse * (missed / changed) ** 2).sqrt().clamp_min(1.0)
            error = worse * torch.minimum(changed, missed) / true.norm(dim=1)
            if velocity.kind == "epsilon" and len(seen) == 1:
                error = torch.full_like(error, 2.5)
            doubt = error[:, None] / (step - raw[-1][0])
        outputs.append(arrived)
        raw.append((step, arrived))
        seen.append(nodes[-1])
    return taken(make, outputs, x0), parts


@pytest.mark.parametrize("corrector", [Corrector(), Corrector(degree=3), Corrector(degree=1, damping=0.5)])
@pytest.mark.parametrize(
    ("name", "default"),
    [(name, default) for name in SCHEDULERS for default in (True, False) if default or name not in NOISE],
)
def test_agrees_with_a_loop_by_hand(name, default, corrector, noise):
    network, scheduler, rule = Field(), SCHEDULERS[name](), None if default else Newton(1)
    accelerate(network, evaluations=8, scheduler=scheduler, forecaster=rule, corrector=corrector)
    result = draw(network, scheduler, noise)
    evaluate = np.zeros(STEPS, dtype=bool)
    evaluate[report(network).evaluated["call 0"]] = True
    expected, parts = by_hand(SCHEDULERS[name], noise, evaluate, corrector.degree, corrector.damping, default=default)
    # diffusers' multistep schedulers work with coefficients in single precision.
    assert torch.allclose(result, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert np.allclose([part for _, _, part in report(network).corrections], parts, rtol=1e-4)
    assert len(parts) >= 3
    plain = accelerate(restore(network), evaluations=8, scheduler=scheduler, forecaster=rule, corrector=None)
    moved = (draw(plain, scheduler, noise) - expected).abs().max()
    assert moved > 1e-4 * expected.abs().max(), "agreement above proves nothing"


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name.endswith("flow")])
def test_is_closer_to_the_full_run(name, noise):
    scheduler = SCHEDULERS[name]()
    full, network = draw(Field(), scheduler, noise), Field()
    errors = {}
    for corrector in (None, Corrector()):
        accelerate(network, evaluations=8, scheduler=scheduler, forecaster=Newton(1), corrector=corrector)
        errors[corrector] = float((draw(network, scheduler, noise) - full).norm())
        restore(network)
    assert errors[Corrector()] < 0.9 * errors[None]


@pytest.mark.parametrize("name", NOISE)
def test_forecasts_of_noise_itself_are_not_taken_again(name, noise):
    scheduler = SCHEDULERS[name]()
    network = accelerate(Field(), evaluations=8, scheduler=scheduler, forecaster=Newton(1))
    draw(network, scheduler, noise)
    assert report(network).corrections == []
    assert report(network).evaluations == 8


def test_evaluating_every_step_changes_no_bit(scheduler, noise):
    full, network = draw(Field(), scheduler, noise), Field()
    accelerate(network, evaluations=STEPS, scheduler=scheduler)
    assert torch.equal(draw(network, scheduler, noise), full)
    assert report(network).corrections == []


def test_running_twice_is_running_once(scheduler, noise):
    network = accelerate(Field(), evaluations=8, scheduler=scheduler)
    first = draw(network, scheduler, noise)
    draw(network, scheduler, 2.0 * noise, steps=13)
    assert torch.equal(draw(network, scheduler, noise), first)


def test_an_aborted_run_poisons_nothing(scheduler, noise):
    network = accelerate(Field(), evaluations=8, scheduler=scheduler)
    first = draw(network, scheduler, noise)

    def stop(number, _x):
        if number == 10:
            raise KeyboardInterrupt
        return _x

    with pytest.raises(KeyboardInterrupt):
        draw(network, scheduler, noise, change=stop)
    assert torch.equal(draw(network, scheduler, noise), first)


def test_restore_leaves_the_scheduler_as_it_was(scheduler, noise):
    full, before = draw(Field(), scheduler, noise), set(vars(scheduler))
    network = accelerate(Field(), evaluations=8, scheduler=scheduler)
    draw(network, scheduler, noise)
    gone = weakref.ref(scheduler.step)
    assert isinstance(scheduler.step, Step)
    restore(network)
    assert set(vars(scheduler)) == before
    assert torch.equal(draw(network, scheduler, noise), full)
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("make", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_steps_by_itself(scheduler, noise, make):
    full = draw(Field(), scheduler, noise)
    network = accelerate(Field(), evaluations=8, scheduler=scheduler)
    first = draw(network, scheduler, noise)
    other = make(scheduler)
    assert torch.equal(draw(Field(), other, noise), full)
    assert other.step.__self__ is other
    assert torch.equal(draw(network, scheduler, noise), first)


def test_another_scheduler_takes_over(noise):
    pipe = type("Holder", (), {})()
    pipe.scheduler = old = SCHEDULERS["Euler, flow"]()
    network = accelerate(Field(), evaluations=8, scheduler=old)
    network._diffusers_hook.get_hook("spectral_forecast").scheduler = lambda: pipe.scheduler
    draw(network, old, noise)
    pipe.scheduler = SCHEDULERS["UniPC, flow"]()
    draw(network, pipe.scheduler, noise)
    assert "step" not in vars(old)
    assert isinstance(pipe.scheduler.step, Step)
    assert report(network).corrections


@pytest.mark.parametrize("change", [lambda _number, x: x + 0.01, lambda _number, x: x.add_(0.01)])
def test_a_sample_that_is_changed_between_steps_is_not_corrected(scheduler, noise, change):
    network = accelerate(Field(), evaluations=8, scheduler=scheduler)
    draw(network, scheduler, noise, change=change)
    assert report(network).corrections == []
    assert report(network).evaluations == 8


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (DDPMScheduler, {}),
        (lambda: FlowMatchHeunDiscreteScheduler(shift=3.0), {}),
        (SCHEDULERS["DDIM"], {"eta": 1.0}),
        (SCHEDULERS["Euler"], {"s_churn": 0.5}),
    ],
)
def test_noise_and_second_stages_are_not_taken_again(make, options, noise):
    scheduler = make()
    network = accelerate(Field(), evaluations=10, scheduler=scheduler)
    draw(network, scheduler, noise, generator=torch.manual_seed(0), **options) if options else draw(
        network, scheduler, noise
    )
    assert report(network).corrections == []


def test_pipelines_see_the_schedulers_own_signature(scheduler, noise):
    before = inspect.signature(scheduler.step)
    draw(accelerate(Field(), evaluations=8, scheduler=scheduler), scheduler, noise)
    assert inspect.signature(scheduler.step) == before


def test_nothing_is_kept_after_a_pipelines_call(noise):
    scheduler = SCHEDULERS["Euler, flow"]()
    network = accelerate(Field(), evaluations=8, scheduler=scheduler)
    draw(network, scheduler, noise)
    network._diffusers_hook.reset_stateful_hooks()  # what a pipeline does when it ends
    mend = scheduler.step.steps.mend
    assert (mend.values, mend.skipped, mend.start) == ([], [], None)
    assert scheduler.step.steps.returned is None


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "DEIS, flow"])
def test_levels_fall_from_noise_to_data(name):
    scheduler = SCHEDULERS[name]()
    scheduler.set_timesteps(STEPS)
    noise = Path.of(scheduler, STEPS).levels
    assert 0.9 < noise[0] <= 1.0
    assert noise[-1] == 0.0
    assert (np.diff(noise) < 0.0).all()
    assert Path.of(scheduler, 7).levels == noise[-8:]


def test_levels_of_flow_matching_are_its_sigmas():
    scheduler = SCHEDULERS["Euler, flow"]()
    scheduler.set_timesteps(STEPS)
    assert np.allclose(Path.of(scheduler, STEPS).levels, scheduler.sigmas.numpy())
    assert schedules.balanced(Path.of(scheduler, STEPS).levels, 8).sum() == 8


def test_levels_that_do_not_fall_are_none_and_steps_are_even(noise):
    scheduler = SCHEDULERS["DEIS, flow"]()  # its last step does not move
    network = accelerate(Field(), evaluations=8, scheduler=scheduler)
    draw(network, scheduler, noise)
    assert Path.of(scheduler, STEPS) is None
    assert report(network).evaluated["call 0"] == np.flatnonzero(schedules.even(STEPS, 8)).tolist()


def test_bad_correctors():
    with pytest.raises(TypeError, match="`corrector` is int; write a Corrector, or None"):
        accelerate(Field(), evaluations=8, scheduler=DDIMScheduler(), corrector=2)


SIGMAS = np.array([3.0 * s / (1.0 + 2.0 * s) for s in np.linspace(1.0, 0.0, STEPS + 1)])
CLOCK = {"times": np.arange(STEPS), "span": (0, STEPS)}
EVALUATE = schedules.mask(STEPS, [0, 1, 2, 5, 8, 12, 15, 17, 19])
PLAN = make_plan(Newton(1), evaluate=EVALUATE, sigmas=SIGMAS, corrector=Corrector(), **CLOCK)
PLAIN = make_plan(Newton(1), evaluate=EVALUATE, **CLOCK)
ARRIVALS = [5, 8, 12, 15, 17, 19]


def flow():
    """A scheduler whose noise levels are SIGMAS."""
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps = functools.partial(scheduler.set_timesteps, sigmas=SIGMAS[:-1])
    return scheduler


def by_run(network, x, plan):
    """What `Run.correct` makes of a plan."""
    run = plan.start()
    for i in range(STEPS):
        if run.evaluates(i):
            velocity = network(x, torch.tensor(1000.0 * SIGMAS[i]))
            run.keep(i, velocity)
            x = run.correct(i, x)
        else:
            velocity = run.forecast(i)
        x = x + (SIGMAS[i + 1] - SIGMAS[i]) * velocity
    return x


def test_a_plans_corrections_are_those_of_a_run(noise):
    scheduler, noise = flow(), noise.float()
    network = accelerate(Field(), PLAN, scheduler=scheduler)
    result = draw(network, scheduler, noise, steps=None)
    expected = by_run(Field(), noise, PLAN)
    assert torch.allclose(result, expected, rtol=1e-5, atol=1e-5)
    told = report(network)
    assert [arrival for arrival, _, _ in told.corrections] == ARRIVALS
    assert told.events == []
    assert (by_run(Field(), noise, PLAIN) - expected).abs().max() > 0.01
    assert torch.equal(draw(network, scheduler, noise, steps=None), result)
    restore(network)
    assert "step" not in vars(scheduler)


def test_a_plan_that_evaluates_every_step_changes_no_bit(noise):
    scheduler = flow()
    full = draw(Field(), scheduler, noise, steps=None)
    plan = make_plan(Newton(1), evaluate=np.ones(STEPS, bool), sigmas=SIGMAS, corrector=Corrector(), **CLOCK)
    assert torch.equal(draw(accelerate(Field(), plan, scheduler=scheduler), scheduler, noise, steps=None), full)


@pytest.mark.parametrize("how", ["no corrector", "no plan's corrector"])
def test_a_plans_corrections_are_left_out_on_request(noise, how):
    scheduler = flow()
    plan, corrector = (PLAN, None) if how == "no corrector" else (PLAIN, Corrector())
    network = accelerate(Field(), plan, scheduler=scheduler, corrector=corrector)
    assert torch.allclose(draw(network, scheduler, noise, steps=None), by_run(Field(), noise, PLAIN), rtol=1e-5)
    assert "step" not in vars(scheduler)
    assert (report(network).corrections, report(network).events) == ([], [])


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "Euler, flow"])
def test_a_plans_corrections_that_are_not_the_schedulers_are_left_out_and_told(name, noise):
    results = []
    for plan in (PLAN, PLAIN):
        scheduler = SCHEDULERS[name]()
        network = accelerate(Field(), plan, scheduler=scheduler)
        results.append(draw(network, scheduler, noise))
        told = [event for event in report(network).events if "the plan's corrector is left out" in event]
        assert len(told) == (plan is PLAN)
        assert all(type(scheduler).__name__ in event and "write `evaluations=`" in event for event in told)
    assert torch.equal(*results)


def test_a_plans_corrections_need_a_scheduler(noise):
    scheduler, network = flow(), accelerate(Field(), PLAN)
    draw(network, scheduler, noise, steps=None)
    assert "no scheduler is known; write `scheduler=`" in report(network).events[0]
    assert report(network).corrections == []


@pytest.mark.parametrize("rescaled", [False, True])
def test_a_plans_corrections_of_guided_outputs(noise, rescaled):
    """Linear guidance of forecasts is the forecast of guidance; other guidance is not."""

    class Shifted(Field):
        def forward(self, sample, timestep, shift=0.0):
            return super().forward(sample, timestep) + shift * torch.cos(timestep.double() / 300.0).float()

    def guide(network):
        def guided(x, time):
            one, two = network(x, time, shift=1.0), network(x, time)
            both = two + 3.0 * (one - two)
            return both * one.norm() / both.norm() if rescaled else both

        return guided

    scheduler, noise = flow(), noise.float()
    network = accelerate(Shifted(), PLAN, scheduler=scheduler)
    result = draw(guide(network), scheduler, noise, steps=None)
    told = report(network)
    if rescaled:
        assert told.corrections == []
        assert "is not the plan's forecast of it" in told.events[0]
    else:
        assert torch.allclose(result, by_run(guide(Shifted()), noise, PLAN), rtol=1e-5, atol=1e-5)
        assert [arrival for arrival, _, _ in told.corrections] == ARRIVALS


def test_tokens_with_steps_of_their_own_are_not_corrected(noise):
    scheduler = flow()
    network = accelerate(Field(), PLAN, scheduler=scheduler)
    tokens = noise.float()[None]
    scheduler.set_timesteps(None)
    for time in scheduler.timesteps:
        each = torch.stack([time, 0.0 * time])[None]
        moved = scheduler.step(network(tokens, time), time, tokens, per_token_timesteps=each, return_dict=False)[0]
        tokens = moved
    assert report(network).corrections == []


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (ARRIVALS[0] - 1, "is not the plan's forecast of it"),
        (ARRIVALS[0], "outputs have another form than the sample"),
    ],
)
def test_a_plans_corrections_end_where_outputs_take_another_form(noise, odd, why):
    """At a skipped step, or at the evaluated one after it."""
    scheduler, x = flow(), noise.float()
    network = accelerate(Field(), PLAN, scheduler=scheduler)
    scheduler.set_timesteps(None)
    for step, time in enumerate(scheduler.timesteps):
        output = network(x, time)
        x = scheduler.step(output.half() if step == odd else output, time, x, return_dict=False)[0].float()
    assert report(network).corrections == []
    (event,) = report(network).events
    assert why in event


def test_steps_at_times_of_ones_own_are_not_taken_again(noise):
    results = []
    for corrector in (Corrector(), None):
        scheduler, x = flow(), noise.float()
        network = accelerate(Field(), evaluations=8, scheduler=scheduler, corrector=corrector)
        scheduler.set_timesteps(None)
        for step, time in enumerate(scheduler.timesteps):
            x = scheduler.step(network(x, time), time + 0.25 * (step > 0), x, return_dict=False)[0]
        results.append(x)
        assert report(network).corrections == []
    assert torch.equal(*results)


def test_a_plan_for_another_length_corrects_nothing(noise):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    network, full = accelerate(Field(), PLAN, scheduler=scheduler), draw(Field(), scheduler, noise, steps=30)
    assert torch.equal(draw(network, scheduler, noise, steps=30), full)
    assert "the plan is for 20 steps, the run has 30" in report(network).events[0]


def test_features_and_a_plans_corrections_are_refused():
    with pytest.raises(ValueError, match='`plan` has a corrector, which acts on outputs; write `at="output"`'):
        accelerate(Field(), PLAN, at="features", scheduler=flow())
