"""The lines of a song's sections: how many there are, and how many were asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from core.lyrics import LyricsRequest

Counts = Sequence[tuple[str, int]]
"""(section, number of lines) in the order of the song."""


@dataclass(frozen=True)
class SectionCount:
    """The lines of one section: None asked for is a section too many, None written is one that is missing."""

    section: str
    asked: int | None
    written: int | None

    def __str__(self) -> str:
        if self.asked is None:
            return f"{self.section}: {self.written}, not asked for"
        return f"{self.section}: missing" if self.written is None else f"{self.section}: {self.written} of {self.asked}"

    @property
    def difference(self) -> str:
        """What is not as it was asked for; empty when all is."""
        if self.asked is None:
            return f"{self.section} was not asked for"
        if self.written is None:
            return f"{self.section} is missing"
        if self.written == self.asked:
            return ""
        return f"{self.section} has {self.written} line{'' if self.written == 1 else 's'} instead of {self.asked}"


def sections_of(text: str) -> list[tuple[str | None, list[str]]]:
    """(section, its lines) for every section of a text, in order; lines before the first tag are a section of None."""
    sections: list[tuple[str | None, list[str]]] = []
    for line in filter(None, (line.strip() for line in text.split("\n"))):
        if line.startswith("[") and line.endswith("]"):
            sections.append((line[1:-1], []))
        elif sections:
            sections[-1][1].append(line)
        else:
            sections.append((None, [line]))
    return sections


def line_counts(text: str) -> list[tuple[str, int]]:
    """(section, number of lines) for every section of a text that has a tag, in order."""
    return [(name, len(lines)) for name, lines in sections_of(text) if name is not None]


def compared(request: LyricsRequest, text: str) -> tuple[SectionCount, ...]:
    """The sections of the request beside those of the text, in order; what comes several times is numbered."""
    pairs = tuple(_aligned(request.lines_asked(), [(_kind(name), lines) for name, lines in line_counts(text)]))
    total = Counter(name for name, _, _ in pairs)
    seen: Counter[str] = Counter()
    found = []
    for name, asked, written in pairs:
        seen[name] += 1
        found.append(SectionCount(f"{name} {seen[name]}" if total[name] > 1 else name, asked, written))
    return tuple(found)


def differences(request: LyricsRequest, text: str) -> tuple[str, ...]:
    """What of the sections and their line counts is not as it was asked for."""
    return tuple(count.difference for count in compared(request, text) if count.difference)


def _kind(name: str) -> str:
    """The section's name without the number that it may have: "verse 2" is a verse."""
    return name.lower().rstrip("0123456789 ")


def _aligned(asked: Counts, written: Counts) -> Iterator[tuple[str, int | None, int | None]]:
    """(section, lines asked for, lines written), as many sections as possible beside their like."""
    first, second = ([name for name, _ in counts] for counts in (asked, written))
    for kind, a, b, c, d in SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        if kind == "equal":
            pairs = zip(asked[a:b], written[c:d], strict=True)
            yield from ((name, lines, found) for (name, lines), (_, found) in pairs)
        else:
            yield from ((name, lines, None) for name, lines in asked[a:b])
            yield from ((name, None, found) for name, found in written[c:d])
