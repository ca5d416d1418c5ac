"""Forecasters: rules from the times of kept features to the weights of a forecast."""

from spectral_forecast.forecasters.analytic import AnalyticKernel, Blaschke
from spectral_forecast.forecasters.base import Combination, LinearRule
from spectral_forecast.forecasters.chebyshev import Chebyshev, spectrum
from spectral_forecast.forecasters.polynomial import Newton, Reuse, TaylorSeer

__all__ = [
    "AnalyticKernel",
    "Blaschke",
    "Chebyshev",
    "Combination",
    "LinearRule",
    "Newton",
    "Reuse",
    "TaylorSeer",
    "spectrum",
]
