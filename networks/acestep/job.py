"""What goes into the making of a song and what comes out: plain data, which crosses processes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from core.knobs import changed
from core.params import SongRequest
from core.plans import Known, Plan, Span
from core.recipes import Recipe
from core.resolve import Rendering, rendering_of
from core.tables import MAX_SEED
from networks.acestep.timeline import Timeline, timeline_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from networks.acestep.lora.adapter import Adapter


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A source: its waveform `(2, S)` at the runtime's rate, and what its track knows about it, if it has one.

    `latents` `(T, C)` were kept when it was rendered: they spare a second pass through the VAE. The waveform is
    `gain` times what they decode to.
    """

    audio: NDArray[np.float32]
    known: Known | None = None
    latents: NDArray[np.float16] | None = None
    gain: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """A resolved request and all that goes with it.

    `unplanned` is why no planner may plan the song although its request would have one; its track tells it.
    """

    request: SongRequest
    recipe: Recipe
    source: Recording | None = None
    reference: Recording | None = None
    adapters: tuple[Adapter, ...] = ()
    unplanned: str = ""

    @cached_property
    def rendering(self) -> Rendering:
        """How it is rendered, every choice made."""
        return rendering_of(self.request, self.recipe)

    @property
    def seeds(self) -> list[int]:
        """One seed for each variation, counting up from the request's."""
        return [_later(self.request.seed, index) for index in range(self.request.variations)]

    @property
    def retake_seeds(self) -> list[int]:
        """The second seed of each variation."""
        return [_later(self.request.retake_seed, index) for index in range(self.request.variations)]

    def narrowed(self, index: int, duration_s: float) -> SongRequest:
        """The request of one variation alone, of that length: the first one's plan chose it for all."""
        chosen: dict[str, object] = {"seed": self.seeds[index], "variations": 1}
        if not self.request.from_source and self.request.music.duration_s is None and index > 0:
            chosen["duration_s"] = duration_s
        if self.request.retake_seed is not None:
            chosen["retake_seed"] = self.retake_seeds[index]
        return changed(self.request, chosen)

    def timeline(self, rate: int, duration_s: float) -> Timeline:
        """The song's layout in samples; `duration_s` is the planned length of a song without a source."""
        source = None if self.source is None else self.source.audio.shape[1]
        return timeline_of(self.request.layout, source, rate, duration_s)

    def duration_s(self, rate: int) -> float | None:
        """The song's length, as far as the request and the source say."""
        return self.request.music.duration_s if self.source is None else self.timeline(rate, 0.0).samples / rate

    def spans(self, rate: int, known: Known | None) -> list[Span]:
        """The parts to be planned: the song, or the windows and what surrounds them, in the song's own time."""
        if self.source is None:
            return [Span(duration_s=self.request.music.duration_s)]
        line = self.timeline(rate, 0.0)
        known = known or Known()
        known = dataclasses.replace(known, anchor_s=known.anchor_s + line.offset / rate)
        windows = [(start / rate, stop / rate) for start, stop in line.windows]
        return [Span(start_s=start, duration_s=end - start, surroundings=known) for start, end in windows]


def _later(seed: int | None, index: int) -> int:
    assert seed is not None, "the request is not resolved"
    return (seed + index) % (MAX_SEED + 1)


@dataclass(frozen=True, kw_only=True)
class Take:
    """One rendered song: its waveform `(2, S)`, its latents `(T, C)` if it has any, its plan, and its request.

    `windows` are the samples that are new, each from the first to the one after the last, in order. The waveform is
    `gain` times what the latents decode to. The request is the job's, narrowed to this variation: rendering it again
    gives this take.
    """

    audio: NDArray[np.float32]
    latents: NDArray[np.float16] | None
    plan: Plan
    request: SongRequest
    windows: tuple[tuple[int, int], ...]
    gain: float
