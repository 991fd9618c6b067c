"""What is decided about a song before it is rendered, and who may decide it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from core.events import Progress
from core.music import KNOBS, NO_LANGUAGE, OPEN, Fact, Music
from core.params import SongRequest
from core.plan_text import PlanText
from core.tables import (
    BPM,
    CODEBOOK,
    DEFAULT_DURATION_S,
    DURATION_S,
    KEYSCALES,
    LANGUAGES,
    LONGEST_S,
    PROMPT_CHARS,
    TIME_SIGNATURES,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LINE_S = 3.5
"""A sung line takes about two bars at a middling tempo."""

LONGEST_SUNG_S = 240.0
"""No planner is assumed to write more where nobody asks for a length."""


_IN_SIDECARS: Mapping[str, str] = MappingProxyType({**KNOBS, "caption": "caption"})
"""The names that the facts of a plan have in a track."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known about a recording: from its track, or by listening (then `listened` is true).

    `anchor_s` is the time of a downbeat.
    """

    music: Music = OPEN
    anchor_s: float = 0.0
    listened: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The decisions of a planner for one song, its length among them.

    `guides` are rough renderings `(2, S)` of the music to make, at the runtime's sample rate, one over each window
    (for Generate: the song); `codes` are audio codes of the whole song. A plan holds guides or codes or neither.
    `score` are the digests of the notes that each guide plays: the notes themselves are found again by composing once
    more. Where there are several windows, the length is that of the first.
    """

    music: Music
    anchor_s: float = 0.0
    planner: str = "none"
    notes: tuple[str, ...] = ()
    score: str = ""
    guides: tuple[NDArray[np.float32], ...] = ()
    codes: tuple[int, ...] | None = None

    @property
    def duration_s(self) -> float:
        """The length of what is planned."""
        assert self.music.duration_s is not None, "a plan has a length"
        return self.music.duration_s

    def summary(self) -> dict[str, Fact | None]:
        """The decisions as plain values for the sidecar: what was chosen, the guides apart."""
        values: dict[str, Fact | None] = {
            "planner": self.planner,
            **{name: getattr(self.music, fact) for fact, name in _IN_SIDECARS.items()},
            "anchor_s": self.anchor_s,
            "notes": "; ".join(self.notes),
        }
        if self.score:
            values["score"] = self.score
        if self.codes is not None:
            values["codes"] = " ".join(map(str, self.codes))
        return values

    def together(self, later: Plan) -> Plan:
        """The plan of these windows and of those of a later plan of the same song."""
        notes = tuple(dict.fromkeys((*self.notes, *later.notes)))
        score = " ".join(filter(None, (self.score, later.score)))
        return dataclasses.replace(self, notes=notes, score=score, guides=(*self.guides, *later.guides))

    def to_text(self) -> str:
        """The plan as the knob `plan` takes it."""
        return plan_text(self.summary())


def music_in(summary: Mapping[str, object]) -> Music:
    """The facts in the plan of a track; what cannot be one is left open, for sidecars can be edited."""
    values = {fact: summary.get(name) for fact, name in _IN_SIDECARS.items()}
    bpm = _number(values["bpm"], *BPM)
    return Music(
        caption=str(values["caption"] or ""),
        lyrics=str(values["lyrics"] or ""),
        duration_s=_number(values["duration_s"], 0, LONGEST_S),
        bpm=None if bpm is None else int(bpm),
        keyscale=_one_of(values["keyscale"], KEYSCALES),
        timesignature=_one_of(values["timesignature"], TIME_SIGNATURES),
        language=_one_of(values["language"], LANGUAGES),
    )


def _number(value: object, low: float, high: float) -> float | None:
    # The range leaves out NaN, and whole numbers too large to become a float.
    return float(value) if isinstance(value, int | float) and low <= value <= high else None


def _one_of(value: object, choices: Sequence[str]) -> str | None:
    return value if isinstance(value, str) and value in choices else None


def known_from(summary: Mapping[str, object]) -> Known:
    """What the plan of a track tells about its recording."""
    anchor_s = _number(summary.get("anchor_s"), -LONGEST_S, 2 * LONGEST_S)
    return Known(music=music_in(summary), anchor_s=anchor_s or 0.0)


def plan_from(summary: Mapping[str, object], seconds: float) -> Plan:
    """The plan that a track of so many seconds followed, as far as it tells: a guide is not kept."""
    known = known_from(summary)
    music = dataclasses.replace(known.music, duration_s=known.music.duration_s or seconds)
    return Plan(music=music, anchor_s=known.anchor_s, codes=_codes(summary.get("codes")))


def plan_text(summary: Mapping[str, object]) -> str:
    """The plan of a track as the knob `plan` takes it; empty when nothing was planned."""
    if not summary:
        return ""
    music = music_in(summary)
    shown_s = music.duration_s if (music.duration_s or 0.0) >= DURATION_S[0] else None
    music = dataclasses.replace(music, caption=music.caption[:PROMPT_CHARS], duration_s=shown_s)
    return str(PlanText(music=music, codes=_codes(summary.get("codes"))))


def _codes(value: object) -> tuple[int, ...] | None:
    names = str(value or "").split()
    # A number of thousands of digits is none that Python reads.
    known = all(name.isdecimal() and len(name) <= len(str(CODEBOOK)) and int(name) < CODEBOOK for name in names)
    return tuple(map(int, names)) if names and known else None


@dataclass(frozen=True, kw_only=True)
class Span:
    """The part of a song's timeline that is to be planned: all of it, or a window and what is known of the rest.

    `start_s` counts from the song's start; `duration_s` is None where the length is left to the planner.
    """

    start_s: float = 0.0
    duration_s: float | None = None
    surroundings: Known | None = None


class Planner(Protocol):
    """Decides what the user left open."""

    def plan(self, request: SongRequest, seed: int, span: Span) -> Iterator[Progress | Plan]:
        """Progress while it decides, then exactly one Plan. The same request and seed give the same plan."""
        ...


def open_plan(request: SongRequest, duration_s: float, known: Known | None = None, notes: tuple[str, ...] = ()) -> Plan:
    """The plan that decides nothing: the user's values, then what is known about the source.

    The words of a recording and their language are not those of what is made of it.
    """
    known = known or Known()
    music = request.music.over(dataclasses.replace(known.music, lyrics="", language=NO_LANGUAGE))
    return Plan(music=dataclasses.replace(music, duration_s=duration_s), anchor_s=known.anchor_s, notes=notes)


def within(lyrics: str, seconds: float) -> str:
    """The first sections of the lyrics that can be sung in so many seconds; the very first in any case."""
    parts = [part for part in re.split(r"(?m)^(?=[ \t]*\[)", lyrics) if part.strip()]
    fitting = parts[:1]
    for part in parts[1:]:
        if length_from_words("".join([*fitting, part])) > seconds:
            break
        fitting.append(part)
    return "".join(fitting).rstrip() if len(fitting) < len(parts) else lyrics


def length_from_words(lyrics: str) -> float:
    """Seconds that the lyrics ask for: `LINE_S` a line, at most `LONGEST_SUNG_S`; the default without words."""
    lines = [line for line in lyrics.splitlines() if line.strip() and not line.lstrip().startswith("[")]
    return float(min(max(DURATION_S[0], LINE_S * len(lines)), LONGEST_SUNG_S)) if lines else DEFAULT_DURATION_S
