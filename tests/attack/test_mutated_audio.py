"""Mutated recordings: each is read or refused in words, and neither the studio nor its memory suffers."""

from __future__ import annotations

import resource
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from core.errors import RequestError
from library import decoder
from tests.attack.mutations import mutated
from tests.test_audio import noise, write_with_pyav

FILES = 10_000
GROWTH_MB = 300
"""What the process may grow by: the largest recording that is read has a few megabytes."""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A second of noise in the formats that people have, by both decoders."""
    folder = tmp_path_factory.mktemp("recordings")
    formats = {
        "a.wav": "PCM_24",
        "b.wav": "FLOAT",
        "c.aiff": "PCM_16",
        "d.flac": "PCM_16",
        "e.mp3": None,
        "f.ogg": None,
    }
    for name, subtype in formats.items():
        soundfile.write(folder / name, noise(1).T, 48_000, subtype=subtype)
    write_with_pyav(folder / "g.m4a", np.ascontiguousarray(noise(1)), 48_000, "aac", "stereo")
    return sorted(folder.iterdir())


def attacked(recordings: list[Path], seeds: range, place: Path) -> Counter[str]:
    """How often each answer came."""
    answers: Counter[str] = Counter()
    for seed in seeds:
        pattern = recordings[seed % len(recordings)]
        path = place / f"mutant{pattern.suffix}"
        path.write_bytes(mutated(pattern.read_bytes(), seed))
        try:
            sound = decoder.load(path, "src_audio")
            assert sound.ndim == 2 and np.isfinite(sound).all() and np.abs(sound).max() <= 1, seed
            answers["read"] += 1
        except RequestError as refused:
            (fault,) = refused.faults
            assert fault.field == "src_audio" and fault.rule and "Traceback" not in fault.rule, seed
            answers["crashed" if fault.rule in (decoder.ENDED, decoder.LATE, decoder.LARGE) else "refused"] += 1
    return answers


def test_a_few_mutated_recordings_are_read_or_refused(recordings: list[Path], tmp_path: Path) -> None:
    answers = attacked(recordings, range(140), tmp_path)
    assert answers["read"] and answers["refused"] and answers.total() == 140


@pytest.mark.slow
def test_ten_thousand_mutated_recordings_cost_the_studio_nothing(recordings: list[Path], tmp_path: Path) -> None:
    attacked(recordings, range(200), tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers = attacked(recordings, range(FILES), tmp_path)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    sys.stderr.write(f"{dict(answers)}, the studio grew by {grown_mb:.0f} MB\n")
    assert answers.total() == FILES and grown_mb < GROWTH_MB
