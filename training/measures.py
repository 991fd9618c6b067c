"""Measures of audio: whether a rendering is what was requested."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.tables import SAMPLE_RATE, SCALES
from library.analysis import PROFILES
from library.beats import onset_strength
from library.chroma import LOWEST_HZ, pitch_classes
from library.spectra import HOP, constant_q, spectrum, triangles
from planner.composer.instruments import Wave
from planner.composer.score import parse_key

_C2_HZ = 2 * LOWEST_HZ
_RELATED_TEMPOS = (1 / 3, 1 / 2, 2 / 3, 1.0, 3 / 2, 2.0, 3.0)

Key = tuple[int, str]


def si_sdr(made: Wave, true: Wave) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al., 2019) over all channels at once."""
    samples = min(made.shape[-1], true.shape[-1])
    a = made[..., :samples].ravel().astype(np.float64)
    b = true[..., :samples].ravel().astype(np.float64)
    target = (a @ b) / (b @ b + 1e-9) * b
    return float(10 * np.log10((target @ target + 1e-12) / (np.sum((a - target) ** 2) + 1e-12)))


def mel_distance(made: Wave, true: Wave) -> float:
    """Mean absolute distance in dB of 80 mel bands from 30 Hz to 20 kHz, down to -60 dB of a power of 1."""
    samples = min(made.shape[-1], true.shape[-1])
    return float(np.mean(np.abs(mel_db(made[..., :samples]) - mel_db(true[..., :samples]))))


def mel_db(audio: Wave) -> NDArray[np.float64]:
    """Power in dB of 80 mel bands, `(..., 80, N)`."""
    lowest, highest = (2595 * np.log10(1 + hertz / 700) for hertz in (30, 20_000))
    mels = np.linspace(lowest, highest, 82)
    bands = triangles(700 * (10 ** (mels / 2595) - 1), SAMPLE_RATE)
    return 10 * np.log10(np.maximum(bands @ np.swapaxes(spectrum(audio) ** 2, -1, -2), 1e-6))


def tempo(audio: Wave) -> float:
    """Beats per minute from 55 to 190: the comb of four beats that best fits the autocorrelated onsets."""
    onsets = onset_strength(_mono(audio), SAMPLE_RATE, hop=HOP // 2, bands=64)
    onsets = np.maximum(onsets - np.convolve(onsets, np.ones(101) / 101, "same"), 0.0)
    around = onsets - onsets.mean()
    correlation = np.correlate(around, around, "full")[len(around) - 1 :]
    correlation /= correlation[0] + 1e-9
    tempos = np.arange(55.0, 190.5, 0.5)
    frames_per_beat = 60.0 * SAMPLE_RATE / (HOP // 2) / tempos
    score = sum(
        weight * np.interp(beats * frames_per_beat, np.arange(len(correlation)), correlation, right=0.0)
        for beats, weight in ((1, 1.0), (2, 0.8), (3, 0.5), (4, 0.6))
    )
    return float(tempos[np.argmax(score)])


def same_tempo(found: float, bpm: float) -> bool:
    """Within 4 %."""
    return abs(found / bpm - 1.0) < 0.04


def related_tempo(found: float, bpm: float) -> bool:
    """Within 4 % at an octave, a third or 3:2."""
    return any(same_tempo(found, bpm * ratio) for ratio in _RELATED_TEMPOS)


def chroma(audio: Wave) -> NDArray[np.float64]:
    """How the energy from 65 to 2,100 Hz divides between the twelve pitch classes, C first; sums to 1."""
    energy = pitch_classes(_mono(audio), SAMPLE_RATE, hop=2048, lowest_hz=_C2_HZ, octaves=5).mean(axis=0)
    return energy / (energy.sum() + 1e-12)


def key(energy: NDArray[np.float64]) -> Key:
    """The major or minor key whose profile correlates best with the chroma."""
    fits = {
        (tonic, mode): float(np.corrcoef(np.roll(profile, tonic), energy)[0, 1])
        for mode, profile in PROFILES.items()
        for tonic in range(12)
    }
    return max(fits, key=lambda each: fits[each])


def related_key(found: Key, keyscale: str) -> bool:
    """The same key, its relative, its parallel, or one a fifth away."""
    (tonic, mode), (other, kind) = parse_key(keyscale), found
    if tonic == other:
        return True
    if kind == mode:
        return (other - tonic) % 12 in (5, 7)
    return (other - tonic) % 12 == (9 if mode == "major" else 3)


def in_scale(energy: NDArray[np.float64], keyscale: str) -> float:
    """Share of the chroma that lies on the notes of the key."""
    tonic, mode = parse_key(keyscale)
    return float(sum(energy[(tonic + step) % 12] for step in SCALES[mode]))


def pitch_agreement(made: Wave, true: Wave, low: float = 260.0, octaves: float = 1.43) -> float:
    """Share of the moments at which both sound and their loudest semitone from `low` Hz upwards is the same."""
    semitones = round(12 * octaves)
    first, second = (
        constant_q(_mono(wave), SAMPLE_RATE, low, int(np.ceil(octaves)), 12, hop=2048)[:, :semitones]
        for wave in (made, true)
    )
    frames = min(len(first), len(second))
    first, second = first[:frames], second[:frames]
    sounding = second.max(axis=1) > 0.1 * second.max()
    return float(np.mean(first.argmax(axis=1)[sounding] == second.argmax(axis=1)[sounding]))


def flatness(audio: Wave) -> float:
    """Median spectral flatness: 0 for a tone, about 0.56 for noise."""
    power = np.maximum(spectrum(_mono(audio), hop=1024) ** 2, 1e-10)
    return float(np.median(np.exp(np.log(power).mean(axis=-1)) / power.mean(axis=-1)))


def silent_share(audio: Wave) -> float:
    """Share of the tenths of a second below -50 dBFS."""
    mono = _mono(audio)
    tenths = mono[: len(mono) // 4800 * 4800].reshape(-1, 4800)
    return float(np.mean(np.sqrt(np.mean(tenths**2, axis=1)) < 10 ** (-50 / 20)))


def clipped_share(audio: Wave) -> float:
    """Share of the samples at or beyond full scale."""
    return float(np.mean(np.abs(audio) >= 0.999))


def _mono(audio: Wave) -> Wave:
    return audio.mean(axis=0) if audio.ndim == 2 else audio
