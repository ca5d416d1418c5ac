"""Which steps run the network? Functions that return boolean masks over the steps of a run.

Every schedule takes three limits: ``warmup`` first steps and ``tail`` last steps are evaluated, and after
``max_skip`` forecasts in a row the next step is. Step 0 is always evaluated.
"""

from spectral_forecast.schedules._balanced import balanced, family, flow_time, predicted_error
from spectral_forecast.schedules._counted import Mask as Mask
from spectral_forecast.schedules._counted import budget, even, every, growing, mask, steps

__all__ = [
    "balanced",
    "budget",
    "even",
    "every",
    "family",
    "flow_time",
    "growing",
    "mask",
    "predicted_error",
    "steps",
]
