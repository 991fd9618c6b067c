"""How music longer than MusicGen's window is drawn: stretch after stretch, each going on from the end of the last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_S = 30
"""Seconds that MusicGen was trained on: 1500 frames, which with the delay of the codebooks are 1503 tokens."""

KEPT_S = 10
"""Seconds of what is there that a stretch goes on from. More holds on to it better, and draws less in each window."""


@dataclass(frozen=True)
class Window:
    """Frames from `first` to the one before `stop`, of which those before `known` are there already."""

    first: int
    known: int
    stop: int

    @property
    def new(self) -> int:
        """How many frames are to be drawn."""
        return self.stop - self.known


def windows(known: int, total: int, longest: int, kept: int) -> Iterator[Window]:
    """The windows that make `total` frames of which the first are `known`.

    None has more than `longest` frames, nor more than `kept` that are known before it.
    """
    while known < total:
        first = known - min(known, kept)
        window = Window(first, known, min(total, first + longest))
        yield window
        known = window.stop
