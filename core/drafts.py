"""A form filled in by someone else: what is asked, and what the planner, or its small stand-in, proposes for a song."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Protocol

from core.errors import Fault
from core.events import Progress
from core.knobs import knob
from core.music import NO_WORDS, Fact, Music
from core.params import MusicKnobs, PlannerKnobs
from core.tables import LANGUAGES, MAX_SEED, PROMPT_CHARS


@dataclass(frozen=True, kw_only=True)
class InspireRequest(PlannerKnobs):
    """A whole form from one line."""

    query: str = knob("", group="main", high=PROMPT_CHARS, lines=2)
    instrumental: bool = knob(False, group="main")
    vocal_language: str | None = knob(group="music", choices=LANGUAGES)
    seed: int | None = knob(group="planner", low=0, high=MAX_SEED, step=1)

    def drafted_by(self, drafter: Drafter, seed: int) -> Iterator[Progress | Draft]:
        """What a drafter makes of the line."""
        return drafter.inspire(self, seed)


@dataclass(frozen=True, kw_only=True)
class EnhanceRequest(PlannerKnobs, MusicKnobs):
    """A fuller prompt and better set lyrics from those that are there; given facts stay as they are."""

    seed: int | None = knob(group="planner", low=0, high=MAX_SEED, step=1)

    def drafted_by(self, drafter: Drafter, seed: int) -> Iterator[Progress | Draft]:
        """What a drafter makes of the prompt and the lyrics."""
        return drafter.enhance(self, seed)

    def combinations(self) -> Iterator[Fault]:
        """Faults that only several values together can have."""
        if not (self.prompt.strip() or self.lyrics.strip()):
            yield Fault("prompt", self.prompt, "must not be empty when the lyrics are empty too")


@dataclass(frozen=True, kw_only=True)
class UnderstandRequest(PlannerKnobs):
    """The words and facts that would describe a recording."""

    src_audio: Path | None = knob(group="main")
    lm_temperature: float = knob(0.3, group="planner", low=0, high=2, step=0.05)
    lm_top_p: float = knob(1.0, group="planner", low=0.01, high=1, step=0.01)
    seed: int | None = knob(group="planner", low=0, high=MAX_SEED, step=1)

    def drafted_by(self, drafter: Drafter, seed: int) -> Iterator[Progress | Draft]:
        """What a drafter hears in the recording."""
        return drafter.understand(self, seed)

    def combinations(self) -> Iterator[Fault]:
        """Faults that a value has although it is of the right type."""
        if self.src_audio is None:
            yield Fault("src_audio", None, "must be given: an audio file")


DraftRequest = InspireRequest | EnhanceRequest | UnderstandRequest
DraftKind = Literal["inspire", "enhance", "understand"]

DRAFTS: Mapping[DraftKind, type[DraftRequest]] = MappingProxyType(
    {"inspire": InspireRequest, "enhance": EnhanceRequest, "understand": UnderstandRequest}
)
"""What fills the form of Generate for the user."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """Proposed facts for the form of Generate, which keeps what they leave open.

    `author` is who proposes, as the page shows it; `notes` is what the user should know about it. `seed` is that of
    the choices, None where nothing was left to chance.
    """

    music: Music
    author: str
    seed: int | None = None
    notes: tuple[str, ...] = ()

    def values(self) -> dict[str, Fact | tuple[str, ...] | None]:
        """The draft as plain values, the facts by the names of their knobs: what clients and the page get.

        None leaves a knob as it is; the lyrics of a song without words are empty.
        """
        facts = self.music.by_knob()
        if facts["lyrics"] == NO_WORDS:
            facts["lyrics"] = ""
        return {**facts, "author": self.author, "seed": self.seed, "notes": self.notes}


class Drafter(Protocol):
    """Proposes forms. The same request and seed give the same draft."""

    def inspire(self, request: InspireRequest, seed: int) -> Iterator[Progress | Draft]:
        """Progress, then one Draft of a whole song from a line."""
        ...

    def enhance(self, request: EnhanceRequest, seed: int) -> Iterator[Progress | Draft]:
        """Progress, then one Draft with a fuller prompt and the lyrics set in sections; given facts stay."""
        ...

    def understand(self, request: UnderstandRequest, seed: int) -> Iterator[Progress | Draft]:
        """Progress, then one Draft with the facts of a recording and, where the drafter has words, its words."""
        ...
