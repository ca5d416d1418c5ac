"""Which methods are compared? One table: a forecaster, a schedule, a place, a corrector; or another solver."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import spectral_forecast as sf
from spectral_forecast import schedules
from spectral_forecast.adapters.diffusers._schedulers import balanced
from spectral_forecast.benchmarks.quality.fields import Grid
from spectral_forecast.guarded import LIMIT

__all__ = ["ALIKE", "DEFAULTS", "METHODS", "Method", "every", "gate"]

CORRECTOR = sf.Corrector(degree=2)


@dataclass(frozen=True)
class Method:
    """A row of the tables.

    Attributes
    ----------
    name : str
    rule : LinearForecaster, GramForecaster or str
        What forecasts: "profile" is learnt from another run; "euler", "unipc", "dpm++" and "deis" are solvers, which
        forecast nothing and take as many steps as there are evaluations.
    schedule : str
        "growing" (Spectrum's), "every" (FORA's), "warmed" (the same after three evaluations), "even", "balanced",
        "alike" (balanced, but the last gap counts as the others do), "gate" (TeaCache's kind), "profile".
    clock : str
        "steps" or "levels": what is time to the rule.
    place : str
        "output" or "features".
    corrector : Corrector, optional
    limit : float, optional
        Forecasts are guarded by what the run shows of their errors, with this limit.
    everywhere : bool
        Whether it is run with every budget, or with 8 and 14 (of fewer steps: 7) only.
    fine : int
        Forecast on a grid with this many times the steps.
    velocity : bool
        Of a model of noise, forecast the velocity of flow matching instead, in flow time. Others have it anyway.
    """

    name: str
    rule: Any
    schedule: str = ""
    clock: str = "levels"
    place: str = "output"
    corrector: sf.Corrector | None = None
    limit: float | None = None
    everywhere: bool = False
    fine: int = 1
    velocity: bool = field(default=False, repr=False)  # it is in the name

    @property
    def solver(self) -> bool:
        """Whether it is a solver with fewer steps."""
        return self.schedule == ""

    def mask(self, grid: Grid, budget: int, changes: NDArray[np.float64], profile: sf.Profile) -> schedules.Mask:
        """Return the schedule; ``changes`` of the full run's sample are for the gate only."""
        levels = tuple(grid.lengths.tolist())
        options: dict[str, Callable[[], schedules.Mask]] = {
            "growing": lambda: schedules.budget(grid.steps, budget),
            "every": lambda: every(grid.steps, budget, 1),
            "warmed": lambda: every(grid.steps, budget, min(3, budget)),
            "even": lambda: schedules.even(grid.steps, budget),
            "balanced": lambda: balanced(levels, budget, blind=grid.blind),
            "alike": lambda: (
                balanced(levels, budget, blind=True) if grid.blind else schedules.balanced(levels, budget, last_gap=1)
            ),
            "gate": lambda: gate(changes, budget),
            "profile": lambda: profile.schedule(budget, np.abs(np.diff(grid.lengths))),
        }
        return options[self.schedule]()

    def run(self, grid: Grid, mask: schedules.Mask, profile: sf.Profile) -> sf.Run:
        """Begin a run of the method."""
        rule = profile if self.rule == "profile" else self.rule
        clock = grid.clock if self.clock == "levels" else {"times": np.arange(grid.steps), "span": (0, grid.steps)}
        if isinstance(rule, sf.GramRule):
            return sf.GramRun(rule, evaluate=mask, check_finite=False, **clock)
        plan = sf.make_plan(rule, evaluate=mask, **clock)
        # The first velocity of a network that predicts noise tells nothing.
        return plan.start(limit=self.limit, blind=grid.blind and self.velocity, check_finite=False)


def every(steps: int, budget: int, warmup: int) -> schedules.Mask:
    """Return the fixed interval with so many evaluations: the shortest, and the shortest warm-up that goes with it."""
    for interval in range(1, steps + 1):
        for more in range(warmup, budget + 1):
            mask = schedules.every(steps, interval, warmup=more)
            if mask.sum() == budget:
                return mask
    raise ValueError(f"`budget` is {budget} of {steps} steps, `warmup` {warmup}.")


def gate(changes: NDArray[np.float64], budget: int) -> schedules.Mask:
    """Evaluate the first and the last step, and whenever ``changes`` (T,) since the last evaluation reach a threshold.

    The threshold is the one that spends the budget, or else as much of it as any does; the rest goes to the middles
    of the widest gaps.
    """
    best = schedules.mask(len(changes), [0], tail=1)
    low, high = 0.0, float(changes.sum())
    for _ in range(60):
        threshold = 0.5 * (low + high)
        mask, total = schedules.mask(len(changes), [0], tail=1), 0.0
        for step in range(1, len(changes)):
            total += changes[step]
            if total >= threshold:
                mask[step], total = True, 0.0
        if mask.sum() <= budget:
            high = threshold
            best = mask if mask.sum() >= best.sum() else best
        else:
            low = threshold
    while best.sum() < budget:
        edges = np.append(np.flatnonzero(best), len(best))
        widest = int(np.argmax(np.diff(edges)))
        best[(edges[widest] + edges[widest + 1]) // 2] = True
    return best


ALIKE = ("guarded, gaps alike, corrector", "guarded, gaps alike, velocity, corrector")
DEFAULTS = tuple(
    f"{rule}, balanced{velocity}{corrector}"
    for velocity in ("", ", velocity")
    for rule in ("linear", "guarded")
    for corrector in ("", ", corrector")
)
_FEATURES = {"clock": "steps", "place": "features"}


def _ours(name: str, **options: Any) -> Method:
    """A linear rule, balanced, as its name says."""
    return Method(
        name,
        sf.Newton(1),
        "alike" if "alike" in name else "balanced",
        corrector=CORRECTOR if "corrector" in name else None,
        limit=LIMIT if "guarded" in name else None,
        velocity="velocity" in name,
        **options,
    )


METHODS = (
    Method("Euler or DDIM", "euler", everywhere=True),
    Method("UniPC, order 2", "unipc", everywhere=True),
    Method("DPM++ 2M", "dpm++", everywhere=True),
    Method("DEIS", "deis"),
    Method("FORA", sf.Reuse(), "every", **_FEATURES),
    Method("TaylorSeer, order 1", sf.TaylorSeer(1), "warmed", **_FEATURES),
    Method("TaylorSeer, order 2", sf.TaylorSeer(2), "warmed", **_FEATURES),
    Method("HiCache", sf.Hermite(2), "warmed", **_FEATURES),
    Method("FoCa", sf.FoCa(), "warmed", **_FEATURES),
    Method("AB-Cache", sf.AdamsBashforth(2), "warmed", **_FEATURES),
    Method("DMD", sf.DMD(), "warmed", clock="steps"),
    Method("TC-Padé", sf.TCPade(), "warmed", clock="steps"),
    Method("TeaCache-style gate", sf.Reuse(), "gate", clock="steps"),
    Method("RACER-style", sf.Shrink(sf.spectrum(), sf.Newton(1)), "growing", clock="steps"),
    Method("Spectrum, w = 1", sf.spectrum(), "growing", **_FEATURES),
    Method("Spectrum, w = 0.5", sf.spectrum(0.5), "growing", everywhere=True, **_FEATURES),
    *(_ours(name, everywhere=True) for name in DEFAULTS),
    Method("profile of another run", "profile", "profile"),
    Method("Spectrum, w = 0.5, on outputs", sf.spectrum(0.5), "growing", clock="steps"),
    Method("Spectrum, w = 0.5, balanced", sf.spectrum(0.5), "balanced", **_FEATURES),
    *(_ours(name) for name in ALIKE),
    Method("linear, growing", sf.Newton(1), "growing"),
    Method("linear, growing, corrector", sf.Newton(1), "growing", corrector=CORRECTOR),
    Method("linear, even", sf.Newton(1), "even"),
    Method("linear, even, corrector", sf.Newton(1), "even", corrector=CORRECTOR),
    Method("linear, balanced, on features", sf.Newton(1), "balanced", place="features"),
    Method("analytic kernel, balanced", sf.AnalyticKernel(), "balanced"),
    *(_ours(f"{DEFAULTS[k]}, 200 steps", fine=4) for k in (3, 7)),
)
