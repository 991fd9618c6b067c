"""The training music: the composer's scores played by full-blooded ensembles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.signal import fftconvolve

from core.music import Music
from core.tables import KEYSCALES, SAMPLE_RATE
from planner.composer.instruments import Ensemble, Kit, Part, Timbre, Wave, limit, perform
from planner.composer.score import METRES, NEUTRAL, Brief, Score, compose, sketch
from planner.composer.styles import styles

KEYS = tuple(key for key in KEYSCALES if key.isascii())


def _harmonics(count: int, slope: float, damping: float = 1.0, odd: bool = False) -> tuple[float, ...]:
    """Amplitudes k**-slope * damping**k, the even ones left out when `odd`."""
    return tuple(0.0 if odd and k % 2 == 0 else k**-slope * damping ** (k - 1) for k in range(1, count + 1))


PIANO = Timbre(_harmonics(14, 0.9, 0.86), attack_s=0.004, decay=1.5, mellow=5.0, release_s=0.08, gain=0.9)
ELECTRIC_PIANO = Timbre((1.0, 0.1, 0.05, 0.3, 0.02, 0.1), attack_s=0.005, decay=1.4, mellow=6.0, release_s=0.08)
ORGAN = Timbre((1.0, 0.8, 0.3, 0.5, 0.0, 0.3, 0.0, 0.25), attack_s=0.01, sustain=1.0, vibrato=0.003, gain=0.6)
PAD = Timbre(_harmonics(10, 1.0, 0.8), attack_s=0.25, sustain=1.0, release_s=0.3, vibrato=0.003, detune=0.004, gain=0.7)
STRINGS = Timbre(_harmonics(16, 1.0, 0.92), attack_s=0.12, sustain=1.0, release_s=0.2, vibrato=0.006, gain=0.6)
PLUCK = Timbre(_harmonics(18, 1.0), attack_s=0.002, decay=2.2, mellow=6.0, release_s=0.06)
DISTORTION = Timbre(_harmonics(8, 0.8), attack_s=0.004, decay=0.6, sustain=0.5, release_s=0.04, drive=3.0, gain=0.7)
SAW = Timbre(_harmonics(22, 1.0, 0.95), attack_s=0.006, decay=3.0, sustain=0.6, detune=0.005, gain=0.75)
SQUARE = Timbre(_harmonics(19, 1.0, odd=True), attack_s=0.003, decay=2.0, sustain=0.55, release_s=0.02, gain=0.7)
THIN_SQUARE = Timbre(_harmonics(16, 0.5), attack_s=0.003, decay=2.0, sustain=0.5, release_s=0.02, gain=0.3)
FLUTE = Timbre((1.0, 0.3, 0.12, 0.05), attack_s=0.05, sustain=1.0, release_s=0.07, vibrato=0.006)
REED = Timbre(_harmonics(9, 0.6, 0.8), attack_s=0.03, sustain=1.0, release_s=0.06, vibrato=0.005, gain=0.6)
BELL = Timbre((1.0, 0.0, 0.0, 0.55, 0.0, 0.0, 0.3, 0.0, 0.0, 0.2), attack_s=0.003, decay=1.6, mellow=3.0, release_s=0.1)
VOICE = Timbre((), attack_s=0.06, sustain=1.0, release_s=0.08, vibrato=0.012, sung=True)
FINGER_BASS = Timbre(_harmonics(10, 0.9, 0.75), attack_s=0.005, decay=1.0, sustain=0.2, mellow=2.0)
SUB_BASS = Timbre((1.0, 0.4, 0.15, 0.06), attack_s=0.008, sustain=1.0)
UPRIGHT_BASS = Timbre(_harmonics(8, 0.8, 0.6), attack_s=0.008, decay=2.2, mellow=3.0)
PICKED_BASS = Timbre(_harmonics(14, 0.8, 0.85), attack_s=0.003, decay=1.2, sustain=0.2, mellow=2.0, gain=0.8)

_PLAIN_KIT = Kit()
ELECTRONIC_KIT = Kit(
    kick_hz=45.0, kick_sweep_hz=160.0, kick_decay=8.0, snare_hz=210.0, snare_decay=20.0, hat_decay=60.0
)
DARK_KIT = Kit(kick_hz=52.0, kick_sweep_hz=80.0, snare_hz=170.0, snare_decay=16.0, hat_level=0.2, dark=2)
CHIP_KIT = Kit(kick_hz=60.0, kick_sweep_hz=260.0, kick_decay=14.0, snare_decay=26.0, snare_noise=0.7, hat_decay=90.0)
SOFT_KIT = Kit(kick_hz=50.0, kick_sweep_hz=60.0, kick_decay=12.0, snare_noise=0.35, snare_decay=13.0, hat_decay=40.0)


@dataclass(frozen=True)
class Sound:
    """How a style sounds: its players and its room (reverberation time in s and the share of it in the mix)."""

    chords: Timbre
    bass: Timbre
    lead: Timbre
    kit: Kit = _PLAIN_KIT
    room_s: float = 0.5
    wet: float = 0.08

    def ensemble(self) -> Ensemble:
        """The players; whatever is sung is sung by VOICE."""
        return Ensemble({"chords": self.chords, "bass": self.bass, "lead": self.lead, "voice": VOICE}, self.kit)


SOUNDS: Mapping[str, Sound] = {
    "pop": Sound(PIANO, FINGER_BASS, REED),
    "rock": Sound(DISTORTION, PICKED_BASS, SQUARE, wet=0.06),
    "electronic": Sound(SAW, SUB_BASS, SAW, ELECTRONIC_KIT),
    "lofi": Sound(ELECTRIC_PIANO, FINGER_BASS, FLUTE, DARK_KIT),
    "ambient": Sound(PAD, SUB_BASS, BELL, SOFT_KIT, room_s=1.8, wet=0.25),
    "jazz": Sound(ELECTRIC_PIANO, UPRIGHT_BASS, REED, SOFT_KIT),
    "chiptune": Sound(SQUARE, SQUARE, THIN_SQUARE, CHIP_KIT, room_s=0.1, wet=0.0),
    "folk": Sound(PLUCK, UPRIGHT_BASS, FLUTE, SOFT_KIT),
}
_PLAYERS: Mapping[Part, tuple[Timbre, ...]] = {
    "chords": (PIANO, ELECTRIC_PIANO, ORGAN, PAD, STRINGS, PLUCK, DISTORTION, SAW, SQUARE),
    "bass": (FINGER_BASS, SUB_BASS, UPRIGHT_BASS, PICKED_BASS, SQUARE),
    "lead": (FLUTE, REED, BELL, SAW, SQUARE, PIANO, STRINGS, VOICE),
    "voice": (VOICE, FLUTE, REED, STRINGS, SAW),
}
_KITS = (_PLAIN_KIT, ELECTRONIC_KIT, DARK_KIT, CHIP_KIT, SOFT_KIT)


def styled(score: Score, style: str) -> Wave:
    """The score in the sound of a style, `(2, S)` at 48 kHz: what the network learns to make of a sketch."""
    sound = SOUNDS[style]
    return _play(score, sound.ensemble(), sound.room_s, sound.wet)


def random_ensemble(score: Score, rng: np.random.Generator) -> Wave:
    """The score by players drawn at random: a stand-in for audio that the user brings, `(2, S)` at 48 kHz."""
    timbres = {part: players[rng.integers(len(players))] for part, players in _PLAYERS.items()}
    mirrored = rng.choice((-1.0, 1.0))
    pans = {part: mirrored * pan for part, pan in NEUTRAL.pans.items()}
    ensemble = Ensemble(timbres, _KITS[rng.integers(len(_KITS))], pans)
    return _play(score, ensemble, float(rng.uniform(0.2, 1.8)), float(rng.uniform(0.0, 0.2)))


def draw_score(rng: np.random.Generator, duration_s: float, style: str | None = None, lyrics: str = "") -> Score:
    """A random score in a style: every key and metre, tempos from 60 to 180 whatever the style's own range."""
    style = style or tuple(styles())[rng.integers(len(styles()))]
    return compose(
        Brief(
            music=Music(
                caption=style, lyrics=lyrics, bpm=int(rng.integers(60, 181)),
                keyscale=KEYS[rng.integers(len(KEYS))],
                timesignature=str(rng.choice(METRES, p=(0.08, 0.17, 0.65, 0.10))),
                duration_s=duration_s,
            ),
            instrumental=not lyrics, seed=int(rng.integers(2**31)),
        )
    )  # fmt: skip


def draw_sound(score: Score, rng: np.random.Generator) -> Wave:
    """The score in any of the sounds that the autoencoder must carry, `(2, S)` at 48 kHz."""
    kind = rng.random()
    if kind < 0.15:
        return sketch(score)
    return random_ensemble(score, rng) if kind < 0.35 else styled(score, score.style)


def excerpt(score: Score, start_s: float, duration_s: float) -> Score:
    """The part of a score from `start_s` on as a score of its own; notes that began before it are cut."""
    notes = []
    for note in score.notes:
        early = max(0.0, start_s - note.start_s)
        if note.start_s < start_s + duration_s and note.seconds - early > 0.02:
            notes.append(note._replace(start_s=note.start_s + early - start_s, seconds=note.seconds - early))
    hits = [hit._replace(start_s=hit.start_s - start_s) for hit in score.hits]
    inside = tuple(hit for hit in hits if 0.0 <= hit.start_s < duration_s)
    return replace(score, duration_s=duration_s, notes=tuple(notes), hits=inside)


@lru_cache(maxsize=8)
def _room(seconds: float, sample_rate: int) -> Wave:
    """The impulse response of a dark room, `(2, S)`, that falls by 60 dB in `seconds`; unit energy per channel."""
    samples = round(seconds * sample_rate)
    t = np.arange(samples) / sample_rate
    noise = np.random.default_rng(0).standard_normal((2, samples + 3))
    smooth = sum(noise[:, i : i + samples] for i in range(4)) * 10.0 ** (-3.0 * t / seconds)
    return (smooth / np.sqrt(np.sum(smooth**2, axis=1, keepdims=True))).astype(np.float32)


def _play(score: Score, ensemble: Ensemble, room_s: float, wet: float) -> Wave:
    samples = round(score.duration_s * SAMPLE_RATE)
    mix = perform(score.notes, score.hits, ensemble, samples, SAMPLE_RATE)
    if wet:
        mix = mix + wet * fftconvolve(mix, _room(round(room_s, 1), SAMPLE_RATE), axes=1)[:, :samples]
    return limit(mix)
