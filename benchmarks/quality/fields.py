"""What does a sampler integrate? The small models behind one call, and their noise levels.

All models are sampled by Euler's method, ``y += (level[i + 1] - level[i]) * field(y, i)``. A flow-matching model
predicts the velocity, and y is the sample. For a model of noise, y is the sample over the root of alpha-bar, the level
is the noise in it, and Euler's method is DDIM; a network that predicts v is turned into one that predicts the noise.
"""

import hashlib
import importlib
import time as clock
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spectral_forecast import schedules

__all__ = ["AT_ONCE", "MODELS", "Field", "FlowField", "Grid", "Known", "Model", "grid"]

AT_ONCE = 24
"""Samples that a network is given at once; of more, what a layer gives leaves the caches before the next reads it."""


@dataclass(frozen=True)
class Model:
    """A small trained model: its module in `spectral_forecast.benchmarks`, and what its network predicts."""

    name: str
    predicts: str  # "flow", "noise" or "v"
    shape: Callable[[torch.Tensor], torch.Tensor]  # of a sample, as its pictures (n, channels, height, width)
    read: Callable[[torch.Tensor], torch.Tensor]  # of a sample, as the module's classifier takes it
    splits: bool = True  # whether the adapter can forecast its features

    @property
    def module(self) -> ModuleType:
        """Where the network, its inputs and its noise are."""
        return importlib.import_module(f"spectral_forecast.benchmarks.{self.name}")

    def network(self) -> torch.nn.Module:
        """The trained network."""
        return (self.module.transformer if self.name == "digits" else self.module.network)()


def _digits(latents: torch.Tensor) -> torch.Tensor:
    from spectral_forecast.benchmarks.digits import images

    return images(latents)


MODELS = {
    model.name: model
    for model in (
        Model("digits", "flow", lambda y: _digits(y)[:, None], _digits),
        Model("photographs", "flow", lambda y: y, lambda y: y),
        Model("moving_digits", "flow", lambda y: y[:, 0], lambda y: y[:, 0]),
        Model("digits_ddim", "noise", lambda y: y, lambda y: y[:, 0]),
        Model("digits_unet", "v", lambda y: y, lambda y: y[:, 0], splits=False),
    )
}


@dataclass(frozen=True)
class Grid:
    """The noise levels of a run of N steps.

    Attributes
    ----------
    levels : ndarray, shape (N + 1,)
        What Euler's method steps along; it ends at 0.
    lengths : ndarray, shape (N + 1,)
        The same in flow time, which schedules are planned with: the levels themselves for flow matching.
    times : ndarray, shape (N,)
        What the network is told.
    scales : ndarray, shape (N + 1,)
        What y is multiplied by to get the sample.
    blind : bool
        Whether the network predicts noise, so that its first output tells nothing of the data.
    """

    levels: NDArray[np.float64]
    lengths: NDArray[np.float64]
    times: NDArray[np.float64]
    scales: NDArray[np.float64]
    blind: bool = False

    @property
    def steps(self) -> int:
        """Number of steps N."""
        return len(self.times)

    @property
    def clock(self) -> dict[str, Any]:
        """The clock of noise levels, as keywords for `make_plan`."""
        return {"times": -self.lengths[:-1], "span": (-self.lengths[0], -self.lengths[-1])}

    def flow(self) -> "Grid":
        """The same run of a model of noise in flow time, where y is the sample of a `FlowField`."""
        scales = (1.0 + self.levels) / np.sqrt(1.0 + self.levels**2)
        return replace(self, levels=self.lengths, scales=scales)


def grid(model: Model, steps: int, shift: float) -> Grid:
    """Return equal steps of the model's own time, for flow matching shifted; longer grids hold the shorter ones."""
    fractions = np.linspace(1.0, 0.0, steps + 1)
    if model.predicts == "flow":
        levels = shift * fractions / (1.0 + (shift - 1.0) * fractions)
        return Grid(levels, levels, levels[:-1], np.ones(steps + 1))
    kept = _scheduler(model).alphas_cumprod.double().numpy()  # "trailing": from the last timestep of the training on
    times = len(kept) * fractions[:-1] - 1.0
    alphas = np.exp(np.interp(times, np.arange(len(kept)), np.log(kept)))
    levels = np.append(np.sqrt(1.0 / alphas - 1.0), 0.0)
    scales = 1.0 / np.sqrt(1.0 + levels**2)
    return Grid(levels, schedules.flow_time(levels), times, scales, blind=model.predicts == "noise")


def _scheduler(model: Model) -> Any:
    from diffusers import DDIMScheduler

    return DDIMScheduler(**model.module.PATH)


class Known(NamedTuple):
    """A prediction that was computed before, and the seconds that it took."""

    out: torch.Tensor
    seconds: float


class Field:
    """The guided velocity or noise of a batch; counts its evaluations.

    Parameters
    ----------
    model : Model
    network : torch.nn.Module
    classes, negative : ndarray of int, shape (n,)
        What to draw, and what to be led away from.
    guidance : float
        1 is none: the network is called without ``negative``, else with both in one batch.
    known : dict, optional
        Predictions of the same batch, by what a call is given: what it has is not computed again. Most methods evaluate
        the same at first.

    Attributes
    ----------
    calls : int
        Evaluations so far, those that were known included.
    spared : float
        Seconds that the known ones took when they were computed.
    """

    def __init__(
        self,
        model: Model,
        network: torch.nn.Module,
        classes: Any,
        negative: Any,
        guidance: float,
        *,
        known: dict[tuple[Any, ...], Known] | None = None,
    ) -> None:
        self.model, self.network, self.guidance, self.known = model, network, guidance, known
        both = classes if guidance == 1.0 else np.concatenate([classes, negative])
        self.classes = torch.as_tensor(both, dtype=torch.int64)
        self.calls, self.spared = 0, 0.0

    def __call__(self, x: torch.Tensor, level: float, time: float) -> torch.Tensor:
        """Return the prediction for samples ``x`` at a noise level that the network knows as ``time``."""
        self.calls += 1
        if self.known is None:
            return self._guided(x, level, time)
        key = hashlib.sha256(x.contiguous().numpy()).digest(), level, time
        known = self.known.get(key)
        if known is None:
            begin = clock.process_time()
            out = self._guided(x, level, time)
            self.known[key] = Known(out, clock.process_time() - begin)
            return out
        self.spared += known.seconds
        return known.out

    def _guided(self, x: torch.Tensor, level: float, time: float) -> torch.Tensor:
        batch = x if self.guidance == 1.0 else torch.cat([x, x])
        pairs = zip(batch.split(AT_ONCE), self.classes.split(AT_ONCE), strict=True)
        out = torch.cat([self._predicted(part, time, classes) for part, classes in pairs])
        if self.guidance != 1.0:
            wanted, away = out.chunk(2)
            out = away + self.guidance * (wanted - away)
        if self.model.predicts == "v":
            root = (1.0 + level**2) ** 0.5
            out = out / root + x * (level / root)
        return out

    def _predicted(self, x: torch.Tensor, time: float, classes: torch.Tensor) -> torch.Tensor:
        told = torch.full((len(x),), time, dtype=torch.float32)
        prediction: torch.Tensor = self.network(**self.model.module.inputs(x, told, classes), return_dict=False)[0]
        return prediction

    def held(self, out: torch.Tensor, _by: torch.Tensor, _level: float) -> torch.Tensor:
        """Return a prediction as it is, for a sample that has been moved."""
        return out


class FlowField:
    """A model of noise as one of flow matching: its velocity is the predicted noise less the predicted data.

    Both are constant in a step of DDIM, so that DDIM is Euler's method in flow time, too.
    """

    def __init__(self, field: Field) -> None:
        self.field, self.model, self.network = field, field.model, field.network

    @property
    def calls(self) -> int:
        """Evaluations so far."""
        return self.field.calls

    @property
    def spared(self) -> float:
        """Seconds that those took that were known."""
        return self.field.spared

    def __call__(self, x: torch.Tensor, level: float, time: float) -> torch.Tensor:
        """Return the velocity at flow time ``level`` below 1; ``x`` has the variance that the network knows."""
        sigma = level / (1.0 - level)
        y = x * ((1.0 + sigma**2) ** 0.5 / (1.0 + sigma))
        return (self.field(x, sigma, time) - y) / (1.0 - level)

    def held(self, out: torch.Tensor, by: torch.Tensor, level: float) -> torch.Tensor:
        """Return the velocity that the same output of the network is, where the sample has been moved by ``by``."""
        if self.model.predicts == "v":
            return out + by * ((2.0 * level - 1.0) / (level**2 + (1.0 - level) ** 2))
        return out - by / (1.0 - level)
