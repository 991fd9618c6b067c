"""What nano does to a recording, by ear-replacing measurements: tempo, chords, and the level across a seam."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import training.measures as measure
from backend import Settings, Studio
from core.knobs import parse
from core.params import MODES
from core.tables import SAMPLE_RATE
from library import audio
from library.chroma import pitch_classes
from library.records import Track
from networks.machine import Machine

Wave = NDArray[np.float32]
RATE = SAMPLE_RATE
BPM, BLOCK_S = 120, 0.05


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    made = Studio(Settings(checkpoint="nano", machine=Machine(device="cpu"), outputs=tmp_path_factory.mktemp("songs")))
    yield made
    made.close()


def song_of(studio: Studio, mode: str, **values: object) -> Track:
    request = parse(MODES[mode], {"seed": 4, **values})  # type: ignore[index]
    return next(event for event in studio.run(request) if isinstance(event, Track))


@pytest.fixture(scope="module")
def source(studio: Studio) -> Track:
    return song_of(studio, "generate", prompt="pop with piano", duration_s=12, bpm=BPM, keyscale="C major")


@pytest.fixture(scope="module")
def unrelated(studio: Studio) -> Track:
    return song_of(studio, "generate", prompt="chiptune", duration_s=12, bpm=93, keyscale="F# major", seed=11)


def chords(track: Track) -> NDArray[np.float64]:
    """Twelve pitch classes over the song, `(N, 12)`, each moment of length 1."""
    heard = pitch_classes(audio.load(track.path).mean(axis=0), RATE, hop=4096)
    return heard / np.maximum(np.linalg.norm(heard, axis=1, keepdims=True), 1e-9)


def likeness(first: Track, second: Track) -> float:
    """Mean cosine of the pitch classes, moment by moment."""
    a, b = chords(first), chords(second)
    frames = min(len(a), len(b))
    return float((a[:frames] * b[:frames]).sum(axis=1).mean())


def test_a_cover_keeps_tempo_and_chords_of_its_source_in_another_style(
    studio: Studio, source: Track, unrelated: Track
) -> None:
    covered = song_of(studio, "cover", prompt="chiptune", src_audio=str(source.path))
    assert measure.related_tempo(measure.tempo(audio.load(covered.path)), BPM)
    assert likeness(covered, source) > likeness(unrelated, source) + 0.15


def level_steps(wave: Wave) -> NDArray[np.float64]:
    """Steps in dB between the levels of neighbouring `BLOCK_S`, kept above -60 dB."""
    block = round(BLOCK_S * RATE)
    blocks = wave.mean(axis=0)[: wave.shape[1] // block * block].reshape(-1, block)
    return np.abs(np.diff(10 * np.log10((blocks.astype(np.float64) ** 2).mean(axis=1) + 1e-6)))


def assert_seam(wave: Wave, source: Wave, seam_s: float) -> None:
    """The level steps within a tenth of a second of the seam are no larger than the source's own."""
    at = round(seam_s / BLOCK_S)
    assert level_steps(wave)[max(0, at - 3) : at + 3].max() <= level_steps(source).max()


@pytest.mark.parametrize("side", ["after", "before"])
def test_the_level_across_the_seam_of_an_extension_is_that_of_music(studio: Studio, source: Track, side: str) -> None:
    longer = song_of(
        studio, "extend", src_audio=str(source.path), extra_duration_s=7.3, overlap_s=1, crossfade_s=0.5, side=side
    )
    wave, before = audio.load(longer.path), audio.load(source.path)
    assert_seam(wave, before, 12 - 1 if side == "after" else 7.3 + 1)
    new = wave[:, 13 * RATE :] if side == "after" else wave[:, : 6 * RATE]
    loudness = np.sqrt((new**2).mean() / (before**2).mean())
    assert 0.4 < loudness < 2.5


def test_an_edit_has_no_seams_and_keeps_the_beat(studio: Studio, source: Track) -> None:
    edited = song_of(studio, "edit", src_audio=str(source.path), segment_start_s=4, segment_end_s=8.5)
    wave, before = audio.load(edited.path), audio.load(source.path)
    for seam_s in (4, 8.5):
        assert_seam(wave, before, seam_s)
    assert measure.related_tempo(measure.tempo(wave), BPM)


def test_an_upload_is_listened_to_and_gone_on_with_in_its_tempo(studio: Studio, source: Track, tmp_path: Path) -> None:
    upload = tmp_path / "upload.flac"

    soundfile.write(upload, 0.9 * audio.load(source.path).T, RATE)
    longer = song_of(studio, "extend", prompt="pop", src_audio=str(upload), extra_duration_s=6)
    assert any("found by listening" in note for note in longer.notes)
    assert longer.plan["bpm"] is not None
    assert measure.related_tempo(float(longer.plan["bpm"]), BPM)
