"""What diffusers asks of its own caches, asked of the adapter: for every network of the table that has a `CacheMixin`.

The laws are those of diffusers' `CacheTesterMixin`: state, enabling twice, hooks present and then absent, results that
differ and are finite, contexts apart from each other, and reset.
"""

import copy
import functools

import diffusers
import numpy as np
import pytest
import torch
from diffusers import CacheMixin, PyramidAttentionBroadcastConfig
from torch.utils import _pytree as pytree

from spectral_forecast import make_plan, schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.benchmarks.models import MODELS, TIMES, run

# What diffusers and PyTorch themselves say while these networks are built or called, whoever calls them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),  # Chroma
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning"),  # NucleusMoE, dense blocks
    pytest.mark.filterwarnings("ignore:In CPU autocast, but the target dtype:UserWarning"),  # Mochi, in float32
]

EVALUATED = [0, 1, 2, 5]
PLAN = make_plan(spectrum(0.5), np.arange(len(TIMES)), schedules.mask(len(TIMES), EVALUATED), span=(0, len(TIMES)))
NAME = "spectral_forecast"


@functools.cache
def built(model):
    return model.build()


def cached():
    return [model for model in MODELS if model.splits and issubclass(getattr(diffusers, model.name), CacheMixin)]


@pytest.fixture(params=cached(), ids=str)
def model(request):
    return request.param


@pytest.fixture
def network(model):
    return copy.deepcopy(built(model))


def hooks(network):
    registries = [getattr(module, "_diffusers_hook", None) for module in network.modules()]
    return sum(registry is not None and registry.get_hook(NAME) is not None for registry in registries)


def other(model, time):
    """Inputs of another branch: every condition is half as large."""
    return {
        key: 0.5 * value if key.startswith("encoder_hidden") and value.is_floating_point() else value
        for key, value in model.inputs(time).items()
    }


@torch.no_grad()
def branches(network, model, names):
    """Run guidance branches by turns, each in a context of its own; return what each gave."""
    results = {name: [] for name in names}
    for time in TIMES:
        for name in names:
            with network.cache_context(name):
                inputs = model.inputs(time) if name == "cond" else other(model, time)
                results[name].append(pytree.tree_leaves(network(**inputs, return_dict=False))[0])
    return results


def test_state_and_hooks(network):
    blocks = sum(len(child) for child in network.children() if isinstance(child, torch.nn.ModuleList))
    assert hooks(network) == 0
    accelerate(network, PLAN, at="features")
    assert hooks(network) == 1 + blocks
    assert report(network).runs == 0
    assert network.is_cache_enabled
    restore(network)
    assert not network.is_cache_enabled
    assert hooks(network) == 0
    with pytest.raises(ValueError, match="is not accelerated"):
        report(network)


def test_accelerating_twice_is_refused(network):
    accelerate(network, PLAN, at="features")
    before = hooks(network)
    with pytest.raises(ValueError, match="is accelerated already; call `restore` first"):
        accelerate(network, PLAN)
    assert hooks(network) == before
    restore(network)


def test_a_cache_of_diffusers_is_refused(network):
    network.enable_cache(PyramidAttentionBroadcastConfig(2, current_timestep_callback=lambda: 500))
    with pytest.raises(ValueError, match=r"caches enabled; call its `disable_cache\(\)`"):
        accelerate(network, PLAN)
    network.disable_cache()
    restore(accelerate(network, PLAN))


def test_results_differ_and_are_finite(network, model):
    full = branches(network, model, ["cond"])["cond"]
    accelerate(network, PLAN, at="features")
    results = branches(network, model, ["cond"])["cond"]
    same = [torch.equal(x, y) for x, y in zip(results, full, strict=True)]
    assert np.flatnonzero(same).tolist() == EVALUATED
    assert all(torch.isfinite(result).all() for result in results)
    assert not report(network).events
    restore(network)
    assert all(torch.equal(x, y) for x, y in zip(run(network, model), full, strict=True))


def test_contexts_are_apart(network, model):
    """Branches by turns give what each gives alone."""
    accelerate(network, PLAN, at="features")
    together = branches(network, model, ["cond", "uncond"])
    assert report(network).evaluated == {"cond": EVALUATED, "uncond": EVALUATED}
    assert not report(network).events
    assert not torch.equal(together["cond"][0], together["uncond"][0])
    for name in ("cond", "uncond"):
        alone = branches(network, model, [name])[name]
        assert all(torch.equal(x, y) for x, y in zip(alone, together[name], strict=True))


def test_a_reset_lets_go_and_begins_anew(network, model):
    accelerate(network, PLAN, at="features")
    root = network._diffusers_hook.get_hook(NAME)
    whole = run(network, model)
    run(network, model, TIMES[:4])
    assert root.session.streams
    network._reset_stateful_cache()
    assert not root.session.streams
    # The last run stopped at step 3; what follows must not be taken for its continuation.
    assert all(torch.equal(x, y) for x, y in zip(run(network, model), whole, strict=True))
    assert not report(network).events
