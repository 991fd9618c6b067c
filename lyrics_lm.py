"""The lyric writer of the studio: words for a song, streamed line by line."""

from __future__ import annotations

from collections.abc import Iterator

from events import TextDelta
from lyrics_brief import understand
from lyrics_builtin import SongWriter
from params_words import LyricsRequest

WRITER = "built-in writer"
"""Who writes, as the page shows it: a small program with lines of its own, not a language model."""


def write(request: LyricsRequest, seed: int) -> Iterator[TextDelta]:
    """The song in pieces, one per line, that join to the whole text: each section under its tag in brackets.

    The same request and seed give the same text.
    """
    song = SongWriter(request, seed)
    for index, name in enumerate(request.sections()):
        yield TextDelta(f"{chr(10) * bool(index)}[{name}]\n")
        for line in song.section(name):
            yield TextDelta(f"{line}\n")


def note(request: LyricsRequest) -> str:
    """What the user should know about the words of this brief; empty when there is nothing."""
    subject = understand(request.brief)
    if not subject.is_english:
        return f"The {WRITER} knows English only and found none in the brief: these words are general ones."
    if not subject.own_words:
        return f"The {WRITER} found no word in the brief that it could sing: these words are general ones."
    return ""


def line_counts(text: str) -> list[tuple[str, int]]:
    """(section, number of lines) for every section of a text, in order."""
    counts: list[tuple[str, int]] = []
    for line in filter(None, (line.strip() for line in text.split("\n"))):
        if line.startswith("[") and line.endswith("]"):
            counts.append((line[1:-1], 0))
        elif counts:
            counts[-1] = (counts[-1][0], counts[-1][1] + 1)
    return counts
