"""Many requests that come and go: every result is that of its run alone, no byte too many, and none at the end."""

import queue
import random
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from leaks import Made

from spectral_forecast import Corrector, Newton, make_plan, schedules, spectrum
from spectral_forecast.adapters._session import Stream
from spectral_forecast.adapters._session.memory import ring_for
from spectral_forecast.adapters.serving import FullError, Pool
from spectral_forecast.benchmarks import digits
from spectral_forecast.guarded import LIMIT

REQUESTS = 1000
MOST_BYTES = 5_000
MOST_SECONDS = 40.0  # of CPU; it takes some 5
SHAPES = ((1, 8), (2, 8), (3, 8), (1, 4, 4))


class Network:
    """Sums and products by elements, which do not depend on the batch."""

    def __init__(self):
        self.fails = False

    def __call__(self, x, t, fault):
        if self.fails:
            raise RuntimeError("out of luck")
        t, fault = (part.reshape(-1, *[1] * (x.ndim - 1)) for part in (t, fault))
        return x * (t * t - 0.5) + t + fault


def plans(draw):
    """Plans of many lengths, schedules and rules; every fourth corrects, and the others are guarded or not."""
    made = []
    for number in range(60):
        steps = draw.randint(3, 24)
        evaluated = {0, *(step for step in range(steps) if draw.random() < 0.4)}
        evaluate = schedules.mask(steps, sorted(evaluated))
        rule = draw.choice([Newton(1), Newton(2), spectrum(0.5)])
        if number % 4 == 0:
            sigmas = np.linspace(1.0, 0.0, steps + 1)
            made.append((make_plan(rule, np.arange(steps), evaluate, sigmas=sigmas, corrector=Corrector()), None))
        else:
            keep = draw.choice([None, 2, 3])
            made.append((make_plan(rule, np.arange(steps), evaluate, keep=keep), draw.choice([None, LIMIT])))
    return made


@dataclass
class Client:
    """Euler's steps from noise, broken off before step ``until``; the network gives a NaN at step ``fault``."""

    seed: int
    plan: object
    limit: float | None
    shape: tuple
    until: int
    fault: int
    step: int = 0
    x: torch.Tensor = field(init=False)

    def __post_init__(self):
        self.x = torch.randn(self.shape, generator=torch.Generator().manual_seed(self.seed))

    @classmethod
    def drawn(cls, seed, draw, choices):
        plan, limit = draw.choice(choices)
        until = draw.randrange(1, plan.steps) if draw.random() < 0.3 else plan.steps
        fault = draw.randrange(plan.steps) if draw.random() < 0.1 else -1
        return cls(seed, plan, limit, draw.choice(SHAPES), until, fault)

    def alone(self):
        return Client(self.seed, self.plan, self.limit, self.shape, self.until, self.fault)

    @property
    def inputs(self):
        return self.x, 1.0 - self.step / self.plan.steps, float("nan") if self.step == self.fault else 0.0

    def advance(self, output, correct):
        self.x = correct(self.x) - output.nan_to_num() / self.plan.steps
        self.step += 1


def by_itself(client):
    """The same run alone: by hand, or where the network fails, in a pool of its own."""
    network, client = Network(), client.alone()
    if client.fault >= 0:
        pool = Pool(network)
        request = pool.join(client.plan, client.x, limit=client.limit)
        while client.step < client.until:
            client.advance(pool.call({request: client.inputs})[request], request.correct)
        return client
    run = client.plan.start(limit=client.limit, ring=ring_for(client.x, client.plan.kept))
    while client.step < client.until:
        step = client.step
        if not run.evaluates(step):
            client.advance(run.forecast(step), lambda x: x)
            continue
        x, t, fault = client.inputs
        run.keep(step, output := network(x, *(torch.full((len(x),), number) for number in (t, fault))))
        client.advance(output, lambda x, step=step: run.correct(step, x))
    return client


def serve(pool, network, draw, clients):
    """Let all clients through, and check each when it goes; returns how many calls failed and were repeated."""
    waiting, active, failures, begun = deque(clients), {}, 0, time.process_time()
    while waiting or active:
        assert time.process_time() - begun < MOST_SECONDS  # or else somebody never gets in
        for _ in range(min(len(waiting), draw.randint(0, 6))):
            client = waiting[0]
            try:
                request = pool.join(client.plan, torch.empty(client.shape, device="meta"), limit=client.limit)
            except FullError:
                break
            active[request] = waiting.popleft()
        inputs = {request: client.inputs for request, client in active.items() if draw.random() < 0.9}
        network.fails = draw.random() < 0.05
        try:
            outputs = pool.call(inputs)
        except RuntimeError:
            network.fails, failures = False, failures + 1
            outputs = pool.call(inputs)
        for request, output in outputs.items():
            active[request].advance(output, request.correct)
        assert pool.nbytes <= pool.reserved <= pool.max_bytes
        for request, client in [pair for pair in active.items() if pair[1].step == pair[1].until]:
            assert request.finished == (client.until == client.plan.steps)
            assert torch.equal(client.x, by_itself(client).x)
            if not request.finished and draw.random() < 0.7:
                request.leave()
            del active[request]  # and some of those that are broken off are just forgotten
    return failures


def test_soak():
    """A thousand requests under a fixed bound of time and memory."""
    draw = random.Random(0)
    choices = plans(draw)
    made = Made(torch.Tensor, Stream)
    pool = Pool(network := Network(), max_bytes=MOST_BYTES, max_batch=16)
    clients = (Client.drawn(seed, draw, choices) for seed in range(REQUESTS))
    failures = serve(pool, network, draw, clients)
    told = pool.report
    # It was a soak: all of what may happen did.
    assert told.joined == REQUESTS
    assert told.refused > 100
    assert told.left > 100
    assert told.finished > 600
    assert told.restarts > 20
    assert failures > 10
    assert told.evaluated > 3 * told.calls  # requests to a call
    assert 0.5 * MOST_BYTES < told.peak_bytes <= MOST_BYTES
    # Nothing is left of it.
    assert (pool.nbytes, pool.reserved, pool.requests) == (0, 0, ())
    assert made.held() == 0


def test_threads_that_share_a_pool():
    """Clients in threads of their own join, wait for their outputs, leave when they like; one thread calls."""
    pool = Pool(Network(), max_bytes=MOST_BYTES)
    choices = plans(random.Random(1))
    asked, wrong = queue.Queue(), []

    def client_thread(number):
        draw = random.Random(number)
        for seed in range(15):
            client = Client.drawn(100 * number + seed, draw, choices)
            request = pool.join(client.plan, client.x, limit=client.limit)
            while client.step < client.until:
                asked.put((request, client.inputs, future := Future()))
                client.advance(future.result(60), request.correct)
            if not request.finished:
                asked.put((request, client.inputs, Future()))  # leaves while it is called, or before
                request.leave()
            if not torch.equal(client.x, by_itself(client).x):
                wrong.append(client)

    threads = [threading.Thread(target=client_thread, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken = [asked.get() for _ in range(asked.qsize())]
        outputs = pool.call({request: inputs for request, inputs, _ in taken})
        for request, _, future in taken:
            if request in outputs:
                future.set_result(outputs[request])
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert pool.report.joined == 90
    assert (pool.nbytes, pool.requests) == (0, ())


class Served(RuleBasedStateMachine):
    """Any order of joining, calls with some of the requests, failing calls and leaving; each request beside itself."""

    choices = plans(random.Random(2))

    def __init__(self):
        super().__init__()
        self.network, self.pairs = Network(), {}
        self.pool = Pool(self.network, max_bytes=2000, max_batch=4)

    @rule(seed=st.integers(0, 10**6))
    def join(self, seed):
        client = Client.drawn(seed, random.Random(seed), self.choices)
        arguments = {"plan": client.plan, "feature": client.x, "limit": client.limit}
        if not self.pool.admits(client.plan, client.x):
            with pytest.raises((FullError, ValueError)):
                self.pool.join(**arguments)
            return
        alone = Pool(Network())
        self.pairs[self.pool.join(**arguments)] = client, alone, alone.join(**arguments)

    @precondition(lambda self: self.pairs)
    @rule(data=st.data(), fails=st.booleans())
    def call(self, data, fails):
        several = data.draw(st.lists(st.sampled_from(list(self.pairs)), unique=True), label="requests")
        inputs = {request: self.pairs[request][0].inputs for request in several}
        if fails:
            held = [(request.step, request.nbytes, repr(request._told)) for request in self.pairs]
            self.network.fails = True
            try:
                outputs = self.pool.call(inputs)
            except RuntimeError:
                assert [(request.step, request.nbytes, repr(request._told)) for request in self.pairs] == held
                fails = False
            self.network.fails = False
        outputs = outputs if fails else self.pool.call(inputs)
        for request in several:
            client, alone, single = self.pairs[request]
            expected = alone.call({single: inputs[request]})[single]
            assert torch.equal(outputs[request], expected) or bool(expected.isnan().all())
            assert (request.nbytes, request._told.events) == (single.nbytes, single._told.events)
            x, corrected = request.correct(client.x), single.correct(client.x)
            assert torch.equal(x, corrected)
            client.advance(expected, lambda _, x=x: x)
            if request.finished:
                del self.pairs[request]

    @precondition(lambda self: self.pairs)
    @rule(data=st.data())
    def leave(self, data):
        request = data.draw(st.sampled_from(list(self.pairs)), label="request")
        request.leave()
        del self.pairs[request]

    @invariant()
    def bytes_are_those_of_who_is_in(self):
        assert self.pool.nbytes == sum(request.nbytes for request in self.pairs)
        assert self.pool.nbytes <= self.pool.reserved <= self.pool.max_bytes
        assert self.pool.requests == tuple(self.pairs)

    def teardown(self):
        for request in self.pool.requests:
            request.leave()
        assert (self.pool.nbytes, self.pool.reserved) == (0, 0)


TestServed = Served.TestCase
TestServed.settings = settings(settings.get_profile("laws"), max_examples=40, stateful_step_count=30)


@pytest.mark.parametrize("most", [1, None])
@torch.no_grad()
def test_a_real_network(most):
    """Alone in a batch a request is itself to the last bit; in a larger one to rounding."""
    transformer = digits.transformer()

    def model(x, t, classes):
        return transformer(**digits.inputs(x, t, classes), return_dict=False)[0]

    steps = 16
    levels = np.linspace(1.0, 0.0, steps + 1)
    levels = 3 * levels / (1 + 2 * levels)
    budgets = {(3,): 5, (8, 1): 8, (5,): steps}
    pool, samples, expected = Pool(model, max_batch=most), {}, {}
    for classes, budget in budgets.items():
        classes = torch.tensor(classes)  # noqa: PLW2901
        evaluate = schedules.balanced(levels, budget)
        plan = make_plan(Newton(1), -levels[:-1], evaluate, span=(-1.0, 0.0), keep=2)
        x = digits.noise(len(classes), seed=budget)
        run = plan.start(limit=LIMIT, ring=ring_for(x, plan.kept))
        samples[pool.join(plan, x, limit=LIMIT)] = x, classes
        for step in range(steps):
            if run.evaluates(step):
                run.keep(step, velocity := model(x, torch.full((len(x),), levels[step]).float(), classes))
            else:
                velocity = run.forecast(step)
            x = x + float(levels[step + 1] - levels[step]) * velocity
        expected[list(samples)[-1]] = x
    for step in range(steps):
        outputs = pool.call({r: (x, float(levels[step]), classes) for r, (x, classes) in samples.items()})
        length = float(levels[step + 1] - levels[step])
        samples = {r: (x + length * outputs[r], classes) for r, (x, classes) in samples.items()}
    for request, (x, _) in samples.items():
        error = float((x - expected[request]).norm() / expected[request].norm())
        assert error == 0.0 if most == 1 else error < 1e-5
    assert pool.report.calls == (sum(budgets.values()) if most == 1 else steps)
    assert pool.nbytes == 0
