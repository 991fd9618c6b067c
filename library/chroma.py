"""The pitch classes of a recording, heard through a constant-Q transform in its own tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from library.spectra import FRAME, HOP, constant_q, spectrum

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

LOWEST_HZ = 440 * 2 ** (-45 / 12)
"""C1."""
OCTAVES, BINS = 7, 36
"""Bins of an octave: three for each semitone."""
TUNED_BY_HZ = (150.0, 4000.0)
"""Partials in this range tell the tuning."""


def pitch_classes(
    mono: Samples, hz: int, hop: int = HOP, lowest_hz: float = LOWEST_HZ, octaves: int = OCTAVES
) -> NDArray[np.float64]:
    """How strong each pitch class is from a C upwards, `(frames, 12)`, C first; the strongest of a moment is 1."""
    bins = constant_q(mono, hz, lowest_hz * 2 ** (tuning(mono, hz) / BINS), octaves, BINS, hop)
    # A semitone is its own bin and the two beside it, so C begins a bin below.
    classes = np.roll(bins, 1, axis=1).reshape(-1, octaves, 12, BINS // 12).sum(axis=(1, 3), dtype=np.float64)
    return classes / np.maximum(classes.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)


def tuning(mono: Samples, hz: int) -> float:
    """How far the recording is from A = 440 Hz, in bins from -0.5 to 0.5: where most of its loud partials lie."""
    magnitude = spectrum(mono)
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
