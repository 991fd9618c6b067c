"""A checkpoint's networks in MLX: arrays of numpy in, arrays of numpy out. All of it runs in the MLX thread."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from core.errors import CheckpointError, StudioError
from networks.acestep.conditions import caches_by_rows
from networks.acestep.layouts import TEXT, VAE, Config, Layout, reads_timbre_token, shape_of
from networks.acestep.lora.adapter import Adapter
from networks.acestep.mlx.dit import Dit, MlxCondition
from networks.acestep.mlx.encoders import AudioDetokenizer, AudioTokenizer, ConditionEncoder
from networks.acestep.mlx.lora import AdaptedDit
from networks.acestep.mlx.vae import Vae
from networks.acestep.mlx.weights import Model, fill, read_bundle, read_parameters
from networks.acestep.runtime import SILENT_REFERENCE_FRAMES, Head
from networks.acestep.tiling import TILE_S, Tile, receptive_frames, tiles
from networks.acestep.tokenizer import Ids
from networks.acestep.weights import REPAIR
from networks.machine import GROUP_SIZE, Bits

Floats = NDArray[np.float32]

CACHE_BYTES = 2 << 30
"""Freed memory that MLX may keep for itself: without a limit it keeps all that a long song ever took."""


@dataclass(frozen=True, kw_only=True)
class NumberFormats:
    """The number formats of the DiT and of the encoders. The VAE runs in float32."""

    dit: mx.Dtype
    encoders: mx.Dtype


def build(configs: Mapping[str, Config]) -> dict[str, Model]:
    """The modules that these configurations describe, without memory for their parameters until they are read."""
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

    def __init__(self, layout: Layout, formats: NumberFormats, bits: Bits | None, *, compiled: bool) -> None:
        """The networks with weights that are still to be read, by `reading`."""
        mx.set_cache_limit(CACHE_BYTES)
        self.shape = shape_of(layout.configs)
        self._parts = build(layout.configs)
        for bundle in layout.bundles:
            dtypes = dict.fromkeys(bundle.configs, formats.encoders) | {"transformer": formats.dit, VAE: mx.float32}
            fill({part: self._parts[part] for part in bundle.configs}, read_bundle(bundle), dtypes)
        self._dit: Dit = self._parts["transformer"]
        self._adapted = AdaptedDit(self._dit)
        if bits is not None:
            _quantise(self._dit, bits)
        self._margin = receptive_frames(layout.configs[VAE]["downsampling_ratios"]) if VAE in self._parts else 0
        self._compiled = compiled
        self._forward: Any = None
        self._silence: Floats = np.empty(0, np.float32)

    @classmethod
    def opening(
        cls, layout: Layout, formats: NumberFormats, bits: Bits | None, *, compiled: bool
    ) -> Generator[None, None, Networks]:
        """The networks, ready to run, with a step after each parameter that was read."""
        networks = cls(layout, formats, bits, compiled=compiled)
        for model in networks._parts.values():
            for _ in read_parameters(model):
                yield
        mx.clear_cache()
        if VAE in networks._parts:
            networks._parts[VAE].drop_idle_units()
        networks._forward = networks._made_forward()
        networks._silence = np.array(networks._parts["condition_encoder"].silence_latent)
        return networks

    def tiles(self, frames: int) -> list[Tile]:
        """How the VAE works through so many frames."""
        return list(tiles(frames, round(TILE_S * self.shape.frames_hz), self._margin))

    def encode(self, waveform: Floats, tile: Tile) -> Floats:
        """A tile of the latents `(1, T, C)` of a waveform `(1, T * hop, 2)`."""
        latents = np.array(self._vae().encode(mx.array(waveform[:, tile.source(self.shape.hop)]))[:, tile.result()])
        mx.clear_cache()
        return latents

    def decode(self, latents: Floats, tile: Tile) -> Floats:
        """A tile of the waveform `(1, T * hop, 2)` of latents `(1, T, C)`."""
        wave = np.array(self._vae().decode(mx.array(latents[:, tile.source()]))[:, tile.result(self.shape.hop)])
        mx.clear_cache()
        return wave

    def silence(self, frames: int) -> Floats:
        """Latents `(1, frames, C)` of silence, the stored ones repeated as often as needed."""
        return np.tile(self._silence, (1, -(-frames // self._silence.shape[1]), 1))[:, :frames]

    def adapting(self, adapters: Sequence[Adapter]) -> Generator[None, None, None]:
        """Run the DiT with these adapters and no others, with a step after each layer that was read."""
        yield from self._adapted.applying(adapters)
        self._forward = self._made_forward()

    def condition(self, items: Sequence[tuple[Ids, Ids, Floats | None]]) -> MlxCondition:
        """One item for each (tokens of the text, tokens of the lyrics, references)."""
        encoder = self._parts[TEXT]
        packed = []
        for text_ids, lyric_ids, references in items:
            lyrics = encoder.embed_tokens(mx.array([lyric_ids], mx.int32))
            packed.append(self._pack(encoder(mx.array([text_ids], mx.int32)), lyrics, references))
        return self._dit.cache_cross_attention(packed)

    def condition_from_states(self, items: Sequence[tuple[Floats, Floats, Floats | None]]) -> MlxCondition:
        """One item for each (text states, lyric embeddings, references)."""
        arrays = ((mx.array(text), mx.array(lyrics), references) for text, lyrics, references in items)
        return self._dit.cache_cross_attention([self._pack(*item) for item in arrays])

    def _pack(self, text: mx.array, lyrics: mx.array, references: Floats | None) -> mx.array:
        references = self.silence(SILENT_REFERENCE_FRAMES) if references is None else references
        packed: mx.array = self._parts["condition_encoder"](text, lyrics, mx.array(references))
        return packed

    def null_condition(self) -> MlxCondition:
        """The learned absence of any condition, not repeated: attention over equal values is their value."""
        return self._dit.cache_cross_attention([self._parts["condition_encoder"].null_condition_emb])

    def velocity(self, x: Floats, t: float, context: Floats, conditions: Sequence[MlxCondition]) -> Floats:
        """`v_t` `(N * B, T, C)` for N conditions."""
        batch, repeats = len(x), (len(conditions), 1, 1)
        contexts = np.broadcast_to(context, (batch, *context.shape[1:]))
        caches = caches_by_rows(batch, conditions)
        v = self._forward(mx.array(np.tile(x, repeats)), mx.array([t]), mx.array(np.tile(contexts, repeats)), caches)
        velocity: Floats = np.array(v)
        if not np.isfinite(velocity).all():
            raise StudioError("The networks' numbers left their format.", "Choose the dtype bfloat16 or float32.")
        return velocity

    def cross_attention(
        self,
        x: Floats,
        t: float,
        context: Floats,
        condition: MlxCondition,
        *,
        heads: Sequence[Head],
        positions: slice,
    ) -> list[Floats]:
        """A map `(tokens of the DiT, positions)` for each head, of one row and one item."""
        (cache,) = condition.cross_attention_cache
        given = (mx.array(x), mx.array([t]), mx.array(context))
        maps = {head: np.array(each[:, positions]) for head, each in self._dit.cross_attention(*given, cache, heads)}
        mx.clear_cache()
        return [maps[head] for head in heads]

    def latents_to_codes(self, latents: Floats) -> NDArray[np.int64]:
        """Audio codes `(B, N)` of latents `(B, T, C)`, a rest shorter than a code filled up with silence."""
        batch, frames, _ = latents.shape
        rest = np.repeat(self.silence(-frames % self.shape.frames_per_code), batch, axis=0)
        codes = self._parts["audio_tokenizer"](mx.array(np.concatenate([latents, rest], axis=1)))
        return np.array(codes).astype(np.int64)

    def codes_to_latents(self, codes: NDArray[np.int64]) -> Floats:
        """Latents `(B, N * frames_per_code, C)` of audio codes `(B, N)`."""
        states = self._parts["audio_tokenizer"].quantizer.states(mx.array(codes.astype(np.int32)))
        return np.array(self._parts["audio_token_detokenizer"](states))

    def _vae(self) -> Vae:
        vae: Vae = self._parts[VAE]
        return vae

    def _made_forward(self) -> Any:
        """The DiT, compiled anew where that is asked for: a compiled function keeps the layers it was made with."""
        return mx.compile(self._dit) if self._compiled else self._dit


def _quantise(dit: Dit, bits: Bits) -> None:
    """Quantise the matrices of the DiT's layers; what surrounds the layers stays as it is."""

    def is_large(path: str, module: nn.Module) -> bool:
        linear = path.startswith("layers.") and isinstance(module, nn.Linear)
        return linear and module.weight.shape[1] % GROUP_SIZE == 0

    nn.quantize(dit, group_size=GROUP_SIZE, bits=bits, class_predicate=is_large)
