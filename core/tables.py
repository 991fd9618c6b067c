"""The fixed tables of the spine: folds of the form, keys, languages and limits that several requests share."""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal, get_args

PRODUCT = "ACE Music Studio"
"""What the studio calls itself on its page and in the files that it writes."""

Mode = Literal["generate", "cover", "extend", "edit", "lyrics"]
Origin = Literal[Mode, "recording"]
"""Where a track comes from: the mode that made it, or a recording that was brought in from outside."""

TimeSignature = Literal["2", "3", "4", "6"]

TIME_SIGNATURES: tuple[TimeSignature, ...] = get_args(TimeSignature)
"""Beats in a bar, as ACE-Step's planner was trained on."""

GROUPS = MappingProxyType(
    {
        "main": "",
        "region": "Region and blending",
        "music": "Music · tempo, key, metre, language",
        "diffusion": "Diffusion · steps, guidance, solver",
        "schedule": "Guidance schedule · when guidance acts",
        "correction": "Correction · DCW after each step",
        "adapters": "Adapters · LoRA, LoKr, LoHa, DoRA and their weights",
        "tracks": "Tracks · single instruments, with base checkpoints",
        "plan": "Plan · what is decided before rendering",
        "planner": "Planner · how a language model decides",
        "writer": "Writer · who writes, sampling, seed",
        "action": "Action settings · stems, loudness, export",
    }
)
"""Folds of the form, in order: the first is always open, the others start closed."""

NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
"""One name of each pitch class, from 0."""

PITCH_CLASSES = MappingProxyType(
    {
        letter + accidental: (NOTES.index(letter) + semitones) % len(NOTES)
        for letter in "CDEFGAB"
        for accidental, semitones in (("", 0), ("#", 1), ("b", -1), ("♯", 1), ("♭", -1))
    }
)
"""Every name of a note without its octave; C is 0."""

SCALES = MappingProxyType({"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)})
"""Semitones from the tonic to each degree."""

KEYSCALES = tuple(f"{note} {scale}" for note in PITCH_CLASSES for scale in SCALES)
"""The 70 key names that ACE-Step's planner was trained on."""

TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
"""The pitch classes as the tonics of keys are usually called, from 0."""

KEYS = tuple(f"{tonic} {scale}" for tonic in TONICS for scale in SCALES)
"""Each key once, in its usual spelling."""


def usual_key(keyscale: str) -> str:
    """The usual spelling of one of `KEYSCALES`."""
    tonic, _, scale = keyscale.partition(" ")
    return f"{TONICS[PITCH_CLASSES[tonic]]} {scale}"


_LANGUAGE_CODES = """
ar az bg bn ca cs da de el en es fa fi fr he hi hr ht hu id is it ja ko la lt ms ne nl no pa pl pt ro ru sa sk
sr sv sw ta te th tl tr uk ur vi yue zh unknown
"""
LANGUAGES = tuple(_LANGUAGE_CODES.split())
"""Language codes that ACE-Step was trained on, and `unknown` for songs without words."""

SUNG_LANGUAGES = tuple(code for code in LANGUAGES if code != "unknown")
"""The languages that words can be written in."""

BPM = (30, 300)
LONGEST_S = 600
"""ACE-Step renders ten minutes at most: no song is longer, and no more of a recording is read."""

DURATION_S = (10, LONGEST_S)
"""What ACE-Step's planner was trained on."""

SONG_S = (5, LONGEST_S)
"""What a new song may be asked to last: as short and as long as any checkpoint makes one."""

SAMPLE_RATE = 48_000
"""Of every waveform between two rooms, in Hz."""

DEFAULT_DURATION_S = 30.0
"""Length of a song that nobody gave a length: neither the user nor a planner."""

MAX_SEED = 2**31 - 1
PROMPT_CHARS = 2000
LYRICS_CHARS = 8000

CODES_PER_S = 5
CODEBOOK = 64_000
"""Audio codes that mean something: those below this number."""

PLAN_CHARS = 80_000
"""Room for the codes of ten minutes, as tokens too."""
