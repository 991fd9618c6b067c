"""Stem separation behind one interface: a song in, its stems out, segment by segment.

Waveforms are float32 arrays `(2, S)` at 48 kHz; the rate that the networks run at stays behind this wall. Importing
this module loads no framework; `networks.demucs.open` does.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from core.events import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from networks.machine import DeviceKind

    Waveform = NDArray[np.float32]

StemName = Literal["vocals", "drums", "bass", "other"]
STEMS: tuple[StemName, ...] = get_args(StemName)
"""The stems in the order in which they come."""


@dataclass(frozen=True)
class Stem:
    """One part of a song, `(2, S)` at 48 kHz, exactly as long as the song."""

    name: StemName
    audio: Waveform


class Separator(Protocol):
    """A network that takes songs apart, ready to run."""

    @property
    def device_kind(self) -> DeviceKind:
        """Where it runs: cpu, mps or cuda."""
        ...

    @property
    def note(self) -> str:
        """Why it runs elsewhere than it was opened on; empty where it does not."""
        ...

    def separate(
        self, audio: Waveform, *, shifts: int, overlap: float, seed: int
    ) -> Generator[Progress | Stem, None, None]:
        """Events between segments and channels, and the stems of `audio` `(2, S)` in the order of `STEMS`.

        `shifts` passes over the song, each moved by a random part of half a second, are averaged; 0 makes one pass
        that is not moved and draws nothing. `overlap` is the part, below 1, that a segment shares with the next. The
        same `seed` gives the same samples. Closing the generator stops between two of them. Memory does not hold the
        stems together: they lie in a temporary file of 32 bytes a sample until they are handed over. Raises
        StudioError when the disk refuses it.
        """
        ...

    def peak_gb(self) -> float:
        """The most memory in GB held at once since the last call; where only the process's peak is known, ever."""
        ...

    def close(self) -> None:
        """Free the weights; the separator cannot be used again."""
        ...
