"""The index of a library, and what can be done to its tracks: found, called, put aside, brought in, weighed."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cli import main as cli
from core.errors import RequestError
from library import peaks
from library.index import NAME, Query
from library.recordings import bring_in
from library.records import Record, Track
from library.storage import GB, bound_gb, set_bound_gb, surplus, usage
from library.tracks import UNDO_S, Library
from tests.shelves import fill

SONGS = 300


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a library of many songs, which no test changes."""
    root = tmp_path_factory.mktemp("many") / "outputs"
    fill(root, SONGS)
    return root


@pytest.fixture
def shelf(tmp_path: Path) -> Library:
    return Library(tmp_path / "outputs")


def save(shelf: Library, title: str = "lofi", level: float = 0.5, **facts: object) -> Track:
    """A track of a second, one half of it at that level and the other silent."""
    sound = np.zeros((2, 48_000), np.float32)
    sound[:, :24_000] = level
    given = {"mode": "generate", "title": title, "checkpoint": "nano", "seed": 7, "values": {"prompt": title}} | facts
    return shelf.save(sound, np.zeros((25, 16), np.float16), Record(**given))  # type: ignore[arg-type]


def named(shelf: Library, **query: object) -> list[str]:
    found = shelf.search(Query(**query))  # type: ignore[arg-type]
    return [found.tracks[identity].called for group in found.groups for identity in group]


def everything(root: Path) -> dict[str, bytes]:
    """The content of every file of the tracks and of what was made of them."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith(NAME))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


# ---- the index -------------------------------------------------------------------------------------------------------


def test_many_songs_are_listed_searched_and_filtered_by_what_their_sidecars_tell(filled: Path) -> None:
    shelf = Library(filled)
    assert [track.seed for track in shelf.list()] == list(reversed(range(SONGS)))
    assert [track.seed for track in shelf.newest(3)] == [299, 298, 297]
    found = shelf.search(Query(limit=20))
    assert (len(found.groups), found.sets, found.total) == (20, SONGS, SONGS)
    assert found.checkpoints == ["nano", "xl-sft"]
    assert named(shelf, words="UBERDRUSS window", limit=2) == ["song 299, Überdruss polka", "song 294, Überdruss polka"]
    assert shelf.search(Query(words="polka", checkpoint="xl-sft", favourite=True)).total == 3
    assert named(shelf, words="polka xylophone") == named(shelf, mode="cover") == []
    some = shelf.list()[7]
    assert shelf.find(some.key) == (some,) and shelf.find_audio(some.sha256) == some


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    path.write_bytes(content)


def forget(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 1")
        db.execute("DROP TABLE words")
    db.close()


def misread(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE facts SET facts = substr(facts, 1, 50)")
    db.close()


@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda path: path.write_bytes(b"no database"), spoil, forget, misread, lambda path: None]
)
def test_an_index_that_is_missing_broken_or_older_is_made_anew(shelf: Library, harm: Callable[[Path], object]) -> None:
    saved = [save(shelf, title) for title in ("one", "two", "three")]
    before = shelf.list()
    harm(shelf.root / NAME)
    assert Library(shelf.root).list() == before == tuple(reversed(saved))
    assert named(Library(shelf.root), words="two") == ["two"]


def test_what_comes_changes_and_goes_in_the_folder_is_seen_by_every_library_of_it(shelf: Library) -> None:
    other, first = Library(shelf.root), save(shelf, "one")
    assert named(other) == ["one"]
    second = save(shelf, "two")
    assert named(other) == ["two", "one"]
    shelf.rename(first.id, "eins")
    assert named(other) == ["two", "eins"]
    second.path.unlink()
    assert named(other) == ["eins"]
    told = json.loads(first.sidecar.read_text())
    first.sidecar.write_text(json.dumps(told | {"title": "by hand", "name": ""}))
    assert [track.called for track in other.list()] == ["by hand"]


def test_threads_and_another_process_may_look_and_write_at_once(shelf: Library) -> None:
    code = (
        "import sys; from library.tracks import Library; from pathlib import Path; from tests.test_index import save\n"
        "shelf = Library(Path(sys.argv[1]))\nfor number in range(8): save(shelf, f'far {number}'); shelf.list()"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(shelf.root)], cwd=Path(__file__).parent.parent)

    def work(number: int) -> None:
        shelf.favour(save(shelf, f"near {number}").id, True)
        assert f"near {number}" in named(shelf, limit=100)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(8)))
    assert other.wait() == 0
    assert sorted(named(shelf, limit=100)) == [f"{where} {n}" for where in ("far", "near") for n in range(8)]
    assert len(named(shelf, favourite=True)) == 8


def test_a_folder_that_takes_no_index_is_listed_all_the_same(shelf: Library) -> None:
    saved = save(shelf)
    (shelf.root / NAME).unlink(missing_ok=True)
    (shelf.root / NAME).mkdir()
    assert shelf.list() == (saved,)
    assert named(shelf, words="lofi") == ["lofi"]


# ---- names, favourites, waveforms ------------------------------------------------------------------------------------


def test_a_name_and_a_favourite_stand_in_the_sidecar_and_leave_everything_else_as_it_was(shelf: Library) -> None:
    saved = save(shelf, "lofi, rainy")
    told = json.loads(saved.sidecar.read_text()) | {"of a later version": [1]}
    saved.sidecar.write_text(json.dumps(told))
    shelf.rename(saved.id, "  The\nlast   tram ")
    changed = shelf.favour(saved.id, True)
    assert changed == dataclasses.replace(saved, name="The last tram", favourite=True)
    assert json.loads(saved.sidecar.read_text()) == told | {"name": "The last tram", "favourite": True}
    queries: tuple[dict[str, object], ...] = ({"words": "tram"}, {"words": "rainy"}, {"favourite": True})
    assert [named(shelf, **query) for query in queries] == [["The last tram"]] * 3
    assert shelf.rename(saved.id, "").called == "lofi, rainy"
    with pytest.raises(RequestError):
        shelf.rename("20200101-000000-00000000", "x")


def test_the_waveform_is_kept_with_a_song_and_drawn_once_for_an_older_one(shelf: Library) -> None:
    saved = save(shelf)
    assert list(b64decode(saved.peaks)) == [128] * 200 + [0] * 200
    told = json.loads(saved.sidecar.read_text())
    saved.sidecar.write_text(json.dumps({name: each for name, each in told.items() if name != "peaks"}))
    older = shelf.get(saved.id)
    assert older.peaks == ""
    assert shelf.peaks(older) == saved.peaks
    assert shelf.list()[0].peaks == saved.peaks
    assert peaks.of(np.zeros((2, 0), np.float32)) == ""


def test_takes_stand_together_and_a_song_knows_what_it_was_made_from(shelf: Library) -> None:
    takes = [save(shelf, f"take {take}", key="a", take=take) for take in (1, 0)]
    other = save(shelf, "another", level=0.25, key="b")
    cover = save(shelf, "a cover", level=0.1, mode="cover", hashes={"src_audio": other.sha256})
    found = shelf.search(Query())
    assert found.groups == [[cover.id], [other.id], [takes[1].id, takes[0].id]]
    assert found.sources == {cover.id: other.id}
    assert shelf.of("somebody").search(Query()).groups == []


# ---- the trash -------------------------------------------------------------------------------------------------------


def test_a_deleted_song_comes_back_with_all_that_belongs_to_it(shelf: Library) -> None:
    saved, other = save(shelf, "gone"), save(shelf, "stays", level=0.25)
    shelf.new_part(saved)
    with shelf.companions.begun(saved.sha256) as folder:
        (folder / "drums.wav").write_bytes(b"drums")
        shelf.companions.keep(folder, "stems", "k" * 16, facts={}, names=["drums.wav"], notes=())
    before = everything(shelf.root)
    shelf.discard(saved.id)
    assert shelf.list() == (other,) and shelf.companions.of(saved.sha256) == ()
    assert list(shelf.discarded()) == [(Library(shelf.trash.root / saved.id).get(saved.id),)]
    assert {name for name in everything(shelf.root) if not name.startswith("trash/")} == {
        name for name in before if name.startswith(other.id)
    }
    assert shelf.restore(saved.id) == saved
    assert everything(shelf.root) == before
    assert list(shelf.discarded()) == []
    for wrong in (saved.id, "..", "../outputs"):
        with pytest.raises(RequestError):
            shelf.restore(wrong)


def test_what_two_songs_share_stays_with_the_other_one(shelf: Library) -> None:
    first, second = save(shelf), save(shelf)
    with shelf.companions.begun(first.sha256) as folder:
        (folder / "notes.mid").write_bytes(b"notes")
        shelf.companions.keep(folder, "notes", "k" * 16, facts={}, names=["notes.mid"], notes=())
    shelf.discard(first.id)
    assert len(shelf.companions.of(second.sha256)) == 1
    shelf.restore(first.id)
    assert len(shelf.companions.of(second.sha256)) == 1


def test_what_was_deleted_at_once_is_told_together_the_last_first(shelf: Library) -> None:
    one, two, three = (save(shelf, str(number)).id for number in range(3))
    shelf.discard(two)
    shelf.discard(one, three)
    assert [{track.id for track in batch} for batch in shelf.discarded()] == [{one, three}, {two}]


def test_the_trash_is_emptied_of_what_lies_in_it_for_long(shelf: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = save(shelf), save(shelf)
    shelf.discard(first.id)
    now = time.time()
    monkeypatch.setattr("library.trash.time.time", lambda: now + UNDO_S + 1)
    shelf.discard(second.id)
    assert [[track.id for track in batch] for batch in shelf.discarded()] == [[second.id]]
    shelf.empty_trash()
    assert list(shelf.discarded()) == []
    assert not list(shelf.root.rglob("*.wav"))


# ---- recordings and storage ------------------------------------------------------------------------------------------


def test_a_recording_becomes_a_track_that_nobody_made(shelf: Library, tmp_path: Path) -> None:
    ramp = np.linspace(-0.5, 0.5, 44_100, dtype=np.float32)
    soundfile.write(tmp_path / "my_old tape.flac", ramp, 44_100)
    track = bring_in(shelf, tmp_path / "my_old tape.flac")
    assert (track.mode, track.called, track.seconds, track.asked()) == ("recording", "my old tape", 1.0, {})
    assert shelf.list() == (track,) and named(shelf, mode="recording", words="tape") == ["my old tape"]
    assert soundfile.info(track.path).samplerate == 48_000
    (tmp_path / "no.mp3").write_bytes(b"no sound")
    with pytest.raises(RequestError, match="recording"):
        bring_in(shelf, tmp_path / "no.mp3")
    assert len(shelf.list()) == 1


def test_a_bound_says_which_songs_would_go_and_takes_none(shelf: Library) -> None:
    saved = [save(shelf, str(number), level=0.1 * (number + 1)) for number in range(4)]
    shelf.favour(saved[0].id, True)
    each = usage(shelf).tracks // 4
    assert usage(shelf).kept == sum(len(content) for content in everything(shelf.root).values())
    assert usage(shelf.of("somebody")).kept == 0
    assert bound_gb(shelf) is None
    set_bound_gb(shelf, 2.5 * each / GB)
    assert bound_gb(shelf) == pytest.approx(2.5 * each / GB)
    over = surplus(shelf, 2.5 * each / GB)
    assert over.ids == (saved[1].id, saved[2].id)
    assert over.bytes == pytest.approx(2 * each, abs=80)
    assert len(shelf.list()) == 4
    assert surplus(shelf, 1.0).ids == ()
    (shelf.root / "storage.json").write_text('{"bound_gb": NaN}')
    assert bound_gb(shelf) is None


@pytest.mark.slow
def test_ten_thousand_songs_are_listed_and_searched_as_any_other_library(tmp_path: Path) -> None:
    shelf = fill(tmp_path / "outputs", 10_000)
    assert len(shelf.list()) == 10_000
    assert shelf.search(Query(words="window polka")).total == 2_000


def test_the_command_line_finds_names_deletes_brings_back_and_brings_in(
    shelf: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACE_OUTPUTS_DIR", str(shelf.root))
    soundfile.write(tmp_path / "tape.wav", np.full((48_000, 2), 0.5), 48_000)
    first, second = save(shelf, "rain"), save(shelf, "snow", level=0.25)

    def told(*command: str) -> list[dict[str, object]]:
        assert cli.main(["library", *command]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [song["name"] for song in told("list", "--limit", "1")] == ["snow"]
    assert told("search", "rain")[0]["path"] == str(first.path)
    assert told("rename", first.id, "The last tram")[0]["name"] == "The last tram"
    assert told("favourite", first.id)[0]["favourite"] is True
    assert [song["id"] for song in told("search", "--favourite")] == [first.id]
    assert [song["id"] for song in told("delete", second.id)] == [second.id]
    assert len(shelf.list()) == 1
    assert told("restore", second.id)[0]["name"] == "snow"
    assert told("import", str(tmp_path / "tape.wav"))[0]["mode"] == "recording"
    assert told("prune", "--gb", "0.0001") == []  # nobody sits there to agree
    assert {song["name"] for song in told("prune", "--gb", "0.0001", "--yes")} == {"snow", "tape"}
    assert [track.called for track in shelf.list()] == ["The last tram"]
    assert cli.main(["library", "rename", "..", "x"]) == 2
