"""The line material of the built-in lyric writer: frames, heads, tails, hooks and whole lines, mostly by mood."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from core.lyrics import Tone
from lyrics.words import NounKind, named

Mood = Literal["any"] | Tone
HeadKind = NounKind | Literal["gerund"]
ByMood = Mapping[Mood, tuple[str, ...]]

_MOODS: tuple[Mood, ...] = ("any", *get_args(Tone))

SCENES: frozenset[HeadKind] = frozenset(("sight", "sound", "gerund"))
"""The kinds of which the heads can be followed by a place."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """The contents of lines.toml, which says what each table is."""

    bridge_openings: tuple[str, ...]
    unwanted: Mapping[Mood, str]
    frames: ByMood
    heads: Mapping[HeadKind, tuple[str, ...]]
    where: ByMood
    when: ByMood
    verse_lines: ByMood
    chorus_lines: ByMood
    hooks: ByMood


@cache
def material() -> Material:
    """The lines, read at the first call."""
    read = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    heads: tuple[HeadKind, ...] = ("gerund", *get_args(NounKind))
    by_mood = ("frames", "where", "when", "verse_lines", "chorus_lines", "hooks")
    return Material(
        bridge_openings=_lines(read["bridge_openings"]),
        unwanted=named(read["unwanted"], _MOODS),
        heads=named(_lines_by_name(read["heads"]), heads),
        **{name: named(_lines_by_name(read[name]), _MOODS) for name in by_mood},
    )


def _lines_by_name(table: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {name: _lines(text) for name, text in table.items()}


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.strip().splitlines())
