"""The MLX runtime: ACE-Step's networks on Apple silicon, or on a CPU for tests.

The pipeline speaks torch, on the CPU here; the networks speak MLX, in MLX's own thread. This is the seam: numpy and
handles of conditions cross it, nothing else.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import mlx.core as mx
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import CheckpointError, StudioError
from networks import mlx_thread
from networks.acestep.layouts import TEXT, VAE, Layout, layout_of
from networks.acestep.lora.adapter import Adapter
from networks.acestep.mlx.dit import MlxCondition
from networks.acestep.mlx.networks import Floats, Networks, Types
from networks.acestep.runtime import Condition
from networks.acestep.text import Words, distinct
from networks.machine import Bits, DeviceKind, DType, RuntimeName

P = ParamSpec("P")
R = TypeVar("R")

METAL = "mps"
"""What the studio calls Apple's GPU, whichever framework uses it."""


def open_mlx_runtime(
    folder: Path,
    companion: Path | None = None,
    *,
    device: str | None = None,
    dtype: DType | None = None,
    bits: Bits | None = None,
) -> MlxRuntime:
    """See runtimes.open_runtime; None takes the GPU if there is one, and float16 there, float32 on a CPU.

    float16 is the DiT's alone: there it is several times nearer to float32 than bfloat16. The encoders, which run
    once and were trained in bfloat16's range, then run in bfloat16.
    """
    kind = device or (METAL if mx.metal.is_available() else "cpu")
    if kind != "cpu" and not (kind == METAL and mx.metal.is_available()):
        raise StudioError(f"MLX has no device {kind!r} on this machine.", "Choose cpu, or the runtime torch.")
    chosen = dtype or ("float32" if kind == "cpu" else "float16")
    types = Types(dit=getattr(mx, chosen), encoders=mx.bfloat16 if chosen == "float16" else getattr(mx, chosen))
    layout = layout_of(folder, companion)
    words = Words(layout.tokenizer_file) if layout.tokenizer_file else None
    place = mx.cpu if kind == "cpu" else mx.gpu
    networks = mlx_thread.run(_on, place, partial(Networks, layout, types, bits, compiled=kind == METAL))
    return MlxRuntime(networks, layout, words, cast(DeviceKind, kind))


def _on(device: mx.Device | mx.DeviceType, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    with mx.stream(device):
        return function(*args, **kwargs)


class MlxRuntime:
    """See runtimes.Runtime. Results are on the CPU, in float32."""

    name: RuntimeName = "mlx"

    def __init__(self, networks: Networks, layout: Layout, words: Words | None, device_kind: DeviceKind) -> None:
        self._networks: Networks | None = networks
        self._parts = frozenset(layout.configs)
        self._words = words
        self._adapters: tuple[Adapter, ...] | None = ()
        self.shape = networks.shape
        self.device_kind = device_kind

    def encode(self, waveform: Tensor) -> Tensor:
        """See Runtime.encode."""
        self._need(VAE, "VAE")
        frames = self.shape.frames_of(waveform.shape[-1])
        padded = F.pad(waveform, (0, frames * self.shape.hop - waveform.shape[-1])).transpose(1, 2)
        return torch.cat([_tensor(self._run(Networks.encode, _array(item))) for item in padded.split(1)])

    def decode(self, latents: Tensor) -> Tensor:
        """See Runtime.decode."""
        self._need(VAE, "VAE")
        waves = [_tensor(self._run(Networks.decode, _array(item))) for item in latents.split(1)]
        return torch.cat(waves).transpose(1, 2).contiguous()

    def silence(self, frames: int) -> Tensor:
        """See Runtime.silence."""
        return _tensor(self._run(Networks.silence, frames))

    def set_adapters(self, adapters: Sequence[Adapter]) -> None:
        """See Runtime.set_adapters."""
        if self._adapters != tuple(adapters):
            self._run(Networks.set_adapters, adapters)
            self._adapters = tuple(adapters)

    def condition(
        self, texts: Sequence[str], lyrics: Sequence[str], references: Sequence[Tensor | None] = ()
    ) -> MlxCondition:
        """See Runtime.condition."""
        self._need(TEXT, "text encoder")
        words = self._words
        assert words is not None
        items = [
            (words.text(text), words.lyrics(sung), None if timbre is None else _array(timbre))
            for text, sung, timbre in distinct(texts, lyrics, references)
        ]
        return self._run(Networks.condition, items)

    def condition_from_states(
        self, text_states: Tensor, lyric_states: Tensor, references: Sequence[Tensor | None] = ()
    ) -> MlxCondition:
        """See Runtime.condition_from_states."""
        timbres = references or [None] * len(text_states)
        items = [
            (_array(text), _array(sung), None if timbre is None else _array(timbre))
            for text, sung, timbre in zip(text_states.split(1), lyric_states.split(1), timbres, strict=True)
        ]
        return self._run(Networks.condition_from_states, items)

    def null_condition(self) -> MlxCondition:
        """See Runtime.null_condition."""
        return self._run(Networks.null_condition)

    def velocity(self, x: Tensor, t: float, context: Tensor, conditions: Sequence[Condition]) -> list[Tensor]:
        """See Runtime.velocity."""
        heard = cast(Sequence[MlxCondition], conditions)
        return list(_tensor(self._run(Networks.velocity, _array(x), t, _array(context), heard)).chunk(len(heard)))

    def latents_to_codes(self, latents: Tensor) -> Tensor:
        """See Runtime.latents_to_codes."""
        return torch.from_numpy(self._run(Networks.latents_to_codes, _array(latents)))

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """See Runtime.codes_to_latents."""
        return _tensor(self._run(Networks.codes_to_latents, codes.cpu().numpy()))

    def peak_gb(self) -> float:
        """See Runtime.peak_gb."""
        return mlx_thread.run(_peak_bytes) / 1e9

    def close(self) -> None:
        """See Runtime.close."""
        kept, self._networks = [self._networks], None
        mlx_thread.run(_free, kept)

    def _run(self, call: Callable[..., R], *args: object) -> R:
        place = mx.cpu if self.device_kind == "cpu" else mx.gpu
        return mlx_thread.run(_on, place, call, self._networks, *args)

    def _need(self, part: str, title: str) -> None:
        if part not in self._parts:
            raise CheckpointError(f"This checkpoint has no {title}.", "Give the companion folder that holds it.")


def _peak_bytes() -> int:
    """The most that MLX held since this was asked last."""
    peak = mx.get_peak_memory()
    mx.reset_peak_memory()
    return peak


def _free(kept: list[Networks | None]) -> None:
    """Nothing; what is kept is gone, here where it was made."""
    kept.clear()
    gc.collect()
    mx.clear_cache()


def _array(tensor: Tensor) -> Floats:
    array: Floats = tensor.detach().to("cpu", torch.float32).numpy()
    return array


def _tensor(array: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
