"""Whether a track would come out the same again: told without rendering, and true."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from backend import Studio
from core.knobs import parse
from core.params import CoverRequest, GenerateRequest
from library.records import Record, Track
from tests.test_backend import made_by

pytestmark = pytest.mark.usefixtures("tiny_nano")


def told(studio: Studio, track: Track, **changed: object) -> str:
    """What is said of a track whose sidecar tells these facts instead."""
    facts = json.loads(track.sidecar.read_text())
    track.sidecar.write_text(json.dumps(facts | changed))
    try:
        return str(studio.replay(studio.library.get(track.id)))
    finally:
        track.sidecar.write_text(json.dumps(facts))


def test_a_song_says_whether_its_samples_would_be_the_same_and_if_not_why(studio: Studio, tmp_path: Path) -> None:
    values = {"prompt": "lofi", "duration_s": 10, "inference_steps": 2, "seed": 3, "variations": 2}
    first, second = made_by(studio, parse(GenerateRequest, values))
    source = tmp_path / "source.wav"
    source.write_bytes(first.path.read_bytes())
    cover = made_by(studio, parse(CoverRequest, {"src_audio": source, "inference_steps": 2, "prompt": "polka"}))[0]
    for track in (first, second, cover):
        assert told(studio, track) == "Same samples: yes"
    again = made_by(studio, parse(GenerateRequest, {**first.asked(), "variations": 2}), fresh=True)
    assert [track.sha256 for track in again] == [first.sha256, second.sha256]

    no = "Same samples: no, because "
    assert told(studio, second, code="0" * 12).startswith(f"{no}the code that renders")
    assert told(studio, second, device="mps") == f"{no}it was made on mps and this studio runs on cpu"
    assert told(studio, second, checkpoint="xl-sft") == f"{no}the checkpoint xl-sft is not installed"
    assert told(studio, second, checkpoint="of tomorrow") == f"{no}the checkpoint of tomorrow is not installed"
    assert told(studio, second, key="0" * 64).startswith(f"{no}the weights, their number format")
    assert told(studio, second, values={**second.values, "bpm": 9000}).startswith(f"{no}this version reads some")
    both = told(studio, second, device="mps", code="0" * 12)
    assert "version; it was made on mps" in both
    source.write_bytes(b"another one")
    assert told(studio, cover) == f"{no}the recording of src_audio is another one now"
    source.unlink()
    assert told(studio, cover) == "Same samples: yes"  # the library holds that sound too
    for track in (first, *again):
        studio.library.delete(track.id)
    assert told(studio, cover) == f"{no}the recording of src_audio is gone"


def test_a_recording_was_never_made(studio: Studio) -> None:
    record = Record(mode="recording", title="tape", checkpoint="", seed=0)
    track = studio.library.save(np.full((2, 48_000), 0.5, np.float32), None, record)
    assert str(studio.replay(track)) == "Same samples: no, because it is a recording and was not made here"
