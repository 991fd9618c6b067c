"""The torch runtime: diffusers' modules on CUDA, Apple's MPS or the CPU."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.events import Progress
from core.steps import finished
from networks.acestep.conditions import distinct_items
from networks.acestep.layouts import TEXT, VAE, lyric_heads, missing_codes, missing_part, reads_timbre_token, shape_of
from networks.acestep.lora.adapter import Adapter
from networks.acestep.runtime import SILENT_REFERENCE_FRAMES, Condition, Head
from networks.acestep.tiling import TILE_S, Tile, receptive_frames, tiled, tiles
from networks.acestep.tokenizer import Ids, PromptTokenizer, Span
from networks.acestep.torch.dit import (
    PositionTables,
    TorchCondition,
    cache_cross_attention,
    cross_attention,
    install_attention,
    position_tables,
    velocity,
)
from networks.acestep.torch.lora import apply_adapters
from networks.acestep.torch.offload import Offloaded
from networks.acestep.torch.parts import Network, Parts, loading_parts
from networks.machine import DeviceKind, DType, Offload, RuntimeName
from networks.torch_device import all_digits, dtype_on, free_memory, leave_between_layers, open_device, peak_gb

P = ParamSpec("P")
R = TypeVar("R")


def opening(
    folder: Path,
    companion: Path | None = None,
    *,
    vae: Path | None = None,
    device: str | None = None,
    dtype: DType | None = None,
    offload: Offload = "none",
) -> Generator[None, None, TorchRuntime]:
    """Load the checkpoint on torch, tensor by tensor; `device` and `dtype` as in `open_device` and `dtype_on`.

    With `offload` its weights stay in the host's memory, and the device holds what is at work: a part, or of the DiT a
    layer.

    Raises CheckpointError for weights that are not the checkpoint's, and StudioError for a device that is not there.
    """
    target = open_device(device)
    number_format = dtype_on(target, dtype)
    there = target if offload == "none" else torch.device("cpu")
    parts = yield from loading_parts(folder, companion, there, number_format, vae)
    return TorchRuntime(parts, target, number_format, offload)


def _without_gradients(method: Callable[Concatenate[TorchRuntime, P], R]) -> Callable[Concatenate[TorchRuntime, P], R]:
    @wraps(method)
    def run(self: TorchRuntime, *args: P.args, **kwargs: P.kwargs) -> R:
        with torch.no_grad():
            return method(self, *args, **kwargs)

    return run


class TorchRuntime:
    """A Runtime on torch; results stay on its device, in float32."""

    name: RuntimeName = "torch"

    def __init__(self, parts: Parts, device: torch.device, dtype: torch.dtype, offload: Offload = "none") -> None:
        self.parts = parts
        self.device = device
        self.dtype = dtype
        self.shape = shape_of(parts.configs)
        self.lyric_heads = lyric_heads(parts.configs)
        self._position_tables: PositionTables | None = None
        self._adapters: tuple[Adapter, ...] | None = ()
        self._tokenizer = PromptTokenizer(parts.tokenizer_file) if parts.tokenizer_file else None
        install_attention(parts.transformer)
        if reads_timbre_token(parts.configs):
            _prepend_timbre_token(parts.condition_encoder)
        streamed = parts.transformer.layers if offload == "layers" else ()
        leave_between_layers(parts.modules, device)
        self._offloaded = None if offload == "none" else Offloaded(parts.modules, device, streamed)
        self._at_hand = nullcontext if self._offloaded is None else self._offloaded.at_hand

    def _used(self, part: Network) -> Network:
        """A part with its weights on the device, until another is used."""
        if self._offloaded is not None:
            self._offloaded.use(part)
        return part

    @property
    def device_kind(self) -> DeviceKind:
        """Where the networks run."""
        return cast(DeviceKind, self.device.type)

    def encode(self, waveform: Tensor) -> Tensor:
        """Latents `(B, T, C)` of waveforms `(B, 2, S)`, item by item in tiles."""
        return finished(self.encoding(waveform))

    def encoding(self, waveform: Tensor) -> Generator[Progress, None, Tensor]:
        """Latents `(B, T, C)` of waveforms `(B, 2, S)`, with Progress between two tiles."""
        hop = self.shape.hop
        frames = self.shape.frames_of(waveform.shape[-1])
        padded = F.pad(waveform, (0, frames * hop - waveform.shape[-1]))
        rows = yield from tiled("encoding", padded.split(1), self._tiles(frames), self._encode)
        return torch.cat([torch.cat(row, dim=1) for row in rows])

    @_without_gradients
    def _encode(self, waveform: Tensor, tile: Tile) -> Tensor:
        part = waveform[..., tile.source(self.shape.hop)].to(self.device, torch.float32)
        with all_digits():
            mode: Tensor = self._vae().encode(part).latent_dist.mode().transpose(1, 2)
        return mode[:, tile.result()]

    def decode(self, latents: Tensor) -> Tensor:
        """Waveforms `(B, 2, T * hop)` of latents `(B, T, C)`, item by item in tiles."""
        return finished(self.decoding(latents))

    def decoding(self, latents: Tensor) -> Generator[Progress, None, Tensor]:
        """Waveforms `(B, 2, T * hop)` of latents `(B, T, C)`, with Progress between two tiles."""
        rows = yield from tiled("decoding", latents.split(1), self._tiles(latents.shape[1]), self._decode)
        return torch.cat([torch.cat(row, dim=-1) for row in rows])

    @_without_gradients
    def _decode(self, latents: Tensor, tile: Tile) -> Tensor:
        part = latents[:, tile.source()].to(self.device, torch.float32)
        with all_digits():
            wave: Tensor = self._vae().decode(part.transpose(1, 2)).sample
        return wave[..., tile.result(self.shape.hop)]

    @_without_gradients
    def silence(self, frames: int) -> Tensor:
        """Latents `(1, frames, C)` of silence, the stored ones repeated as often as needed."""
        stored: Tensor = self.parts.condition_encoder.silence_latent
        repeats = -(-frames // stored.shape[1])
        return stored.repeat(1, repeats, 1)[:, :frames].float()

    def set_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Run the DiT with these adapters and no others; the same ones again cost nothing."""
        finished(self.adapting(adapters))

    def adapting(self, adapters: Sequence[Adapter]) -> Generator[None, None, None]:
        """Run the DiT with these adapters and no others, with a step after each layer that was read."""
        if self._adapters != tuple(adapters):
            self._adapters = None  # unknown until all of them are in place
            yield from apply_adapters(self._used(self.parts.transformer), adapters, self._at_hand)
            self._adapters = tuple(adapters)

    @_without_gradients
    def condition(
        self, texts: Sequence[str], lyrics: Sequence[str], references: Sequence[Tensor | None] = ()
    ) -> TorchCondition:
        """Encode the items, one for each text, and cache their cross-attention keys and values."""
        encoder, tokenizer = self.parts.text_encoder, self._tokenizer
        if encoder is None or tokenizer is None:
            raise missing_part(TEXT)
        embed = self._used(encoder).get_input_embeddings()
        items = []  # one network after the other, so that an offloaded one is brought once
        for item_text, item_lyrics, timbre in distinct_items(texts, lyrics, references):
            states = encoder(input_ids=self._ids(tokenizer.text_ids(item_text))).last_hidden_state
            items.append((states, embed(self._ids(tokenizer.lyric_ids(item_lyrics))), timbre))
        return self._cached([self._pack(*item) for item in items])

    @_without_gradients
    def condition_from_states(
        self, text_states: Tensor, lyric_states: Tensor, references: Sequence[Tensor | None] = ()
    ) -> TorchCondition:
        """Encode items of text states `(B, L, D)` and lyric embeddings `(B, M, D)`."""
        items = zip(text_states.split(1), lyric_states.split(1), references or [None] * len(text_states), strict=True)
        return self._cached([self._pack(*item) for item in items])

    @_without_gradients
    def null_condition(self) -> TorchCondition:
        """The learned absence of any condition, as one item.

        Upstream repeats the learned state to the length of the condition. Attention over equal keys and values is
        their value, whatever their number: one is enough.
        """
        return self._cached([self.parts.condition_encoder.null_condition_emb])

    def _cached(self, states: Sequence[Tensor]) -> TorchCondition:
        return cache_cross_attention(self._used(self.parts.transformer), states, self._at_hand)

    @_without_gradients
    def velocity(self, x: Tensor, t: float, context: Tensor, conditions: Sequence[Condition]) -> list[Tensor]:
        """`v_t` `(B, T, C)` for each condition, from one batched forward."""
        encoded = cast(Sequence[TorchCondition], conditions)
        dit, inputs = self._used(self.parts.transformer), (self._cast(x), t, self._cast(context), encoded)
        velocities = velocity(dit, self._tables(x), *inputs, at_hand=self._at_hand)
        return [each.float() for each in velocities]

    def lyric_offsets(self, lyrics: str) -> list[Span]:
        """Where each token of a lyric text begins and ends in it."""
        if self._tokenizer is None:
            raise missing_part(TEXT)
        return self._tokenizer.lyric_offsets(lyrics)

    @_without_gradients
    def cross_attention(
        self,
        x: Tensor,
        t: float,
        context: Tensor,
        condition: Condition,
        *,
        heads: Sequence[Head],
        positions: tuple[int, int],
    ) -> list[Tensor]:
        """A map `(tokens of the DiT, positions)` for each head, on the CPU."""
        return cross_attention(
            self._used(self.parts.transformer),
            self._tables(x),
            self._cast(x),
            t,
            self._cast(context),
            cast(TorchCondition, condition),
            heads=heads,
            positions=slice(*positions),
            at_hand=self._at_hand,
        )

    def _tables(self, x: Tensor) -> PositionTables:
        """The position tables of `x`, kept for the next step."""
        tokens = -(-x.shape[1] // self.shape.patch)
        if self._position_tables is None or self._position_tables.tokens != tokens:
            self._position_tables = position_tables(self.parts.transformer, tokens)
        return self._position_tables

    @_without_gradients
    def latents_to_codes(self, latents: Tensor) -> Tensor:
        """Audio codes `(B, N)` of latents `(B, T, C)`, a rest shorter than a code filled up with silence."""
        silence = self.parts.condition_encoder.silence_latent
        codes: Tensor
        if self.parts.audio_tokenizer is None:
            raise missing_codes()
        _, codes = self._used(self.parts.audio_tokenizer).tokenize(self._cast(latents), silence)
        return codes.squeeze(-1)

    @_without_gradients
    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """Latents `(B, N * frames_per_code, C)` of audio codes `(B, N)`."""
        if self.parts.audio_tokenizer is None:
            raise missing_codes()
        states = self._used(self.parts.audio_tokenizer).quantizer.get_output_from_indices(codes.to(self.device))
        latents: Tensor = self._used(self.parts.audio_token_detokenizer)(states.to(self.dtype))
        return latents.float()

    def rest(self) -> None:
        """Take from the device the weights that are in the host's memory too."""
        if self._offloaded is not None:
            self._offloaded.rest()

    def peak_gb(self) -> float:
        """The peak in GB of the GPU's memory on CUDA since the last call, elsewhere of the process."""
        return peak_gb(self.device)

    def close(self) -> None:
        """Free the weights."""
        vars(self).pop("parts", None)
        self._offloaded = self._position_tables = None
        self._at_hand = nullcontext
        free_memory(self.device)

    def _pack(self, text: Tensor, lyrics: Tensor, references: Tensor | None) -> Tensor:
        """The packed states `(1, L, W)` of one item: lyrics, one token per reference, text."""
        references = self.silence(SILENT_REFERENCE_FRAMES) if references is None else references
        states, _ = self._used(self.parts.condition_encoder)(
            text_hidden_states=self._cast(text),
            text_attention_mask=torch.ones(text.shape[:2], dtype=torch.bool, device=self.device),
            lyric_hidden_states=self._cast(lyrics),
            lyric_attention_mask=torch.ones(lyrics.shape[:2], dtype=torch.bool, device=self.device),
            refer_audio_acoustic_hidden_states_packed=self._cast(references),
            refer_audio_order_mask=torch.zeros(len(references), dtype=torch.long, device=self.device),
        )
        packed: Tensor = states
        return packed

    def _ids(self, ids: Ids) -> Tensor:
        return torch.tensor([ids], device=self.device)

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(device=self.device, dtype=self.dtype)

    def _vae(self) -> Network:
        if self.parts.vae is None:
            raise missing_part(VAE)
        return self._used(self.parts.vae)

    def _tiles(self, frames: int) -> list[Tile]:
        margin = receptive_frames(self._vae().config.downsampling_ratios)
        return list(tiles(frames, round(TILE_S * self.shape.frames_hz), margin))


class _WithSpecialToken(nn.Module):
    """The timbre encoder's input projection with its special token in front."""

    def __init__(self, project: nn.Module, token: Tensor) -> None:
        super().__init__()
        self.project = project
        self.token = token

    def forward(self, latents: Tensor) -> Tensor:
        """States `(N, 1 + T, W)`."""
        return torch.cat([self.token.expand(len(latents), -1, -1), self.project(latents)], dim=1)


def _prepend_timbre_token(encoder: Network) -> None:
    """Make the encoder read its timbre from the special token, which diffusers never prepends.

    Stock diffusers reads the first frame instead, which puts a wrong timbre into every condition of XL.
    """
    timbre = encoder.timbre_encoder
    timbre.embed_tokens = _WithSpecialToken(timbre.embed_tokens, timbre.special_token)
