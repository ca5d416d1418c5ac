"""What a copy of an accelerated pipeline is: plain, and with nothing in common with the original."""

import copy
import io
import pickle

import pytest
import torch
from diffusers import FirstBlockCacheConfig, FluxTransformer2DModel
from diffusers.hooks import HookRegistry, ModelHook

from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.benchmarks import digits

TINY = {**digits.CONFIG, "num_layers": 1, "num_single_layers": 2, "num_attention_heads": 1}


@pytest.fixture
def pipe():
    torch.manual_seed(0)
    return digits.pipeline(FluxTransformer2DModel(**TINY).eval())


@pytest.fixture(params=["output", "features"])
def at(request):
    return request.param


def draw(pipe, **options):
    return digits.sample(pipe, [3, 8], steps=8, guidance=1.0, **options)


def pickled(model):
    return pickle.loads(pickle.dumps(model))


def saved(network):
    buffer = io.BytesIO()
    torch.save(network, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def attributes(network):
    return {name: sorted(vars(module)) for name, module in network.named_modules()}


def storage(network):
    return {parameter.data_ptr() for parameter in network.parameters()}


@pytest.mark.parametrize("make", [copy.deepcopy, pickled])
@pytest.mark.parametrize("midway", [False, True])
def test_a_copy_of_a_pipeline_is_plain(pipe, at, make, midway):
    """Also while a run's features are held."""
    plain, full = attributes(pipe.transformer), draw(pipe)
    accelerate(pipe, evaluations=5, at=at)
    if midway:
        with pytest.raises(KeyboardInterrupt):
            draw(pipe, after_step=_interrupt_after(4))
        assert pipe.transformer._diffusers_hook.get_hook("spectral_forecast").session.streams
    else:
        draw(pipe)
    told = report(pipe)
    other = make(pipe)
    assert attributes(other.transformer) == plain
    assert not storage(other.transformer) & storage(pipe.transformer)
    assert torch.equal(draw(other), full)
    with pytest.raises(ValueError, match="is not accelerated; call `accelerate` first"):
        report(other)
    assert report(pipe) == told, "the copy's run is none of the original's"


@pytest.mark.parametrize("make", [copy.deepcopy, pickled])
def test_original_and_copy_go_separate_ways(pipe, at, make):
    accelerate(pipe, evaluations=5, at=at)
    forecast = draw(pipe)
    other = accelerate(make(pipe), evaluations=5, at=at)
    assert torch.equal(draw(other), forecast)
    restore(pipe)
    assert torch.equal(draw(other), forecast)
    assert report(other).runs == 2
    with torch.no_grad():
        other.transformer.proj_out.weight.mul_(2.0)
    full = draw(pipe)
    restore(other)
    assert not torch.equal(draw(other), full), "it has weights of its own"
    assert torch.equal(draw(pipe), full)


def _interrupt_after(steps):
    seen = []

    def stop(latents):
        seen.append(latents)
        if len(seen) > steps:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("make", [copy.deepcopy, pickled, saved])
def test_a_copy_of_a_network_or_of_a_block_is_plain(pipe, at, make):
    network = pipe.transformer
    plain = attributes(network)
    accelerate(pipe, evaluations=5, at=at)
    forecast = draw(pipe)
    assert attributes(make(network)) == plain
    block = make(network.transformer_blocks[0])
    assert block.forward.__func__ is type(block).forward
    assert torch.equal(draw(pipe), forecast), "the original is accelerated as before"
    assert report(pipe).runs == 2
    restore(pipe)
    assert {name: [key for key in keys if key != "_diffusers_hook"] for name, keys in attributes(network).items()} == (
        plain
    )


def test_what_is_pickled_does_not_need_this_library(pipe, at):
    draw(accelerate(pipe, evaluations=5, at=at))
    assert b"spectral_forecast" not in pickle.dumps(pipe.transformer)


def test_save_pretrained_saves_the_plain_network(pipe, at, tmp_path):
    full = draw(pipe)
    draw(accelerate(pipe, evaluations=5, at=at))
    pipe.save_pretrained(tmp_path)
    network = FluxTransformer2DModel.from_pretrained(tmp_path / "transformer")
    assert torch.equal(draw(digits.pipeline(network)), full)


class Doubles(ModelHook):
    """Another hook of diffusers' kind."""

    def post_forward(self, _module, output):
        return (2.0 * output[0],)


def test_hooks_beneath_are_copied_as_diffusers_copies_them(pipe):
    """They are of the copy's registry, and the copy calls them as a copy made before would."""
    HookRegistry.check_if_exists_or_initialize(pipe.transformer).register_hook(Doubles(), "doubles")
    doubled = draw(pipe)
    accelerate(pipe, evaluations=5)
    other = copy.deepcopy(pipe)
    assert list(other.transformer._diffusers_hook.hooks) == ["doubles"]
    assert torch.equal(draw(other), doubled)
    assert report(pipe).runs == 0


def test_with_a_hook_on_top_copying_is_refused(pipe):
    accelerate(pipe, evaluations=5)
    pipe.transformer._diffusers_hook.register_hook(Doubles(), "doubles")
    with pytest.raises(TypeError, match=r"has another hook on top of the forecasts.*call `restore` before copying"):
        copy.deepcopy(pipe)


def test_with_offloading_on_top_a_deep_copy_is_its_own(pipe):
    """accelerate's hooks keep the forward that they replaced in an attribute of the module."""
    hooks = pytest.importorskip("accelerate.hooks")
    full = draw(pipe)
    accelerate(pipe, evaluations=5)
    hooks.add_hook_to_module(pipe.transformer, hooks.ModelHook())
    other = copy.deepcopy(pipe)
    assert torch.equal(draw(other), full)
    assert report(pipe).runs == 0
    hooks.remove_hook_from_module(pipe.transformer)
    assert not torch.equal(draw(pipe), full), "the original is accelerated as before"


def test_diffusers_own_hooks_cannot_be_copied(pipe):
    """Why the module says itself how it is copied: a copy with diffusers' hooks calls those of the original."""
    network = pipe.transformer
    network.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    with pytest.raises(ValueError, match="No cache context is set"):
        draw(digits.pipeline(copy.deepcopy(network)))  # it has set the copy's
    with pytest.raises((AttributeError, pickle.PicklingError), match="local object"):
        pickle.dumps(network)
