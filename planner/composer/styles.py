"""What the composer knows of styles and sections, read from styles.toml: what words mean them, and who plays how."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from core.stated import bpm_stated, key_stated
from core.tables import TONICS
from planner.composer.patterns import Feel

Cue = Literal["slow", "fast", "dark", "bright"]


@dataclass(frozen=True, kw_only=True)
class Style:
    """How one style is arranged; styles.toml says what each value means."""

    words: tuple[str, ...]
    players: tuple[str, ...]
    programs: tuple[int, ...]
    bpm: tuple[int, int]
    minor: float
    comping: str
    bass: str
    drums: str
    swing: float = 0.5
    sevenths: bool = False


@dataclass(frozen=True, kw_only=True)
class SectionKind:
    """How many bars a section has where lyrics do not say it, and what it asks of the players."""

    bars: int
    feel: Feel


@dataclass(frozen=True, kw_only=True)
class _Tables:
    styles: Mapping[str, Style]
    sections: Mapping[str, SectionKind]
    cues: Mapping[Cue, re.Pattern[str]]
    tags: Mapping[str, str]


@cache
def _tables() -> _Tables:
    read = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    return _Tables(
        styles={
            name: Style(**values | {key: tuple(values[key]) for key in ("words", "players", "programs", "bpm")})
            for name, values in read["styles"].items()
        },
        sections={
            name: SectionKind(bars=values["bars"], feel=Feel(**{key: values[key] for key in values if key != "bars"}))
            for name, values in read["sections"].items()
        },
        cues={cue: _any_of(words.split()) for cue, words in read["cues"].items()},
        tags=read["tags"],
    )


def _any_of(words: Sequence[str]) -> re.Pattern[str]:
    """A pattern of whole words; `*` is any ending."""
    choices = "|".join(re.escape(word).replace(r"\*", r"\w*") for word in words)
    return re.compile(rf"\b({choices})\b")


def styles() -> Mapping[str, Style]:
    """The styles by name, in the order from which a seed draws."""
    return _tables().styles


def section_kinds() -> Mapping[str, SectionKind]:
    """The kinds of sections by name."""
    return _tables().sections


def style_of(words: str, rng: np.random.Generator) -> str:
    """The style that most of the (lower-case) words mean; the earliest mentioned on a tie, drawn when none is."""
    found = _mentions(words)
    if not any(found.values()):
        return tuple(styles())[rng.integers(len(styles()))]
    return min(found, key=lambda name: (-len(found[name]), min(found[name], default=len(words))))


def names_style(words: str) -> bool:
    """Whether any of the (lower-case) words means a style."""
    return any(_mentions(words).values())


def _mentions(words: str) -> dict[str, list[int]]:
    """Where each style is mentioned."""
    return {
        name: [
            match.start() for word in style.words for match in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", words)
        ]
        for name, style in styles().items()
    }


def tempo_of(words: str, style: Style, rng: np.random.Generator) -> int:
    """Beats per minute that the words state, or else drawn from the style's range, its slow or fast end."""
    if stated := bpm_stated(words):
        return stated
    low, high = style.bpm
    middle = (low + high) // 2
    if _has("slow", words):
        high = middle - (high - low) // 4
    elif _has("fast", words):
        low = middle + (high - low) // 4
    return int(rng.integers(low, high + 1))


def key_of(words: str, style: Style, rng: np.random.Generator) -> str:
    """The key that the words state, or one that fits them (dark ones are minor) and the style, such as "Eb minor"."""
    if stated := key_stated(words):
        return stated
    tonic = TONICS[rng.integers(12)]
    minor = rng.random() < style.minor
    if names_mood(words):
        minor = _has("dark", words)
    return f"{tonic} {'minor' if minor else 'major'}"


def names_tempo(words: str) -> bool:
    """Whether the (lower-case) words say how fast the music is."""
    return bpm_stated(words) is not None or _has("slow", words) or _has("fast", words)


def names_mood(words: str) -> bool:
    """Whether the (lower-case) words say how dark or bright the music is."""
    return _has("dark", words) or _has("bright", words)


def _has(cue: Cue, words: str) -> bool:
    return _tables().cues[cue].search(words) is not None


def metre_of(words: str) -> int:
    """The time signature that the words ask for, 4 when they say nothing."""
    if re.search(r"\b(waltz|3/4)\b", words):
        return 3
    return 6 if "6/8" in words else 4


def kind_of_tag(tag: str) -> str:
    """The kind of section that a tag means, such as "pre-chorus" or "guitar solo"; what is unknown is a verse."""
    return next((kind for word, kind in _tables().tags.items() if word in tag.lower()), "verse")
