"""How far does forecasting go with this scheduler, and in a run this short? Chosen from docs/schedulers.md."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from spectral_forecast import _checks, schedules
from spectral_forecast.adapters._session import Choice, Settings
from spectral_forecast.adapters.diffusers._path import Path
from spectral_forecast.schedules._balanced import LAST_GAP

__all__ = ["FEWEST_STEPS", "Limits", "Schedule", "choose", "gated", "limits", "refusal", "spread"]

FEWEST_STEPS = 8
LONGEST = 2.5  # of mean gaps, where the first output is blind

Schedule: TypeAlias = Callable[[int, int], ArrayLike]


class Limits(NamedTuple):
    """How far forecasting goes with a scheduler. Made by `limits`.

    Attributes
    ----------
    max_skip : int or None
        Most forecasts in a row; 0 where every step is evaluated, None where no limit was found.
    tail : int or None
        Last steps that are evaluated; None where the schedule is balanced over the noise levels and decides that.
    why : str
        In words.
    correct : bool
        Whether skipped steps are taken again: each is one call of the network, and no noise is drawn.
    """

    max_skip: int | None
    tail: int | None
    why: str
    correct: bool = False


_SMOOTH = Limits(None, None, "its steps are a smooth function of time", correct=True)
_SMOOTH_BUT_EVEN = Limits(None, 2, _SMOOTH.why)
_TWO_STAGES = Limits(None, 2, "it is as smooth; each of its two stages is a step of its own")
_NOISY = Limits(1, 2, "it adds noise at every step, which moves the sample off a longer forecast")
_NOISY_STAGES = Limits(0, 0, "it adds noise at every step, and forecasts of its two stages are poor")
_REDRAWN = Limits(0, 0, "it draws the sample anew from noise at every step, so that features are no function of time")
_HIGH_ORDER = Limits(
    0, 0, "it extrapolates the last four steps itself, and as many evaluations in fewer steps are better"
)
_UNKNOWN = Limits(3, 2, "it was not measured; nothing says that it adds noise")
_UNKNOWN_NOISY = Limits(1, 2, "it was not measured; it seems to add noise at every step")

_KNOWN: dict[str, Limits] = {
    **dict.fromkeys(
        (
            "CogVideoXDDIMScheduler",
            "DDIMParallelScheduler",
            "DDIMScheduler",
            "DEISMultistepScheduler",
            "DPMSolverMultistepScheduler",
            "EulerDiscreteScheduler",
            "FlowMatchEulerDiscreteScheduler",
            "UniPCMultistepScheduler",
        ),
        _SMOOTH,
    ),
    **dict.fromkeys(("DPMSolverSinglestepScheduler", "PNDMScheduler"), _SMOOTH_BUT_EVEN),
    **dict.fromkeys(("FlowMatchHeunDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler"), _TWO_STAGES),
    **dict.fromkeys(
        ("DDPMParallelScheduler", "DDPMScheduler", "EulerAncestralDiscreteScheduler", "SASolverScheduler"), _NOISY
    ),
    **dict.fromkeys(("DPMSolverSDEScheduler", "KDPM2AncestralDiscreteScheduler"), _NOISY_STAGES),
    **dict.fromkeys(
        (
            "CMStochasticIterativeScheduler",
            "FlowMatchLCMScheduler",
            "HeliosDMDScheduler",
            "LCMScheduler",
            "SCMScheduler",
            "TCDScheduler",
        ),
        _REDRAWN,
    ),
    "LMSDiscreteScheduler": _HIGH_ORDER,
}
_NOISE_IN_A_NAME = ("Ancestral", "CogVideoXDPM", "Cosine", "DDPM", "DPMScheduler", "RePaint", "SDE", "Sde", "UnCLIP")
_REDRAWN_IN_A_NAME = ("Consistency", "DMD", "LCM", "SCM", "TCD")


def limits(scheduler: Any, *, eta: float = 0.0) -> Limits:
    """Return how far forecasting goes with a scheduler of diffusers; what ``accelerate(evaluations=)`` keeps to.

    Parameters
    ----------
    scheduler : SchedulerMixin
        An instance; a subclass of a known one counts as that. One that is not known is judged by its flags: its
        ``algorithm_type``, its ``order`` and the words in its name.
    eta : float, optional
        The noise that a pipeline hands to every ``step`` of DDIM. The adapter does not see it and assumes 0.

    Returns
    -------
    Limits

    Examples
    --------
    >>> from diffusers import DDIMScheduler, DDPMScheduler
    >>> limits(DDIMScheduler()).max_skip, limits(DDIMScheduler(), eta=1.0).max_skip, limits(DDPMScheduler()).max_skip
    (None, 1, 1)
    """
    config = getattr(scheduler, "config", {})
    if config.get("stochastic_sampling", False):
        return _REDRAWN
    names = [kind.__name__ for kind in type(scheduler).__mro__]
    known = next((_KNOWN[name] for name in names if name in _KNOWN), None)
    stages = getattr(scheduler, "order", 1) == 2
    if eta > 0.0 or str(config.get("algorithm_type", "")).startswith("sde"):
        return _NOISY_STAGES if stages else _NOISY
    if known is not None:
        return known
    if any(word in names[0] for word in _REDRAWN_IN_A_NAME):
        return _REDRAWN
    if any(word in names[0] for word in _NOISE_IN_A_NAME):
        return _NOISY_STAGES if stages else _UNKNOWN_NOISY
    return _UNKNOWN


def spread(limit: Limits, steps: int, evaluations: int) -> schedules.Mask:
    """Return the even schedule of ``steps`` with ``evaluations`` of them, or as many more as the limit asks for."""
    tail, gap = 2 if limit.tail is None else limit.tail, steps if limit.max_skip is None else limit.max_skip + 1
    candidates = (schedules.even(steps, count, tail=tail) for count in range(min(evaluations, steps), steps + 1))
    return next(evaluate for evaluate in candidates if _longest(evaluate) <= gap)


@functools.lru_cache(maxsize=64)
def balanced(noise: tuple[float, ...], evaluations: int, *, blind: bool) -> schedules.Mask:
    """Balance the evaluations over noise levels (steps + 1,); ``blind`` is a network whose first output tells nothing.

    The first gap is forecast from that output alone, and in flow time it costs next to nothing: it would be the longest
    by far. With the last gap counted twice, digits_ddim lost half a decibel with 6 and 8 evaluations: of blind networks
    all gaps count alike.
    """
    levels = [level - noise[-1] for level in noise]  # some schedulers end above 0
    last_gap = 1.0 if blind else LAST_GAP
    evaluate = schedules.balanced(levels, evaluations, last_gap=last_gap)
    most = math.ceil(LONGEST * (len(noise) - 1) / evaluations)
    if blind and _longest(evaluate) > most:
        return schedules.balanced(levels, evaluations, last_gap=last_gap, max_skip=most - 1)
    return evaluate


def _longest(evaluate: schedules.Mask) -> int:
    """The longest way in steps from one evaluation to the next, or to the end."""
    return int(np.diff(np.flatnonzero([*evaluate, True])).max())


def choose(
    scheduler: Any, steps: int, evaluations: int, schedule: Schedule | None = None, path: Path | None = None
) -> Choice:
    """Return the schedule of a run, or why there is none.

    Without a ``schedule`` asked for it is balanced over the scheduler's noise levels; as even as its limits allow where
    it has limits, or no noise levels that can be told.
    """
    against = refusal(scheduler, steps)
    if against:
        return Choice(None, against)
    if schedule is not None:
        return Choice(_checks.mask("schedule", schedule(steps, min(evaluations, steps)), steps))
    if evaluations >= steps:
        return Choice(np.ones(steps, dtype=bool))
    limit = limits(scheduler)
    if limit.tail is None and path is not None:
        return Choice(balanced(path.levels, min(evaluations, steps), blind=path.blind))
    evaluate = spread(limit, steps, evaluations)
    count = int(evaluate.sum())
    if count <= evaluations:
        return Choice(evaluate)
    name = type(scheduler).__name__
    return Choice(evaluate, f"{count} steps are evaluated, not {evaluations}: with {name}, {limit.why}")


def gated(scheduler: Any, steps: int, settings: Settings, path: Path | None) -> Choice:
    """Return what decides on the way about a run's steps, or why every step is evaluated."""
    against = refusal(scheduler, steps)
    if against:
        return Choice(None, against)
    if path is None:
        name = type(scheduler).__name__
        return Choice(
            None, f"with {name} a tolerance cannot be kept, whose noise levels it needs; write `evaluations=`."
        )
    gate = settings.gate(path.levels, limits(scheduler).max_skip)
    return Choice(schedules.mask(steps, [0], tail=1), gate=gate)


def refusal(scheduler: Any, steps: int) -> str:
    """Return why nothing should be forecast in a run of ``steps``, and what to do instead; "" if all is well."""
    if steps < FEWEST_STEPS:
        return (
            f"a run of {steps} steps has none to spare: below {FEWEST_STEPS}, every step is evaluated. "
            "Take more steps and keep `evaluations`, or give a plan."
        )
    limit = limits(scheduler)
    if limit.max_skip == 0:
        return (
            f"with {type(scheduler).__name__} every step is evaluated: {limit.why}. "
            "Take another scheduler (Euler, DDIM, UniPC, DPM++ 2M), or give a plan."
        )
    return ""
