"""Tempo and beats of a recording: onsets, their period, and the best path of beats through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from library.spectra import FRAME, HOP, hann, spectrum, triangles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

MEL_BANDS = 128
RANGE_DB = 80
TEMPO_WINDOW_S = 8.0
"""Onsets this far apart still say something about the period of the beat."""
LIKELY_BPM, FASTEST_BPM = 120.0, 320.0
TIGHTNESS = 100.0
"""What it costs a beat to stray from the period, against the onsets it would gain."""


class Beats(NamedTuple):
    """Where the beats are, in frames, with the strength of the onsets at every frame."""

    bpm: float
    frames: NDArray[np.intp]
    strength: Samples


def track(mono: Samples, hz: int) -> Beats:
    """Follow the beat by dynamic programming (Ellis, "Beat tracking by dynamic programming", 2007).

    No beat is found in silence or in a sound that only fades.
    """
    strength = onset_strength(mono, hz)
    if not strength.any():
        return Beats(0.0, np.zeros(0, np.intp), strength)
    bpm = tempo(strength, hz)
    period = round(60 * hz / HOP / bpm)
    bell = np.exp(-0.5 * (np.arange(-period, period + 1) * 32 / period) ** 2)
    spread = np.convolve(strength / strength.std(ddof=1), bell)
    score = spread[len(bell) // 2 :][: len(strength)]
    return Beats(bpm, _trimmed(_best_path(score, period), score), strength)


def onset_strength(mono: Samples, hz: int, hop: int = HOP, bands: int = MEL_BANDS) -> Samples:
    """How much louder the mel bands are, in dB on average, than a frame before: spectral flux, one value a frame."""
    power = spectrum(mono, hop) ** 2
    mel_db = 10 * np.log10(np.maximum(power @ _mel_bands(hz, bands).T.astype(np.float32), 1e-10))
    mel_db = np.maximum(mel_db, mel_db.max() - RANGE_DB)
    rise = np.maximum(np.diff(mel_db, axis=0), 0).mean(axis=1)
    # A rise is seen half a frame before the onset reaches the frame's middle.
    late = 1 + FRAME // (2 * hop)
    return np.pad(rise, (late, 0))[: len(mel_db)]


def _mel_bands(hz: int, bands: int) -> NDArray[np.float64]:
    """Triangles of equal area, equally spaced on Slaney's mel scale (1998), `(bands, bins)`.

    That scale is linear up to 1 kHz, at 15 mels, and grows by a factor of 6.4 in the 27 mels above.
    """
    highest = 15 + 27 * np.log(hz / 2 / 1000) / np.log(6.4)
    mels = np.linspace(0, highest, bands + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    return triangles(edges, hz) * (2 / (edges[2:] - edges[:-2]))[:, None]


def tempo(strength: Samples, hz: int) -> float:
    """Beats per minute: the period at which the onsets repeat, near `LIKELY_BPM` in doubt."""
    window = int(TEMPO_WINDOW_S * hz / HOP)
    faded = np.pad(strength, window // 2, mode="linear_ramp")
    pieces = np.lib.stride_tricks.sliding_window_view(faded, window)[: len(strength)]
    size = 2 ** int(np.ceil(np.log2(2 * window)))  # room for every lag without wrapping round
    energy = np.abs(np.fft.rfft(pieces * hann(window), size)) ** 2
    lags = np.fft.irfft(energy, size)[:, :window]
    repeats = lags[:, 1:] / np.maximum(lags[:, :1], np.finfo(np.float32).tiny)
    bpms = 60 * hz / HOP / np.arange(1, window)
    liking = -0.5 * np.log2(bpms / LIKELY_BPM) ** 2
    fit = np.where(bpms < FASTEST_BPM, np.log1p(1e6 * repeats.mean(axis=0)) + liking, -np.inf)
    return float(bpms[fit.argmax()])


def _best_path(score: NDArray[np.float64], period: int) -> NDArray[np.intp]:
    """The frames, from half a period to two apart, that gather most score and keep most to the period."""
    gaps = np.arange(round(period / 2), 2 * period + 1)
    cost = TIGHTNESS * np.log(gaps / period) ** 2
    gathered, before = score.copy(), np.full(len(score), -1)
    started, silent = False, 0.01 * score.max()
    for frame in range(len(score)):
        reach = int(np.searchsorted(gaps, frame, "right"))  # frames before the first are none
        if reach:
            ways = gathered[frame - gaps[:reach]] - cost[:reach]
            best = int(ways.argmax())
            gathered[frame] += ways[best]
            before[frame] = frame - gaps[best]
        # Until something sounds no frame is a beat.
        if not started and score[frame] < silent:
            before[frame] = -1
        else:
            started = True
    rises = np.diff(gathered, append=-np.inf)
    peaks = 1 + np.flatnonzero((rises[:-1] > 0) & (rises[1:] <= 0))
    high = peaks[gathered[peaks] >= 0.5 * np.median(gathered[peaks])] if len(peaks) else peaks
    path = [int(high[-1]) if len(high) else len(score) - 1]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return np.array(path[::-1], np.intp)


def _trimmed(beats: NDArray[np.intp], score: NDArray[np.float64]) -> NDArray[np.intp]:
    """Leave out the beats before the music begins and after it ends: half of the usual score is too little."""
    usual = np.convolve(score[beats], np.hanning(5))[2:]
    loud = np.flatnonzero(score > 0.5 * np.sqrt(np.mean(usual**2)))
    return beats[(beats >= loud[0]) & (beats <= loud[-1])] if len(loud) else beats[:0]
