"""Forecasters: rules from the times of kept features to the weights of a forecast."""

from spectral_forecast.forecasters.analytic import AnalyticKernel
from spectral_forecast.forecasters.base import Combination, LinearRule
from spectral_forecast.forecasters.chebyshev import Chebyshev, spectrum
from spectral_forecast.forecasters.dmd import DMD
from spectral_forecast.forecasters.gram_rule import GramRule
from spectral_forecast.forecasters.mixture import Shrink
from spectral_forecast.forecasters.polynomial import Newton, Reuse, TaylorSeer
from spectral_forecast.forecasters.profile import Profile
from spectral_forecast.forecasters.rational import Blaschke, FloaterHormann
from spectral_forecast.forecasters.recursive import AdamsBashforth, FoCa
from spectral_forecast.forecasters.shanks import Shanks
from spectral_forecast.forecasters.steps import Hermite
from spectral_forecast.forecasters.tcpade import TCPade
from spectral_forecast.forecasters.tcpade_paper import TCPadePaper
from spectral_forecast.forecasters.tcpade_released import TCPadeReleased

__all__ = [
    "DMD",
    "AdamsBashforth",
    "AnalyticKernel",
    "Blaschke",
    "Chebyshev",
    "Combination",
    "FloaterHormann",
    "FoCa",
    "GramRule",
    "Hermite",
    "LinearRule",
    "Newton",
    "Profile",
    "Reuse",
    "Shanks",
    "Shrink",
    "TCPade",
    "TCPadePaper",
    "TCPadeReleased",
    "TaylorSeer",
    "spectrum",
]
