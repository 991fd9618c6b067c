"""ACE-Step's diffusion transformer in MLX.

The order of its operations is that of diffusers' `AceStepTransformer1DModel.forward`, except that cross-attention
keys and values come from the condition's cache, where they were computed once, and that t stays in float32 until it
is a sinusoid: bfloat16 rounds t * 1000 to multiples of four.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import mlx.core as mx
import mlx.nn as nn

from networks.acestep.conditions import EncodedCondition
from networks.acestep.layouts import Config
from networks.acestep.mlx.layers import Attention, Dims, Mlp, dims_of, normalised, sliding_layers, window_mask
from networks.acestep.runtime import Head

SINUSOID_WIDTH = 256
"""Length of the sinusoid that stands for t; half of it are cosines, half sines."""
_T_SCALE = 1000.0
_LONGEST_PERIOD = 10_000.0

KeysValues = tuple[mx.array, mx.array]
RowCaches = Sequence[tuple[int, Sequence[KeysValues]]]
"""How many rows of the batch attend to which item: one pair of keys and values per layer."""

MlxCondition = EncodedCondition[mx.array]


class TimeEmbedding(nn.Module):
    """A noise level as a vector, and as the six modulations of every layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(SINUSOID_WIDTH, width)
        self.linear_2 = nn.Linear(width, width)
        self.time_proj = nn.Linear(width, 6 * width)

    def __call__(self, t: mx.array, dtype: mx.Dtype) -> tuple[mx.array, mx.array]:
        """The embedding `(1, 1, W)` of `t` `(1,)` and the modulations `(1, 6, W)`, made in `dtype`, in float32."""
        half = SINUSOID_WIDTH // 2
        rates = mx.exp(mx.arange(half, dtype=mx.float32) * (-math.log(_LONGEST_PERIOD) / half))
        angles = t[:, None] * _T_SCALE * rates
        sinusoid = mx.concatenate([mx.cos(angles), mx.sin(angles)], axis=-1).astype(dtype)
        embedded = self.linear_2(nn.silu(self.linear_1(sinusoid)))
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
        row_caches: Sequence[tuple[int, mx.array, mx.array]],
    ) -> mx.array:
        """The states `(B, L, W)` in float32 after the layer."""
        return self.attend_to_condition(self.attend_to_song(states, modulation, mask), modulation, row_caches)

    def attend_to_song(self, states: mx.array, modulation: mx.array, mask: mx.array | None) -> mx.array:
        """The states halfway through the layer, where they turn to the condition."""
        shift, scale, gate, *_ = mx.split(self.scale_shift_table + modulation, 6, axis=1)
        return states + gate * self.self_attn(_modulated(self.self_attn_norm, states, shift, scale), mask)

    def attend_to_condition(
        self, states: mx.array, modulation: mx.array, row_caches: Sequence[tuple[int, mx.array, mx.array]]
    ) -> mx.array:
        """The states after the rest of the layer."""
        *_, mlp_shift, mlp_scale, mlp_gate = mx.split(self.scale_shift_table + modulation, 6, axis=1)
        states = states + self.cross_attn.cross_attend(normalised(self.cross_attn_norm, states), row_caches)
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
        self._is_sliding = sliding_layers(config["layer_types"], len(self.layers))

    def cache_cross_attention(self, states: Sequence[mx.array]) -> MlxCondition:
        """The condition of packed states `(1, L, W)`, one per item, with every layer's keys and values computed."""
        caches = []
        for item in states:
            embedded = self.condition_embedder(item)
            caches.append(tuple(layer.cross_attn.keys_values(embedded) for layer in self.layers))
        condition = MlxCondition(tuple(states), tuple(caches))
        mx.eval(*condition.states, *(each for layers in caches for pair in layers for each in pair))
        return condition

    def __call__(self, x: mx.array, t: mx.array, context: mx.array, caches: RowCaches) -> mx.array:
        """`v_t` in float32 for rows of `x` `(B, T, C)` and `context` `(B, T, 2C)`; `t` is `(1,)`."""
        frames = x.shape[1]
        states, (time, time_r), modulation = self._tokens(x, t, context)
        mask = window_mask(states.shape[1], self._window)
        for index, layer in enumerate(self.layers):
            row_caches = [(rows, *layers[index]) for rows, layers in caches]
            states = layer(states, modulation, mask if self._is_sliding[index] else None, row_caches)
        shift, scale = mx.split(self.scale_shift_table + time + time_r, 2, axis=1)
        velocity = self.proj_out_conv(_modulated(self.norm_out, states, shift, scale))
        return velocity[:, :frames].astype(mx.float32)

    def cross_attention(
        self, x: mx.array, t: mx.array, context: mx.array, cache: Sequence[KeysValues], heads: Sequence[Head]
    ) -> Iterator[tuple[Head, mx.array]]:
        """Each head with how much the tokens of one row attend to the keys of one item: `(L, keys)` in float32.

        They come layer by layer. The layers above the last of the heads do not run.
        """
        states, _, modulation = self._tokens(x, t, context)
        mask = window_mask(states.shape[1], self._window)
        for index, layer in enumerate(self.layers[: 1 + max(layer for layer, _ in heads)]):
            states = layer.attend_to_song(states, modulation, mask if self._is_sliding[index] else None)
            for head in (head for each, head in heads if each == index):
                turned = normalised(layer.cross_attn_norm, states)
                yield (index, head), layer.cross_attn.weights(turned, cache[index][0], head)
            states = layer.attend_to_condition(states, modulation, [(1, *cache[index])])

    def _tokens(
        self, x: mx.array, t: mx.array, context: mx.array
    ) -> tuple[mx.array, tuple[mx.array, mx.array], mx.array]:
        """What layers are given: a token for each patch of frames, the embeddings of t and t - r, the modulations."""
        inputs = mx.concatenate([context, x], axis=-1)
        inputs = mx.pad(inputs, [(0, 0), (0, -x.shape[1] % self._patch), (0, 0)])
        states = self.proj_in_conv(inputs.astype(self.proj_in_conv.weight.dtype)).astype(mx.float32)
        dtype = self.norm_out.weight.dtype
        time, modulation = self.time_embed(t, dtype)
        time_r, modulation_r = self.time_embed_r(mx.zeros_like(t), dtype)  # of t - r, which is 0 in sampling
        return states, (time, time_r), modulation + modulation_r
