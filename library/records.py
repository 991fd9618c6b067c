"""A song's record and the sidecar that keeps it: a JSON file in which everything is checked before it is believed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypedDict, get_args, get_origin, get_type_hints

from core.knobs import Json, Knob, knobs_of, readable, to_json
from core.params import SONG_MODES, SongRequest
from core.plans import plan_text
from core.tables import Origin

SCHEMA = 1
"""Of the sidecar; one of another schema is left alone."""

_UNTOLD: Mapping[str, object] = {
    "peak_gb": 0.0,
    "name": "",
    "favourite": False,
    "peaks": "",
    "owner": "",
    "several_s": [],
}
"""What older sidecars do not tell."""

_LARGEST = {bool: 1, int: 2**53, float: 10**9}
"""No number in a sidecar is larger: whole ones are exact in a browser, others stay finite where they are multiplied."""

_LEAST_TFLOP = 1e-9
"""No song takes less arithmetic, but for one of which nothing is known: an estimate divides by it."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """How a song was made: all that is needed to tell about it and to make it again.

    `values` are those of the resolved request and `hashes` the SHA-256 of its audio files, both by the name of the
    knob; `plan` is what the planner chose; `adapters` are named by their SHA-256, each with what was applied. `take`
    counts the variations of one request from 0; `seed` is the take's own. `device` and `tflop` tell on what kind of
    device so much arithmetic took so long, `peak_gb` how much memory it held at the most (0: nobody knows). `notes`
    name every fallback. `window_start_s` and `window_end_s` bound what is new in it; where that is in several places,
    `several_s` says from where to where each is. `key` is the request's cache key. `vae` is the fingerprint of the VAE
    that the latents belong to, and the audio is `gain` times what they decode to.
    """

    mode: Origin
    title: str
    checkpoint: str
    seed: int
    take: int = 0
    key: str = ""
    seconds_taken: float = 0.0
    device: str = ""
    tflop: float = 0.0
    peak_gb: float = 0.0
    values: Mapping[str, Json] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    plan: Mapping[str, Json] = field(default_factory=dict)
    adapters: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    vae: str = ""
    gain: float = 1.0
    window_start_s: float = 0.0
    window_end_s: float = 0.0
    several_s: tuple[tuple[float, float], ...] = ()

    @property
    def windows_s(self) -> tuple[tuple[float, float], ...]:
        """From where to where it is new, in order: one stretch or several."""
        return self.several_s or ((self.window_start_s, self.window_end_s),)


@dataclass(frozen=True, kw_only=True)
class Track(Record):
    """A saved song: its record, and its wav file, whose length is in seconds and whose peak is 1 at full scale.

    `name` is what the user calls it, empty where the title serves; `peaks` is its waveform (library/peaks.py), empty
    where nobody has looked yet. `owner` says whose it is where strangers share the library, as `Library.of` knows them.
    """

    id: str
    path: Path
    created: datetime
    seconds: float
    peak: float
    sha256: str
    code: str
    name: str = ""
    favourite: bool = False
    peaks: str = ""
    owner: str = ""

    @property
    def called(self) -> str:
        """What to call it: the user's name for it, or its title."""
        return self.name or self.title

    @property
    def asked_as(self) -> type[SongRequest] | None:
        """The class of the request that made it; None for a recording."""
        return None if self.mode == "recording" else SONG_MODES[self.mode]

    @property
    def sidecar(self) -> Path:
        """The JSON file beside the audio."""
        return self.path.with_suffix(".json")

    @property
    def latents_path(self) -> Path:
        """The safetensors file beside the audio; a song may have none."""
        return self.path.with_suffix(".safetensors")

    def summary(self) -> dict[str, Json]:
        """What to know a new song by, in round numbers."""
        return {
            "seed": self.seed,
            "checkpoint": self.checkpoint,
            "seconds": round(self.seconds, 3),
            "seconds_taken": round(self.seconds_taken, 2),
            "id": self.id,
        }

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """The knobs of the request that made it."""
        return () if self.asked_as is None else knobs_of(self.asked_as)

    def asked(self) -> dict[str, Json]:
        """The knobs of the track's mode by name; at their default where it tells none that this version takes."""
        return {} if self.asked_as is None else to_json(readable(self.asked_as, self.values))


class _PlanFacts(TypedDict, total=False):
    """What a sidecar tells of a plan, as `Plan.summary` writes it."""

    planner: str
    caption: str | None
    lyrics: str | None
    duration_s: float | None
    bpm: int | None
    keyscale: str | None
    timesignature: str | None
    vocal_language: str | None
    anchor_s: float
    notes: str
    score: str
    codes: str


def to_sidecar(track: Track) -> str:
    """The text of the track's sidecar."""
    return json.dumps({"schema": SCHEMA, **facts_of(track)}, ensure_ascii=False, indent=1, allow_nan=False)


def facts_of(track: Track) -> dict[str, object]:
    """All that a track tells, apart from where it lies, as values of JSON."""
    facts = {each.name: getattr(track, each.name) for each in dataclasses.fields(track) if each.name != "path"}
    facts |= {name: dict(getattr(track, name)) for name in ("values", "hashes", "plan", "adapters")}
    facts["created"] = track.created.isoformat()
    return facts


_hints = cache(get_type_hints)


def from_sidecar(sidecar: Path) -> Track:
    """The track of the sidecar at that path. Raises ValueError, TypeError or KeyError when it is not one of ours."""
    facts = json.loads(sidecar.read_text(encoding="utf-8"))
    if facts["schema"] != SCHEMA:
        raise ValueError(f"schema {facts['schema']!r} is not {SCHEMA}")
    if facts["id"] != sidecar.stem:
        raise ValueError("it names another track")
    path = sidecar.with_suffix(".wav")
    if not path.is_file():
        raise ValueError("its audio is gone")
    facts["path"] = str(path)
    facts = {**_UNTOLD, **facts}
    track = Track(**{name: _field(name, facts[name], hint) for name, hint in _hints(Track).items()})
    _check(track)
    return track


def _field(name: str, value: object, hint: Any) -> Any:
    try:
        return _restored(value, hint)
    except (TypeError, ValueError) as odd:
        raise ValueError(f"{name}: {odd}") from odd


def _restored(value: object, hint: Any) -> Any:
    """A JSON value as the type of its field; TypeError when it does not fit, ValueError when no such number can be."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Path, datetime) and isinstance(value, str):
        return Path(value) if kind is Path else datetime.fromisoformat(value)
    if kind is tuple and isinstance(value, list):
        return tuple(_restored(each, inner[0]) for each in value)
    if kind is Mapping and isinstance(value, dict):
        return {_restored(name, str): _restored(each, inner[1]) for name, each in value.items()}
    if kind is Literal and isinstance(value, str) and value in inner:
        return value
    if kind is UnionType and (type(value) in inner or (type(value) is int and float in inner)):
        return _restored(value, type(value))
    if kind is float and type(value) is int:
        kind = int
    if (value is None or isinstance(value, str | int | float)) and type(value) is kind:
        return _sound(value)
    raise TypeError(f"{value!r:.60} is no {getattr(hint, '__name__', hint)}")


def _sound(value: Json) -> Json:
    """The value; ValueError for a number or a text that cannot be written again, sent to a page or reckoned with."""
    if isinstance(value, str):
        value.encode()  # half a surrogate pair, which JSON can spell, cannot
    elif value is not None and not abs(value) <= _LARGEST[type(value)]:  # NaN is not, either
        raise ValueError(f"{value!r:.60} is out of range")
    return value


def _check(track: Track) -> None:
    """Raise ValueError or TypeError when the values of the fields do not go together."""
    if track.mode == "lyrics":
        raise ValueError(f"{track.mode} makes no songs")
    if track.created.utcoffset() is None:
        raise ValueError(f"{track.created} names no time zone")
    amounts = (track.seed, track.take, track.seconds, track.seconds_taken, track.peak, track.peak_gb, track.tflop)
    if min(amounts) < 0 or 0 < track.tflop < _LEAST_TFLOP:
        raise ValueError("it counts below zero")
    if not 0 <= track.window_start_s <= track.window_end_s:
        raise ValueError("its window ends before it starts")
    edges = [edge for window in track.several_s for edge in window]
    if any(len(window) != 2 for window in track.several_s):
        raise ValueError("its windows are not from where to where")
    if edges and (edges != sorted(edges) or (edges[0], edges[-1]) != (track.window_start_s, track.window_end_s)):
        raise ValueError("its windows are not in order within what is new")
    for name, hint in _hints(_PlanFacts).items():
        if name in track.plan:
            _field(f"plan.{name}", track.plan[name], hint)
    plan_text(track.plan)
