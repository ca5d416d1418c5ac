"""The diffusers adapter on a tiny FLUX pipeline: what it computes, what it survives, what it leaves behind."""

import gc
import importlib
import json
import weakref

import numpy as np
import pytest
import torch
from diffusers import (
    FirstBlockCacheConfig,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    UNet2DModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from diffusers.models.transformers.transformer_flux import FluxTransformerBlock

from spectral_forecast import Newton, make_plan, schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.benchmarks import digits

RULE = spectrum(0.5, mode="free")
EVEN = {"forecaster": RULE, "schedule": schedules.even, "corrector": None}
TINY = {**digits.CONFIG, "num_layers": 1, "num_single_layers": 2, "num_attention_heads": 1}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return FluxTransformer2DModel(**TINY).eval()


@pytest.fixture
def pipe(network):
    return digits.pipeline(network)


@pytest.fixture(params=["output", "features"])
def at(request):
    return request.param


class Counter:
    """Counts the calls of a module inside the network, by a hook of the test's own."""

    def __init__(self, module):
        self.calls = 0
        module.register_forward_hook(self)

    def __call__(self, *_):
        self.calls += 1


def draw(pipe, *, steps=12, guidance=2.0, classes=(3, 8), **options):
    return digits.sample(pipe, list(classes), steps=steps, guidance=guidance, **options)


def plan(steps=12, evaluated=(0, 1, 2, 5, 9), rule=RULE):
    return make_plan(rule, np.arange(steps), schedules.mask(steps, evaluated), span=(0, steps))


def by_hand(network, plan, at, *, steps=12, guidance=2.0, classes=(3, 8), seed=0):
    """The same run without pipeline and without hooks: a loop over the core's runs, one for each branch."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=digits.SHIFT)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps))
    image_ids, text_ids = digits.token_ids()
    sample = digits.noise(len(classes), seed=seed)
    branches = {"cond": digits.embed(classes), "uncond": digits.embed([digits.CLASSES] * len(classes))}
    runs = {name: plan.start() for name in branches}

    def head(feature, condition, time):
        embedding = network.time_text_embed(time, condition.pooled_prompt_embeds)
        return network.proj_out(network.norm_out(feature, embedding))

    def call(condition, time, keep):
        handle = network.norm_out.register_forward_pre_hook(lambda _, inputs: keep.append(inputs[0]))
        result = network(
            hidden_states=sample,
            timestep=time / 1000,
            encoder_hidden_states=condition.prompt_embeds,
            pooled_projections=condition.pooled_prompt_embeds,
            img_ids=image_ids,
            txt_ids=text_ids,
            return_dict=False,
        )[0]
        handle.remove()
        return result

    with torch.no_grad():
        for step, time in enumerate(scheduler.timesteps):
            velocities = {}
            for name, condition in branches.items():
                times, run, seen = time.expand(len(classes)), runs[name], []
                if run.evaluates(step):
                    velocities[name] = call(condition, times, seen)
                    run.keep(step, seen[0] if at == "features" else velocities[name])
                else:
                    forecast = run.forecast(step)
                    velocities[name] = head(forecast, condition, times) if at == "features" else forecast
            velocity = velocities["uncond"] + guidance * (velocities["cond"] - velocities["uncond"])
            sample = scheduler.step(velocity, time, sample, return_dict=False)[0]
    return digits.images(sample)


def test_agrees_with_a_loop_by_hand(pipe, network, at):
    expected = by_hand(network, plan(), at)
    accelerate(pipe, plan(), at=at)
    assert torch.allclose(draw(pipe), expected, atol=1e-6)


def test_evaluating_every_step_changes_no_bit(pipe, at):
    full = draw(pipe)
    accelerate(pipe, evaluations=12, at=at)
    assert torch.equal(draw(pipe), full)
    assert report(pipe).evaluations == 12


def test_the_network_runs_as_often_as_planned(pipe, network, at):
    block, embedder, head = (Counter(network.get_submodule(name)) for name in _COUNTED)
    accelerate(pipe, evaluations=5, forecaster=RULE, at=at)
    draw(pipe, guidance=1.0)
    first = embedder.calls
    assert block.calls == 5
    draw(pipe, guidance=1.0)
    assert block.calls == 2 * 5
    assert embedder.calls - first == (5 if at == "output" else 12)
    assert head.calls == embedder.calls
    # Resumed from the first evaluation: three times to prove that it can be, once to see which modules before the
    # blocks the result depends on, and once without the others.
    assert first - (embedder.calls - first) == (0 if at == "output" else 3 + 1 + 1)
    draw(pipe, guidance=2.0)
    assert block.calls == 4 * 5


_COUNTED = ("single_transformer_blocks.1.attn.to_q", "x_embedder", "norm_out")


def test_every_block_is_skipped(pipe, network):
    counters = [Counter(block.attn.to_q) for block in (*network.transformer_blocks, *network.single_transformer_blocks)]
    accelerate(pipe, evaluations=4, at="features")
    draw(pipe, guidance=1.0)
    assert [counter.calls for counter in counters] == [4, 4, 4]


def test_restore_leaves_nothing(pipe, network, at):
    def attributes():
        return {name: sorted(vars(module)) for name, module in network.named_modules()}

    before, full = attributes(), draw(pipe)
    left_by_diffusers = {"_diffusers_hook"}  # the pipeline's own cache context puts an empty registry on the root
    accelerate(pipe, evaluations=5, at=at)
    assert not torch.equal(draw(pipe), full)
    assert restore(pipe) is pipe
    assert {
        name: [key for key in keys if key not in left_by_diffusers] for name, keys in attributes().items()
    } == before
    assert network.forward.__func__ is FluxTransformer2DModel.forward
    assert network.transformer_blocks[0].forward.__func__ is FluxTransformerBlock.forward
    assert torch.equal(draw(pipe), full)
    torch.manual_seed(0)
    assert torch.equal(draw(digits.pipeline(FluxTransformer2DModel(**TINY).eval())), full)
    restore(pipe)  # without acceleration nothing happens


def test_running_twice_is_running_once(pipe, at):
    accelerate(pipe, evaluations=5, at=at)
    first = draw(pipe)
    other = draw(pipe, classes=(1, 2, 3), steps=20)
    assert other.shape == (3, 16, 16)
    assert report(pipe).steps == 20
    assert torch.equal(draw(pipe), first)
    assert report(pipe).runs == 3
    assert not report(pipe).events


def test_features_are_let_go(pipe, network, at):
    accelerate(pipe, plan(), at=at)
    root = network._diffusers_hook.get_hook("spectral_forecast")
    streams, held = root.session.streams, []
    draw(pipe, after_step=lambda _: held.append({name: stream.nbytes for name, stream in streams.items()}))
    known = plan().memory(torch.empty(2, 64, 32 if at == "features" else 4, device="meta"))
    assert held[0] == held[3] == {"cond": known, "uncond": known}
    assert held[-1] == {}
    assert report(pipe).peak_bytes == 2 * known
    assert at == "output" or (root.session.place.split.seen is None and not root.session.place.split.feature)
    hook = weakref.ref(root)
    del root
    restore(pipe)
    gc.collect()
    assert hook() is None


def test_guidance_branches_have_their_own_features(pipe):
    accelerate(pipe, plan(rule=Newton(1)))
    draw(pipe)
    told = report(pipe)
    assert told.evaluated == {"cond": [0, 1, 2, 5, 9], "uncond": [0, 1, 2, 5, 9]}
    assert told.forecast == {"cond": [3, 4, 6, 7, 8, 10, 11], "uncond": [3, 4, 6, 7, 8, 10, 11]}


def test_without_cache_contexts_branches_are_told_apart_by_order(network, at):
    """Two branches a step called without a context, as 34 pipelines of diffusers do."""
    expected = by_hand(network, plan(), at)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=digits.SHIFT)
    accelerate(network, plan(), scheduler=scheduler, at=at)
    sample = loop(network, scheduler)
    assert torch.allclose(sample, expected, atol=1e-6)
    assert list(report(network).evaluated) == ["call 0", "call 1"]


def test_without_a_scheduler_time_tells_the_steps(network, at):
    expected = by_hand(network, plan(), at)
    accelerate(network, plan(), at=at)
    for runs in (1, 2):
        assert torch.allclose(loop(network, FlowMatchEulerDiscreteScheduler(shift=digits.SHIFT)), expected, atol=1e-6)
        assert report(network).runs == runs
        assert report(network).evaluations == 5


@torch.no_grad()
def loop(network, scheduler, *, steps=12, classes=(3, 8), change=None, return_dict=True):
    """A hand-written guided loop; ``change(step, sample)`` may replace the sample."""
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps))
    sample = digits.noise(len(classes), seed=0)
    image_ids, text_ids = digits.token_ids()
    for step, time in enumerate(scheduler.timesteps):
        sample = sample if change is None else change(step, sample)
        count = len(sample)
        velocities = []
        for condition in (digits.embed([*classes][:count]), digits.embed([digits.CLASSES] * count)):
            result = network(
                hidden_states=sample,
                timestep=time.expand(count) / 1000,
                encoder_hidden_states=condition.prompt_embeds,
                pooled_projections=condition.pooled_prompt_embeds,
                img_ids=image_ids,
                txt_ids=text_ids,
                return_dict=return_dict,
            )
            velocities.append(result.sample if return_dict else result[0])
        velocity = velocities[1] + 2.0 * (velocities[0] - velocities[1])
        sample = scheduler.step(velocity, time, sample, return_dict=False)[0]
    return digits.images(sample)


@pytest.mark.parametrize("return_dict", [True, False])
def test_results_keep_their_form(network, at, return_dict):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=digits.SHIFT)
    accelerate(network, evaluations=5, scheduler=scheduler, at=at)
    assert loop(network, scheduler, return_dict=return_dict).isfinite().all()
    assert report(network).evaluations == 5


def test_a_changed_batch_restarts(network, at):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=digits.SHIFT)
    accelerate(network, evaluations=5, scheduler=scheduler, at=at, **EVEN)
    result = loop(network, scheduler, change=lambda step, sample: sample[:1] if step == 7 else sample)
    assert result.shape == (1, 16, 16)
    told = report(network)
    assert [
        event for event in told.events if "restarted: its input `hidden_states` changed from float32(2, 64, 4)" in event
    ]
    assert told.evaluated["call 0"][-5:] == [7, 8, 9, 10, 11]


@torch.no_grad()
def test_a_branch_that_is_called_twice_at_one_time_restarts(network, at):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=digits.SHIFT)
    scheduler.set_timesteps(12)
    accelerate(network, evaluations=5, scheduler=scheduler, at=at, **EVEN)
    for step, time in enumerate(scheduler.timesteps):
        given = digits.inputs(digits.noise(1, seed=0), time.expand(1) / 1000, torch.tensor([3]))
        for _ in range(2 if step == 6 else 1):
            with network.cache_context("cond"):
                network(**given)
    told = report(network)
    assert told.events == ["step 6, stream cond: restarted: was called twice at one timestep"]
    assert told.line.endswith(", 1 restarts")
    assert {6, 7, 8} <= set(told.evaluated["cond"])


class Growing(torch.nn.Module):
    """A network whose result doubles in size when half of the time is over, though its input does not."""

    def forward(self, sample, timestep):
        return sample if timestep > 500.0 else torch.cat([sample, sample])


def test_a_result_that_changes_its_shape_restarts_once():
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(20)
    growing = accelerate(Growing(), evaluations=8, scheduler=scheduler, **EVEN)
    for time in scheduler.timesteps:
        growing(torch.ones(1, 4), time)
    # Between two evaluations nobody can know; from the next one on there are three in a row.
    assert np.flatnonzero(schedules.even(20, 8)).tolist() == [0, 1, 4, 8, 11, 15, 18, 19]
    assert report(growing).evaluated == {"call 0": [0, 1, 4, 8, 11, 12, 13, 15, 18, 19]}
    assert report(growing).events == ["step 11, stream call 0: restarted: its feature changed in shape or dtype"]


def test_a_changed_dtype_restarts(network):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=digits.SHIFT)
    accelerate(network.double(), plan(), scheduler=scheduler, at="output")
    with pytest.raises(RuntimeError):  # the network itself refuses float32; nothing is broadcast or cast silently
        loop(network, scheduler)


def test_a_plan_that_was_given_is_left_for_good(network):
    """Without a rule a restarted stream cannot be planned again, so the network runs to the end."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=digits.SHIFT)
    accelerate(network, plan(), scheduler=scheduler)
    loop(network, scheduler, change=lambda step, sample: sample[:1] if step == 3 else sample)
    assert report(network).evaluated["call 0"] == [0, 1, 2, *range(3, 12)]


def test_a_value_that_is_not_finite_is_not_kept(pipe, network, at):
    accelerate(pipe, evaluations=5, at=at, **EVEN)
    clean = draw(pipe)
    calls = Counter(network.x_embedder)

    def poison(_module, _inputs, output):
        return output * torch.nan if calls.calls == 2 else output

    handle = (
        network.proj_out.register_forward_hook(poison)
        if at == "output"
        else (network.single_transformer_blocks[-1].attn.register_forward_hook(poison))
    )
    draw(pipe, guidance=1.0)
    handle.remove()
    events = report(pipe).events
    assert events[0] == "step 1, stream cond: its feature was not finite and is not kept"
    assert torch.equal(draw(pipe), clean)


def test_a_forecast_that_is_not_finite_is_replaced(pipe):
    """Weights of 1e39 overflow float32; the network is evaluated instead."""
    accelerate(pipe, evaluations=5, forecaster=1e39 * Newton(1) - 1e39 * Newton(0), schedule=schedules.even)
    full = draw(restore(pipe), guidance=1.0)
    accelerate(pipe, evaluations=5, forecaster=1e39 * Newton(1) - 1e39 * Newton(0), schedule=schedules.even)
    assert torch.equal(draw(pipe, guidance=1.0), full)
    assert "restarted: its forecast was not finite" in report(pipe).events[0]


def test_a_plan_for_another_length_is_not_used(pipe):
    full = draw(pipe, steps=10)
    accelerate(pipe, plan(12))
    assert torch.equal(draw(pipe, steps=10), full)
    assert report(pipe).events == ["step 0, stream cond: the plan is for 12 steps, the run has 10"]
    draw(pipe, steps=12)
    assert report(pipe).evaluations == 5


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_short_runs_are_evaluated_throughout(pipe, at, steps):
    full = draw(pipe, steps=steps)
    accelerate(pipe, evaluations=3, at=at)
    with pytest.warns(UserWarning, match=f"a run of {steps} steps has none to spare.*Take more steps"):
        assert torch.equal(draw(pipe, steps=steps), full)
    assert report(pipe).evaluations == steps
    assert "none to spare" in report(pipe).events[0]
    draw(pipe, steps=8)
    assert report(pipe).evaluations == 3


@pytest.mark.parametrize("steps", [1, 2])
def test_short_plans_are_followed(pipe, at, steps):
    full = draw(pipe, steps=steps)
    accelerate(pipe, plan(steps, [0]), at=at)
    result = draw(pipe, steps=steps)
    assert report(pipe).evaluated["cond"] == [0]
    assert torch.equal(result, full) == (steps == 1)


def test_half_precision(pipe, at):
    pipe.to(dtype=torch.bfloat16)
    accelerate(pipe, evaluations=14, at=at, **EVEN)
    image_ids, _ = digits.token_ids()
    positive = digits.embed([3])
    with torch.no_grad():
        latents = pipe(
            prompt_embeds=positive.prompt_embeds.bfloat16(),
            pooled_prompt_embeds=positive.pooled_prompt_embeds.bfloat16(),
            num_inference_steps=50,
            height=128,
            width=128,
            latents=digits.noise(1, seed=0).bfloat16(),
            output_type="latent",
        ).images
    assert latents.dtype == torch.bfloat16
    assert len(image_ids) == latents.shape[1]
    assert report(pipe).evaluated["cond"] == np.flatnonzero(schedules.even(50, 14)).tolist()
    assert not report(pipe).events


def test_reports(pipe):
    accelerate(pipe, evaluations=5, at="features")
    assert report(pipe).runs == 0
    draw(pipe)
    told = report(pipe)
    draw(pipe, steps=20)
    assert told.steps == 12, "a report does not change afterwards"
    lines = str(told).splitlines()
    assert lines[0] == "FluxTransformer2DModel: run 1, 5 of 12 steps evaluated"
    assert lines[1] == "  forecast        features, by Newton(order=1), guarded"
    assert lines[-1] == "  nothing unexpected"
    assert json.loads(json.dumps(told.as_dict()))["evaluations"] == 5


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "write exactly one of them"),
        ({"plan": plan(), "evaluations": 5}, ValueError, "write exactly one of them"),
        ({"plan": plan(), "schedule": schedules.even}, ValueError, "`schedule` goes with `evaluations`"),
        ({"evaluations": 5, "schedule": "even"}, ValueError, "`schedule` goes with `evaluations`"),
        ({"plan": [True]}, TypeError, "`plan` is list; write what `make_plan` returned"),
        ({"plan": plan(), "forecaster": RULE}, ValueError, "`forecaster` goes with `evaluations`"),
        ({"evaluations": 0}, ValueError, "`evaluations` is 0; write a whole number, 1 or more"),
        ({"evaluations": 2.5}, ValueError, "`evaluations` is 2.5"),
        ({"evaluations": 5, "at": "blocks"}, ValueError, '`at` is \'blocks\'; write "output" or "features"'),
        ({"evaluations": 5, "forecaster": "newton"}, TypeError, "`forecaster` is str, without a method"),
    ],
)
def test_bad_arguments(pipe, arguments, error, message):
    with pytest.raises(error, match=message):
        accelerate(pipe, **arguments)
    with pytest.raises(ValueError, match="is not accelerated; call `accelerate` first"):
        report(pipe)


def test_bad_models(pipe, network):
    with pytest.raises(TypeError, match="`model` is str; write a diffusers pipeline"):
        accelerate("flux", evaluations=5)
    with pytest.raises(ValueError, match="`evaluations` needs the length of a run; write `scheduler=`"):
        accelerate(network, evaluations=5)
    accelerate(pipe, evaluations=5)
    with pytest.raises(ValueError, match="is accelerated already; call `restore` first"):
        accelerate(network, plan())
    restore(pipe)
    with pytest.raises(ValueError, match="forward takes none of timestep"):
        accelerate(torch.nn.Linear(2, 2), plan())
    network.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    with pytest.raises(ValueError, match=r"caches enabled; call its `disable_cache\(\)`"):
        accelerate(pipe, evaluations=5)


def test_a_network_that_cannot_be_split_says_so():
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    ).eval()

    @torch.no_grad()
    def sample():
        x = torch.ones(1, 3, 8, 8)
        for time in range(11, -1, -1):
            x = x - 0.05 * unet(x, torch.tensor(time)).sample
        return x

    accelerate(unet, plan())
    expected = sample()
    restore(unet)
    accelerate(unet, plan(), at="features")
    with pytest.warns(UserWarning, match="UNet2DModel cannot be split.*; outputs are forecast instead of features"):
        assert torch.equal(sample(), expected)
    assert report(unet).at == "output"
    assert "cannot be split" in report(unet).events[0]
    assert torch.equal(sample(), expected)
    restore(unet)
    with pytest.raises(ValueError, match=r'`at`: Flat has no list of blocks to skip; write `at="output"`'):
        accelerate(Flat(), plan(), at="features")


class Flat(torch.nn.Module):
    """A network without lists of blocks."""

    def forward(self, sample, timestep):
        return sample * timestep


class Stack(torch.nn.Module):
    """A network with lists of blocks, each a stumbling block of its own."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.refiners = torch.nn.ModuleList(Pair() for _ in range(2))
        self.blocks = torch.nn.ModuleList(Pair() for _ in range(3))
        self.head = torch.nn.Linear(4, 4)

    def forward(self, sample, timestep, context):
        for block in self.refiners:
            context, _ = block(context, context)
        sizes = context.shape[1]
        joint = torch.cat([context, sample + timestep], dim=1)
        middle = joint
        for number, block in enumerate(self.blocks):
            joint, other = block(joint, temb=joint if self.kind == "both" else None)
            middle = joint if number == 1 else middle
        result = self.head(joint[:, sizes:])
        if self.kind == "both":
            result = result + other[:, sizes:]
        return result + middle[:, sizes:] if self.kind == "reads the middle" else result


class Pair(torch.nn.Module):
    """A block that takes two streams of tokens, or one, and returns as many."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)

    def forward(self, hidden, temb=None):
        result = hidden + torch.tanh(self.inner(hidden))
        return result, None if temb is None else result + torch.sin(temb)


@pytest.mark.parametrize(("kind", "kept"), [("one", 1), ("both", 2)])
def test_blocks_are_found_by_watching(kind, kept):
    torch.manual_seed(0)
    stack = Stack(kind).eval()
    counters = [Counter(block.inner) for block in (*stack.refiners, *stack.blocks)]

    @torch.no_grad()
    def sample():
        x, context = torch.ones(1, 6, 4), torch.full((1, 2, 4), 0.5)
        for time in range(11, -1, -1):
            x = x - 0.01 * stack(x, torch.tensor(time / 12), context)
        return x

    full = sample()
    accelerate(stack, plan(rule=spectrum(mode="free")), at="features")
    assert torch.allclose(sample(), full, rtol=0.05)
    assert [counter.calls for counter in counters] == [12 + 5] * 5
    assert report(stack).at == "features"
    assert report(stack).peak_bytes == 5 * kept * (8 * 4 * 4)


class Twofold(torch.nn.Module):
    """A network whose blocks take two streams of tokens in one argument, after others, or in two."""

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(4, 4)

        def forward(self, rope, streams, other=None):
            image, text = streams if other is None else (streams, other)
            return image + torch.tanh(self.inner(image)) * rope["scale"], text + image.mean()

    def __init__(self, nested):
        super().__init__()
        self.nested = nested
        self.blocks = torch.nn.ModuleList(Twofold.Block() for _ in range(4))

    def forward(self, sample, timestep):
        image, text, rope = sample + timestep, torch.cos(sample) + timestep, {"scale": timestep, "none": None}
        for block in self.blocks:
            image, text = block(rope, streams=(image, text)) if self.nested else block(rope, image, other=text)
        return image * 0.5 + text


@pytest.mark.parametrize("nested", [True, False])
@torch.no_grad()
def test_streams_are_handed_on_from_wherever_they_were_given(nested):
    """The inner blocks of skipped steps hand on what they are given; the last one's place takes the forecast."""
    torch.manual_seed(0)
    network, times = Twofold(nested).eval(), torch.linspace(1.0, 0.0, 12)
    full = torch.stack([network(torch.ones(1, 6, 4), time) for time in times])
    counter = Counter(network.blocks[0].inner)
    accelerate(network, plan(), at="features")
    results = torch.stack([network(torch.ones(1, 6, 4), time) for time in times])
    assert counter.calls == plan().evaluations
    assert report(network).at == "features"
    assert not report(network).events
    assert torch.allclose(results, full, rtol=0.05)


def test_a_skipped_block_does_not_go_through_the_arguments_after_those_that_it_hands_on(monkeypatch):
    """There are dozens of blocks, and what comes after the streams is nested: rotations, masks, settings."""
    module = importlib.import_module("spectral_forecast.adapters.diffusers._split")
    x, y, rotation = torch.ones(1, 6, 4), torch.zeros(1, 6, 4), torch.ones(3)
    rest = {"temb": rotation, "rotations": (rotation, rotation), "settings": {"scale": 1.0}}
    passage = module._passage((x,), rest, torch.full_like(x, 2.0))
    monkeypatch.delattr(module.pytree, "tree_leaves")
    assert passage((y,), rest) is y


class Writing(torch.nn.Module):
    """A block that writes into what it is given, and returns nothing."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)

    def forward(self, hidden):
        hidden += torch.tanh(self.inner(hidden))


class Stumbling(torch.nn.Module):
    """A network whose blocks are a small part of it, or return nothing, or are missed, or grow fewer with time."""

    def __init__(self, kind, switch=0.5):
        super().__init__()
        self.kind, self.switch, self.notes = kind, switch, []
        self.blocks = torch.nn.ModuleList(Writing() if kind == "writes" else Pair() for _ in range(3))
        self.head = torch.nn.Linear(4, 4)
        self.rest = torch.nn.Linear(100 if kind == "small blocks" else 1, 4)
        self.blocks[0].inner.register_forward_hook(lambda *call: self.notes.append(call[0]))

    def forward(self, sample, timestep):
        self.notes.clear()
        hidden = sample + timestep
        late = timestep < self.switch
        for block in self.blocks[: 2 if late and self.kind in ("shorter", "noted late") else 3]:
            result = block(hidden)
            hidden = hidden if result is None else result[0]
        if self.kind == "notes" or (late and self.kind == "noted late"):
            self.notes.pop()
        return self.head(hidden)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Stack("reads the middle"), "resumed from its last block, it gives another result"),
        (lambda: Stumbling("small blocks"), r"the blocks that could be skipped hold only \d+ % of its parameters"),
        (lambda: Stumbling("writes"), "its last block returns no tensor"),
        (lambda: Stumbling("notes"), "resumed from its last block, it raises IndexError: pop from empty list"),
    ],
)
def test_networks_that_are_not_split(make, why):
    torch.manual_seed(0)
    network = make().eval()
    given = [torch.ones(1, 6, 4), torch.tensor(1.0), torch.ones(1, 2, 4)]
    accelerate(network, plan(), at="features")
    with pytest.warns(UserWarning, match=rf"cannot be split \({why}\)"), torch.no_grad():
        network(*given[: 3 if isinstance(network, Stack) else 2])
    assert report(network).at == "output"


def test_no_process_splits_a_network_alone(monkeypatch):
    """What the largest of the processes' verdicts says: to another one of them resuming has raised."""
    module = importlib.import_module("spectral_forecast.adapters.diffusers._hook")
    monkeypatch.setattr(module, "largest", lambda *_, **__: 2.0)
    network = accelerate(Stumbling("none").eval(), plan(), at="features")
    with pytest.warns(UserWarning, match="another of its processes cannot be resumed"), torch.no_grad():
        network(torch.ones(1, 6, 4), torch.tensor(1.0))
    assert report(network).at == "output"


@torch.no_grad()
def test_a_network_that_grows_shorter_in_mid_run_is_evaluated_and_split_again():
    torch.manual_seed(0)
    network, times = Stumbling("shorter").eval(), torch.linspace(1.0, 0.0, 12)
    short = [network(torch.ones(1, 6, 4), time) for time in times]
    accelerate(network, plan(), at="features")
    results = [network(torch.ones(1, 6, 4), time) for time in times]
    told = report(network)
    (step,) = [int(event.split()[1].strip(",")) for event in told.events]
    assert told.events == [
        f"step {step}, stream call 0: restarted: its forecast was not finite, or did not fit the network"
    ]
    assert times[step] < 0.5 <= times[step - 1]
    assert told.evaluated["call 0"][-(12 - step) :] == list(range(step, 12))
    assert all(torch.allclose(x, y) for x, y in zip(results[step:], short[step:], strict=True))
    assert told.at == "features"


@torch.no_grad()
def test_a_network_that_gives_its_blocks_less_in_mid_run_is_evaluated():
    """What a skipped block hands on is not where it was: a forecast that does not fit the network."""

    class Saving(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = torch.nn.ModuleList(Last() for _ in range(3))

        def forward(self, sample, timestep):
            hidden = sample + timestep
            for block in self.blocks:
                hidden = block([0, hidden] if timestep > 0.5 else [hidden])
            return hidden

    class Last(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(4, 4)

        def forward(self, given):
            return given[-1] + torch.tanh(self.inner(given[-1]))

    torch.manual_seed(0)
    network, times = Saving().eval(), torch.linspace(1.0, 0.0, 12)
    accelerate(network, plan(), at="features")
    results = [network(torch.ones(1, 6, 4), time) for time in times]
    (event,) = report(network).events
    step = int(event.split()[1].strip(","))
    assert event.endswith("restarted: its forecast was not finite, or did not fit the network")
    assert times[step] <= 0.5 < times[step - 1]
    assert report(network).at == "features"
    restore(network)
    assert torch.equal(results[step], network(torch.ones(1, 6, 4), times[step]))


@torch.no_grad()
def test_a_network_that_cannot_be_split_any_more_goes_on_with_outputs():
    torch.manual_seed(0)
    times, change = torch.linspace(1.0, 0.0, 12), int(np.flatnonzero(plan().evaluate)[3])
    network = Stumbling("noted late", switch=(times[change - 1] + times[change]) / 2).eval()
    full = [network(torch.ones(1, 6, 4), time) for time in times]
    accelerate(network, plan(), at="features")
    with pytest.warns(UserWarning, match=r"cannot be split \(resumed from its last block, it raises IndexError"):
        results = [network(torch.ones(1, 6, 4), time) for time in times]
    told = report(network)
    assert told.at == "output"
    assert told.events[1:] == [f"step {change}, stream call 0: restarted: what is kept has changed"]
    assert all(torch.equal(x, y) for x, y in zip(results[change:], full[change:], strict=True))


@pytest.mark.parametrize("kind", ["output", "features"])
def test_two_transformers_take_turns(kind):
    """Wan 2.2: one network for high noise, one for low; each has features of its own."""
    torch.manual_seed(0)
    config = {
        "patch_size": (1, 2, 2),
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "in_channels": 4,
        "out_channels": 4,
        "text_dim": 8,
        "freq_dim": 16,
        "ffn_dim": 32,
        "num_layers": 2,
    }
    high, low = (WanTransformer3DModel(**config).eval() for _ in range(2))
    pipe = WanPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=None,
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
        transformer=high,
        transformer_2=low,
        boundary_ratio=0.8,
    )
    pipe.set_progress_bar_config(disable=True)

    def video(steps=20):
        embeds = torch.linspace(-1, 1, 24).reshape(1, 3, 8)
        return pipe(
            prompt_embeds=embeds,
            negative_prompt_embeds=-embeds,
            guidance_scale=3.0,
            num_inference_steps=steps,
            num_frames=5,
            height=32,
            width=32,
            output_type="latent",
            generator=torch.Generator().manual_seed(0),
        ).frames

    full = video()
    with pytest.raises(ValueError, match="`plan`: a pipeline with two transformers needs `evaluations`"):
        accelerate(pipe, plan())
    counters = [Counter(network.blocks[0].attn1.to_q) for network in (high, low)]
    accelerate(pipe, evaluations=8, at=kind)
    first = video()
    assert torch.allclose(first, full, rtol=0.2, atol=0.2)
    assert not torch.equal(first, full)
    told = report(pipe)
    assert list(told.evaluated) == [
        "transformer cond",
        "transformer uncond",
        "transformer_2 cond",
        "transformer_2 uncond",
    ]
    switch = told.evaluated["transformer_2 cond"][0]
    steps = sorted(told.evaluated["transformer cond"] + told.forecast["transformer cond"])
    assert steps == list(range(switch))
    assert told.evaluated["transformer_2 cond"][:3] == [switch, switch + 1, switch + 2]
    assert max(told.forecast["transformer_2 cond"] + told.evaluated["transformer_2 cond"]) == 19
    assert [counter.calls for counter in counters] == [
        2 * len(told.evaluated[name]) for name in ("transformer cond", "transformer_2 cond")
    ]
    assert torch.equal(video(), first)
    restore(pipe)
    assert torch.equal(video(), full)
