"""Small trained models and the comparisons made with them; needs the extra ``demo``."""

if __name__ == "benchmarks":
    raise ImportError("`benchmarks` is a part of spectral_forecast; write `import spectral_forecast.benchmarks`.")
