"""How is one batch sampled: in full, by a method, or by another solver in fewer steps?"""

import functools
import time
import warnings
from dataclasses import dataclass, field
from typing import Any

import torch

import spectral_forecast as sf
from spectral_forecast.adapters._session import Frame, Retake
from spectral_forecast.benchmarks.quality.fields import Field, FlowField, Grid

__all__ = ["Sample", "forecast", "full", "on_features", "solve"]


@dataclass
class Sample:
    """A batch of samples, and how it came about.

    Attributes
    ----------
    final : Tensor
    path : list of Tensor
        The sample after every step.
    outputs : list of Tensor
        The field at every step, forecast or not; only a full run keeps them.
    evaluations : int
    seconds : float
        Of this process; of evaluations that the field had known, what they took when they were computed.
    """

    final: torch.Tensor
    path: list[torch.Tensor] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)
    evaluations: int = 0
    seconds: float = 0.0


@torch.no_grad()
def forecast(
    velocity: Field | FlowField,
    grid: Grid,
    noise: torch.Tensor,
    run: sf.Run,
    corrector: sf.Corrector | None = None,
    *,
    blind: bool = False,
) -> Sample:
    """Sample with Euler's method, forecasting the outputs that ``run`` does not evaluate; as the adapters do it.

    With a corrector the skipped steps are taken again on arrival at an evaluated one; the first of them in full, if the
    first output is ``blind``.
    """
    begin, before = time.process_time(), velocity.calls
    y, sample, mend = noise / grid.scales[0], Sample(noise), Retake(corrector, [])
    for i in range(grid.steps):
        frame = Frame(1.0 - 2.0 * float(grid.lengths[i]), blind=blind)
        take = functools.partial(_step, by=float(grid.levels[i + 1] - grid.levels[i]))
        if run.evaluates(i):
            out = velocity(y * grid.scales[i], float(grid.levels[i]), float(grid.times[i]))
            run.keep(i, out)
            mended = mend.arrive(y, out, frame)
            out, y = velocity.held(out, mended - y, float(grid.levels[i])), mended
        else:
            out = run.forecast(i)
            mend.skip(y, out, take, frame)
        y = take(y, out)
        sample.path.append(y * grid.scales[i + 1])
    sample.final, sample.evaluations = y, velocity.calls - before
    sample.seconds = time.process_time() - begin + velocity.spared
    return sample


def _step(y: torch.Tensor, output: torch.Tensor, *, by: float) -> torch.Tensor:
    return y + by * output


def full(velocity: Field, grid: Grid, noise: torch.Tensor, *, keep: bool = False) -> Sample:
    """Sample with Euler's method and nothing else: no run, no plan."""
    begin = time.process_time()
    with torch.no_grad():
        y, sample = noise / grid.scales[0], Sample(noise, evaluations=grid.steps)
        for i in range(grid.steps):
            out = velocity(y * grid.scales[i], float(grid.levels[i]), float(grid.times[i]))
            y = y + (grid.levels[i + 1] - grid.levels[i]) * out
            if keep:
                sample.outputs.append(out)
                sample.path.append(y * grid.scales[i + 1])
    sample.final, sample.seconds = y, time.process_time() - begin + velocity.spared
    return sample


def on_features(velocity: Field, grid: Grid, noise: torch.Tensor, plan: sf.Plan) -> Sample:
    """Sample with Euler's method, what the last block hands to the head forecast by the adapter for diffusers."""
    from spectral_forecast.adapters.diffusers import accelerate, report, restore

    accelerate(velocity.network, plan, at="features")
    begin = time.process_time()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("error")  # a network that cannot be split
            y, sample = noise / grid.scales[0], Sample(noise)
            for i in range(grid.steps):
                out = velocity(y * grid.scales[i], float(grid.levels[i]), float(grid.times[i]))
                y = y + (grid.levels[i + 1] - grid.levels[i]) * out
                sample.path.append(y * grid.scales[i + 1])
        sample.final, sample.seconds = y, time.process_time() - begin
        sample.evaluations = report(velocity.network).evaluations
    finally:
        restore(velocity.network)
    return sample


def solve(velocity: Field, name: str, steps: int, shift: float, noise: torch.Tensor) -> Sample:
    """Sample in ``steps`` steps with one of diffusers' own multistep solvers, "unipc", "dpm++" or "deis"."""
    from diffusers import DEISMultistepScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

    kinds: dict[str, Any] = {
        "unipc": UniPCMultistepScheduler,
        "dpm++": DPMSolverMultistepScheduler,
        "deis": DEISMultistepScheduler,
    }
    flow = velocity.model.predicts == "flow"
    if flow:
        options = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": shift}
    else:
        path = velocity.model.module.PATH
        options = {key: path[key] for key in ("beta_schedule", "beta_start", "beta_end")}
        options |= {"prediction_type": "epsilon", "timestep_spacing": "trailing"}
    scheduler = kinds[name](solver_order=2, **options)
    scheduler.set_timesteps(steps)
    alphas, begin, before = scheduler.alphas_cumprod, time.process_time(), velocity.calls
    with torch.no_grad():
        x = noise
        for i, t in enumerate(scheduler.timesteps):
            if flow:
                level = float(scheduler.sigmas[i])
                out = velocity(x, level, level)
            else:
                out = velocity(x, float((1.0 / alphas[int(t)] - 1.0) ** 0.5), float(t))
            x = scheduler.step(out, t, x, return_dict=False)[0]
    return Sample(x, [x], evaluations=velocity.calls - before, seconds=time.process_time() - begin + velocity.spared)
