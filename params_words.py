"""The requests and knobs of the language models: the planner's, the lyric writer's, and drafts of a form."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from errors import Fault
from knobs import knob
from params_tables import (
    KEYSCALES,
    LANGUAGES,
    LYRICS_CHARS,
    MAX_SEED,
    PROMPT_CHARS,
    Mode,
    TimeSignature,
)

Rhyme = Literal["strict", "loose", "none"]
Tone = Literal["hopeful", "tender", "sad", "angry", "playful", "dreamy"]


@dataclass(frozen=True, kw_only=True)
class PlannerKnobs:
    """How the 5 Hz planner, a language model, chooses its words: shared by whatever asks it something.

    `planner` names its checkpoint; None takes the best that is installed.
    """

    planner: str | None = knob(group="planner", high=80)
    lm_temperature: float = knob(0.85, group="planner", low=0, high=2, step=0.05)
    lm_top_p: float = knob(0.9, group="planner", low=0.01, high=1, step=0.01)
    lm_top_k: int = knob(0, group="planner", low=0, high=1000, step=1)
    lm_repetition_penalty: float = knob(1.0, group="planner", low=1, high=2, step=0.05)


@dataclass(frozen=True, kw_only=True)
class InspireRequest(PlannerKnobs):
    """A whole form from one line."""

    query: str = knob("", group="main", high=PROMPT_CHARS, lines=2)
    instrumental: bool = knob(False, group="main")
    vocal_language: str | None = knob(group="music", choices=LANGUAGES)
    seed: int | None = knob(group="planner", low=0, high=MAX_SEED, step=1)


@dataclass(frozen=True, kw_only=True)
class EnhanceRequest(PlannerKnobs):
    """A fuller prompt and better set lyrics from those that are there; given facts stay as they are."""

    prompt: str = knob("", group="main", high=PROMPT_CHARS, lines=3)
    lyrics: str = knob("", group="main", high=LYRICS_CHARS, lines=8)
    bpm: int | None = knob(group="music", low=30, high=300, step=1, unit="beats per minute")
    keyscale: str | None = knob(group="music", choices=KEYSCALES)
    timesignature: TimeSignature | None = knob(group="music")
    vocal_language: str | None = knob(group="music", choices=LANGUAGES)
    seed: int | None = knob(group="planner", low=0, high=MAX_SEED, step=1)

    def combinations(self) -> Iterator[Fault]:
        """Faults that only several values together can have."""
        if not (self.prompt.strip() or self.lyrics.strip()):
            yield Fault("prompt", self.prompt, "must not be empty when the lyrics are empty too")


@dataclass(frozen=True, kw_only=True)
class UnderstandRequest(PlannerKnobs):
    """The words and facts that would describe a recording."""

    src_audio: Path | None = knob(group="main")
    lm_temperature: float = knob(0.3, group="planner", low=0, high=2, step=0.05)
    lm_top_p: float = knob(1.0, group="planner", low=0.01, high=1, step=0.01)
    seed: int | None = knob(group="planner", low=0, high=MAX_SEED, step=1)

    def combinations(self) -> Iterator[Fault]:
        """Faults that a value has although it is of the right type."""
        if self.src_audio is None:
            yield Fault("src_audio", None, "must be given: an audio file")


DraftRequest = InspireRequest | EnhanceRequest | UnderstandRequest


@dataclass(frozen=True, kw_only=True)
class LyricsRequest:
    """Song words from a brief."""

    mode: ClassVar[Mode] = "lyrics"
    section_names: ClassVar[tuple[str, ...]] = (
        *("intro", "verse", "pre-chorus", "chorus", "post-chorus", "bridge"),
        *("interlude", "instrumental", "solo", "break", "outro"),
    )
    max_sections: ClassVar[int] = 24

    brief: str = knob("", group="main", high=PROMPT_CHARS, lines=3)
    structure: str = knob("intro, verse, chorus, verse, chorus, bridge, chorus, outro", group="main", high=400)
    tone: Tone | None = knob(group="main")
    rhyme: Rhyme = knob("strict", group="main")
    lines_verse: int = knob(6, group="main", low=2, high=10, step=1, unit="lines")
    lines_chorus: int = knob(4, group="main", low=2, high=8, step=1, unit="lines")
    lines_bridge: int = knob(2, group="main", low=1, high=6, step=1, unit="lines")
    seed: int | None = knob(group="writer", low=0, high=MAX_SEED, step=1)

    def sections(self) -> tuple[str, ...]:
        """The sections in order, lower-case, without the brackets and numbers they may be typed with."""
        typed = self.structure.lower().replace("\n", ",").split(",")
        names = (part.strip(" []\t").rstrip("0123456789").strip() for part in typed)
        return tuple(name for name in names if name)

    def combinations(self) -> Iterator[Fault]:
        """Faults that a value has although it is of the right type."""
        if not self.brief.strip():
            yield Fault("brief", self.brief, "must say what the song is about")
        sections = self.sections()
        unknown = dict.fromkeys(name for name in sections if name not in self.section_names)
        if unknown:
            known = ", ".join(self.section_names)
            yield Fault("structure", ", ".join(unknown), f"must name known sections, separated by commas: {known}")
        elif not 1 <= len(sections) <= self.max_sections:
            yield Fault("structure", self.structure, f"must name 1 to {self.max_sections} sections")

    def resolved(self, draw: Callable[[int], int]) -> LyricsRequest:
        """The request with a seed; `draw(n)` returns a random integer below n."""
        return self if self.seed is not None else dataclasses.replace(self, seed=draw(MAX_SEED + 1))
