"""What is decided about a song before it is rendered, and who may decide it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from core.events import Progress
from core.params import GenerateRequest, SongRequest
from core.plan_text import PlanText
from core.tables import DEFAULT_DURATION_S, DURATION_S, PROMPT_CHARS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NO_WORDS = "[Instrumental]"
"""The lyrics that ACE-Step was trained on for songs without words."""

LINE_S = 3.5
"""A sung line takes about two bars at a middling tempo."""

LONGEST_SUNG_S = 240.0
"""No planner is assumed to write more where nobody asks for a length."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known about a recording: told by its track, or heard by analysis (then `heard` is true).

    `anchor_s` is the time of a downbeat. None means unknown.
    """

    caption: str = ""
    bpm: int | None = None
    keyscale: str | None = None
    timesignature: str | None = None
    anchor_s: float = 0.0
    heard: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The decisions of a planner for one song; None is left open.

    `guide` is a rough rendering `(2, S)` of the music to make, at the runtime's sample rate, over the whole window
    (for Generate: the song); `codes` are audio codes of the whole song. A plan holds one of them or neither.
    """

    caption: str
    lyrics: str
    duration_s: float
    bpm: int | None = None
    keyscale: str | None = None
    timesignature: str | None = None
    vocal_language: str = "unknown"
    anchor_s: float = 0.0
    planner: str = "none"
    notes: tuple[str, ...] = ()
    guide: NDArray[np.float32] | None = None
    codes: tuple[int, ...] | None = None

    def summary(self) -> dict[str, str | float | int | None]:
        """The decisions as plain values for the sidecar: what was chosen, the guide apart."""
        told: dict[str, str | float | int | None] = {
            "planner": self.planner,
            "caption": self.caption,
            "lyrics": self.lyrics,
            "duration_s": self.duration_s,
            "bpm": self.bpm,
            "keyscale": self.keyscale,
            "timesignature": self.timesignature,
            "vocal_language": self.vocal_language,
            "anchor_s": self.anchor_s,
            "notes": "; ".join(self.notes),
        }
        return told if self.codes is None else {**told, "codes": " ".join(map(str, self.codes))}

    def to_text(self) -> str:
        """The plan as the knob `plan` takes it."""
        return plan_text(self.summary())


def plan_text(summary: Mapping[str, object]) -> str:
    """The plan of a track, told by its summary, as the knob `plan` takes it; empty when nothing was planned."""
    if not summary:
        return ""
    codes, low = str(summary.get("codes") or ""), DURATION_S[0]
    seconds, bpm = float(str(summary.get("duration_s") or 0)), summary.get("bpm")
    return str(
        PlanText(
            bpm=None if bpm is None else int(str(bpm)),
            caption=str(summary.get("caption") or "")[:PROMPT_CHARS] or None,
            duration_s=seconds if seconds >= low else None,
            keyscale=str(summary.get("keyscale") or "") or None,
            language=str(summary.get("vocal_language") or "") or None,
            timesignature=str(summary.get("timesignature") or "") or None,
            codes=tuple(map(int, codes.split())) or None,
        )
    )


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The part of the timeline that is to be planned: its length, where it starts, and what surrounds it."""

    start_s: float
    duration_s: float | None
    surroundings: Facts | None = None


class Planner(Protocol):
    """Decides what the user left open."""

    def plan(self, request: SongRequest, seed: int, stretch: Stretch) -> Iterator[Progress | Plan]:
        """Progress while it decides, then exactly one Plan. The same request and seed give the same plan."""
        ...


def open_plan(request: SongRequest, duration_s: float, facts: Facts | None = None, notes: tuple[str, ...] = ()) -> Plan:
    """The plan that decides nothing: the user's values, then what is known about the source."""
    known = facts or Facts()
    if isinstance(request, GenerateRequest):
        request, instrumental = request.following(), request.wordless
    else:
        instrumental = not request.lyrics.strip()
    return Plan(
        caption=request.prompt.strip() or known.caption,
        lyrics=NO_WORDS if instrumental else request.lyrics,
        duration_s=duration_s,
        bpm=request.bpm or known.bpm,
        keyscale=request.keyscale or known.keyscale,
        timesignature=request.timesignature or known.timesignature,
        vocal_language="unknown" if instrumental else request.vocal_language or "unknown",
        anchor_s=known.anchor_s,
        notes=notes,
    )


def length_from_words(lyrics: str) -> float:
    """Seconds that the lyrics ask for: `LINE_S` a line, at most `LONGEST_SUNG_S`; the default without words."""
    lines = [line for line in lyrics.splitlines() if line.strip() and not line.lstrip().startswith("[")]
    return float(min(max(DURATION_S[0], LINE_S * len(lines)), LONGEST_SUNG_S)) if lines else DEFAULT_DURATION_S
