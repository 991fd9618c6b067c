"""ACE-Step's condition encoder, tokenizer and detokenizer in MLX."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from core.errors import CheckpointError
from networks.acestep.layouts import FSQ_LEVELS, Config
from networks.acestep.mlx.layers import EncoderStack
from networks.acestep.weights import REPAIR


class TimbreEncoder(EncoderStack):
    """Encodes each reference as one vector."""

    def __init__(self, config: Config, *, token: bool) -> None:
        super().__init__(
            {**config, "layer_types": None},
            into=config["timbre_hidden_dim"],
            layers=config["num_timbre_encoder_hidden_layers"],
        )
        self.special_token = mx.zeros((1, 1, config["hidden_size"]))
        self._token = token

    def __call__(self, references: mx.array) -> mx.array:
        """`(1, n, W)` of latents `(n, T, C)`."""
        states = self.embed(references)
        if self._token:
            token = mx.broadcast_to(self.special_token, (len(states), 1, states.shape[-1]))
            states = mx.concatenate([token, states], axis=1)
        return self.run_layers(states)[None, :, 0]


class ConditionEncoder(nn.Module):
    """Encodes lyrics, timbre and text as one sequence."""

    def __init__(self, config: Config, *, token: bool) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.text_projector = nn.Linear(config["text_hidden_dim"], width, bias=False)
        self.lyric_encoder = EncoderStack(
            config, into=config["text_hidden_dim"], layers=config["num_lyric_encoder_hidden_layers"]
        )
        self.timbre_encoder = TimbreEncoder(config, token=token)
        self.null_condition_emb = mx.zeros((1, 1, width))
        self.silence_latent = mx.zeros((1, 1, config["timbre_hidden_dim"]))

    def __call__(self, text: mx.array, lyrics: mx.array, references: mx.array) -> mx.array:
        """The packed states `(1, L, W)` of one item: lyrics, one token per reference, text."""
        lyric = self.lyric_encoder
        lyric_states = lyric.run_layers(lyric.embed(lyrics))
        text_states = self.text_projector(text.astype(self.text_projector.weight.dtype))
        return mx.concatenate([lyric_states, self.timbre_encoder(references), text_states], axis=1)


class Quantizer(nn.Module):
    """Finite scalar quantisation of one stage, in float32 throughout."""

    def __init__(self, width: int, levels: Sequence[int]) -> None:
        super().__init__()
        self.project_in = nn.Linear(width, len(levels))
        self.project_out = nn.Linear(len(levels), width)
        bases = [1]
        for level in levels[:-1]:
            bases.append(bases[-1] * level)
        self._levels, self._bases = mx.array(list(levels)), mx.array(bases)

    def codes(self, states: mx.array) -> mx.array:
        """Codes `(...)` of states `(..., W)`."""
        steps = (self._levels - 1).astype(mx.float32)
        bound = 1 + 1 / steps
        values = mx.tanh(_linear(self.project_in, states) / bound) * bound
        digits = mx.floor(steps * (mx.clip(values, -1, 1) + 1) / 2 + 0.5)
        return (digits.astype(mx.int32) * self._bases).sum(axis=-1)

    def states(self, codes: mx.array) -> mx.array:
        """States `(..., W)` of codes `(...)`, in float32."""
        digits = (codes[..., None] // self._bases) % self._levels
        values = digits.astype(mx.float32) * (2 / (self._levels - 1).astype(mx.float32)) - 1
        return _linear(self.project_out, values)


def _linear(layer: nn.Linear, values: mx.array) -> mx.array:
    return values.astype(mx.float32) @ layer.weight.astype(mx.float32).T + layer.bias.astype(mx.float32)


class Pooler(EncoderStack):
    """Pools each group of vectors into one vector."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, into=config["hidden_size"], layers=config["num_attention_pooler_hidden_layers"])
        self.special_token = mx.zeros((1, 1, config["hidden_size"]))

    def __call__(self, groups: mx.array) -> mx.array:
        """`(N, W)` of vectors `(N, group, W)`."""
        states = self.embed(groups)
        token = mx.broadcast_to(self.special_token, (len(states), 1, states.shape[-1]))
        return self.run_layers(mx.concatenate([token, states], axis=1))[:, 0]


class AudioTokenizer(nn.Module):
    """Encodes latents as audio codes."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config["fsq_input_num_quantizers"] != 1:
            raise CheckpointError("Audio codes of more than one stage are not supported.", REPAIR)
        self.audio_acoustic_proj = nn.Linear(config["audio_acoustic_hidden_dim"], config["hidden_size"])
        self.attention_pooler = Pooler(config)
        self.quantizer = Quantizer(config["fsq_dim"], config["fsq_input_levels"] or FSQ_LEVELS)
        self._group = config["pool_window_size"]

    def __call__(self, latents: mx.array) -> mx.array:
        """Codes `(B, N)` of latents `(B, N * group, C)`."""
        batch, _, channels = latents.shape
        groups = latents.reshape(-1, self._group, channels).astype(self.audio_acoustic_proj.weight.dtype)
        pooled = self.attention_pooler(self.audio_acoustic_proj(groups))
        return self.quantizer.codes(pooled).reshape(batch, -1)


class AudioDetokenizer(EncoderStack):
    """Decodes the vectors of codes to latents."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, into=config["hidden_size"], layers=config["num_attention_pooler_hidden_layers"])
        self.special_tokens = mx.zeros((1, config["pool_window_size"], config["hidden_size"]))
        self.proj_out = nn.Linear(config["hidden_size"], config["audio_acoustic_hidden_dim"])

    def __call__(self, states: mx.array) -> mx.array:
        """Latents `(B, N * group, C)` in float32 of states `(B, N, W)`."""
        batch, count, width = states.shape
        groups = self.embed(states)[:, :, None] + self.special_tokens
        latents = self.proj_out(self.run_layers(groups.reshape(batch * count, -1, width)))
        return latents.reshape(batch, -1, latents.shape[-1]).astype(mx.float32)
