"""Words and sections with their times, and the .lrc files that players show while a song sounds.

The format is the common one: ID tags such as [ti:title] first, then a line for each moment, [mm:ss.xx] before its text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType
from typing import Literal, NamedTuple

from core.tables import PRODUCT
from lyrics.line_counts import sections_of
from lyrics.pronunciation import syllables

How = Literal["score", "attention", "plan"]

TOLD: Mapping[How, str] = MappingProxyType(
    {
        "score": "exact, from the notes of the song",
        "attention": "found by the model's attention to the words",
        "plan": "estimated from the plan",
    }
)
"""What a file says of how its times were found."""

SECTION_SIGN = "♪"
"""Before the tag of a section. A bracket there is dropped by some players and taken for a tag by others."""

CLEAR_S = 2.0
"""So much without words after a line is told by an empty one; a display that cleared at every breath would flicker."""

BREATH = 2.0
"""Syllables that the pause after a line lasts, where nobody knows."""

PLAYED_LINES = 2
"""Lines of words that a section without any lasts as long as: four bars, at two bars a line."""

LETTERS_PER_SYLLABLE = 2.5
"""Of alphabets that are neither Latin nor written in syllables."""

_STAMP = re.compile(r"\[(\d{1,3}):(\d{1,2}(?:[.:]\d{1,3})?)\]\s*")
_TAG = re.compile(r"\[([a-z#]+):(.*)\]", re.IGNORECASE)
_WORD_TIME = re.compile(r"<(\d{1,3}:\d[^<>]*)>")
_ROUND = str.maketrans("[]", "()")


class Line(NamedTuple):
    """A sung line; an end of None is the start of whatever comes next."""

    text: str
    start_s: float
    end_s: float | None = None


class Section(NamedTuple):
    """Where a section begins, by the tag that it has in the lyrics."""

    tag: str
    start_s: float


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What a file holds; None for a length or a way to find the times that it does not tell."""

    lines: tuple[Line, ...]
    sections: tuple[Section, ...]
    title: str = ""
    how: How | None = None
    length_s: float | None = None


def to_lrc(lines: Sequence[Line], sections: Sequence[Section], title: str, how: How, length_s: float) -> str:
    """The .lrc file of a song, in the order of its times; a section comes before the line that begins with it.

    Texts lose what a player would take for a time or a tag: brackets become round, line breaks blanks. Of a text of
    which nothing is left there is no line.
    """
    entries = [(_hundredths(each.start_s), 1, _plain(each.tag)) for each in sections]
    entries += [(_hundredths(each.start_s), 2, _plain(each.text)) for each in lines]
    entries = [entry for entry in entries if entry[2]]
    starts = [at for at, _, _ in entries] + [_hundredths(length_s)]
    for line in lines:
        start, end = _hundredths(line.start_s), _hundredths(line.start_s if line.end_s is None else line.end_s)
        after = min((each for each in starts if each > start), default=start)
        if _plain(line.text) and start < end <= after - 100 * CLEAR_S:
            entries.append((end, 0, ""))
    entries.sort(key=lambda entry: entry[:2])
    signs = ("", f"{SECTION_SIGN} ", "")
    return "\n".join(
        [
            f"[ti:{_on_one_line(title)}]",
            f"[length:{_stamp(_hundredths(length_s))}]",
            f"[re:{PRODUCT}]",
            f"[#:times {TOLD[how]}]",
            "",
            *(f"[{_stamp(at)}]{signs[rank]}{text}" for at, rank, text in entries),
            "",
        ]
    )


def _on_one_line(text: str) -> str:
    """The text without control characters and without what a player would read as a time or a tag."""
    whole = "".join(" " if unicodedata.category(each) == "Cc" else each for each in text)
    return _WORD_TIME.sub(r"(\1)", " ".join(whole.split())).translate(_ROUND)


def _plain(text: str) -> str:
    """The text as a line, which the sign of a section may not begin."""
    return _on_one_line(text).lstrip(f"{SECTION_SIGN} ")


def read_lrc(text: str) -> Sheet:
    """What a .lrc file says, ours or another's, in the order of its times; what is neither tag nor time is left out.

    An empty line ends the one before. A line may have several times, and the file an offset in milliseconds by which
    its words come earlier.
    """
    tags: dict[str, str] = {}
    moments: list[tuple[float, str]] = []
    for row in text.removeprefix("\ufeff").splitlines():
        row, times = row.strip(), []
        while stamp := _STAMP.match(row):
            times.append(60 * int(stamp[1]) + float(stamp[2].replace(":", ".")))
            row = row[stamp.end() :]
        if times:
            moments += [(at, re.sub(r"<\d+:[\d.:]+>", "", row).strip()) for at in times]
        elif tag := _TAG.fullmatch(row):
            tags.setdefault(tag[1].lower(), tag[2].strip())
    early = _offset(tags.get("offset", ""))
    lines: list[Line] = []
    sections: list[Section] = []
    for at, words in sorted(((max(0.0, at - early), words) for at, words in moments), key=lambda moment: moment[0]):
        bracketed = re.fullmatch(r"\[([^\]]+)\]", words)
        if bracketed or words.startswith(SECTION_SIGN):
            sections.append(Section(bracketed[1] if bracketed else words.lstrip(f"{SECTION_SIGN} "), at))
        elif words:
            lines.append(Line(words, at))
        elif lines and lines[-1].end_s is None:
            lines[-1] = lines[-1]._replace(end_s=at)
    told = tags.get("#", "").removeprefix("times ")
    how = next((each for each, said in TOLD.items() if said == told), None)
    return Sheet(
        lines=tuple(lines), sections=tuple(sections), title=tags.get("ti", ""), how=how,
        length_s=_length(tags.get("length", "")),
    )  # fmt: skip


def estimated(lyrics: str, duration_s: float) -> tuple[tuple[Line, ...], tuple[Section, ...]]:
    """(lines, sections) of the lyrics over a song of that length, by how many syllables each line has.

    A guess that is right about the order and roughly about the pace: a section without words counts as
    `PLAYED_LINES` lines of usual length, and nobody knows of an introduction that has no tag.
    """
    parts = [(tag, [(line, _sung(line)) for line in lines]) for tag, lines in sections_of(lyrics)]
    weights = [weight + BREATH for _, lines in parts for _, weight in lines]
    usual = sum(weights) / len(weights) if weights else 1.0
    stretches = list(_stretches(parts, PLAYED_LINES * usual))
    total = sum(stretch.weight for stretch in stretches)
    ends = [duration_s * done / total for done in accumulate(stretch.weight for stretch in stretches)]
    lines, sections = [], []
    for stretch, start_s, end_s in zip(stretches, [0.0, *ends], ends, strict=False):
        if stretch.opens:
            sections.append(Section(stretch.opens, start_s))
        if stretch.line:
            lines.append(Line(stretch.line, start_s, start_s + (end_s - start_s) * (1 - BREATH / stretch.weight)))
    return tuple(lines), tuple(sections)


class _Stretch(NamedTuple):
    """A line, or a section without words: how long it lasts beside the others, and the section that it opens."""

    weight: float
    line: str
    opens: str | None


def _stretches(parts: Sequence[tuple[str | None, Sequence[tuple[str, float]]]], played: float) -> Iterator[_Stretch]:
    for tag, lines in parts:
        if not lines:
            yield _Stretch(played, "", tag)
        for number, (line, weight) in enumerate(lines):
            yield _Stretch(weight + BREATH, line, None if number else tag)


def _sung(line: str) -> float:
    """About how many syllables the line has, in any script: at least one."""
    letters = [each for each in unicodedata.normalize("NFD", line) if unicodedata.category(each) != "Mn"]
    latin = "".join(each if each.isascii() else " " for each in letters)
    others = [each for each in unicodedata.normalize("NFC", line) if each.isalpha() and not _is_latin(each)]
    written = sum(1.0 if unicodedata.category(each) == "Lo" else 1.0 / LETTERS_PER_SYLLABLE for each in others)
    return max(1.0, syllables(latin) + written)


def _is_latin(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("LATIN")


def _hundredths(seconds: float) -> int:
    return max(0, round(100 * seconds))


def _stamp(hundredths: int) -> str:
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes:02d}:{rest // 100:02d}.{rest % 100:02d}"


def _offset(text: str) -> float:
    return int(text) / 1000 if re.fullmatch(r"[+-]?\d{1,7}", text) else 0.0


def _length(text: str) -> float | None:
    told = re.fullmatch(r"(\d{1,3}):(\d{1,2}(?:\.\d{1,3})?)", text)
    return 60 * int(told[1]) + float(told[2]) if told else None
