"""Thin bindings that carry a `Plan` out: in diffusers pipelines, plain PyTorch loops and JAX programs."""

if __name__ == "adapters":
    raise ImportError("`adapters` is a part of spectral_forecast; write `import spectral_forecast.adapters`.")
