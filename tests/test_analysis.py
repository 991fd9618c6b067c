from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from library.analysis import listen

Wave = NDArray[np.float32]
ROOT = Path(__file__).parent.parent
HZ = 44_100
SECONDS = 12
CHORDS = {
    "A minor": ((9, 0, 4), (2, 5, 9), (4, 7, 11), (9, 0, 4)),
    "D major": ((2, 6, 9), (7, 11, 2), (9, 1, 4), (2, 6, 9)),
}


def music(bpm: float, key: str = "A minor", *, first_s: float = 0.0, cents: float = 0.0) -> Wave:
    """Chords of plucked strings, one a bar and struck at every beat, the first beat of four with a drum, `(2, S)`."""
    wave = np.zeros(SECONDS * HZ)
    beat_s, rng = 60 / bpm, np.random.default_rng(0)
    for beat in range(int((SECONDS - first_s) / beat_s)):
        start = round((first_s + beat * beat_s) * HZ)
        time = np.arange(min(round(beat_s * HZ), len(wave) - start)) / HZ
        strum = np.zeros(len(time))
        for note in CHORDS[key][beat // 4 % 4]:
            pitch_hz = 440 * 2 ** ((note - 9 + cents / 100) / 12)
            strum += sum(np.sin(2 * np.pi * n * pitch_hz * time) / n**2 for n in (0.5, 1, 2, 3))
        wave[start : start + len(time)] += strum * np.exp(-3 * time)
        if beat % 4 == 0:
            wave[start : start + len(time)] += 3 * rng.normal(size=len(time)) * np.exp(-60 * time)
    return (np.stack([wave, wave]) / 8).astype(np.float32)


def test_listening_in_a_thread_of_a_fresh_process_compiles_nothing(tmp_path: Path) -> None:
    # Numba's compiled files of two processes that start at once mix, and calling a mixture ends the process:
    # https://github.com/numba/numba/issues/10128
    code = """
import sys
import threading

import numpy as np

from library.analysis import listen

clicks = np.zeros((2, 96_000), np.float32)
clicks[:, ::12_000] = 1
thread = threading.Thread(target=lambda: sys.stdout.write(str(listen(clicks, 24_000).music.bpm)))
thread.start()
thread.join()
sys.exit(bool({"numba", "llvmlite"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("117", 0), done.stderr


@pytest.mark.parametrize("bpm", [84, 100, 120, 137, 150])
def test_tempo_and_first_downbeat_are_heard(bpm: int) -> None:
    heard = listen(music(bpm, first_s=0.3), HZ)
    assert heard.music.bpm == pytest.approx(bpm, rel=0.03)  # beats lie on frames of 23 ms
    bar_s = 4 * 60 / bpm
    assert abs((heard.anchor_s - 0.3 + bar_s / 2) % bar_s - bar_s / 2) < 0.06


@pytest.mark.parametrize("key", CHORDS)
@pytest.mark.parametrize("cents", [-30, 0, 30])
def test_the_key_is_heard_though_the_recording_is_out_of_tune(key: str, cents: float) -> None:
    assert listen(music(110, key, cents=cents), HZ).music.keyscale == key


def test_the_middle_of_a_long_recording_is_what_is_heard() -> None:
    noise = np.random.default_rng(1).normal(0, 0.3, (2, 60 * HZ)).astype(np.float32)
    music_for_two_minutes = np.tile(music(120), 10)
    heard = listen(np.concatenate([noise, music_for_two_minutes, noise], axis=1), HZ)
    assert heard.music.bpm == pytest.approx(120, rel=0.03)
    assert heard.music.keyscale == "A minor" and heard.anchor_s >= 60


def test_silence_has_no_tempo_and_no_key() -> None:
    for seconds in (0.01, 5):
        heard = listen(np.zeros((2, round(seconds * HZ)), np.float32), HZ)
        assert (heard.music.bpm, heard.music.keyscale, heard.anchor_s) == (None, None, 0.0)


@pytest.mark.parametrize("samples", [1, 100, 1024, 22_050])
def test_a_moment_of_sound_has_no_tempo(samples: int) -> None:
    noise = np.random.default_rng(2).normal(0, 0.3, (2, samples)).astype(np.float32)
    assert listen(noise, HZ).music.bpm is None
