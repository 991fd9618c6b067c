"""What can be done to a song that exists: taken apart, made loud, taken away, written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from core.errors import Fault
from core.knobs import knob
from core.tables import LONGEST_S

LUFS = (-24.0, -8.0)
"""Integrated loudness that can be asked for: from the quietest broadcast to the loudest masters."""

LONGEST_FADE_S = 60.0

ExportFormat = Literal["wav24", "wav16", "wav32f", "flac", "flac16", "mp3-320", "mp3-v0", "ogg", "opus"]


@dataclass(frozen=True, kw_only=True)
class ActionRequest:
    """What all actions are told: the id of a track in the library, or any recording."""

    track: str | None = knob(group="main", high=40)
    audio: Path | None = knob(group="main")

    def combinations(self) -> Iterator[Fault]:
        """Faults that only several values together can have."""
        if self.track is None and self.audio is None:
            yield Fault("track", None, "must be given where audio is not: the id of a track in the library")
        if self.track is not None and self.audio is not None:
            yield Fault("audio", self.audio.name, "means nothing beside track")


@dataclass(frozen=True, kw_only=True)
class StemsRequest(ActionRequest):
    """The parts of a mix by instrument."""

    shifts: int = knob(1, group="action", low=0, high=10, step=1)
    overlap: float = knob(0.25, group="action", low=0, high=0.9, step=0.05)


@dataclass(frozen=True, kw_only=True)
class NormaliseRequest(ActionRequest):
    """The song at a loudness, under a true-peak ceiling."""

    lufs: float = knob(-14.0, group="action", low=LUFS[0], high=LUFS[1], step=0.5, unit="LUFS")
    ceiling_db: float = knob(-1.0, group="action", low=-9, high=0, step=0.1, unit="dBTP")


@dataclass(frozen=True, kw_only=True)
class ExportRequest(ActionRequest):
    """The song as a tagged file to give away; `lufs` None leaves it as loud as it is."""

    format: ExportFormat = knob("mp3-320", group="action")
    lufs: float | None = knob(group="action", low=LUFS[0], high=LUFS[1], step=0.5, unit="LUFS")
    start_s: float = knob(0.0, group="action", low=0, high=LONGEST_S, step=0.1, unit="seconds")
    end_s: float | None = knob(group="action", low=0, high=LONGEST_S, step=0.1, unit="seconds")
    fade_in_s: float = knob(0.0, group="action", low=0, high=LONGEST_FADE_S, step=0.1, unit="seconds")
    fade_out_s: float = knob(0.0, group="action", low=0, high=LONGEST_FADE_S, step=0.1, unit="seconds")

    def combinations(self) -> Iterator[Fault]:
        """Faults that only several values together can have."""
        yield from super().combinations()
        if self.end_s is not None and self.end_s <= self.start_s:
            yield Fault("end_s", self.end_s, "must be greater than start_s")


@dataclass(frozen=True, kw_only=True)
class NotesRequest(ActionRequest):
    """The notes that a song was composed of."""


@dataclass(frozen=True, kw_only=True)
class LrcRequest(ActionRequest):
    """When each line of the lyrics is sung."""


ActionName = Literal["stems", "normalise", "export", "notes", "lrc"]

ACTIONS: Mapping[ActionName, type[ActionRequest]] = MappingProxyType(
    {
        "stems": StemsRequest,
        "normalise": NormaliseRequest,
        "export": ExportRequest,
        "notes": NotesRequest,
        "lrc": LrcRequest,
    }
)
"""What can be done to a song, by the name of its endpoint."""
