"""Whether a track's request would give the same samples again, or why not; nothing is rendered to find out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from checkpoints import find
from core.errors import StudioError
from core.files import sha256
from core.knobs import Json, parse
from jobs.desk import Desk
from jobs.songs import settled
from library.cache import code_version
from library.records import Track


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Whether the samples would be the same; `reasons` say what is another one, in words."""

    same: bool
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "Same samples: yes" if self.same else f"Same samples: no, because {'; '.join(self.reasons)}"


def replay(track: Track, desk: Desk) -> Replay:
    """What comes of a track's request if it is made afresh on this machine."""
    if track.asked_as is None:
        return Replay(same=False, reasons=("it is a recording and was not made here",))
    values = _asked(track, desk)
    reasons = tuple(_differences(track, values, desk))
    if reasons:
        return Replay(same=False, reasons=reasons)
    adapters = track.adapters.keys()
    try:
        for whole in _requests(track, values):
            record = settled(parse(track.asked_as, whole), desk).record
            adapters = record.adapters.keys()
            if record.key == track.key:
                return Replay(same=True)
    except StudioError as refused:
        return Replay(same=False, reasons=(refused.message.rstrip("."),))
    if adapters != track.adapters.keys():
        return Replay(same=False, reasons=("an adapter is another file now",))
    return Replay(same=False, reasons=("the weights, their number format or the runtime are other ones now",))


def _requests(track: Track, values: dict[str, Json]) -> Iterator[dict[str, Json]]:
    """What may have been asked for when the track was made: it tells its own take, and not of how many.

    Later takes also tell the length that was planned for the first, where the request may have left it open.
    """
    first = {**values, "seed": track.seed - track.take}
    if isinstance(retake := values.get("retake_seed"), int):
        first["retake_seed"] = retake - track.take
    lengths: list[dict[str, Json]] = [{}]
    if track.take and values.get("duration_s") is not None:
        lengths.append({"duration_s": None})
    most = next(int(knob.high or 1) for knob in track.knobs if knob.name == "variations")
    for count in range(track.take + 1, most + 1):
        yield from ({**first, "variations": count, **length} for length in lengths)


def _asked(track: Track, desk: Desk) -> dict[str, Json]:
    """The request's values; a recording that lies elsewhere in the library now is taken from there."""
    values = track.asked()
    for knob in _sources(track):
        there = desk.library.find_audio(track.hashes.get(knob, ""))
        if there is not None and not Path(str(values[knob])).is_file():
            values[knob] = str(there.path)
    return values


def _sources(track: Track) -> list[str]:
    return [knob.name for knob in track.knobs if knob.kind == "audio" and track.values.get(knob.name)]


def _differences(track: Track, values: dict[str, Json], desk: Desk) -> Iterator[str]:
    """What can be told to be another one now without putting the job together."""
    if track.code != code_version():
        yield "the code that renders, or a library that it uses, is of another version"
    try:
        find.checkpoint(track.checkpoint)
    except StudioError:
        yield f"the checkpoint {track.checkpoint} is not installed"
    if track.device != desk.device:
        yield f"it was made on {track.device or 'an unknown device'} and this studio runs on {desk.device}"
    for name in _sources(track):
        path = Path(str(values[name]))
        if not path.is_file():
            yield f"the recording of {name} is gone"
        elif sha256(path) != track.hashes.get(name):
            yield f"the recording of {name} is another one now"
    asked = track.asked()
    if any(track.values[name] != value for name, value in asked.items() if name in track.values):
        yield "this version reads some of its settings in another way"
    if not track.key:
        yield "its sidecar does not tell all that it was made of"
