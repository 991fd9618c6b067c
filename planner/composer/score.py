"""Nano's planner: a request in, a score and its sketch out, by rule and without a network.

The words of the prompt choose a style, the lyrics' section tags the form, the seed everything left open. The sketch
plays the score in neutral timbres; nano's network turns its latents into the sound that the prompt asks for.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from core.errors import Fault, RequestError
from core.music import Music
from core.tables import BPM, PITCH_CLASSES, SAMPLE_RATE, SCALES, TIME_SIGNATURES
from planner.composer.instruments import Ensemble, Hit, Kit, Note, Timbre, Wave, limit, perform
from planner.composer.patterns import BASS, COMPING, Bar, drums
from planner.composer.styles import Style, key_of, kind_of_tag, metre_of, section_kinds, style_of, styles, tempo_of

METRES = tuple(map(int, TIME_SIGNATURES))

SHORTEST_S = 0.5
"""No less is composed."""

# Degrees of the chord roots; every progression starts and lingers on the tonic, so that the key is heard.
_PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4), (0, 0, 3, 4), (0, 2, 3, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 0, 4), (0, 6, 5, 6), (0, 0, 3, 4), (0, 5, 3, 6)),
}
# The form of a piece without lyrics, by the most bars that it has.
_FORMS = (
    (4, ("verse",)),
    (10, ("verse", "chorus")),
    (20, ("intro", "verse", "chorus", "outro")),
    (36, ("intro", "verse", "chorus", "verse", "chorus", "outro")),
    (math.inf, ("intro", "verse", "chorus", "verse", "chorus", "bridge", "chorus", "outro")),
)

_PLAIN = Timbre(spectrum=(1.0, 0.45, 0.16, 0.06), attack_s=0.006, decay=1.6, sustain=0.1, mellow=2.0, release_s=0.07)
NEUTRAL = Ensemble(
    timbres={
        "chords": _PLAIN,
        "bass": Timbre(spectrum=(1.0, 0.5, 0.22, 0.1, 0.05), attack_s=0.006, decay=1.0, sustain=0.2, mellow=1.5),
        "lead": Timbre(spectrum=(1.0, 0.28, 0.12, 0.05), attack_s=0.03, sustain=1.0, release_s=0.06),
        "voice": Timbre(spectrum=(0.8, 0.7, 0.4, 0.25, 0.1), attack_s=0.05, sustain=1.0, release_s=0.08, vibrato=0.008),
    },
    kit=Kit(),
)


class Section(NamedTuple):
    """A stretch of the form: the tag as the lyrics (or the composer) call it, and its times."""

    tag: str
    start_s: float
    end_s: float


class Line(NamedTuple):
    """A line of the lyrics as it is sung: the tag of its section, the start of its first note, the end of its last."""

    text: str
    tag: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Brief:
    """What to compose: facts, a length among them. What they leave open the words, the style and the seed decide.

    `instrumental` lets nobody sing the lyrics. `anchor_s` is the time of a known downbeat, before, in or after the
    piece: bars are laid from there. `opens` and `closes` say whether the piece begins and ends here; a window inside a
    song does neither and gets no intro or final chord. A metre of 6 is two dotted beats to the bar, counted by the bpm.
    """

    music: Music
    instrumental: bool = False
    seed: int
    anchor_s: float = 0.0
    opens: bool = True
    closes: bool = True

    @property
    def duration_s(self) -> float:
        """Seconds to compose."""
        assert self.music.duration_s is not None, "a piece has a length"
        return self.music.duration_s


@dataclass(frozen=True)
class Score:
    """A finished plan: what was chosen, the form, and every note and hit in seconds from the start.

    `downbeat_s` is where the first bar begins, which may be before 0. `lines` are those that are sung, in order;
    `unsung` are those that a song with words has no room for, or no syllable to sing.
    """

    style: str
    bpm: int
    keyscale: str
    timesignature: int
    duration_s: float
    downbeat_s: float
    sections: tuple[Section, ...]
    sung: bool
    lines: tuple[Line, ...]
    unsung: tuple[str, ...]
    notes: tuple[Note, ...] = field(repr=False)
    hits: tuple[Hit, ...] = field(repr=False)

    def summary(self) -> str:
        """One line for the user, such as "folk, 96 bpm, 3/4, G major: verse 0:00, chorus 0:20"."""
        metre = f"{self.timesignature}/{8 if self.timesignature == 6 else 4}"
        form = ", ".join(f"{tag} {int(start // 60)}:{int(start % 60):02d}" for tag, start, _ in self.sections)
        return f"{self.style}, {self.bpm} bpm, {metre}, {self.keyscale}: {form}"

    def digest(self) -> str:
        """Sixteen hexadecimal digits of the form and all that is played, to the microsecond: equal notes, equal digits.

        The style and the words count by the notes that they make.
        """
        head = (self.bpm, self.keyscale, self.timesignature, self.duration_s)
        events = [_rounded(event) for event in (head, *self.sections, *self.notes, *self.hits)]
        return hashlib.sha256(json.dumps(events).encode()).hexdigest()[:16]


def _rounded(event: Sequence[object]) -> list[object]:
    return [round(value, 6) if isinstance(value, float) else value for value in event]


def compose(brief: Brief) -> Score:
    """The score of a brief; equal briefs give equal scores. Raises RequestError for values out of range."""
    _check(brief)
    music, words = brief.music, brief.music.caption.lower()
    name = style_of(words, _rng(brief, 0))
    style = styles()[name]
    keyscale = music.keyscale or key_of(words, style, _rng(brief, 2))
    bpm = music.bpm or tempo_of(words, style, _rng(brief, 1))
    metre = int(music.timesignature) if music.timesignature else metre_of(words)
    frame = _Frame(style, bpm, metre, *parse_key(keyscale))
    parts = _lyric_parts(music.lyrics)
    sung = not brief.instrumental and any(part.lines for part in parts)
    bars = list(_bars(brief, frame, parts))
    phrases = list(_melody(bars, brief, frame, sung))
    notes = [note for phrase in phrases for note in phrase.notes]
    hits: list[Hit] = []
    for placed in bars:
        notes += COMPING[style.comping](placed.bar)
        notes += BASS[style.bass](placed.bar)
        hits += drums(placed.bar, style.drums)
    lines = _lines(phrases, brief.duration_s)
    return Score(
        style=name, bpm=frame.bpm, keyscale=keyscale, timesignature=frame.metre, duration_s=brief.duration_s,
        downbeat_s=bars[0].bar.start_s, sections=_sections(bars, brief.duration_s), sung=sung,
        lines=tuple(lines.values()), unsung=_unsung(parts, lines) if sung else (),
        notes=tuple(_clip(notes, brief.duration_s)),
        hits=tuple(hit for hit in hits if 0.0 <= hit.start_s < brief.duration_s),
    )  # fmt: skip


def sketch(score: Score, sample_rate: int = SAMPLE_RATE) -> Wave:
    """The score in neutral timbres, `(2, round(duration_s * sample_rate))` float32 within -1..1."""
    return limit(perform(score.notes, score.hits, NEUTRAL, round(score.duration_s * sample_rate), sample_rate))


def parse_key(keyscale: str) -> tuple[int, str]:
    """Pitch class of the tonic (C = 0) and "major" or "minor", of a name such as "F# minor" or "B♭ major"."""
    note, _, scale = keyscale.partition(" ")
    if note not in PITCH_CLASSES or scale not in SCALES:
        raise RequestError([Fault("keyscale", keyscale, 'must be a key such as "C major" or "F# minor"')])
    return PITCH_CLASSES[note], scale


@dataclass(frozen=True)
class _Frame:
    """What holds for the whole piece: style, tempo, metre, and the key as pitch class and scale."""

    style: Style
    bpm: int
    metre: int
    tonic: int
    scale: str

    @property
    def beats(self) -> int:
        """Beats in a bar; in compound time a beat is three eighths."""
        return 2 if self.metre == 6 else self.metre

    @property
    def steps(self) -> int:
        """Equal steps in a beat."""
        return 3 if self.metre == 6 else 2


@dataclass(frozen=True)
class _Part:
    """One section as the lyrics ask for it: its tag, which feel it has, and its sung lines."""

    tag: str
    kind: str
    lines: tuple[str, ...] = ()

    def bars(self) -> int:
        return max(2 * len(self.lines), 4) if self.lines else section_kinds()[self.kind].bars


@dataclass(frozen=True)
class _PlacedBar:
    """A bar, the section it belongs to, its place there, and the degree of its chord."""

    bar: Bar
    part: _Part
    section: int
    offset: int
    degree: int


@dataclass(frozen=True)
class _Phrase:
    """Two bars of melody at the most, and which line of which section is sung on them; None when none is."""

    notes: tuple[Note, ...]
    part: _Part
    section: int
    line: int | None


def _check(brief: Brief) -> None:
    faults, music = [], brief.music
    if brief.duration_s < SHORTEST_S:
        faults.append(Fault("duration_s", brief.duration_s, f"must be at least {SHORTEST_S:g} s"))
    if music.bpm is not None and not BPM[0] <= music.bpm <= BPM[1]:
        faults.append(Fault("bpm", music.bpm, f"must be from {BPM[0]} to {BPM[1]}"))
    if music.timesignature is not None and music.timesignature not in TIME_SIGNATURES:
        faults.append(Fault("timesignature", music.timesignature, f"must be one of {', '.join(TIME_SIGNATURES)}"))
    if faults:
        raise RequestError(faults)
    if music.keyscale is not None:
        parse_key(music.keyscale)


def _rng(brief: Brief, stream: int) -> np.random.Generator:
    """An own generator for each kind of choice, so that fixing one value leaves the others as they were."""
    return np.random.default_rng([brief.seed % 2**63, stream])


def _lyric_parts(lyrics: str) -> list[_Part]:
    """The sections that the lyrics name; empty when they hold neither a line nor a tag other than [instrumental]."""
    parts: list[_Part] = []
    for line in filter(None, (line.strip() for line in lyrics.splitlines())):
        tag = re.fullmatch(r"\[([^\]]*)\]", line)
        if tag:
            name = tag[1].strip().lower() or "verse"
            parts.append(_Part(name, kind_of_tag(name)))
        elif parts:
            parts[-1] = _Part(parts[-1].tag, parts[-1].kind, (*parts[-1].lines, line))
        else:
            parts.append(_Part("verse", "verse", (line,)))
    if len(parts) == 1 and parts[0].tag == "instrumental" and not parts[0].lines:
        return []
    return parts


def _form(bars: int, brief: Brief) -> list[_Part]:
    tags = next(form for limit_bars, form in _FORMS if bars <= limit_bars)
    absent = [tag for tag, there in (("intro", brief.opens), ("outro", brief.closes)) if not there]
    return [_Part(tag, tag) for tag in tags if tag not in absent]


def _shares(parts: Sequence[_Part], bars: int) -> list[int]:
    """How many of the bars each part gets: in proportion, at least one; `parts` must not outnumber the bars."""
    wanted = np.cumsum([part.bars() for part in parts])
    ends = np.round(wanted * bars / wanted[-1]).astype(int)
    for i in range(len(parts)):
        ends[i] = min(max(ends[i], (ends[i - 1] if i else 0) + 1), bars - (len(parts) - 1 - i))
    return np.diff(ends, prepend=0).tolist()


def _bars(brief: Brief, frame: _Frame, parts: Sequence[_Part]) -> Iterator[_PlacedBar]:
    """The bars of the piece in order, the first of which may begin before 0, with their sections and chords."""
    beat_s = 60.0 / frame.bpm
    bar_s = frame.beats * beat_s
    start_s = brief.anchor_s + bar_s * math.floor(-brief.anchor_s / bar_s + 1e-6)
    total = max(1, math.ceil((brief.duration_s - start_s) / bar_s - 1e-6))
    parts = (list(parts) or _form(total, brief))[:total]
    order = _rng(brief, 3).permutation(len(_PROGRESSIONS[frame.scale]))
    index = 0
    for section, (part, share) in enumerate(zip(parts, _shares(parts, total), strict=True)):
        progression = _PROGRESSIONS[frame.scale][order[{"chorus": 1, "bridge": 2}.get(part.kind, 0)]]
        for offset in range(share):
            final = brief.closes and index == total - 1 and total > 1
            degree = 0 if final else progression[offset % 4]
            chord, root = _voicing(frame, degree)
            bar = Bar(
                index=index,
                start_s=start_s + index * bar_s,
                beat_s=beat_s,
                beats=frame.beats,
                steps=frame.steps,
                swing=frame.style.swing,
                chord=chord,
                root=root,
                feel=section_kinds()[part.kind].feel,
                opens=offset == 0,
                closes=offset == share - 1 and share > 1,
            )
            yield _PlacedBar(bar, part, section, offset, degree)
            index += 1


def _voicing(frame: _Frame, degree: int) -> tuple[tuple[int, ...], int]:
    """MIDI numbers of the diatonic chord on a scale degree, root in E3..D#4, and the bass root in C2..B2."""
    root = frame.tonic + SCALES[frame.scale][degree]
    low = 52 + (root - 52) % 12
    members = (0, 2, 4, 6) if frame.style.sevenths else (0, 2, 4)
    first = _pitch(frame.scale, degree)
    return tuple(low + _pitch(frame.scale, degree + member) - first for member in members), 36 + root % 12


def _pitch(scale: str, degree: int) -> int:
    """Semitones from the tonic to a scale degree, which may lie outside one octave."""
    octave, step = divmod(degree, 7)
    return 12 * octave + SCALES[scale][step]


def _sections(bars: Sequence[_PlacedBar], duration_s: float) -> tuple[Section, ...]:
    starts = [placed for placed in bars if placed.offset == 0]
    times = [max(0.0, placed.bar.start_s) for placed in starts] + [duration_s]
    return tuple(
        Section(placed.part.tag, start, end) for placed, start, end in zip(starts, times, times[1:], strict=False)
    )


def _melody(bars: Sequence[_PlacedBar], brief: Brief, frame: _Frame, sung: bool) -> Iterator[_Phrase]:
    """Phrases of two bars: sung ones take a syllable of the lyrics per note, the others repeat a motif.

    Every fourth phrase of a section has a motif of its own, and every second one comes to rest on the tonic's triad.
    """
    for first in (placed for placed in bars if placed.offset % 2 == 0 and placed.bar.feel.lead):
        pair = [placed for placed in bars[first.bar.index : first.bar.index + 2] if placed.section == first.section]
        number, lines = first.offset // 2, first.part.lines
        vowels = _vowels(lines[number]) if sung and number < len(lines) else []
        rng = _rng(brief, 10 + 4 * list(section_kinds()).index(first.part.kind) + (number % 4 == 3))
        notes = tuple(_phrase(pair, frame, vowels, number % 2 == 1, rng))
        yield _Phrase(notes, first.part, first.section, number if vowels else None)


def _lines(phrases: Sequence[_Phrase], duration_s: float) -> dict[tuple[int, int], Line]:
    """The lines of which a note sounds within 0..duration_s, by section and place there, in the order of the song."""
    lines: dict[tuple[int, int], Line] = {}
    for phrase in phrases:
        heard = list(_clip(phrase.notes, duration_s)) if phrase.line is not None else []
        if phrase.line is not None and heard:
            end_s = min(duration_s, max(note.start_s + note.seconds for note in heard))
            text = phrase.part.lines[phrase.line]
            lines[phrase.section, phrase.line] = Line(text, phrase.part.tag, heard[0].start_s, end_s)
    return lines


def _unsung(parts: Sequence[_Part], lines: Mapping[tuple[int, int], Line]) -> tuple[str, ...]:
    """The lines of the sections that are not among those sung."""
    return tuple(
        text
        for section, part in enumerate(parts)
        for number, text in enumerate(part.lines)
        if (section, number) not in lines
    )


def _rhythm(slots: int, grid: int, count: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Where in `slots` equal steps, `grid` to a beat, `count` notes begin and end: on beats first, the first at 0."""
    strength = np.array([2.0 if slot % grid == 0 else 1.0 for slot in range(max(slots, 1))])
    strength[0] = 9.0
    wanted = strength + 1.2 * rng.random(len(strength))
    onsets = np.sort(np.argsort(-wanted, kind="stable")[:count])
    ends = np.minimum(np.append(onsets[1:], slots + grid // 2), onsets + 2 * grid)
    return onsets.tolist(), ends.tolist()


def _phrase(
    pair: Sequence[_PlacedBar], frame: _Frame, vowels: Sequence[int], rests: bool, rng: np.random.Generator
) -> Iterator[Note]:
    """One or two bars of melody that breathe on their last beat; a note per vowel, or five to eight without words."""
    bar, feel = pair[0].bar, pair[0].bar.feel
    crowded = len(vowels) > 0.8 * bar.beats * bar.steps * len(pair)
    grid = bar.steps * (2 if crowded else 1)
    slots = bar.beats * grid * len(pair) - grid
    onsets, ends = _rhythm(slots, grid, len(vowels) or int(rng.integers(5, 9)), rng)
    degree = int(rng.choice((0, 2, 4))) + feel.lift
    steps = rng.choice((-2, -1, -1, 0, 1, 1, 2), size=len(onsets))
    for i, (onset, end, step) in enumerate(zip(onsets, ends, steps, strict=True)):
        degree = int(np.clip(degree + step, feel.lift - 2, feel.lift + 7))
        if onset % grid == 0:
            degree = _nearest(degree, pair[onset // (bar.beats * grid)].degree)
        if rests and i == len(onsets) - 1:
            degree = _nearest(degree, 0)
        begin_s = bar.time(onset / grid)
        accent = 1.0 if onset % grid == 0 else 0.85
        yield Note(
            part="voice" if vowels else "lead", start_s=begin_s, seconds=0.94 * (bar.time(end / grid) - begin_s),
            pitch=57 + (frame.tonic - 9) % 12 + _pitch(frame.scale, degree), level=0.85 * feel.level * accent,
            vowel=vowels[i] if vowels else 0,
        )  # fmt: skip


def _nearest(degree: int, chord: int) -> int:
    """The scale degree closest to `degree` that belongs to the triad on `chord`."""
    return min(
        (degree + d for d in (0, -1, 1, -2, 2)), key=lambda d: ((d - chord) % 7 not in (0, 2, 4), abs(d - degree))
    )


def _vowels(line: str) -> list[int]:
    """One vowel number per syllable of the line: groups of vowel letters, or letters where a script has none."""
    voiced = re.sub(r"(?<=[aeiouy][^\Waeiouy])e\b", "", line.lower())  # the silent e of "home"
    groups = re.findall(r"[aeiouyáàâäãåéèêëíìîïóòôöõúùûüýæøœ]+", voiced)
    if not groups:
        return [ord(letter) % 5 for letter in line if letter.isalpha()]
    base = {"a": 0, "e": 1, "i": 2, "y": 2, "o": 3, "u": 4}
    return [base.get(group[0], ord(group[0]) % 5) for group in groups]


def _clip(notes: Sequence[Note], duration_s: float) -> Iterator[Note]:
    """The notes that sound within 0..duration_s, in order, those that begin before 0 shortened."""
    for note in sorted(notes, key=lambda note: (note.start_s, note.part, note.pitch)):
        early = max(0.0, -note.start_s)
        if note.start_s < duration_s and note.seconds - early > 0.02:
            yield note._replace(start_s=note.start_s + early, seconds=note.seconds - early)
