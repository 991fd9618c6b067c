"""What every kind of job works with: the library, the device, and how the studio was started."""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from checkpoints import find, table
from checkpoints.table import Checkpoint
from core.drafts import Draft
from core.errors import Fault, RequestError
from core.events import Sign, TextDelta
from core.plans import Plan
from jobs.passing import passing
from jobs.replica import Replica
from jobs.time_left import StagePace
from jobs.work import Effort, Work
from library.companions import Companion
from library.records import Track
from library.tracks import Library
from networks.machine import DeviceKind

Event = Sign | TextDelta | Track | Plan | Draft | Companion
Product = TypeVar("Product")
Asked_contra = TypeVar("Asked_contra", contravariant=True)

REMEMBERED = 40
"""Tracks of the library from which the estimates learn."""


class Pace:
    """How fast this machine was: the newest tracks of the library, read when somebody asks for the first time.

    `stages` is what it was seen to need for each stage of the songs since the studio started.
    """

    def __init__(self, library: Library) -> None:
        self.stages = StagePace()
        self._library = library
        self._tracks: deque[Track] | None = None

    def add(self, track: Track) -> None:
        """Remember a track that was made just now."""
        if self._tracks is not None:
            self._tracks.append(track)

    def seen(self, checkpoint: str, device: DeviceKind) -> list[tuple[float, float]]:
        """(TFLOP, seconds taken) of the tracks made with that checkpoint on such a device."""
        if self._tracks is None:
            self._tracks = deque(reversed(self._library.newest(REMEMBERED)), maxlen=REMEMBERED)
        return [
            (track.tflop, track.seconds_taken)
            for track in self._tracks
            if (track.checkpoint, track.device) == (checkpoint, device)
        ]


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What a job finds when it is its turn.

    `checkpoint` is the one that the studio runs on when a request names none; None takes the best that is installed.
    `adapter_homes` are the folders in which a request may name adapters beside the presets; None allows any file.
    `whose` are the jobs, which take turns with those of others; none makes or reads more than `max_duration_s`.
    """

    library: Library
    replica: Replica
    checkpoint: str | None = None
    adapter_homes: tuple[Path, ...] | None = None
    whose: str = ""
    max_duration_s: float | None = None
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pace", Pace(self.library))

    def of(self, whose: str, library: Library) -> Desk:
        """The desk for somebody's jobs, with the library that they see; how fast this machine was, all songs tell."""
        desk = copy.copy(self)
        object.__setattr__(desk, "library", library)
        object.__setattr__(desk, "whose", whose)
        return desk

    def perform(self, work: Work[Product], stop: threading.Event) -> Generator[Sign | Product, None, Effort]:
        """The events of the work once it is its turn, as the replica gives them."""
        return self.replica.perform(work, stop, self.whose)

    def refuse_longer(self, seconds: float | None, field: str = "duration_s") -> None:
        """Raise RequestError for more seconds of music than may be asked for here."""
        if seconds is not None and self.max_duration_s is not None and seconds > self.max_duration_s:
            rule = f"must be at most {self.max_duration_s:g} seconds on this server"
            raise RequestError([Fault(field, round(seconds, 3), rule)], "Make it shorter.")

    def row(self, checkpoint: str | None = None) -> Checkpoint:
        """The checkpoint of that name, or the one that the studio runs on. Raises RequestError for no such name."""
        name = checkpoint or self.checkpoint
        return table.row(name) if name else find.default()

    @property
    def device(self) -> DeviceKind:
        """The kind of device that jobs run on."""
        return self.replica.models.device_kind()


class Kind(Protocol[Asked_contra]):
    """A kind of job: how a request becomes events, and what it is likely to cost."""

    def events(
        self, request: Asked_contra, desk: Desk, stop: threading.Event, *, fresh: bool
    ) -> Generator[Event, None, None]:
        """Progress, then the results. Raises RequestError and MissingWeights before anything is loaded.

        `fresh` makes again what is there already.
        """
        ...

    def seconds(self, request: Asked_contra, desk: Desk) -> float:
        """The time that the request is likely to take on this device."""
        ...


def gathered(events: Generator[Sign | Product, None, Effort], into: list[Product]) -> Generator[Sign, None, Effort]:
    """The events that tell of the work, the products going into a list; returns what it took."""

    def kept(event: Sign | Product) -> Iterator[Sign]:
        if isinstance(event, Sign):
            yield event
        else:
            into.append(event)

    return passing(events, kept)
