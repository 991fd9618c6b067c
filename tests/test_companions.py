"""What was made of a song lies beside it: found again, by its sound alone, and gone with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import RequestError, StudioError
from library.companions import Companion, Companions
from library.records import Record, Track
from library.tracks import Library

KEY = "0123456789abcdef" * 4


@pytest.fixture
def shelf(tmp_path: Path) -> Library:
    return Library(tmp_path / "outputs")


def track_in(shelf: Library, *, seed: int = 7) -> Track:
    noise = np.random.default_rng(seed).uniform(-0.25, 0.25, (2, 48_000)).astype(np.float32)
    return shelf.save(noise, None, Record(mode="generate", title="lofi", checkpoint="nano", seed=seed))


def made_of(track: Track, companions: Companions, *, action: str = "stems", key: str = KEY) -> Companion:
    with companions.begun(track.sha256) as folder:
        (folder / "a.wav").write_bytes(b"sound")
        (folder / "b.zip").write_bytes(b"packed")
        return companions.keep(
            folder, action, key, facts={"lufs": -14.0}, names=["b.zip", "a.wav"], notes=["as well as it could be"]
        )


def test_a_companion_is_found_again_after_a_restart_as_it_was_kept(shelf: Library) -> None:
    track = track_in(shelf)
    kept = made_of(track, shelf.companions)
    again = Library(shelf.root).companions
    assert again.find(track.sha256, "stems", KEY) == kept
    assert again.of(track.sha256) == (kept,)
    assert [file.read_bytes() for file in kept.files] == [b"packed", b"sound"]
    assert (kept.facts, kept.notes) == ({"lufs": -14.0}, ("as well as it could be",))


def test_another_song_another_action_and_other_knobs_have_none_of_it(shelf: Library) -> None:
    track, other = track_in(shelf), track_in(shelf, seed=8)
    made_of(track, shelf.companions)
    assert shelf.companions.of(other.sha256) == ()
    assert shelf.companions.find(track.sha256, "export", KEY) is None
    assert shelf.companions.find(track.sha256, "stems", KEY[::-1]) is None


def test_a_companion_with_a_file_that_is_gone_or_cut_is_none(shelf: Library) -> None:
    track = track_in(shelf)
    kept = made_of(track, shelf.companions)
    kept.files[1].write_bytes(b"sou")
    assert shelf.companions.find(track.sha256, "stems", KEY) is None
    kept = made_of(track, shelf.companions)
    kept.files[0].unlink()
    assert shelf.companions.of(track.sha256) == ()


@pytest.mark.parametrize("sheet", ["", "[]", "{}", '{"files": {"../../x": 1}}', '{"files": 3}', "[" * 9000])
def test_a_sheet_that_is_none_is_passed_over(shelf: Library, sheet: str) -> None:
    track = track_in(shelf)
    kept = made_of(track, shelf.companions)
    (kept.files[0].parent / "companion.json").write_text(sheet)
    assert shelf.companions.of(track.sha256) == ()


def test_what_was_begun_and_not_kept_leaves_nothing(shelf: Library) -> None:
    track = track_in(shelf)
    with pytest.raises(ZeroDivisionError), shelf.companions.begun(track.sha256) as folder:
        (folder / "half.wav").write_bytes(b"so")
        raise ZeroDivisionError
    assert not shelf.companions.root.exists()


def test_a_disk_that_refuses_is_told(shelf: Library) -> None:
    track = track_in(shelf)
    shelf.companions.root.write_text("no folder")
    with (
        pytest.raises(StudioError, match="could not be saved: Not a directory. Make room"),
        shelf.companions.begun(track.sha256),
    ):
        raise AssertionError("nothing can be begun")


def test_what_was_made_of_a_track_is_deleted_with_it(shelf: Library) -> None:
    track, other = track_in(shelf), track_in(shelf, seed=8)
    made_of(track, shelf.companions)
    kept = made_of(other, shelf.companions)
    shelf.delete(track.id)
    assert [each.id for each in shelf.list()] == [other.id]
    assert shelf.companions.of(track.sha256) == ()
    assert shelf.companions.of(other.sha256) == (kept,)
    with pytest.raises(RequestError, match="must be the id of a track"):
        shelf.delete(track.id)


def test_it_stays_while_another_track_has_the_same_sound(shelf: Library) -> None:
    track, twin = track_in(shelf), track_in(shelf)
    assert track.sha256 == twin.sha256
    kept = made_of(track, shelf.companions)
    shelf.delete(track.id)
    assert shelf.companions.of(twin.sha256) == (kept,)
    shelf.delete(twin.id)
    assert not (shelf.companions.root / twin.sha256).exists()
