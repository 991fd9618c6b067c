"""A small lyric writer without weights: hand-written lines, filled from the brief, that scan and rhyme. English only.

Lines of verses and bridges have eight syllables in weak-strong feet, the answers of a chorus six, its hook six or
eight. A line is whole, or a head with a noun of the brief plus a tail; rhymes are looked up, never spelled.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from core.events import TextDelta
from core.lyrics import SHORT_SECTION_LINES, LyricsRequest, Rhyme
from lyrics.brief import Noun, Subject, subject_of
from lyrics.lines import SCENES, ByMood, Mood, material
from lyrics.pronunciation import is_iambic, last_word, near_rhyme, rhyme, stress_pattern

VERSE_SYLLABLES = 8
ANSWER_SYLLABLES = 6
HOOK_SYLLABLES = (6, 8)
CHORUS_FORMS = {2: "Hh", 3: "Haa", 4: "HaHa", 5: "HaHaH", 6: "HaaHbb", 7: "HaaHbbH", 8: "HaHaHbHb"}
"""The lines of a chorus: `H` is the hook, other letters rhyme among themselves, `h` rhymes with the hook."""

_SAMPLE = 300  # lines weighed for one place: enough for choice, few enough for a song in well under a second
_AGREEING = re.compile(r"(\w+)\|(\w+)")

RHYMES: dict[Rhyme, Callable[[str, str], bool]] = {
    "strict": rhyme,
    "loose": lambda a, b: rhyme(a, b) or near_rhyme(a, b),
    "none": lambda a, b: a != b,
}


@dataclass(frozen=True)
class Line:
    """One line and what it is made of; `source` is its template or, for a whole line, its text."""

    text: str
    source: str
    mood: Mood
    tail: str = ""
    noun: str = ""
    from_brief: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the line was written as it stands."""
        return not self.noun

    @property
    def parts(self) -> tuple[str, str, str]:
        """What should not be heard twice in a row."""
        return self.source, self.tail, self.noun

    @property
    def end(self) -> str:
        """The word to rhyme on."""
        return last_word(self.text)


@dataclass(frozen=True)
class _Head:
    """A template with its noun in place, and the stress pattern of both."""

    text: str
    template: str
    noun: str
    from_brief: bool
    stresses: str


def _fill(template: str, slot: str, word: str, plural: bool, from_brief: bool) -> _Head:
    """The template with `word` in its slot; the last word of the slot must fall on a beat."""
    agreed = _AGREEING.sub(r"\2" if plural else r"\1", template)
    before, after = agreed.split(slot)
    stresses = stress_pattern(before) + stress_pattern(word, ends_stressed=True) + stress_pattern(after)
    text = before + word + after
    return _Head(text[0].upper() + text[1:], template, word, from_brief, stresses)


def _filled(templates: Sequence[str], subject: Subject, nouns: Sequence[Noun]) -> Iterator[_Head]:
    """Every template with every noun, or with every gerund of the subject, that its slot takes."""
    for template in templates:
        if "{v}" in template:
            yield from (_fill(template, "{v}", gerund, False, True) for gerund in subject.gerunds)
        else:
            yield from (_fill(template, "{n}", noun.text, noun.plural, noun.from_brief) for noun in nouns)


def _joined(head: _Head, tail: str) -> str | None:
    """Head and tail as one line; None when they do not go together."""
    if head.noun.split()[-1] in tail:  # "the night at night"
        return None
    if tail.startswith("& "):
        acts = head.template.startswith("I ") and "can't" not in head.template
        return f"{head.text} and {tail[2:]}" if acts else None
    return f"{head.text}, {tail}" if tail.startswith("and ") else f"{head.text} {tail}"


def _framed(table: ByMood, subject: Subject, moods: Sequence[Mood]) -> Iterator[tuple[int, Line]]:
    """(syllables, line) for every line of a table with slots that fits the metre."""
    for mood in moods:
        for head in _filled(table[mood], subject, subject.nouns):
            echoes = head.text.lower().count(head.noun.split()[-1].lower()) > 1
            if is_iambic(head.stresses) and not echoes:
                yield len(head.stresses), Line(head.text, head.template, mood, "", head.noun, head.from_brief)


def _joined_lines(subject: Subject, moods: Sequence[Mood]) -> Iterator[tuple[int, Line]]:
    """(syllables, line) for every head and tail that fit each other and the metre."""
    when, where = (
        [(tail, mood, stress_pattern(tail.replace("&", "and"))) for mood in moods for tail in table[mood]]
        for table in (material().when, material().where)
    )
    for kind, templates in material().heads.items():
        nouns = [noun for noun in subject.nouns if kind in ("any", noun.kind)]
        tails = when + where if kind in SCENES else when
        for head in _filled(templates, subject, nouns):
            for tail, mood, stresses in tails:
                text = _joined(head, tail)
                if text and is_iambic(head.stresses + stresses):
                    yield (
                        len(head.stresses + stresses),
                        Line(text, head.template, mood, tail, head.noun, head.from_brief),
                    )


def _whole(table: ByMood, moods: Sequence[Mood]) -> Iterator[Line]:
    for mood in moods:
        for text in table[mood]:
            yield Line(text[0].upper() + text[1:], text, mood)


def write(request: LyricsRequest, seed: int) -> Iterator[TextDelta]:
    """The song in pieces, one per line, that join to the whole text: each section under its tag in brackets."""
    song = SongWriter(request, seed)
    for index, name in enumerate(request.sections()):
        yield TextDelta(f"{chr(10) * bool(index)}[{name}]\n")
        for line in song.section(name):
            yield TextDelta(f"{line}\n")


class _Pool:
    """Lines of one length, by the word they end on."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = tuple(lines)
        self.composed = tuple(line for line in lines if not line.is_whole)
        self.by_end: dict[str, list[Line]] = {}
        for line in lines:
            self.by_end.setdefault(line.end, []).append(line)


class SongWriter:
    """The words of one song: remembers what it has said, and says it less often."""

    def __init__(self, request: LyricsRequest, seed: int) -> None:
        self._rng = Random(seed)
        self._subject = subject_of(request.brief)
        mood: Mood = request.tone or self._subject.tone or "any"
        self._rhymes = RHYMES[request.rhyme]
        self._said: Counter[str] = Counter()
        self._crossed = self._rng.random() < 0.5
        self._moods: tuple[Mood, ...] = tuple(dict.fromkeys(("any", mood)))
        moods = self._moods
        composed = [*_framed(material().frames, self._subject, moods), *_joined_lines(self._subject, moods)]
        by_count = {
            n: [line for count, line in composed if count == n and self._in_tone(line)]
            for n in (VERSE_SYLLABLES, ANSWER_SYLLABLES)
        }
        self._verses = _Pool([*by_count[VERSE_SYLLABLES], *_whole(material().verse_lines, moods)])
        self._bridge_openings = [Line(text, text, "any") for text in material().bridge_openings]
        self._bridges = _Pool([*self._bridge_openings, *_whole(material().verse_lines, moods)])
        self._answers = _Pool([*by_count[ANSWER_SYLLABLES], *_whole(material().chorus_lines, moods)])
        self._chorus, self.hook = self._write_chorus(request.lines_chorus)
        self._lines = {"verse": request.lines_verse, "bridge": request.lines_bridge}

    def section(self, name: str) -> list[str]:
        """The lines of a section; none for one that is only played."""
        match name:
            case "verse":
                return self._verse(self._lines["verse"])
            case "pre-chorus":
                return self._verse(SHORT_SECTION_LINES)
            case "bridge":
                return self._bridge(self._lines["bridge"])
            case "chorus":
                return self._chorus
            case "post-chorus" | "outro":
                return [self.hook] * SHORT_SECTION_LINES
        return []

    def _verse(self, count: int) -> list[str]:
        """Couplets, every two of them crossed in half of all songs; an odd count ends on three lines that rhyme."""
        groups = [self._group(size, self._verses, self._verses.composed) for size in _group_sizes(count)]
        lines: list[str] = []
        while groups:
            if self._crossed and [len(group) for group in groups[:2]] == [2, 2]:
                (a, c), (b, d) = groups[:2]
                lines += [a, b, c, d]
                groups = groups[2:]
            else:
                lines += groups.pop(0)
        return lines

    def _bridge(self, count: int) -> list[str]:
        lines: list[str] = []
        for size in _group_sizes(count):
            opening = self._bridge_openings if not lines else self._verses.composed
            lines += self._group(size, self._bridges, opening)
        return lines

    def _write_chorus(self, count: int) -> tuple[list[str], str]:
        """(the lines of the chorus, its hook)."""
        form = CHORUS_FORMS[count]
        hook, *answers = self._hook_with_answers(form.count("h"))
        for line in (hook, *answers):
            self._say(line)
        rows = {"H": [hook.text] * count, "h": [line.text for line in answers]}
        for letter in "ab":
            if letter in form:
                rows[letter] = self._group(form.count(letter), self._answers, self._answers.lines)
        return [rows[letter].pop(0) for letter in form], hook.text

    def _hook_with_answers(self, count: int) -> list[Line]:
        """The best hook that `count` lines rhyme with, and those lines."""
        tried = (self._extended([hook], 1 + count, self._answers) for hook in self._hooks())
        return next(lines for lines in tried if lines)

    def _hooks(self) -> list[Line]:
        """Hooks in the metre, the best first: on the brief's own words, in the tone."""
        framed = _framed(material().hooks, self._subject, self._moods)
        lines = [line for count, line in framed if count in HOOK_SYLLABLES and self._in_tone(line)]
        return sorted(lines, key=lambda line: self._worth(line) + 2 * line.from_brief, reverse=True)

    def _in_tone(self, line: Line) -> bool:
        unwanted = material().unwanted.get(self._moods[-1])
        return unwanted is None or unwanted not in line.source

    def _group(self, size: int, pool: _Pool, opening: Sequence[Line]) -> list[str]:
        """`size` lines that rhyme with each other, the first of them from `opening`."""
        sample = self._rng.sample(opening, min(len(opening), _SAMPLE))
        for first in (*sorted(sample, key=self._worth, reverse=True), *pool.lines):
            lines = self._extended([first], size, pool)
            if lines:
                for line in lines:
                    self._say(line)
                return [line.text for line in lines]
        raise AssertionError("the material has no rhyme group of this size")

    def _extended(self, lines: list[Line], size: int, pool: _Pool) -> list[Line] | None:
        """The lines with others that rhyme with all of them, `size` in all; None when there are not enough."""
        lines = list(lines)
        while len(lines) < size:
            ends = [end for end in pool.by_end if all(self._rhymes(end, line.end) for line in lines)]
            used = {part for line in lines for part in line.parts if part}
            fitting = [line for end in ends for line in pool.by_end[end] if used.isdisjoint(line.parts)]
            if not fitting:
                return None
            sample = self._rng.sample(fitting, min(len(fitting), _SAMPLE))
            lines.append(max(sample, key=lambda line: self._worth(line) + line.is_whole))
        return lines

    def _worth(self, line: Line) -> float:
        """How well a line would do here: the brief's words and the tone count for it, what was said against it."""
        said = self._said
        worn = 3 * said[line.text] + said[line.source] + said[line.tail] + 0.3 * said[line.noun] + said[line.end]
        in_tone = line.mood != "any"
        return self._rng.random() + 0.7 * in_tone + 0.9 * line.from_brief - 0.4 * bool(line.tail) - worn

    def _say(self, line: Line) -> None:
        self._said.update({part for part in (line.text, line.source, line.tail, line.noun, line.end) if part})


def _group_sizes(count: int) -> list[int]:
    """Couplets, the last one three lines long when the count is odd."""
    if count == 1:
        return [1]
    return [2] * (count // 2 - 1) + [2 + count % 2]
