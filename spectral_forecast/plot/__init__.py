"""Pictures of plans, of errors and of samples, and of why features can be forecast. Needs the extra ``plot``.

Every function returns a figure of Matplotlib's, and saves it where a ``path`` is given.
"""

from spectral_forecast.plot._ellipse import plot_ellipse
from spectral_forecast.plot._plan import plot_cost, plot_plan
from spectral_forecast.plot._runs import plot_errors, plot_quality
from spectral_forecast.plot._samples import plot_samples, tiles

__all__ = ["plot_cost", "plot_ellipse", "plot_errors", "plot_plan", "plot_quality", "plot_samples", "tiles"]
