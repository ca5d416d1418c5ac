"""Which of diffusers' denoisers does the adapter know, and how is a tiny one of each built and called?

A table, read by the tests and by ``python -m spectral_forecast.benchmarks.supported``. Every network has two blocks or
more in every list of blocks, random weights, and inputs that follow a smooth curve from noise to data.
"""

from spectral_forecast.benchmarks.models._table import TIMES, Model, run
from spectral_forecast.benchmarks.models.image import IMAGE
from spectral_forecast.benchmarks.models.sound import SOUND
from spectral_forecast.benchmarks.models.unets import UNETS
from spectral_forecast.benchmarks.models.variants import VARIANTS
from spectral_forecast.benchmarks.models.video import VIDEO

__all__ = ["MODELS", "TIMES", "Model", "run"]

MODELS = IMAGE + VIDEO + SOUND + UNETS + VARIANTS
