"""Two threads: with a network each they are alone; on one network, the run that came first is not disturbed."""

import threading

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

from spectral_forecast.adapters.diffusers import accelerate, report
from spectral_forecast.benchmarks import digits

TINY = {**digits.CONFIG, "num_layers": 1, "num_single_layers": 2, "num_attention_heads": 1}
STEPS = 12


def pipeline(seed):
    torch.manual_seed(seed)
    return digits.pipeline(FluxTransformer2DModel(**TINY).eval())


def another_on(pipe):
    """A pipeline with the same network and a scheduler of its own."""
    other = FluxPipeline(**{**pipe.components, "scheduler": FlowMatchEulerDiscreteScheduler(shift=2.0)})
    other.set_progress_bar_config(disable=True)
    return other


@pytest.fixture(params=["output", "features"])
def at(request):
    return request.param


class Turns:
    """Lets two threads take turns: each waits at every step until the other has done one, or has ended."""

    def __init__(self):
        self.condition = threading.Condition()
        self.done = {"first": 0, "second": 0}

    def run(self, name, pipe, results, *, steps=STEPS, **options):
        other = {"first": "second", "second": "first"}[name]

        def wait(_latents=None):
            with self.condition:
                self.done[name] += 1
                self.condition.notify_all()
                assert self.condition.wait_for(lambda: self.done[other] >= self.done[name] - (name == "first"), 60)

        try:
            if name == "second":
                wait()
            results[name] = digits.sample(pipe, [3, 8], steps=steps, guidance=2.0, after_step=wait, **options)
        finally:
            with self.condition:
                self.done[name] = 10**6
                self.condition.notify_all()


def together(first, second, **options):
    """Run two pipelines in two threads by turns; ``options`` are the second's."""
    turns, results = Turns(), {}
    threads = [
        threading.Thread(target=turns.run, args=("first", first, results)),
        threading.Thread(target=turns.run, args=("second", second, results), kwargs=options),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results["first"], results["second"]


def test_two_networks_in_two_threads_are_alone(at):
    pipes = [accelerate(pipeline(seed), evaluations=5, at=at) for seed in (0, 1)]
    alone = [digits.sample(pipe, [3, 8], steps=STEPS, guidance=2.0) for pipe in pipes]
    assert all(torch.equal(x, y) for x, y in zip(together(*pipes), alone, strict=True))
    for pipe in pipes:
        assert report(pipe).runs == 2
        assert report(pipe).evaluations == 5
        assert not report(pipe).events


def test_on_one_network_the_first_run_is_not_disturbed_and_the_second_is_evaluated(at):
    pipe = pipeline(0)
    other = another_on(pipe)
    full = digits.sample(other, [3, 8], steps=9, guidance=2.0, seed=1)
    accelerate(pipe, evaluations=5, at=at)
    alone = digits.sample(pipe, [3, 8], steps=STEPS, guidance=2.0)
    first, second = together(pipe, other, steps=9, seed=1)
    assert torch.equal(first, alone)
    assert torch.equal(second, full)
    told = report(pipe)
    assert told.evaluations == 5
    assert told.events == ["calls from another thread came in between: 18; each was evaluated, and nothing else done"]
    assert torch.equal(digits.sample(pipe, [3, 8], steps=STEPS, guidance=2.0), alone)
    assert not report(pipe).events


def test_a_run_that_another_thread_makes_before_the_last_scheduler_step_takes_nothing_from_it(at):
    pipe = accelerate(pipeline(0), evaluations=5, at=at)
    other = another_on(pipe)
    alone = digits.sample(pipe, [3, 8], steps=STEPS, guidance=2.0)
    assert report(pipe).as_dict()["corrections"]
    here, calls = threading.current_thread(), []

    def come_in_between(*_):
        """After the last call of the network, before the scheduler's last step, which may be corrected."""
        if threading.current_thread() is not here:
            return
        calls.append(None)
        if len(calls) == 2 * STEPS:
            thread = threading.Thread(target=digits.sample, args=(other, [3, 8]), kwargs={"steps": 9, "guidance": 2.0})
            thread.start()
            thread.join(60)

    pipe.transformer.register_forward_hook(come_in_between)
    assert torch.equal(digits.sample(pipe, [3, 8], steps=STEPS, guidance=2.0), alone)
    assert len(calls) == 2 * STEPS
    assert len(report(pipe).events) == 1


def test_another_thread_may_run_the_pipeline_after_a_run_that_was_aborted(at):
    pipe = accelerate(pipeline(0), evaluations=5, at=at)
    alone = digits.sample(pipe, [3, 8], steps=STEPS, guidance=2.0)

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        digits.sample(pipe, [3, 8], steps=STEPS, guidance=2.0, after_step=stop)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(digits.sample(pipe, [3, 8], steps=STEPS, guidance=2.0)),
    )
    thread.start()
    thread.join(60)
    assert torch.equal(results[0], alone)
    assert not report(pipe).events
    assert torch.equal(digits.sample(pipe, [3, 8], steps=STEPS, guidance=2.0), alone)
