"""A language model that writes lyrics: an instruction-tuned Qwen 2.5, on whichever framework runs it."""

from __future__ import annotations

import codecs
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from core.events import Progress, TextDelta
from core.lyrics import LyricsRequest, Rhyme
from lyrics.cleanup import END_TAG, Cleanup
from networks.lm.sampling import Sampler, Sampling
from networks.lm.vocabulary import Message

if TYPE_CHECKING:
    from networks.lm.model import LanguageModel
    from networks.lm.vocabulary import Vocabulary

SYSTEM = f"""You are a songwriter. You answer with the lyrics of a song and nothing else: no title, no greeting, no \
explanation, no markdown.
Each section begins with its tag in square brackets, alone on its line and spelled as in the request, in the order of \
the request. Under the tag stand as many lines of words as the request says, each on a line of its own; a section \
without words is its tag alone. After the last section write {END_TAG} and stop."""
"""How to answer. What differs from song to song, numbers and tags above all, stands in the request alone."""

_RHYMES: Mapping[Rhyme, str] = MappingProxyType(
    {
        "strict": "the lines of a section rhyme with each other, perfectly",
        "loose": "the lines of a section rhyme with each other, near rhymes are welcome",
        "none": "lines do not rhyme",
    }
)


@cache
def language_names() -> Mapping[str, str]:
    """The names of `core.tables.SUNG_LANGUAGES` by their codes, read at the first call."""
    return MappingProxyType(tomllib.loads(Path(__file__).with_name("languages.toml").read_text("utf-8")))


def request_text(request: LyricsRequest) -> str:
    """The request as the language model reads it."""
    asked = request.lines_asked()
    language = language_names()[request.vocal_language] if request.vocal_language else "that of the brief"
    facts = [f"Language: {language}", f"Rhyme: {_RHYMES[request.rhyme]}"]
    if request.tone:
        facts.append(f"Mood: {request.tone}")
    if request.sections().count("chorus") > 1:
        facts.append("The chorus has the same words every time.")
    sections = [f"[{name}]: {_line_count(count)}" for name, count in asked]
    return "\n".join(["Brief:", request.brief.strip(), "", *facts, "", "Sections:", *sections])


def _line_count(count: int) -> str:
    return "without words" if count == 0 else f"{count} line{'s' if count > 1 else ''}"


def write(request: LyricsRequest, seed: int, model: LanguageModel) -> Iterator[Progress | TextDelta]:
    """The lyrics in pieces of whole lines, with a Progress after every token that leaves them unfinished.

    They end at the end tag, at a control token, or when `max_new_tokens` cut them off, which the last Progress tells by
    reaching its total. What the user wrote stays text: it cannot end the turn or open another one.
    """
    vocabulary = model.vocabulary
    prompt = vocabulary.chat([Message("system", SYSTEM), Message("user", request_text(request))])
    sampler = Sampler(_sampling(request), seed)
    cleanup, characters = Cleanup(), codecs.getincrementaldecoder("utf-8")("replace")
    written: set[int] = set()
    with closing(model.start([prompt])) as session:
        for count in range(1, request.max_new_tokens + 1):
            token = sampler.pick(session.logits(), seen=written)
            if token in vocabulary.control_ids:
                break
            if _is_word(token, vocabulary):
                written.add(token)
            if lines := cleanup.feed(characters.decode(vocabulary.bytes_of(token))):
                yield TextDelta(lines)
            if cleanup.ended:
                break
            yield Progress("writing", count, request.max_new_tokens)
            session.feed([token])
    if rest := cleanup.feed(characters.decode(b"", final=True)) + cleanup.finish():
        yield TextDelta(rest)


def _sampling(request: LyricsRequest) -> Sampling:
    return Sampling(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        repetition_penalty=request.repetition_penalty,
    )


def _is_word(token: int, vocabulary: Vocabulary) -> bool:
    """Whether the repetition penalty counts the token: line breaks, commas and brackets are the form, and come back."""
    return any(byte > 127 or chr(byte).isalnum() for byte in vocabulary.bytes_of(token))
