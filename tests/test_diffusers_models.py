"""The adapter on a tiny network of every denoiser in the table of `benchmarks/models`."""

import contextlib
import copy
import functools
import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

from spectral_forecast import make_plan, schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.adapters.diffusers._split import _passage as watched_passage
from spectral_forecast.benchmarks.models import MODELS, TIMES, run

# What diffusers and PyTorch themselves say while these networks are built or called, whoever calls them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),  # Chroma
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning"),  # NucleusMoE, dense blocks
    pytest.mark.filterwarnings("ignore:In CPU autocast, but the target dtype:UserWarning"),  # Mochi, in float32
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning"),  # Kandinsky6SR
]

STEPS = len(TIMES)
EVALUATED = (0, 1, 2, 5)
SKIPPED = [3, 4, 6, 7]
SPLIT = [model for model in MODELS if model.splits]


def plan(evaluated=EVALUATED):
    return make_plan(spectrum(0.5, mode="free"), np.arange(STEPS), schedules.mask(STEPS, evaluated), span=(0, STEPS))


@functools.cache
def _built(model):
    network = model.build()
    return network, run(network, model)


def plain(model):
    """A network of the table, not accelerated, and what it returns at every step."""
    network, full = _built(model)
    return copy.deepcopy(network), full


def accelerated(model, at, evaluated=EVALUATED):
    """An accelerated network that has run nothing yet, and what it returned when it was not accelerated."""
    network, full = plain(model)
    return accelerate(network, plan(evaluated), at=at), full


def sample(network, model, at):
    """Run it; a network that cannot be split must say so, in the table's words, and nothing else may happen."""
    refused = at == "features" and not model.splits
    with pytest.warns(UserWarning, match="cannot be split") if refused else contextlib.nullcontext():
        results = run(network, model)
    told = report(network)
    assert told.at == ("output" if refused else at)
    text = f"{model.name} cannot be split ({model.remark}); outputs are forecast instead of features."
    assert told.events == [text] * refused
    return results


def same(results, others):
    return [torch.equal(x, y) for x, y in zip(results, others, strict=True)]


class Counter:
    """Counts the calls of modules, each by a hook of the test's own, one row for each step."""

    def __init__(self, modules):
        self.rows = []
        self.handles = [module.register_forward_hook(functools.partial(self, k)) for k, module in enumerate(modules)]

    def __call__(self, k, *_):
        self.rows[-1][k] += 1

    def sample(self, network, model):
        """Count through a run; the counts are (steps, modules)."""
        self.rows = []
        for time in TIMES:
            self.rows.append([0] * len(self.handles))
            run(network, model, (time,))
        return np.array(self.rows)


def leaves(module):
    return [inner for inner in module.modules() if not any(True for _ in inner.children())]


def largest_list(network):
    """The list of blocks that holds most of the parameters, as the test finds it for itself."""
    lists = [module for module in network.children() if isinstance(module, torch.nn.ModuleList)]
    return max(lists, key=lambda blocks: sum(parameter.numel() for parameter in blocks.parameters()))


def state(network):
    """What a network's modules have: attributes of their own, and the function that is called."""
    return {
        name: (sorted(vars(module)), type(module), module.forward.__func__, sorted(module._forward_hooks))
        for name, module in network.named_modules()
    }


@pytest.fixture(scope="module", autouse=True)
def _little_garbage():
    """Collecting what one test leaves need not walk through all of PyTorch's objects each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(params=["output", "features"])
def at(request):
    return request.param


every_model = pytest.mark.parametrize("model", MODELS, ids=str)
every_split_model = pytest.mark.parametrize("model", SPLIT, ids=str)


def test_the_table_is_as_long_as_promised():
    assert len({model.name for model in MODELS}) >= 40
    assert len({model.name for model in SPLIT}) >= 30
    assert {"UNet2DConditionModel", "FluxTransformer2DModel", "WanTransformer3DModel"} <= {m.name for m in MODELS}


def test_the_page_says_what_the_table_says():
    lines = (Path(__file__).parents[1] / "docs" / "supported.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]
    found = {row[0]: (row[2], row[3], row[6]) for row in cells if row[2] == "yes"}
    assert found == {str(m): ("yes", "yes" if m.splits else "no", m.remark) for m in MODELS}


@every_split_model
def test_there_are_two_blocks_in_every_list(model):
    network, _ = _built(model)
    lists = [child for child in network.children() if isinstance(child, torch.nn.ModuleList)]
    assert all(len(blocks) >= 2 for blocks in lists if len(blocks))


@every_model
def test_evaluating_every_step_changes_no_bit(model, at):
    network, full = accelerated(model, at, evaluated=range(STEPS))
    assert all(same(sample(network, model, at), full))
    assert report(network).evaluations == STEPS
    assert not any(same(full[1:], full[:-1])), "a network that ignores time proves nothing"


@every_model
def test_outputs_are_forecast(model):
    network, _ = accelerated(model, "output")
    counts = Counter(leaves(network)).sample(network, model)
    restore(network)
    whole = Counter(leaves(network)).sample(network, model)
    assert whole.any(axis=1).all()
    assert np.array_equal(counts[SKIPPED], np.zeros_like(counts[SKIPPED]))
    assert np.array_equal(counts[list(EVALUATED)], whole[list(EVALUATED)])


@every_model
def test_forecasts_are_finite(model, at):
    network, full = accelerated(model, at)
    results = sample(network, model, at)
    assert report(network).evaluated == {"call 0": list(EVALUATED)}
    assert report(network).forecast == {"call 0": SKIPPED}
    assert all(torch.isfinite(result).all() for result in results)
    assert all(x.shape == y.shape and x.dtype == y.dtype for x, y in zip(results, full, strict=True))
    assert np.flatnonzero(same(results, full)).tolist() == list(EVALUATED)
    assert all(same(run(network, model), results)), "running twice is running once"
    assert report(network).runs == 2
    assert report(network).peak_bytes > 0


@every_split_model
def test_blocks_run_at_evaluated_steps_only(model):
    network, _ = accelerated(model, "features")
    blocks = largest_list(network)
    for block in (blocks[0], blocks[-1]):
        counts = Counter(leaves(block)).sample(network, model)
        shared = counts[SKIPPED].any(axis=0)
        # DiT's head embeds the time with the embedder inside the first block.
        assert shared.any() == (model.name == "DiTTransformer2DModel" and block is blocks[0])
        counts = counts[:, ~shared]
        assert counts.any(), "none of the block's modules was ever called"
        # The proof at the first evaluation does not run the blocks again.
        assert np.array_equal(counts[list(EVALUATED)], counts[[0] * len(EVALUATED)])
    assert not report(network).events


def test_lists_in_a_dictionary_are_skipped_too():
    """FLUX.3 keeps a list of blocks for each modality; only the one that is used counts."""
    model = next(model for model in MODELS if model.name == "Flux3Transformer2DModel")
    network, _ = accelerated(model, "features")
    counts = Counter(leaves(network.mode_blocks["image"])).sample(network, model).sum(axis=1)
    assert np.flatnonzero(counts).tolist() == list(EVALUATED)


def test_lists_that_are_read_after_the_last_block_are_run():
    """A hint of VACE's own blocks, added after the last block, is computed anew; the blocks themselves are skipped."""
    model = next(model for model in MODELS if model.note == "a hint after the last block")
    network, _ = accelerated(model, "features")
    hints, blocks = (
        Counter(leaves(blocks)).sample(network, model).sum(axis=1) for blocks in (network.vace_blocks, network.blocks)
    )
    assert np.flatnonzero(hints).tolist() == list(range(STEPS))
    assert np.flatnonzero(blocks).tolist() == list(EVALUATED)


@every_split_model
def test_resuming_from_a_feature_gives_the_result_of_that_feature(model):
    """The law that the adapter relies on, without the adapter's hook on the root."""
    network, _ = accelerated(model, "features")
    root = network._diffusers_hook.get_hook("spectral_forecast")
    split = root.session.place.split

    @torch.no_grad()
    def forward():
        return root.fn_ref.original_forward(**model.inputs(TIMES[0]), return_dict=False)

    result, seen = split.evaluate(forward)
    cut, tail = split.find(seen)
    cut = split.prove(forward, result, cut, tail)
    feature = cut.form.take(tail)
    assert all(same(tensors(split.resume(forward, feature, cut)), tensors(result)))
    other = split.resume(forward, [2.0 * x + 1.0 for x in feature], cut)
    assert not any(same(tensors(other), tensors(result))), "a result that ignores its feature proves nothing"


def test_of_a_block_s_arguments_only_as_many_are_looked_at_as_it_takes():
    """In every evaluation every block is watched, which must cost next to nothing."""

    class Named(dict):
        def values(self):
            for name in self:
                looked_at.append(name)
                yield self[name]

    image, text = torch.zeros(1, 9, 8), torch.zeros(1, 4, 8)
    looked_at = []
    named = Named(image=image, text=text, rope=(torch.zeros(13, 2), torch.zeros(13, 2)))
    passage = watched_passage((), named, (text + 1.0, image + 1.0))
    assert looked_at == ["image", "text", "image"]
    assert all(same(passage((), named), (text, image)))
    assert passage.holds((), named, (text + 2.0, image + 2.0))
    assert looked_at[3:] == 2 * ["image", "text"]
    assert watched_passage((), named, torch.zeros(2)) is None


def test_what_a_block_hands_on_is_found_again_where_it_has_changed():
    x, y = torch.zeros(1, 4, 8), torch.ones(1, 4, 8)
    passage = watched_passage((x,), {}, (x + 1.0,))
    assert passage.holds((x,), {}, (x + 1.0,))
    changed = {
        "another result": ((x,), {}, x + 1.0),
        "more of it": ((x,), {}, (x, y)),
        "in a list": ((x,), {}, [x]),
        "nested": ((x,), {}, ((x,),)),
        "nothing": ((x,), {}, (None,)),
        "another shape": ((x,), {}, (x[:, 1:],)),
        "other arguments": ((x[:, 1:], x), {}, (x,)),
        "no arguments": ((), {}, (x,)),
        "no tensor": (("x",), {}, (x,)),
    }
    assert [words for words, call in changed.items() if passage.holds(*call)] == []
    nested = watched_passage(([y[:, 1:], x],), {}, (x,))
    assert same(nested(([y[:, 1:], y],), {}), (y,)) == [True]


def tensors(result):
    return [x for x in pytree.tree_leaves(result) if isinstance(x, torch.Tensor)]


@every_model
def test_restore_leaves_nothing(model, at):
    network, full = plain(model)
    before = state(network)
    accelerate(network, plan(), at=at)
    sample(network, model, at)
    hook = weakref.ref(network._diffusers_hook.get_hook("spectral_forecast"))
    assert restore(network) is network
    assert state(network) == before
    assert all(same(run(network, model), full))
    gc.collect()  # a hook and its registry know each other
    assert hook() is None, "features are held"


def test_an_evaluation_that_is_not_finite_proves_nothing():
    model = next(model for model in MODELS if model.name == "FluxTransformer2DModel")
    network, _ = accelerated(model, "features")
    handle = largest_list(network)[0].attn.to_q.register_forward_hook(lambda *call: call[-1] * torch.nan)
    run(network, model, TIMES[:1])
    handle.remove()
    assert report(network).events == ["step 0, stream call 0: its feature was not finite and is not kept"]
    assert all(torch.isfinite(result).all() for result in run(network, model, TIMES[1:]))
    run(network, model)
    assert report(network).at == "features"
    assert report(network).forecast["call 0"]
    assert not report(network).events
