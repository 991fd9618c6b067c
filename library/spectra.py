"""The spectra that listening begins with: short-time Fourier, mel bands, constant Q."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import soxr

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

FRAME, HOP = 2048, 512


def hann(length: int) -> NDArray[np.float64]:
    """One period of a raised cosine."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def framed(wave: Floats, length: int, hop: int) -> Floats:
    """Overlapping views of a waveform, the first of them centred on its first sample, `(..., frames, length)`."""
    padding = [(0, 0)] * (wave.ndim - 1) + [(length // 2, length // 2)]
    return np.lib.stride_tricks.sliding_window_view(np.pad(wave, padding), length, axis=-1)[..., ::hop, :]


def spectrum(wave: Floats, hop: int = HOP) -> Floats:
    """Magnitudes of the short-time Fourier transform with a Hann window, `(..., frames, FRAME // 2 + 1)`."""
    return np.abs(np.fft.rfft(framed(wave, FRAME, hop) * hann(FRAME).astype(wave.dtype)))


def triangles(edges_hz: Floats, hz: int) -> NDArray[np.float32]:
    """Bands over the bins of `spectrum`, `(edges - 2, FRAME // 2 + 1)`: each rises to the next edge and falls."""
    bins = np.fft.rfftfreq(FRAME, 1 / hz)
    bands = zip(edges_hz, edges_hz[1:], edges_hz[2:], strict=False)
    return np.stack([np.interp(bins, band, (0, 1, 0)) for band in bands]).astype(np.float32)


def constant_q(mono: Floats, hz: int, lowest_hz: float, octaves: int, bins: int, hop: int = HOP) -> Floats:
    """Magnitudes of `bins` sinusoids an octave, `(frames, octaves * bins)`, low ones first (Brown, 1991).

    Each bin listens for the same number of its periods. An octave lower that is twice as long, so the waveform is
    halved for each octave, from the top, and the same sinusoids serve them all. `hop` must bear as many halvings.
    """
    ratio = 4 ** (1 / bins)
    periods = (ratio + 1) / (ratio - 1)
    top_hz = lowest_hz * 2 ** (octaves - 1) * 2 ** (np.arange(bins) / bins)
    lengths = periods * hz / top_hz
    size = 2 ** int(np.ceil(np.log2(lengths.max())))
    waves = np.zeros((size, bins), np.complex64)
    for bin_, (frequency, length) in enumerate(zip(top_hz, lengths, strict=True)):
        time = np.arange(-length // 2, length // 2)
        bell = hann(len(time))
        first = (size - len(time)) // 2
        waves[first : first + len(time), bin_] = bell / bell.sum() * np.exp(-2j * np.pi * time * frequency / hz)
    heard = []
    for octave in range(octaves):
        frames = framed(mono, size, hop >> octave)
        magnitude = np.hypot(frames @ waves.real, frames @ waves.imag)
        heard.append(magnitude * np.sqrt(lengths * 2**octave).astype(mono.dtype))
        mono = soxr.resample(mono, 2, 1, quality="HQ")
    shortest = min(len(octave) for octave in heard)
    return np.concatenate([octave[:shortest] for octave in reversed(heard)], axis=1)
