"""A form filled in by someone else: what the planner, or its small stand-in, proposes for a song."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from core.events import Progress
from core.lyrics import EnhanceRequest, InspireRequest


@dataclass(frozen=True, kw_only=True)
class Draft:
    """Proposed values for the form of Generate; None leaves a field as it is.

    `author` is who proposes, as the page shows it; `notes` is what the user should know about it. `seed` is that of
    the dice, None where none were thrown.
    """

    prompt: str | None = None
    lyrics: str | None = None
    duration_s: float | None = None
    bpm: int | None = None
    keyscale: str | None = None
    timesignature: str | None = None
    vocal_language: str | None = None
    author: str
    seed: int | None = None
    notes: tuple[str, ...] = ()


class Drafter(Protocol):
    """Proposes forms. The same request and seed give the same draft."""

    def inspire(self, request: InspireRequest, seed: int) -> Iterator[Progress | Draft]:
        """Progress, then one Draft of a whole song from a line."""
        ...

    def enhance(self, request: EnhanceRequest, seed: int) -> Iterator[Progress | Draft]:
        """Progress, then one Draft with a fuller prompt and the lyrics set in sections; given facts stay."""
        ...
