"""Does an accelerated FLUX pipeline live with the rest of diffusers: adapters, ControlNets, offloading, casting?

Compiled networks are in `test_diffusers_compile`, parallel ones in `test_diffusers_parallel`.
"""

import itertools

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from diffusers import (
    AutoencoderKL,
    FirstBlockCacheConfig,
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxTransformer2DModel,
    PyramidAttentionBroadcastConfig,
    WanTransformer3DModel,
)
from latents import drawn
from optimum import quanto
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from spectral_forecast import make_plan, schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.benchmarks import digits

STEPS = 12
EVALUATED = [0, 1, 2, 5, 9]
PLAN = make_plan(spectrum(0.5, mode="free"), np.arange(STEPS), schedules.mask(STEPS, EVALUATED), span=(0, STEPS))
TINY = {**digits.CONFIG, "num_layers": 1, "num_single_layers": 2, "num_attention_heads": 1}


def transformer():
    torch.manual_seed(0)
    return FluxTransformer2DModel(**TINY).eval()


@pytest.fixture
def network():
    return transformer()


@pytest.fixture
def pipe(network):
    return digits.pipeline(network)


@pytest.fixture(params=["output", "features"])
def at(request):
    return request.param


@pytest.fixture(params=["accelerated first", "accelerated last"])
def order(request):
    """Do two things to a pipeline, in both orders."""

    def both(accelerated, other):
        for do in (accelerated, other) if request.param == "accelerated first" else (other, accelerated):
            do()

    return both


@torch.no_grad()
def draw(pipe, **options):
    return drawn(pipe, STEPS, **options)


def by_hand(pipe, at, **options):
    """The same run without the adapter: every step is evaluated, and a forecast put in place of what came out.

    At features that is the image tokens from the last block, to which a ControlNet's residual is still to be added.
    """
    run, steps = PLAN.start(), itertools.count()
    module = pipe.transformer if at == "output" else pipe.transformer.single_transformer_blocks[-1]

    def replace(_module, _inputs, outputs):
        step, feature = next(steps), outputs[-1]
        if run.evaluates(step):
            run.keep(step, feature)
            return None
        return (*outputs[:-1], run.forecast(step))

    handle = module.register_forward_hook(replace)
    try:
        return draw(pipe, **options)
    finally:
        handle.remove()


def follows_the_plan(pipe, runs=1):
    """Assert that the newest run is as planned."""
    told = report(pipe)
    assert told.runs == runs
    assert list(told.evaluated.values()) == [EVALUATED]
    assert not told.events


def attributes(network):
    return {name: {key for key in vars(module) if key != "_diffusers_hook"} for name, module in network.named_modules()}


def lora(seed):
    """A rank-2 adapter of every attention, as a file would hold it."""
    donor = transformer()
    donor.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    torch.manual_seed(seed)
    return {f"transformer.{name}": torch.randn_like(x) / 2 for name, x in get_peft_model_state_dict(donor).items()}


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")  # the second adapter
def test_lora(pipe, at, order):
    """An adapter that is loaded, exchanged, fused and unloaded, before and after the pipeline is accelerated."""
    plain = draw(pipe)
    order(lambda: accelerate(pipe, PLAN, at=at), lambda: pipe.load_lora_weights(lora(1), adapter_name="one"))
    pipe.load_lora_weights(lora(2), adapter_name="two")
    results = {}
    for name in ("one", "two"):
        pipe.set_adapters([name], [0.7])
        results[name] = draw(pipe)
        follows_the_plan(pipe, runs=len(results))
    pipe.fuse_lora(adapter_names=["two"])
    fused = draw(pipe)
    pipe.unfuse_lora()
    restore(pipe)
    for name in ("one", "two"):
        pipe.set_adapters([name], [0.7])
        assert torch.allclose(results[name], by_hand(pipe, at), atol=1e-5)
    assert not torch.allclose(results["one"], results["two"], atol=0.01)
    pipe.fuse_lora(adapter_names=["two"])
    assert torch.allclose(fused, by_hand(pipe, at), atol=1e-5)
    pipe.unfuse_lora()
    pipe.unload_lora_weights()
    assert torch.allclose(draw(pipe), plain, atol=1e-5)
    assert "peft" not in str(type(pipe.transformer.transformer_blocks[0].attn.to_q))


def test_lora_with_every_step_evaluated(pipe, at):
    pipe.load_lora_weights(lora(1), adapter_name="one")
    full, before = draw(pipe), attributes(pipe.transformer)
    accelerate(pipe, evaluations=STEPS, at=at)
    assert torch.equal(draw(pipe), full)
    restore(pipe)
    assert attributes(pipe.transformer) == before
    assert torch.equal(draw(pipe), full)


def test_lora_is_unloaded_while_accelerated(pipe, at):
    accelerate(pipe, PLAN, at=at)
    expected = draw(pipe)
    pipe.load_lora_weights(lora(1), adapter_name="one")
    assert not torch.allclose(draw(pipe), expected, atol=0.01)
    pipe.unload_lora_weights()
    assert torch.equal(draw(pipe), expected)


def load_ip_adapter(network):
    """FLUX's IP-Adapter, with random weights: attention to four more tokens in every block of the first list."""
    generator, width = torch.Generator().manual_seed(1), network.inner_dim

    def random(*shape):
        return torch.randn(shape, generator=generator)

    parts = [(name, part) for name in ("to_k_ip", "to_v_ip") for part in ("weight", "bias")]
    attention = {f"0.{name}.{part}": random(width, 11) if part == "weight" else random(width) for name, part in parts}
    norm = {"norm.weight": torch.ones(11), "norm.bias": torch.zeros(11)}
    projection = {"proj.weight": random(4 * 11, 6), "proj.bias": random(4 * 11), **norm}
    network._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": attention}])


def test_ip_adapter(pipe, at, order):
    plain = draw(pipe)
    order(lambda: accelerate(pipe, PLAN, at=at), lambda: load_ip_adapter(pipe.transformer))

    def shown(value):
        image = {"ip_adapter_image_embeds": [torch.full((2, 1, 6), value)]}
        return {**image, "negative_ip_adapter_image_embeds": [torch.zeros(2, 1, 6)]}

    results = [draw(pipe, **shown(value)) for value in (0.2, 0.9)]
    follows_the_plan(pipe, runs=2)
    restore(pipe)
    for result, value in zip(results, (0.2, 0.9), strict=True):
        assert torch.allclose(result, by_hand(pipe, at, **shown(value)), atol=1e-5)
    assert not torch.allclose(*results, atol=0.01)
    full = draw(pipe, **shown(0.2))
    assert not torch.allclose(full, plain, atol=0.01)
    accelerate(pipe, evaluations=STEPS, at=at)
    assert torch.equal(draw(pipe, **shown(0.2)), full)


@pytest.fixture
def controlled(network):
    """A pipeline with a ControlNet, which is called at every step; it gives a residual for every block."""
    torch.manual_seed(1)
    config = {**TINY, "patch_size": 2, "num_single_layers": 1, "conditioning_embedding_channels": 1}
    control = FluxControlNetModel(**config).eval()
    # A ControlNet begins with zeros, so that it does nothing.
    ends = [*control.controlnet_blocks, *control.controlnet_single_blocks, control.controlnet_x_embedder]
    for layer in (*ends, *control.input_hint_block.modules()):
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    image = AutoencoderKL(
        block_out_channels=(2,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=1,
        latent_channels=1,
    )
    pipe = FluxControlNetPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=digits.SHIFT),
        transformer=network,
        controlnet=control,
        vae=image,
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning")  # diffusers' own ControlNet uses it
def test_controlnet(controlled, at):
    image = torch.linspace(0, 1, 3 * 128 * 128).reshape(1, 3, 128, 128)
    full = draw(controlled, control_image=image)
    assert not torch.allclose(full, draw(controlled, control_image=image, controlnet_conditioning_scale=0.0), atol=0.01)
    expected = by_hand(controlled, at, control_image=image)
    accelerate(controlled, PLAN, at=at)
    assert torch.allclose(draw(controlled, control_image=image), expected, atol=1e-5)
    follows_the_plan(controlled)
    restore(controlled)
    accelerate(controlled, evaluations=STEPS, at=at)
    assert torch.equal(draw(controlled, control_image=image), full)


def offload_in_turn(pipe, _folder):
    """`enable_model_cpu_offload`: after every run it takes its hooks off and puts them on again."""
    pipe.enable_model_cpu_offload(device="cpu")


def offload_every_layer(pipe, _folder):
    """What `enable_sequential_cpu_offload` does: weights are on "meta" but while their layer runs."""
    cpu_offload(pipe.transformer, torch.device("cpu"))


def offload_groups_of_blocks(pipe, _folder):
    cpu = torch.device("cpu")
    pipe.transformer.enable_group_offload(cpu, cpu, "block_level", num_blocks_per_group=1)


def offload_groups_of_blocks_to_disk(pipe, folder):
    cpu, options = torch.device("cpu"), {"num_blocks_per_group": 1, "offload_to_disk_path": str(folder)}
    pipe.transformer.enable_group_offload(cpu, cpu, "block_level", **options)


def offload_groups_of_layers(pipe, _folder):
    pipe.transformer.enable_group_offload(torch.device("cpu"), torch.device("cpu"), "leaf_level")


OFFLOADING = [
    offload_in_turn,
    offload_every_layer,
    offload_groups_of_blocks,
    offload_groups_of_blocks_to_disk,
    offload_groups_of_layers,
]


@pytest.mark.parametrize("offload", OFFLOADING, ids=lambda function: function.__name__)
def test_offloading(pipe, at, order, offload, tmp_path):
    """Between two equal devices: what is tried is how the hooks stand, run after run, and when they go."""
    full, expected = draw(pipe), by_hand(pipe, at)
    order(lambda: accelerate(pipe, PLAN, at=at), lambda: offload(pipe, tmp_path))
    for run in (1, 2):
        assert torch.allclose(draw(pipe), expected, atol=1e-6)
        follows_the_plan(pipe, runs=run)
    assert restore(pipe) is pipe
    for _ in range(2):
        assert torch.equal(draw(pipe), full)
    if offload is offload_every_layer:
        assert pipe.transformer.x_embedder.weight.is_meta, "its weights are still offloaded"


@pytest.mark.parametrize("offload", OFFLOADING[:2], ids=lambda function: function.__name__)
def test_offloading_that_is_taken_off_leaves_the_forecasts(pipe, at, order, offload, tmp_path):
    expected = by_hand(pipe, at)
    order(lambda: accelerate(pipe, PLAN, at=at), lambda: offload(pipe, tmp_path))
    pipe.remove_all_hooks()
    assert torch.allclose(draw(pipe), expected, atol=1e-6)
    follows_the_plan(pipe)
    restore(pipe)
    assert "_old_forward" not in vars(pipe.transformer)
    assert pipe.transformer.forward.__func__ is FluxTransformer2DModel.forward


def test_offloading_that_is_put_on_again_is_called(pipe):
    """The hooks of accelerate are called at every step, before and after `restore`."""
    calls = []

    def counted(hook, plain):
        def pre_forward(*args, **kwargs):
            calls.append(None)
            return plain(*args, **kwargs)

        hook.pre_forward = pre_forward

    accelerate(pipe, PLAN)
    cpu_offload(pipe.transformer, torch.device("cpu"))
    hook = pipe.transformer._hf_hook
    counted(hook, hook.pre_forward)
    draw(pipe)
    assert len(calls) == STEPS
    restore(pipe)
    draw(pipe)
    assert len(calls) == 2 * STEPS


@pytest.mark.skipif(not torch.cuda.is_available(), reason="moves weights between two devices")
@pytest.mark.parametrize("kind", ["model", "sequential", "group", "group with a stream"])
def test_offloading_from_a_gpu(pipe, at, order, kind):
    expected = by_hand(pipe, at)

    def offload():
        if kind == "model":
            pipe.enable_model_cpu_offload()
        elif kind == "sequential":
            pipe.enable_sequential_cpu_offload()
        else:
            options = {"offload_type": "block_level", "num_blocks_per_group": 1, "use_stream": "stream" in kind}
            pipe.enable_group_offload(torch.device("cuda"), **options)

    order(lambda: accelerate(pipe, PLAN, at=at), offload)
    for run in (1, 2):
        assert torch.allclose(draw(pipe).cpu(), expected, atol=1e-4)
        follows_the_plan(pipe, runs=run)


@pytest.mark.parametrize("storage", [torch.float16, torch.float8_e4m3fn], ids=str)
def test_layerwise_casting(pipe, at, order, storage):
    order(
        lambda: accelerate(pipe, PLAN, at=at),
        lambda: pipe.transformer.enable_layerwise_casting(storage, torch.float32),
    )
    result = draw(pipe)
    follows_the_plan(pipe)
    assert pipe.transformer.transformer_blocks[0].attn.to_q.weight.dtype == storage
    restore(pipe)
    assert torch.allclose(result, by_hand(pipe, at), atol=1e-5)
    full = draw(pipe)
    accelerate(pipe, evaluations=STEPS, at=at)
    assert torch.equal(draw(pipe), full)


def test_quantised_layers(pipe, at, order):
    plain = draw(pipe)

    def quantise():
        quanto.quantize(pipe.transformer, weights=quanto.qint8)
        quanto.freeze(pipe.transformer)

    order(lambda: accelerate(pipe, PLAN, at=at), quantise)
    result = draw(pipe)
    follows_the_plan(pipe)
    assert isinstance(pipe.transformer.transformer_blocks[0].attn.to_q, quanto.nn.QLinear)
    restore(pipe)
    assert torch.allclose(result, by_hand(pipe, at), atol=1e-5)
    full = draw(pipe)
    assert not torch.equal(full, plain)
    accelerate(pipe, evaluations=STEPS, at=at)
    assert torch.equal(draw(pipe), full)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients(network, at, checkpointing):
    """Evaluated steps have the plain network's gradients; what is kept of them has none."""
    if checkpointing:
        network.enable_gradient_checkpointing()
    condition, (image_ids, text_ids) = digits.embed([3, 8]), digits.token_ids()

    def step(time):
        network.zero_grad()
        sample = digits.noise(2, seed=0).requires_grad_()
        result = network(
            hidden_states=sample,
            timestep=torch.full((2,), time / STEPS),
            encoder_hidden_states=condition.prompt_embeds,
            pooled_projections=condition.pooled_prompt_embeds,
            img_ids=image_ids,
            txt_ids=text_ids,
            return_dict=False,
        )[0]
        if result.requires_grad:
            result.square().sum().backward()
        inner = network.single_transformer_blocks[0].proj_mlp.weight.grad
        return result.detach(), sample.grad, inner, network.proj_out.weight.grad

    times = range(STEPS, 0, -1)
    plain = [step(time) for time in times]
    accelerate(network, PLAN, at=at)
    for number, time in enumerate(times):
        result, sample, inner, head = step(time)
        if number in EVALUATED:
            for found, expected in zip((result, sample, inner, head), plain[number], strict=True):
                assert torch.equal(found, expected)
        else:
            assert sample is None
            assert inner is None
            assert (head is not None) == (at == "features"), "the head is evaluated at every step"
    assert report(network).evaluated == {"call 0": EVALUATED}


class Buffered(torch.nn.Module):
    """Blocks and a head that write into the same memory at every call, as CUDA graphs do."""

    def __init__(self, *, reads_the_middle=False):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = torch.nn.ModuleList(Layer() for _ in range(3))
        self.head = Layer()
        self.reads_the_middle = reads_the_middle

    def forward(self, sample, timestep):
        hidden = sample + timestep
        middle = []
        for block in self.blocks:
            hidden = block(hidden)
            middle.append(hidden.clone())
        return (self.head(hidden + middle[1] if self.reads_the_middle else hidden),)


class Layer(torch.nn.Module):
    """A layer with one buffer for all its results."""

    shared = True

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)
        self.result = torch.empty(2, 3, 4)

    def forward(self, hidden):
        result = torch.tanh(self.inner(hidden))
        return self.result.copy_(result) if Layer.shared else result


@torch.no_grad()
def descend(network):
    """A loop that uses a result at once, and spoils it then."""
    sample = torch.linspace(-1, 1, 24).reshape(2, 3, 4)
    for time in range(STEPS, 0, -1):
        result = network(sample, torch.tensor(time / STEPS))[0]
        sample = sample + 0.1 * result
        result.fill_(torch.nan)
        for layer in (*network.blocks, network.head):
            layer.result.fill_(torch.nan)
    return sample


def test_buffers_that_are_written_again(monkeypatch, at):
    buffered = descend(accelerate(Buffered(), PLAN, at=at))
    monkeypatch.setattr(Layer, "shared", False)
    assert torch.equal(buffered, descend(accelerate(Buffered(), PLAN, at=at)))


def test_a_split_is_not_proven_by_a_buffer_that_the_proof_writes():
    """Resuming gives another result, but into the memory that the first result is in."""
    network = accelerate(Buffered(reads_the_middle=True), PLAN, at="features")
    with pytest.warns(UserWarning, match="resumed from its last block, it gives another result"):
        spoiled = descend(network)
    assert report(network).at == "output"
    assert torch.equal(spoiled, descend(accelerate(Buffered(reads_the_middle=True), PLAN)))


@pytest.mark.parametrize(
    "config", [FirstBlockCacheConfig(0.1), PyramidAttentionBroadcastConfig(2, current_timestep_callback=lambda: 500)]
)
def test_a_cache_of_diffusers_is_refused_afterwards(pipe, network, at, config):
    before = attributes(network)
    accelerate(pipe, PLAN, at=at)
    expected = draw(pipe)
    with pytest.raises(ValueError, match=r"already been enabled with .*spectral_forecast"):
        network.enable_cache(config)
    assert torch.equal(draw(pipe), expected)
    with pytest.raises(ValueError, match=r"Cache config .*spectral_forecast.* is not supported"):
        network.disable_cache()
    restore(pipe)
    assert attributes(network) == before
    assert not network.is_cache_enabled
    network.enable_cache(config)
    restore(pipe)  # takes nothing that is not its own
    assert network.is_cache_enabled
    network.disable_cache()
    restore(accelerate(pipe, PLAN, at=at))


def test_wan_with_blocks_that_hold_parameters_of_their_own(at, order):
    """Offloading puts hooks on such blocks, too."""
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 1, "attention_head_dim": 12, "text_dim": 8, "freq_dim": 16, "ffn_dim": 32}
    network = WanTransformer3DModel(in_channels=4, out_channels=4, num_layers=2, **sizes).eval()

    @torch.no_grad()
    def sample():
        x, text = torch.ones(1, 4, 1, 4, 4), torch.linspace(-1, 1, 24).reshape(1, 3, 8)
        for time in range(STEPS, 0, -1):
            x = x - 0.1 * network(x, torch.tensor([80 * time]), text, return_dict=False)[0]
        return x

    full = sample()
    accelerate(network, PLAN, at=at)
    expected = sample()
    restore(network)
    order(lambda: accelerate(network, PLAN, at=at), lambda: cpu_offload(network, torch.device("cpu")))
    assert torch.equal(sample(), expected)
    assert report(network).at == at
    restore(network)
    assert torch.equal(sample(), full)
    assert network.blocks[0].scale_shift_table.is_meta
