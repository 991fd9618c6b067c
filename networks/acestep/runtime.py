"""ACE-Step's networks behind one interface: what the pipeline may ask of them, whichever framework runs them.

Tensors that cross this seam are float32. Latents are `(B, T, C)`, waveforms `(B, 2, S)`, codes `(B, N)`.
Importing this module loads no framework; `networks.acestep.open` does.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from core.tables import SAMPLE_RATE

if TYPE_CHECKING:
    from torch import Tensor

    from core.events import Progress
    from networks.acestep.lora.adapter import Adapter
    from networks.machine import DeviceKind

REFERENCE_S = 30
"""Seconds of audio that the timbre encoder was trained on."""

SILENT_REFERENCE_FRAMES = 750
"""Frames of silence that stand for no reference: upstream's `timbre_fix_frame`."""


Head = tuple[int, int]
"""A layer of the DiT and one of its heads, both from 0."""


@dataclass(frozen=True, kw_only=True)
class LatentShape:
    """The shape of a checkpoint's latents: channels, rates and group sizes.

    `hop` is in samples per latent frame, `patch` in frames per token of the DiT, `frames_per_code` in frames per
    audio code; a code is below `codebook_size`.
    """

    channels: int
    hop: int = 1920
    sample_rate: int = SAMPLE_RATE
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
    """What the DiT attends to (lyrics, timbre, text), encoded, with its cross-attention cache.

    Opaque outside the runtime that made it. Holds one item, which serves a batch of any size, or one for each row.
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
        """The shape of the loaded checkpoint's latents."""
        ...

    @property
    def device_kind(self) -> DeviceKind:
        """Where the networks run: cpu, mps or cuda."""
        ...

    def encode(self, waveform: Tensor) -> Tensor:
        """Latents `(B, shape.frames_of(S), C)` of a stereo waveform `(B, 2, S)`: the posterior's mode.

        Works in tiles, so that memory does not grow with the length; the tiles equal the whole.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """The waveform `(B, 2, T * hop)` of latents `(B, T, C)`; in tiles, as `encode`."""
        ...

    def encoding(self, waveform: Tensor) -> Generator[Progress, None, Tensor]:
        """As `encode`, with Progress between two tiles, where it can be closed."""
        ...

    def decoding(self, latents: Tensor) -> Generator[Progress, None, Tensor]:
        """As `decode`, with Progress between two tiles, where it can be closed."""
        ...

    def silence(self, frames: int) -> Tensor:
        """Latents `(1, frames, C)` of silence."""
        ...

    def set_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Run the DiT with these adapters and no others, each by its weight; with none it is its base.

        Conditions that were made before are stale. Raises AdapterError, before anything changes, for one that does
        not fit or cannot be read.
        """
        ...

    def adapting(self, adapters: Sequence[Adapter]) -> Generator[None, None, None]:
        """As `set_adapters`, with a step after each layer that was read. Closed before its end, it changes nothing."""
        ...

    def condition(
        self, texts: Sequence[str], lyrics: Sequence[str], references: Sequence[Tensor | None] = ()
    ) -> Condition:
        """One item per text, made by `prompts.prompt_text` and `lyric_text`; a single one when all are the same.

        `references` are latents `(n, T, C)` of n `reference_excerpt`s per item; None, or none at all, stands for
        no reference, which the networks know as 750 frames of silence.
        """
        ...

    def condition_from_states(
        self, text_states: Tensor, lyric_states: Tensor, references: Sequence[Tensor | None] = ()
    ) -> Condition:
        """The same of text states `(B, L, D)` and lyric embeddings `(B, M, D)` instead of words, without padding."""
        ...

    def null_condition(self) -> Condition:
        """The learned absence of any condition: the second branch of classifier-free guidance. One item."""
        ...

    def velocity(self, x: Tensor, t: float, context: Tensor, conditions: Sequence[Condition]) -> list[Tensor]:
        """`v_t` `(B, T, C)` for each condition, from one batched forward.

        `x` is `x_t` `(B, T, C)`, `context` `(B or 1, T, 2C)`: source latents, then the mask. Any T is allowed.
        """
        ...

    @property
    def lyric_heads(self) -> tuple[Head, ...]:
        """The heads of the DiT whose cross-attention follows the words; empty where nobody has told which."""
        ...

    def lyric_offsets(self, lyrics: str) -> list[tuple[int, int]]:
        """Where in a `prompts.lyric_text` each of its tokens begins and ends, in characters.

        The tokens of the lyrics are the first positions of a condition, in this order.
        """
        ...

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
        """How much each token of the DiT attends to each position of the condition, on the CPU: one map for each head.

        A map is `(ceil(T / shape.patch), positions)`, for `x` `(1, T, C)` and one item. The probabilities of a token
        are those over the whole condition; of them the positions from the first to the one after the last are given.
        """
        ...

    def latents_to_codes(self, latents: Tensor) -> Tensor:
        """Audio codes `(B, shape.codes_of(T))`, int64; a rest shorter than a code is filled up with silence.

        Raises CheckpointError, as `codes_to_latents` does, where the checkpoint came without the networks of codes.
        """
        ...

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """Latents `(B, N * frames_per_code, C)` of audio codes `(B, N)`."""
        ...

    def rest(self) -> None:
        """Take from the device what the host's memory holds too, until it is used again."""
        ...

    def peak_gb(self) -> float:
        """The most memory in GB held at once since the last call; where only the process's peak is known, ever."""
        ...

    def close(self) -> None:
        """Free the weights; the runtime cannot be used again."""
        ...


def reference_excerpt(waveform: Tensor, sample_rate: int) -> Tensor:
    """`REFERENCE_S` seconds `(2, S)` of a waveform `(2, S')`: ten from its start, its middle and its end.

    A shorter waveform is repeated first. Upstream draws the three excerpts at random; here the same recording
    always gives the same timbre.
    """
    import torch

    part = REFERENCE_S * sample_rate // 3
    waveform = waveform.repeat(1, math.ceil(3 * part / waveform.shape[-1]))
    total = waveform.shape[-1]
    return torch.cat([waveform[:, start : start + part] for start in (0, (total - part) // 2, total - part)], dim=-1)
