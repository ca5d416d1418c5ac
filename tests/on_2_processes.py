"""A program for `test_diffusers_parallel`: a network's tokens shared out to two processes; prints findings as JSON."""

import json
import os
import sys
import warnings

import numpy as np
import torch
from diffusers import ContextParallelConfig, FluxTransformer2DModel, WanTransformer3DModel
from latents import drawn

from spectral_forecast import Newton, make_plan, schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, record, report, restore
from spectral_forecast.benchmarks import digits

STEPS = 12
EVALUATED = [0, 1, 2, 5, 9]
PLAN = make_plan(spectrum(0.5, mode="free"), np.arange(STEPS), schedules.mask(STEPS, EVALUATED), span=(0, STEPS))


class Flux:
    """The digits' pipeline, with two heads and two text tokens to share out."""

    def __init__(self):
        torch.manual_seed(0)
        sizes = {"num_layers": 1, "num_single_layers": 2, "num_attention_heads": 2}
        self.network = FluxTransformer2DModel(**digits.CONFIG | sizes).eval()
        self.model = digits.pipeline(self.network)

    @torch.no_grad()
    def run(self):
        return drawn(self.model, STEPS, tokens=2)


class Wan:
    """A network that is called in a loop of one's own; its first block shares the tokens out."""

    def __init__(self):
        torch.manual_seed(0)
        sizes = {"num_attention_heads": 2, "attention_head_dim": 12, "text_dim": 8, "freq_dim": 16, "ffn_dim": 32}
        self.network = self.model = WanTransformer3DModel(in_channels=4, out_channels=4, num_layers=2, **sizes).eval()

    @torch.no_grad()
    def run(self):
        sample, text = torch.linspace(-1, 1, 512).reshape(1, 4, 2, 8, 8), torch.linspace(-1, 1, 24).reshape(1, 3, 8)
        for time in range(STEPS, 0, -1):
            sample = sample - 0.1 * self.network(sample, torch.tensor([80 * time]), text, return_dict=False)[0]
        return sample


def share_out(network):
    """Give every process half of the tokens; before the attention they exchange them for half of the heads."""
    # diffusers numbers the devices of accelerators; processors have no numbers.
    torch.accelerator.device_count = lambda: 1
    network.set_attention_backend("native")
    network.enable_parallelism(config=ContextParallelConfig(ulysses_degree=2))


def compare(make, at, *, first):
    """How far are results on two processes from those on one?"""
    alone = make()
    full = alone.run()
    accelerate(alone.model, PLAN, at=at)
    expected = alone.run()
    both = make()
    steps = [lambda: accelerate(both.model, PLAN, at=at), lambda: share_out(both.network)]
    for step in steps if first == "accelerated" else steps[::-1]:
        step()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        errors = [float((both.run() - expected).abs().max()) for _ in range(2)]
    told = report(both.model)
    restore(both.model)
    return {
        "errors": errors,
        "evaluated": list(told.evaluated.values()),
        "at": told.at,
        "bytes": [told.peak_bytes, report(alone.model).peak_bytes],
        "warnings": [str(one.message) for one in caught if "forecast" in str(one.message)],
        "restored": float((both.run() - full).abs().max()),
        "effect": float((expected - full).abs().max()),
    }


def disagree(rank, at):
    """A forecast, and an evaluation's feature, that are not finite for one process's tokens."""
    found = {}
    for kind in ("forecast", "evaluation"):
        flux = Flux()
        share_out(flux.network)
        calls = []

        def spoil(_module, _inputs, output, calls=calls):
            calls.append(None)
            return torch.nan * output if len(calls) == 2 and rank == 1 else None

        # In the last block, after which the processes hear no more of each other's tokens.
        block, rule = flux.network.single_transformer_blocks[-1].proj_out, Newton(1)
        if kind == "evaluation":
            block.register_forward_hook(spoil)
        else:
            rule = 1e37 * Newton(1) - 1e37 * Newton(0)  # too large for the dtype of features that are large themselves
            large = flux.network.proj_out if at == "output" else block  # outputs are whole in every process
            if rank == 1 or at == "output":
                large.register_forward_hook(lambda _module, _inputs, output: 1e4 * output)
        accelerate(flux.model, evaluations=5, forecaster=rule, at=at)
        flux.run()
        found[kind] = {"evaluated": report(flux.model).evaluated["cond"], "events": report(flux.model).events}
    return found


def gated(rank, at):
    """Steps chosen on the way, alone, by two, and by two of which one sees errors three times as large."""
    evaluated = []
    for kind in ("alone", "both", "one sees more"):
        flux = Flux()
        if kind != "alone":
            share_out(flux.network)
        accelerate(flux.model, tolerance=0.05, at=at)
        session = flux.network._diffusers_hook.get_hook("spectral_forecast").session
        if kind == "one sees more" and rank == 1:
            agreed = session.agreed
            session.agreed = lambda value, agreed=agreed: agreed(3.0 * value)
        flux.run()
        evaluated.append(report(flux.model).evaluated["cond"])
    return evaluated


def recorded(at):
    """Matrices of features of which every process has half, and of outputs, which each has whole."""
    flux = Flux()
    grams = []
    for change in (lambda: None, lambda: share_out(flux.network)):
        change()
        with record(flux.model, at=at) as recorder:
            flux.run()
        grams.append(recorder.profile().gram)
    alone, both = grams
    return {"matrix": both.tolist(), "error": float(abs(both / both.max() - alone / alone.max()).max())}


def main(rank, rendezvous):
    """Meet the other process, and compare."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    found = {
        f"{make.__name__} {at}, {first} first": compare(make, at, first=first)
        for make in (Flux, Wan)
        for at in ("output", "features")
        for first in ("accelerated", "shared out")
    }
    found["disagreement"] = {at: disagree(rank, at) for at in ("output", "features")}
    found["gated"] = {at: gated(rank, at) for at in ("output", "features")}
    found["recorded"] = {at: recorded(at) for at in ("output", "features")}
    print(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), os.path.abspath(sys.argv[3]))
