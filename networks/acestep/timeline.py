"""Where a song's parts lie: which samples are made anew, which are the source's, and where the source begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.errors import Fault, RequestError
from core.params import EditRequest, ExtendRequest, GenerateRequest, SongRequest
from core.tables import LONGEST_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from networks.acestep.runtime import LatentShape


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """A song's length and layout, in samples.

    `offset` is where the source begins. `window` is what is made anew: the whole song where nothing is kept.
    """

    samples: int
    window: tuple[int, int]
    offset: int = 0

    def frames(self, shape: LatentShape) -> int:
        """Latent frames that hold the song."""
        return shape.frames_of(self.samples)

    def window_frames(self, shape: LatentShape) -> tuple[int, int]:
        """The frames that the window touches."""
        return self.window[0] // shape.hop, shape.frames_of(self.window[1])

    def place(self, source: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """The source `(2, S)`, if there is one, at its place in a song `(2, samples)` that is silent elsewhere."""
        song = np.zeros((2, self.samples), dtype=np.float32)
        if source is not None:
            song[:, self.offset : self.offset + source.shape[1]] = source
        return song


def timeline_of(request: SongRequest, source_samples: int, sample_rate: int, duration_s: float = 0.0) -> Timeline:
    """The layout that a request asks for; `duration_s` is the planned length of a song without a source.

    Raises RequestError when the song would be too long or its window lies outside the source.
    """
    match request:
        case GenerateRequest():
            samples = round(duration_s * sample_rate)
            line = Timeline(samples=samples, window=(0, samples))
        case ExtendRequest():
            line = _extended(request, source_samples, sample_rate)
        case EditRequest():
            line = _edited(request, source_samples, sample_rate)
        case _:
            line = Timeline(samples=source_samples, window=(0, source_samples))
    if line.samples > LONGEST_S * sample_rate:
        field = "duration_s" if isinstance(request, GenerateRequest) else "src_audio"
        seconds = round(line.samples / sample_rate, 1)
        raise RequestError([Fault(field, seconds, f"the song must not be longer than {LONGEST_S:g} seconds in all")])
    return line


def _extended(request: ExtendRequest, source: int, rate: int) -> Timeline:
    extra = round(request.extra_duration_s * rate)
    overlap = min(round(request.overlap_s * rate), source // 2)
    if request.side == "before":
        return Timeline(samples=source + extra, window=(0, extra + overlap), offset=extra)
    return Timeline(samples=source + extra, window=(source - overlap, source + extra))


def _edited(request: EditRequest, source: int, rate: int) -> Timeline:
    start, end = round(request.segment_start_s * rate), round(request.segment_end_s * rate)
    length_s = source / rate
    # Times are shown rounded: a region dragged to the very end may exceed the source by less than a hundredth.
    if end > source + rate // 100:
        rule = f"must not lie after the end of the source, which is {length_s:.2f} seconds long"
        raise RequestError([Fault("segment_end_s", request.segment_end_s, rule)])
    if start >= min(end, source):
        rule = f"must lie before the end of the source, which is {length_s:.2f} seconds long"
        raise RequestError([Fault("segment_start_s", request.segment_start_s, rule)])
    return Timeline(samples=source, window=(start, min(end, source)))
