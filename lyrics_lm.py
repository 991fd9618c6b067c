"""The lyric writer of the studio: words for a song as they are written, by a language model or without one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from checkpoints import table
from checkpoints.writers import Writer
from core.errors import Fault, RequestError
from core.events import Progress, TextDelta
from core.lyrics import LyricsRequest
from lyrics import builtin_writer
from lyrics.brief import subject_of
from lyrics.foreign import is_foreign
from lyrics.line_counts import differences

if TYPE_CHECKING:
    from networks.lm.model import LanguageModel


ENGLISH_ONLY = "must be in English: the built-in writer knows no other language"


def understands(brief: str, writer: Writer) -> bool:
    """Whether the writer can do anything with a brief in that language, as far as it shows which one it is."""
    return writer.place is not None or not is_foreign(brief)


def refuse_foreign(request: LyricsRequest, writer: Writer) -> None:
    """Raise RequestError for a brief that would be answered with words that have nothing to do with it."""
    if not understands(request.brief, writer):
        smallest = min((row for row in table.CHECKPOINTS.values() if row.use == "lyrics"), key=lambda row: row.bytes)
        remedy = f"Write it in English, or bring a writer here with ./studio checkpoints download {smallest.name}."
        raise RequestError([Fault("brief", request.brief, ENGLISH_ONLY)], remedy)


def write(request: LyricsRequest, writer: Writer, model: LanguageModel | None = None) -> Iterator[Progress | TextDelta]:
    """Who writes, the song in pieces that join to the whole text, and at last what is not as it was asked for.

    `model` is the writer's own, None for the built-in one. The same request, which has its seed, gives the same text.
    """
    assert request.seed is not None
    notes = [writer.title, f"seed {request.seed}", *_notes(request, writer)]
    yield Progress("writing", note=" · ".join(notes))
    text, cut = "", False
    for event in _pieces(request, request.seed, model):
        if isinstance(event, TextDelta):
            text += event.text
        else:
            cut = event.step == event.total
        yield event
    if cut:
        notes.append(f"ended by max_new_tokens at {request.max_new_tokens}: raise it for the rest")
    yield Progress("writing", note=" · ".join([*notes, *differences(request, text)]))


def _pieces(request: LyricsRequest, seed: int, model: LanguageModel | None) -> Iterator[Progress | TextDelta]:
    if model is None:
        yield from builtin_writer.write(request, seed)
        return
    from lyrics.qwen import write as write_with

    yield from write_with(request, seed, model)


def _notes(request: LyricsRequest, writer: Writer) -> Iterator[str]:
    """What the user should know before reading."""
    if writer.place is not None:
        if request.temperature == 0:
            yield "at temperature 0 every seed gives these words"
        return
    subject = subject_of(request.brief)
    if not subject.is_english:
        yield "it knows English only and found none in the brief: these words are general ones"
    elif not subject.own_words:
        yield "it found no word in the brief that it could sing: these words are general ones"
