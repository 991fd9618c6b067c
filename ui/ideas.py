"""Where a song may start: examples that fill the form, and ideas put together by dice."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar, get_args

from core.lyrics import Tone
from core.resolve import Rng
from lyrics.words import vocabulary
from planner.composer.styles import styles

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Example:
    """A song that shows what the studio can do: a line to start from, and the same as a form that is filled in."""

    name: str
    query: str
    prompt: str
    lyrics: str
    duration_s: float
    instrumental: bool


@cache
def examples() -> tuple[Example, ...]:
    """The examples, read at the first call."""
    read = tomllib.loads(Path(__file__).with_name("examples.toml").read_text("utf-8"))
    return tuple(Example(name=name, **{"lyrics": "", **values}) for name, values in read.items())


def idea(rng: Rng) -> tuple[str, str]:
    """(a line to start from, a style prompt): the mood, style and players of one song, with words that nano knows."""
    name, style = _one(list(styles().items()), rng)
    first = rng(len(style.players))
    players = [style.players[first], style.players[(first + 1) % len(style.players)]]
    tone: Tone = _one(get_args(Tone), rng)
    nouns = vocabulary().common.nouns
    subject = _one(nouns[_one(list(nouns), rng)], rng)
    return f"{tone} {name} with {' and '.join(players)}, about {subject}", ", ".join([f"{tone} {name}", *players])


def _one(choices: Sequence[T], rng: Rng) -> T:
    return choices[rng(len(choices))]
