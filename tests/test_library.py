from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from core.errors import RequestError, StudioError
from core.files import sha256
from core.knobs import knobs_of, to_json
from core.music import Music
from core.params import GenerateRequest
from core.plans import Plan
from library.records import Record, Track
from library.tracks import Library

Waveform = NDArray[np.float32]
Latents = NDArray[np.float16]


@pytest.fixture
def shelf(tmp_path: Path) -> Library:
    return Library(tmp_path / "outputs")


def song(seconds: float = 1.0, level: float = 0.25) -> Waveform:
    """Stereo noise `(2, S)` whose peak is `level`."""
    waveform = np.random.default_rng(1).uniform(-level, level, (2, round(seconds * 48_000))).astype(np.float32)
    waveform[0, 0] = -level
    return waveform


def record(*, take: int = 0, key: str = "", title: str = "lofi") -> Record:
    request = GenerateRequest(prompt="lofi; ../../etc/passwd $(id) <b>", seed=7, bpm=96)
    return Record(
        mode="generate",
        title=title,
        checkpoint="nano",
        seed=7 + take,
        take=take,
        key=key,
        seconds_taken=1.5,
        values=to_json(request),
        hashes={"src_audio": "0" * 64},
        plan={"planner": "composer", "bpm": 96, "keyscale": None},
        notes=("no language model is installed: planned by rule",),
    )


def latents() -> Latents:
    return np.random.default_rng(2).normal(size=(100, 16)).astype(np.float16)


def names(shelf: Library) -> list[str]:
    return sorted(path.name for path in shelf.root.iterdir()) if shelf.root.exists() else []


def test_a_saved_track_comes_back_as_it_was_saved(shelf: Library) -> None:
    saved = shelf.save(song(1.25), latents(), record())
    assert shelf.get(saved.id) == saved
    assert shelf.list() == (saved,)
    assert {field.name: getattr(saved, field.name) for field in dataclasses.fields(Record)} == dataclasses.asdict(
        record()
    )
    assert (saved.seconds, saved.peak) == (1.25, 0.25)
    assert saved.sha256 == sha256(saved.path)
    assert saved.created.utcoffset() is not None


def test_audio_and_latents_on_disk_are_those_that_were_saved(shelf: Library) -> None:
    saved = shelf.save(song(), latents(), record())
    on_disk = soundfile.read(saved.path, dtype="float32")[0].T
    assert np.abs(on_disk - song()).max() <= 2**-24
    found = shelf.latents(saved).latents
    assert found is not None and found.dtype == np.float16
    assert np.array_equal(found, latents())
    assert names(shelf) == [f"{saved.id}.{ending}" for ending in ("json", "safetensors", "wav")]


def test_latents_that_do_not_lie_in_rows_are_saved_by_value(shelf: Library) -> None:
    sideways = latents().T
    found = shelf.latents(shelf.save(song(), sideways, record())).latents
    assert found is not None and np.array_equal(found, sideways)


def test_a_track_may_have_no_latents_or_broken_ones(shelf: Library, caplog: pytest.LogCaptureFixture) -> None:
    bare, broken = shelf.save(song(), None, record()), shelf.save(song(), latents(), record())
    broken.latents_path.write_bytes(broken.latents_path.read_bytes()[:40])
    assert shelf.latents(bare) == (None, "")
    assert shelf.latents(broken).latents is None
    assert [line.levelname for line in caplog.records] == ["WARNING"]


def test_the_sidecar_is_readable_json_with_every_value_of_the_request(shelf: Library) -> None:
    saved = shelf.save(song(), None, record(title="Über"))
    told = json.loads(saved.sidecar.read_text(encoding="utf-8"))
    assert told["schema"] == 1
    assert told["values"] == to_json(GenerateRequest(prompt="lofi; ../../etc/passwd $(id) <b>", seed=7, bpm=96))
    assert told["plan"] == {"planner": "composer", "bpm": 96, "keyscale": None}
    assert told["notes"] == ["no language model is installed: planned by rule"]
    assert told["title"] == "Über" and "Über" in saved.sidecar.read_text(encoding="utf-8")
    assert "path" not in told


def test_a_track_from_before_peaks_were_kept_is_still_there(shelf: Library) -> None:
    saved = shelf.save(song(), None, dataclasses.replace(record(), peak_gb=2.5))
    told = json.loads(saved.sidecar.read_text(encoding="utf-8"))
    assert told.pop("peak_gb") == 2.5
    saved.sidecar.write_text(json.dumps(told), encoding="utf-8")
    assert shelf.get(saved.id).peak_gb == 0.0


def test_the_wav_file_is_tagged_with_title_and_seed(shelf: Library) -> None:
    saved = shelf.save(song(), None, record())
    with soundfile.SoundFile(saved.path) as file:
        assert (file.title, file.comment) == ("lofi", "generate, seed 7, nano")
        assert file.software.startswith("ACE Music Studio")


def test_tracks_are_listed_newest_first(shelf: Library) -> None:
    saved = [shelf.save(song(0.5), None, record(take=take)) for take in range(5)]
    assert [track.id for track in shelf.list()] == [track.id for track in reversed(saved)]


def test_an_empty_library_has_no_tracks_and_makes_no_folder(shelf: Library) -> None:
    assert shelf.list() == ()
    assert shelf.find("key") == ()
    assert not shelf.root.exists()


@pytest.mark.parametrize(
    "identity", ["", "..", "../secret", "/etc/passwd", "20260101-000000-0123456g", "20260101-000000-01234567\n"]
)
def test_an_id_never_leads_out_of_the_library(shelf: Library, identity: str) -> None:
    saved = shelf.save(song(), None, record())
    (shelf.root.parent / "secret.json").write_text(saved.sidecar.read_text())
    (shelf.root.parent / "secret.wav").touch()
    with pytest.raises(RequestError) as raised:
        shelf.get(identity)
    assert [(fault.field, fault.value) for fault in raised.value.faults] == [("id", identity)]


def test_the_takes_of_a_request_are_found_by_its_key_in_order(shelf: Library) -> None:
    first = [shelf.save(song(0.5), None, record(key="a", take=take)) for take in (1, 0)]
    shelf.save(song(0.5), None, record(key="b"))
    assert shelf.find("a") == (first[1], first[0])
    again = shelf.save(song(0.5), None, record(key="a", take=1))
    assert shelf.find("a") == (first[1], again)


def test_a_track_is_recognised_by_its_audio_wherever_a_copy_lies(shelf: Library, tmp_path: Path) -> None:
    saved = shelf.save(song(), latents(), record())
    shelf.save(song(level=0.5), None, record())
    (tmp_path / "copy.wav").write_bytes(saved.path.read_bytes())
    assert shelf.find_audio(sha256(tmp_path / "copy.wav")) == saved
    assert shelf.find_audio("0" * 64) is None


def broken_sidecars(saved: Track) -> dict[str, bytes]:
    told = json.loads(saved.sidecar.read_text())
    large = 10**400
    changed: dict[str, Sequence[object]] = {
        "schema": (2, None), "mode": ("dance", "lyrics", None, ["generate"]), "title": (7, "\ud800"),
        "seed": ("seven", -1),
        "created": ("yesterday", "2026-01-02T03:04:05", 7, "9" * 400), "take": (1.5, -1), "code": ({},),
        "seconds": (True, -1, math.nan, math.inf, large, 1e300), "peak": (math.nan, None),
        "tflop": (math.nan, 1e-300),
        "seconds_taken": (math.inf, 1e300), "gain": (math.nan,), "window_end_s": (-1, math.nan),
        "window_start_s": (5.0,),
        "notes": ([7], "notes", {}), "hashes": ([], {"src_audio": 7}), "adapters": ([1], {"a": 1}, {"a": {"b": []}}),
        "values": ([1], None, {"bpm": [1]}, {"bpm": math.nan}, {"bpm": large}, {"prompt": "\ud800"}),
        "plan": ([], {"bpm": "abc"}, {"bpm": 1.5}, {"bpm": {}}, {"codes": [1]},
                 {"duration_s": "long"},
                 {"duration_s": math.inf}, {"keyscale": 7}, {"caption": []}, {"anchor_s": "x"}, {"notes": 7}),
    }  # fmt: skip
    texts = {
        f"{name} = {str(value)[:20]!a}": json.dumps(told | {name: value})
        for name, values in changed.items()
        for value in values
    }
    texts["missing"] = json.dumps({name: value for name, value in told.items() if name != "checkpoint"})
    texts["of another"] = json.dumps(told | {"id": "20200101-000000-00000000"})
    texts |= {"empty": "", "list": "[]", "cut off": json.dumps(told)[:50], "number": "7", "deep": "[" * 100_000}
    return {name: text.encode() for name, text in texts.items()} | {"binary": b"\xff\xfe\x00"}


def test_broken_sidecars_are_passed_over_with_one_line_in_the_log(
    shelf: Library, caplog: pytest.LogCaptureFixture
) -> None:
    kept, broken = shelf.save(song(), None, record()), shelf.save(song(), None, record())
    for name, content in broken_sidecars(broken).items():
        broken.sidecar.write_bytes(content)
        caplog.clear()
        reader = Library(shelf.root)
        assert reader.list() == (kept,), name
        assert reader.list() == (kept,), name
        (line,) = caplog.records
        assert line.levelno == logging.WARNING and broken.sidecar.name in line.message, name
        assert len(line.message) < 300 and "\n" not in line.message, name


def test_a_track_of_weights_and_knobs_that_this_version_does_not_know_is_still_there(shelf: Library) -> None:
    saved = shelf.save(song(), None, record())
    facts = json.loads(saved.sidecar.read_text())
    facts |= {"checkpoint": "of tomorrow", "later": 7}
    facts["values"] |= {"later": True, "bpm": 9000, "duration_s": "long", "keyscale": "H dur", "seed": 8}
    facts["plan"] |= {"later": "x"}
    saved.sidecar.write_text(json.dumps(facts))
    (track,) = shelf.list()
    assert (track.checkpoint, track.values["bpm"]) == ("of tomorrow", 9000)
    asked = track.asked()
    defaults = {knob.name: knob.default for knob in knobs_of(GenerateRequest)}
    assert {name: value for name, value in asked.items() if value != defaults[name]} == {
        "prompt": "lofi; ../../etc/passwd $(id) <b>",
        "seed": 8,
    }


def test_a_plan_that_leaves_everything_open_comes_back(shelf: Library) -> None:
    plan = Plan(music=Music(duration_s=12.0)).summary()
    saved = shelf.save(song(), None, dataclasses.replace(record(), plan=plan))
    assert shelf.get(saved.id).plan == plan


def test_files_that_are_no_tracks_are_left_alone(shelf: Library, caplog: pytest.LogCaptureFixture) -> None:
    saved = shelf.save(song(), None, record())
    for name in ("notes.json", "song.wav", ".20260101-000000-00000000.json.part", "20260101-000000-00000000.wav"):
        (shelf.root / name).write_bytes(b"{")
    assert shelf.list() == (saved,)
    assert caplog.records == []


def test_a_sidecar_whose_audio_is_gone_is_no_track(shelf: Library) -> None:
    saved = shelf.save(song(), None, record())
    saved.path.unlink()
    assert shelf.list() == ()


@pytest.mark.parametrize("ending", [".wav", ".json", ".safetensors"])
def test_a_disk_that_refuses_leaves_nothing_and_says_so(
    shelf: Library, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if ending in path.name:
            write(path, content[:10])
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StudioError, match=r"could not be saved.*No space left on device"):
        shelf.save(song(), latents(), record())
    assert names(shelf) == []


def test_a_library_in_the_place_of_a_file_is_an_error_of_the_studio(tmp_path: Path) -> None:
    (tmp_path / "outputs").touch()
    with pytest.raises(StudioError, match="could not be saved"):
        Library(tmp_path / "outputs").save(song(), None, record())
