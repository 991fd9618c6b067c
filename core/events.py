"""What a running job tells whoever waits for it: plain, picklable values, yielded upwards."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, Self

Stage = Literal[
    "queued",
    "loading",
    "planning",
    "listening",
    "encoding",
    "conditioning",
    "denoising",
    "generating",
    "decoding",
    "separating",
    "measuring",
    "writing",
    "saving",
    "downloading",
    "checking",
    "copying",
]


@dataclass(frozen=True)
class Progress:
    """Where a job stands: `step` of `total` within a stage, and the seconds that it is likely to need still."""

    stage: Stage
    step: int = 0
    total: int = 0
    left_s: float | None = None
    note: str = ""

    def after(self, seconds: float) -> Self:
        """The same so many seconds later."""
        return self if self.left_s is None else dataclasses.replace(self, left_s=max(0.0, self.left_s - seconds))

    def __str__(self) -> str:
        parts = [self.note or self.stage]
        if self.total:
            parts.append(f"{self.step} of {self.total}")
        if self.left_s is not None:
            parts.append(f"about {max(1, round(self.left_s))} s left")
        return " · ".join(parts)


@dataclass(frozen=True)
class Transfer(Progress):
    """Bytes on their way: `step` of `total` bytes, and how many a second came lately; None until that is known."""

    bytes_per_s: float | None = None

    def __str__(self) -> str:
        parts = [self.note or self.stage]
        if self.total:
            parts.append(f"{self.step / 1e9:.2f} of {self.total / 1e9:.2f} GB")
        if self.bytes_per_s is not None:
            parts.append(f"{self.bytes_per_s / 1e6:.1f} MB/s")
        if self.left_s is not None:
            parts.append(f"about {_in_words(self.left_s)} left")
        return " · ".join(parts)


def _in_words(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 120 else f"{round(seconds / 60)} min"


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A stretch of a song as it would be if denoising ended after `step` of `total`; of several only the last counts.

    It lies at `start_s` in the song. `peaks` are the largest magnitudes of its columns, 1 at full scale, `sound` is a
    wav file: it is heard and forgotten.
    """

    step: int
    total: int
    start_s: float
    seconds: float
    peaks: tuple[float, ...]
    sound: bytes


Sign = Progress | Preview
"""What tells of work that goes on: no product, and nothing is lost with it."""


@dataclass(frozen=True)
class TextDelta:
    """The next piece of a text that is being written."""

    text: str
