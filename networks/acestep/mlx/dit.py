"""ACE-Step's diffusion transformer in MLX.

The order of its operations is that of diffusers' `AceStepTransformer1DModel.forward`, except that cross-attention
keys and values come from the condition, where they were computed once, and that t stays in float32 until it is a
wave: bfloat16 rounds t * 1000 to multiples of four.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from networks.acestep.layouts import Config
from networks.acestep.mlx.layers import Attention, Dims, Mlp, dims_of, narrowed, slides, window_mask

WAVES = 256
"""Length of the wave that stands for t; half of it are cosines, half sines."""
_T_SCALE = 1000.0
_SLOWEST = 10_000.0

KeysValues = tuple[mx.array, mx.array]
Listeners = Sequence[tuple[int, Sequence[KeysValues]]]
"""How many rows of the batch listen to which item: one pair of keys and values per layer."""


@dataclass(frozen=True)
class MlxCondition:
    """Encoded items: the packed states `(1, L, W)` of each, and per item and layer its keys and values."""

    states: tuple[mx.array, ...]
    memory: tuple[tuple[KeysValues, ...], ...]

    @property
    def items(self) -> int:
        """The number of items held."""
        return len(self.states)


class TimeEmbedding(nn.Module):
    """A noise level as a vector, and as the six modulations of every layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(WAVES, width)
        self.linear_2 = nn.Linear(width, width)
        self.time_proj = nn.Linear(width, 6 * width)

    def __call__(self, t: mx.array, dtype: mx.Dtype) -> tuple[mx.array, mx.array]:
        """The embedding `(1, 1, W)` of `t` `(1,)` and the modulations `(1, 6, W)`, made in `dtype`, in float32."""
        half = WAVES // 2
        rates = mx.exp(mx.arange(half, dtype=mx.float32) * (-math.log(_SLOWEST) / half))
        turns = t[:, None] * _T_SCALE * rates
        wave = mx.concatenate([mx.cos(turns), mx.sin(turns)], axis=-1).astype(dtype)
        embedded = self.linear_2(nn.silu(self.linear_1(wave)))
        modulation = self.time_proj(nn.silu(embedded)).reshape(1, 6, -1)
        return embedded[:, None].astype(mx.float32), modulation.astype(mx.float32)


class Block(nn.Module):
    """One layer: attention to the song, attention to the condition, a feed-forward network."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.self_attn_norm = nn.RMSNorm(dims.width, eps=dims.eps)
        self.self_attn = Attention(dims)
        self.cross_attn_norm = nn.RMSNorm(dims.width, eps=dims.eps)
        self.cross_attn = Attention(dims)
        self.mlp_norm = nn.RMSNorm(dims.width, eps=dims.eps)
        self.mlp = Mlp(dims)
        self.scale_shift_table = mx.zeros((1, 6, dims.width))

    def __call__(
        self,
        states: mx.array,
        modulation: mx.array,
        mask: mx.array | None,
        listeners: Sequence[tuple[int, mx.array, mx.array]],
    ) -> mx.array:
        """The states `(B, L, W)` in float32."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = mx.split(self.scale_shift_table + modulation, 6, axis=1)
        states = states + gate * self.self_attn(_modulated(self.self_attn_norm, states, shift, scale), mask)
        states = states + self.cross_attn.listen(narrowed(self.cross_attn_norm, states), listeners)
        return states + mlp_gate * self.mlp(_modulated(self.mlp_norm, states, mlp_shift, mlp_scale))


def _modulated(norm: nn.RMSNorm, states: mx.array, shift: mx.array, scale: mx.array) -> mx.array:
    moved: mx.array = norm(states) * (1 + scale) + shift
    return moved.astype(norm.weight.dtype)


class Dit(nn.Module):
    """The transformer: noise and context in, velocity out."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        dims, patch = dims_of(config), config["patch_size"]
        self.proj_in_conv = nn.Conv1d(config["in_channels"], dims.width, patch, stride=patch)
        self.time_embed = TimeEmbedding(dims.width)
        self.time_embed_r = TimeEmbedding(dims.width)
        self.condition_embedder = nn.Linear(config.get("encoder_hidden_size") or dims.width, dims.width)
        self.layers = [Block(dims) for _ in range(config["num_hidden_layers"])]
        self.norm_out = nn.RMSNorm(dims.width, eps=dims.eps)
        self.proj_out_conv = nn.ConvTranspose1d(dims.width, config["audio_acoustic_hidden_dim"], patch, stride=patch)
        self.scale_shift_table = mx.zeros((1, 2, dims.width))
        self._patch, self._window = patch, dims.window
        self._slides = slides(config["layer_types"], len(self.layers))

    def remember(self, states: Sequence[mx.array]) -> MlxCondition:
        """The condition of packed states `(1, L, W)`, one per item, with every layer's keys and values."""
        memory = []
        for item in states:
            embedded = self.condition_embedder(item)
            memory.append(tuple(layer.cross_attn.keys_values(embedded) for layer in self.layers))
        condition = MlxCondition(tuple(states), tuple(memory))
        mx.eval(*condition.states, *(each for item in memory for pair in item for each in pair))
        return condition

    def __call__(self, x: mx.array, t: mx.array, context: mx.array, listeners: Listeners) -> mx.array:
        """`v_t` in float32 for rows of `x` `(B, T, C)` and `context` `(B, T, 2C)`; `t` is `(1,)`."""
        frames = x.shape[1]
        seen = mx.concatenate([context, x], axis=-1)
        seen = mx.pad(seen, [(0, 0), (0, -frames % self._patch), (0, 0)])
        states = self.proj_in_conv(seen.astype(self.proj_in_conv.weight.dtype)).astype(mx.float32)
        dtype = self.norm_out.weight.dtype
        time, modulation = self.time_embed(t, dtype)
        since, moved = self.time_embed_r(mx.zeros_like(t), dtype)
        near = window_mask(states.shape[1], self._window)
        for index, layer in enumerate(self.layers):
            heard = [(rows, *memory[index]) for rows, memory in listeners]
            states = layer(states, modulation + moved, near if self._slides[index] else None, heard)
        shift, scale = mx.split(self.scale_shift_table + time + since, 2, axis=1)
        velocity = self.proj_out_conv(_modulated(self.norm_out, states, shift, scale))
        return velocity[:, :frames].astype(mx.float32)
