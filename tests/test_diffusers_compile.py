"""What is compiled of an accelerated network? The network, as without the adapter; never its decisions."""

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters

from spectral_forecast import make_plan, schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.benchmarks import digits

STEPS = 12
EVALUATED = [0, 1, 2, 5, 9]
PLAN = make_plan(spectrum(0.5, mode="free"), np.arange(STEPS), schedules.mask(STEPS, EVALUATED), span=(0, STEPS))
TINY = {**digits.CONFIG, "num_layers": 1, "num_single_layers": 2, "num_attention_heads": 1}


def network(**changes):
    torch.manual_seed(0)
    return FluxTransformer2DModel(**TINY | changes).eval()


def draw(pipe):
    return digits.sample(pipe, [3, 8], steps=STEPS)


@pytest.fixture(autouse=True)
def _nothing_compiled():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture
def graphs():
    """A backend that counts the graphs that it is given, and runs them as they are."""
    return CompileCounterWithBackend("eager")


@pytest.fixture(params=["output", "features"])
def at(request):
    return request.param


@pytest.fixture(params=["accelerated first", "compiled first"])
def order(request):
    def both(accelerated, compiled):
        for do in (accelerated, compiled) if request.param == "accelerated first" else (compiled, accelerated):
            do()

    return both


@pytest.fixture(scope="module")
def expected():
    """Results without compilation, by what is forecast; "" is nothing."""
    pipe = digits.pipeline(network())
    results = {"": draw(pipe)}
    for at in ("output", "features"):
        results[at] = draw(accelerate(pipe, PLAN, at=at))
        restore(pipe)
    return results


def in_place(pipe, backend):
    pipe.transformer.compile(backend=backend)


def wrapped(pipe, backend):
    pipe.transformer = torch.compile(pipe.transformer, backend=backend)


@pytest.mark.parametrize(
    ("compiled", "order", "at"),
    [
        (in_place, "accelerated first", "output"),
        (in_place, "compiled first", "features"),
        (wrapped, "accelerated first", "features"),
        (wrapped, "compiled first", "output"),
    ],
    indirect=["order", "at"],
)
def test_the_whole_network(graphs, expected, at, order, compiled):
    pipe = digits.pipeline(network())
    order(lambda: accelerate(pipe, PLAN, at=at), lambda: compiled(pipe, graphs))
    assert torch.allclose(draw(pipe), expected[at], atol=1e-6)
    breaks = counters["graph_break"]
    assert list(breaks.values()) == [1]
    assert "spectral_forecast decides in Python" in next(iter(breaks))
    # An evaluation, and at features what is left when its blocks are skipped: with as many of the last block's tensors
    # as the proof of the split tries, two, none, one.
    assert graphs.frame_count == (1 if at == "output" else 4)
    for runs in (2, 3):
        assert torch.allclose(draw(pipe), expected[at], atol=1e-6)
        assert report(pipe).runs == runs
        assert report(pipe).model == "FluxTransformer2DModel"
        assert report(pipe).at == at
        assert report(pipe).evaluations == len(EVALUATED)
        assert not report(pipe).events
    assert graphs.frame_count == (1 if at == "output" else 4)
    assert list(breaks.values()) == [1]
    assert restore(pipe) is pipe
    assert torch.allclose(draw(pipe), expected[""], atol=1e-6)
    assert list(breaks.values()) == [1], "restored, it is one graph again"


def test_a_network_that_is_compiled_after_a_run(graphs, expected):
    """By then some of its embedders have hooks, which let them run, as part of the one graph."""
    pipe = digits.pipeline(network())
    accelerate(pipe, PLAN, at="features")
    assert torch.allclose(draw(pipe), expected["features"], atol=1e-6)
    place = pipe.transformer._diffusers_hook.get_hook("spectral_forecast").session.place
    assert [sorted(needs.idle) for needs in place.proven.values()] == [["context_embedder", "pos_embed", "x_embedder"]]
    in_place(pipe, graphs)
    for _ in range(2):
        assert torch.allclose(draw(pipe), expected["features"], atol=1e-6)
        assert graphs.frame_count == 4
    assert [sorted(needs.idle) for needs in place.proven.values()][1:] == [[]]
    assert list(counters["graph_break"].values()) == [1]
    assert not report(pipe).events


def test_the_blocks(graphs, at, order):
    """They are compiled once for every kind of block, not once for every place that a block has."""
    plain = CompileCounterWithBackend("eager")
    many = {"num_single_layers": 9}  # PyTorch gives up after 8 variants of a function
    pipe = digits.pipeline(network(**many))
    expected = {"": draw(pipe), at: draw(accelerate(pipe, PLAN, at=at))}
    restore(pipe)
    pipe.transformer.compile_repeated_blocks(backend=plain)
    draw(pipe)
    torch._dynamo.reset()
    pipe = digits.pipeline(network(**many))
    order(lambda: accelerate(pipe, PLAN, at=at), lambda: pipe.transformer.compile_repeated_blocks(backend=graphs))
    for _ in range(3):
        assert torch.allclose(draw(pipe), expected[at], atol=1e-6)
        assert graphs.frame_count == plain.frame_count
    assert report(pipe).at == at
    assert not report(pipe).events
    assert all("spectral_forecast decides in Python" in reason for reason in counters["graph_break"])
    restore(pipe)
    assert torch.allclose(draw(pipe), expected[""], atol=1e-6)
    assert graphs.frame_count == plain.frame_count


def test_the_blocks_without_graph_breaks(graphs, expected):
    """`fullgraph=True` forbids what decides between blocks, not what decides between steps."""
    pipe = digits.pipeline(network())
    pipe.transformer.compile_repeated_blocks(backend=graphs, fullgraph=True)
    accelerate(pipe, PLAN)
    assert torch.allclose(draw(pipe), expected["output"], atol=1e-6)
    restore(pipe)
    accelerate(pipe, PLAN, at="features")
    with pytest.raises(torch._dynamo.exc.Unsupported, match="leave out `fullgraph=True`"):
        draw(pipe)
    restore(pipe)
    assert torch.allclose(draw(pipe), expected[""], atol=1e-6)


def test_a_whole_network_without_graph_breaks(graphs, expected):
    """The reason that PyTorch gives says what to do, and taking the acceleration back helps, too."""
    pipe = digits.pipeline(network())
    pipe.transformer.compile(backend=graphs, fullgraph=True)
    accelerate(pipe, PLAN)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="leave out `fullgraph=True`"):
        draw(pipe)
    assert torch.allclose(draw(restore(pipe)), expected[""], atol=1e-6)


def test_a_failing_network_leaves_the_compiler_as_it_was(graphs, expected):
    pipe = digits.pipeline(network())
    accelerate(pipe, PLAN)
    pipe.transformer.compile(backend=graphs)
    plain = pipe.transformer.x_embedder
    pipe.transformer.x_embedder = torch.nn.Linear(5, 32)
    with pytest.raises(RuntimeError):
        draw(pipe)
    pipe.transformer.x_embedder = plain
    before = graphs.frame_count
    assert torch.allclose(draw(pipe), expected["output"], atol=1e-6)
    assert graphs.frame_count > before, "the network is compiled still"
