"""Accompaniment in patterns: one bar in, the notes or drum hits of one player out.

A pattern is a function of a `Bar`; `COMPING`, `BASS` and `DRUMS` name them for the styles. A new pattern is one
function and one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from planner.composer.instruments import Drum, Hit, Note


@dataclass(frozen=True)
class Feel:
    """What a section asks of the players: overall level, drums (0 none, 1 light, 2 full), lead or not.

    `lift` is how many scale degrees the melody lies higher, `crash` whether a cymbal opens it.
    """

    level: float
    drums: int
    lead: bool
    lift: int = 0
    crash: bool = False


@dataclass(frozen=True)
class Bar:
    """One bar on the time grid with its chord.

    `chord` holds MIDI numbers from the root upwards, `root` the bass note; `steps` is how many equal steps a beat
    divides into (3 in compound time), `swing` where in the beat the second of two steps falls.
    """

    index: int
    start_s: float
    beat_s: float
    beats: int
    steps: int
    swing: float
    chord: tuple[int, ...]
    root: int
    feel: Feel
    opens: bool
    closes: bool

    def time(self, beat: float) -> float:
        """Seconds of a position in beats, swung when the beat has two steps."""
        whole, part = divmod(beat, 1.0)
        if self.steps == 2 and part:
            part = part * 2 * self.swing if part <= 0.5 else self.swing + (part - 0.5) * 2 * (1 - self.swing)
        return self.start_s + (whole + part) * self.beat_s

    def strong(self) -> tuple[int, ...]:
        """The beats that carry the metre: 1 and 3 of four, else 1."""
        return (0, 2) if self.beats == 4 else (0,)


def _chord(bar: Bar, beat: float, beats: float, level: float, pitches: tuple[int, ...] | None = None) -> Iterator[Note]:
    for pitch in bar.chord if pitches is None else pitches:
        yield Note("chords", bar.time(beat), beats * bar.beat_s, pitch, level * bar.feel.level)


def _pad(bar: Bar) -> Iterator[Note]:
    yield from _chord(bar, 0, bar.beats, 0.55)
    for beat in range(bar.beats):
        yield from _chord(bar, beat, 0.9, 0.5, (bar.chord[beat % len(bar.chord)] + 12,))


def _block(bar: Bar) -> Iterator[Note]:
    strong = bar.strong()
    for beat in strong:
        yield from _chord(bar, beat, bar.beats / len(strong) - 0.1, 0.75)
    if bar.feel.drums == 2 and bar.beats > 2:
        yield from _chord(bar, bar.beats - 0.5, 0.4, 0.45)


def _power(bar: Bar) -> Iterator[Note]:
    fifth = (bar.root + 12, bar.root + 19)
    for step in range(bar.beats * bar.steps):
        yield from _chord(bar, step / bar.steps, 0.8 / bar.steps, 0.75 if step % bar.steps == 0 else 0.55, fifth)


def _stabs(bar: Bar) -> Iterator[Note]:
    for beat in range(bar.beats):
        yield from _chord(bar, beat + (bar.steps - 1) / bar.steps, 0.6 / bar.steps, 0.65)
    yield from _chord(bar, 0, 0.5, 0.6)


def _charleston(bar: Bar) -> Iterator[Note]:
    yield from _chord(bar, 0, 0.9, 0.7)
    yield from _chord(bar, 1.5 if bar.beats > 1 else 0.5, 0.6, 0.6)
    if bar.beats == 4 and bar.index % 2:
        yield from _chord(bar, 3, 0.6, 0.55)


def _arpeggio(bar: Bar) -> Iterator[Note]:
    order = (0, 1, 2, 1)
    for step in range(bar.beats * bar.steps):
        pitch = bar.chord[order[step % 4] % len(bar.chord)]
        level = 0.85 if step % bar.steps == 0 else 0.6
        yield from _chord(bar, step / bar.steps, 0.95 / bar.steps, level, (pitch,))


def _picking(bar: Bar) -> Iterator[Note]:
    order = (1, 2, 0, 2)
    for step in range(bar.beats * bar.steps):
        low = step % (2 * bar.steps) == 0
        pitch = bar.chord[0] - 12 if low else bar.chord[order[step % 4] % len(bar.chord)]
        yield from _chord(bar, step / bar.steps, 1.4 / bar.steps, 1.0 if low else 0.75, (pitch,))


def _bass(bar: Bar, beat: float, beats: float, pitch: int, level: float) -> Note:
    return Note("bass", bar.time(beat), beats * bar.beat_s, pitch, level * bar.feel.level)


def _long_bass(bar: Bar) -> Iterator[Note]:
    yield _bass(bar, 0, bar.beats - 0.1, bar.root, 0.8)


def _root_bass(bar: Bar) -> Iterator[Note]:
    strong = bar.strong()
    for beat in strong:
        yield _bass(bar, beat, bar.beats / len(strong) - 0.15, bar.root, 0.85)


def _driving_bass(bar: Bar) -> Iterator[Note]:
    for step in range(bar.beats * bar.steps):
        yield _bass(bar, step / bar.steps, 0.9 / bar.steps, bar.root, 0.8 if step % bar.steps == 0 else 0.6)


def _offbeat_bass(bar: Bar) -> Iterator[Note]:
    for beat in range(bar.beats):
        yield _bass(bar, beat + 1 / bar.steps, 0.85 / bar.steps, bar.root, 0.8)


def _walking_bass(bar: Bar) -> Iterator[Note]:
    third, fifth = bar.chord[1] - bar.chord[0], bar.chord[2] - bar.chord[0]
    for beat, interval in zip(range(bar.beats), (0, third, fifth, third), strict=False):
        yield _bass(bar, beat, 0.92, bar.root + interval, 0.85)


def _alternating_bass(bar: Bar) -> Iterator[Note]:
    for beat in range(bar.beats):
        yield _bass(bar, beat, 0.85, bar.root if beat % 2 == 0 else bar.root + 7, 0.85 if beat == 0 else 0.65)


def _hit(bar: Bar, name: Drum, beat: float, level: float) -> Hit:
    return Hit(name, bar.time(beat), level * bar.feel.level)


def _hats(bar: Bar, on: float, off: float) -> Iterator[Hit]:
    for step in range(bar.beats * bar.steps):
        yield _hit(bar, "hat", step / bar.steps, on if step % bar.steps == 0 else off)


def _backbeat(bar: Bar, hats: float = 0.7, snare: float = 0.85) -> Iterator[Hit]:
    yield from _hats(bar, hats, 0.5 * hats)
    for beat in bar.strong():
        yield _hit(bar, "kick", beat, 1.0)
    if bar.feel.drums == 2:
        after = (1, 3) if bar.beats == 4 else tuple(range(1, bar.beats))
        for beat in after:
            yield _hit(bar, "snare", beat, snare if len(after) < 2 or bar.beats == 4 else 0.6 * snare)


def _rock(bar: Bar) -> Iterator[Hit]:
    yield from _backbeat(bar, hats=0.85, snare=1.0)
    if bar.feel.drums == 2 and bar.beats == 4:
        yield _hit(bar, "kick", 2.5, 0.8)


def _four_on_the_floor(bar: Bar) -> Iterator[Hit]:
    for beat in range(bar.beats):
        yield _hit(bar, "kick", beat, 1.0)
        yield _hit(bar, "open_hat" if bar.feel.drums == 2 else "hat", beat + 1 / bar.steps, 0.6)
        if bar.feel.drums == 2 and beat % 2 == 1:
            yield _hit(bar, "snare", beat, 0.6)


def _lazy(bar: Bar) -> Iterator[Hit]:
    yield from _backbeat(bar, hats=0.55, snare=0.7)
    if bar.beats == 4 and bar.index % 2:
        yield _hit(bar, "kick", 1.5, 0.6)


def _heartbeat(bar: Bar) -> Iterator[Hit]:
    for beat in range(bar.beats):
        yield _hit(bar, "kick" if beat in bar.strong() else "hat", beat, 0.45)


def _ride(bar: Bar) -> Iterator[Hit]:
    for beat in range(bar.beats):
        yield _hit(bar, "hat", beat, 0.7)
        if beat % 2 == 1:
            yield _hit(bar, "hat", beat + 0.5, 0.5)
            if bar.feel.drums == 2:
                yield _hit(bar, "snare", beat, 0.35)
    yield _hit(bar, "kick", 0, 0.6)


def _brushes(bar: Bar) -> Iterator[Hit]:
    yield from _backbeat(bar, hats=0.45, snare=0.4)


def drums(bar: Bar, pattern: str) -> Iterator[Hit]:
    """The pattern's hits in this bar, with a crash where a full section opens and a fill where it closes."""
    if bar.feel.drums == 0:
        return
    fill_from = bar.beats - 1 if bar.closes and bar.feel.drums == 2 and pattern != "heartbeat" else bar.beats
    yield from (hit for hit in DRUMS[pattern](bar) if hit.start_s < bar.time(fill_from) - 1e-6)
    if fill_from < bar.beats:
        for step in range(2 * bar.steps):
            name: Drum = "snare" if step < bar.steps else "tom"
            yield _hit(bar, name, fill_from + step / (2 * bar.steps), 0.5 + 0.2 * step / bar.steps)
    if bar.opens and bar.feel.crash:
        yield _hit(bar, "crash", 0, 0.7)


COMPING: Mapping[str, Callable[[Bar], Iterator[Note]]] = {
    "pad": _pad,
    "block": _block,
    "power": _power,
    "stabs": _stabs,
    "charleston": _charleston,
    "arpeggio": _arpeggio,
    "picking": _picking,
}
BASS: Mapping[str, Callable[[Bar], Iterator[Note]]] = {
    "long": _long_bass,
    "root": _root_bass,
    "driving": _driving_bass,
    "offbeat": _offbeat_bass,
    "walking": _walking_bass,
    "alternating": _alternating_bass,
}
DRUMS: Mapping[str, Callable[[Bar], Iterator[Hit]]] = {
    "backbeat": _backbeat,
    "rock": _rock,
    "four_on_the_floor": _four_on_the_floor,
    "lazy": _lazy,
    "heartbeat": _heartbeat,
    "ride": _ride,
    "brushes": _brushes,
}
