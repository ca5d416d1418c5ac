"""The statements behind the library, each checked numerically and drawn."""

if __name__ == "theory":
    raise ImportError("`theory` is a part of spectral_forecast; write `import spectral_forecast.theory`.")
