"""What a lyric writer is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from core.errors import Fault
from core.knobs import knob, set_in_vain
from core.tables import MAX_SEED, PROMPT_CHARS, SUNG_LANGUAGES, Mode

Rhyme = Literal["strict", "loose", "none"]
Tone = Literal["hopeful", "tender", "sad", "angry", "playful", "dreamy"]

SHORT_SECTION_LINES = 2
"""Lines of a pre-chorus, a post-chorus and an outro, for which there are no knobs."""


@dataclass(frozen=True, kw_only=True)
class LyricsRequest:
    """Song words from a brief.

    `writer` names a checkpoint or the built-in writer; None takes the best that is installed. `vocal_language` None is
    the language of the brief. `temperature` 0 takes the likeliest token every time, `top_k` 0 sets no limit.
    """

    mode: ClassVar[Mode] = "lyrics"
    section_names: ClassVar[tuple[str, ...]] = (
        *("intro", "verse", "pre-chorus", "chorus", "post-chorus", "bridge"),
        *("interlude", "instrumental", "solo", "break", "outro"),
    )
    max_sections: ClassVar[int] = 24

    brief: str = knob("", group="main", high=PROMPT_CHARS, lines=3)
    structure: str = knob("intro, verse, chorus, verse, chorus, bridge, chorus, outro", group="main", high=400)
    tone: Tone | None = knob(group="main")
    rhyme: Rhyme = knob("strict", group="main")
    lines_verse: int = knob(6, group="main", low=2, high=10, step=1, unit="lines")
    lines_chorus: int = knob(4, group="main", low=2, high=8, step=1, unit="lines")
    lines_bridge: int = knob(2, group="main", low=1, high=6, step=1, unit="lines")
    vocal_language: str | None = knob(group="main", choices=SUNG_LANGUAGES)
    writer: str | None = knob(group="writer", high=80)
    temperature: float = knob(0.85, group="writer", low=0, high=2, step=0.05)
    top_p: float = knob(0.9, group="writer", low=0.01, high=1, step=0.01)
    top_k: int = knob(40, group="writer", low=0, high=1000, step=1)
    repetition_penalty: float = knob(1.1, group="writer", low=1, high=2, step=0.05)
    max_new_tokens: int = knob(600, group="writer", low=16, high=4096, step=1, unit="tokens")
    seed: int | None = knob(group="writer", low=0, high=MAX_SEED, step=1)

    def sections(self) -> tuple[str, ...]:
        """The sections in order, lower-case, without the brackets and numbers they may be typed with."""
        typed = self.structure.lower().replace("\n", ",").split(",")
        names = (part.strip(" []\t").rstrip("0123456789").strip() for part in typed)
        return tuple(name for name in names if name)

    def lines_asked(self) -> tuple[tuple[str, int], ...]:
        """(section, how many lines it is to have), in order; sections that are only played have none."""
        short = dict.fromkeys(("pre-chorus", "post-chorus", "outro"), SHORT_SECTION_LINES)
        lines = {"verse": self.lines_verse, "chorus": self.lines_chorus, "bridge": self.lines_bridge} | short
        return tuple((name, lines.get(name, 0)) for name in self.sections())

    def idle(self) -> dict[str, str]:
        """Knobs that mean nothing beside the other values, with the reason: they must rest at their default."""
        greedy = "needs a temperature above 0: at 0 the likeliest token is taken every time"
        return dict.fromkeys(("top_p", "top_k"), greedy) if self.temperature == 0 else {}

    def combinations(self) -> Iterator[Fault]:
        """Faults that a value has although it is of the right type."""
        yield from set_in_vain(self, self.idle())
        if not self.brief.strip():
            yield Fault("brief", self.brief, "must say what the song is about")
        sections = self.sections()
        unknown = dict.fromkeys(name for name in sections if name not in self.section_names)
        if unknown:
            known = ", ".join(self.section_names)
            yield Fault("structure", ", ".join(unknown), f"must name known sections, separated by commas: {known}")
        elif not 1 <= len(sections) <= self.max_sections:
            yield Fault("structure", self.structure, f"must name 1 to {self.max_sections} sections")
