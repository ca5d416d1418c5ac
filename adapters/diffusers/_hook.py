"""The hook on the root module: it tells a `Session` of every call."""

import contextlib
import functools
import inspect
import itertools
import threading
from collections.abc import Callable
from typing import Any

import torch
from diffusers.hooks import ModelHook
from diffusers.hooks.hooks import BaseState, StateManager
from torch.utils import _pytree as pytree

from spectral_forecast.adapters._session import Choice, Place, Session, Settings
from spectral_forecast.adapters._session.ranks import all_finite, all_magnitude, largest
from spectral_forecast.adapters.diffusers._compiled import uncompiled
from spectral_forecast.adapters.diffusers._correct import Correction
from spectral_forecast.adapters.diffusers._grid import Grid
from spectral_forecast.adapters.diffusers._path import Path
from spectral_forecast.adapters.diffusers._profiled import choose
from spectral_forecast.adapters.diffusers._schedulers import Schedule, gated, limits
from spectral_forecast.adapters.diffusers._split import Blocks, Split
from spectral_forecast.adapters.diffusers._velocities import Velocities

__all__ = ["RootHook"]


class _Contexts(StateManager):
    """The cache context of each thread: pipelines that share a network set theirs independently."""

    def __init__(self) -> None:
        self._here = threading.local()
        super().__init__(BaseState)

    @property
    def _context(self) -> Any:
        return getattr(self._here, "context", None)

    @_context.setter
    def _context(self, context: Any) -> None:
        self._here.context = context


class RootHook(ModelHook):
    """Replaces the forward of the whole network; all state is in its session."""

    _is_stateful = True

    def __init__(
        self,
        network: torch.nn.Module,
        settings: Settings,
        *,
        time_name: str,
        scheduler: Callable[[], Any],
        split: Split | None,
        correction: Correction,
        grid: Grid,
        schedule: Schedule | None,
    ) -> None:
        super().__init__()
        self.signature = inspect.signature(network.forward)
        self.time_name = time_name
        self.scheduler = scheduler  # () -> the scheduler of the moment, or None without one
        self.schedule = schedule  # the one asked for, or None
        self.correction = correction  # of the scheduler's steps, one for all networks of a pipeline
        self.grid = grid  # of the scheduler's steps, likewise
        self.contexts = _Contexts()  # diffusers writes the cache context here
        name = type(network).__name__

        sound = functools.partial(all_finite, network=network)
        agreed = functools.partial(largest, network=network)
        place: Place = Velocities() if split is None else Blocks(name, split, sound, agreed)
        self.session = Session(
            name,
            settings,
            place,
            magnitude=functools.partial(all_magnitude, network=network),
            choose=self._choose,
            planned=lambda: correction.attach(self.scheduler()),
            agreed=agreed,
            used=self._timesteps(),
        )
        correction.sessions.append(self.session)

    @uncompiled
    def new_forward(
        self, _module: torch.nn.Module, run: Callable[..., Any], args: Any, kwargs: Any, *, compiled: bool
    ) -> Any:
        """Evaluate or forecast."""
        call = self.signature.bind(*args, **kwargs)
        call.apply_defaults()
        split, unused, calls = getattr(self.session.place, "split", None), (args, kwargs), itertools.count()
        if split is not None:
            split.inline = compiled
            unused = _copied(unused)

        def forward() -> Any:
            # A network may use up the lists that it is given: the caller's own once, as without us, then copies.
            more, named = _copied(unused) if next(calls) else (args, kwargs)
            with split.turn if compiled and split is not None else contextlib.nullcontext():
                return run(*more, **named)

        try:
            context = self.contexts.context.name
        except ValueError:  # many pipelines set none
            context = None
        return self.session.call(
            forward,
            call.arguments,
            call.arguments[self.time_name],
            context=context,
            timesteps=self._timesteps(),
        )

    def reset_state(self, module: torch.nn.Module) -> torch.nn.Module:
        """Let go of all features; diffusers calls this at the end of a pipeline call."""
        self.contexts.reset()
        self.session.end(self._timesteps())
        self.correction.forget()
        return module

    def _choose(self, steps: int, evaluations: int) -> Choice:
        scheduler = self.scheduler()
        limit = limits(scheduler)
        path = Path.of(scheduler, steps) if limit.tail is None else None
        settings, at = self.session.settings, self.session.place.at
        if settings.tolerance is not None:
            choice = gated(scheduler, steps, settings, path)
        else:
            rule = settings.forecaster
            choice = choose(rule, scheduler, steps, evaluations, at=at, schedule=self.schedule, path=path)
        if isinstance(self.session.place, Velocities):
            self.session.place.path = path if settings.default else None
        # Forecasts of noise itself are not smooth enough in time for what they did to be told from one arrival.
        mends = path is None or path.predicts != "epsilon" or settings.default
        if choice.evaluate is not None and mends:
            self.correction.attach(scheduler, path or Path.even(scheduler, steps))
        else:
            self.correction.detach()
        why = "; ".join(filter(None, (choice.why, self.grid.follow(scheduler))))
        return choice._replace(why=why, levels=None if path is None else path.levels)

    def _timesteps(self) -> Any:
        return getattr(self.scheduler(), "timesteps", None)


def _copied(arguments: Any) -> Any:
    """The same tensors in lists and dictionaries of their own."""
    return pytree.tree_map(lambda leaf: leaf, arguments)
