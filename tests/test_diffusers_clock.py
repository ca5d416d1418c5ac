"""Telling steps, streams and runs from the timesteps of the calls."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler, HeunDiscreteScheduler

from spectral_forecast.adapters._session import Clock


def places(clock, timesteps, calls):
    """(step, stream, new_run) of each call, a pair of time and context."""
    moments = [clock.read(time, context, timesteps) for time, context in calls]
    assert not any(moment.oddity for moment in moments), moments
    return [moment[:3] for moment in moments]


def euler(steps=4):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(steps)
    return scheduler.timesteps


@pytest.mark.parametrize("see", [lambda t: t, lambda t: t / 1000, lambda t: (1000 - t) / 1000, lambda t: 1000 - t])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_steps_whatever_the_network_sees_of_time(see, dtype):
    timesteps = euler(50)
    calls = [(see(t).expand(2).to(dtype), "cond") for t in timesteps]
    assert [place[0] for place in places(Clock(), timesteps, calls)] == list(range(50))


def test_other_functions_of_time_are_counted():
    timesteps = euler(5)
    calls = [(torch.log(t), None) for t in timesteps]
    assert places(Clock(), timesteps, calls) == [(k, "call 0", k == 0) for k in range(5)]


def test_times_may_have_any_shape():
    timesteps = euler()
    for shape in ((), (1,), (3,), (2, 5)):
        calls = [(t.expand(shape), None) for t in timesteps]
        assert [place[0] for place in places(Clock(), timesteps, calls)] == [0, 1, 2, 3]
    # Tokens of a given first frame are at time 0 all along.
    calls = [(torch.tensor([[0.0, float(t)]]), None) for t in timesteps]
    assert [place[0] for place in places(Clock(), timesteps, calls)] == [0, 1, 2, 3]
    calls = [(int(t), None) for t in torch.tensor([9, 6, 3, 0])]
    assert [place[0] for place in places(Clock(), torch.tensor([9, 6, 3, 0]), calls)] == [0, 1, 2, 3]


def test_streams_by_context_and_by_order():
    timesteps = euler(2)
    named = [(t, name) for t in timesteps for name in ("cond", "uncond")]
    bare = [(t, None) for t in timesteps for _ in range(3)]
    assert [place[1] for place in places(Clock(), timesteps, named)] == ["cond", "uncond"] * 2
    assert [place[1] for place in places(Clock(), timesteps, bare)] == ["call 0", "call 1", "call 2"] * 2


def test_without_a_scheduler_a_stream_that_comes_again_at_the_first_time_begins_a_run():
    calls = [(1.0, "cond"), (1.0, "uncond")]
    assert places(Clock(), None, 2 * calls) == 2 * [(0, "cond", True), (0, "uncond", False)]


def test_a_run_whose_scheduler_is_gone_is_another_run():
    timesteps, clock = euler(4), Clock()
    assert places(clock, timesteps, [(t, None) for t in timesteps[:2]])[-1][0] == 1
    assert places(clock, None, [(t, None) for t in timesteps]) == [(k, "call 0", k == 0) for k in range(4)]
    assert clock.remaining() is None


def test_a_run_that_begins_late():
    """Image to image: the pipeline enters the scheduler's list in the middle."""
    timesteps, clock = euler(10), Clock()
    assert places(clock, timesteps, [(t, "cond") for t in timesteps[6:]]) == [
        (step, "cond", step == 6) for step in range(6, 10)
    ]
    assert clock.remaining() == 1


def test_new_timesteps_are_a_new_run():
    clock = Clock()
    for _ in range(2):
        timesteps = euler()
        assert places(clock, timesteps, [(timesteps[0], None)]) == [(0, "call 0", True)]


def test_time_that_turns_back_is_a_new_run():
    for times in ([3.0, 2.0, 1.0], [0.1, 0.2, 0.3]):
        clock = Clock()
        expected = [(0, "call 0", True), (1, "call 0", False), (2, "call 0", False)]
        for _ in range(2):
            assert places(clock, None, [(t, None) for t in times]) == expected


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # inside diffusers
@pytest.mark.parametrize("contexts", [("cond", "uncond"), (None, None), (None,)])
@pytest.mark.parametrize("kind", [FlowMatchHeunDiscreteScheduler, HeunDiscreteScheduler])
def test_heuns_method_calls_twice_at_one_timestep(kind, contexts):
    scheduler = kind()
    scheduler.set_timesteps(4)
    calls = [(t, context) for t in scheduler.timesteps for context in contexts]
    steps = [place[0] for place in places(Clock(), scheduler.timesteps, calls)]
    assert steps == [step for step in range(len(scheduler.timesteps)) for _ in contexts]


def test_oddities_are_named():
    timesteps, clock = euler(), Clock()
    assert not clock.read(timesteps[0], "cond", timesteps).oddity
    assert clock.read(timesteps[0], "cond", timesteps).oddity == "was called twice at one timestep"
    assert clock.read(timesteps[1], "cond", timesteps).step == 1
    moment = clock.read(torch.tensor(123.456), "cond", timesteps)
    assert moment.step == -1
    assert "was called at 123.456, not one of" in moment.oddity
    assert clock.read(timesteps[2], "cond", timesteps).step == 2
