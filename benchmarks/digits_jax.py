"""The digits model in JAX: the same FLUX transformer as in `digits`, with the same trained weights, without PyTorch."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import load_file

from spectral_forecast.benchmarks.flux_nnx import Flux

__all__ = ["embed", "guided", "images", "sigmas", "transformer"]

WEIGHTS = Path(__file__).parent / "weights"


def transformer() -> Flux:
    """The trained network. Weights are stored in half precision and computed in float32."""
    config = json.loads((WEIGHTS / "digits_flux.json").read_text())["config"]
    # The abstract model saves the random initialisation that the stored weights would overwrite.
    graph, abstract = nnx.split(nnx.eval_shape(lambda: Flux(config, nnx.Rngs(0))))
    missing = dict(nnx.to_flat_state(abstract))
    loaded = []
    for name, value in load_file(WEIGHTS / "digits_flux.safetensors").items():
        path = _path(name, value.ndim)
        array = value.astype(np.float32).T
        if missing[path].shape != array.shape:
            raise ValueError(f"`{name}` has shape {value.shape}, the model has {missing[path].shape} at {path}.")
        loaded.append((path, missing.pop(path).replace(jnp.asarray(array))))
    if missing:
        raise ValueError(f"the stored weights lack {sorted(map(str, missing))}.")
    return nnx.merge(graph, nnx.from_flat_state(loaded))


def _path(name: str, ndim: int) -> tuple[str | int, ...]:
    """Where a stored weight goes; the linear ``ff.net.2.weight`` is ``ff.down.kernel``."""
    for stored, ours in {"net.0.proj": "up", "net.2": "down", "to_out.0": "to_out"}.items():
        name = name.replace(stored, ours)
    *parts, kind = name.split(".")
    leaf = kind if kind == "bias" else ("kernel" if ndim == 2 else "scale")
    return (*(int(part) if part.isdigit() else part for part in parts), leaf)


def embed(classes: Any) -> jax.Array:
    """The one-hot condition (n, 11) of ``classes`` (n,), each 0 to 9, or 10 for "no class"."""
    return jax.nn.one_hot(jnp.asarray(classes), 11, dtype=jnp.float32)


def sigmas(steps: int, shift: float = 3.0) -> np.ndarray:
    """Noise levels (steps + 1,) of the pipeline's Euler sampler, as float32."""
    even = np.linspace(1.0, 1.0 / steps, steps)
    return np.append(shift * even / (1.0 + (shift - 1.0) * even), 0.0).astype(np.float32)


def guided(model: Any, scale: float) -> Any:
    """Classifier-free guidance around a resumable model: ``guided(x, sigma, state, condition, negative)``.

    Both branches are one batch of twice the size, so that each keeps features of its own.
    """

    def both(x: Any, sigma: Any, state: Any, condition: Any, negative: Any, *, feature: Any = None) -> tuple[Any, Any]:
        pair = jnp.concatenate([condition, negative])
        out, feature = model(state, jnp.concatenate([x, x]), sigma, pair, feature=feature)
        towards, away = jnp.split(out, 2)
        return away + scale * (towards - away), feature

    return both


def images(latents: Any) -> jax.Array:
    """Unpack samples (n, S, 4) to images (n, 2√S, 2√S) in about [-1, 1], not clipped."""
    side = round(latents.shape[1] ** 0.5)
    return latents.reshape(-1, side, side, 2, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 2 * side, 2 * side)
