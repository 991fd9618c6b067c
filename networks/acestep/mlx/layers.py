"""The transformer layers that ACE-Step's networks share, in MLX.

Parameters bear diffusers' names, so that stored keys are paths. States between layers stay in float32: they grow
beyond what float16 can hold in deep layers, while the matrix products, whose inputs are normalised, do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from core.errors import CheckpointError
from networks.acestep.layouts import Config
from networks.acestep.weights import REPAIR


@dataclass(frozen=True, kw_only=True)
class Dims:
    """The sizes of a stack of layers; `window` is how far a token of a sliding layer attends to either side."""

    width: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    theta: float
    eps: float
    window: int
    bias: bool


def dims_of(config: Config) -> Dims:
    """The sizes that a part's configuration gives; raises CheckpointError when it lacks one."""
    try:
        return Dims(
            width=config["hidden_size"],
            inner=config["intermediate_size"],
            heads=config["num_attention_heads"],
            kv_heads=config["num_key_value_heads"],
            head=config["head_dim"],
            theta=float(config["rope_theta"]),
            eps=config["rms_norm_eps"],
            window=config["sliding_window"],
            bias=config["attention_bias"],
        )
    except KeyError as missing:
        raise CheckpointError(f"A configuration lacks {missing}.", REPAIR) from None


def sliding_layers(kinds: Sequence[str] | None, count: int) -> list[bool]:
    """Which of `count` layers attend within a sliding window; where no kinds are given, every other, from the first."""
    if kinds is None:
        return [index % 2 == 0 for index in range(count)]
    return [kind == "sliding_attention" for kind in kinds]


def window_mask(tokens: int, window: int) -> mx.array | None:
    """Which token attends to which, the window's ends included; None where the window holds the whole sequence."""
    if tokens <= window + 1:
        return None
    positions = mx.arange(tokens)
    return mx.abs(positions[:, None] - positions[None, :]) <= window


class Attention(nn.Module):
    """Grouped-query attention with normalised queries and keys."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head, self.theta = dims.heads, dims.kv_heads, dims.head, dims.theta
        self.to_q = nn.Linear(dims.width, dims.heads * dims.head, bias=dims.bias)
        self.to_k = nn.Linear(dims.width, dims.kv_heads * dims.head, bias=dims.bias)
        self.to_v = nn.Linear(dims.width, dims.kv_heads * dims.head, bias=dims.bias)
        self.to_out = [nn.Linear(dims.heads * dims.head, dims.width, bias=dims.bias)]
        self.norm_q = nn.RMSNorm(dims.head, eps=dims.eps)
        self.norm_k = nn.RMSNorm(dims.head, eps=dims.eps)

    def __call__(self, states: mx.array, mask: mx.array | None = None) -> mx.array:
        """The states `(B, L, W)` after they attended to each other, with rotary positions."""
        key, value = self.keys_values(states)
        return self._attend(self._rotate(self._queries(states)), self._rotate(key), value, mask)

    def keys_values(self, states: mx.array) -> tuple[mx.array, mx.array]:
        """Keys and values `(B, heads, L, D)`, without rotary positions."""
        key = self.norm_k(_heads(self.to_k(states), self.kv_heads))
        return key, _heads(self.to_v(states), self.kv_heads)

    def cross_attend(self, states: mx.array, row_caches: Sequence[tuple[int, mx.array, mx.array]]) -> mx.array:
        """The states `(B, L, W)` after rows of the batch attended to the keys and values of their own item.

        `row_caches` gives how many rows attend to which keys and values. Items may differ in length: each is attended
        to by itself, so that none needs padding, which ACE-Step would attend to.
        """
        query, row, parts = self._queries(states), 0, []
        for rows, key, value in row_caches:
            shape = (rows, *key.shape[1:])
            part = query[row : row + rows]
            parts.append(self._attend(part, mx.broadcast_to(key, shape), mx.broadcast_to(value, shape), None))
            row += rows
        return mx.concatenate(parts) if len(parts) > 1 else parts[0]

    def weights(self, states: mx.array, key: mx.array, head: int) -> mx.array:
        """How much each of the states `(1, L, W)` attends to each of the keys `(1, heads, K, D)` in one head."""
        query, keys = self._queries(states)[0, head], key[0, head // (self.heads // self.kv_heads)]
        scores = query.astype(mx.float32) @ keys.astype(mx.float32).T
        return mx.softmax(scores * self.head**-0.5, axis=-1)

    def _queries(self, states: mx.array) -> mx.array:
        return self.norm_q(_heads(self.to_q(states), self.heads))

    def _rotate(self, heads: mx.array) -> mx.array:
        return mx.fast.rope(heads, self.head, traditional=False, base=self.theta, scale=1.0, offset=0)

    def _attend(self, query: mx.array, key: mx.array, value: mx.array, mask: mx.array | None) -> mx.array:
        attended = mx.fast.scaled_dot_product_attention(query, key, value, scale=self.head**-0.5, mask=mask)
        batch, _, length, _ = attended.shape
        states: mx.array = self.to_out[0](attended.transpose(0, 2, 1, 3).reshape(batch, length, -1))
        return states


def _heads(states: mx.array, heads: int) -> mx.array:
    batch, length, _ = states.shape
    return states.reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)


class Mlp(nn.Module):
    """A feed-forward network with a SwiGLU."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(dims.width, dims.inner, bias=False)
        self.up_proj = nn.Linear(dims.width, dims.inner, bias=False)
        self.down_proj = nn.Linear(dims.inner, dims.width, bias=False)

    def __call__(self, states: mx.array) -> mx.array:
        """The states `(B, L, W)` after the network."""
        projected: mx.array = self.down_proj(nn.silu(self.gate_proj(states)) * self.up_proj(states))
        return projected


class EncoderLayer(nn.Module):
    """One layer of the encoders and poolers."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.self_attn = Attention(dims)
        self.input_layernorm = nn.RMSNorm(dims.width, eps=dims.eps)
        self.post_attention_layernorm = nn.RMSNorm(dims.width, eps=dims.eps)
        self.mlp = Mlp(dims)

    def __call__(self, states: mx.array, mask: mx.array | None) -> mx.array:
        """The states `(B, L, W)` in float32 after the layer."""
        states = states + self.self_attn(normalised(self.input_layernorm, states), mask)
        return states + self.mlp(normalised(self.post_attention_layernorm, states))


def normalised(norm: nn.RMSNorm, states: mx.array) -> mx.array:
    """The states, normalised in float32 and then in the type of the weights."""
    normal: mx.array = norm(states)
    return normal.astype(norm.weight.dtype)


class EncoderStack(nn.Module):
    """What the encoders and poolers have in common: an embedding, layers, a norm."""

    def __init__(self, config: Config, *, into: int, layers: int) -> None:
        super().__init__()
        dims = dims_of(config)
        self.embed_tokens = nn.Linear(into, dims.width)
        self.layers = [EncoderLayer(dims) for _ in range(layers)]
        self.norm = nn.RMSNorm(dims.width, eps=dims.eps)
        self._window = dims.window
        self._is_sliding = sliding_layers(config.get("layer_types"), layers)

    def embed(self, vectors: mx.array) -> mx.array:
        """States `(B, L, W)` of vectors `(B, L, into)` in any type."""
        states: mx.array = self.embed_tokens(vectors.astype(self.norm.weight.dtype))
        return states

    def run_layers(self, states: mx.array) -> mx.array:
        """The states `(B, L, W)` after the layers and the norm, in the type of the weights."""
        mask = window_mask(states.shape[1], self._window)
        states = states.astype(mx.float32)
        for layer, is_sliding in zip(self.layers, self._is_sliding, strict=True):
            states = layer(states, mask if is_sliding else None)
        return normalised(self.norm, states)
