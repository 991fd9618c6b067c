"""Sound of single notes and drum hits: band-limited wavetables and a small drum kit, in numpy.

Everything here is mono float32 at any sample rate, deterministic, and cached by its arguments; who plays what, when
and how loud is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]
Part = Literal["chords", "bass", "lead", "voice"]
Drum = Literal["kick", "snare", "hat", "open_hat", "tom", "crash"]

_PART_GAINS: Mapping[Part, float] = {"chords": 0.17, "bass": 0.27, "lead": 0.24, "voice": 0.25}
_DRUM_GAIN = 0.30
_TABLE = 2048
_VIBRATO_HZ = 5.5
# First three formants in Hz of the vowels of "father", "bet", "beet", "boat" and "boot" (Peterson and Barney, 1952).
_VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))
_FORMANT_GAINS = (1.0, 0.55, 0.28)
_FORMANT_WIDTHS_HZ = (110.0, 150.0, 210.0)


@dataclass(frozen=True)
class Timbre:
    """The sound of one pitched instrument.

    `spectrum` holds the amplitudes of harmonics 1, 2, ... at the onset; `mellow` is how fast (1/s) the upper ones
    fade relative to the first. `decay` (1/s) pulls the level towards `sustain` (0..1). `vibrato` is a fraction of
    the frequency, `detune` the same for a second oscillator, `drive` the gain before a tanh. A `sung` timbre gets
    its harmonics from vowel formants, not from `spectrum`.
    """

    spectrum: tuple[float, ...]
    gain: float = 1.0
    attack_s: float = 0.005
    release_s: float = 0.05
    decay: float = 0.0
    sustain: float = 0.0
    mellow: float = 0.0
    vibrato: float = 0.0
    detune: float = 0.0
    drive: float = 0.0
    sung: bool = False


@dataclass(frozen=True)
class Kit:
    """The sound of one drum kit: pitches in Hz, decays in 1/s, levels relative to the kick."""

    kick_hz: float = 48.0
    kick_sweep_hz: float = 110.0
    kick_decay: float = 9.0
    snare_hz: float = 190.0
    snare_decay: float = 18.0
    snare_noise: float = 0.5
    hat_decay: float = 55.0
    hat_level: float = 0.16
    dark: int = 0


def note_wave(timbre: Timbre, pitch: int, seconds: float, sample_rate: int, vowel: int = 0) -> Wave:
    """A note of MIDI number `pitch` held for `seconds`, its release included, about -6 to 0 dBFS at its peak."""
    return _sounded(timbre, pitch, max(2, round((seconds + timbre.release_s) * sample_rate)), sample_rate, vowel)


@lru_cache(maxsize=512)
def _sounded(timbre: Timbre, pitch: int, samples: int, sample_rate: int, vowel: int) -> Wave:
    hz = 440.0 * 2.0 ** ((pitch - 69) / 12.0)
    t = np.arange(samples, dtype=np.float32) / np.float32(sample_rate)
    bright, dull = _tables(timbre, pitch, vowel, sample_rate)
    wave = _voice(timbre, hz, t, bright, dull)
    if timbre.detune:
        wave = 0.6 * (wave + _voice(timbre, hz * (1.0 + timbre.detune), t, bright, dull))
    return (wave * _envelope(timbre, t, samples / sample_rate) * timbre.gain).astype(np.float32)


def _voice(timbre: Timbre, hz: float, t: Wave, bright: Wave, dull: Wave) -> Wave:
    cycles = hz * t.astype(np.float64)
    if timbre.vibrato:
        onset = np.clip(t / 0.25, 0.0, 1.0)
        cycles += timbre.vibrato * hz / (2 * np.pi * _VIBRATO_HZ) * onset * np.sin(2 * np.pi * _VIBRATO_HZ * t)
    index = ((cycles % 1.0) * _TABLE).astype(np.int32)
    if not timbre.mellow:
        return bright[index]
    fade = np.exp(-timbre.mellow * t)
    return dull[index] + (bright[index] - dull[index]) * fade


def _envelope(timbre: Timbre, t: Wave, seconds: float) -> Wave:
    rise = np.minimum(t / max(timbre.attack_s, 1e-4), 1.0)
    body = timbre.sustain + (1.0 - timbre.sustain) * np.exp(-timbre.decay * t)
    fall = np.clip((seconds - t) / max(timbre.release_s, 1e-3), 0.0, 1.0)
    return rise * body * fall


@lru_cache(maxsize=1024)
def _tables(timbre: Timbre, pitch: int, vowel: int, sample_rate: int) -> tuple[Wave, Wave]:
    """One period of the tone at its onset and after its upper harmonics have faded; free of aliases."""
    hz = 440.0 * 2.0 ** ((pitch - 69) / 12.0)
    audible = max(1, min(int(0.42 * sample_rate / hz), _TABLE // 4))
    if timbre.sung:
        multiples = hz * np.arange(1, min(audible, int(5000 / hz) + 1) + 1)
        amplitudes = _formants(multiples, vowel)
    else:
        amplitudes = np.asarray(timbre.spectrum[:audible], dtype=np.float64)
    faded = amplitudes * 0.55 ** np.arange(len(amplitudes))
    return _period(amplitudes, timbre.drive), _period(faded, timbre.drive)


def _period(amplitudes: NDArray[np.float64], drive: float) -> Wave:
    bins = np.zeros(_TABLE // 2 + 1, dtype=np.complex128)
    bins[1 : len(amplitudes) + 1] = -0.5j * _TABLE * amplitudes
    wave = np.fft.irfft(bins, _TABLE)
    if drive:
        wave = np.tanh(drive * wave)
    return wave.astype(np.float32)


def _formants(hz: NDArray[np.float64], vowel: int) -> NDArray[np.float64]:
    peaks = _VOWELS[vowel % len(_VOWELS)]
    gains = sum(
        gain * np.exp(-0.5 * ((hz - peak) / width) ** 2)
        for peak, gain, width in zip(peaks, _FORMANT_GAINS, _FORMANT_WIDTHS_HZ, strict=True)
    )
    amplitudes = 0.03 / np.sqrt(np.arange(1, len(hz) + 1)) + gains
    return amplitudes / np.sqrt(np.sum(amplitudes**2))


@lru_cache(maxsize=256)
def drum_wave(kit: Kit, name: Drum, sample_rate: int) -> Wave:
    """One hit of the kit's drum at full velocity; the noise in it is the same at every call."""
    seconds = {"kick": 0.40, "snare": 0.28, "hat": 0.10, "open_hat": 0.30, "tom": 0.35, "crash": 1.20}[name]
    t = np.arange(round(seconds * sample_rate), dtype=np.float64) / sample_rate
    noise = np.random.default_rng(len(name) * 7919 + ord(name[0])).standard_normal(len(t) + 2)
    for _ in range(kit.dark):
        noise[1:] = 0.5 * (noise[1:] + noise[:-1])
    hiss = noise[2:] - 2.0 * noise[1:-1] + noise[:-2]
    if name == "kick":
        wave = _falling_sine(t, kit.kick_hz, kit.kick_sweep_hz) * np.exp(-kit.kick_decay * t)
    elif name == "tom":
        wave = 0.7 * _falling_sine(t, 95.0, 60.0) * np.exp(-10.0 * t)
    elif name == "snare":
        body = np.sin(2 * np.pi * kit.snare_hz * t) * np.exp(-1.3 * kit.snare_decay * t)
        wave = 0.5 * body + kit.snare_noise * noise[2:] * np.exp(-kit.snare_decay * t)
    else:
        decay = {"hat": kit.hat_decay, "open_hat": 0.25 * kit.hat_decay, "crash": 4.0}[name]
        wave = kit.hat_level * hiss * np.exp(-decay * t)
    ends = np.clip((seconds - t) / 0.01, 0.0, 1.0)
    return (wave * ends).astype(np.float32)


def _falling_sine(t: NDArray[np.float64], hz: float, sweep_hz: float) -> NDArray[np.float64]:
    """A sine that falls from hz + sweep_hz to hz with a time constant of 1/30 s."""
    return np.sin(2 * np.pi * (hz * t + sweep_hz / 30.0 * (1.0 - np.exp(-30.0 * t))))


class Note(NamedTuple):
    """A pitched note: MIDI number, level 0..1; `vowel` only matters to a sung timbre."""

    part: Part
    start_s: float
    seconds: float
    pitch: int
    level: float
    vowel: int = 0


class Hit(NamedTuple):
    """One stroke on a drum, level 0..1."""

    drum: Drum
    start_s: float
    level: float


@dataclass(frozen=True)
class Ensemble:
    """Who plays: a timbre per part, a drum kit, and the panorama of each (-1 left .. 1 right)."""

    timbres: Mapping[Part, Timbre]
    kit: Kit = Kit()
    pans: Mapping[Part, float] = field(
        default_factory=lambda: {"chords": -0.25, "bass": 0.0, "lead": 0.25, "voice": 0.05}
    )
    drum_pan: float = 0.08


def perform(notes: Sequence[Note], hits: Sequence[Hit], ensemble: Ensemble, samples: int, sample_rate: int) -> Wave:
    """The dry mix, `(2, samples)`: every note and hit at its place, those beyond the end cut off."""
    mix = np.zeros((2, samples), dtype=np.float32)
    for part, timbre in ensemble.timbres.items():
        stem = np.zeros(samples, dtype=np.float32)
        for note in notes:
            if note.part == part:
                vowel = note.vowel if timbre.sung else 0
                wave = note_wave(timbre, note.pitch, round(note.seconds, 3), sample_rate, vowel)
                _add(stem, wave, note.start_s, note.level, sample_rate)
        mix += _panned(stem, ensemble.pans[part], _PART_GAINS[part])
    stem = np.zeros(samples, dtype=np.float32)
    for hit in hits:
        _add(stem, drum_wave(ensemble.kit, hit.drum, sample_rate), hit.start_s, hit.level, sample_rate)
    return mix + _panned(stem, ensemble.drum_pan, _DRUM_GAIN)


def limit(mix: Wave) -> Wave:
    """The mix with its peaks rounded below full scale; quiet passages pass unchanged to within 1 %."""
    return np.tanh(mix).astype(np.float32)


def _add(stem: Wave, wave: Wave, start_s: float, level: float, sample_rate: int) -> None:
    first = round(start_s * sample_rate)
    piece = wave[: max(0, len(stem) - first)]
    stem[first : first + len(piece)] += np.float32(level) * piece


def _panned(stem: Wave, pan: float, gain: float) -> Wave:
    """The mono stem on two channels with constant power (cosine law)."""
    angle = (pan + 1.0) * np.pi / 4.0
    return np.float32(gain) * np.stack([np.cos(angle) * stem, np.sin(angle) * stem]).astype(np.float32)
