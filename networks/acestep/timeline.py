"""Where a song's parts lie: which samples are made anew, which are the source's, and where the source begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.errors import Fault, RequestError
from core.modes import Layout
from core.segments import Segment, write_segments, written
from core.tables import LONGEST_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from networks.acestep.runtime import LatentShape


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """A song's length and layout, in samples.

    `offset` is where the source begins. `windows` are what is made anew, in order and apart from each other: the whole
    song where nothing is kept.
    """

    samples: int
    windows: tuple[tuple[int, int], ...]
    offset: int = 0

    def frames(self, shape: LatentShape) -> int:
        """Latent frames that hold the song."""
        return shape.frames_of(self.samples)

    def window_frames(self, shape: LatentShape) -> tuple[tuple[int, int], ...]:
        """The frames that each window touches."""
        return tuple((start // shape.hop, shape.frames_of(stop)) for start, stop in self.windows)

    def place(self, source: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """The source `(2, S)`, if there is one, at its place in a song `(2, samples)` that is silent elsewhere."""
        song = np.zeros((2, self.samples), dtype=np.float32)
        if source is not None:
            song[:, self.offset : self.offset + source.shape[1]] = source
        return song


def timeline_of(layout: Layout, source: int | None, rate: int, duration_s: float = 0.0) -> Timeline:
    """The layout in samples, for a source of so many; `duration_s` is the planned length of a song without one.

    Raises RequestError when the song would be too long or its new segment lies outside the source.
    """
    if source is None:
        samples = round(duration_s * rate)
        line = Timeline(samples=samples, windows=((0, samples),))
    elif layout.segment_s is not None:
        windows = [_segment(layout.segment_s, source, rate), *_more_segments(layout.more_s, source, rate)]
        line = Timeline(samples=source, windows=tuple(sorted(windows)))
    else:
        line = _added(layout, source, rate)
    if line.samples > LONGEST_S * rate:
        field, seconds = "duration_s" if source is None else "src_audio", round(line.samples / rate, 1)
        raise RequestError([Fault(field, seconds, f"the song must not be longer than {LONGEST_S:g} seconds in all")])
    return line


def _added(layout: Layout, source: int, rate: int) -> Timeline:
    """What is added on one side and the overlap are new, or all of the song where nothing is added."""
    before, after = round(layout.before_s * rate), round(layout.after_s * rate)
    overlap = min(round(layout.overlap_s * rate), source // 2)
    samples = before + source + after
    if before:
        return Timeline(samples=samples, windows=((0, before + overlap),), offset=before)
    return Timeline(samples=samples, windows=((source - overlap, samples) if after else (0, samples),))


def _segment(segment_s: Segment, source: int, rate: int) -> tuple[int, int]:
    start, end = (round(edge * rate) for edge in segment_s)
    if end > source + _slack(rate):
        rule = f"must not lie after the end of the source, which is {_length(source, rate)}"
        raise RequestError([Fault("segment_end_s", segment_s[1], rule)])
    if start >= min(end, source):
        rule = f"must lie before the end of the source, which is {_length(source, rate)}"
        raise RequestError([Fault("segment_start_s", segment_s[0], rule)])
    return start, min(end, source)


def _more_segments(segments: tuple[Segment, ...], source: int, rate: int) -> Iterator[tuple[int, int]]:
    for segment in segments:
        start, end = (round(edge * rate) for edge in segment)
        if end > source + _slack(rate) or start >= min(end, source):
            rule = f"must lie within the source, which is {_length(source, rate)}: {written(segment)} does not"
            raise RequestError([Fault("more_segments", write_segments(segments), rule)])
        yield start, min(end, source)


def _length(source: int, rate: int) -> str:
    return f"{source / rate:.2f} seconds long"


def _slack(rate: int) -> int:
    """Times are shown rounded: a region dragged to the very end may exceed the source by less than a hundredth."""
    return rate // 100
