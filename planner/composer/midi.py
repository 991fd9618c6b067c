"""A score as a Standard MIDI File: what the composer wrote, for a sequencer or a notation program.

Time 0 of the file is time 0 of the song, and every onset lies within a millisecond of the score's. Beats of the score
are beats of the file: a note is put where it is played, swung or cut short, on no other grid than the ticks.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain
from typing import NamedTuple

from mido import Message, MetaMessage, MidiFile, MidiTrack

from core.tables import PITCH_CLASSES
from planner.composer.instruments import Drum, Part
from planner.composer.score import Score
from planner.composer.styles import styles

TICKS_PER_QUARTER = 1920
"""Half a tick is half a millisecond at the slowest tempo."""

MOST_DRIFT_US = 200
"""How far the whole microseconds of a file's tempo may stray from the score's before the tempo makes up for it."""

SAME_BEAT_S = 1e-4
"""A downbeat that lies this close to the song's start is the start."""

VOICE_PROGRAM = 52  # Choir Aahs
DRUM_CHANNEL = 9
"""General MIDI's channel 10, counted from 0."""

DRUM_KEYS: Mapping[Drum, int] = {"kick": 36, "snare": 38, "hat": 42, "open_hat": 46, "tom": 45, "crash": 49}
"""General MIDI's percussion key map."""

_PARTS: tuple[Part, ...] = ("chords", "bass", "lead", "voice")
_MICROSECONDS = 1_000_000
_QUARTER_CLOCKS = 24
# Keys with at most seven sharps or flats, by the number of them from seven flats on: a key signature has no other.
_SIGNATURES = {
    "major": ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#"),
    "minor": ("Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#", "G#", "D#", "A#"),
}


def to_midi(score: Score, *, start_s: float = 0.0, title: str = "") -> bytes:
    """A file of type 1: a track with tempo, metre, key and sections, then one for each part that plays.

    `start_s` is where in its song the score begins. Where the song does not begin on a downbeat its first measure is a
    pickup of whole beats, whose own tempo lets it last just as long; from the first downbeat on bars are bars. Sung
    lines are lyric events of the voice. A key that no key signature has is written as the one that sounds the same.
    """
    grid = _Grid.of(score, start_s)
    end = grid.tick(start_s + score.duration_s)
    tracks = [_conducting(score, start_s, grid, title)]
    for channel, part in enumerate(_PARTS):
        notes = [note for note in score.notes if note.part == part]
        if notes:
            strokes = [(start_s + note.start_s, note.seconds, note.pitch, note.level) for note in notes]
            program = Message("program_change", channel=channel, program=_program(score, part))
            words = _words(score, start_s, grid) if part == "voice" else ()
            tracks.append(chain(_named(part), [_Event(0, 0, program)], words, _keys(strokes, channel, grid, end)))
    if score.hits:
        strokes = [(start_s + hit.start_s, 15.0 / score.bpm, DRUM_KEYS[hit.drum], hit.level) for hit in score.hits]
        tracks.append(chain(_named("drums"), _keys(strokes, DRUM_CHANNEL, grid, end)))
    file = MidiFile(type=1, ticks_per_beat=TICKS_PER_QUARTER, charset="utf-8")
    file.tracks = [_track(events, end) for events in tracks]
    written = io.BytesIO()
    file.save(file=written)
    return written.getvalue()


class _Event(NamedTuple):
    """A message at a tick; of those at one tick the lower rank comes first."""

    tick: int
    rank: int
    message: Message | MetaMessage


class _Grid(NamedTuple):
    """The beats of a song in ticks: a pickup of `pickup_beats` in `pickup_s`, then beats of one length."""

    bpm: int
    bar_beats: int
    eighths: int
    """In a beat: a quarter has two, the dotted one of compound time three."""
    pickup_s: float
    pickup_beats: int

    @classmethod
    def of(cls, score: Score, start_s: float) -> _Grid:
        """The grid on which the score's first bar begins where it does, of a song in which the score begins there."""
        compound = score.timesignature == 6
        bar_beats = 2 if compound else score.timesignature
        beat_s = 60.0 / score.bpm
        pickup_s = math.fmod(start_s + score.downbeat_s, bar_beats * beat_s)
        pickup_s += bar_beats * beat_s if pickup_s < -SAME_BEAT_S else 0.0
        if pickup_s < SAME_BEAT_S or bar_beats * beat_s - pickup_s < SAME_BEAT_S:
            return cls(score.bpm, bar_beats, 3 if compound else 2, 0.0, 0)
        beats = pickup_s / beat_s
        if not 0.75 <= beats / max(1, round(beats)) <= 1.25:  # a stretched bar is less odd than a beat much too short
            pickup_s, beats = pickup_s + bar_beats * beat_s, beats + bar_beats
        return cls(score.bpm, bar_beats, 3 if compound else 2, pickup_s, round(beats))

    @property
    def beat_ticks(self) -> int:
        """Ticks in a beat."""
        return TICKS_PER_QUARTER * self.eighths // 2

    def tick(self, seconds: float) -> int:
        """The tick of a time in the song."""
        if seconds < self.pickup_s:
            return round(seconds / self.pickup_s * self.pickup_beats * self.beat_ticks)
        return round((self.pickup_beats + (seconds - self.pickup_s) * self.bpm / 60.0) * self.beat_ticks)

    def metres(self) -> Iterator[tuple[int, int]]:
        """(tick, beats to the bar) where they change."""
        if self.pickup_beats:
            yield 0, self.pickup_beats
        yield self.pickup_beats * self.beat_ticks, self.bar_beats

    def tempos(self, end: int) -> Iterator[tuple[int, int]]:
        """(tick, microseconds to the quarter) where they change, up to the tick `end`.

        A file counts whole microseconds. Over minutes the rest would add up: now and then the tempo is the other
        neighbour of the true one.
        """
        if self.pickup_beats:
            yield 0, round(2 * _MICROSECONDS * self.pickup_s / (self.eighths * self.pickup_beats))
        exact = Fraction(120 * _MICROSECONDS, self.bpm * self.eighths)
        below, above, tempo = math.floor(exact), math.ceil(exact), round(exact)
        late = Fraction(0)
        start = self.pickup_beats * self.beat_ticks
        yield start, tempo
        for bar in range(start, end, self.bar_beats * self.beat_ticks):
            other = below if late > MOST_DRIFT_US else above if late < -MOST_DRIFT_US else tempo
            if other != tempo:
                tempo = other
                yield bar, tempo
            late += (tempo - exact) * self.bar_beats * self.eighths / 2


def _conducting(score: Score, start_s: float, grid: _Grid, title: str) -> Iterator[_Event]:
    yield from _named(title) if title else ()
    yield _Event(0, 0, MetaMessage("key_signature", key=key_signature(score.keyscale)))
    for tick, beats in grid.metres():
        compound = grid.eighths == 3
        yield _Event(
            tick,
            1,
            MetaMessage(
                "time_signature",
                numerator=3 * beats if compound else beats,
                denominator=8 if compound else 4,
                clocks_per_click=_QUARTER_CLOCKS * grid.eighths // 2,
            ),
        )
    for tick, tempo in grid.tempos(grid.tick(start_s + score.duration_s)):
        yield _Event(tick, 2, MetaMessage("set_tempo", tempo=tempo))
    for section in score.sections:
        yield _Event(grid.tick(start_s + section.start_s), 3, MetaMessage("marker", text=section.tag))


def _named(name: str) -> Iterator[_Event]:
    yield _Event(0, 0, MetaMessage("track_name", name=name))


def _words(score: Score, start_s: float, grid: _Grid) -> Iterator[_Event]:
    for line in score.lines:
        yield _Event(grid.tick(start_s + line.start_s), 2, MetaMessage("lyrics", text=line.text))


def _program(score: Score, part: Part) -> int:
    if part == "voice":
        return VOICE_PROGRAM
    return styles()[score.style].programs[_PARTS.index(part)]


def _keys(keys: Iterable[tuple[float, float, int, float]], channel: int, grid: _Grid, end: int) -> Iterator[_Event]:
    """Key by key of (start, length, key, level): down, and up before it goes down again or the song ends.

    Notes that began before a window all begin with it: two of one key there are one, as loud and long as either.
    """
    strokes: dict[int, dict[int, tuple[int, float]]] = {}
    for start_s, seconds, key, level in keys:
        start = grid.tick(start_s)
        stop = max(start + 1, min(end, grid.tick(start_s + seconds)))
        others = strokes.setdefault(key, {})
        other_stop, other_level = others.get(start, (0, 0.0))
        others[start] = max(stop, other_stop), max(level, other_level)
    for key, each in strokes.items():
        starts = sorted(each)
        for start, after in zip(starts, [*starts[1:], end + 1], strict=True):
            stop, level = each[start]
            yield _Event(start, 3, Message("note_on", channel=channel, note=key, velocity=velocity(level)))
            yield _Event(min(stop, after), 1, Message("note_off", channel=channel, note=key, velocity=64))


def velocity(level: float) -> int:
    """The velocity that a General MIDI synthesizer plays at a level of 0..1: amplitude goes with its square.

    That is the curve which the MIDI Association recommends in GM2 and DLS: 40 log10(velocity / 127) dB.
    """
    return min(127, max(1, round(127 * math.sqrt(max(0.0, level)))))


def key_signature(keyscale: str) -> str:
    """The name in a MIDI file of a key such as "E♭ minor", or of the one that sounds the same with the fewest signs."""
    note, _, scale = keyscale.partition(" ")
    names, suffix = _SIGNATURES[scale], "m" if scale == "minor" else ""
    plain = note.replace("♯", "#").replace("♭", "b")
    if plain not in names:
        alike = [each for each in names if PITCH_CLASSES[each] == PITCH_CLASSES[note]]
        plain = min(alike, key=lambda each: abs(names.index(each) - 7))
    return plain + suffix


def _track(events: Iterable[_Event], end: int) -> MidiTrack:
    """The events with the ticks between them, and the end of the song after them."""
    track, now = MidiTrack(), 0
    for event in sorted(events, key=lambda event: event[:2]):
        event.message.time = event.tick - now
        track.append(event.message)
        now = event.tick
    track.append(MetaMessage("end_of_track", time=max(0, end - now)))
    return track
