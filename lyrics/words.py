"""The vocabulary of the built-in lyric writer: what English words in a brief are, and what goes with them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar, cast, get_args

from core.lyrics import Tone

NounKind = Literal["any", "sight", "sound", "place", "person", "time", "feeling"]
Words = frozenset[str]

K = TypeVar("K", bound=str)
V = TypeVar("V")


@dataclass(frozen=True, kw_only=True)
class Topic:
    """Words that belong together: any of `cues` in a brief brings `nouns`, phrases with their article by kind."""

    cues: Words
    nouns: Mapping[NounKind, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The contents of words.toml, which says what each list is; `gerunds` maps every form of a verb to its gerund."""

    topics: tuple[Topic, ...]
    common: Topic
    kinds: Mapping[NounKind, Words]
    tones: Mapping[Tone, Words]
    gerunds: Mapping[str, str]
    articles: Words
    possessives: Words
    subjects: Words
    adjectives: Words
    verbs: Words
    irregular_verbs: Words
    capitalised: Words
    passed_over: Words


@cache
def vocabulary() -> Vocabulary:
    """The words, read at the first call."""
    read = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
    return Vocabulary(
        topics=tuple(_topic(**topic) for topic in read["topics"].values()),
        common=_topic(**read["common"]),
        kinds=named(_words_by_name(read["kinds"]), get_args(NounKind)),
        tones=named(_words_by_name(read["tones"]), get_args(Tone)),
        gerunds={form: gerund for gerund, forms in read["gerunds"].items() for form in (gerund, *forms.split())},
        **_words_by_name(read["speech"]),
    )


def named(table: Mapping[str, V], names: Sequence[K]) -> dict[K, V]:
    """The table in its own order, by names that are known. Raises ValueError for another one."""
    if unknown := table.keys() - set(names):
        raise ValueError(f"{', '.join(sorted(unknown))}: must be of {', '.join(names)}")
    return cast("dict[K, V]", dict(table))


def _topic(*, cues: str = "", **nouns: Sequence[str]) -> Topic:
    phrases = {kind: tuple(texts) for kind, texts in nouns.items()}
    return Topic(cues=frozenset(cues.split()), nouns=named(phrases, get_args(NounKind)))


def _words_by_name(table: Mapping[str, str]) -> dict[str, Words]:
    return {name: frozenset(text.split()) for name, text in table.items()}
