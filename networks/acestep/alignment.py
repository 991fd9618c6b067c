"""When the words of a song are sung, from how much the song's frames attend to their tokens.

Facts of upstream (acestep/core/scoring/dit_alignment.py and its `lyric_timestamp.py`): the heads that follow the words
are read in one conditional pass at t = 1 / steps; each map becomes the product of its softmax over the frames and its
softmax over the tokens, from which twice the median of every token and then twice the median of every frame are taken
away, what is left below zero is dropped and the rest squared; the mean of the heads, less its mean, is what a monotone
path through tokens and frames collects (dynamic time warping). Lines end with their newline.

Two things differ. A path has to wait somewhere while nobody sings, and upstream counts all of it to the words: an
intro or a break becomes part of a line. Here a line lasts from the first to the last frame in which one of its own
tokens stands out. And a line ends with its last frame, not where that begins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from networks.acestep.prompts import lyric_span

Floats = NDArray[np.float32]
Path = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The tokens of a path and its frames, step by step."""

BACKGROUND = 2.0
"""How many times its median a token's or a frame's attention must reach to count: upstream's `violence_level`."""

_BOTH, _TOKEN, _FRAME = range(3)
"""The steps of a path: to the next token and frame, to the next token, to the next frame."""


class LineTime(NamedTuple):
    """A line of the lyrics, sections' names in brackets among them, and when it begins and ends in seconds.

    Where it is not `found`, no frame attends to it clearly: it then stands between its neighbours, for want of better.
    """

    text: str
    start_s: float
    end_s: float
    found: bool


@dataclass(frozen=True, kw_only=True)
class Words:
    """The tokens of a song's lyrics in a condition: the positions that they take, and the line that each belongs to.

    `sounds` tells which of them are more than blanks. The lines are stripped; some may be empty.
    """

    positions: tuple[int, int]
    lines: tuple[str, ...]
    line_of: NDArray[np.int64]
    sounds: NDArray[np.bool_]


def words_of(text: str, offsets: Sequence[tuple[int, int]]) -> Words:
    """The tokens of the lyrics in a `prompts.lyric_text`, without its head and its end.

    `offsets` are those of all its tokens. A token of two lines, as one of several newlines is, belongs to the first.
    """
    start, end = lyric_span(text)
    inside = [index for index, (first, _) in enumerate(offsets) if start <= first < end]
    positions = (inside[0], inside[-1] + 1) if inside else (0, 0)
    spans = [offsets[index] for index in range(*positions)]
    newlines = np.cumsum([0, *(letter == "\n" for letter in text[start:end])])
    return Words(
        positions=positions,
        lines=tuple(line.strip() for line in text[start:end].split("\n")),
        line_of=np.array([newlines[first - start] for first, _ in spans], dtype=np.int64),
        sounds=np.array([bool(text[first:last].strip()) for first, last in spans], dtype=np.bool_),
    )


def consensus(maps: Sequence[Floats]) -> Floats:
    """How much frames and tokens mean each other, `(frames, tokens)`: above 0 where they stand out in any head's map.

    One head is worked on at a time, so that memory does not grow with their number.
    """
    total = np.zeros_like(maps[0], dtype=np.float32)
    for each in maps:
        total += _standing_out(each)
    return total / np.float32(len(maps))


def _standing_out(weights: Floats) -> Floats:
    both = np.exp(weights, dtype=np.float32)
    over_frames, over_tokens = both.sum(axis=0, keepdims=True), both.sum(axis=1, keepdims=True)
    both *= both
    both /= over_frames
    both /= over_tokens
    for axis in (0, 1):
        both -= np.float32(BACKGROUND) * _medians(both, axis)
        np.maximum(both, 0, out=both)
    both *= both
    return both


def _medians(values: Floats, axis: int) -> Floats:
    """The medians along an axis of values of at least 0; most rows, which are mostly 0, are not sorted."""
    length = values.shape[axis]
    dense = np.count_nonzero(values, axis=axis) >= length - length // 2
    medians = np.zeros(dense.shape, dtype=np.float32)
    medians[dense] = np.median(np.compress(dense, values, axis=1 - axis), axis=axis)
    return np.expand_dims(medians, axis)


def best_path(gain: Floats) -> Path:
    """The path through all tokens and frames that collects the most of `gain` `(frames, tokens)`.

    Each step goes on by one token, one frame or both. Where steps are equally good it goes on by a frame.
    """
    frames, tokens = gain.shape
    # Cells of one antidiagonal depend on the two before it alone, so that each is worked on at once.
    came = np.empty((frames, tokens), dtype=np.uint8)
    last, before = np.full(tokens + 1, -np.inf), np.full(tokens + 1, -np.inf)
    before[0] = 0.0  # the step into the first cell, of both
    for diagonal in range(frames + tokens - 1):
        low, high = max(0, diagonal - frames + 1), min(tokens, diagonal + 1)
        at = np.arange(low, high)
        both, token, frame = before[low:high], last[low:high], last[low + 1 : high + 1]
        step = np.full(high - low, _FRAME, dtype=np.uint8)
        step[(token > both) & (token > frame)] = _TOKEN
        step[(both > token) & (both > frame)] = _BOTH
        came[diagonal - at, at] = step
        reached = np.full(tokens + 1, -np.inf)
        reached[low + 1 : high + 1] = np.choose(step, (both, token, frame)) + gain[diagonal - at, at]
        last, before = reached, last
    return _way_back(came)


def _way_back(came: NDArray[np.uint8]) -> Path:
    frame, token = came.shape[0] - 1, came.shape[1] - 1
    path = [(token, frame)]
    while frame or token:
        step = _TOKEN if frame == 0 else _FRAME if token == 0 else came[frame, token]
        token -= step != _FRAME
        frame -= step != _TOKEN
        path.append((token, frame))
    tokens, frames = np.array(path[::-1], dtype=np.int64).T
    return tokens, frames


def line_times(
    maps: Sequence[Floats],
    words: Words,
    frame_s: float,
    *,
    at_s: NDArray[np.float64] | None = None,
    end_s: float = math.inf,
) -> tuple[LineTime, ...]:
    """The times of all lines that are not empty, by the maps `(frames, tokens)` of the heads that follow them.

    `frame_s` is the length of a frame and `at_s` where each begins, one after the other from 0 on where it is None. The
    song ends at `end_s`, maybe within a frame.
    """
    if not words.line_of.size:
        return ()
    energy = consensus(maps)
    begins_s = frame_s * np.arange(len(energy)) if at_s is None else at_s
    tokens, frames = best_path(energy - energy.mean(dtype=np.float64).astype(np.float32))
    heard = (energy[frames, tokens] > 0) & words.sounds[tokens]
    line_at = words.line_of[tokens]
    pace = _pace(tokens[heard], frames[heard])
    lines = []
    for line in sorted(set(words.line_of.tolist())):
        if not (text := words.lines[line]):
            continue
        steps = np.flatnonzero(line_at == line)
        first, stop = int(frames[steps[0]]), int(frames[steps[-1]]) + 1
        clear = steps[heard[steps]]
        if clear.size:
            own = np.flatnonzero(words.sounds & (words.line_of == line))
            early, late = np.searchsorted(own, tokens[clear[[0, -1]]])
            first = max(first, int(frames[clear[0]]) - round(pace * early))
            stop = min(stop, int(frames[clear[-1]]) + 1 + round(pace * (own.size - 1 - late)))
        starts_s, ends_s = float(begins_s[first]), float(begins_s[stop - 1]) + frame_s
        lines.append(LineTime(text, starts_s, min(end_s, ends_s), clear.size > 0))
    return tuple(lines)


def _pace(tokens: NDArray[np.int64], frames: NDArray[np.int64]) -> float:
    """Frames that a token usually takes: what those of a line before its first clear one are given."""
    if not tokens.size:
        return 0.0
    _, first = np.unique(tokens, return_index=True)
    return float(np.median([np.unique(each).size for each in np.split(frames, first[1:])]))
