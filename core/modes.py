"""What a mode says about the song to make: which parts of it are new, and what it makes of a source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.music import Music
from core.segments import Segment

Task = Literal["text2music", "cover", "repaint", "lego", "extract", "complete"]
Structure = Literal["codes", "latents"]
ChunkMask = Literal["explicit", "model"]
"""Who decides which frames change: the mask, or the model. Upstream calls the latter auto, as a knob left open is."""
RepaintMode = Literal["conservative", "balanced", "aggressive"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which parts of a song are new, in seconds.

    They are what is added before or after a source, with `overlap_s` of the source beside it; or a segment of the
    source, and `more_s` in any order; or, where neither is given, all of the song.
    """

    before_s: float = 0.0
    after_s: float = 0.0
    overlap_s: float = 0.0
    segment_s: Segment | None = None
    more_s: tuple[Segment, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cover:
    """What a cover keeps of its source.

    It is shown to the network for a share of the `steps`, as the `structure` that stands for it (None: the recipe's),
    and `noise` is its share of the noise to start from.
    """

    steps: float
    noise: float
    structure: Structure | None


@dataclass(frozen=True, kw_only=True)
class TrackTask:
    """Single instruments to be made from a source, and the task by which they are."""

    task: Task
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Seam:
    """How what is new meets the source around it; `crossfade_s` None is that of the repaint mode."""

    repaint_mode: RepaintMode
    strength: float = 0.0
    crossfade_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Morph:
    """What a flow edit takes the source for, and how it goes; a caption that is left open is what the source has.

    Of the steps the share `n_min` is left out and the share after `n_max` follows the target alone; between them each
    is the mean of `n_avg` draws.
    """

    source: Music
    n_min: float
    n_max: float
    n_avg: int
