"""How far forecasting goes with each scheduler: the limits, what `accelerate` makes of them, and every one in a run."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    LCMScheduler,
    LTXEulerAncestralRFScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)

from spectral_forecast import schedules
from spectral_forecast.adapters.diffusers import accelerate, limits, report, restore
from spectral_forecast.adapters.diffusers._path import Path as NoisePath
from spectral_forecast.adapters.diffusers._schedulers import _KNOWN, Limits, choose, refusal, spread
from spectral_forecast.benchmarks import digits
from spectral_forecast.benchmarks.any_scheduler import SCHEDULERS, draw, network_for
from spectral_forecast.benchmarks.schedulers import FLOOR, limits_table

TINY = {**digits.CONFIG, "num_layers": 1, "num_single_layers": 1, "num_attention_heads": 1}
every_scheduler = pytest.mark.parametrize("name", SCHEDULERS)

# What diffusers itself says when these schedulers are made or set up.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
    pytest.mark.filterwarnings("ignore:Should have ta>=t0"),  # torchsde
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context and return_scalar arguments"),
]


@pytest.fixture
def velocity():
    torch.manual_seed(0)
    return FluxTransformer2DModel(**TINY).eval()


def longest(evaluate):
    """Most forecasts in a row."""
    return int(np.diff(np.flatnonzero([*evaluate, True])).max()) - 1


@every_scheduler
def test_every_scheduler_runs_within_its_limits(name, velocity):
    """Twelve steps with five evaluations, as far as the scheduler allows that."""
    kind = SCHEDULERS[name]
    scheduler = kind.make()
    network = network_for(kind, velocity, scheduler)
    steps = kind.steps_for(12)
    full = draw(kind, network, scheduler, [3], steps=steps)
    accelerate(network, evaluations=5, scheduler=scheduler)
    allowed = limits(scheduler)
    if allowed.max_skip == 0:
        with pytest.warns(UserWarning, match=f"with {type(scheduler).__name__} every step is evaluated"):
            images = draw(kind, network, scheduler, [3], steps=steps)
        assert torch.equal(images, full)
        assert not any(report(network).forecast.values())
    else:
        images = draw(kind, network, scheduler, [3], steps=steps)
        assert not torch.equal(images, full)
        evaluate = np.isin(np.arange(report(network).steps), report(network).evaluated["call 0"])
        assert allowed.tail is None or evaluate[len(evaluate) - allowed.tail :].all()
        assert longest(evaluate) <= (len(evaluate) if allowed.max_skip is None else allowed.max_skip)
        assert report(network).evaluations + len(report(network).forecast["call 0"]) == kind.calls(steps)
        count = int(evaluate.sum())
        more = [f"step 0, stream call 0: {count} steps are evaluated, not 5: with"] * (count > 5)
        assert [event[: len(text)] for event, text in zip(report(network).events, more, strict=True)] == more
    assert torch.isfinite(images).all()
    restore(network)
    assert torch.equal(draw(kind, network, scheduler, [3], steps=steps), full)


@pytest.fixture(scope="module")
def trained():
    return digits.transformer()


@every_scheduler
def test_every_scheduler_draws_digits(name, trained):
    """What the benchmark measures is digits: the classifier reads them."""
    kind = SCHEDULERS[name]
    scheduler = kind.make()
    images = draw(kind, network_for(kind, trained, scheduler), scheduler, [4], steps=kind.steps_for(12)).clamp(-1, 1)
    assert digits.classifier()[0].predict(images.reshape(1, -1).numpy()).tolist() == [4]


def test_the_limits():
    smooth = [DDIMScheduler(), DPMSolverMultistepScheduler(), UniPCMultistepScheduler(), None]
    assert all(limits(scheduler).max_skip != 0 and limits(scheduler).tail in (2, None) for scheduler in smooth)
    noisy = [DDPMScheduler(), DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++")]
    assert all(limits(scheduler).max_skip == 1 for scheduler in noisy)
    assert limits(DDIMScheduler(), eta=0.5).max_skip == 1
    assert limits(LCMScheduler()).max_skip == 0
    assert limits(FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)).max_skip == 0


def test_limits_of_schedulers_that_are_not_known():
    class Mine(UniPCMultistepScheduler):
        pass

    assert limits(Mine()) == limits(UniPCMultistepScheduler())
    assert limits(EDMEulerScheduler()).max_skip == 3
    assert limits(LTXEulerAncestralRFScheduler()).max_skip == 1
    assert limits(DPMSolverSinglestepScheduler(algorithm_type="sde-dpmsolver++")).max_skip == 1
    named = {name: type(name, (), {"order": order}) for name, order in (("TCDTwo", 1), ("AncestralOfTwoStages", 2))}
    assert all(limits(kind()).max_skip == 0 for kind in named.values())


def test_known_names_are_those_of_diffusers():
    assert all(issubclass(getattr(diffusers, name), SchedulerMixin) for name in _KNOWN)


@pytest.mark.parametrize("max_skip", [None, 0, 1, 3])
@pytest.mark.parametrize("steps", [1, 8, 9, 50])
def test_evaluations_are_spread_within_the_limits(steps, max_skip):
    for asked in (1, 4, 14, 60):
        evaluate = spread(Limits(max_skip, 2, ""), steps, asked)
        assert len(evaluate) == steps
        least = min(asked, steps)
        if max_skip is None:
            assert np.array_equal(evaluate, schedules.even(steps, least))
        else:
            assert longest(evaluate) <= max_skip
            assert evaluate.sum() >= least
            fewer = evaluate.sum() - 1
            assert fewer < least or longest(schedules.even(steps, int(fewer))) > max_skip, "no more than needed"


def test_refusals_name_what_to_do():
    assert "every step is evaluated" in refusal(LCMScheduler(), 50)
    assert "Take more steps" in refusal(UniPCMultistepScheduler(), 7)
    assert not refusal(UniPCMultistepScheduler(), 8)


def test_a_scheduler_may_be_exchanged(velocity):
    pipe = digits.pipeline(velocity)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True)
    accelerate(pipe, evaluations=5)
    with pytest.warns(UserWarning, match="with FlowMatchEulerDiscreteScheduler every step is evaluated"):
        digits.sample(pipe, [3], steps=12)
    assert report(pipe).evaluations == 12
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    digits.sample(pipe, [3], steps=12)
    assert report(pipe).evaluations == 5
    restore(pipe)


def measured():
    """The page's table of what was measured: for a scheduler and way the PSNR of forecasts and of fewer steps."""
    page = (Path(__file__).parents[1] / "docs" / "schedulers.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:2] == "| "]
    heads = [number for number, line in enumerate(lines) if line[0] == "scheduler"]
    head, *rows = lines[heads[1] : heads[2]]
    return {row[0]: dict(zip(head[1:], (c.split(" / ") for c in row[1:]), strict=True)) for row in rows}


def test_the_page_has_the_limits_of_the_code_and_a_row_for_every_scheduler():
    assert limits_table() in (Path(__file__).parents[1] / "docs" / "schedulers.md").read_text(encoding="utf-8")
    assert list(measured()) == list(SCHEDULERS)


@every_scheduler
def test_the_limits_are_those_that_were_measured(name):
    """Down to its limit a scheduler is better than fewer steps and, with noise, at 38 dB; one step beyond it is not."""
    row = {
        int(way.split()[0]): [float(x) for x in cells] for way, cells in measured()[name].items() if "in a row" in way
    }
    most = limits(SCHEDULERS[name].make(), eta=1.0 if name == "DDIM, eta = 1" else 0.0).max_skip
    noisy = most is not None
    good = {skip: psnr > fewer and (psnr >= FLOOR or not noisy) for skip, (psnr, fewer) in row.items()}
    assert [skip for skip in good if good[skip]] == [skip for skip in good if most is None or skip <= most]


@pytest.mark.parametrize("evaluations", [6, 8, 10, 12, 14, 20, 49])
@pytest.mark.parametrize(("predicts", "longest"), [("epsilon", 2.5), ("v_prediction", None)])
def test_networks_that_predict_noise_have_no_long_first_gap(evaluations, predicts, longest):
    """At t = 999 the first output tells nothing, and flow time takes ten steps from there for hardly any."""
    scheduler = DDIMScheduler(timestep_spacing="trailing", prediction_type=predicts)
    scheduler.set_timesteps(50)
    path = NoisePath.of(scheduler, 50)
    chosen = choose(scheduler, 50, evaluations, path=path).evaluate
    free = schedules.balanced(path.levels, evaluations, last_gap=2.0 if longest is None else 1.0)
    gaps, most = np.diff(np.flatnonzero([*chosen, True])), 2.5 * 50 / evaluations
    assert chosen.sum() == evaluations
    if longest is None or max(np.diff(np.flatnonzero([*free, True]))) <= most:
        np.testing.assert_array_equal(chosen, free)
    else:
        assert gaps.max() <= np.ceil(most)


def test_the_first_gap_of_noise_would_be_long():
    scheduler = DDIMScheduler(timestep_spacing="trailing")
    scheduler.set_timesteps(50)
    assert np.flatnonzero(schedules.balanced(NoisePath.of(scheduler, 50).levels, 14))[1] > 2.5 * 50 / 14
    assert np.flatnonzero(choose(scheduler, 50, 14, path=NoisePath.of(scheduler, 50)).evaluate)[1] <= 9
