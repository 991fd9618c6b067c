"""The grammar of what the 5 Hz planner writes, as coroutines: no framework, no random numbers.

A decoding yields `Forced` tokens, which the model must read, or a `Choice` of one token of several. The token that was
chosen is sent back; it is part of the text only if it is forced next. What a decoding returns are the facts
themselves, so that nothing is parsed.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from core.music import Fact
from networks.lm.sampling import Ids
from networks.lm.vocabulary import IM_END, Piece
from planner.lm.prompts import END_THINK, THINK, facts_text
from planner.lm.tokens import TokenTables

FIELDS = ("bpm", "caption", "duration", "keyscale", "language", "timesignature")
"""In the order of the training data, which is the alphabet's."""

NUMBERS = ("bpm", "duration")

GENRES = "genres"
"""A field of the drafts' training data alone: text that the studio has no knob for."""

CAPTION_TOKENS = 512
GENRES_TOKENS = 64
LYRICS_TOKENS = 2048
"""The longest texts; a character that is begun is finished beyond them."""

_HEADING = re.compile(r"\A#+ *lyrics?:? *(\n|$)", re.IGNORECASE)

T = TypeVar("T")


@dataclass(frozen=True)
class Forced:
    """Tokens that stand already: the model reads them."""

    ids: tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """One of these ids, ascending; of a range of the vocabulary no other row of the head need be computed.

    The `likeliest` is taken without a draw.
    """

    allowed: Ids | range
    likeliest: bool = False


@dataclass(frozen=True)
class Decided:
    """A fact that is decided now, to be shown."""

    field: str
    value: Fact


Decoding = Generator[Forced | Choice | Decided, int | None, T]


def facts(
    tables: TokenTables,
    given: Mapping[str, Fact],
    wanted: Collection[str],
    caption_tokens: int = CAPTION_TOKENS,
    *,
    genres: bool = False,
) -> Decoding[dict[str, Fact]]:
    """The thought: its fields in order, each as it is given, or decided if it is wanted, or else left out.

    With `genres` the model may write a line of them before the key. They are read by nobody else.
    """
    known: dict[str, Fact] = {}
    forced: list[Piece] = [tables.vocabulary.control(THINK), "\n"]
    for field in FIELDS:
        if genres and field == "keyscale":
            yield _forced(tables, *forced)
            forced.clear()
            yield from _genres(tables)
        if field in given:
            known[field] = given[field]
            forced.append(facts_text({field: given[field]}) if field == "caption" else f"{field}: {given[field]}\n")
            yield Decided(field, given[field])
            continue
        if field not in wanted:
            continue
        name = ["caption:"] if field == "caption" else []
        yield _forced(tables, *forced, *name)
        forced.clear()
        if field == "caption":
            known[field] = yield from caption(tables, caption_tokens)
        else:
            # A language that is drawn by chance would be sung by chance.
            value = yield from _one_of(tables.lines(field), likeliest=field == "language")
            known[field] = int(value) if field in NUMBERS else value
        yield Decided(field, known[field])
    yield _forced(tables, *forced, tables.vocabulary.control(END_THINK))
    return known


def codes(tables: TokenTables, count: int) -> Decoding[tuple[int, ...]]:
    """So many audio codes; what may follow them is the end alone, which needs no model."""
    chosen = []
    for _ in range(count):
        token = yield Choice(tables.codes)
        assert token is not None
        chosen.append(token - tables.codes.start)
        yield Forced((token,))
    return tuple(chosen)


def _forced(tables: TokenTables, *pieces: Piece) -> Forced:
    return Forced(tuple(tables.vocabulary.join(*pieces)))


def _one_of(lines: Mapping[tuple[int, ...], str], *, likeliest: bool = False) -> Decoding[str]:
    """The value of one of the lines; what they have in common is written without asking."""
    left, read = dict(lines), 0
    while True:
        first = next(iter(left))
        shared = read
        while shared < len(first) and all(line[shared : shared + 1] == first[shared : shared + 1] for line in left):
            shared += 1
        if shared > read:
            yield Forced(first[read:shared])
        if len(left) == 1:
            return left[first]
        token = yield Choice(np.unique([line[shared] for line in left]).astype(np.intp), likeliest)
        # The token itself is the beginning of what the remaining lines have in common.
        left, read = {line: value for line, value in left.items() if line[shared] == token}, shared


def _genres(tables: TokenTables) -> Decoding[None]:
    """A line of genres, or none, as the model likes: it chooses how the next line begins."""
    name, key = (tables.vocabulary.encode(f"{field}:") for field in (GENRES, "keyscale"))
    token = yield Choice(np.sort(np.array([name[0], key[0]], np.intp)))
    if token == name[0]:
        yield Forced(tuple(name))
        yield from caption(tables, GENRES_TOKENS)


class _Text:
    """A free text as far as it is written: its `characters`, and the bytes of one that is not finished."""

    def __init__(self, tables: TokenTables) -> None:
        self.tables = tables
        self.tokens = 0
        self.characters = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    @property
    def partial(self) -> bytes:
        """The bytes of the unfinished character."""
        return self._decoder.getstate()[0]

    def add(self, token: int) -> Forced:
        """Force the token, which belongs to the text now."""
        self.tokens += 1
        self.characters += self._decoder.decode(self.tables.vocabulary.bytes_of(token))
        return Forced((token,))


def caption(tables: TokenTables, limit: int = CAPTION_TOKENS) -> Decoding[str]:
    """The caption, or what else is free text, behind its name, on one line, and the line break after it.

    It may go on over lines that are indented. The token that ends it, which begins a line without a space, is not
    written: the next field's name stands there.
    """
    text = _Text(tables)
    while text.tokens < limit or text.partial:
        token = yield Choice(_of_caption(text, closing=text.tokens >= limit))
        assert token is not None
        at_line_start = text.characters.endswith("\n") and not text.partial
        if at_line_start and not tables.vocabulary.bytes_of(token).startswith(b" "):
            break
        yield text.add(token)
    if not text.characters.endswith("\n"):
        yield _forced(tables, "\n")
    return " ".join(text.characters.split())


def _of_caption(text: _Text, *, closing: bool) -> Ids:
    tables = text.tables
    if text.partial:
        return tables.continuations(text.partial, closing=closing)
    if not text.characters:
        return tables.caption_start
    broken, _, line = text.characters.rpartition("\n")
    if not broken:
        return tables.caption
    if not line:
        return tables.caption_line_start
    if line == " ":
        return tables.indentation
    return tables.caption if line.strip() else tables.caption_line


def lyrics_text(tables: TokenTables, limit: int = LYRICS_TOKENS) -> Decoding[str]:
    """Lyrics until the model ends its turn; a heading that it gives them is left out."""
    end = tables.vocabulary.control(IM_END)
    allowed = np.union1d(tables.free_text, [end])
    text = _Text(tables)
    while text.tokens < limit or text.partial:
        closing = text.tokens >= limit
        token = yield Choice(tables.continuations(text.partial, closing=closing) if text.partial else allowed)
        assert token is not None
        if token == end:
            break
        yield text.add(token)
    return _HEADING.sub("", text.characters.strip()).strip()
