"""The MLX runtime: ACE-Step's networks on Apple silicon, or on a CPU for tests.

The pipeline speaks torch, on the CPU here; the networks speak MLX, in MLX's own thread. This is the seam: numpy and
handles of conditions cross it, nothing else.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import mlx.core as mx
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import StudioError
from core.events import Progress
from core.steps import finished
from networks import mlx_thread
from networks.acestep.conditions import distinct_items
from networks.acestep.layouts import TEXT, TOKENIZER, VAE, Layout, layout_of, lyric_heads, missing_codes, missing_part
from networks.acestep.lora.adapter import Adapter
from networks.acestep.mlx.dit import MlxCondition
from networks.acestep.mlx.networks import Floats, Networks, NumberFormats
from networks.acestep.runtime import Condition, Head
from networks.acestep.tiling import Tile, tiled
from networks.acestep.tokenizer import PromptTokenizer, Span
from networks.machine import Bits, DeviceKind, DType, RuntimeName

P = ParamSpec("P")
R = TypeVar("R")

METAL = "mps"
"""What the studio calls Apple's GPU, whichever framework uses it."""


def opening(
    folder: Path,
    companion: Path | None = None,
    *,
    vae: Path | None = None,
    device: str | None = None,
    dtype: DType | None = None,
    bits: Bits | None = None,
) -> Generator[None, None, MlxRuntime]:
    """Load the checkpoint in `folder` on MLX, parameter by parameter.

    None takes the GPU if there is one, and float16 there, float32 on a CPU.

    `bits` quantises the DiT's layers. Raises CheckpointError for weights that are not the checkpoint's, and StudioError
    for a device that is not there.

    float16 is the DiT's alone: there it is several times nearer to float32 than bfloat16. The encoders, which run
    once and were trained in bfloat16's range, then run in bfloat16.
    """
    kind = device or (METAL if mx.metal.is_available() else "cpu")
    if kind != "cpu" and not (kind == METAL and mx.metal.is_available()):
        raise StudioError(f"MLX has no device {kind!r} on this machine.", "Choose cpu, or the runtime torch.")
    chosen = dtype or ("float32" if kind == "cpu" else "float16")
    formats = NumberFormats(
        dit=getattr(mx, chosen), encoders=mx.bfloat16 if chosen == "float16" else getattr(mx, chosen)
    )
    layout = layout_of(folder, companion, vae)
    tokenizer = PromptTokenizer(layout.tokenizer_file) if layout.tokenizer_file else None
    mlx_device = mx.cpu if kind == "cpu" else mx.gpu
    made = partial(Networks.opening, layout, formats, bits, compiled=kind == METAL)
    networks = yield from mlx_thread.iterate(made, within=partial(mx.stream, mlx_device))
    return MlxRuntime(networks, layout, tokenizer, cast(DeviceKind, kind))


def _on(device: mx.Device | mx.DeviceType, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    with mx.stream(device):
        return function(*args, **kwargs)


class MlxRuntime:
    """A Runtime on MLX; results are on the CPU, in float32."""

    name: RuntimeName = "mlx"

    def __init__(
        self, networks: Networks, layout: Layout, tokenizer: PromptTokenizer | None, device_kind: DeviceKind
    ) -> None:
        self._networks: Networks | None = networks
        self._parts = frozenset(layout.configs)
        self._tokenizer = tokenizer
        self._adapters: tuple[Adapter, ...] | None = ()
        self.shape = networks.shape
        self.lyric_heads = lyric_heads(layout.configs)
        self.device_kind = device_kind

    def encode(self, waveform: Tensor) -> Tensor:
        """Latents `(B, T, C)` of waveforms `(B, 2, S)`, item by item in tiles."""
        return finished(self.encoding(waveform))

    def encoding(self, waveform: Tensor) -> Generator[Progress, None, Tensor]:
        """Latents `(B, T, C)` of waveforms `(B, 2, S)`, with Progress between two tiles."""
        if VAE not in self._parts:
            raise missing_part(VAE)
        frames = self.shape.frames_of(waveform.shape[-1])
        padded = F.pad(waveform, (0, frames * self.shape.hop - waveform.shape[-1])).transpose(1, 2)
        items = [_array(item) for item in padded.split(1)]
        rows = yield from tiled("encoding", items, self._tiles(frames), partial(self._run, Networks.encode))
        return torch.cat([_tensor(np.concatenate(row, axis=1)) for row in rows])

    def decode(self, latents: Tensor) -> Tensor:
        """Waveforms `(B, 2, T * hop)` of latents `(B, T, C)`, item by item in tiles."""
        return finished(self.decoding(latents))

    def decoding(self, latents: Tensor) -> Generator[Progress, None, Tensor]:
        """Waveforms `(B, 2, T * hop)` of latents `(B, T, C)`, with Progress between two tiles."""
        if VAE not in self._parts:
            raise missing_part(VAE)
        items = [_array(item) for item in latents.split(1)]
        rows = yield from tiled("decoding", items, self._tiles(latents.shape[1]), partial(self._run, Networks.decode))
        return torch.cat([_tensor(np.concatenate(row, axis=1)) for row in rows]).transpose(1, 2).contiguous()

    def _tiles(self, frames: int) -> list[Tile]:
        return self._run(Networks.tiles, frames)

    def silence(self, frames: int) -> Tensor:
        """Latents `(1, frames, C)` of silence."""
        return _tensor(self._run(Networks.silence, frames))

    def set_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Run the DiT with these adapters and no others; the same ones again cost nothing."""
        finished(self.adapting(adapters))

    def adapting(self, adapters: Sequence[Adapter]) -> Generator[None, None, None]:
        """Run the DiT with these adapters and no others, with a step after each layer that was read."""
        if self._adapters != tuple(adapters):
            networks = self._networks
            assert networks is not None
            made = partial(networks.adapting, adapters)
            yield from mlx_thread.iterate(made, within=partial(mx.stream, self._mlx_device))
            self._adapters = tuple(adapters)

    def condition(
        self, texts: Sequence[str], lyrics: Sequence[str], references: Sequence[Tensor | None] = ()
    ) -> MlxCondition:
        """Encode the items, one for each text, and cache their cross-attention keys and values."""
        tokenizer = self._tokenizer
        if tokenizer is None:
            raise missing_part(TEXT)
        items = [
            (tokenizer.text_ids(text), tokenizer.lyric_ids(words), None if timbre is None else _array(timbre))
            for text, words, timbre in distinct_items(texts, lyrics, references)
        ]
        return self._run(Networks.condition, items)

    def condition_from_states(
        self, text_states: Tensor, lyric_states: Tensor, references: Sequence[Tensor | None] = ()
    ) -> MlxCondition:
        """Encode items of text states `(B, L, D)` and lyric embeddings `(B, M, D)`."""
        timbres = references or [None] * len(text_states)
        items = [
            (_array(text), _array(words), None if timbre is None else _array(timbre))
            for text, words, timbre in zip(text_states.split(1), lyric_states.split(1), timbres, strict=True)
        ]
        return self._run(Networks.condition_from_states, items)

    def null_condition(self) -> MlxCondition:
        """The learned absence of any condition, as one item."""
        return self._run(Networks.null_condition)

    def velocity(self, x: Tensor, t: float, context: Tensor, conditions: Sequence[Condition]) -> list[Tensor]:
        """`v_t` `(B, T, C)` for each condition, from one batched forward."""
        encoded = cast(Sequence[MlxCondition], conditions)
        velocities = _tensor(self._run(Networks.velocity, _array(x), t, _array(context), encoded))
        return list(velocities.chunk(len(encoded)))

    def lyric_offsets(self, lyrics: str) -> list[Span]:
        """Where each token of a lyric text begins and ends in it."""
        if self._tokenizer is None:
            raise missing_part(TEXT)
        return self._tokenizer.lyric_offsets(lyrics)

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
        """A map `(tokens of the DiT, positions)` for each head."""
        call = partial(Networks.cross_attention, heads=heads, positions=slice(*positions))
        return [_tensor(each) for each in self._run(call, _array(x), t, _array(context), condition)]

    def latents_to_codes(self, latents: Tensor) -> Tensor:
        """Audio codes `(B, N)` of latents `(B, T, C)`, a rest shorter than a code filled up with silence."""
        if TOKENIZER not in self._parts:
            raise missing_codes()
        return torch.from_numpy(self._run(Networks.latents_to_codes, _array(latents)))

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """Latents `(B, N * frames_per_code, C)` of audio codes `(B, N)`."""
        if TOKENIZER not in self._parts:
            raise missing_codes()
        return _tensor(self._run(Networks.codes_to_latents, codes.cpu().numpy()))

    def rest(self) -> None:
        """Leave everything where it is: the host's memory is the GPU's."""

    def peak_gb(self) -> float:
        """The most memory in GB that MLX held since the last call."""
        return mlx_thread.run(_peak_bytes) / 1e9

    def close(self) -> None:
        """Free the weights."""
        networks, self._networks = [self._networks], None
        mlx_thread.run(_free, networks)

    def _run(self, call: Callable[..., R], *args: object) -> R:
        return mlx_thread.run(_on, self._mlx_device, call, self._networks, *args)

    @property
    def _mlx_device(self) -> mx.DeviceType:
        device: mx.DeviceType = mx.cpu if self.device_kind == "cpu" else mx.gpu
        return device


def _peak_bytes() -> int:
    """The most that MLX held since the last call."""
    peak = mx.get_peak_memory()
    mx.reset_peak_memory()
    return peak


def _free(networks: list[Networks | None]) -> None:
    """Drop the last reference to the networks in the thread that made them."""
    networks.clear()
    gc.collect()
    mx.clear_cache()


def _array(tensor: Tensor) -> Floats:
    array: Floats = tensor.detach().to("cpu", torch.float32).numpy()
    return array


def _tensor(array: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
