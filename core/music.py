"""The musical facts of a song in one class, and the knobs that ask for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

NO_WORDS = "[Instrumental]"
"""The lyrics that ACE-Step was trained on for songs without words."""

NO_LANGUAGE = "unknown"
"""The language of songs without words, as ACE-Step was trained on."""

Fact = str | int | float


@dataclass(frozen=True, kw_only=True)
class Music:
    """What is asked, known or decided about a song; None and an empty text are left open.

    A song without words has `NO_WORDS` for its lyrics and `NO_LANGUAGE` for its language. `timesignature` tells the
    beats of a bar.
    """

    caption: str = ""
    lyrics: str = ""
    duration_s: float | None = None
    bpm: int | None = None
    keyscale: str | None = None
    timesignature: str | None = None
    language: str | None = None

    @classmethod
    def of(cls, request: object) -> Music:
        """The facts that the knobs of a request say, as far as it has them; blanks around the caption are left out."""
        music = cls(**{fact: getattr(request, knob) for fact, knob in KNOBS.items() if hasattr(request, knob)})
        return dataclasses.replace(music, caption=music.caption.strip())

    def over(self, other: Music) -> Music:
        """These facts, and in place of what they leave open those of the other."""
        return Music(**{fact: getattr(self, fact) or getattr(other, fact) for fact in KNOBS})

    def facts(self) -> dict[str, Fact]:
        """What is not left open, by name."""
        values = {fact: getattr(self, fact) for fact in KNOBS}
        return {fact: value for fact, value in values.items() if value not in (None, "")}

    def by_knob(self) -> dict[str, Fact | None]:
        """Every fact by the name of its knob; None is left open."""
        known = self.facts()
        return {knob: known.get(fact) for fact, knob in KNOBS.items()}


_OTHER_NAMES = {"caption": "prompt", "language": "vocal_language"}

KNOBS: Mapping[str, str] = MappingProxyType(
    {field.name: _OTHER_NAMES.get(field.name, field.name) for field in dataclasses.fields(Music)}
)
"""The knob that asks for each fact."""

OPEN = Music()
"""Nothing is said."""
