"""Does forecasting make sense with this scheduler, and in a run this short?"""

from typing import Any

__all__ = ["FEWEST_STEPS", "refusal"]

FEWEST_STEPS = 8

# These add noise at every step, whatever their configuration.
_STOCHASTIC = {
    "CMStochasticIterativeScheduler",
    "CogVideoXDPMScheduler",
    "DDPMScheduler",
    "DDPMWuerstchenScheduler",
    "DPMSolverSDEScheduler",
    "EulerAncestralDiscreteScheduler",
    "FlowMatchLCMScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "LCMScheduler",
    "ScoreSdeVeScheduler",
    "TCDScheduler",
}


def refusal(scheduler: Any, steps: int) -> str:
    """Return why nothing should be forecast in a run of ``steps``, and what to do instead; "" if all is well.

    A scheduler that adds noise makes the network's input jump from step to step; its features are then no smooth
    function of time, and their forecasts are poor (docs/schedulers.md).
    """
    if steps < FEWEST_STEPS:
        return (
            f"a run of {steps} steps has none to spare: below {FEWEST_STEPS}, every step is evaluated. "
            "Take more steps and keep `evaluations`, or give a plan."
        )
    config = getattr(scheduler, "config", {})
    name = type(scheduler).__name__
    noisy = str(config.get("algorithm_type", "")).startswith("sde") or bool(config.get("stochastic_sampling", False))
    if noisy or name in _STOCHASTIC:
        return (
            f"{name} adds noise at every step, so that features are no smooth function of time: every step is "
            "evaluated. Take a deterministic scheduler (Euler, DDIM, UniPC, DPM++ 2M), or give a plan."
        )
    return ""
