"""The words that the 5 Hz planner was trained on: the prompts of its four tasks, and facts as it writes them.

The layout, line breaks included, is part of the training data (upstream's `build_formatted_prompt` and its siblings).
A prompt is a list of turns, in which what the user wrote is text and can be nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import yaml

from core.music import Fact, Music
from core.plan_text import NAMES
from networks.lm.vocabulary import Piece, Role, Vocabulary

PlannerTask = Literal["generate", "inspire", "format", "understand"]
Turn = tuple[Role, Sequence[Piece]]

THINK, END_THINK = "<think>", "</think>"
NO_INPUT = "NO USER INPUT"
"""What stands for an empty query or caption, and for the dropped conditions of guidance."""

_INSTRUCTIONS: Mapping[PlannerTask, str] = {
    "generate": "Generate audio semantic tokens based on the given conditions:",
    "inspire": "Expand the user's input into a more detailed and specific musical description:",
    "format": "Format the user's input into a more detailed and specific musical description:",
    "understand": "Understand the given musical conditions and describe the audio semantics accordingly:",
}


def facts_of(music: Music) -> dict[str, Fact]:
    """The facts that are not left open and that the planner decides, under its names; it counts whole seconds."""
    known = music.facts()
    if music.duration_s is not None:
        known["duration_s"] = int(music.duration_s)
    return {name: known[fact] for fact, name in NAMES.items() if fact in known}


def music_of(facts: Mapping[str, Fact]) -> Music:
    """The facts that the planner knows under its names."""
    text = {fact: str(facts[name]) for fact, name in NAMES.items() if name in facts}
    return Music(
        caption=text.get("caption", ""),
        duration_s=float(text["duration_s"]) if "duration_s" in text else None,
        bpm=int(text["bpm"]) if "bpm" in text else None,
        keyscale=text.get("keyscale"),
        timesignature=text.get("timesignature"),
        language=text.get("language"),
    )


def code_name(code: int) -> str:
    """The name of the token of an audio code."""
    return f"<|audio_code_{code}|>"


def generate_prompt(caption: str, lyrics: str) -> list[Turn]:
    """Phase 1 and 2: a plan for a song."""
    return _turns("generate", f"# Caption\n{caption}\n\n# Lyric\n{lyrics}\n")


def unconditional_prompt(negative: str = "") -> list[Turn]:
    """The unconditional side of phase 2: bare, as where conditions are dropped in training; or what is not wanted."""
    return _turns("generate", negative if is_meant(negative) else NO_INPUT)


def inspire_prompt(query: str, *, instrumental: bool) -> list[Turn]:
    """A whole song from a line."""
    return _turns("inspire", f"{query}\n\ninstrumental: {str(instrumental).lower()}")


def format_prompt(caption: str, lyrics: str) -> list[Turn]:
    """A fuller caption and better set lyrics."""
    return _turns("format", f"# Caption\n{caption}\n\n# Lyric\n{lyrics}")


def understand_prompt(codes: Sequence[int], vocabulary: Vocabulary) -> list[Turn]:
    """The words that would describe audio codes."""
    return _turns("understand", *(vocabulary.control(code_name(code)) for code in codes))


def _turns(task: PlannerTask, *user: Piece) -> list[Turn]:
    return [("system", [f"# Instruction\n{_INSTRUCTIONS[task]}\n\n"]), ("user", list(user))]


def is_meant(negative: str) -> bool:
    """Whether a negative prompt says anything."""
    return negative.strip() not in ("", NO_INPUT)


def thought_text(facts: Mapping[str, Fact]) -> str:
    """What stands between the think tags, line breaks included; of no facts an empty line is left, as in training."""
    return "\n" + (facts_text(facts) or "\n")


def facts_text(facts: Mapping[str, Fact]) -> str:
    """The lines of a thought, as the training data has them: sorted YAML, numbers as numbers.

    Empty for no facts. A 4/4 is written 4, as the planner knows it.
    """
    plain: dict[str, Fact] = {}
    for name, value in facts.items():
        value = value.removesuffix("/4") if name == "timesignature" and isinstance(value, str) else value
        plain[name] = int(value) if isinstance(value, str) and value.isdecimal() and value.isascii() else value
    return yaml.safe_dump(plain, allow_unicode=True, sort_keys=True) if plain else ""
