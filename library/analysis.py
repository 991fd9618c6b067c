"""What can be heard in a recording: tempo, a downbeat and the key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import soxr

from core.music import Music
from core.plans import Known
from core.tables import BPM, NOTES
from library import beats
from library.chroma import pitch_classes
from library.spectra import HOP

if TYPE_CHECKING:
    from numpy.typing import NDArray

ANALYSIS_HZ = 22_050
LONGEST_S = 120
"""Seconds from the middle of a recording that are listened to."""

# How well each scale degree fits a key, as rated by listeners: Krumhansl & Kessler 1982.
PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


def listen(audio: NDArray[np.float32], sample_rate: int) -> Known:
    """The tempo, key and first downbeat of a waveform `(2, S)`; a field is None where nothing was found.

    The metre is not heard: four beats are assumed for the downbeat.
    """
    longest = LONGEST_S * sample_rate
    offset = max(0, (audio.shape[-1] - longest) // 2)
    mono = audio[:, offset : offset + longest].mean(axis=0)
    mono = soxr.resample(mono, sample_rate, ANALYSIS_HZ, quality="MQ")
    bpm, anchor_s = _beats(mono)
    if bpm:
        anchor_s += offset / sample_rate
    return Known(music=Music(bpm=bpm, keyscale=key_of(mono, ANALYSIS_HZ)), anchor_s=anchor_s, listened=True)


def _beats(mono: NDArray[np.float32]) -> tuple[int | None, float]:
    """(beats per minute, time of the first downbeat in seconds): the beats that carry most onsets are the ones."""
    bpm, frames, strength = beats.track(mono, ANALYSIS_HZ)
    if len(frames) < 4:
        return None, 0.0
    phase = max(range(4), key=lambda first: float(strength[frames[first::4]].mean()))
    times = frames * HOP / ANALYSIS_HZ
    # The median gap is finer than the periods that a tempo can have.
    if len(times) > 8:
        bpm = 60 / float(np.median(np.diff(times)))
    return int(np.clip(round(bpm), *BPM)), float(times[phase])


def key_of(mono: NDArray[np.float32], sample_rate: int) -> str | None:
    """The key ("A minor") whose profile fits the pitch classes best; None for silence."""
    chroma = pitch_classes(mono, sample_rate).mean(axis=0)
    if not np.isfinite(chroma).all() or chroma.std() < 1e-6:
        return None
    fits = {
        f"{NOTES[tonic]} {scale}": float(np.corrcoef(np.roll(profile, tonic), chroma)[0, 1])
        for scale, profile in PROFILES.items()
        for tonic in range(len(NOTES))
    }
    return max(fits, key=fits.__getitem__)
