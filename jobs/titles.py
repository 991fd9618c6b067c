"""What a song is called: by its words or, without any, by what it was made of."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from core.music import NO_WORDS
from core.params import SongRequest
from core.plans import Plan
from core.tables import Mode
from library.tracks import Library

TITLE_CHARS = 60

MADE_OF: Mapping[Mode, str] = MappingProxyType({"cover": "cover of", "extend": "more of", "edit": "edit of"})
"""What stands before the name of a song's source, by the mode that made something of it."""


_TURNING = frozenset(["LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"])
"""Unicode's names of the characters that say in which direction others are written."""


def title_of(request: SongRequest, plan: Plan, source: str = "") -> str:
    """The first line of the prompt; without one what was made of the source, or else what is sung or planned.

    At most `TITLE_CHARS`; the name of the mode, with nothing else to go by.
    """
    made = MADE_OF.get(request.mode, "")
    # An edit of an edit is an edit of the same song.
    from_source = source if source.startswith(f"{made} ") else f"{made} {source}"
    sung = "" if request.wordless else request.lyrics
    names = (request.prompt, from_source if made and source else "", _without_tags(sung), plan.music.caption)
    return next(filter(None, map(_first_line, names)), request.mode)


def name_of_source(path: Path, sha256: str, library: Library) -> str:
    """What a recording is called: the name of the track that sounds so, else the name of its file."""
    track = library.find_audio(sha256)
    return _first_line(track.called if track else path.stem.replace("_", " "))


def _without_tags(lyrics: str) -> str:
    return "\n".join(line for line in lyrics.replace(NO_WORDS, "").splitlines() if not line.strip().startswith("["))


def _first_line(text: str) -> str:
    """The first line that says something, without what could do harm in a page, a tag or a file name, and short."""
    lines = ("".join(map(_printed, line)).split() for line in text.splitlines())
    line = next((" ".join(words) for words in lines if words), "")
    return line if len(line) <= TITLE_CHARS else f"{line[: TITLE_CHARS - 1].rstrip()}…"


def _printed(character: str) -> str:
    """The character; a blank for what controls a terminal, or turns the direction of whatever stands beside it."""
    turns = unicodedata.bidirectional(character) in _TURNING
    return " " if turns or unicodedata.category(character) == "Cc" else character
