"""Fine grids: a run has more steps than it was asked for, along the same curve, and as many evaluations."""

import copy
import gc
import inspect
import json
import pickle
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    LCMScheduler,
    StableDiffusion3Img2ImgPipeline,
    UniPCMultistepScheduler,
    WanPipeline,
)
from test_diffusers_correct import Field

from spectral_forecast import Newton, guarded, make_plan, metrics, schedules
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.adapters.diffusers._grid import SetTimesteps, refined
from spectral_forecast.benchmarks import digits, fine_grids, moving_digits, photographs
from spectral_forecast.benchmarks.pipelines import PIPELINES

# NumPy's, of what diffusers' multistep schedulers do.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning"),
]

GRID, EVALUATIONS, STEPS = 40, 8, 10
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
SCHEDULERS = {
    "Euler, flow": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
    "UniPC, flow": lambda: UniPCMultistepScheduler(**FLOW),
    "DPM++ 2M, flow": lambda: DPMSolverMultistepScheduler(**FLOW),
    "Euler": lambda: EulerDiscreteScheduler(prediction_type="v_prediction"),
    "DDIM": lambda: DDIMScheduler(prediction_type="v_prediction", clip_sample=False),
}
# In a row, of different ways to begin and to count: by sigmas or by a number, FLUX, SD3, Wan, SDXL, DiT and others.
DRAWN = [entry for entry in PIPELINES if "Img2Img" not in entry.name]


@pytest.fixture(scope="module")
def pipe():
    return digits.pipeline()


@pytest.fixture(autouse=True)
def _plain_again(pipe):
    yield
    restore(pipe)


@pytest.fixture(params=SCHEDULERS)
def scheduler(request):
    return SCHEDULERS[request.param]()


@pytest.fixture
def noise():
    return torch.randn(2, 5, dtype=torch.float64, generator=torch.manual_seed(0))


class Counter:
    """Counts the calls of a module inside the network, by a hook of the test's own."""

    def __init__(self, module):
        self.calls = 0
        self.handle = module.register_forward_hook(self)

    def __call__(self, *_):
        self.calls += 1


def draw(pipe, steps=STEPS, guidance=2.0, **options):
    return digits.sample(pipe, [3, 8], steps=steps, guidance=guidance, **options)


def loop(network, scheduler, x, steps=STEPS):
    scheduler.set_timesteps(steps)
    for time in scheduler.timesteps:
        x = scheduler.step(network(x, time), time, x, return_dict=False)[0]
    return x


def test_the_run_has_the_steps_of_the_grid_and_the_evaluations_asked_for(pipe):
    counter = Counter(pipe.transformer.x_embedder)
    seen = []
    accelerate(pipe, evaluations=EVALUATIONS, grid=GRID)
    draw(pipe, after_step=seen.append)
    counter.handle.remove()
    assert counter.calls == 2 * EVALUATIONS, "guidance calls twice"
    assert len(seen) == len(pipe.scheduler.timesteps) == report(pipe).steps == GRID
    assert report(pipe).evaluations == EVALUATIONS
    assert not report(pipe).events


def by_hand(network, evaluated, steps):
    """The run with guarded linear extrapolation and no corrector, in a loop of its own over the fine sigmas."""
    s = np.linspace(1.0, 0.0, steps + 1)
    sigmas = torch.tensor(digits.SHIFT * s / (1.0 + (digits.SHIFT - 1.0) * s), dtype=torch.float32)
    clock = -sigmas[:-1].double().numpy()
    run = make_plan(Newton(1), clock, schedules.mask(steps, evaluated), span=(-1, 0)).start(limit=guarded.LIMIT)
    x, classes = digits.noise(2, seed=0), torch.tensor([3, 8])
    with torch.no_grad():
        for i in range(steps):
            if run.evaluates(i):
                inputs = digits.inputs(x, sigmas[i].expand(2), classes)
                run.keep(i, velocity := network(**inputs, return_dict=False)[0])
            else:
                velocity = run.forecast(i)
            x = x + (sigmas[i + 1] - sigmas[i]) * velocity
    return digits.images(x)


def test_agrees_with_a_loop_by_hand_on_the_fine_grid(pipe):
    accelerate(pipe, evaluations=EVALUATIONS, grid=GRID, corrector=None)
    result = draw(pipe, guidance=1.0)
    (evaluated,) = report(pipe).evaluated.values()
    restore(pipe)
    expected = by_hand(pipe.transformer, evaluated, GRID)
    assert (result - expected).abs().max() <= 1e-5 * expected.abs().max()
    coarse = draw(pipe, guidance=1.0)
    assert (coarse - expected).abs().max() > 1e-2 * expected.abs().max(), "agreement above proves nothing"


@pytest.mark.parametrize("entry", DRAWN, ids=str)
def test_every_step_evaluated_is_the_plain_pipeline_with_as_many_steps(entry):
    pipe, seen = entry.build(), []
    full, few = entry.draw(pipe, 20), entry.draw(pipe)
    before = set(vars(pipe.scheduler))
    accelerate(pipe, evaluations=20, grid=20)
    result = entry.draw(pipe, STEPS, **_callback(pipe, seen))
    # Z-Image hands over sigmas that it has rounded to single precision.
    assert torch.equal(result, full) or (entry.name == "ZImagePipeline" and torch.allclose(result, full, atol=1e-3))
    assert (report(pipe).steps, report(pipe).events) == (20, [])
    assert seen in ([], list(range(20)))
    assert not torch.equal(few, full), "agreement above proves nothing"
    restore(pipe)
    assert set(vars(pipe.scheduler)) == before


def _callback(pipe, seen):
    def callback(_pipe, step, _time, state):
        seen.append(step)
        return state

    takes = "callback_on_step_end" in inspect.signature(type(pipe).__call__).parameters
    return {"callback_on_step_end": callback} if takes else {}


@pytest.mark.parametrize(
    "name", ["FluxPipeline", "StableDiffusion3Pipeline", "WanPipeline", "StableDiffusionXLPipeline"]
)
def test_a_progress_bar_ends_full(name, monkeypatch):
    entry = next(entry for entry in PIPELINES if entry.name == name)
    pipe, bars = entry.build(), []
    pipe.set_progress_bar_config(disable=False, leave=False)
    make = type(pipe).progress_bar
    monkeypatch.setattr(type(pipe), "progress_bar", lambda *a, **k: bars.append(make(*a, **k)) or bars[-1])
    entry.draw(accelerate(pipe, evaluations=EVALUATIONS, grid=GRID), STEPS)
    assert [bar.n for bar in bars] == [bar.total for bar in bars]
    assert len(bars) == 1


def test_it_is_closer_to_the_exact_solution(pipe):
    exact = draw(pipe, 400)
    found = {}
    for grid in (None, 200):
        accelerate(pipe, evaluations=14, grid=grid)
        found[grid] = metrics.psnr(draw(pipe, 50), exact, data_range=2.0)
        restore(pipe)
    assert found[200] > found[None] + 3.0
    assert found[200] > metrics.psnr(draw(pipe, 50), exact, data_range=2.0), "and closer than all 50 steps"


def test_a_second_run_equals_a_first(pipe):
    accelerate(pipe, evaluations=EVALUATIONS, grid=GRID)
    first = draw(pipe)
    assert draw(pipe, 60).isfinite().all()
    assert report(pipe).steps == 60, "a run that is asked for more steps keeps its own"
    assert torch.equal(draw(pipe), first)
    assert report(pipe).runs == 3
    assert report(pipe).steps == GRID


def test_steps_that_a_pipeline_was_asked_for_do_not_matter(pipe):
    accelerate(pipe, evaluations=EVALUATIONS, grid=GRID)
    assert torch.allclose(draw(pipe, 10), draw(pipe, 20), atol=1e-6)


def test_runs_of_few_steps_stay_and_are_evaluated(pipe):
    accelerate(pipe, evaluations=4, grid=GRID)
    with pytest.warns(UserWarning, match="a run of 4 steps has none to spare"):
        draw(pipe, 4)
    assert (report(pipe).steps, report(pipe).evaluations) == (4, 4)


def test_a_network_with_its_scheduler(scheduler, noise):
    full = loop(Field(), scheduler, noise, GRID)
    network = accelerate(Field(), evaluations=EVALUATIONS, scheduler=scheduler, grid=GRID)
    forecast = loop(network, scheduler, noise)
    told = report(network)
    assert (told.steps, told.evaluations, told.events) == (GRID, EVALUATIONS, [])
    assert (forecast - full).norm() < 0.2 * full.norm()
    accelerate(restore(network), evaluations=GRID, scheduler=scheduler, grid=GRID)
    assert torch.equal(loop(network, scheduler, noise), full)
    assert not torch.equal(forecast, full), "agreement above proves nothing"


def test_restore_leaves_the_scheduler_as_it_was(scheduler, noise):
    full, before = loop(Field(), scheduler, noise), set(vars(scheduler))
    network = accelerate(Field(), evaluations=EVALUATIONS, scheduler=scheduler, grid=GRID)
    loop(network, scheduler, noise)
    gone = weakref.ref(scheduler.set_timesteps)
    assert isinstance(scheduler.set_timesteps, SetTimesteps)
    restore(network)
    assert set(vars(scheduler)) == before
    assert torch.equal(loop(Field(), scheduler, noise), full)
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("make", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_sets_its_steps_by_itself(scheduler, noise, make):
    full = loop(Field(), scheduler, noise)
    network = accelerate(Field(), evaluations=EVALUATIONS, scheduler=scheduler, grid=GRID)
    first = loop(network, scheduler, noise)
    other = make(scheduler)
    assert other.set_timesteps.__self__ is other
    assert torch.equal(loop(Field(), other, noise), full)
    assert torch.equal(loop(network, scheduler, noise), first)
    assert len(scheduler.timesteps) == GRID


def test_pipelines_see_the_schedulers_own_signature(scheduler):
    before = inspect.signature(scheduler.set_timesteps)
    accelerate(Field(), evaluations=EVALUATIONS, scheduler=scheduler, grid=GRID)
    assert inspect.signature(scheduler.set_timesteps) == before


def test_a_scheduler_that_is_exchanged_is_followed_from_the_next_run_on():
    pipe = digits.pipeline()
    old = pipe.scheduler
    accelerate(pipe, evaluations=EVALUATIONS, grid=GRID)
    draw(pipe)
    pipe.scheduler = UniPCMultistepScheduler(**FLOW)
    draw(pipe)
    assert report(pipe).steps == STEPS
    assert "`grid=40` begins with the next run" in report(pipe).events[0]
    draw(pipe)
    assert report(pipe).steps == GRID
    assert not report(pipe).events
    restore(pipe)
    assert "set_timesteps" not in vars(old) | vars(pipe.scheduler)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (DDPMScheduler, "it adds noise at every step"),
        (LCMScheduler, "it draws the sample anew"),
        (lambda: FlowMatchHeunDiscreteScheduler(shift=3.0), "a step of FlowMatchHeunDiscreteScheduler has two stages"),
        (lambda: DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++", **FLOW), "it adds noise at every step"),
        # Where 480 whole numbers do not fit, and where 1000 // 480 does not reach the beginning.
        (lambda: UniPCMultistepScheduler(**{**FLOW, "flow_shift": 12.0}), "that the scheduler can tell apart"),
        (SCHEDULERS["DDIM"], "begin at time 958 instead of 980"),
    ],
)
def test_what_cannot_be_refined_says_so_and_keeps_its_steps(make, why, noise):
    scheduler = make()
    scheduler.set_timesteps(50)
    before = scheduler.timesteps
    network = accelerate(Field(), evaluations=20, scheduler=scheduler, grid=480)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that nothing is forecast
        loop(network, scheduler, noise, 50)
    assert torch.equal(scheduler.timesteps, before)
    assert report(network).steps == len(before)
    (event,) = report(network).events
    assert "`grid=480` is left out" in event
    assert why in event


def test_more_steps_than_the_scheduler_has_are_left_out(noise):
    scheduler = SCHEDULERS["DDIM"]()
    network = accelerate(Field(), evaluations=EVALUATIONS, scheduler=scheduler, grid=2000)
    loop(network, scheduler, noise, 50)
    assert (report(network).steps, scheduler.num_inference_steps) == (50, 50)
    assert "2000 cannot be larger than" in report(network).events[0]


def test_a_pipeline_that_begins_in_the_middle_of_its_own_sigmas_is_refined():
    entry = next(entry for entry in PIPELINES if entry.name == "FluxImg2ImgPipeline")
    pipe = entry.build()
    full, coarse = entry.draw(pipe, GRID), entry.draw(pipe, STEPS)
    accelerate(pipe, evaluations=GRID, grid=GRID)
    assert torch.equal(entry.draw(pipe, STEPS), full)
    assert not torch.equal(full, coarse)
    assert not report(pipe).events


@pytest.mark.parametrize("first", [True, False])
def test_a_pipeline_that_begins_in_the_middle_of_a_number_keeps_its_steps(first):
    """Whether it is the one that is accelerated, or another around the same parts."""
    text = photographs.pipeline()
    image = StableDiffusion3Img2ImgPipeline(**text.components)
    image.set_progress_bar_config(disable=True)
    prompt, pooled = photographs.embed([1])

    def paint():
        return image(
            prompt_embeds=prompt,
            pooled_prompt_embeds=pooled,
            image=torch.zeros(1, 3, 256, 256),
            latents=photographs.noise(1, seed=0),
            strength=0.5,
            guidance_scale=1.0,
            height=256,
            width=256,
            num_inference_steps=20,
            output_type="latent",
        ).images

    full = paint()
    accelerate(image if first else text, evaluations=20, grid=GRID)
    assert torch.equal(paint(), full)
    told = report(image if first else text)
    assert told.steps == 10
    assert "StableDiffusion3Img2ImgPipeline counts in these where it begins" in told.events[0]
    photographs.sample(text, [1], steps=20)
    assert (len(text.scheduler.timesteps), report(text).steps) == (GRID, GRID)


def test_two_transformers_that_take_turns_share_the_grid():
    high = moving_digits.network()
    parts = moving_digits.pipeline(high).components
    pipe = WanPipeline(**{**parts, "transformer_2": copy.deepcopy(high), "boundary_ratio": 0.7})
    pipe.set_progress_bar_config(disable=True)
    full = moving_digits.sample(pipe, [1], steps=20)
    accelerate(pipe, evaluations=20, grid=20)
    assert torch.equal(moving_digits.sample(pipe, [1], steps=STEPS), full)
    accelerate(restore(pipe), evaluations=EVALUATIONS, grid=GRID)
    moving_digits.sample(pipe, [1], steps=STEPS)
    told = report(pipe)
    first, second = told.evaluated.values()
    assert (told.steps, told.events) == (GRID, [])
    assert 0 == first[0] < first[-1] < second[0], "each has steps of its own"
    assert sum(len(steps) for table in (told.evaluated, told.forecast) for steps in table.values()) == GRID


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_lists_are_interpolated_and_keep_their_kind(kind):
    coarse = kind([1.0, 0.7, 0.2])
    fine = refined(coarse, 3, 6)
    assert type(fine) is type(coarse)
    assert np.allclose(np.array(fine), [1.0, 0.85, 0.7, 0.45, 0.2, 0.1])
    whole = refined(kind([900, 500, 201]), 3, 6)
    assert np.array(whole).tolist() == [900, 700, 500, 350, 201, 100]
    assert np.array(whole).dtype == np.array(kind([1])).dtype


def test_the_end_of_a_list_stays_where_it_is():
    assert np.allclose(refined([14.0, 2.0, 0.0], 2, 4), [14.0, 10.0, 6.0, 2.0, 0.0]), "the end is in the list"
    assert np.allclose(refined([900.0, 300.0, 0.0], 3, 5), [900.0, 600.0, 300.0, 150.0, 0.0]), "the last step is at 0"


def test_a_list_that_holds_its_end_is_refined():
    scheduler = SCHEDULERS["Euler"]()
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.tolist()
    accelerate(Field(), evaluations=EVALUATIONS, scheduler=scheduler, grid=2 * STEPS)
    scheduler.set_timesteps(sigmas=sigmas)
    assert len(scheduler.timesteps) == 2 * STEPS
    assert (scheduler.sigmas[0], scheduler.sigmas[-1]) == (sigmas[0], 0.0)
    assert np.isclose(scheduler.sigmas[-2], sigmas[-2])
    assert (np.diff(scheduler.sigmas) < 0.0).all()


def test_sigmas_of_flux_contain_the_coarse_ones(pipe):
    draw(pipe, 10)
    coarse = pipe.scheduler.sigmas
    accelerate(pipe, evaluations=EVALUATIONS, grid=GRID)
    draw(pipe, 10)
    assert torch.equal(pipe.scheduler.sigmas[::4], coarse)


def test_the_page_says_what_was_measured():
    """If not: ``python -m spectral_forecast.benchmarks.fine_grids``."""
    rows = json.loads(fine_grids.ROWS.read_text(encoding="utf-8"))
    written = Path(__file__).parents[1] / "docs" / "fine-grids.md"
    assert written.read_text(encoding="utf-8") == fine_grids.page(rows)
    assert {len(values) for row in rows.values() for values in row.values()} == {len(fine_grids.CLASSES)}


@pytest.mark.parametrize("grid", [7, 0, -200, 200.0, "200", True])
def test_bad_grids(pipe, grid):
    with pytest.raises(ValueError, match=r"`grid` is .*; write a whole number of steps, 8 or more, or None"):
        accelerate(pipe, evaluations=14, grid=grid)
    assert "set_timesteps" not in vars(pipe.scheduler)
    with pytest.raises(ValueError, match="is not accelerated"):
        report(pipe)


def test_a_grid_goes_with_evaluations(pipe):
    plan = make_plan(Newton(1), np.arange(STEPS), schedules.even(STEPS, 5), span=(0, STEPS))
    with pytest.raises(ValueError, match="`grid` goes with `evaluations`; a plan has its number of steps"):
        accelerate(pipe, plan, grid=GRID)
    with pytest.raises(ValueError, match="`evaluations` needs the length of a run; write `scheduler=`"):
        accelerate(pipe.transformer, evaluations=5, grid=GRID)
