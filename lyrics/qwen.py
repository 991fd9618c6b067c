"""A language model that writes lyrics: an instruction-tuned Qwen 2.5, on whichever framework runs it."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from core.events import Progress, TextDelta
from core.lyrics import LyricsRequest
from lyrics.prompt import SYSTEM, request_text
from lyrics.tidy import Tidy
from networks.lm.sampling import Sampler, Sampling
from networks.lm.vocabulary import Message

if TYPE_CHECKING:
    from networks.lm.model import LanguageModel
    from networks.lm.vocabulary import Vocabulary


def write(request: LyricsRequest, seed: int, model: LanguageModel) -> Iterator[Progress | TextDelta]:
    """The lyrics in pieces of whole lines, with a Progress after every token that leaves them unfinished.

    They end at the end tag, at a control token, or when `max_new_tokens` cut them off, which the last Progress tells by
    reaching its total. What the user wrote stays text: it cannot end the turn or open another one.
    """
    vocabulary = model.vocabulary
    prompt = vocabulary.chat([Message("system", SYSTEM), Message("user", request_text(request))])
    sampler = Sampler(_sampling(request), seed)
    tidy, characters = Tidy(), codecs.getincrementaldecoder("utf-8")("replace")
    written: set[int] = set()
    with closing(model.start([prompt])) as session:
        for count in range(1, request.max_new_tokens + 1):
            token = sampler.pick(session.logits(), seen=written)
            if token in vocabulary.control_ids:
                break
            if _is_word(token, vocabulary):
                written.add(token)
            if lines := tidy.feed(characters.decode(vocabulary.bytes_of(token))):
                yield TextDelta(lines)
            if tidy.ended:
                break
            yield Progress("writing", count, request.max_new_tokens)
            session.feed([token])
    if rest := tidy.feed(characters.decode(b"", final=True)) + tidy.finish():
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
