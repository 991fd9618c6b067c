"""A checkpoint's networks in MLX: arrays of numpy in, arrays of numpy out. All of it runs in the MLX thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from core.errors import CheckpointError, StudioError
from networks.acestep.layouts import TEXT, VAE, Config, Layout, reads_timbre_token, shape_of
from networks.acestep.lora.adapter import Adapter
from networks.acestep.mlx.dit import Dit, MlxCondition
from networks.acestep.mlx.encoders import AudioDetokenizer, AudioTokenizer, ConditionEncoder
from networks.acestep.mlx.lora import Adapted
from networks.acestep.mlx.vae import Vae
from networks.acestep.mlx.weights import Model, fill, read_bundle, settle
from networks.acestep.runtime import SILENT_REFERENCE_FRAMES
from networks.acestep.text import Ids
from networks.acestep.tiling import TILE_S, reach_of, tiles
from networks.acestep.weights import REPAIR
from networks.machine import GROUP_SIZE, Bits

Floats = NDArray[np.float32]

CACHE_BYTES = 2 << 30
"""Freed memory that MLX may keep for itself: without a limit it keeps all that a long song ever took."""


@dataclass(frozen=True, kw_only=True)
class Types:
    """The number formats: of the DiT, and of the encoders. The VAE runs in float32."""

    dit: mx.Dtype
    encoders: mx.Dtype


def build(configs: Mapping[str, Config]) -> dict[str, Model]:
    """The modules that these configurations describe, without memory for their parameters until they are looked at."""
    try:
        return {part: _built(part, config, configs) for part, config in configs.items()}
    except KeyError as missing:
        raise CheckpointError(f"A configuration lacks {missing}.", REPAIR) from None


def _built(part: str, config: Config, configs: Mapping[str, Config]) -> Model:
    if part == "transformer":
        return Dit(config)
    if part == "condition_encoder":
        return ConditionEncoder(config, token=reads_timbre_token(configs))
    if part == "audio_tokenizer":
        return AudioTokenizer(config)
    if part == "audio_token_detokenizer":
        return AudioDetokenizer(config)
    return Vae(config) if part == VAE else _text_encoder(config)


def _text_encoder(config: Config) -> Model:
    from mlx_lm.models.qwen3 import ModelArgs, Qwen3Model  # takes seconds: not for those who only count parameters

    return Qwen3Model(ModelArgs.from_dict(dict(config)))


class Networks:
    """The loaded networks. Arrays that come back are float32, apart from codes."""

    def __init__(self, layout: Layout, types: Types, bits: Bits | None, *, compiled: bool) -> None:
        mx.set_cache_limit(CACHE_BYTES)
        self.shape = shape_of(layout.configs)
        self._parts = build(layout.configs)
        for bundle in layout.bundles:
            dtypes = dict.fromkeys(bundle.configs, types.encoders) | {"transformer": types.dit, VAE: mx.float32}
            fill({part: self._parts[part] for part in bundle.configs}, read_bundle(bundle), dtypes)
        self._dit: Dit = self._parts["transformer"]
        self._adapted = Adapted(self._dit)
        if bits is not None:
            _quantise(self._dit, bits)
        for model in self._parts.values():
            settle(model)
        mx.clear_cache()
        if VAE in self._parts:
            self._parts[VAE].lighten()
            self._reach = reach_of(layout.configs[VAE]["downsampling_ratios"])
        self._compiled = compiled
        self._forward = self._made_forward()
        self._silence: Floats = np.array(self._parts["condition_encoder"].silence_latent)

    def encode(self, waveform: Floats) -> Floats:
        """Latents `(1, T, C)` of a waveform `(1, T * hop, 2)`."""
        vae, hop, found = self._vae(), self.shape.hop, []
        for tile in tiles(waveform.shape[1] // hop, self._tile, self._reach):
            latents = vae.encode(mx.array(waveform[:, tile.left * hop : tile.right * hop]))
            found.append(np.array(latents[:, tile.start - tile.left : tile.stop - tile.left]))
        mx.clear_cache()
        return np.concatenate(found, axis=1)

    def decode(self, latents: Floats) -> Floats:
        """The waveform `(1, T * hop, 2)` of latents `(1, T, C)`."""
        vae, hop, waves = self._vae(), self.shape.hop, []
        for tile in tiles(latents.shape[1], self._tile, self._reach):
            wave = vae.decode(mx.array(latents[:, tile.left : tile.right]))
            waves.append(np.array(wave[:, (tile.start - tile.left) * hop : (tile.stop - tile.left) * hop]))
        mx.clear_cache()
        return np.concatenate(waves, axis=1)

    def silence(self, frames: int) -> Floats:
        """See Runtime.silence."""
        return np.tile(self._silence, (1, -(-frames // self._silence.shape[1]), 1))[:, :frames]

    def set_adapters(self, adapters: Sequence[Adapter]) -> None:
        """See Runtime.set_adapters."""
        self._adapted.apply(adapters)
        self._forward = self._made_forward()

    def condition(self, items: Sequence[tuple[Ids, Ids, Floats | None]]) -> MlxCondition:
        """One item for each (tokens of the text, tokens of the lyrics, references)."""
        encoder = self._parts[TEXT]
        packed = []
        for text, lyrics, references in items:
            words = encoder.embed_tokens(mx.array([lyrics], mx.int32))
            packed.append(self._pack(encoder(mx.array([text], mx.int32)), words, references))
        return self._dit.remember(packed)

    def condition_from_states(self, items: Sequence[tuple[Floats, Floats, Floats | None]]) -> MlxCondition:
        """One item for each (text states, lyric embeddings, references)."""
        given = ((mx.array(text), mx.array(words), timbre) for text, words, timbre in items)
        return self._dit.remember([self._pack(*item) for item in given])

    def _pack(self, text: mx.array, words: mx.array, references: Floats | None) -> mx.array:
        heard = self.silence(SILENT_REFERENCE_FRAMES) if references is None else references
        packed: mx.array = self._parts["condition_encoder"](text, words, mx.array(heard))
        return packed

    def null_condition(self) -> MlxCondition:
        """See Runtime.null_condition; the state is not repeated, since attention over equal values is their value."""
        return self._dit.remember([self._parts["condition_encoder"].null_condition_emb])

    def velocity(self, x: Floats, t: float, context: Floats, conditions: Sequence[MlxCondition]) -> Floats:
        """`v_t` `(N * B, T, C)` for N conditions."""
        batch = len(x)
        shown = np.broadcast_to(context, (batch, *context.shape[1:]))
        listeners = [
            (batch // condition.items, memory) for condition in conditions for memory in condition.memory
        ]  # one item serves the whole batch, else there is one per row
        repeats = (len(conditions), 1, 1)
        answer = self._forward(
            mx.array(np.tile(x, repeats)), mx.array([t]), mx.array(np.tile(shown, repeats)), listeners
        )
        velocity: Floats = np.array(answer)
        if not np.isfinite(velocity).all():
            raise StudioError("The networks' numbers left their format.", "Choose the dtype bfloat16 or float32.")
        return velocity

    def latents_to_codes(self, latents: Floats) -> NDArray[np.int64]:
        """See Runtime.latents_to_codes."""
        batch, frames, _ = latents.shape
        rest = np.repeat(self.silence(-frames % self.shape.frames_per_code), batch, axis=0)
        codes = self._parts["audio_tokenizer"](mx.array(np.concatenate([latents, rest], axis=1)))
        return np.array(codes).astype(np.int64)

    def codes_to_latents(self, codes: NDArray[np.int64]) -> Floats:
        """See Runtime.codes_to_latents."""
        states = self._parts["audio_tokenizer"].quantizer.states(mx.array(codes.astype(np.int32)))
        return np.array(self._parts["audio_token_detokenizer"](states))

    @property
    def _tile(self) -> int:
        return round(TILE_S * self.shape.frames_hz)

    def _vae(self) -> Vae:
        vae: Vae = self._parts[VAE]
        return vae

    def _made_forward(self) -> Any:
        """The DiT, compiled anew where that is asked for: a compiled function keeps the layers it was made with."""
        return mx.compile(self._dit) if self._compiled else self._dit


def _quantise(dit: Dit, bits: Bits) -> None:
    """Nothing; the matrices of the DiT's layers have so few bits each. What surrounds the layers stays as it is."""

    def is_large(path: str, module: nn.Module) -> bool:
        linear = path.startswith("layers.") and isinstance(module, nn.Linear)
        return linear and module.weight.shape[1] % GROUP_SIZE == 0

    nn.quantize(dit, group_size=GROUP_SIZE, bits=bits, class_predicate=is_large)
