"""Forecasters: rules from the times of kept features to the weights of a forecast."""

from spectral_forecast.forecasters.analytic import AnalyticKernel, Blaschke
from spectral_forecast.forecasters.base import Combination, LinearRule
from spectral_forecast.forecasters.chebyshev import Chebyshev, spectrum
from spectral_forecast.forecasters.polynomial import Newton, Reuse, TaylorSeer
from spectral_forecast.forecasters.rational import FloaterHormann
from spectral_forecast.forecasters.steps import AdamsBashforth, FoCa, Hermite

__all__ = [
    "AdamsBashforth",
    "AnalyticKernel",
    "Blaschke",
    "Chebyshev",
    "Combination",
    "FloaterHormann",
    "FoCa",
    "Hermite",
    "LinearRule",
    "Newton",
    "Reuse",
    "TaylorSeer",
    "spectrum",
]
