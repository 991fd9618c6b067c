"""What a line of words states outright: tempo, key and length, as people write them in English."""

from __future__ import annotations

import re

from core.tables import BPM, DURATION_S, usual_key

_BPM = re.compile(r"\b(\d{2,3})\s*bpm\b")

_KEY = re.compile(r"(?<![\w#])([a-g])(?:([#♯♭]|b(?= ))|[ -](sharp|flat))?[ -](major|minor|maj|min)\b")
_IN_A = re.compile(r"(?:\bin|\bkey of|[,;:(]|^)\s*$")
_A_KIND = re.compile(r"\s*(?:[^\w\s]|\d|$|and\b|at\b|with\b|for\b|song\b)")
"""Around "a minor", which is a key in "a song in A minor, 90 bpm" and none in "a minor key"."""

_ACCIDENTALS = {"#": "#", "♯": "#", "sharp": "#", "b": "b", "♭": "b", "flat": "b"}

_NUMBERS = {"half a": 0.5, "a": 1.0, "one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "five": 5.0, "ten": 10.0}
_AMOUNT = rf"(\d+(?:\.\d+)?|{'|'.join(_NUMBERS)})"
_CLOCK = re.compile(r"(?<![\d:./])(\d{1,2}):([0-5]\d)(?![\d:])")
_SPELLED = re.compile(
    rf"\b(?:{_AMOUNT}[ -]?(?:minutes?|mins?)\b)?(?:\s*(?:and\s+)?\b{_AMOUNT}(?:[ -]?(?:seconds?|secs?)|\s+s)\b)?"
    r"(?!\s+(?:to|in|ago|after|before|late|later|away|left|from)\b)",
    re.IGNORECASE,
)


def bpm_stated(words: str) -> int | None:
    """The tempo in the (lower-case) words, where they name one that songs can have."""
    found = _BPM.search(words)
    return int(found[1]) if found and BPM[0] <= int(found[1]) <= BPM[1] else None


def key_stated(words: str) -> str | None:
    """The key in the (lower-case) words in its usual spelling, such as "Eb minor" for "e flat minor"."""
    for found in _KEY.finditer(words):
        letter, sign, spelled, scale = found.groups()
        is_article = letter == "a" and not (sign or spelled)
        if is_article and not (_IN_A.search(words[: found.start()]) and _A_KIND.match(words[found.end() :])):
            continue
        tonic = letter.upper() + _ACCIDENTALS.get(sign or spelled or "", "")
        return usual_key(f"{tonic} {'major' if scale.startswith('maj') else 'minor'}")
    return None


def length_stated(words: str) -> float | None:
    """Seconds of music that the words ask for, as "20 seconds", "a two-minute song" or "3:30"; None for no such length.

    "The 80s" is none, and neither are "five minutes to midnight" and what no song can be as long as.
    """
    lengths = [60.0 * int(found[1]) + int(found[2]) for found in _CLOCK.finditer(words)]
    for found in _SPELLED.finditer(words):
        minutes, seconds = (float(_NUMBERS.get(each.lower()) or each) if each else 0.0 for each in found.groups())
        lengths.append(60 * minutes + seconds)
    return next((each for each in lengths if DURATION_S[0] <= each <= DURATION_S[1]), None)


def without_length(words: str) -> str:
    """The words without the length that they ask for: it is not what a song is about."""
    if length_stated(words) is None:
        return words
    return " ".join(_SPELLED.sub("", _CLOCK.sub("", words)).split()).strip(" ,;")
