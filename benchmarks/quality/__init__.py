"""How good are forecasts, on five small trained models? ``python -m spectral_forecast.benchmarks.quality``.

Samples every cell (a model, a shift, a guidance scale, a number of steps) by every method with every budget, compares
with the full run and with one of eight times as many steps, and writes docs/quality.md from the results.
"""
