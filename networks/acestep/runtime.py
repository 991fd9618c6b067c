"""ACE-Step's networks behind one interface: what the pipeline may ask of them, whichever framework runs them.

Tensors that cross this seam are float32. Latents are `(B, T, C)`, waveforms `(B, 2, S)`, codes `(B, N)`.
Importing this package loads no framework; `open_runtime` does.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import mlx_thread
from errors import StudioError

if TYPE_CHECKING:
    from torch import Tensor

    from lora import Adapter

RuntimeName = Literal["torch", "mlx"]
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
DType = Literal["float32", "float16", "bfloat16"]

Bits = Literal[8, 4]
"""Of a quantised matrix. Eight change a velocity by about 1 %, four by 15 %: those are an experiment."""

REFERENCE_S = 30
"""Seconds of audio that the timbre encoder was trained on."""

SILENT_REFERENCE_FRAMES = 750
"""Frames of silence that stand for no reference: upstream's `timbre_fix_frame`."""


@dataclass(frozen=True, kw_only=True)
class LatentShape:
    """The grid on which a checkpoint draws: channels, rates and group sizes.

    `hop` is in samples per latent frame, `patch` in frames per token of the DiT, `frames_per_code` in frames per
    audio code; a code is below `codebook_size`.
    """

    channels: int
    hop: int = 1920
    sample_rate: int = 48_000
    patch: int = 2
    frames_per_code: int = 5
    codebook_size: int = 64_000

    @property
    def frames_hz(self) -> float:
        """Latent frames per second."""
        return self.sample_rate / self.hop

    def frames_of(self, samples: int) -> int:
        """Frames that hold so many samples; the last one may be partly filled."""
        return math.ceil(samples / self.hop)

    def codes_of(self, frames: int) -> int:
        """Audio codes that cover so many frames."""
        return math.ceil(frames / self.frames_per_code)


class Condition(Protocol):
    """What the DiT listens to (lyrics, timbre, text), encoded, with its cross-attention keys and values.

    Opaque outside the runtime that made it. Holds one item, which serves a batch of any size, or one per batch item.
    It is made with the adapters that are loaded at that moment: make it anew after changing them.
    """

    @property
    def items(self) -> int:
        """The number of items held."""
        ...


class Runtime(Protocol):
    """A checkpoint's networks, ready to run."""

    @property
    def shape(self) -> LatentShape:
        """The grid of the loaded checkpoint."""
        ...

    @property
    def device_kind(self) -> str:
        """Where the networks run: cpu, mps or cuda."""
        ...

    def encode(self, waveform: Tensor) -> Tensor:
        """Latents `(B, shape.frames_of(S), C)` of a stereo waveform `(B, 2, S)`: the mode of the posterior, no dice.

        Works in tiles, so that memory does not grow with the length; the tiles equal the whole.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """The waveform `(B, 2, T * hop)` of latents `(B, T, C)`; in tiles, as `encode`."""
        ...

    def silence(self, frames: int) -> Tensor:
        """Latents `(1, frames, C)` of silence."""
        ...

    def set_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Nothing; the DiT runs with these adapters and no others, each by its weight; with none it is its base.

        Conditions that were made before are stale. Raises AdapterError, before anything changes, for one that does
        not fit or cannot be read.
        """
        ...

    def condition(
        self, texts: Sequence[str], lyrics: Sequence[str], references: Sequence[Tensor | None] = ()
    ) -> Condition:
        """One item per text, from prompts.prompt_text and prompts.lyric_text; a single one when all are the same.

        `references` are latents `(n, T, C)` of n `reference_excerpt`s per item; None, or none at all, stands for
        no reference, which the networks know as 750 frames of silence.
        """
        ...

    def condition_from_states(
        self, text_states: Tensor, lyric_states: Tensor, references: Sequence[Tensor | None] = ()
    ) -> Condition:
        """The same from text states `(B, L, D)` and lyric embeddings `(B, M, D)` instead of words, without padding."""
        ...

    def null_condition(self) -> Condition:
        """The learned absence of any condition: the second branch of classifier-free guidance. One item."""
        ...

    def velocity(self, x: Tensor, t: float, context: Tensor, conditions: Sequence[Condition]) -> list[Tensor]:
        """`v_t` `(B, T, C)` for each condition, from one batched forward.

        `x` is `x_t` `(B, T, C)`, `context` `(B or 1, T, 2C)`: source latents, then the mask. Any T is allowed.
        """
        ...

    def latents_to_codes(self, latents: Tensor) -> Tensor:
        """Audio codes `(B, shape.codes_of(T))`, int64; a rest shorter than a code is filled up with silence."""
        ...

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """Latents `(B, N * frames_per_code, C)` of audio codes `(B, N)`."""
        ...

    def peak_gb(self) -> float:
        """The most memory that was held at once since this was asked last; where only the process tells, ever."""
        ...

    def close(self) -> None:
        """Nothing; the weights are freed and the runtime is spent."""
        ...


@dataclass(frozen=True, kw_only=True)
class Machine:
    """How the networks are to run, as the studio was started; None chooses for the machine."""

    runtime: RuntimeName | None = None
    device: str | None = None
    dtype: DType | None = None
    bits: Bits | None = None

    @property
    def chosen(self) -> Choice:
        """The runtime that this comes to."""
        return Choice(self.runtime) if self.runtime else default_runtime(self.device)


@dataclass(frozen=True)
class Choice:
    """A runtime, and why it is not the machine's usual one, if it is not."""

    runtime: RuntimeName
    note: str = ""


@cache
def default_runtime(device: str | None = None) -> Choice:
    """MLX on Apple silicon, where it is faster than torch and holds larger models, as long as it can be imported.

    On another `device` than Apple's GPU torch is the faster of the two.
    """
    if (platform.system(), platform.machine()) != ("Darwin", "arm64") or device not in (None, "mps"):
        return Choice("torch")
    try:
        _import_mlx()
    except ImportError as missing:
        return Choice("torch", f"PyTorch's MPS instead of MLX, which cannot be used here: {missing}")
    return Choice("mlx")


def _import_mlx() -> None:
    """Nothing; MLX and mlx-lm are there, imported in their thread. Raises ImportError."""
    for name in ("mlx.core", "mlx_lm"):
        mlx_thread.run(import_module, name)


def open_runtime(
    folder: Path,
    companion: Path | None = None,
    *,
    runtime: RuntimeName | None = None,
    device: str | None = None,
    dtype: DType | None = None,
    bits: Bits | None = None,
) -> Runtime:
    """The runtime that runs the checkpoint in `folder`, of either layout, with its weights loaded.

    `companion` holds the VAE and the text encoder of a checkpoint in upstream's original layout. None chooses for
    the machine; `bits` quantises the DiT's layers, which only MLX can do. Raises CheckpointError naming every tensor
    that is missing, left over or misshapen.
    """
    if (runtime or default_runtime(device).runtime) == "mlx":
        try:
            _import_mlx()
        except ImportError as missing:
            raise StudioError(f"MLX cannot be used here: {missing}.", "Choose the runtime torch.") from missing
        from runtimes.mlx_runtime import open_mlx_runtime

        return open_mlx_runtime(folder, companion, device=device, dtype=dtype, bits=bits)
    if bits is not None:
        raise StudioError("Quantised layers need the runtime mlx.", "Leave --bits away, or choose --runtime mlx.")
    from runtimes.torch_runtime import open_torch_runtime

    return open_torch_runtime(folder, companion, device=device, dtype=dtype)


def reference_excerpt(waveform: Tensor, sample_rate: int) -> Tensor:
    """`REFERENCE_S` seconds `(2, S)` of a waveform `(2, S')`: ten from its start, its middle and its end.

    A shorter waveform is repeated first. Upstream draws the three places at random; here the same recording
    always gives the same timbre.
    """
    import torch

    part = REFERENCE_S * sample_rate // 3
    waveform = waveform.repeat(1, math.ceil(3 * part / waveform.shape[-1]))
    total = waveform.shape[-1]
    return torch.cat([waveform[:, start : start + part] for start in (0, (total - part) // 2, total - part)], dim=-1)
