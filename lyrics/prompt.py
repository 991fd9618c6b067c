"""What a language model is told when it writes lyrics: how to answer, always the same, and what this song asks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from core.lyrics import LyricsRequest, Rhyme
from lyrics.tidy import END_TAG

SYSTEM = f"""You are a songwriter. You answer with the lyrics of a song and nothing else: no title, no greeting, no \
explanation, no markdown.
Each section begins with its tag in square brackets, alone on its line and spelled as in the request, in the order of \
the request. Under the tag stand as many lines of words as the request says, each on a line of its own; a section \
without words is its tag alone. After the last section write {END_TAG} and stop."""
"""The form of the answer. What differs from song to song, numbers and tags above all, stands in the request alone."""

_RHYMES: Mapping[Rhyme, str] = MappingProxyType(
    {
        "strict": "the lines of a section rhyme with each other, perfectly",
        "loose": "the lines of a section rhyme with each other, near rhymes are welcome",
        "none": "lines do not rhyme",
    }
)

_LANGUAGES = """
ar=Arabic az=Azerbaijani bg=Bulgarian bn=Bengali ca=Catalan cs=Czech da=Danish de=German el=Greek en=English es=Spanish
fa=Persian fi=Finnish fr=French he=Hebrew hi=Hindi hr=Croatian ht=Haitian_Creole hu=Hungarian id=Indonesian
is=Icelandic it=Italian ja=Japanese ko=Korean la=Latin lt=Lithuanian ms=Malay ne=Nepali nl=Dutch no=Norwegian pa=Punjabi
pl=Polish pt=Portuguese ro=Romanian ru=Russian sa=Sanskrit sk=Slovak sr=Serbian sv=Swedish sw=Swahili ta=Tamil te=Telugu
th=Thai tl=Tagalog tr=Turkish uk=Ukrainian ur=Urdu vi=Vietnamese yue=Cantonese zh=Chinese
"""
LANGUAGE_NAMES: Mapping[str, str] = MappingProxyType(
    dict(entry.replace("_", " ").split("=") for entry in _LANGUAGES.split())
)
"""The languages by the codes of `params_tables.SUNG_LANGUAGES`."""


def request_text(request: LyricsRequest) -> str:
    """The request as the language model reads it."""
    asked = request.lines_asked()
    language = LANGUAGE_NAMES[request.vocal_language] if request.vocal_language else "that of the brief"
    facts = [f"Language: {language}", f"Rhyme: {_RHYMES[request.rhyme]}"]
    if request.tone:
        facts.append(f"Mood: {request.tone}")
    if request.sections().count("chorus") > 1:
        facts.append("The chorus has the same words every time.")
    sections = [f"[{name}]: {_lines(count)}" for name, count in asked]
    return "\n".join(["Brief:", request.brief.strip(), "", *facts, "", "Sections:", *sections])


def _lines(count: int) -> str:
    return "without words" if count == 0 else f"{count} line{'s' if count > 1 else ''}"
