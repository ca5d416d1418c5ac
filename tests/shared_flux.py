"""The digits' pipeline on several processes, small; and what its runs tell."""

from collections import Counter

import numpy as np
import torch
from collectives import Collectives
from diffusers import ContextParallelConfig, FluxTransformer2DModel, TensorParallelConfig
from diffusers.hooks import tensor_parallel
from latents import drawn

from spectral_forecast import make_plan, schedules, spectrum
from spectral_forecast.adapters.diffusers import report
from spectral_forecast.benchmarks import digits

STEPS = 12
EVALUATED = [0, 1, 2, 5, 9]
PLAN = make_plan(spectrum(0.5, mode="free"), np.arange(STEPS), schedules.mask(STEPS, EVALUATED), span=(0, STEPS))

# diffusers numbers the devices of accelerators, which processors have none of, and asks for one.
torch.accelerator.device_count = lambda: 1
tensor_parallel._SUPPORTED_TP_DEVICES += ("cpu",)


class Flux:
    """The pipeline with a head and a text token for each of ``heads`` processes."""

    def __init__(self, heads, share=None):
        torch.manual_seed(0)
        sizes = {"num_layers": 1, "num_single_layers": 2, "num_attention_heads": heads}
        self.heads = heads
        self.network = FluxTransformer2DModel(**digits.CONFIG | sizes).eval()
        self.model = digits.pipeline(self.network)
        self.said = []
        if share is not None:
            share(self.network)

    @torch.no_grad()
    def run(self, callback=None):
        """Sample; the collectives of each step are in ``said``."""
        self.said = []
        with Collectives() as collectives:

            def ended(pipe, step, time, kept):
                self.said.append(collectives.taken())
                return kept if callback is None else callback(pipe, step, time, kept)

            return drawn(self.model, STEPS, tokens=self.heads, callback_on_step_end=ended)

    @property
    def session(self):
        """The adapter's own state."""
        return self.network._diffusers_hook.get_hook("spectral_forecast").session


def by_tokens(world):
    """Give every process a part of the tokens; before the attention they exchange them for a part of the heads."""

    def share(network):
        network.set_attention_backend("native")
        network.enable_parallelism(config=ContextParallelConfig(ulysses_degree=world))

    return share


def by_weights(world):
    """Give every process a part of the weights, by diffusers' own plan for this network."""
    return lambda network: network.enable_parallelism(config=TensorParallelConfig(tp_degree=world))


def told(flux):
    """What a run's report says, as far as it must be the same in all processes."""
    found = report(flux.model).as_dict()
    return {name: found[name] for name in ("evaluated", "forecast", "restarts", "events", "at", "peak_bytes")}


def talk(flux, plain):
    """What a run's steps say more than a plain step: of evaluations, of forecasts, and a forecast's own."""
    evaluated, usual = report(flux.model).evaluated["cond"], Counter(plain)
    more = [sorted((Counter(said) - usual).elements()) for said in flux.said]
    forecasts = [step for step in range(STEPS) if step not in evaluated]
    return {
        "evaluations": [more[step] for step in evaluated],
        "forecasts": [more[step] for step in forecasts],
        "head": [sorted((Counter(flux.said[step]) & usual).elements()) for step in forecasts],
    }
