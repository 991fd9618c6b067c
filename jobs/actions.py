"""Actions: a song found, what was made of it looked up, and only then made."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from checkpoints import find, table
from core.actions import ACTIONS as NAMES
from core.actions import ActionRequest
from core.errors import Fault, RequestError, StudioError
from core.events import Progress
from core.files import sha256
from core.knobs import parse, to_json
from core.tables import SAMPLE_RATE
from jobs.desk import Desk, Event, gathered
from jobs.estimates import FALLBACK_SOURCE_S, Cost
from jobs.models import Models
from jobs.songs import latent_shape, ordering
from jobs.work import Need
from library import decoder
from library.cache import companion_key, fingerprint
from post_process import ACTIONS, Action, Made, Song

log = logging.getLogger(__name__)

WHOSE = ("track", "audio")
"""Knobs that say which song, not what is done to it."""


@dataclass(frozen=True, kw_only=True)
class ActionWork:
    """An action on a song, and the folder for what it makes."""

    request: ActionRequest
    song: Song
    folder: Path
    needs: tuple[Need, ...]
    cost: Cost
    remedy: ClassVar[str] = "Use a shorter recording."

    def events(self, models: Models) -> Iterator[Progress | Made]:
        """Progress, then one Made."""
        yield from ACTIONS[type(self.request)].make(self.request, self.song, self.folder, models)


class Actions:
    """Actions of every kind."""

    def events(
        self, request: ActionRequest, desk: Desk, stop: threading.Event, *, fresh: bool
    ) -> Generator[Event, None, None]:
        """Progress, then the Companion: that of the library where there is one, unless it shall be made afresh."""
        song, action, name = song_of(request, desk), ACTIONS[type(request)], name_of(request)
        desk.refuse_longer(song.seconds, _whose(request)[0])
        if why := action.refusal(song.track):
            raise RequestError([Fault(*_whose(request), why)], "Choose another song.")
        needs = _needs(action, song)
        if any(need.role == "song" for need in needs):
            song, needs = yield from _opened(song, needs, desk)
        companions, key = desk.library.companions, _key(request, song, needs)
        there = None if fresh else companions.find(song.sha256, name, key)
        if there is None:
            desk.library.require_room(round(action.bytes_per_s * song.seconds))
            with companions.begun(song.sha256) as folder:
                cost = _cost(action, request, song.seconds)
                work = ActionWork(request=request, song=song, folder=folder, needs=needs, cost=cost)
                made: list[Made] = []
                yield from gathered(desk.perform(work, stop), made)
                yield Progress("saving")
                (only,) = made
                there = companions.keep(folder, name, key, facts=only.facts, names=only.names, notes=only.notes)
        yield there

    def seconds(self, request: ActionRequest, desk: Desk) -> float:
        """The time that the action is likely to take; a song that is not there yet counts as a minute."""
        seconds = FALLBACK_SOURCE_S
        with suppress(StudioError):
            seconds = song_of(request, desk).seconds
        return _cost(ACTIONS[type(request)], request, seconds).seconds(desk.device)


def song_of(request: ActionRequest, desk: Desk) -> Song:
    """The song that a request is about. Raises RequestError when there is none, or none that can be read."""
    if request.track is not None:
        track = desk.library.get(request.track, "track")
        if not desk.library.is_whole(track):
            fault = Fault(
                "track", track.id, "must be a song whose audio is what was saved: its file was cut or changed"
            )
            raise RequestError([fault], "Make the song anew by its settings, or bring the file in as a recording.")
        return Song(path=track.path, sha256=track.sha256, seconds=track.seconds, track=track)
    assert request.audio is not None
    header = decoder.probe(request.audio)
    digest = sha256(request.audio)
    seconds = FALLBACK_SOURCE_S if header.seconds is None else header.seconds
    return Song(path=request.audio, sha256=digest, seconds=seconds, track=desk.library.find_audio(digest))


def name_of(request: ActionRequest) -> str:
    """The name of the action that a request asks for."""
    return next(name for name, asked in NAMES.items() if asked is type(request))


def _whose(request: ActionRequest) -> tuple[str, str]:
    """The knob that says which song, and its value."""
    return ("audio", str(request.audio)) if request.track is None else ("track", request.track)


def _needs(action: Action, song: Song) -> tuple[Need, ...]:
    """What must be loaded. Raises MissingWeights when it is not installed."""
    name = action.weights(song.track)
    if name is None:
        return ()
    place, use = find.checkpoint(name), table.row(name).use
    assert use in ("song", "stems")
    return (Need(use, place),)


def _opened(
    song: Song, needs: tuple[Need, ...], desk: Desk
) -> Generator[Progress, None, tuple[Song, tuple[Need, ...]]]:
    """Progress; returns the song with the job that made it.

    Without it and its needs where that cannot be put together again.
    """
    assert song.track is not None and song.track.asked_as is not None
    asked = {**song.track.asked(), "seed": song.track.seed, "variations": 1}
    try:
        order = yield from ordering(parse(song.track.asked_as, asked), desk)
    except StudioError as gone:  # a recording that it was made from, say
        log.info("track %s cannot be looked into: %s", song.track.id, gone)
        return song, ()
    shape = latent_shape(needs[-1].place, round(song.track.seconds * SAMPLE_RATE))
    kept = desk.library.latents(song.track, shape)
    return dataclasses.replace(song, job=order.work.job, latents=kept.latents, latents_fault=kept.fault), needs


def _cost(action: Action, request: ActionRequest, seconds: float) -> Cost:
    return Cost(tflop=action.tflop(request) * seconds)


def _key(request: ActionRequest, song: Song, needs: tuple[Need, ...]) -> str:
    """The cache key: the knobs, the weights, and what the track tells, which stands in tags and times."""
    values = {name: value for name, value in to_json(request).items() if name not in WHOSE}
    told = f"{song.track.id} {song.track.name}".strip() if song.track else ""
    return companion_key(values, told, *(fingerprint(need.place.folder) for need in needs))
