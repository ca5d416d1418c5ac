r"""What moves the sample? The noise levels of a run, and the velocity that a network's output stands for.

In flow matching the sampler adds the network's output, times the step in noise level, to the sample. A network that
predicts noise (or "v") does the same in other variables: with :math:`\sigma` noise in a part of data, the sample over
:math:`1 + \sigma` is a mixture with a share :math:`\sigma / (1 + \sigma)` of noise, and its velocity is the noise
less the data. That is what is smooth in time and what is forecast; noise itself is not, as it is divided out of the
sample in the end.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from spectral_forecast import schedules
from spectral_forecast.adapters._session import Frame

__all__ = ["Path"]


@dataclass(frozen=True)
class Path:
    """A run's way from noise to data.

    Parameters
    ----------
    levels : tuple of float
        Shares of noise at every step and at the end, falling from at most 1 to 0 or little more.
    times : tuple of float
        The scheduler's timesteps.
    predicts : str
        "epsilon" or "v_prediction", what is turned into velocities; "" where outputs are taken as they are.
    guessed : bool
        Whether the levels are none of the scheduler's.
    """

    levels: tuple[float, ...]
    times: tuple[float, ...]
    predicts: str = ""
    guessed: bool = False

    @classmethod
    def of(cls, scheduler: Any, steps: int) -> "Path | None":
        """Return the path of a scheduler's last ``steps`` steps; None where noise levels cannot be told or do not fall.

        Levels are what flow matching calls sigma, and `flow_time` of other schedulers' noise levels. They do not fall
        where a step has two stages.
        """
        sigmas, timesteps = getattr(scheduler, "sigmas", None), scheduler.timesteps
        config = getattr(scheduler, "config", {})
        flow = bool(config.get("use_flow_sigmas")) or type(scheduler).__name__.startswith("FlowMatch")
        if sigmas is not None and len(sigmas) == len(timesteps) + 1:
            noise = np.asarray([float(sigma) for sigma in sigmas])
            noise = noise if flow else schedules.flow_time(noise)
        elif getattr(scheduler, "alphas_cumprod", None) is not None:
            kept = np.asarray([float(scheduler.alphas_cumprod[int(time)]) for time in timesteps])
            data, rest = np.sqrt(kept), np.sqrt(1.0 - kept)  # of which the first may be none
            noise = np.append(rest / (data + rest), 0.0)
        else:
            return None
        noise = noise[-steps - 1 :]
        if len(noise) != steps + 1 or not (np.diff(noise) < 0.0).all():
            return None
        predicts = "" if flow else str(config.get("prediction_type"))
        known = predicts == "v_prediction" or (predicts == "epsilon" and noise[0] < 1.0)
        times = tuple(float(time) for time in timesteps[-steps:])
        return cls(tuple(noise.tolist()), times, predicts if known else "")

    @classmethod
    def even(cls, scheduler: Any, steps: int) -> "Path":
        """Return a path of equal steps for a scheduler whose noise levels do not tell its steps apart."""
        times = tuple(float(time) for time in scheduler.timesteps[-steps:])
        return cls(tuple(np.linspace(1.0, 0.0, len(times) + 1).tolist()), times, guessed=True)

    @property
    def blind(self) -> bool:
        """Whether the first output tells nothing of the data: it is the noise that there is hardly anything besides."""
        return self.predicts == "epsilon"

    def number(self, timestep: Any) -> int:
        """Return the step at a scheduler's timestep; -1 where it has none."""
        time = float(timestep)
        return self.times.index(time) if time in self.times else -1

    def frame(self, scheduler: Any, timestep: Any) -> Frame | None:
        """Return the frame in which the scheduler's step at a timestep is interpolated; None off the path."""
        step = self.number(timestep)
        if step < 0:
            return None

        def seen(sample: Any) -> Any:
            return scheduler.scale_model_input(sample, timestep) if self.predicts else sample

        return Frame(
            1.0 - 2.0 * self.levels[step],
            lambda output, sample: self.velocity(output, seen(sample), step),
            lambda velocity, sample: self.output(velocity, seen(sample), step),
            blind=self.blind,
            length=0.0 if self.guessed else self.levels[step] - self.levels[step + 1],
        )

    def velocity(self, output: torch.Tensor, x: torch.Tensor, step: int) -> torch.Tensor:
        """Return the velocity of an output for the input ``x`` of the network, noise and data of which have variance 1.

        An output with twice the channels predicts its variance, too; that half is left as it is.
        """
        if not self._fits(output, x):
            return output
        scale, shift = self._map(step)
        mean, rest = output[:, : x.shape[1]], output[:, x.shape[1] :]
        return torch.cat([(scale * mean.float() + shift * x.float()).to(output.dtype), rest], dim=1)

    def output(self, velocity: torch.Tensor, x: torch.Tensor, step: int) -> torch.Tensor:
        """Return the output that has this velocity."""
        if not self._fits(velocity, x):
            return velocity
        scale, shift = self._map(step)
        mean, rest = velocity[:, : x.shape[1]], velocity[:, x.shape[1] :]
        return torch.cat([((mean.float() - shift * x.float()) / scale).to(velocity.dtype), rest], dim=1)

    def _fits(self, output: torch.Tensor, x: torch.Tensor) -> bool:
        """Whether an output, or the velocity of one, goes with ``x``, and the path turns one into the other."""
        if not self.predicts or output.ndim < 2 or output.ndim != x.ndim:
            return False
        batch, channels, *size = x.shape
        return output.shape in ((batch, channels, *size), (batch, 2 * channels, *size))

    def _map(self, step: int) -> tuple[float, float]:
        """What the output and the input are multiplied by in the velocity."""
        level = self.levels[step]
        root = math.hypot(level, 1.0 - level)
        if self.predicts == "epsilon":
            return 1.0 / (1.0 - level), -root / (1.0 - level)
        return 1.0 / root, (2.0 * level - 1.0) / root
