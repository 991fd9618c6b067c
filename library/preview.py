"""A stretch of a song that is not done yet, as it is sent to a page: small, and playable everywhere."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from library import audio

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREVIEW_HZ = 24_000
COLUMNS = 120
"""Peaks that are drawn of it."""


def peaks(wave: NDArray[np.float32]) -> tuple[float, ...]:
    """The largest magnitudes of a waveform `(2, S)`, in columns of equal length."""
    loudest = np.abs(wave).max(axis=0)
    edges = np.linspace(0, loudest.size, COLUMNS + 1).astype(int)[:-1]
    return tuple(round(float(peak), 3) for peak in np.maximum.reduceat(loudest, edges))


def wav(wave: NDArray[np.float32], rate: int) -> bytes:
    """A waveform `(2, S)` as a wav file of one channel, 16 bits and `PREVIEW_HZ`: 48 kB a second."""
    mono = audio.resample(audio.limit_peak(wave.mean(axis=0, keepdims=True)), rate, PREVIEW_HZ)
    file = io.BytesIO()
    soundfile.write(file, mono.T, PREVIEW_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()
