"""What does forecasting cost? ``python -m spectral_forecast.benchmarks.speed``.

Measures the contraction of kept features against a copy of memory and against what other packages do, planning in
microseconds, and whole runs of networks, and writes docs/speed.md from the results. ``--compare OLD.json`` says what
has become slower since.
"""
