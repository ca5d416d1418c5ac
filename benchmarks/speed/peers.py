"""What do others compute at the same places? Published arithmetic in our words, and other packages' own classes."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers.hooks.taylorseer_cache import TaylorSeerState

from spectral_forecast.benchmarks.speed.methods import ALL, Amount, Method
from spectral_forecast.benchmarks.speed.restated import HiCache
from spectral_forecast.benchmarks.speed.state import State
from spectral_forecast.benchmarks.speed.timing import Task

__all__ = ["AGAIN", "PEERS", "RELEASED"]

RELEASED = "Spectrum: fit and predict"
AGAIN = "Spectrum: predict again"
_HALF = ("bfloat16",)
THREE = Amount(3)


def _fit_and_predict(state: State) -> Task:
    spectrum = state.released

    def run() -> torch.Tensor:
        spectrum.fit()
        return spectrum.predict(state.t)

    return Task(run)


def _product(state: State) -> Task:
    weights = torch.from_numpy(state.weights).to(state.ring)
    return Task(lambda: weights @ state.ring)


def _seer(order: int, state: State) -> TaylorSeerState:
    seer = TaylorSeerState(taylor_factors_dtype=state.new.dtype, max_order=order)
    for _ in range(order + 1):
        _hook(seer, state.new)
    seer.current_step += 1
    return seer


def _hook(seer: TaylorSeerState, feature: torch.Tensor) -> None:
    """Count a step and hand over what a module returned, as the hook of diffusers does."""
    seer.current_step += 1
    seer.update((feature,))


def _seer_updates(state: State) -> Task:
    seer = _seer(2, state)
    return Task(lambda: _hook(seer, state.new))


def _hicache(state: State) -> HiCache:
    cache = HiCache(order=2)
    for step in range(3):
        cache.update(state.new, step)
    return cache


def _hicache_predicts(state: State) -> Task:
    cache = _hicache(state)
    return Task(lambda: cache.predict(cache.step + 2))


def _hicache_updates(state: State) -> Task:
    cache = _hicache(state)
    return Task(lambda: cache.update(state.new, cache.step + 1))


def _calibrator(kind: str, state: State) -> Any:
    """One of cache-dit's calibrators, with features of every second step handed over, as many as DMD keeps."""
    from cache_dit.caching.cache_contexts import calibrators

    calibrator = getattr(calibrators, f"{kind}Calibrator")()
    for _ in range(6):
        _mark(calibrator, state.new)
        calibrator.mark_step_begin()
    return calibrator


def _mark(calibrator: Any, feature: torch.Tensor) -> None:
    """Count a step and hand over what the blocks returned, as cache-dit does."""
    calibrator.mark_step_begin()
    calibrator.update(feature)


def _approximates(kind: str) -> Callable[[State], Task]:
    """The first forecast after an evaluation; a fit that lasts until the next one is part of it."""

    def task(state: State) -> Task:
        calibrator = _calibrator(kind, state)

        def before() -> None:
            _mark(calibrator, state.new)
            calibrator.mark_step_begin()

        return Task(calibrator.approximate, before)

    return task


def _updates(kind: str) -> Callable[[State], Task]:
    def task(state: State) -> Task:
        calibrator = _calibrator(kind, state)
        return Task(lambda: _mark(calibrator, state.new))

    return task


def _fixed(
    name: str, what: str, make: Callable[[State], Task], *, moves: int, holds: int = 4, works: Amount = THREE
) -> Method:
    """Describe a method that moves so many rows and holds so many, whatever K is."""
    return Method(name, what, make, Amount(moves), Amount(holds), works, grows=False, dtypes=_HALF)


PEERS = (
    Method(
        RELEASED,
        "forecast",
        _fit_and_predict,
        ALL,
        holds=Amount(rows=5, rings=1),
        works=Amount(rows=5, each=40),
        patience=6.0,
    ),
    Method(AGAIN, "forecast", lambda state: Task(lambda: state.released.predict(state.t)), Amount(6), dtypes=_HALF),
    Method(
        "Spectrum: join",
        "keep",
        lambda state: Task(lambda: state.released.keep(state.new, state.t)),
        Amount(2),
        works=Amount(rings=1),
        dtypes=_HALF,
    ),
    _fixed("HiCache, order 2", "forecast", _hicache_predicts, moves=4),
    _fixed("HiCache, order 2", "keep", _hicache_updates, moves=6),
    _fixed("TaylorSeer of diffusers, order 1", "forecast", lambda state: Task(_seer(1, state).predict), moves=3),
    _fixed("TaylorSeer of diffusers, order 2", "forecast", lambda state: Task(_seer(2, state).predict), moves=4),
    _fixed("TaylorSeer of diffusers, order 2", "keep", _seer_updates, moves=6),
    _fixed("TaylorSeer of cache-dit, order 1", "forecast", _approximates("TaylorSeer"), moves=3),
    _fixed("TaylorSeer of cache-dit, order 1", "keep", _updates("TaylorSeer"), moves=4),
    _fixed("FoCa of cache-dit", "forecast", _approximates("FoCa"), moves=5),
    _fixed(
        "DMD of cache-dit: fit and predict", "forecast", _approximates("DMD"), moves=7, holds=8, works=Amount(each=120)
    ),
    # What BLAS does in one product of a vector and a matrix, with weights rounded to the features' dtype.
    Method("BLAS: weights @ ring", "forecast", _product, ALL),
    Method("BLAS: ring @ feature", "gram", lambda state: Task(lambda: state.ring @ state.new), ALL),
)
