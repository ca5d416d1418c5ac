"""What of a network, besides its blocks, does not run on a forecast step."""

import copy
import importlib

import numpy as np
import pytest
import torch
from test_diffusers_models import (
    EVALUATED,
    SKIPPED,
    SPLIT,
    STEPS,
    _little_garbage,
    every_split_model,
    plain,
    plan,
    pytestmark,
    same,
    tensors,
)
from torch.multiprocessing.reductions import StorageWeakRef

from spectral_forecast import make_plan, schedules, spectrum
from spectral_forecast.adapters.diffusers import _idle, accelerate, report, restore
from spectral_forecast.benchmarks.models import TIMES, run

__all__ = ["_little_garbage", "pytestmark"]

KNOWN = {
    "FluxTransformer2DModel": {"pos_embed", "context_embedder", "x_embedder"},
    "SD3Transformer2DModel": {"pos_embed", "context_embedder"},
    "HunyuanVideoTransformer3DModel": {"rope", "context_embedder", "x_embedder"},
    "WanTransformer3DModel": {
        "rope",
        "patch_embedding",
        "condition_embedder.act_fn",
        "condition_embedder.time_proj",
        "condition_embedder.text_embedder",
    },
}


def idle(network):
    """Names of the modules that are left out, one set for each form of evaluation."""
    return [set(needs.idle) for needs in place(network).proven.values()]


def place(network):
    return network._diffusers_hook.get_hook("spectral_forecast").session.place


@every_split_model
def test_what_only_blocks_read_runs_at_evaluated_steps_only(model, monkeypatch):
    """Its results are NaN on forecast steps, and the network's are the same bits as if it had run."""
    network, _ = plain(model)
    accelerate(network, plan(), at="features")
    first = run(network, model)
    (names,) = idle(network)
    assert names == KNOWN.get(str(model), names)
    blank = np.zeros((STEPS, len(names)), dtype=bool)
    for k, name in enumerate(sorted(names)):

        def look(*call, k=k):
            blank[step, k] |= any(bool(x.isnan().all()) for x in tensors(call[2]))

        network.get_submodule(name).register_forward_hook(look)
    results = []
    for step, time in enumerate(TIMES):  # noqa: B007, `look` reads it
        results += run(network, model, (time,))
    assert all(same(results, first))
    assert blank[SKIPPED].all()
    assert not blank[list(EVALUATED)].any()

    monkeypatch.setattr(_idle, "_outside", lambda _: {})
    network, _ = plain(model)
    accelerate(network, plan(), at="features")
    assert all(same(results, run(network, model)))
    assert idle(network) == [set()]


def test_most_networks_have_something_to_leave_out():
    networks = [plain(model)[0] for model in SPLIT]
    counts = []
    for network, model in zip(networks, SPLIT, strict=True):
        accelerate(network, plan(), at="features")
        run(network, model, TIMES[:1])
        counts.append(len(idle(network)[0]))
    # But where another list of blocks reads everything, and is run (VACE's hints).
    assert [str(model) for model, n in zip(SPLIT, counts, strict=True) if not n] == [
        "WanVACETransformer3DModel (a hint after the last block)"
    ]


class Embedded(torch.nn.Module):
    """A network of one list of blocks, with an embedder of a kind."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.time = torch.nn.Linear(1, 4)
        self.embed = Counted(kind)
        self.again = self.embed if kind == "shared" else torch.nn.Identity()
        self.other = torch.nn.Linear(4, 4)
        self.blocks = torch.nn.ModuleList(Block() for _ in range(3))
        self.head = torch.nn.Linear(4, 4)

    def forward(self, sample, timestep):
        time = self.time(timestep.reshape(1, 1))
        context = self.embed(sample)
        if self.kind == "shared":
            context = context + self.again(sample)
        if self.kind == "written":
            context += 1.0
        if self.kind == "numbers":
            context = context.float()
        if self.kind == "refuses gradients" and torch.is_grad_enabled():
            raise RuntimeError("call it with `torch.no_grad()`")
        read = context.detach() if self.kind == "read unseen" else context
        context = context + self.other(sample)
        hidden = sample + time
        for block in self.blocks:
            hidden = block(hidden, context)
        return self.head(hidden) + time + (0.1 * read if "read" in self.kind else 0.0)


class Counted(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)
        self.kind = kind
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x.round().int() if self.kind == "numbers" else self.inner(x)


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 24)
        self.outer = torch.nn.Linear(24, 4)

    def forward(self, hidden, context):
        return hidden + self.outer(torch.tanh(self.inner(hidden + context)))


TWELVE = make_plan(spectrum(0.5, mode="free"), np.arange(12), schedules.mask(12, (0, 1, 2, 5, 9)), span=(0, 12))


def embedded(kind):
    torch.manual_seed(0)
    return accelerate(Embedded(kind).eval(), TWELVE, at="features")


@torch.no_grad()
def go(network, tokens=6):
    """Results of a run, and how often the embedder ran at each step."""
    counts, results = [], []
    for time in torch.linspace(1.0, 0.0, 12):
        before = network.embed.calls
        results.append(network(torch.ones(1, tokens, 4), time))
        counts.append(network.embed.calls - before)
    return results, np.array(counts)


@pytest.mark.parametrize(
    ("kind", "names", "calls"),
    [
        ("plain", {"embed", "other"}, 1),
        ("shared", {"embed", "other"}, 2),
        ("read", {"other"}, 1),  # after the blocks, too
        ("read unseen", {"other"}, 1),  # the same, where autograd does not see it
        ("written", {"other"}, 1),  # a tensor without memory cannot be written to
        ("numbers", {"other"}, 1),  # whole numbers cannot be NaN
        ("refuses gradients", set(), 1),
    ],
)
def test_what_is_read_by_others_runs(kind, names, calls):
    network = embedded(kind)
    go(network)
    results, counts = go(network)
    assert idle(network) == [names]
    evaluated = np.flatnonzero(TWELVE.evaluate)
    assert np.flatnonzero(counts).tolist() == (evaluated.tolist() if "embed" in names else list(range(12)))
    assert set(counts[counts > 0]) == {calls}
    assert all(torch.isfinite(x).all() for x in results)
    assert not report(network).events


def test_nothing_is_kept_for_gradients():
    """What the head computes while autograd looks on is let go as soon as without it."""

    class Squashed(torch.nn.Module):
        def forward(self, x):
            inner = x.exp()  # which its gradient needs
            storage = StorageWeakRef(inner.untyped_storage())
            result = inner * x
            del inner
            kept.append((result.requires_grad, not storage.expired()))
            return result

    kept = []
    network = embedded("plain")
    network.head = torch.nn.Sequential(network.head, Squashed())
    go(network)
    assert [keeps for traced, keeps in kept if traced] == [False]
    assert idle(network) == [{"embed", "other"}]


@torch.inference_mode()
def test_without_autograd_each_module_is_tried():
    network = embedded("plain")
    results, counts = go(network)
    assert idle(network) == [{"embed", "other"}]
    assert np.flatnonzero(counts).tolist() == np.flatnonzero(TWELVE.evaluate).tolist()
    assert all(torch.isfinite(x).all() for x in results)


def test_another_size_is_tried_anew():
    network = embedded("plain")
    for tokens in (6, 8, 6):
        results, _ = go(network, tokens)
        assert all(x.shape == (1, tokens, 4) and torch.isfinite(x).all() for x in results)
    assert idle(network) == 2 * [{"embed", "other"}]
    assert len(network.embed._diffusers_hook.get_hook("spectral_forecast").blanks) == 2


def test_a_module_remembers_few_forms_of_calls():
    network = embedded("plain")
    for tokens in range(1, _idle._FORMS + 4):
        results, counts = go(network, tokens)
        assert counts[TWELVE.evaluate].all()
        assert all(torch.isfinite(x).all() for x in results)
    assert len(network.embed._diffusers_hook.get_hook("spectral_forecast").blanks) <= _idle._FORMS


def test_blanks_take_no_memory():
    network = embedded("plain")
    seen = []
    go(network)
    network.embed.register_forward_hook(lambda *call: seen.append(call[2]))
    go(network, 6)
    blanks = [x for x in seen if x.isnan().all()]
    assert len(blanks) == 12 - TWELVE.evaluations
    assert all(x.shape == (1, 6, 4) and x.untyped_storage().nbytes() == x.itemsize for x in blanks)


def test_only_what_is_left_out_is_hooked_and_restoring_takes_that_off():
    network = embedded("plain")
    untouched = {name: sorted(vars(module)) for name, module in Embedded("plain").named_modules()}
    go(network)
    hooked = {name for name, module in network.named_modules() if hasattr(module, "_diffusers_hook")}
    assert hooked == {"", "embed", "other", "blocks.0", "blocks.1", "blocks.2"}
    twin = copy.deepcopy(network)
    assert twin.embed.forward.__self__ is twin.embed
    restore(network)
    assert {name: sorted(vars(module)) for name, module in network.named_modules()} == untouched
    _, counts = go(network)
    assert counts.tolist() == 12 * [1]


def test_nothing_stays_hooked_where_the_proof_is_interrupted(monkeypatch):
    network = embedded("plain")
    agree = _split_module().agree
    calls = []

    def interrupted(one, other):
        calls.append(one)
        if len(calls) == 2:  # after the proof that blocks can be skipped
            raise KeyboardInterrupt
        return agree(one, other)

    monkeypatch.setattr(_split_module(), "agree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(network)
    hooked = {name for name, module in network.named_modules() if hasattr(module, "_diffusers_hook")}
    assert hooked == {"", "blocks.0", "blocks.1", "blocks.2"}
    monkeypatch.undo()
    go(network)
    assert idle(network) == [{"embed", "other"}]


def test_all_processes_leave_out_the_same(monkeypatch):
    """What one of them cannot do without runs in all."""
    verdicts = []

    def worst(verdict, **_):
        verdicts.append(verdict)
        return 1.0 if len(verdicts) > 2 else verdict  # the proof, and what is learnt

    module = importlib.import_module("spectral_forecast.adapters.diffusers._hook")
    monkeypatch.setattr(module, "largest", worst)
    network = embedded("plain")
    go(network)
    assert idle(network) == [set()]
    # Here neither embedder was needed, alone or with the other, nor what the first consists of.
    assert verdicts == 6 * [0.0]
    assert not report(network).events


def _split_module():
    return importlib.import_module("spectral_forecast.adapters.diffusers._split")
