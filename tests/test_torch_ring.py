"""PyTorch's ring against the portable one, which is the reference."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spectral_forecast import GramRun, Newton, Shanks, make_plan, schedules
from spectral_forecast.adapters._session import contraction
from spectral_forecast.adapters._session.memory import ring_for
from spectral_forecast.adapters._session.ring import TorchRing
from spectral_forecast.ring import Ring, squares

HALF = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-10, torch.float32: 2.0**-22, torch.float64: 2.0**-50}
FACTORS = {torch.bfloat16: 2.0**-17}  # relative error of a weight where it is not float32's
SHAPES = [(5,), (2, 3), (3, 64, 16), (1, 128, 50), (2, 64, 160), (4, 97), (2, 0), ()]


def features(dtype, shape, count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).to(dtype) for _ in range(count)]


def both(dtype, shape, kept=3):
    rings = Ring(kept), TorchRing(kept)
    for row, feature in enumerate(features(dtype, shape, kept)):
        for ring in rings:
            ring.put(row, feature)
    return rings


@pytest.mark.parametrize(
    ("small", "chunk"), [(0, 2**19), (0, 1000), (2**18, 2**19)], ids=["large", "in many chunks", "small"]
)
@pytest.mark.parametrize(("dtype", "shape"), list(itertools.product(HALF, SHAPES)))
@given(data=st.data())
@settings(max_examples=10)
def test_equals_the_portable_ring(dtype, shape, small, chunk, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spectral_forecast.adapters._session.ring.SMALL", small)
        patch.setattr(contraction, "CHUNK", chunk)
        equals_the_portable_ring(dtype, shape, data)


def equals_the_portable_ring(dtype, shape, data):
    weights = np.array(data.draw(st.lists(st.floats(-30, 30) | st.just(0.0), min_size=2, max_size=5)))
    kept = len(weights)
    reference, ring = both(dtype, shape, kept)
    exact = sum(w * feature.double() for w, feature in zip(weights, features(dtype, shape, kept), strict=True))
    factors = FACTORS.get(dtype, 2.0**-22)
    bound = HALF[dtype] * exact.abs() + factors * np.abs(weights).sum() * 5.0 + torch.finfo(dtype).tiny
    assert ((ring.sum(weights).double() - exact).abs() <= bound).all()
    assert ring.sum(weights).dtype == dtype
    part = torch.linspace(0.2, 0.9, len(squares(torch.ones(shape)).flatten())).reshape(squares(torch.ones(shape)).shape)
    close = {"rtol": 4 * HALF[dtype], "atol": 4 * HALF[dtype] * (1.0 + 5.0 * np.abs(weights).sum())}
    torch.testing.assert_close(ring.drawn(weights, part), reference.drawn(weights, part), **close)
    x = torch.ones(shape)
    torch.testing.assert_close(ring.moved(x, weights), reference.moved(x, weights), **close)
    new = features(dtype, shape, 1, seed=1)[0]
    for found, expected in zip(ring.misses(weights, new), reference.misses(weights, new), strict=True):
        torch.testing.assert_close(
            found, expected.to(found.dtype), rtol=0.02 if dtype != torch.float64 else 1e-12, atol=1e-3
        )
    order = data.draw(st.permutations(range(kept)))[: data.draw(st.integers(1, kept))]
    expected, scale = reference.products(order, new), kept * max(1.0, float(new.double().square().sum()))
    np.testing.assert_allclose(ring.products(order, new), expected, rtol=1e-4, atol=1e-5 * scale)
    assert all(torch.equal(ring.row(row), reference.row(row)) for row in order)
    assert ring.nbytes == reference.nbytes == kept * new.nbytes


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("keep", [None, 3])
def test_a_gram_matrix_is_that_of_the_portable_ring(dtype, keep):
    mask, grams, forecasts = schedules.mask(12, [0, 1, 2, 4, 6, 8]), [], []
    first, second = features(torch.float64, (2, 60000), 2)
    for ring in (None, TorchRing(keep or 6)):
        run = GramRun(Shanks(), np.arange(12), mask, keep=keep, ring=ring)
        for step in range(12):
            if run.evaluates(step):
                run.keep(step, (first + 0.9**step * second).to(dtype))
        grams.append(run.gram)
        forecasts.append(run.forecast(11))
    scale = np.sqrt(np.outer(np.diag(grams[0]), np.diag(grams[0])))
    assert (np.abs(grams[1] - grams[0]) < 1e-5 * scale).all()
    torch.testing.assert_close(*forecasts, rtol=4 * HALF[dtype], atol=1e-3 if dtype != torch.float64 else 1e-9)


def test_weights_are_not_rounded_to_the_dtype_of_features():
    """In bfloat16 the weights 1 + 2**-9 and -1 are 1 and -1, and their sum on a constant 0 instead of 2**-9."""
    ring = TorchRing(2)
    for row in range(2):
        ring.put(row, torch.full((2, 4096), 2.0, dtype=torch.bfloat16))
    assert ring.sum(np.array([1.0 + 2.0**-9, -1.0])).unique().tolist() == [2.0**-8]


@pytest.mark.parametrize("shape", [(3, 4096), (4097,)])
def test_memory_beside_the_result_is_bounded(shape, monkeypatch):
    """Neither form makes a copy of the rows in float32: what is converted at a time does not grow with them."""
    monkeypatch.setattr(contraction, "CHUNK", 512)
    monkeypatch.setattr("spectral_forecast.adapters._session.ring.SMALL", 512)
    monkeypatch.setattr(contraction, "LARGEST", 256)
    monkeypatch.setattr(contraction, "_block", contraction._block.__wrapped__)
    _, ring = both(torch.bfloat16, shape)
    sizes, new = {}, features(torch.bfloat16, shape, 1)[0]

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for x in torch.utils._pytree.tree_leaves(result):
                if isinstance(x, torch.Tensor) and x.is_floating_point():
                    sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes() // x.element_size()
            return result

    weights = np.array([1.0, -2.0, 0.3])
    with Watch():
        ring.misses(weights, new)
        out = ring.sum(weights)
    for known in (ring.rows, new, out):
        sizes.pop(known.untyped_storage().data_ptr())
    assert max(sizes.values()) <= 2048 < out.numel()


@given(weights=st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=5))
@example(weights=[3e-28, 4e-46])
@example(weights=[1.0, 8.392713073848555e-39])
def test_factors_have_sixteen_bits_of_a_weight(weights):
    factors = contraction._factors([weights], torch.bfloat16)
    least = 2.0**-117  # bfloat16 has no sixteen bits of what is smaller; its numbers are 2 ** -133 apart there
    if factors is not None:
        sums = factors.double().reshape(len(weights), -1).sum(dim=1).numpy()
        assert (np.abs(sums - weights) <= 2.0**-16 * np.maximum(np.abs(weights), least)).all()
        assert factors.shape[1] <= 2 * len(weights)
    else:
        assert 0.0 < np.abs(weights).sum() < least


@pytest.mark.parametrize("kept", [2, 3, 5])
@pytest.mark.parametrize("shape", [(128, 64), (2, 100, 64)])
def test_only_rows_with_weight_are_read(kept, shape):
    ring, weights = TorchRing(kept), np.zeros(kept)
    for row, value in enumerate([2.0, float("nan"), 1.0, float("nan"), 5.0][:kept]):
        ring.put(row, torch.full(shape, value, dtype=torch.bfloat16))
        weights[row] = row - 1.5 if value == value else 0.0
    assert ring.sum(weights).unique().tolist() == [{2: -3.0, 3: -2.5, 5: 10.0}[kept]]


@pytest.mark.parametrize(("kept", "begins"), [(2, [[0, 256], [512, 768]]), (3, [[0, 768], [256, 1024]])])
def test_more_than_two_rows_lie_block_by_block(kept, begins):
    """A sum of many rows reads memory from one end to the other; of two it is `lerp` of whole rows."""
    ring = TorchRing(kept)
    ring.put(0, torch.arange(512, dtype=torch.float32))
    ring.put(1, -torch.arange(512, dtype=torch.float32))
    memory = torch.empty(0).set_(ring.rows.untyped_storage())
    for sign, row in zip((1.0, -1.0), begins, strict=True):
        for block, begin in enumerate(row):
            assert torch.equal(memory[begin : begin + 256], sign * torch.arange(256.0) + sign * 256.0 * block)


def test_blocks_are_named_in_half_of_64_bits_where_they_can():
    indices, offsets = contraction._indices((0, 2), (3, 0, 9), (1, 2, 3), 2)
    assert indices.dtype == offsets.dtype == torch.int32
    assert indices.view(2, 3, 4).tolist() == [
        [[0, 0, 6, 6], [1, 1, 7, 7], [2, 2, 8, 8]],
        [[9, 9, 15, 15], [10, 10, 16, 16], [11, 11, 17, 17]],
    ]
    assert offsets.tolist() == [0, 4, 8, 12, 16, 20, 24]
    indices, offsets = contraction._indices((0, 2), (2**30, 0, 0), (1, 1, 1), 1)
    assert indices.dtype == offsets.dtype == torch.int64
    assert indices.tolist() == [0, 2**31]


def test_factors_beyond_a_dtype_take_the_other_way():
    ring = TorchRing(1)
    ring.put(0, torch.full((128, 64), 1e-3, dtype=torch.float16))
    assert ring.sum(np.array([1e6])).unique().item() == pytest.approx(1e3, rel=2e-3)


@pytest.mark.parametrize("kept", [2, 4])
def test_sums_stay_on_the_cpu_whatever_the_default_device(kept, monkeypatch):
    monkeypatch.setattr("spectral_forecast.adapters._session.ring.SMALL", 0)
    reference, ring = both(torch.bfloat16, (2, 64, 160), kept)
    weights, new = np.arange(1.0, kept + 1.0), features(torch.bfloat16, (2, 64, 160), 1, seed=1)[0]
    with torch.device("meta"):
        misses, products = ring.misses(weights, new), ring.products(range(kept), new)
    for found, expected in zip(misses, reference.misses(weights, new), strict=True):
        torch.testing.assert_close(found, expected.to(found.dtype), rtol=0.02, atol=0.0)
    expected = reference.products(range(kept), new)
    np.testing.assert_allclose(products, expected, rtol=1e-4, atol=1e-5 * expected.max())


def test_memory_is_what_the_plan_tells():
    plan = make_plan(Newton(2), np.arange(20), schedules.growing(20))
    feature = torch.randn(2, 33, 7, dtype=torch.bfloat16)
    run = plan.start(ring=ring_for(feature, plan.kept))
    run.keep(0, feature)
    assert run.nbytes == plan.memory(feature) == plan.memory(feature.to("meta")) == 3 * 2 * 33 * 7 * 2


def test_a_ring_that_began_in_inference_mode_goes_on_outside():
    ring = TorchRing(2)
    with torch.inference_mode():
        ring.put(0, torch.ones(3, 4))
    ring.put(1, torch.zeros(3, 4))
    assert ring.sum(np.array([2.0, 1.0])).unique().tolist() == [2.0]


def test_a_tensor_that_is_more_than_its_numbers_has_a_portable_ring():
    class Tagged(torch.Tensor):
        pass

    assert type(ring_for(torch.ones(2).as_subclass(Tagged), 2)) is Ring


def test_kernels():
    """In Triton's interpreter, where Triton is there; on a GPU the same kernels are compiled."""
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    program = [sys.executable, "-W", "error", os.path.join(os.path.dirname(__file__), "in_interpreter.py")]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
