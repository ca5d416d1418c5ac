r"""How wrong can a forecast be? The theorems of Spectrum, corrected, and the exact worst case of any linear rule.

The class of functions is the one of Theorem 3.2: analytic in the Bernstein ellipse :math:`E_\rho` (foci -1 and 1,
semi-axes summing to :math:`\rho`; see `spectral_forecast.ellipse`) and bounded there by :math:`B`. Times live on
[-1, 1]. A vector-valued feature is covered too: then B bounds its 2-norm, and so do the results.

================================================  ===================================================
`taylor`, `taylor_extremal`                       Theorem 3.1: the error grows with the horizon
`truncation`                                      Theorem 3.2: the Chebyshev series
`ridge`, `ridge_terms`, `ridge_unsound`           Theorem 3.3: Spectrum; its identity; as printed, false
`worst_case`, `worst_function`, `lebesgue`        any linear rule, exactly
`of_plan`                                         the worst case of every forecast of a plan
`power`, `norm`, `interval`, `likely_rho`         the same in a Hilbert space: certificates from kept features
`estimate`                                        the error to expect, calibrated by the last evaluation
`extrapolation`, `stable_exponent`                what no rule can beat
`propagation`                                     from errors of features to the error of the sample
================================================  ===================================================
"""

from spectral_forecast.bounds.classical import taylor, taylor_extremal, truncation
from spectral_forecast.bounds.linear import lebesgue, of_plan, power, worst_case, worst_function
from spectral_forecast.bounds.posterior import estimate, interval, likely_rho, norm
from spectral_forecast.bounds.run import extrapolation, propagation, stable_exponent
from spectral_forecast.bounds.spectrum import RidgeTerms, ridge, ridge_terms, ridge_unsound

__all__ = [
    "RidgeTerms",
    "estimate",
    "extrapolation",
    "interval",
    "lebesgue",
    "likely_rho",
    "norm",
    "of_plan",
    "power",
    "propagation",
    "ridge",
    "ridge_terms",
    "ridge_unsound",
    "stable_exponent",
    "taylor",
    "taylor_extremal",
    "truncation",
    "worst_case",
    "worst_function",
]
