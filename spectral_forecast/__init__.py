"""Forecast the features of a diffusion model instead of evaluating its network.

A forecaster maps the times of kept features to weights; `combine` applies them to arrays of any library; a `Plan`
tabulates a whole run before its first network call. Adapters for diffusers, PyTorch and JAX live in
`spectral_forecast.adapters`, checked statements of the theory in `spectral_forecast.theory`. Importing this
package imports no framework.
"""

from importlib.metadata import PackageNotFoundError, version

from spectral_forecast import bounds, ellipse, gram, metrics, schedules
from spectral_forecast._checks import FitError
from spectral_forecast._typing import Forecaster, GramForecaster, LinearForecaster
from spectral_forecast.adaptive import GramRun, TCPadeRun
from spectral_forecast.citations import citation
from spectral_forecast.combine import combine
from spectral_forecast.corrector import Corrector
from spectral_forecast.forecasters import (
    DMD,
    AdamsBashforth,
    AnalyticKernel,
    Blaschke,
    Chebyshev,
    Combination,
    FloaterHormann,
    FoCa,
    GramRule,
    Hermite,
    LinearRule,
    Newton,
    Profile,
    Reuse,
    Shanks,
    Shrink,
    TaylorSeer,
    TCPade,
    TCPadePaper,
    TCPadeReleased,
    spectrum,
)
from spectral_forecast.guarded import GuardedRun
from spectral_forecast.plan import Plan, make_plan
from spectral_forecast.ridge import ridge_weights
from spectral_forecast.ring import Ring
from spectral_forecast.sampling import Run
from spectral_forecast.streaming import StreamedPlan, streamed

try:
    __version__ = version("spectral-forecast")
except PackageNotFoundError:  # a bare checkout that was never installed
    __version__ = "0+unknown"

__all__ = [
    "DMD",
    "AdamsBashforth",
    "AnalyticKernel",
    "Blaschke",
    "Chebyshev",
    "Combination",
    "Corrector",
    "FitError",
    "FloaterHormann",
    "FoCa",
    "Forecaster",
    "GramForecaster",
    "GramRule",
    "GramRun",
    "GuardedRun",
    "Hermite",
    "LinearForecaster",
    "LinearRule",
    "Newton",
    "Plan",
    "Profile",
    "Reuse",
    "Ring",
    "Run",
    "Shanks",
    "Shrink",
    "StreamedPlan",
    "TCPade",
    "TCPadePaper",
    "TCPadeReleased",
    "TCPadeRun",
    "TaylorSeer",
    "bounds",
    "citation",
    "combine",
    "ellipse",
    "gram",
    "make_plan",
    "metrics",
    "ridge_weights",
    "schedules",
    "spectrum",
    "streamed",
]
