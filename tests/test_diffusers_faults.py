"""Whatever goes wrong in a run, the next is as if nothing had been: stops, exceptions, other pipelines, deletion."""

import gc
import weakref

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from leaks import Made

from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.benchmarks import digits

TINY = {**digits.CONFIG, "num_layers": 1, "num_single_layers": 2, "num_attention_heads": 1}
STEPS = 8  # of which two are forecast


@pytest.fixture
def network():
    torch.manual_seed(0)
    return FluxTransformer2DModel(**TINY).eval()


@pytest.fixture
def pipe(network):
    return digits.pipeline(network)


@pytest.fixture(params=["output", "features"])
def at(request):
    return request.param


def draw(pipe, *, steps=STEPS, classes=(3, 8), **options):
    return digits.sample(pipe, list(classes), steps=steps, guidance=2.0, **options)


def held(network):
    """Features that an accelerated network holds, in bytes."""
    root = network._diffusers_hook.get_hook("spectral_forecast")
    split = getattr(root.session.place, "split", None)
    nothing = split is None or (split.seen is None and split.cut is None and not split.feature)
    assert nothing, "it is in the middle of a call"
    return sum(stream.nbytes for stream in root.session.streams.values())


def prompt(classes):
    positive, away = digits.embed(classes), digits.embed([digits.CLASSES] * len(classes))
    return {
        "prompt_embeds": positive.prompt_embeds,
        "pooled_prompt_embeds": positive.pooled_prompt_embeds,
        "negative_prompt_embeds": away.prompt_embeds,
        "negative_pooled_prompt_embeds": away.pooled_prompt_embeds,
        "true_cfg_scale": 2.0,
        "height": 8 * digits.SIZE,
        "width": 8 * digits.SIZE,
        "output_type": "latent",
    }


@pytest.mark.parametrize("last", [0, 3, STEPS - 1])
def test_a_callback_that_interrupts_the_pipeline(pipe, network, at, last):
    """diffusers' own way to stop: the loop goes on without calls, and the pipeline's end lets go of the features."""
    accelerate(pipe, evaluations=5, at=at)
    expected = draw(pipe)

    def stop(pipe, step, _time, state):
        pipe._interrupt = step >= last
        return state

    pipe(**prompt([5, 6]), num_inference_steps=STEPS, latents=digits.noise(2, seed=9), callback_on_step_end=stop)
    done = report(pipe)
    assert {name: len(done.evaluated[name]) + len(done.forecast[name]) for name in done.evaluated} == {
        "cond": last + 1,
        "uncond": last + 1,
    }
    assert held(network) == 0
    assert torch.equal(draw(pipe), expected)
    assert not report(pipe).events


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("last", [0, 3, STEPS - 1])
def test_a_callback_that_raises(pipe, network, at, error, last):
    """The features of a run that ended so are held until the next one begins; `restore` lets go of them, too."""
    accelerate(pipe, evaluations=5, at=at)
    expected = draw(pipe)
    seen = []

    def stop(latents):
        seen.append(latents)
        if len(seen) > last:
            raise error

    with pytest.raises(error):
        draw(pipe, classes=(5, 6), seed=9, after_step=stop)
    assert (held(network) > 0) == (last < STEPS - 1)
    kept = []
    assert torch.equal(draw(pipe, after_step=lambda _: kept.append(held(network))), expected)
    # Two rows for each of two branches.
    size = 2 * 64 * (32 if at == "features" else 4) * 4
    assert kept[0] == report(pipe).peak_bytes == 2 * 2 * size, "features of the run before are held"
    assert held(network) == 0
    assert not report(pipe).events


@pytest.mark.parametrize("inside", ["transformer_blocks.0.attn.to_q", "single_transformer_blocks.1", "proj_out"])
@pytest.mark.parametrize("call", [0, 3, 5])
def test_an_interrupt_inside_the_network(pipe, network, at, inside, call):
    """In an evaluation or, for the head, in a forecast; the first call with features resumes the network, too."""
    accelerate(pipe, evaluations=5, at=at)
    expected = draw(pipe)
    calls = []

    def interrupt(*_):
        calls.append(None)
        if len(calls) > call:
            raise KeyboardInterrupt

    handle = network.get_submodule(inside).register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        draw(pipe, classes=(5, 6), seed=9)
    handle.remove()
    held(network)
    assert torch.equal(draw(pipe), expected)
    assert not report(pipe).events


def test_an_interrupt_while_the_first_evaluation_is_resumed(pipe, network):
    """The proof that a network can be split is broken off; the next run makes it."""
    expected = draw(accelerate(pipe, evaluations=5, at="features"))
    restore(pipe)
    accelerate(pipe, evaluations=5, at="features")
    calls = []

    def interrupt(*_):
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt

    handle = network.x_embedder.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        draw(pipe)
    handle.remove()
    assert len(calls) == 2
    assert held(network) == 0
    assert torch.equal(draw(pipe), expected)
    assert report(pipe).at == "features"
    assert not report(pipe).events


def another_on(pipe, shift=2.0):
    """A pipeline with the same network and a scheduler of its own."""
    other = FluxPipeline(**{**pipe.components, "scheduler": FlowMatchEulerDiscreteScheduler(shift=shift)})
    other.set_progress_bar_config(disable=True)
    return other


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("steps", [9, STEPS, 16])
def test_another_pipeline_with_a_scheduler_of_its_own(pipe, at, before, steps):
    """The adapter does not know its timesteps: it evaluates every step and says so, whichever runs first."""
    other = another_on(pipe)
    full = draw(other, steps=steps)
    accelerate(pipe, evaluations=5, at=at)
    expected = draw(pipe) if before else None
    assert torch.equal(draw(other, steps=steps), full)
    assert "another pipeline's" in report(pipe).events[-1]
    assert len(report(pipe).events) == 1
    again = draw(pipe)
    assert expected is None or torch.equal(again, expected)
    assert report(pipe).evaluations == 5
    assert not report(pipe).events


def test_another_pipeline_with_the_same_scheduler_is_accelerated_too(pipe, at):
    """`from_pipe` hands the scheduler over."""
    accelerate(pipe, evaluations=5, at=at)
    expected = draw(pipe)
    other = FluxPipeline.from_pipe(pipe)
    other.set_progress_bar_config(disable=True)
    assert torch.equal(draw(other), expected)
    assert report(other).runs == 2
    assert report(other).evaluations == 5


def test_a_pipeline_that_is_gone(pipe, at):
    """The other one is not known; a plan needs none."""
    other = another_on(pipe)
    full = draw(other)
    network = pipe.transformer
    pipe = weakref.ref(accelerate(digits.pipeline(network), evaluations=5, at=at))
    gc.collect()
    assert pipe() is None
    with pytest.warns(UserWarning, match="pipeline.*is gone.*call `restore`"):
        assert torch.equal(draw(other), full)
    restore(network)
    accelerate(other, evaluations=5, at=at)
    draw(other)
    assert report(other).evaluations == 5


@pytest.mark.parametrize("midway", [False, True])
def test_deleting_the_pipeline_frees_everything(at, midway):
    torch.manual_seed(0)
    network = FluxTransformer2DModel(**TINY).eval()
    pipe = accelerate(digits.pipeline(network), evaluations=5, at=at)
    stop = _interrupt_after(3) if midway else None
    if midway:
        with pytest.raises(KeyboardInterrupt):
            draw(pipe, after_step=stop)
        assert held(network)
    else:
        draw(pipe)
    gone = [weakref.ref(pipe), weakref.ref(network), weakref.ref(network._diffusers_hook.get_hook("spectral_forecast"))]
    gone += [weakref.ref(parameter) for parameter in network.parameters()]
    del pipe, network
    gc.collect()
    assert not [thing() for thing in gone if thing() is not None]


def _interrupt_after(last):
    seen = []

    def stop(_):
        seen.append(None)
        if len(seen) > last:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("midway", [False, True])
def test_restoring_lets_go_of_every_tensor(pipe, at, midway):
    made = Made(torch.Tensor)
    accelerate(pipe, evaluations=5, at=at)
    if midway:
        with pytest.raises(KeyboardInterrupt):
            draw(pipe, after_step=_interrupt_after(3))
        assert made.held() > 0
    draw(pipe)
    restore(pipe)
    vars(pipe.scheduler).clear()  # its times are its own
    assert made.held() == 0
