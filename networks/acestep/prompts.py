"""The words ACE-Step was trained on: instructions, the text prompt, the lyric text, and how they fit their limits.

Pure strings and token lists; the layout, line breaks included, is part of the training data (upstream's
`SFT_GEN_PROMPT` and `_format_lyrics`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from core.modes import Task
from core.music import Music

log = logging.getLogger(__name__)

Token = TypeVar("Token")

END_OF_TEXT = "<|endoftext|>"
TEXT_TOKENS = 256
LYRIC_TOKENS = 2048

UNKNOWN_LENGTH_S = 30
"""What stands for no length in the training data."""

_METAS = "\n\n# Metas\n"
_LYRIC = "\n\n# Lyric\n"
_CONTROL = re.compile(r"<(?=\||/?(?:think|tool_call|tool_response)>)")

_INSTRUCTIONS: Mapping[Task, tuple[str, str]] = MappingProxyType(
    {
        "text2music": ("Fill the audio semantic mask based on the given conditions:",) * 2,
        "cover": ("Generate audio semantic tokens based on the given conditions:",) * 2,
        "repaint": ("Repaint the mask area based on the given conditions:",) * 2,
        "lego": (
            "Generate the {tracks} track based on the audio context:",
            "Generate the track based on the audio context:",
        ),
        "extract": ("Extract the {tracks} track from the audio:", "Extract the track from the audio:"),
        "complete": ("Complete the input track with {tracks}:", "Complete the input track:"),
    }
)


def metas_text(music: Music) -> str:
    """The facts as they stand in the text prompt; what is left open is written as N/A.

    The length is that of the result, for the model paces the song by it.
    """
    seconds = UNKNOWN_LENGTH_S if music.duration_s is None else int(music.duration_s)
    return (
        f"- bpm: {music.bpm or 'N/A'}\n- timesignature: {music.timesignature or 'N/A'}\n"
        f"- keyscale: {music.keyscale or 'N/A'}\n- duration: {seconds} seconds\n"
    )


def instruction_of(task: Task, tracks: Sequence[str] = ()) -> str:
    """The sentence that names the task; lego, extract and complete may name the tracks they are about."""
    named, plain = _INSTRUCTIONS[task]
    return named.format(tracks=" | ".join(track.upper() for track in tracks)) if tracks else plain


def defuse(text: str) -> str:
    """The text with every control token spelled so that it stays text.

    A caption that contains `<|endoftext|>` would otherwise end the prompt, and one with `<|audio_code_7|>` would
    put audio in it. The space behind the bracket is all that changes.
    """
    return _CONTROL.sub("< ", text)


def prompt_text(instruction: str, music: Music) -> str:
    """The text for the text encoder: the task, the caption and the facts."""
    instruction = instruction if instruction.endswith(":") else f"{instruction}:"
    return (
        f"# Instruction\n{instruction}\n\n# Caption\n{defuse(music.caption)}{_METAS}{metas_text(music)}{END_OF_TEXT}\n"
    )


def lyric_text(language: str, lyrics: str) -> str:
    """The text for the lyric encoder."""
    return f"# Languages\n{language}{_LYRIC}{defuse(lyrics)}{END_OF_TEXT}"


def lyric_span(text: str) -> tuple[int, int]:
    """Where in a `lyric_text` the lyrics begin and end, in characters."""
    return text.index(_LYRIC) + len(_LYRIC), text.rindex(END_OF_TEXT)


def fit_text(text: str, encode: Callable[[str], list[Token]], limit: int = TEXT_TOKENS) -> list[Token]:
    """The tokens of a `prompt_text`, at most `limit`, as `encode` gives them: too long a caption loses its end.

    Cutting the whole text from the right, as tokenizers do, would drop the metas and the end token instead.
    """
    return _fit(text, _METAS, encode, limit)


def fit_lyrics(text: str, encode: Callable[[str], list[Token]], limit: int = LYRIC_TOKENS) -> list[Token]:
    """The tokens of a `lyric_text`, at most `limit`: lyrics that are too long lose their end, the end token stays."""
    return _fit(text, END_OF_TEXT, encode, limit)


def _fit(text: str, tail: str, encode: Callable[[str], list[Token]], limit: int) -> list[Token]:
    ids = encode(text)
    if len(ids) <= limit:
        return ids
    log.warning("The words are %d tokens too long for %d: their end is left out.", len(ids) - limit, limit)
    head, mark, rest = text.rpartition(tail)
    kept = encode(mark + rest)
    return encode(head)[: limit - len(kept)] + kept
