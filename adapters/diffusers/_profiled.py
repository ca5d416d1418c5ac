"""Does a profile belong to this run, and which steps does it choose? Told by the network's and the scheduler's traits.

A trait is a name and a text that a profile holds among its settings. Of configurations only what differs from the
class's defaults is noted, so that a later version of diffusers with one more option has the same traits.
"""

import functools
import hashlib
import inspect
import itertools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spectral_forecast import Profile, schedules
from spectral_forecast.adapters._session import Choice
from spectral_forecast.adapters.diffusers import _schedulers
from spectral_forecast.adapters.diffusers._path import Path

__all__ = [
    "check",
    "choose",
    "differences",
    "increments",
    "of_network",
    "of_run",
    "of_scheduler",
    "planned",
    "profile_in",
]

_OPTION = "scheduler."
_NO_TRAIT = ("quantization_config",)
_SERIES = ("levels", "timesteps")
_CLOSE = 1e-4


def of_network(network: torch.nn.Module, at: str) -> dict[str, str]:
    """Return a network's traits: its class, a fingerprint of its configuration, and where in it is forecast."""
    config = _chosen(network)
    if not hasattr(network, "config"):
        config = {name: list(parameter.shape) for name, parameter in network.named_parameters()}
    text = json.dumps(config, sort_keys=True, default=str)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"at": at, "network": type(network).__name__, "network_config": fingerprint}


def of_scheduler(scheduler: Any) -> dict[str, str]:
    """Return a scheduler's traits: its class, and the options that are not the class's defaults."""
    options = {name: json.dumps(value, default=str) for name, value in _chosen(scheduler).items()}
    return {"scheduler": type(scheduler).__name__} | {
        _OPTION + name: text if len(text) <= 64 else hashlib.sha256(text.encode()).hexdigest()[:16]
        for name, text in options.items()
    }


def of_run(scheduler: Any, steps: int) -> dict[str, str]:
    """Return the traits of a run that is about to begin: its timesteps, and its noise levels where they are known."""
    path = Path.of(scheduler, steps)
    series = {"timesteps": scheduler.timesteps[-steps:], "levels": () if path is None else path.levels}
    return {"steps": str(steps)} | {
        name: " ".join(f"{float(x):.6g}" for x in values) for name, values in series.items()
    }


def increments(profile: Profile) -> NDArray[np.float64] | None:
    """Return how far each step of the profiled runs moves the noise level; None where that is not known."""
    noise = [float(level) for level in profile.settings.get("levels", "").split()]
    return np.abs(np.diff(noise)) if len(noise) == profile.times.size + 1 else None


@functools.lru_cache(maxsize=64)
def planned(profile: Profile, evaluations: int) -> schedules.Mask:
    """Return the profile's own schedule; without noise levels every step weighs the same."""
    return profile.schedule(evaluations, increments(profile))


def profile_in(rule: Any) -> Profile | None:
    """Return the profile that a forecaster is, or that is one of its terms."""
    return next((term for _, term in getattr(rule, "terms", [(1.0, rule)]) if isinstance(term, Profile)), None)


def check(profile: Profile | None, networks: Mapping[str, torch.nn.Module], scheduler: Any, at: str) -> None:
    """Refuse a profile of another network or scheduler, as far as both are known before a run."""
    if profile is None:
        return
    if len(networks) > 1:
        raise ValueError("`forecaster` is a profile, which serves one network; this pipeline has two that take turns.")
    traits = of_scheduler(scheduler) if scheduler is not None else {}
    if against := _foreign(profile, of_network(next(iter(networks.values())), at) | traits):
        raise ValueError(f"`forecaster`: {against}")


def choose(
    rule: Any,
    scheduler: Any,
    steps: int,
    evaluations: int,
    *,
    at: str,
    schedule: _schedulers.Schedule | None = None,
    path: Path | None = None,
) -> Choice:
    """Return the schedule of a run: where a profile forecasts, its own, or none where the run is foreign to it.

    What a scheduler's limits ask for goes before what a profile would choose; its weights serve any schedule.
    """
    profile = profile_in(rule)
    if profile is not None and scheduler is not None:
        against = _foreign(profile, {"at": at} | of_scheduler(scheduler) | of_run(scheduler, steps))
        if against:
            return Choice(None, against)
        if rule is profile and schedule is None and _schedulers.limits(scheduler).max_skip is None:
            return _schedulers.choose(scheduler, steps, evaluations, lambda _, count: planned(profile, count))
    return _schedulers.choose(scheduler, steps, evaluations, schedule, path)


def differences(known: Mapping[str, str], traits: Mapping[str, str]) -> str:
    """Return in words what differs between traits that are noted and these; "" where nothing does."""
    options = {name for name in known if name.startswith(_OPTION)} if "scheduler" in traits else set()
    wrong = []
    for name in sorted(traits.keys() | options, key=lambda name: (name in _SERIES, name)):
        missing = "the default" if name.startswith(_OPTION) else "unknown"
        was, now = known.get(name, missing), traits.get(name, missing)
        if name in _SERIES:
            wrong += [] if wrong else _other_series(name.removesuffix("s"), was, now)
        elif was != now:
            wrong.append(f"{name} {was}, not {now}")
    return "; ".join(wrong)


def _foreign(profile: Profile, traits: Mapping[str, str]) -> str:
    wrong = differences(profile.settings, traits)
    return f"the profile was made with {wrong}. Record one of such runs with `record`." if wrong else ""


def _other_series(name: str, was: str, now: str) -> list[str]:
    """Name the first number that differs by more than rounding."""
    for step, (old, new) in enumerate(itertools.zip_longest(was.split(), now.split(), fillvalue="none")):
        if "none" in (old, new) or not np.isclose(float(old), float(new), rtol=_CLOSE, atol=_CLOSE):
            return [f"{name} {old} at step {step}, not {new} (another shift of the noise levels)"]
    return []


def _chosen(model: Any) -> dict[str, Any]:
    """Return the options of a model of diffusers that are not its class's defaults."""
    defaults = {name: item.default for name, item in inspect.signature(type(model).__init__).parameters.items()}
    config = dict(getattr(model, "config", {}))
    names = [name for name in config if not name.startswith("_") and name not in _NO_TRAIT]
    return {name: config[name] for name in names if _plain(config[name]) != _plain(defaults.get(name, ...))}


def _plain(value: Any) -> str:
    """A value as JSON has it, in which a tuple is a list."""
    return json.dumps(value, sort_keys=True, default=str)
