"""Further stretches of a recording as text, such as `12-20, 0:40-1:05`: from and to, in seconds or minutes:seconds.

The text is what every face of the studio carries; here it becomes seconds, and back. region.js reads the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

Segment = tuple[float, float]
"""From and to, in seconds."""

MOST = 15
SHORTEST_S = 0.1
"""A shorter mark is a slip of the hand."""

APART_S = 0.1
"""What is kept between two stretches at the least: a latent frame of the source, and the longest fades beside both."""

HOW = "must be stretches such as 12-20, 0:40-1:05: from and to, in seconds or minutes:seconds"

_TIME = r"(?:(\d{1,3}):)?(\d{1,4}(?:\.\d{1,3})?)"
_SEGMENT = re.compile(rf"\s*{_TIME}\s*[-–—]\s*{_TIME}\s*")


def read_segments(text: str) -> tuple[Segment, ...]:
    """The stretches that a text names, in its order. Raises ValueError with the rule that it breaks."""
    segments = tuple(_segment(part) for part in re.split(r"[,;\n]", text) if part.strip())
    if len(segments) > MOST:
        raise ValueError(f"must name at most {MOST} stretches")
    return segments


def write_segments(segments: Iterable[Segment]) -> str:
    """The text of some stretches, in seconds."""
    return ", ".join(map(written, segments))


def written(segment: Segment) -> str:
    """One stretch, as it is read."""
    return "-".join(f"{edge:.3f}".rstrip("0").rstrip(".") for edge in segment)


def crowded(segments: Iterable[Segment]) -> tuple[Segment, Segment] | None:
    """Two stretches that overlap or lie too close together, in order; None where there are none."""
    close = (pair for pair in pairwise(sorted(segments)) if pair[1][0] - pair[0][1] < APART_S - 1e-9)
    return next(close, None)


def _segment(part: str) -> Segment:
    found = _SEGMENT.fullmatch(part)
    if found is None:
        raise ValueError(HOW)
    minutes, seconds = found.group(1, 3), found.group(2, 4)
    start, end = (60.0 * int(whole or 0) + float(rest) for whole, rest in zip(minutes, seconds, strict=True))
    if end - start < SHORTEST_S - 1e-9:
        raise ValueError(f"must name stretches of at least {SHORTEST_S:g} seconds: {part.strip()} is none")
    return start, end
