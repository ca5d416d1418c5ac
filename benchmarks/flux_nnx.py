"""What does diffusers' `FluxTransformer2DModel` compute? The same network in Flax NNX, for one text token.

Attribute names are diffusers', so that stored weights find their places.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

__all__ = ["Flux"]


class Modulated(nnx.Module):
    """Layer normalisation without parameters of its own, and ``parts`` vectors made of the conditioning."""

    def __init__(self, dim: int, parts: int, rngs: nnx.Rngs) -> None:
        self.linear = nnx.Linear(dim, parts * dim, rngs=rngs)

    def vectors(self, temb: jax.Array) -> list[jax.Array]:
        """Return the conditioning's vectors, each (B, 1, dim)."""
        return jnp.split(self.linear(nnx.silu(temb))[:, None], self.linear.out_features // temb.shape[-1], axis=-1)


class OutNorm(Modulated):
    """The first part of the head; unlike in the blocks the scale comes first."""

    def __call__(self, x: jax.Array, temb: jax.Array) -> jax.Array:
        """Normalise and modulate the last block's tokens (B, S, dim)."""
        scale, shift = self.vectors(temb)
        return modulate(x, shift, scale)


class Attention(nnx.Module):
    """Joint attention of text and image tokens; in single blocks, of their concatenation."""

    def __init__(self, dim: int, heads: int, *, joint: bool, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.joint = joint
        names = ["to_q", "to_k", "to_v"] + joint * ["to_out", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]
        for name in names:
            setattr(self, name, nnx.Linear(dim, dim, rngs=rngs))
        for name in ["norm_q", "norm_k"] + joint * ["norm_added_q", "norm_added_k"]:
            setattr(self, name, nnx.RMSNorm(dim // heads, epsilon=1e-6, rngs=rngs))

    def __call__(self, x: jax.Array, text: jax.Array | None, rotary: jax.Array) -> Any:
        """Attend over image tokens ``x`` (B, S, dim) and text tokens; return both, or ``x`` without text."""
        parts = [[self._split(getattr(self, f"to_{letter}")(x)) for letter in "qkv"]]
        parts[0][:2] = self.norm_q(parts[0][0]), self.norm_k(parts[0][1])
        if text is not None:
            added = [self._split(getattr(self, f"add_{letter}_proj")(text)) for letter in "qkv"]
            parts.insert(0, [self.norm_added_q(added[0]), self.norm_added_k(added[1]), added[2]])
        query, key, value = (jnp.concatenate(pieces, axis=1) for pieces in zip(*parts, strict=True))
        out = jax.nn.dot_product_attention(rotate(query, rotary), rotate(key, rotary), value)
        out = out.reshape(*out.shape[:2], -1)
        if text is None:
            return out
        return self.to_out(out[:, text.shape[1] :]), self.to_add_out(out[:, : text.shape[1]])

    def _split(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:2], self.heads, -1)


class FeedForward(nnx.Module):
    """Two linear maps with the tanh approximation of GELU between them."""

    def __init__(self, dim: int, rngs: nnx.Rngs) -> None:
        self.up = nnx.Linear(dim, 4 * dim, rngs=rngs)
        self.down = nnx.Linear(4 * dim, dim, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map tokens (B, S, dim)."""
        return self.down(nnx.gelu(self.up(x), approximate=True))


class DoubleBlock(nnx.Module):
    """Text and image tokens with weights of their own, joined in the attention."""

    def __init__(self, dim: int, heads: int, rngs: nnx.Rngs) -> None:
        self.norm1, self.norm1_context = Modulated(dim, 6, rngs), Modulated(dim, 6, rngs)
        self.attn = Attention(dim, heads, joint=True, rngs=rngs)
        self.ff, self.ff_context = FeedForward(dim, rngs), FeedForward(dim, rngs)

    def __call__(
        self, x: jax.Array, text: jax.Array, temb: jax.Array, rotary: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the new image tokens (B, S, dim) and text tokens."""
        streams = [(x, self.norm1, self.ff), (text, self.norm1_context, self.ff_context)]
        vectors = [norm.vectors(temb) for _, norm, _ in streams]
        attended = self.attn(
            *(modulate(tokens, *v[:2]) for (tokens, _, _), v in zip(streams, vectors, strict=True)), rotary
        )
        done = []
        for (tokens, _, ff), (_, _, gate, shift, scale, gate_ff), seen in zip(streams, vectors, attended, strict=True):
            middle = tokens + gate * seen
            done.append(middle + gate_ff * ff(modulate(middle, shift, scale)))
        return done[0], done[1]


class SingleBlock(nnx.Module):
    """Text and image tokens in one sequence; attention and feed-forward side by side."""

    def __init__(self, dim: int, heads: int, rngs: nnx.Rngs) -> None:
        self.norm = Modulated(dim, 3, rngs)
        self.attn = Attention(dim, heads, joint=False, rngs=rngs)
        self.proj_mlp = nnx.Linear(dim, 4 * dim, rngs=rngs)
        self.proj_out = nnx.Linear(5 * dim, dim, rngs=rngs)

    def __call__(self, x: jax.Array, temb: jax.Array, rotary: jax.Array) -> jax.Array:
        """Return the new tokens (B, S, dim), text first."""
        shift, scale, gate = self.norm.vectors(temb)
        inside = modulate(x, shift, scale)
        wide = nnx.gelu(self.proj_mlp(inside), approximate=True)
        return x + gate * self.proj_out(jnp.concatenate([self.attn(inside, None, rotary), wide], axis=-1))


class TimeTextEmbed(nnx.Module):
    """The conditioning vector: a function of the timestep plus one of the pooled prompt."""

    def __init__(self, dim: int, pooled: int, rngs: nnx.Rngs) -> None:
        self.timestep_embedder = TwoLayers(256, dim, rngs)
        self.text_embedder = TwoLayers(pooled, dim, rngs)

    def __call__(self, timestep: jax.Array, pooled: jax.Array) -> jax.Array:
        """Embed timesteps (B,) from 0 to 1000 and pooled prompts (B, P)."""
        angles = timestep[:, None] * jnp.exp(-math.log(10000.0) * jnp.arange(128, dtype=jnp.float32) / 128)
        waves = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
        return self.timestep_embedder(waves) + self.text_embedder(pooled)


class TwoLayers(nnx.Module):
    """Two linear maps with SiLU between them."""

    def __init__(self, dim_in: int, dim: int, rngs: nnx.Rngs) -> None:
        self.linear_1 = nnx.Linear(dim_in, dim, rngs=rngs)
        self.linear_2 = nnx.Linear(dim, dim, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, dim_in) to (B, dim)."""
        return self.linear_2(nnx.silu(self.linear_1(x)))


class Flux(nnx.Module):
    """The transformer of ``config``, as diffusers' `FluxTransformer2DModel` takes it; one text token.

    As a forecastable model: blocks ``transformer_blocks`` and ``single_transformer_blocks``, head ``norm_out``.
    """

    def __init__(self, config: dict[str, Any], rngs: nnx.Rngs) -> None:
        heads = config["num_attention_heads"]
        dim = heads * config["attention_head_dim"]
        self.axes = tuple(config["axes_dims_rope"])
        self.x_embedder = nnx.Linear(config["in_channels"], dim, rngs=rngs)
        self.context_embedder = nnx.Linear(config["joint_attention_dim"], dim, rngs=rngs)
        self.time_text_embed = TimeTextEmbed(dim, config["pooled_projection_dim"], rngs)
        self.transformer_blocks = nnx.List([DoubleBlock(dim, heads, rngs) for _ in range(config["num_layers"])])
        self.single_transformer_blocks = nnx.List(
            [SingleBlock(dim, heads, rngs) for _ in range(config["num_single_layers"])]
        )
        self.norm_out = OutNorm(dim, 2, rngs)
        self.proj_out = nnx.Linear(dim, config["in_channels"], rngs=rngs)

    def __call__(self, x: jax.Array, sigma: jax.Array, condition: jax.Array) -> jax.Array:
        """Return the velocity of packed samples ``x`` (B, S, 4) at noise level ``sigma``, () or (B,), for `embed`."""
        temb = self.time_text_embed(1000.0 * jnp.broadcast_to(sigma, x.shape[:1]).astype(jnp.float32), condition)
        text = self.context_embedder(condition[:, None])
        rotary = jnp.asarray(angles(x.shape[1], self.axes))
        x = self.x_embedder(x)
        for block in self.transformer_blocks:
            x, text = block(x, text, temb, rotary)
        x = jnp.concatenate([text, x], axis=1)
        for block in self.single_transformer_blocks:
            x = block(x, temb, rotary)
        return self.proj_out(self.norm_out(x[:, text.shape[1] :], temb))


def modulate(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """Normalise tokens (B, S, dim), then scale and shift them."""
    return jax.nn.standardize(x, epsilon=1e-6) * (1.0 + scale) + shift


@functools.cache
def angles(tokens: int, axes: tuple[int, ...]) -> np.ndarray:
    """Cosines and sines of the rotary positions, (2, 1 + tokens, D/2): one text token at 0, then a square of tokens."""
    side = round(tokens**0.5)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
    positions = np.pad(grid, ((1, 0), (1, 0)))
    turns = [np.outer(positions[:, n], 10000.0 ** (-np.arange(0, dim, 2) / dim)) for n, dim in enumerate(axes)]
    phase = np.concatenate(turns, axis=1)
    return np.stack([np.cos(phase), np.sin(phase)]).astype(np.float32)


def rotate(x: jax.Array, rotary: jax.Array) -> jax.Array:
    """Turn neighbouring pairs of channels of (B, S, H, D) by their position's angle."""
    cos, sin = (part[:, None] for part in rotary)
    even, odd = x[..., 0::2], x[..., 1::2]
    return jnp.stack([even * cos - odd * sin, odd * cos + even * sin], axis=-1).reshape(x.shape)
