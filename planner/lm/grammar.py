"""The grammar of what the 5 Hz planner writes, as coroutines that walk it: no framework, no dice.

A walk yields moves: `Write` tokens that are settled, which the model must read, or `Ask` for one of several. The token
that was chosen is sent back; it is part of the text only if a Write with it follows. What a walk returns are the facts
themselves, so that nothing is parsed.
"""

from __future__ import annotations

import codecs
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from networks.lm.sampling import Ids
from networks.lm.vocabulary import IM_END, Piece
from planner.lm.prompts import END_THINK, THINK, Fact, facts_text
from planner.lm.tokens import Script

FIELDS = ("bpm", "caption", "duration", "keyscale", "language", "timesignature")
"""In the order of the training data, which is the alphabet's."""

NUMBERS = ("bpm", "duration")

CAPTION_TOKENS = 512
LYRICS_TOKENS = 2048
"""The longest texts; a character that is begun is finished beyond them."""

T = TypeVar("T")


@dataclass(frozen=True)
class Write:
    """Tokens that are settled: the model reads them."""

    ids: tuple[int, ...]


@dataclass(frozen=True)
class Ask:
    """A choice: one of these ids, ascending; a range is a stretch of the vocabulary of which no other row counts."""

    allowed: Ids | range


@dataclass(frozen=True)
class Settled:
    """A fact that is decided now, for whoever watches."""

    field: str
    value: Fact


Move = Write | Ask | Settled
Walk = Generator[Move, int | None, T]


def facts(
    script: Script, given: Mapping[str, Fact], wanted: Collection[str], caption_tokens: int = CAPTION_TOKENS
) -> Walk[dict[str, Fact]]:
    """The thought: its fields in order, each as it is given, or decided if it is wanted, or else left out."""
    known: dict[str, Fact] = {}
    settled: list[Piece] = [script.vocabulary.control(THINK), "\n"]
    for field in FIELDS:
        if field in given:
            known[field] = given[field]
            settled.append(facts_text({field: given[field]}) if field == "caption" else f"{field}: {given[field]}\n")
            yield Settled(field, given[field])
            continue
        if field not in wanted:
            continue
        name = ["caption:"] if field == "caption" else []
        yield _write(script, *settled, *name)
        settled.clear()
        if field == "caption":
            known[field] = yield from caption(script, caption_tokens)
        else:
            value = yield from _one_of(script.lines(field))
            known[field] = int(value) if field in NUMBERS else value
        yield Settled(field, known[field])
    yield _write(script, *settled, script.vocabulary.control(END_THINK))
    return known


def codes(script: Script, count: int) -> Walk[tuple[int, ...]]:
    """So many audio codes; what may follow them is the end alone, which needs no model."""
    chosen = []
    for _ in range(count):
        token = yield Ask(script.codes)
        assert token is not None
        chosen.append(token - script.codes.start)
        yield Write((token,))
    return tuple(chosen)


def _write(script: Script, *pieces: Piece) -> Write:
    return Write(tuple(script.vocabulary.join(*pieces)))


def _one_of(lines: Mapping[tuple[int, ...], str]) -> Walk[str]:
    """The value of one of the lines; what they have in common is written without asking."""
    left, read = dict(lines), 0
    while True:
        first = next(iter(left))
        shared = read
        while shared < len(first) and all(line[shared : shared + 1] == first[shared : shared + 1] for line in left):
            shared += 1
        if shared > read:
            yield Write(first[read:shared])
        if len(left) == 1:
            return left[first]
        token = yield Ask(np.unique([line[shared] for line in left]).astype(np.intp))
        # The token itself is the beginning of what the remaining lines have in common.
        left, read = {line: value for line, value in left.items() if line[shared] == token}, shared


class _Text:
    """A free text as far as it is written: its whole characters, and the bytes of one that is not finished."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.tokens = 0
        self.whole = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    @property
    def begun(self) -> bytes:
        """The bytes of the unfinished character."""
        return self._decoder.getstate()[0]

    def add(self, token: int) -> Write:
        """The move that writes the token, which belongs to the text now."""
        self.tokens += 1
        self.whole += self._decoder.decode(self.script.vocabulary.bytes_of(token))
        return Write((token,))


def caption(script: Script, limit: int = CAPTION_TOKENS) -> Walk[str]:
    """The caption behind its name, on one line, and the line break after it.

    It may go on over lines that are indented. The token that ends it, which begins a line without a space, is not
    written: the next field's name stands there.
    """
    text = _Text(script)
    while text.tokens < limit or text.begun:
        token = yield Ask(_of_caption(text, closing=text.tokens >= limit))
        assert token is not None
        if not text.begun and text.whole.endswith("\n") and not script.vocabulary.bytes_of(token).startswith(b" "):
            break
        yield text.add(token)
    if not text.whole.endswith("\n"):
        yield _write(script, "\n")
    return " ".join(text.whole.split())


def _of_caption(text: _Text, *, closing: bool) -> Ids:
    script = text.script
    if text.begun:
        return script.endings(text.begun, closing=closing)
    if not text.whole:
        return script.opening
    broken, _, line = text.whole.rpartition("\n")
    if not broken:
        return script.anywhere
    if not line:
        return script.line_start
    if line == " ":
        return script.spaced
    return script.anywhere if line.strip() else script.inline


def verses(script: Script, limit: int = LYRICS_TOKENS) -> Walk[str]:
    """Lyrics under their heading, until the model ends its turn."""
    yield _write(script, "\n\n# Lyric\n")
    end = script.vocabulary.control(IM_END)
    allowed = np.union1d(script.verse, [end])
    text = _Text(script)
    while text.tokens < limit or text.begun:
        token = yield Ask(script.endings(text.begun, closing=text.tokens >= limit) if text.begun else allowed)
        assert token is not None
        if token == end:
            break
        yield text.add(token)
    return text.whole.strip()
