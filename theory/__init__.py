"""The statements behind the library, each checked numerically and drawn.

``python -m spectral_forecast.theory`` tries all of them and writes a report. One module a statement: `taylor`,
`truncation`, `ridge`, `worst_case`, `recovery`, `extrapolation`, `propagation`, `stability`, each with ``STATEMENT``,
``check()`` and a deliberately ``wrong()`` variant. `functions` and `strategies` hold what they are tried on, `paper`
what the paper's own schedules say, `certificate` and `trajectory` what a run says of its next error.
"""

if __name__ == "theory":
    raise ImportError("`theory` is a part of spectral_forecast; write `import spectral_forecast.theory`.")
