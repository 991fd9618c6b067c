"""The torch runtime: diffusers' modules on CUDA, Apple's MPS or the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import CheckpointError
from networks.acestep.layouts import reads_timbre_token, shape_of
from networks.acestep.lora.adapter import Adapter
from networks.acestep.runtime import SILENT_REFERENCE_FRAMES, Condition
from networks.acestep.text import Ids, Words, distinct
from networks.acestep.tiling import TILE_S, reach_of, tiles
from networks.acestep.torch.dit import Grid, TorchCondition, grid_of, install_attention, remember, velocity
from networks.acestep.torch.lora import apply_adapters
from networks.acestep.torch.parts import Network, Parts, load_parts
from networks.machine import DeviceKind, DType, RuntimeName, process_peak_gb
from networks.torch_device import dtype_on, free_memory, open_device

P = ParamSpec("P")
R = TypeVar("R")


def open_torch_runtime(
    folder: Path, companion: Path | None = None, *, device: str | None = None, dtype: DType | None = None
) -> TorchRuntime:
    """Load the checkpoint in `folder` on torch; `device` and `dtype` as in `open_device` and `dtype_on`.

    Raises CheckpointError for weights that are not the checkpoint's, and StudioError for a device that is not there.
    """
    target = open_device(device)
    number_format = dtype_on(target, dtype)
    return TorchRuntime(load_parts(folder, companion, target, number_format), target, number_format)


def _without_gradients(method: Callable[Concatenate[TorchRuntime, P], R]) -> Callable[Concatenate[TorchRuntime, P], R]:
    @wraps(method)
    def run(self: TorchRuntime, *args: P.args, **kwargs: P.kwargs) -> R:
        with torch.no_grad():
            return method(self, *args, **kwargs)

    return run


class TorchRuntime:
    """See runtimes.Runtime. Results stay on the runtime's device, in float32."""

    name: RuntimeName = "torch"

    def __init__(self, parts: Parts, device: torch.device, dtype: torch.dtype) -> None:
        self.parts = parts
        self.device = device
        self.dtype = dtype
        self.shape = shape_of(parts.configs)
        self._grid: Grid | None = None
        self._adapters: tuple[Adapter, ...] | None = ()
        self._words = Words(parts.tokenizer_file) if parts.tokenizer_file else None
        install_attention(parts.transformer)
        if reads_timbre_token(parts.configs):
            _mend_timbre(parts.condition_encoder)

    @property
    def device_kind(self) -> DeviceKind:
        """See Runtime.device_kind."""
        return cast(DeviceKind, self.device.type)

    @_without_gradients
    def encode(self, waveform: Tensor) -> Tensor:
        """See Runtime.encode."""
        hop = self.shape.hop
        frames = self.shape.frames_of(waveform.shape[-1])
        padded = F.pad(waveform, (0, frames * hop - waveform.shape[-1]))
        return torch.cat([self._encode(item) for item in padded.split(1)])

    def _encode(self, waveform: Tensor) -> Tensor:
        vae, hop, latents = self._vae(), self.shape.hop, []
        for tile in tiles(waveform.shape[-1] // hop, self._tile, self._reach):
            part = waveform[..., tile.left * hop : tile.right * hop].to(self.device, torch.float32)
            mode = vae.encode(part).latent_dist.mode().transpose(1, 2)
            latents.append(mode[:, tile.start - tile.left : tile.stop - tile.left])
        return torch.cat(latents, dim=1)

    @_without_gradients
    def decode(self, latents: Tensor) -> Tensor:
        """See Runtime.decode."""
        return torch.cat([self._decode(item) for item in latents.split(1)])

    def _decode(self, latents: Tensor) -> Tensor:
        vae, hop, waves = self._vae(), self.shape.hop, []
        for tile in tiles(latents.shape[1], self._tile, self._reach):
            part = latents[:, tile.left : tile.right].to(self.device, torch.float32)
            wave = vae.decode(part.transpose(1, 2)).sample
            waves.append(wave[..., (tile.start - tile.left) * hop : (tile.stop - tile.left) * hop])
        return torch.cat(waves, dim=-1)

    @_without_gradients
    def silence(self, frames: int) -> Tensor:
        """See Runtime.silence."""
        stored: Tensor = self.parts.condition_encoder.silence_latent
        repeats = -(-frames // stored.shape[1])
        return stored.repeat(1, repeats, 1)[:, :frames].float()

    @_without_gradients
    def set_adapters(self, adapters: Sequence[Adapter]) -> None:
        """See Runtime.set_adapters."""
        if self._adapters != tuple(adapters):
            self._adapters = None  # unknown until all of them are in place
            apply_adapters(self.parts.transformer, adapters)
            self._adapters = tuple(adapters)

    @_without_gradients
    def condition(
        self, texts: Sequence[str], lyrics: Sequence[str], references: Sequence[Tensor | None] = ()
    ) -> TorchCondition:
        """See Runtime.condition."""
        encoder, words = self.parts.text_encoder, self._words
        if encoder is None or words is None:
            raise CheckpointError("This checkpoint has no text encoder.", "Give the companion folder that holds it.")
        embed = encoder.get_input_embeddings()
        items = []
        for text, sung, timbre in distinct(texts, lyrics, references):
            states = encoder(input_ids=self._ids(words.text(text))).last_hidden_state
            items.append(self._pack(states, embed(self._ids(words.lyrics(sung))), timbre))
        return remember(self.parts.transformer, items)

    @_without_gradients
    def condition_from_states(
        self, text_states: Tensor, lyric_states: Tensor, references: Sequence[Tensor | None] = ()
    ) -> TorchCondition:
        """See Runtime.condition_from_states."""
        given = zip(text_states.split(1), lyric_states.split(1), references or [None] * len(text_states), strict=True)
        return remember(self.parts.transformer, [self._pack(*item) for item in given])

    @_without_gradients
    def null_condition(self) -> TorchCondition:
        """See Runtime.null_condition.

        Upstream repeats the learned state to the length of the condition. Attention over equal keys and values is
        their value, whatever their number: one is enough.
        """
        return remember(self.parts.transformer, [self.parts.condition_encoder.null_condition_emb])

    @_without_gradients
    def velocity(self, x: Tensor, t: float, context: Tensor, conditions: Sequence[Condition]) -> list[Tensor]:
        """See Runtime.velocity."""
        dit = self.parts.transformer
        heard = cast(Sequence[TorchCondition], conditions)
        tokens = -(-x.shape[1] // self.shape.patch)
        if self._grid is None or self._grid.tokens != tokens:
            self._grid = grid_of(dit, tokens)
        answers = velocity(dit, self._grid, self._put(x), t, self._put(context), heard)
        return [answer.float() for answer in answers]

    @_without_gradients
    def latents_to_codes(self, latents: Tensor) -> Tensor:
        """See Runtime.latents_to_codes."""
        silence = self.parts.condition_encoder.silence_latent
        codes: Tensor
        _, codes = self.parts.audio_tokenizer.tokenize(self._put(latents), silence)
        return codes.squeeze(-1)

    @_without_gradients
    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """See Runtime.codes_to_latents."""
        states = self.parts.audio_tokenizer.quantizer.get_output_from_indices(codes.to(self.device))
        latents: Tensor = self.parts.audio_token_detokenizer(states.to(self.dtype))
        return latents.float()

    def peak_gb(self) -> float:
        """See Runtime.peak_gb: of the GPU's memory on CUDA, else of the process."""
        if self.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            return peak / 1e9
        return process_peak_gb()

    def close(self) -> None:
        """See Runtime.close."""
        vars(self).pop("parts", None)
        self._position_tables = None
        free_memory(self.device)

    def _pack(self, text: Tensor, lyrics: Tensor, references: Tensor | None) -> Tensor:
        """The packed states `(1, L, W)` of one item: lyrics, one token per reference, text."""
        references = self.silence(SILENT_REFERENCE_FRAMES) if references is None else references
        states, _ = self.parts.condition_encoder(
            text_hidden_states=self._put(text),
            text_attention_mask=torch.ones(text.shape[:2], dtype=torch.bool, device=self.device),
            lyric_hidden_states=self._put(lyrics),
            lyric_attention_mask=torch.ones(lyrics.shape[:2], dtype=torch.bool, device=self.device),
            refer_audio_acoustic_hidden_states_packed=self._put(references),
            refer_audio_order_mask=torch.zeros(len(references), dtype=torch.long, device=self.device),
        )
        packed: Tensor = states
        return packed

    def _ids(self, ids: Ids) -> Tensor:
        return torch.tensor([ids], device=self.device)

    def _put(self, tensor: Tensor) -> Tensor:
        return tensor.to(device=self.device, dtype=self.dtype)

    def _vae(self) -> Network:
        if self.parts.vae is None:
            raise CheckpointError("This checkpoint has no VAE.", "Give the companion folder that holds it.")
        return self.parts.vae

    @property
    def _tile(self) -> int:
        return round(TILE_S * self.shape.frames_hz)

    @property
    def _reach(self) -> int:
        return reach_of(self._vae().config.downsampling_ratios)


class _WithSpecialToken(nn.Module):
    """The timbre encoder's input projection with its special token in front."""

    def __init__(self, project: nn.Module, token: Tensor) -> None:
        super().__init__()
        self.project = project
        self.token = token

    def forward(self, latents: Tensor) -> Tensor:
        """States `(N, 1 + T, W)`."""
        return torch.cat([self.token.expand(len(latents), -1, -1), self.project(latents)], dim=1)


def _mend_timbre(encoder: Network) -> None:
    """Nothing; the encoder reads its timbre from the special token, which diffusers never prepends.

    It reads the first frame instead, which puts a wrong timbre into every condition of XL.
    """
    timbre = encoder.timbre_encoder
    timbre.embed_tokens = _WithSpecialToken(timbre.embed_tokens, timbre.special_token)
