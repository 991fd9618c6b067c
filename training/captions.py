"""Captions and lyrics for the training pairs: the many ways in which people describe the eight styles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.composer.score import Score
from planner.composer.styles import styles

_MOODS = ("happy", "sad", "dreamy", "dark", "bright", "energetic", "calm", "nostalgic", "warm", "melancholic", "epic",
          "romantic", "tense", "playful", "gentle", "powerful", "uplifting", "lonely", "smooth", "gritty",
          "hopeful")  # fmt: skip
_INSTRUMENTS = {
    "pop": ("piano", "catchy synth", "bass guitar", "pop drums", "soft keys"),
    "rock": ("distorted electric guitar", "power chords", "driving drums", "picked bass", "guitar riff"),
    "electronic": ("saw synth", "sub bass", "four on the floor kick", "analog synth stabs", "open hats"),
    "lofi": ("electric piano", "dusty drums", "mellow flute", "vinyl texture", "laid-back bass"),
    "ambient": ("warm pads", "bells", "long reverb", "strings", "deep sub bass"),
    "jazz": ("electric piano", "upright bass", "brushed drums", "saxophone", "walking bass"),
    "chiptune": ("square wave lead", "8-bit arpeggios", "pulse bass", "noise drums"),
    "folk": ("acoustic guitar", "fingerpicking", "flute", "upright bass", "brushes"),
}
_PLACES = ("rainy night", "road trip", "sunrise", "late night drive", "summer beach", "old city", "winter morning",
           "battle", "lost love", "coffee shop", "video", "podcast", "dance floor", "first day of school")  # fmt: skip
_FRAMES = (
    "{style}", "{mood} {style}", "{mood} {style} song", "a {mood} {style} track with {one}", "{style}, {one}, {two}",
    "{mood}, {style}, {one}, {two}", "{style} music for a {place}", "{one} and {two}, {mood} {style} feel",
    "Write me a {mood} {style} tune about a {place}", "{style} with {one}", "An instrumental {style} piece, {mood}",
    "{mood} {word} with {one}, {style}", "{word} {style}", "{mood} {word}", "{word}, {one}, {mood} mood",
    "A {mood} {style} song featuring {one} and {two}, perfect for a {place}.", "{one}, {two}, {word}",
)  # fmt: skip
_VAGUE = ("{mood} music", "a song about a {place}", "{mood}", "something {mood} for a {place}", "music", "")

_WORDS = ("night", "light", "love", "again", "river", "moon", "heart", "fire", "rain", "home", "road", "dream", "sky",
          "time", "alone", "dance", "falling", "waiting", "morning", "shadow", "silver", "ocean", "tonight", "forever",
          "summer", "remember", "stars", "golden", "window", "running", "I", "you", "we", "the", "my", "your", "in",
          "and", "of", "to", "a", "with", "will", "never", "always", "under", "over", "through")  # fmt: skip
_TAGS = ("[Verse]", "[Verse 1]", "[Chorus]", "[Bridge]", "[Verse 2]", "[Pre-Chorus]", "[Hook]")


@dataclass(frozen=True)
class PieceFacts:
    """A piece for a prompt: its score, the style that it sounds in, its lyrics (empty for none), its length."""

    score: Score
    style: str
    lyrics: str
    duration_s: float


def caption(style: str, rng: np.random.Generator) -> str:
    """A request for a style in other words each time; one in twelve does not name it at all.

    Words without meaning surround some of them, as they will a user's.
    """
    if rng.random() < 0.08:
        return _fill(str(rng.choice(_VAGUE)), style, rng)
    text = _fill(str(rng.choice(_FRAMES)), style, rng)
    if rng.random() < 0.15:
        text = f"{text}. {_fill(str(rng.choice(_FRAMES)), style, rng)}"
    if rng.random() < 0.35:
        extra = " ".join(_any_word(rng) for _ in range(rng.integers(1, 7)))
        text = f"{text} {extra}" if rng.random() < 0.5 else f"{extra}, {text}"
    return text.lower() if rng.random() < 0.5 else text


def plain_caption(style: str, rng: np.random.Generator) -> str:
    """A caption that names the style, without meaningless words."""
    return _fill(str(rng.choice([frame for frame in _FRAMES if "{style}" in frame])), style, rng)


def vague_caption(rng: np.random.Generator) -> str:
    """A caption that leaves the sound open: for pairs whose reference audio shows it."""
    return _fill(str(rng.choice(_VAGUE)), "", rng)


def _fill(frame: str, style: str, rng: np.random.Generator) -> str:
    instruments = _INSTRUMENTS.get(style, ("", ""))
    one, two = rng.choice(instruments, size=2, replace=False)
    words = styles()[style].words if style else ("music",)
    return frame.format(
        style=style, word=rng.choice(words), mood=rng.choice(_MOODS), place=rng.choice(_PLACES), one=one, two=two
    )


def _any_word(rng: np.random.Generator) -> str:
    if rng.random() < 0.6:
        return str(rng.choice(_WORDS))
    return "".join(rng.choice(list("etaoinshrdlucmfwypvbgk"), size=rng.integers(2, 9)))


def draw_lyrics(rng: np.random.Generator) -> str:
    """A few tagged sections of random lines, or nothing in every other draw."""
    if rng.random() < 0.5:
        return ""
    sections = ["[Intro]"] if rng.random() < 0.3 else []
    for _ in range(int(rng.choice((1, 1, 2, 3)))):
        lines = (" ".join(rng.choice(_WORDS, size=rng.integers(3, 9))) for _ in range(int(rng.integers(2, 5))))
        sections.append("\n".join((str(rng.choice(_TAGS)), *lines)))
    if rng.random() < 0.3:
        sections.append("[Outro]")
    return "\n\n".join(sections)
