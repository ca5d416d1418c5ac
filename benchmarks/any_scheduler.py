"""The digits model behind every scheduler of diffusers: one sampling loop, and one change of what the network predicts.

The network predicts the velocity ``v = e - x`` of the straight path ``(1 - s) x + s e`` from a digit ``x`` to noise
``e``. A point ``a x + b e`` of any other path lies on the straight one after division by ``a + b``, at
``s = b / (a + b)``, so that the same network also predicts the noise there: ``e = z + (1 - s) v`` for
``z = (a x + b e) / (a + b)``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import numpy as np
import torch

from spectral_forecast.benchmarks import digits

__all__ = ["SCHEDULERS", "Kind", "NoisePredictor", "draw", "network_for"]

FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": digits.SHIFT}


@dataclass(frozen=True)
class Kind:
    """A scheduler of diffusers as the digits are drawn with it.

    Attributes
    ----------
    make : callable
        Returns a new scheduler.
    predicts : str
        What its network predicts: "velocity", "noise", or "scm": the velocity, turned as by Sana-Sprint's pipeline.
    set_up : callable
        From a number of steps to the arguments of ``set_timesteps``.
    step : dict
        Further arguments of ``step``.
    calls : callable
        From a number of steps to how often the network is called.
    """

    make: Callable[[], Any]
    predicts: str = "noise"
    set_up: Callable[[int], dict[str, Any]] = lambda steps: {"num_inference_steps": steps}
    step: dict[str, Any] = field(default_factory=dict)
    calls: Callable[[int], int] = lambda steps: steps

    def steps_for(self, calls: int) -> int:
        """Return the largest number of steps that calls the network at most ``calls`` times."""
        return max(steps for steps in range(1, calls + 1) if self.calls(steps) <= calls)


def _sigmas(steps: int) -> dict[str, Any]:
    return {"sigmas": np.linspace(1.0, 1.0 / steps, steps)}


def _two_stages(steps: int) -> int:
    return 2 * steps - 1


def _flow(kind: str, **options: Any) -> Kind:
    return Kind(lambda: getattr(diffusers, kind)(**options), "velocity")


def _noise(kind: str, **options: Any) -> Kind:
    """A scheduler with the noise levels of Stable Diffusion."""
    levels = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return Kind(lambda: getattr(diffusers, kind)(**levels, **options))


def _but(kind: Kind, **changes: Any) -> Kind:
    return Kind(**{**kind.__dict__, **changes})


SCHEDULERS: dict[str, Kind] = {
    "FlowMatchEuler": _but(_flow("FlowMatchEulerDiscreteScheduler", shift=digits.SHIFT), set_up=_sigmas),
    "FlowMatchEuler, stochastic_sampling": _but(
        _flow("FlowMatchEulerDiscreteScheduler", shift=digits.SHIFT, stochastic_sampling=True), set_up=_sigmas
    ),
    "FlowMatchHeun": _but(_flow("FlowMatchHeunDiscreteScheduler", shift=digits.SHIFT), calls=_two_stages),
    "FlowMatchLCM": _but(_flow("FlowMatchLCMScheduler", shift=digits.SHIFT), set_up=_sigmas),
    "UniPC, flow": _flow("UniPCMultistepScheduler", **FLOW),
    "DPM++ 2M, flow": _flow("DPMSolverMultistepScheduler", **FLOW),
    "DPM++ 2M SDE, flow": _flow("DPMSolverMultistepScheduler", algorithm_type="sde-dpmsolver++", **FLOW),
    "DEIS, flow": _flow("DEISMultistepScheduler", **FLOW),
    "DDIM, eta = 0": _noise("DDIMScheduler", clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    "DDIM, eta = 1": _but(
        _noise("DDIMScheduler", clip_sample=False, set_alpha_to_one=False, steps_offset=1), step={"eta": 1.0}
    ),
    "DDPM": _noise("DDPMScheduler", clip_sample=False),
    "Euler": _noise("EulerDiscreteScheduler"),
    "EulerAncestral": _noise("EulerAncestralDiscreteScheduler"),
    "Heun": _but(_noise("HeunDiscreteScheduler"), calls=_two_stages),
    "KDPM2": _but(_noise("KDPM2DiscreteScheduler"), calls=_two_stages),
    "KDPM2Ancestral": _but(_noise("KDPM2AncestralDiscreteScheduler"), calls=_two_stages),
    "LMS": _noise("LMSDiscreteScheduler"),
    "PNDM": _but(_noise("PNDMScheduler", skip_prk_steps=True, steps_offset=1), calls=lambda steps: steps + 1),
    "UniPC": _noise("UniPCMultistepScheduler"),
    "DPM++ 2M": _noise("DPMSolverMultistepScheduler"),
    "DPM++ 2M SDE": _noise("DPMSolverMultistepScheduler", algorithm_type="sde-dpmsolver++"),
    "DPM++ 2S": _noise("DPMSolverSinglestepScheduler", lower_order_final=True),
    "DPM++ SDE": _but(_noise("DPMSolverSDEScheduler", noise_sampler_seed=0), calls=_two_stages),
    "SA-Solver": _noise("SASolverScheduler"),
    "DEIS": _noise("DEISMultistepScheduler"),
    "LCM": _noise("LCMScheduler"),
    "TCD": _but(_noise("TCDScheduler"), step={"eta": 0.3}),
    "SCM": Kind(
        lambda: diffusers.SCMScheduler(prediction_type="trigflow"),
        "scm",
        lambda steps: {"num_inference_steps": steps, "intermediate_timesteps": None},
    ),
}


class NoisePredictor(torch.nn.Module):
    """The digits network as one that predicts the noise at a point ``a x + b e`` with ``a² + b² = 1``.

    Parameters
    ----------
    velocity : FluxTransformer2DModel
        The network of the straight path.
    scheduler : SchedulerMixin
        Whose ``alphas_cumprod``, the ``a²`` of every timestep, are the noise levels.
    """

    def __init__(self, velocity: torch.nn.Module, scheduler: Any) -> None:
        super().__init__()
        self.velocity = velocity
        self.levels = scheduler.alphas_cumprod.double().numpy(force=True)

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Return the noise in ``sample`` (n, 64, 4)."""
        # Between two timesteps the logarithm of b / a is a line, as in diffusers' own schedulers.
        ratios = 0.5 * np.log((1.0 - self.levels) / self.levels)
        ratio = np.exp(np.interp(float(timestep), np.arange(len(ratios)), ratios))
        a, s = 1.0 / np.hypot(1.0, ratio), ratio / (1.0 + ratio)
        straight = sample / (a * (1.0 + ratio))
        return straight + (1.0 - s) * _velocity(self.velocity, straight, torch.tensor(s), classes)


def _velocity(
    network: torch.nn.Module, sample: torch.Tensor, time: torch.Tensor, classes: torch.Tensor
) -> torch.Tensor:
    image_ids, text_ids = digits.token_ids()
    condition = digits.embed(classes)
    return network(
        hidden_states=sample.float(),
        timestep=time.expand(len(sample)).float(),
        encoder_hidden_states=condition.prompt_embeds,
        pooled_projections=condition.pooled_prompt_embeds,
        img_ids=image_ids,
        txt_ids=text_ids,
        return_dict=False,
    )[0]


def network_for(kind: Kind, velocity: torch.nn.Module, scheduler: Any) -> torch.nn.Module:
    """Return the network that a scheduler of this kind calls; it is what is accelerated."""
    return NoisePredictor(velocity, scheduler) if kind.predicts == "noise" else velocity


@torch.no_grad()
def draw(
    kind: Kind,
    network: torch.nn.Module,
    scheduler: Any,
    classes: Any,
    *,
    steps: int,
    guidance: float = 2.0,
    seed: int = 0,
) -> torch.Tensor:
    """Draw one image for each of ``classes`` (n,): (n, 16, 16), not clipped; both guidance branches in one batch."""
    torch.manual_seed(seed)  # for the schedulers that draw noise
    scheduler.set_timesteps(**kind.set_up(steps))
    both = torch.cat([torch.as_tensor(classes), torch.full((len(classes),), digits.CLASSES)])
    x = digits.noise(len(classes), seed=seed) * float(getattr(scheduler, "init_noise_sigma", 1.0))

    def guided(sample: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        twice = torch.cat([sample, sample])
        result = network(twice, time, both) if kind.predicts == "noise" else _velocity(network, twice, time, both)
        positive, negative = result.chunk(2)
        return negative + guidance * (positive - negative)

    # Sana's consistency sampler ends with an end of the list that is no step of its own.
    for time in scheduler.timesteps[: -1 if kind.predicts == "scm" else None]:
        if kind.predicts == "scm":
            prediction = _turned(guided, x, time)
        elif kind.predicts == "noise":
            prediction = guided(scheduler.scale_model_input(x, time), time)
        else:
            prediction = guided(x, time / 1000)
        result = scheduler.step(prediction, time, x, **kind.step, return_dict=False)
        x = result[0].float()
    return digits.images(result[1] if kind.predicts == "scm" else x)


def _turned(guided: Callable[..., torch.Tensor], x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """Return the prediction of a network on the path ``cos(t) x + sin(t) e``, from one of the straight path."""
    s = torch.sin(time) / (torch.cos(time) + torch.sin(time))
    length = torch.sqrt(s**2 + (1 - s) ** 2)
    straight = x * length
    return ((1 - 2 * s) * straight + (1 - 2 * s + 2 * s**2) * guided(straight, s)) / length
