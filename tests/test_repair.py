"""What a process that dies leaves in a library, and what the next start makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.files import alone_in, in_use
from library.index import FILES, Query
from library.records import Record, Track
from library.repair import repair
from library.tracks import Library

NOISE = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 48_000)).astype(np.float32)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "songs")


def saved(library: Library, title: str) -> Track:
    record = Record(mode="generate", title=title, checkpoint="nano", seed=7)
    return library.save(NOISE, np.zeros((25, 64), np.float16), record)


def names(library: Library) -> set[str]:
    found = (path.relative_to(library.root).as_posix() for path in library.root.rglob("*") if path.is_file())
    return set(found) - set(FILES)


def test_what_was_never_finished_goes_and_what_is_whole_stays(library: Library) -> None:
    track = saved(library, "whole")
    with library.companions.begun(track.sha256) as folder:
        (folder / "a.flac").write_bytes(b"whole")
        library.companions.keep(folder, "export", "0" * 64, facts={}, names=["a.flac"], notes=[])
    before = names(library)
    (library.root / f".{track.id}.json.part").write_text("{")
    (library.root / "20260101-000000-00000000.safetensors").write_bytes(b"half")
    (library.root / "20260101-000000-00000001.wav").write_bytes(b"RIFF")
    (library.root / "20260101-000000-00000002.new.wav").write_bytes(b"RIFF")
    (library.root / "notes.txt").write_text("the user's own")
    begun = library.companions.root / track.sha256 / ".begun-12345678"
    begun.mkdir()
    (begun / "drums.wav").write_bytes(b"half")
    told = repair(library)
    assert str(told) == "the library is in order again: 5 unfinished files removed"
    assert names(library) == before | {"notes.txt"} and not begun.exists()
    assert not repair(library)
    assert library.search(Query()).total == 1


def test_a_whole_song_without_its_sidecar_is_adopted_unless_it_was_about_to_be_deleted(library: Library) -> None:
    kept, deleted = saved(library, "rain on tin"), saved(library, "unwanted")
    kept.sidecar.unlink()
    (library.trash.root / deleted.id).mkdir(parents=True)
    deleted.sidecar.rename(library.trash.root / deleted.id / deleted.sidecar.name)
    told = repair(library)
    assert str(told) == "the library is in order again: 1 songs adopted, 2 unfinished files removed"
    (track,) = library.list()
    assert (track.id, track.title, track.mode, track.sha256) == (kept.id, "rain on tin", "recording", kept.sha256)
    assert json.loads(track.sidecar.read_text())["notes"]
    assert not deleted.path.exists()


def test_what_another_process_is_writing_is_left_alone(library: Library) -> None:
    saved(library, "whole")
    part = library.root / ".20260101-000000-00000000.wav.part"
    part.write_bytes(b"half")
    with in_use(library.root):
        assert not repair(library) and part.exists()
        with alone_in(library.root) as alone:
            assert not alone
    assert repair(library) and not part.exists()


def test_a_library_that_is_not_there_is_in_order(library: Library) -> None:
    assert not repair(library)
    assert not library.root.exists()
