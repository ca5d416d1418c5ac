"""Requests that share a network: batches, memory, faults, threads; each is what it is alone."""

import copy
import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectral_forecast import Corrector, Newton, make_plan, schedules, spectrum
from spectral_forecast.adapters._session.memory import ring_for
from spectral_forecast.adapters.serving import FullError, Pool
from spectral_forecast.adapters.serving._rest import rest
from spectral_forecast.guarded import LIMIT

STEPS = 12
SIGMAS = np.linspace(1.0, 0.0, STEPS + 1)
PLAN = make_plan(Newton(1), np.arange(STEPS), schedules.mask(STEPS, [0, 1, 4, 7, 9, 11]), keep=2)
OTHER = make_plan(Newton(2), np.arange(STEPS), schedules.mask(STEPS, [0, 1, 2, 6, 10]))
CORRECTED = make_plan(Newton(1), np.arange(STEPS), PLAN.evaluate, sigmas=SIGMAS, corrector=Corrector())


class Network:
    """Sums and products by elements, which do not depend on the batch; NaN and failures where they are asked for."""

    def __init__(self):
        self.batches, self.fails, self.during = [], False, lambda: None

    def __call__(self, x, t, fault=None):
        self.batches.append(len(x))
        self.during()
        if self.fails:
            raise RuntimeError("out of luck")
        t = t.reshape(-1, *[1] * (x.ndim - 1))
        velocity = x * (t * t - 0.5) + t
        return velocity if fault is None else velocity + fault.reshape(t.shape)


class Resumable(Network):
    def __call__(self, x, t, feature=None):
        if feature is None:
            feature = {"moved": super().__call__(x, t)}
        return feature["moved"] * t.reshape(-1, *[1] * (x.ndim - 1)), feature


def start(seed, *shape):
    return torch.randn(shape or (1, 3), generator=torch.Generator().manual_seed(seed))


def sample(call, x, correct=lambda x: x):
    """Euler's steps; ``call(x, t, step)`` is the network or what stands for it."""
    for step in range(STEPS):
        velocity = call(x, float(SIGMAS[step]), step)
        x = correct(x) + float(SIGMAS[step + 1] - SIGMAS[step]) * velocity
    return x


def by_hand(plan, x, network=None, limit=None):
    """The run alone, without any adapter; its ring sums as the adapters' do."""
    network, run = network or Network(), plan.start(limit=limit, ring=ring_for(x, plan.kept))

    def call(x, t, step):
        if not run.evaluates(step):
            return run.forecast(step)
        output = network(x, torch.full((len(x),), t))
        run.keep(step, output)
        return output

    return sample(call, x)


def served(pool, requests, xs):
    """Sample requests together, from a dict of a starting sample for each."""
    for step in range(STEPS):
        outputs = pool.call({request: (xs[request], float(SIGMAS[step])) for request in requests})
        length = float(SIGMAS[step + 1] - SIGMAS[step])
        xs = {request: xs[request] + length * outputs[request] for request in requests}
    return xs


def test_requests_with_other_plans_and_sizes_are_as_alone_to_the_last_bit():
    pool = Pool(network := Network())
    plans = [(PLAN, None), (OTHER, None), (PLAN, LIMIT), (spectrum_plan(), LIMIT)]
    xs = [start(seed, 1 + seed % 2, 3) for seed in range(4)]
    requests = [pool.join(plan, x, limit=limit) for (plan, limit), x in zip(plans, xs, strict=True)]
    done = served(pool, requests, dict(zip(requests, xs, strict=True)))
    for request, (plan, limit), x in zip(requests, plans, xs, strict=True):
        assert torch.equal(done[request], by_hand(plan, x, limit=limit))
        assert request.report.evaluated["call 0"] == np.flatnonzero(plan.evaluate).tolist()
        assert request.finished
        assert not request.report.events
    assert network.batches[0] == 6  # items of four requests
    assert (len(network.batches), sum(plan.evaluations for plan, _ in plans)) == (
        pool.report.calls,
        pool.report.evaluated,
    )
    assert pool.nbytes == 0
    assert pool.requests == ()


def test_the_default_device_does_not_matter():
    xs = [start(seed, 1 + seed, 3) for seed in range(2)]
    with torch.device("meta"):
        pool = Pool(Network())
        requests = [pool.join(PLAN, x, limit=LIMIT) for x in xs]
        done = served(pool, requests, dict(zip(requests, xs, strict=True)))
    assert pool.report.calls == PLAN.evaluations
    for request, x in zip(requests, xs, strict=True):
        assert torch.equal(done[request], by_hand(PLAN, x, limit=LIMIT))


def spectrum_plan():
    return make_plan(spectrum(0.5), np.arange(STEPS), schedules.growing(STEPS, warmup=3), span=(0, STEPS))


def test_batches_hold_what_fits_together_and_no_more_than_they_may():
    pool = Pool(network := Network(), max_batch=3)
    shapes = [(1, 3), (1, 3), (2, 3), (5, 3), (1, 2, 2)]
    inputs = {pool.join(PLAN, torch.empty(shape)): (torch.ones(shape), 0.5) for shape in shapes}
    outputs = pool.call(inputs)
    assert sorted(network.batches) == [1, 2, 2, 5]
    assert [tuple(output.shape) for output in outputs.values()] == shapes


def test_what_all_items_share_goes_together_where_it_is_the_same():
    """A word by its value, any other object by itself."""
    calls = []

    def network(x, kind, table):
        calls.append((len(x), kind, table))
        return x

    pool, tables = Pool(network), (object(), object())
    given = [("a", tables[0]), ("b", tables[0]), ("a", tables[0]), ("a", tables[1]), (None, tables[0])]
    pool.call({pool.join(PLAN, torch.empty(1, 3)): (torch.ones(1, 3), *shared) for shared in given})
    expected = [(2, "a", tables[0]), (1, "b", tables[0]), (1, "a", tables[1]), (1, None, tables[0])]
    assert sorted(calls, key=repr) == sorted(expected, key=repr)


def test_requests_that_wait_for_each_other_are_evaluated_together():
    pool, steps = Pool(network := Network()), {}
    for _ in range(3):
        steps[pool.join(PLAN, torch.empty(1, 3))] = 0
        pool.call({request: (start(0), 0.5) for request in steps})  # the first ones are ahead
    while any(not request.finished for request in steps):
        assert [request.evaluates for request in steps if not request.finished] == [
            bool(PLAN.evaluate[request.step]) for request in steps if not request.finished
        ]
        going = [request for request in steps if not request.finished]
        first = [request for request in going if not request.evaluates]
        pool.call({request: (start(0), 0.5) for request in first or going})
    # As they came; then the first two at 4, 7, 9 and 11 together, with the third at 1, 4, 7 and 9; then that alone.
    assert network.batches == [1, 2, 2, 3, 3, 3, 3, 1]
    assert not any(request.evaluates for request in steps)


def test_each_request_has_its_own_time_whether_number_tensor_or_vector():
    pool = Pool(lambda x, t: x * t[:, None])
    times = (0.5, torch.tensor(0.25), torch.tensor([0.125]), 2)
    requests = [pool.join(PLAN, torch.empty(1, 3)) for _ in times]
    outputs = pool.call({request: (torch.ones(1, 3), t) for request, t in zip(requests, times, strict=True)})
    assert [float(output[0, 0]) for output in outputs.values()] == [0.5, 0.25, 0.125, 2.0]


def test_times_of_doubles_stay_doubles():
    seen = []
    pool = Pool(lambda x, t: seen.append(t.dtype) or x)
    for kind in (torch.float64, torch.bfloat16):
        x = torch.ones(1, 3, dtype=kind)
        pool.call({pool.join(PLAN, x): (x, 0.1)})
    assert seen == [torch.float64, torch.float32]


def test_named_arguments_and_other_batching():
    def collate(inputs):
        longest = max(one["text"].shape[1] for one in inputs)
        padded = [torch.nn.functional.pad(one["text"], (0, longest - one["text"].shape[1])) for one in inputs]
        return {"x": torch.cat([one["x"] for one in inputs]), "text": torch.cat(padded)}

    calls = []
    pool = Pool(
        lambda x, text: calls.append(text.shape) or {"sample": x + text.sum(1, keepdim=True)},
        key=lambda inputs: inputs["x"].shape[1:],
        collate=collate,
    )
    first, second = (pool.join(PLAN, {"sample": torch.empty(1, 3)}) for _ in range(2))
    x = torch.zeros(1, 3)
    outputs = pool.call({first: {"x": x, "text": torch.ones(1, 2)}, second: {"x": x, "text": torch.ones(1, 7)}})
    assert calls == [(2, 7)]
    assert float(outputs[first]["sample"][0, 0]) == 2.0
    assert float(outputs[second]["sample"][0, 0]) == 7.0


def test_streams_have_features_of_their_own():
    pool = Pool(network := Network())
    request = pool.join(PLAN, torch.empty(1, 3), streams=["cond", "uncond"])
    starts = {"cond": start(1), "uncond": start(2)}
    keys = [(request, name) for name in starts]
    done = served(pool, keys, {(request, name): x for name, x in starts.items()})
    for name, x in starts.items():
        assert torch.equal(done[request, name], by_hand(PLAN, x))
    assert network.batches == [2] * PLAN.evaluations
    assert pool.reserved == pool.nbytes == 0


def test_features_are_forecast_and_heads_run_in_batches():
    pool = Pool(network := Resumable(), at="features")
    xs = [start(seed) for seed in range(3)]
    requests = [pool.join(PLAN, {"moved": x}) for x in xs]
    done = served(pool, requests, dict(zip(requests, xs, strict=True)))
    assert network.batches == [3] * PLAN.evaluations
    for request, x in zip(requests, xs, strict=True):
        run, alone = PLAN.start(ring=ring_for(x, PLAN.kept)), Resumable()

        def call(x, t, step, run=run, alone=alone):
            t = torch.full((1,), t)
            if not run.evaluates(step):
                return alone(x, t, feature={"moved": run.forecast(step)})[0]
            output, feature = alone(x, t)
            run.keep(step, feature["moved"])
            return output

        assert torch.equal(done[request], sample(call, x))
    assert pool.report.calls == PLAN.evaluations


def test_a_network_that_cannot_be_resumed_is_told():
    pool = Pool(lambda x, _t, feature=None: (x if feature is None else 2 * feature, x), at="features")
    with pytest.raises(ValueError, match="gives another output"):
        pool.call({pool.join(PLAN, torch.empty(1, 3)): (torch.ones(1, 3), 0.5)})


@pytest.mark.parametrize("limit", [0.2, None])
def test_corrections_are_those_of_the_run_alone(limit):
    pool = Pool(Network())
    request, x = pool.join(CORRECTED, torch.empty(1, 3)), start(3)
    network, run, kept = Network(), CORRECTED.start(ring=ring_for(x, CORRECTED.kept)), [0]

    def alone(x, t, step):
        if not run.evaluates(step):
            kept[0] = None
            return run.forecast(step)
        output = network(x, torch.full((1,), t))
        run.keep(step, output)
        kept[0] = step
        return output

    expected = sample(alone, x, lambda x: x if kept[0] is None else run.correct(kept[0], x, limit=limit))
    given = sample(lambda x, t, _: pool.call({request: (x, t)})[request], x, lambda x: request.correct(x, limit=limit))
    assert torch.equal(given, expected)
    assert not torch.equal(given, by_hand(PLAN, x))
    assert [step for step, _, _ in request.report.corrections] == [4, 7, 9, 11]
    assert request.finished
    assert pool.nbytes == 0


def test_a_request_waits_for_its_last_correction_and_can_leave_instead():
    pool = Pool(Network())
    request, x = pool.join(CORRECTED, torch.empty(1, 3)), start(3)
    sample(lambda x, t, _: pool.call({request: (x, t)})[request], x)
    assert not request.finished
    assert pool.nbytes == request.nbytes == CORRECTED.memory(x)
    assert any("the plan's corrections are not made" in event for event in request.report.events)
    with pytest.raises(ValueError, match="shape"):
        request.correct(torch.ones(2, 3))  # and can be repeated
    request.leave()
    assert pool.nbytes == 0
    assert torch.equal(request.correct(x), x)


def test_only_an_evaluation_corrects_and_only_what_is_finite():
    pool = Pool(Network())
    request, x = pool.join(CORRECTED, torch.empty(1, 3)), start(3)
    for step in range(8):
        pool.call({request: (start(step), 0.5)})
        if step == 5:  # nobody asked after step 4
            assert request.correct(x) is x
    nothing = torch.full((1, 3), float("inf"))
    assert request.correct(nothing) is nothing
    assert request.report.corrections == []


def test_memory_is_what_was_told_and_full_is_full():
    x = torch.empty(1, 3, device="meta")
    size = PLAN.memory(x)
    pool = Pool(Network(), max_bytes=2 * size + 1)
    first, second = pool.join(PLAN, x), pool.join(PLAN, x)
    assert not pool.admits(PLAN, x)
    with pytest.raises(FullError, match=f"{size} bytes, and 1 of {2 * size + 1} are free"):
        pool.join(PLAN, x)
    for step in range(3):
        pool.call({request: (start(step), 0.5) for request in (first, second)})
    assert pool.nbytes == pool.reserved == 2 * size  # to the byte, once the rings are full
    pool.leave(first)
    first.leave()  # once more changes nothing
    assert (pool.nbytes, pool.reserved, first.nbytes) == (size, size, 0)
    assert pool.admits(PLAN, x)
    third = pool.join(PLAN, x)
    assert (third.step, pool.requests) == (0, (second, third))
    with pytest.raises(ValueError, match="smaller `keep`"):
        pool.join(OTHER, torch.empty(100, 3))
    told = pool.report
    assert (told.joined, told.left, told.refused, told.requests) == (3, 1, 1, 2)
    assert "1 left before, 1 were refused" in str(told)


def test_features_larger_than_told_are_not_kept():
    pool = Pool(Network(), max_bytes=10**6)
    request = pool.join(PLAN, torch.empty(1, 3))
    done = served(pool, [request], {request: start(1, 2, 3)})[request]
    assert torch.equal(done, sample(lambda x, t, _: Network()(x, torch.full((2,), t)), start(1, 2, 3)))
    assert request.report.evaluations == STEPS
    assert "features take 48 bytes, 24 were told" in request.report.events[0]
    assert request.report.peak_bytes == 0


def test_whole_numbers_are_not_forecast():
    pool = Pool(lambda x, _t: x.to(torch.int64))
    request = pool.join(PLAN, torch.empty(1, 3))
    for _ in range(4):
        assert pool.call({request: (torch.ones(1, 3), 0.5)})[request].dtype == torch.int64
    assert request.report.evaluated["call 0"] == [0, 1, 2, 3]
    assert "no floating-point tensors" in request.report.events[0]


def test_nobody_else_notices_a_request_that_is_not_finite():
    pool = Pool(Network())
    sick, well = (pool.join(PLAN, torch.empty(1, 3)) for _ in range(2))
    xs = {sick: start(1), well: start(2)}
    for step in range(STEPS):
        fault = {sick: float("nan") if step == 4 else 0.0, well: 0.0}
        outputs = pool.call({request: (x, float(SIGMAS[step]), fault[request]) for request, x in xs.items()})
        assert bool(outputs[sick].isfinite().all()) == (step != 4)
        length = float(SIGMAS[step + 1] - SIGMAS[step])
        xs = {request: x + length * outputs[request].nan_to_num() for request, x in xs.items()}
    assert torch.equal(xs[well], by_hand(PLAN, start(2)))
    assert not well.report.events
    # Evaluated until the plan's two newest features, of steps 7 and 9, are there again.
    assert sick.report.evaluated["call 0"] == [0, 1, 4, 5, 6, 7, 8, 9, 11]
    assert sick.report.events == ["step 4, stream call 0: restarted: its feature was not finite and is not kept"]
    assert sick.report.restarts == pool.report.restarts == 1
    measured = zip(sick.report.evaluated["call 0"], sick.report.errors["call 0"], strict=True)
    assert [step for step, error in measured if error is not None] == [1, 11]


def test_a_forecast_that_overflows_is_evaluated():
    pool = Pool(lambda x, _t: x.half())
    request = pool.join(PLAN, torch.empty(1, 3, dtype=torch.half))
    for value in (0.0, 5e4):
        pool.call({request: (torch.full((1, 3), value), 0.5)})
    assert pool.call({request: (torch.full((1, 3), 7.0), 0.5)})[request].tolist() == [[7.0] * 3]
    assert "its forecast was not finite" in request.report.events[0]


def test_inputs_that_change_their_shape_begin_anew():
    pool = Pool(Network())
    request = pool.join(PLAN, torch.empty(1, 2, 2))
    for step in range(5):
        pool.call({request: (start(step, 1, 2, 2), 0.5)})
    for step in range(5, STEPS):
        x = start(step, 1, 4)
        assert pool.call({request: (x, 0.5)})[request].shape == x.shape
    assert request.report.evaluated["call 0"] == [0, 1, 4, 5, 6, 7, 8, 9, 11]
    assert request.report.restarts == 1
    assert "its inputs changed" in request.report.events[0]


def test_outputs_that_change_their_dtype_begin_anew():
    pool = Pool(lambda x, t: x.half() if t < 0.5 else x)
    request = pool.join(PLAN, torch.empty(1, 3))
    for step in range(STEPS):
        output = pool.call({request: (start(step), 0.9 if step < 4 else 0.1)})[request]
        assert output.dtype == (torch.float32 if step < 4 else torch.half)
    assert request.report.evaluated["call 0"] == [0, 1, 4, 5, 6, 7, 9, 11]  # 8 is forecast from 4 and 7
    assert "its feature changed" in request.report.events[0]


def test_an_error_leaves_everything_as_it_was_and_names_who_was_in_the_batch():
    pool = Pool(network := Network())
    plans = (PLAN, OTHER, CORRECTED)
    xs = [start(seed) for seed in range(3)]
    requests = [pool.join(plan, x) for plan, x in zip(plans, xs, strict=True)]
    samples = dict(zip(requests, xs, strict=True))
    for step in range(STEPS):
        inputs = {request: (x, float(SIGMAS[step])) for request, x in samples.items()}
        held, before = pool.nbytes, [copy.deepcopy(request.report) for request in requests]
        network.fails = True
        if any(plan.evaluate[step] for plan in plans):
            with pytest.raises(RuntimeError, match="out of luck") as error:
                pool.call(inputs)
            assert repr(requests[[bool(plan.evaluate[step]) for plan in plans].index(True)]) in error.value.__notes__[0]
        assert (pool.nbytes, [request.step for request in requests]) == (held, [step] * 3)
        assert [request.report for request in requests] == before
        network.fails = False
        outputs = pool.call(inputs)
        length = float(SIGMAS[step + 1] - SIGMAS[step])
        samples = {r: (r.correct(x) if r is requests[2] else x) + length * outputs[r] for r, x in samples.items()}
    for request, plan, x in zip(requests[:2], plans, xs, strict=False):
        assert torch.equal(samples[request], by_hand(plan, x))
    assert pool.nbytes == 0


def test_a_step_that_failed_has_dropped_nothing():
    pool = Pool(network := Network())
    request = pool.join(PLAN, torch.empty(1, 2, 2))
    for step in range(5):
        pool.call({request: (start(step, 1, 2, 2), 0.5)})
    network.fails = True
    with pytest.raises(RuntimeError, match="out of luck"):
        pool.call({request: (start(5, 1, 4), 0.5)})  # of another shape, and so evaluated
    pool.call({request: (start(5, 1, 2, 2), 0.5)})  # forecast as ever; the network still fails
    assert request.report.forecast["call 0"] == [2, 3, 5]
    assert (request.report.restarts, request.report.events) == (0, [])


def test_no_memory_for_a_feature_costs_its_request_the_forecasts_and_nothing_else(monkeypatch):
    from spectral_forecast.adapters._session import Stream

    pool = Pool(Network())
    poor, rich = (pool.join(PLAN, torch.empty(1, 3)) for _ in range(2))
    keep = Stream.keep

    def keeps(stream, step, *feature):
        if stream is poor._branches["call 0"].stream and step == 1:
            raise torch.OutOfMemoryError("no bytes")
        return keep(stream, step, *feature)

    monkeypatch.setattr(Stream, "keep", keeps)
    done = served(pool, [poor, rich], {poor: start(1), rich: start(2)})
    assert torch.equal(done[rich], by_hand(PLAN, start(2)))
    assert poor.report.evaluations == STEPS
    assert "no memory" in poor.report.events[0]


@pytest.mark.parametrize("at", ["output", "features"])
def test_leaving_and_joining_in_the_middle_of_a_call(at):
    pool = Pool(network := Resumable() if at == "features" else Network(), at=at)
    first = start(0) if at == "output" else {"moved": start(0)}
    stays, goes, also = pool.join(OTHER, first), pool.join(PLAN, first), pool.join(OTHER, first)
    xs = dict.fromkeys((stays, goes, also), start(0))
    for _ in range(2):
        pool.call({request: (x, 0.5) for request, x in xs.items()})
    joined = []

    def in_between():
        """While ``stays`` and ``also`` are evaluated and ``goes`` is forecast."""
        thread = threading.Thread(
            target=lambda: (goes.leave(), pool.leave(also), joined.append(pool.join(PLAN, first)))
        )
        thread.start()
        thread.join(60)
        assert not thread.is_alive()

    network.during = in_between
    outputs = pool.call({request: (x, 0.5) for request, x in xs.items()})
    network.during = lambda: None
    assert list(outputs) == [stays]
    assert pool.requests == (stays, *joined)
    assert pool.nbytes == stays.nbytes == 3 * 12
    assert also.step == goes.step == 2  # the step that was in progress is not made
    network.batches.clear()
    again = pool.call({request: (start(0), 0.5) for request in (stays, goes, *joined)})
    assert list(again) == [stays, *joined]
    assert network.batches == [1]  # `joined`; `stays` is forecast, and for `goes` nothing is done


def test_a_request_that_nobody_knows_any_more_takes_no_bytes():
    pool = Pool(Network(), max_bytes=PLAN.memory(torch.empty(1, 3)))
    request = pool.join(PLAN, torch.empty(1, 3))
    pool.call({request: (start(0), 0.5)})
    stream = weakref.ref(request._branches["call 0"].stream)
    gc.disable()  # by counting references alone
    try:
        del request
        assert stream() is None
    finally:
        gc.enable()
    assert pool.nbytes == pool.reserved == 0
    pool.join(PLAN, torch.empty(1, 3))


def test_a_pool_does_not_hold_what_it_was_called_with():
    pool = Pool(Network())
    request, x = pool.join(PLAN, torch.empty(1, 3)), start(0)
    output = pool.call({request: (x, 0.5)})[request]
    known = [weakref.ref(x), weakref.ref(output)]
    del x, output
    assert [ref() for ref in known] == [None, None]


def test_what_was_written_wrong_is_told():
    pool, other = Pool(Network()), Pool(Network())
    x = torch.empty(1, 3)
    request, several, foreign = pool.join(PLAN, x), pool.join(PLAN, x, streams=["a", "b"]), other.join(PLAN, x)
    inputs = (torch.ones(1, 3), 0.5)
    for wrong, error, words in [
        ({request: inputs[0]}, TypeError, r"is Tensor; write a tuple"),
        ({"a": inputs}, TypeError, "`request` is str"),
        ({foreign: inputs}, ValueError, "joined another pool"),
        ({several: inputs}, ValueError, "has no stream None; write .* 'a', 'b'"),
        ({(several, "c"): inputs}, ValueError, "no stream 'c'"),
        ({request: inputs, (request, "call 0"): inputs}, ValueError, "twice"),
        ({request: (torch.ones(1, 3), torch.ones(2))}, ValueError, "the first axis of each"),
    ]:
        with pytest.raises(error, match=words):
            pool.call(wrong)
    assert (request.step, pool.nbytes) == (0, 0)
    for arguments, error, words in [
        ({"plan": 3}, TypeError, "`plan` is int"),
        ({"feature": 3}, TypeError, "`feature` is int"),
        ({"streams": "cond"}, ValueError, "`streams` is 'cond'"),
        ({"streams": []}, ValueError, "different names"),
        ({"limit": 0.0}, ValueError, "`limit` is 0.0"),
        ({"plan": CORRECTED, "limit": 0.6}, ValueError, "has a corrector"),
        ({"plan": CORRECTED, "streams": ["a", "b"]}, ValueError, "outputs of one stream"),
    ]:
        with pytest.raises(error, match=words):
            pool.join(**{"plan": PLAN, "feature": x} | arguments)
    for arguments, error, words in [
        ({"model": 3}, TypeError, "`model` is int"),
        ({"split": 3}, TypeError, "`split` is int"),
        ({"at": "blocks"}, ValueError, "`at` is 'blocks'"),
        ({"max_bytes": 0}, ValueError, "`max_bytes` is 0"),
        ({"max_batch": 1.5}, ValueError, "`max_batch` is 1.5"),
    ]:
        with pytest.raises(error, match=words):
            Pool(**{"model": Network()} | arguments)
    served(pool, [request], {request: start(0)})
    with pytest.raises(ValueError, match="has done all its steps"):
        pool.call({request: inputs})


@pytest.mark.parametrize(
    ("options", "words"),
    [({}, "for 2 items; write a model"), ({"split": lambda output, _: [output]}, "1 parts of 2 requests")],
)
def test_results_that_cannot_be_taken_apart_are_told(options, words):
    pool = Pool(lambda x, _t: x.sum(), **options)
    inputs = {pool.join(PLAN, torch.empty(1, 3)): (torch.ones(1, 3), 0.5) for _ in range(2)}
    with pytest.raises(ValueError, match=words):
        pool.call(inputs)


def test_what_the_rest_of_a_plan_leaves_out():
    tail = rest(CORRECTED, 2)  # of evaluations at 0, 1, 4, 7, 9 and 11
    assert (np.flatnonzero(tail.evaluate) + 2).tolist() == [2, 3, 4, 5, 6, 7, 9, 11]
    assert (np.flatnonzero(tail.correction.any(axis=1)) + 2).tolist() == [9, 11]
    assert rest(PLAN._replace(weights=np.zeros_like(PLAN.weights)), 2).evaluate[0]  # a ring is never asked while empty


@given(st.data())
def test_the_rest_of_a_plan_forecasts_as_the_whole_does(data):
    """Each step has the plan's own weights of the same features, or is evaluated; no row more is kept."""
    steps = data.draw(st.integers(2, 16))
    evaluate = np.array([True, *data.draw(st.lists(st.booleans(), min_size=steps - 1, max_size=steps - 1))])
    keep = data.draw(st.none() | st.integers(3, 5))
    rule = data.draw(st.sampled_from([Newton(1), Newton(2), spectrum()]))
    sigmas = np.linspace(1.0, 0.0, steps + 1)
    plan = make_plan(
        rule, np.arange(steps), evaluate, keep=keep, sigmas=sigmas, corrector=None if keep else Corrector()
    )
    begin = data.draw(st.integers(0, steps - 1))
    tail = rest(plan, begin)
    assert tail.kept <= plan.kept
    assert tail.steps == steps - begin
    assert tail.evaluate[evaluate[begin:]].all()
    assert begin > 0 or tail == plan

    def terms(table, nodes, offset):
        return {int(node) + offset: weight for node, weight in zip(nodes, table, strict=True) if weight}

    features = np.random.default_rng(0).normal(size=(steps, 2))
    whole, run, x = plan.start(), tail.start(), np.zeros(2)
    for step in range(steps):
        if evaluate[step]:
            whole.keep(step, features[step])
        if step < begin:
            continue
        wanted = terms(plan.weights[step], plan.nodes(step), 0)
        taken = terms(tail.weights[step - begin], tail.nodes(step - begin), begin)
        if not tail.evaluate[step - begin]:
            assert taken == wanted
            # Its rows are in another order, and so are the terms of the sum.
            np.testing.assert_allclose(run.forecast(step - begin), whole.forecast(step), rtol=1e-9, atol=1e-9)
            continue
        assert taken in ({}, wanted)
        run.keep(step - begin, features[step])
        moved = run.correct(step - begin, x, limit=None)
        if moved is not x:
            np.testing.assert_allclose(moved, whole.correct(step, x, limit=None), rtol=1e-9, atol=1e-9)
