"""The Gram matrix of differences, the errors that it knows, and the rules that read it."""

import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import FORECASTERS, nodes

import spectral_forecast as sf
from conftest import to_numpy
from spectral_forecast import DMD, GramRun, Newton, Reuse, Shanks, Shrink, TaylorSeer, TCPade, gram, schedules, spectrum

RULES = [
    Shanks(),
    Shanks(2),
    Shanks(3, window=9),
    DMD(),
    DMD(history=4, cap=True),
    Shrink(spectrum(), Newton(1)),
    Shrink(Newton(2), TaylorSeer(1)),
    TCPade(),
]
every_rule = pytest.mark.parametrize("rule", RULES, ids=repr)


def matrix(features):
    """The Gram matrix of the rows of an array, by the running update."""
    total = np.zeros((0, 0))
    for k in range(len(features)):
        total = gram.append(total, gram.row(list(features[:k]), features[k]))
    return total


def definition(features):
    """The same from scratch."""
    parts = np.append(features[:-1] - features[-1], features[-1:], axis=0)
    return parts @ parts.T


@given(st.integers(1, 9), st.integers(1, 6), st.randoms())
def test_the_running_matrix_is_its_definition(count, size, random):
    features = np.random.default_rng(random.randrange(2**32)).normal(size=(count, size))
    assert matrix(features) == pytest.approx(definition(features), abs=1e-12)
    assert matrix(features)[1:, 1:] == pytest.approx(matrix(features[1:]), abs=1e-12)


def test_by_hand():
    assert matrix(np.array([[1.0, 0.0], [0.0, 2.0]])) == pytest.approx(np.array([[5.0, -4.0], [-4.0, 4.0]]))


def test_inner_products_on_every_library(kind):
    xp, dtype = kind
    values = np.random.default_rng(0).integers(-4, 5, size=(4, 2, 3)).astype(float)
    features = [xp.asarray(value.tolist(), dtype=dtype) for value in values]
    rows = [gram.row(features[:k], features[k]) for k in range(4)]
    expected = [gram.row(list(values[:k]), values[k]) for k in range(4)]
    for ours, exact in zip(rows, expected, strict=True):
        assert ours.dtype == np.float64
        assert np.array_equal(ours, exact)


def test_narrow_features_are_summed_wide(kind):
    xp, dtype = kind
    ones = xp.ones((3000,), dtype=dtype)
    assert gram.row([], ones)[0] == 3000
    assert gram.row([xp.zeros_like(ones)], ones).tolist() == [0, 3000]
    assert xp is array_namespace(ones) or xp.__name__.endswith(array_namespace(ones).__name__)


def test_spread_features_need_one_reduction_of_k_plus_1_numbers():
    features = np.random.default_rng(1).normal(size=(4, 10))
    shards, sent = (features[:, :3], features[:, 3:]), []

    def with_the_other(sums):
        sent.append(sums.shape)
        return sums + gram.row(list(shards[1][:3]), shards[1][3])

    ours = gram.row(list(shards[0][:3]), shards[0][3], reduce=with_the_other)
    assert ours == pytest.approx(gram.row(list(features[:3]), features[3]))
    assert sent == [(4,)]


@pytest.mark.parametrize("rule", [rule for rule in FORECASTERS if rule != Reuse()], ids=repr)
@settings(max_examples=50)
@given(nodes(least=2), st.randoms())
def test_past_errors_of_every_linear_rule(rule, drawn, random):
    times = np.append(*drawn)
    features = np.random.default_rng(random.randrange(2**32)).normal(size=(times.size, 5))
    w = rule.weights(times[:-1], times[-1])
    error = np.linalg.norm(features[-1] - w @ features[:-1])
    assert gram.past_error(matrix(features), w) == pytest.approx(error, rel=1e-9, abs=1e-9 * np.abs(w).sum())


@pytest.mark.parametrize("relative", [3.5e-6, 1e-5, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("drift", [1.0, 0.1])
def test_small_errors_in_float32_need_differences(relative, drift):
    base, slope, bend = np.random.default_rng(0).normal(size=(3, 10**6))
    times = np.array([0.0, 0.1, 0.2, 0.3])
    # Linear extrapolation misses the second difference, 0.02 of the bend.
    features = [(base + drift * t * slope + t**2 * relative / 0.02 * bend).astype(np.float32) for t in times]
    w = Newton(1).weights(times[:-1], times[-1])
    coefficients = np.append(-w, 1.0)
    error = np.linalg.norm(sum(c * h.astype(np.float64) for c, h in zip(coefficients, features, strict=True)))
    assert error / np.linalg.norm(features[-1]) == pytest.approx(relative, rel=0.1)
    assert gram.past_error(matrix(features), w) == pytest.approx(error, rel=0.05)
    if relative <= 1e-4:  # its square is 0.01 at most, and float32 numbers of a million are 1/16 apart
        plain = np.stack(features) @ np.stack(features).T
        assert abs(np.sqrt(max(coefficients @ plain @ coefficients, 0.0)) / error - 1.0) > 0.4
    if relative <= 3.5e-6:
        # Not for want of wide sums: the products themselves are rounded.
        plain = np.array([[np.sum(a * b, dtype=np.float64) for a in features] for b in features])
        assert abs(np.sqrt(max(coefficients @ plain @ coefficients, 0.0)) / error - 1.0) > 0.5


def replay(rule, reference, schedule):
    arrays, evaluated = reference
    run = GramRun(rule, np.arange(50), schedules.mask(50, evaluated[schedule]), span=(0, 50))
    forecasts = {}
    for step in range(50):
        if run.evaluates(step):
            run.keep(step, arrays["features"][step])
        else:
            forecasts[step] = run.forecast(step)
    return forecasts


def test_parity_with_dmd(reference):
    """From the fourth equally spaced evaluation on: before it the reference falls back to something of its own."""
    expected, features = reference[0]["dmd/every4_w3/history6"], reference[0]["features"]
    forecasts = replay(DMD(history=6), reference, "every4_w3")
    errors = {
        step: np.linalg.norm(h - expected[step]) / np.linalg.norm(expected[step]) for step, h in forecasts.items()
    }
    assert max(error for step, error in errors.items() if step > 14) < 1e-6
    for step, newest, older, gap in ((4, 2, 0, 1), (8, 6, 1, 4), (12, 10, 2, 4)):
        # It takes the difference to the feature before the last one but divides it by the last gap alone.
        doubled = features[newest] + (features[newest] - features[older]) / gap * (step - newest)
        assert expected[step] == pytest.approx(doubled, rel=1e-12)
        assert errors[step] > 0.03


def test_dmd_is_exact_on_its_modes():
    draw, times = np.random.default_rng(5), np.arange(0.0, 12.0, 2.0)
    mu = np.array([0.9 * np.exp(0.4j), 0.9 * np.exp(-0.4j), 0.7])
    modes = draw.normal(size=(1, 20)) + 1j * draw.normal(size=(1, 20))
    modes = np.concatenate([modes, modes.conj(), draw.normal(size=(1, 20))])

    def feature(t):
        return (mu ** np.asarray(t)[..., None] @ modes).real

    w = DMD().weights(times, 13.0, matrix(feature(times)))
    assert w @ feature(times) == pytest.approx(feature(13.0), abs=1e-7)


def test_dmd_falls_back():
    features = np.random.default_rng(0).normal(size=(5, 3))
    assert DMD().weights([0, 1, 2, 3, 5], 6, matrix(features)) == pytest.approx([0, 0, 0, -0.5, 1.5])
    assert DMD().weights([0, 1, 2, 3, 4], 6, np.zeros((5, 5))).tolist() == [0, 0, 0, 0, 1]


def test_dmd_can_be_kept_from_growing():
    features = 1.5 ** np.arange(5.0)[:, None]
    assert DMD().weights(range(5), 6, matrix(features)) @ features == pytest.approx(1.5**6)
    assert DMD(cap=True).weights(range(5), 6, matrix(features)) @ features == pytest.approx(1.5**4)


def test_shrink_by_hand():
    features = np.array([[1.0], [2.0], [4.0], [7.0]])
    # At 3: Newton says 6, reuse 4: r = 1/3. Now Newton says 10 and reuse 7: r = 3/10 over one gap.
    kappa = 1 / (1 + (3 / 10) / (1 / 3))
    w = Shrink(Newton(1), Reuse()).weights(range(4), 4, matrix(features))
    assert w @ features == pytest.approx(7 + kappa * 3)
    assert w == pytest.approx(kappa * np.array([0, 0, -1, 2]) + (1 - kappa) * np.array([0, 0, 0, 1]))
    assert Shrink(Newton(1), Newton(1)).weights(range(4), 4, matrix(features)) == pytest.approx([0, 0, -1, 2])
    assert Shrink(Newton(1), Reuse()).weights([0, 1], 2, matrix(features[:2])) == pytest.approx([-1, 2])


@every_rule
@settings(max_examples=1000)
@given(nodes(most=20), st.sampled_from(["noise", "smooth", "constant", "zero", "tiny", "rank one"]), st.randoms())
def test_weights_are_finite_from_one_node_to_twenty(rule, drawn, what, random):
    times, t = drawn
    draw = np.random.default_rng(random.randrange(2**32))
    if random.random() < 0.5:
        times, t = np.linspace(-1.0, 0.5, times.size), 0.8
    features = {
        "noise": draw.normal(size=(times.size, 4)),
        "smooth": np.exp(np.outer(times, draw.normal(size=4))),
        "constant": np.ones((times.size, 4)),
        "zero": np.zeros((times.size, 4)),
        "tiny": 1e-150 * draw.normal(size=(times.size, 4)),
        "rank one": np.outer(draw.normal(size=times.size), np.ones(4)),
    }[what]
    w = rule.weights(times, t, matrix(features))
    assert w.shape == times.shape
    assert w.dtype == np.float64
    assert np.isfinite(w).all()


@every_rule
def test_is_data(rule):
    clone = eval(repr(rule), vars(sf))
    assert clone == rule
    assert hash(clone) == hash(rule)
    assert isinstance(rule, sf.GramForecaster)
    assert not isinstance(rule, sf.LinearRule)


def test_forecasts_leave_the_features_where_they_are():
    """PyTorch's "meta" device has no values: whatever brought one to the host would fail on it."""
    features = [torch.ones(5, device="meta") for _ in range(6)]
    times, t = np.linspace(-1.0, 0.0, 6), 0.25
    for rule in FORECASTERS:
        assert sf.combine(rule.weights(times, t), features).device.type == "meta"
    values = np.random.default_rng(0).normal(size=(6, 5))
    for rule in RULES:
        # Its K x K numbers are all that a Gram rule reads.
        assert sf.combine(rule.weights(times, t, matrix(values)), features).device.type == "meta"


def test_a_run_drops_the_oldest(xp):
    values = np.random.default_rng(2).normal(size=(9, 3))
    run = GramRun(Shanks(), np.arange(9), schedules.every(9, 2), keep=3)
    for step in range(9):
        if run.evaluates(step):
            run.keep(step, xp.asarray(values[step].tolist()))
            kept = list(range(0, step + 1, 2))[-3:]
            assert run.gram == pytest.approx(definition(values[kept]), rel=1e-5, abs=1e-5)
        elif step > 4:
            w = Shanks().weights(kept, step, definition(values[kept]))
            assert to_numpy(run.forecast(step)) == pytest.approx(w @ values[kept], rel=1e-4, abs=1e-4)


def test_a_run_keeps_its_order():
    run = GramRun(Shanks(), np.arange(4), schedules.mask(4, [0, 2]))
    with pytest.raises(ValueError, match="`step` 0 has nothing to be forecast from"):
        run.forecast(0)
    run.keep(0, np.ones(2))
    with pytest.raises(ValueError, match="`step` 1 is not evaluated"):
        run.keep(1, np.ones(2))
    with pytest.raises(ValueError, match="step 2 is not kept yet"):
        run.forecast(3)
    assert run.forecast(1) == pytest.approx(np.ones(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gram.append(np.zeros((1, 1)), np.ones(3)), r"`row` has shape \(3,\); write .* \(2,\) numbers"),
        (lambda: gram.norm(np.eye(2), [1.0]), r"`coefficients` has shape \(1,\); write one for each of the 2"),
        (lambda: gram.past_error(np.eye(2), [1.0, 2.0]), r"`weights` has shape \(2,\); write one for each of the 1"),
        (lambda: Shanks().weights([0, 1], 2, np.eye(3)), r"`gram` has shape \(3, 3\); write the finite \(2, 2\)"),
        (lambda: Shanks().weights([0, 1], 2, np.full((2, 2), np.nan)), "`gram` has shape"),
        (lambda: Shanks().weights([0, 1], 1, np.eye(2)), "`t` is 1, not after"),
        (lambda: Shrink(spectrum(), Reuse()).weights([0, 1], 2, np.eye(2)), r"lives on \[-1, 1\]"),
        (lambda: DMD(3), "`history` is 3; write 4 or more"),
        (lambda: DMD(threshold=-1.0), "`threshold` is -1.0; write 0 or more"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
