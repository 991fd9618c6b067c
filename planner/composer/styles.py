"""What the composer knows of styles: the words that mean them, their tempos and their players.

A new style is one row here, one sound in training/synthesis.py, and a new training run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from planner.composer.patterns import Feel

_TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_SLOW = re.compile(r"\b(slow|ballad|calm|relax\w*|gentle|sleepy|downtempo|lullaby)\b")
_FAST = re.compile(r"\b(fast|upbeat|energetic|driving|frantic|uptempo|quick)\b")
_DARK = re.compile(r"\b(sad|dark|melanchol\w*|moody|gloomy|tense|lonely|mournful|minor)\b")
_BRIGHT = re.compile(r"\b(happy|bright|joyful|cheerful|sunny|uplifting|playful|major)\b")
_BPM = re.compile(r"\b(\d{2,3})\s*bpm\b")


@dataclass(frozen=True, kw_only=True)
class Style:
    """How one style is arranged: the prompt words that mean it, its tempo range, and the players' patterns.

    `heard` names its players in a prompt's words, none of which may mean another style.
    """

    words: tuple[str, ...]
    heard: tuple[str, ...]
    bpm: tuple[int, int]
    minor: float
    comping: str
    bass: str
    drums: str
    swing: float = 0.5
    sevenths: bool = False


STYLES: Mapping[str, Style] = {
    "pop": Style(
        words=("pop", "radio", "catchy", "ballad", "piano", "singer", "anthem", "dance pop", "k-pop", "disco", "soul"),
        heard=("piano chords", "round bass", "backbeat drums"),
        bpm=(88, 128), minor=0.35, comping="block", bass="root", drums="backbeat",
    ),
    "rock": Style(
        words=("rock", "punk", "metal", "grunge", "distorted", "electric guitar", "guitars", "band", "riff"),
        heard=("distorted guitars", "picked bass", "hard-hitting drums"),
        bpm=(104, 160), minor=0.55, comping="power", bass="driving", drums="rock",
    ),
    "electronic": Style(
        words=("electronic", "edm", "house", "techno", "trance", "club", "dance", "synth", "synthwave", "rave"),
        heard=("saw synth stabs", "sub bass", "four-on-the-floor kick"),
        bpm=(118, 138), minor=0.6, comping="stabs", bass="offbeat", drums="four_on_the_floor",
    ),
    "lofi": Style(
        words=("lofi", "lo-fi", "lo fi", "chill", "chillhop", "hip hop", "hip-hop", "study", "mellow", "rap", "trap"),
        heard=("warm Rhodes", "soft bass", "dusty drums"),
        bpm=(70, 92), minor=0.6, comping="charleston", bass="root", drums="lazy", swing=0.58, sevenths=True,
    ),
    "ambient": Style(
        words=("ambient", "drone", "atmospheric", "cinematic", "orchestral", "meditation", "ethereal", "space",
               "strings", "pads", "soundscape", "film", "dreamy"),
        heard=("warm pads", "distant bells", "deep sub bass"),
        bpm=(60, 84), minor=0.5, comping="pad", bass="long", drums="heartbeat",
    ),
    "jazz": Style(
        words=("jazz", "swing", "bebop", "blues", "saxophone", "smoky", "lounge", "bossa", "walking bass", "big band"),
        heard=("Rhodes comping", "walking bass", "ride cymbal"),
        bpm=(96, 152), minor=0.45, comping="charleston", bass="walking", drums="ride", swing=0.64, sevenths=True,
    ),
    "chiptune": Style(
        words=("chiptune", "8-bit", "8 bit", "8bit", "video game", "retro game", "arcade", "nes", "pixel", "game boy"),
        heard=("square-wave arpeggios", "pulse bass", "noise drums"),
        bpm=(120, 168), minor=0.4, comping="arpeggio", bass="driving", drums="backbeat",
    ),
    "folk": Style(
        words=("folk", "acoustic", "country", "banjo", "americana", "campfire", "celtic", "fingerpicked", "ukulele",
               "acoustic guitar", "bluegrass", "waltz"),
        heard=("fingerpicked guitar", "upright bass", "brushed drums"),
        bpm=(84, 124), minor=0.3, comping="picking", bass="alternating", drums="brushes",
    ),
}  # fmt: skip

FEELS: Mapping[str, Feel] = {
    "intro": Feel(level=0.70, drums=1, lead=False),
    "verse": Feel(level=0.82, drums=2, lead=True),
    "chorus": Feel(level=1.0, drums=2, lead=True, lift=3, open_hats=True),
    "bridge": Feel(level=0.74, drums=1, lead=True, lift=1),
    "instrumental": Feel(level=0.92, drums=2, lead=True, lift=2),
    "break": Feel(level=0.60, drums=0, lead=False),
    "outro": Feel(level=0.66, drums=1, lead=False),
}
_KIND_OF_TAG = (
    ("intro", "intro"), ("outro", "outro"), ("ending", "outro"), ("pre", "verse"), ("verse", "verse"),
    ("chorus", "chorus"), ("hook", "chorus"), ("refrain", "chorus"), ("drop", "chorus"), ("bridge", "bridge"),
    ("solo", "instrumental"), ("instrumental", "instrumental"), ("interlude", "instrumental"), ("break", "break"),
)  # fmt: skip


def style_of(words: str, dice: np.random.Generator) -> str:
    """The style that most of the (lower-case) words mean; the earliest mentioned on a tie, drawn when none is."""
    found = _mentions(words)
    if not any(found.values()):
        return tuple(STYLES)[dice.integers(len(STYLES))]
    return min(found, key=lambda name: (-len(found[name]), min(found[name], default=len(words))))


def names_style(words: str) -> bool:
    """Whether any of the (lower-case) words means a style."""
    return any(_mentions(words).values())


def _mentions(words: str) -> dict[str, list[int]]:
    """Where each style is mentioned."""
    return {
        name: [
            match.start() for word in style.words for match in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", words)
        ]
        for name, style in STYLES.items()
    }


def tempo_of(words: str, style: Style, dice: np.random.Generator) -> int:
    """Beats per minute that the words state, or else drawn from the style's range, its slow or fast end."""
    stated = _BPM.search(words)
    if stated and 30 <= int(stated[1]) <= 300:
        return int(stated[1])
    low, high = style.bpm
    middle = (low + high) // 2
    if _SLOW.search(words):
        high = middle - (high - low) // 4
    elif _FAST.search(words):
        low = middle + (high - low) // 4
    return int(dice.integers(low, high + 1))


def key_of(words: str, style: Style, dice: np.random.Generator) -> str:
    """A key that fits the words (dark ones are minor) and the style, such as "Eb minor"."""
    tonic = _TONICS[dice.integers(12)]
    minor = dice.random() < style.minor
    if _DARK.search(words) or _BRIGHT.search(words):
        minor = bool(_DARK.search(words))
    return f"{tonic} {'minor' if minor else 'major'}"


def names_tempo(words: str) -> bool:
    """Whether the (lower-case) words say how fast the music is."""
    return any(pattern.search(words) for pattern in (_BPM, _SLOW, _FAST))


def names_mood(words: str) -> bool:
    """Whether the (lower-case) words say how dark or bright the music is."""
    return any(pattern.search(words) for pattern in (_DARK, _BRIGHT))


def metre_of(words: str) -> int:
    """The time signature that the words ask for, 4 when they say nothing."""
    if re.search(r"\b(waltz|3/4)\b", words):
        return 3
    return 6 if "6/8" in words else 4


def kind_of_tag(tag: str) -> str:
    """The key in FEELS of a section tag such as "pre-chorus" or "guitar solo"; what is unknown is a verse."""
    return next((kind for word, kind in _KIND_OF_TAG if word in tag.lower()), "verse")
