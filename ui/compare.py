"""Two songs side by side: as loud as each other, switched while they play, and what differs in how they were made."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import gradio as gr

import tooltips
from core.errors import RequestError
from core.knobs import AUTO, Json, Knob, parse
from core.tables import SAMPLE_RATE
from library import audio, decoder, loudness
from library.records import Track
from ui import decks, tracks
from ui.endpoints import Endpoints, Updates
from ui.handlers import GONE, Handlers
from ui.recordings import READING
from ui.widgets import ON_OFF

SOURCE_GONE = "The source is no longer on this machine."
KEPT = 256
"""So many loudnesses are remembered: those of more songs than anybody compares in a day."""

Difference = tuple[str, str, str]
"""The label of a knob, and what either song says there."""


def make() -> gr.HTML:
    """The tools that compare, inside the open layout. The value is the song that is shown, `pair` what is played."""
    return gr.HTML(
        None,
        html_template='<div class="compare"></div>',
        js_on_load="studio.compare(element, props, trigger, watch)",
        apply_default_css=False,
        elem_id="compare",
        pair=None,
    )


def shown(track: Track, handlers: Handlers) -> dict[str, object]:
    """The value that tells of the song that is shown; `source` says whether what it was made of can be heard."""
    has_source = is_from_source(track) and handlers.source_of(track) is not None
    return {"id": track.id, "title": tracks.headline(track), "source": has_source}


def is_from_source(track: Track) -> bool:
    """Whether a track was made from a recording."""
    return track.asked_as is not None and "src_audio" in track.asked_as.required


def wire(compare: gr.HTML, endpoints: Endpoints) -> None:
    """Let the page ask for two songs, or for a song and its source."""
    comparer = Comparer(endpoints.handlers)

    def pair(asked: gr.EventData, request: gr.Request) -> Updates:
        first, second = (str(getattr(asked, name, "")) for name in ("a", "b"))
        told = comparer.of(endpoints.handlers.of(request)).pair(first, second)
        return {compare: gr.update(pair={"of": [first, second], **told})}

    compare.select(pair, outputs=compare, **READING)


class Comparer:
    """Prepares what is compared; a loudness is measured once for each sound."""

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._lufs: dict[str, float | None] = {}

    def of(self, handlers: Handlers) -> Comparer:
        """The comparer of what a visitor sees; how loud a sound is, is the same for all."""
        seen = copy.copy(self)
        seen._handlers = handlers
        return seen

    def pair(self, first: str, second: str) -> dict[str, object]:
        """The lanes of two tracks, or of a track and its source where the first is empty, and what differs in them."""
        track, other = self._handlers.by_id(second), self._handlers.by_id(first)
        if track is None or (first and other is None):
            return {"refusal": GONE}
        return self._with_source(track) if other is None else self._songs(other, track)

    def _songs(self, first: Track, second: Track) -> dict[str, object]:
        songs = (first, second)
        gains = level_gains([self._loudness(song) for song in songs])
        lanes = [
            decks.lane(tracks.headline(song), song.path, song.seconds, gain_db=gain)
            for song, gain in zip(songs, gains, strict=True)
        ]
        return {"lanes": lanes, "differences": differences(first, second)}

    def _with_source(self, track: Track) -> dict[str, object]:
        """Where the source stands around what is new it is as loud as it was: those samples are its own."""
        source = self._handlers.source_of(track)
        if source is None:
            return {"refusal": SOURCE_GONE}
        try:
            heard = decoder.load(source)
        except RequestError as unreadable:
            return {"refusal": str(unreadable)}
        windows, gains = windows_of(track), [0.0, 0.0]
        if not windows:
            gains = level_gains([_measured(heard), self._loudness(track)])
        seconds, offset_s = heard.shape[1] / SAMPLE_RATE, source_offset_s(track)
        lanes = [
            decks.lane(self._name(source), source, seconds, gain_db=gains[0], offset_s=offset_s),
            {**decks.lane(tracks.headline(track), track.path, track.seconds, gain_db=gains[1]), "windows": windows},
        ]
        return {"lanes": lanes, "differences": []}

    def _name(self, source: Path) -> str:
        """A recording by the title of its track, or by its own name."""
        track = self._handlers.by_id(source.stem)
        is_track = track is not None and track.path.resolve() == source.resolve()
        return tracks.headline(track) if track and is_track else source.name

    def _loudness(self, track: Track) -> float | None:
        """In LUFS; None for a song that has none."""
        if track.sha256 not in self._lufs:
            while len(self._lufs) >= KEPT:
                self._lufs.pop(next(iter(self._lufs)), None)
            try:
                self._lufs[track.sha256] = _measured(decoder.load(track.path))
            except RequestError:  # it is silent
                self._lufs[track.sha256] = None
        return self._lufs[track.sha256]


def _measured(sound: audio.Waveform) -> float | None:
    """A loudness in LUFS; None for what has none."""
    try:
        return loudness.integrated(sound)
    except RequestError:
        return None


def level_gains(lufs: Sequence[float | None]) -> list[float]:
    """Gains in dB that make recordings as loud as the quietest: none is turned up, so that nothing can clip."""
    known = [each for each in lufs if each is not None]
    return [0.0 if each is None else min(known) - each for each in lufs]


def windows_of(track: Track) -> list[tuple[float, float]]:
    """From where to where a track is new, in seconds, if its source stands around that: in one place or several."""
    windows = [(start, min(end, track.seconds)) for start, end in track.windows_s]
    is_all = windows[0][0] <= 0 and windows[0][1] >= track.seconds - 1 / SAMPLE_RATE
    if is_all or not is_from_source(track):
        return []
    return [(round(start, 3), round(end, 3)) for start, end in windows if end > start]


def source_offset_s(track: Track) -> float:
    """Where in a track its source begins, in seconds: later than the track where something was put before it."""
    if track.asked_as is None:
        return 0.0
    try:
        return parse(track.asked_as, {**track.asked(), "checkpoint": None}).layout.before_s
    except RequestError:  # another version's
        return 0.0


def differences(first: Track, second: Track) -> list[Difference]:
    """The knobs that both songs have and that differ, in the order and the words of the form of the first."""
    found: list[Difference] = []
    if first.mode != second.mode:
        found.append(("Mode", tooltips.title(first.mode)[0], tooltips.title(second.mode)[0]))
    mine, others = _values(first), _values(second)
    for knob in first.knobs:
        if knob.name in others and mine[knob.name] != others[knob.name]:
            label, _ = tooltips.of(first.mode, knob.name)
            found.append((label, _text(first, knob), _text(second, knob)))
    return found


def _values(track: Track) -> Mapping[str, Json]:
    """The knobs of a track as they were rendered: recordings by their sound, seed and checkpoint as they came out."""
    return {**track.asked(), **track.hashes, "seed": track.seed, "checkpoint": track.checkpoint}


def _text(track: Track, knob: Knob) -> str:
    """A knob of a track in words; a recording by the name of its file."""
    if knob.kind == "audio":
        return Path(str(track.asked().get(knob.name) or "")).name
    value = _values(track)[knob.name]
    if isinstance(value, bool):
        return ON_OFF[value]
    if isinstance(value, float):
        return f"{value:g}"
    return AUTO if value is None else str(value)
