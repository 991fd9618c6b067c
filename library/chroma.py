"""The pitch classes of a recording, heard through a constant-Q transform in its own tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import soxr

from library.beats import FRAME, framed, hann, spectrum

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

LOWEST_HZ = 440 * 2 ** (-45 / 12)
"""C1."""
OCTAVES, BINS = 7, 36
"""Bins of an octave: three for each semitone."""
HOP = 512
TUNED_BY_HZ = (150.0, 4000.0)
"""Partials in this range tell the tuning."""


def pitch_classes(mono: Samples, hz: int) -> NDArray[np.float64]:
    """How strong each pitch class is on average, `(12,)`, C first; each moment counts the same, however loud."""
    bins = constant_q(mono, hz, LOWEST_HZ * 2 ** (tuning(mono, hz) / BINS))
    # A semitone is its own bin and the two beside it, so C begins a bin below.
    classes = np.roll(bins, 1, axis=1).reshape(-1, OCTAVES, 12, BINS // 12).sum(axis=(1, 3), dtype=np.float64)
    return (classes / np.maximum(classes.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)).mean(axis=0)


def constant_q(mono: Samples, hz: int, lowest_hz: float) -> Samples:
    """Magnitudes of `BINS` sinusoids an octave, `(frames, OCTAVES * BINS)`, low ones first (Brown, 1991).

    Each bin listens for the same number of its periods. An octave lower that is twice as long, so the waveform is
    halved for each octave, from the top, and the same sinusoids serve them all.
    """
    ratio = 4 ** (1 / BINS)
    periods = (ratio + 1) / (ratio - 1)
    top_hz = lowest_hz * 2 ** (OCTAVES - 1) * 2 ** (np.arange(BINS) / BINS)
    lengths = periods * hz / top_hz
    size = 2 ** int(np.ceil(np.log2(lengths.max())))
    waves = np.zeros((size, BINS), np.complex64)
    for bin_, (frequency, length) in enumerate(zip(top_hz, lengths, strict=True)):
        time = np.arange(-length // 2, length // 2)
        bell = hann(len(time))
        first = (size - len(time)) // 2
        waves[first : first + len(time), bin_] = bell / bell.sum() * np.exp(-2j * np.pi * time * frequency / hz)
    octaves = []
    for octave in range(OCTAVES):
        frames = framed(mono, size, HOP >> octave)
        heard = np.hypot(frames @ waves.real, frames @ waves.imag)
        octaves.append(heard * np.sqrt(lengths * 2**octave).astype(np.float32))
        mono = soxr.resample(mono, 2, 1, quality="HQ")
    shortest = min(len(octave) for octave in octaves)
    return np.concatenate([octave[:shortest] for octave in reversed(octaves)], axis=1)


def tuning(mono: Samples, hz: int) -> float:
    """How far the recording is from A = 440 Hz, in bins from -0.5 to 0.5: where most of its loud partials lie."""
    magnitude = np.abs(spectrum(mono))
    left, middle, right = magnitude[:, :-2], magnitude[:, 1:-1], magnitude[:, 2:]
    frequency = np.arange(1, magnitude.shape[1] - 1) * hz / FRAME
    within = (frequency >= TUNED_BY_HZ[0]) & (frequency < TUNED_BY_HZ[1])
    loud = middle > 0.1 * magnitude.max(axis=1, keepdims=True)
    peaks = np.nonzero(within & loud & (middle > left) & (middle >= right))
    if not len(peaks[0]):
        return 0.0
    # The summit of a parabola through three bins: Smith & Serra, PARSHL, 1987.
    slope = (right[peaks] - left[peaks]) / 2
    bend = 2 * middle[peaks] - left[peaks] - right[peaks]
    shift = slope / bend
    height = middle[peaks] + slope * shift / 2
    partials = ((peaks[1] + 1 + shift) * hz / FRAME)[height >= np.median(height)]
    off = (BINS * np.log2(partials / 440) + 0.5) % 1 - 0.5
    counts, edges = np.histogram(off, np.linspace(-0.5, 0.5, 101))
    return float(edges[counts.argmax()])
