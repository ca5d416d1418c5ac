"""Forecasting inside cache-dit: a calibrator that lets its block cache use this library's rules.

cache-dit decides at which steps a network's middle blocks are skipped; its calibrator says what takes their place.

>>> import cache_dit  # doctest: +SKIP
>>> from spectral_forecast.adapters.cache_dit import ForecastCalibratorConfig
>>> cache_dit.enable_cache(  # doctest: +SKIP
...     pipe,
...     cache_config=cache_dit.DBCacheConfig(num_inference_steps=50),
...     calibrator_config=ForecastCalibratorConfig(steps=50),
... )

cache-dit has no registry of calibrators: the factory that its contexts call knows its own three. Importing this module
puts one in its place that knows one more and passes everything else on.
"""

import warnings
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from spectral_forecast import LinearForecaster, combine, spectrum
from spectral_forecast.forecasters.base import LinearRule

try:
    from cache_dit.caching.cache_contexts import cache_context
    from cache_dit.caching.cache_contexts.calibrators import Calibrator, CalibratorBase, CalibratorConfig
except ImportError as error:
    raise ImportError(
        "`spectral_forecast.adapters.cache_dit` needs cache-dit 1.5; "
        "write `pip install 'spectral-forecast[cache-dit]'`."
    ) from error

__all__ = ["ForecastCalibrator", "ForecastCalibratorConfig"]


class ForecastCalibrator(CalibratorBase):
    """Forecast what cache-dit's blocks would have returned, from what they returned before.

    One calibrator serves one guidance branch of one list of blocks; the tensors that it is given have names, and each
    name has features of its own.

    Parameters
    ----------
    forecaster : LinearForecaster
        The rule. One that lives on [-1, 1] needs ``steps``.
    steps : int, optional
        Length of a run. The clock is step numbers; with ``steps`` it is mapped onto [-1, 1], as in the diffusers
        adapter.
    keep : int, optional
        Hold at most this many features of a name, the newest. By default all of a run.

    Raises
    ------
    TypeError
        If the forecaster has no method ``weights(times, t)``.
    ValueError
        If ``steps`` or ``keep`` is not a whole number from 1 up, or ``steps`` is missing.
    """

    def __init__(self, forecaster: LinearForecaster, steps: int | None = None, keep: int | None = None) -> None:
        if not isinstance(forecaster, LinearForecaster):
            raise TypeError(f"`forecaster` is {type(forecaster).__name__}, without a method `weights(times, t)`.")
        for name, value in (("steps", steps), ("keep", keep)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"`{name}` is {value!r}; write a whole number, 1 or more.")
        if steps is None and not getattr(forecaster, "affine", True):
            raise ValueError(f"`steps`: {forecaster!r} lives on a run's whole clock; write its length, `steps=50`.")
        self.steps = steps
        self.keep = keep
        unit = 1.0 if steps is None else 2.0 / steps
        self.forecaster = forecaster.with_step(unit, scale=unit) if isinstance(forecaster, LinearRule) else forecaster
        self.reset_cache()

    def reset_cache(self, *_: Any, **__: Any) -> None:
        """Forget every feature; a run begins."""
        self.current_step = -1
        self.kept: dict[str, list[tuple[int, torch.Tensor]]] = {}

    def mark_step_begin(self, *_: Any, **__: Any) -> None:
        """Count a step of this branch, evaluated or not."""
        self.current_step += 1

    def update(self, feature: torch.Tensor, name: str = "default") -> None:
        """Keep a copy of what the blocks returned at this step.

        A feature with a NaN or an infinity is not kept, and a warning says so. One of another shape, dtype or device
        than those kept before makes them useless; they are dropped.
        """
        if not bool(torch.isfinite(feature).all()):
            warnings.warn(f"{name}: the feature of step {self.current_step} is not finite; not kept.", stacklevel=2)
            return
        kept = self.kept.setdefault(name, [])
        if kept and any(
            getattr(kept[-1][1], trait) != getattr(feature, trait) for trait in ("shape", "dtype", "device")
        ):
            kept.clear()
        if kept and kept[-1][0] == self.current_step:  # given twice
            kept.pop()
        kept.append((self.current_step, feature.detach().clone()))
        if self.keep is not None:
            del kept[: -self.keep]

    def approximate(self, name: str = "default") -> torch.Tensor:
        """Return the forecast of this step.

        Raises
        ------
        RuntimeError
            If no feature of this name is kept, or the run is longer than ``steps``.
        """
        kept = self.kept.get(name, [])
        if not kept:
            raise RuntimeError(
                f"{name}: nothing to forecast from; no evaluation was finite, or none came before step "
                f"{self.current_step}: write `DBCacheConfig(max_warmup_steps=1)` or more."
            )
        if self.steps is not None and self.current_step >= self.steps:
            raise RuntimeError(
                f"The run has a step {self.current_step}; write its length, `ForecastCalibratorConfig(steps=...)` "
                f"instead of {self.steps}, and for a transformer without its pipeline also `num_inference_steps`."
            )
        steps, features = zip(*kept, strict=True)
        weights = self.forecaster.weights([self._time(step) for step in steps], self._time(self.current_step))
        return combine(weights, features)

    def _time(self, step: int) -> float:
        return float(step) if self.steps is None else 2.0 * step / self.steps - 1.0

    def __repr__(self) -> str:
        return f"ForecastCalibrator({self.forecaster!r}, steps={self.steps}, keep={self.keep})"


@dataclass
class ForecastCalibratorConfig(CalibratorConfig):  # type: ignore[misc]
    """What `cache_dit.enable_cache` is given as ``calibrator_config``.

    Attributes
    ----------
    forecaster : LinearForecaster
        The rule; by default ``spectrum(0.5, mode="free")``.
    steps : int, optional
        Length of a run, which rules that live on [-1, 1] need; so does the default.
    keep : int, optional
        Hold at most this many features of a name.
    enable_calibrator, enable_encoder_calibrator : bool
        cache-dit's: whether image tokens and text tokens are forecast. Where not, the last ones are reused.
    calibrator_cache_type : {"residual", "hidden_states"}
        cache-dit's: whether what the blocks add is forecast, or what they return.
    """

    enable_calibrator: bool = True
    enable_encoder_calibrator: bool = True
    calibrator_type: str = "spectral_forecast"
    forecaster: Any = field(default_factory=lambda: spectrum(0.5, mode="free"))
    steps: int | None = None
    keep: int | None = None

    def __post_init__(self) -> None:
        ForecastCalibrator(**self.to_kwargs())  # so that what is wrong is said here, and not in the first run

    def to_kwargs(self) -> dict[str, Any]:
        """Return the arguments of `ForecastCalibrator`."""
        return {"forecaster": self.forecaster, "steps": self.steps, "keep": self.keep}

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name; the forecaster stays what it is."""
        return {part.name: getattr(self, part.name) for part in fields(self)}

    def strify(self, **kwargs: Any) -> str:
        """Return a short name for logs and file names, or with ``details`` a longer one for logs."""
        return f"Forecast({self.forecaster!r})" if kwargs.get("details", False) else "SpectralForecast"


class _Factory(Calibrator):  # type: ignore[misc]
    """cache-dit's factory, and one calibrator more."""

    def __new__(cls, calibrator_config: CalibratorConfig) -> CalibratorBase:
        if isinstance(calibrator_config, ForecastCalibratorConfig):
            return ForecastCalibrator(**calibrator_config.to_kwargs())
        return Calibrator(calibrator_config)


cache_context.Calibrator = _Factory
