"""Downloads over real HTTP from a small hub on this machine, through every fault that a large one has."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import close_session, constants

from checkpoints import download as downloads
from checkpoints import find, manifest, meter, table
from checkpoints.download import Downloads
from checkpoints.find import Installed
from checkpoints.hub import Interrupted
from checkpoints.manage import Verified, remove, verify
from checkpoints.manifest import Kept
from checkpoints.meter import Meter
from checkpoints.table import COMPANION, DIFFUSERS_SONG, LANGUAGE_MODEL, ORIGINAL_SONG, Checkpoint
from cli import main as cli
from core.errors import Busy, Cancelled, CheckpointError, MissingWeights, RequestError, StudioError
from core.events import Transfer
from core.recipes import Recipe
from tests.hub_server import Fault, Hub, serving
from tests.tiny import save_tiny

ROOT = Path(__file__).parent.parent
REPO = "someone/tiny"
LARGE = "model.safetensors"
UNWANTED = {"README.md": b"# tiny", "samples/song.wav": b"RIFF", "half/model.safetensors": b"of another precision"}

TINY = Checkpoint(
    name="tiny", title="Tiny", use="planner", repo=REPO, files=LANGUAGE_MODEL, bytes=1_000_000, parameters=0.0005,
    licence="MIT",
)  # fmt: skip
SONG = Checkpoint(
    name="song", title="Song", use="song", repo="someone/song", files=DIFFUSERS_SONG, bytes=1_000_000,
    parameters=0.0005, licence="MIT", companion="companion",
    recipe=Recipe(inference_steps=8, guidance_scale=7.0, shift=1.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Content by path of what a download of `tiny` must bring; the weights are noise, which only a checksum knows."""
    noise = random.Random(1)
    return {
        "config.json": b"{}",
        "tokenizer.json": noise.randbytes(30_000),
        "tokenizer_config.json": b'{"a": 1}',
        "generation_config.json": b'{"temperature": 1}',
        LARGE: noise.randbytes(400_000),
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real checkpoint of a song, of a few thousand weights."""
    return save_tiny(tmp_path_factory.mktemp("source"))


@pytest.fixture
def hub(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    close_session()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(downloads, "FIRST_WAIT_S", 0.01)
    with serving() as hub:
        hub.repos[REPO] = files | UNWANTED
        yield hub


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models folder, empty, and a row for the tiny checkpoint."""
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(table, "CHECKPOINTS", {"tiny": TINY, "song": SONG, **table.CHECKPOINTS})
    return tmp_path / "models"


def fetch(hub: Hub, name: str = "tiny", downloads: Downloads | None = None) -> list[Transfer | Installed]:
    return list((downloads or Downloads()).download(name, consent=True, endpoint=hub.url))


def brought(folder: Path) -> dict[str, bytes]:
    """Content by path of what lies in a folder, the studio's own record apart."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != manifest.NAME)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_download_brings_the_files_that_are_needed_and_no_others(
    hub: Hub, models: Path, files: dict[str, bytes]
) -> None:
    *events, place = fetch(hub)
    assert place == Installed(TINY, models / "tiny") == find.checkpoint("tiny")
    assert brought(models / "tiny") == files
    assert not any(path.is_symlink() for path in models.rglob("*"))
    assert sorted(path.name for path in (models / "tiny").iterdir() if path.name[0] == ".") == [manifest.NAME]
    last = events[-1]
    assert isinstance(last, Transfer)
    assert last.step == last.total == sum(map(len, files.values()))
    assert all(hub.bytes_sent(path) == len(content) for path, content in files.items())


def test_a_song_that_was_downloaded_verifies_to_the_last_tensor(hub: Hub, models: Path, source: Path) -> None:
    hub.repos["someone/song"] = brought(source) | UNWANTED
    assert fetch(hub, "song")[-1] == Installed(SONG, models / "song")
    assert brought(models / "song") == brought(source)
    found = list(verify(models / "song"))[-1]
    assert isinstance(found, Verified)
    assert (found.kind, found.checksums, found.files) == ("song", 14, 14)


def test_a_song_published_without_the_networks_of_codes_is_brought_and_whole(
    hub: Hub, models: Path, source: Path
) -> None:
    published = {path: content for path, content in brought(source).items() if not path.startswith("audio_token")}
    hub.repos["someone/song"] = published
    assert fetch(hub, "song")[-1] == Installed(SONG, models / "song")
    assert brought(models / "song") == published
    assert list(verify(models / "song"))[-1].kind == "song"  # type: ignore[union-attr]


def test_what_is_here_is_not_asked_for_again(hub: Hub) -> None:
    fetch(hub)
    hub.requests.clear()
    assert fetch(hub) == [find.checkpoint("tiny")]
    assert hub.requests == []


def test_a_file_that_was_put_there_by_hand_is_not_brought_again(
    hub: Hub, models: Path, files: dict[str, bytes]
) -> None:
    (models / "tiny").mkdir(parents=True)
    (models / "tiny" / LARGE).write_bytes(files[LARGE])
    (models / "tiny" / "config.json").write_text("of something else")
    fetch(hub)
    assert hub.bytes_sent(LARGE) == 0
    assert (models / "tiny" / "config.json").read_text() == "{}"


@pytest.mark.parametrize("cuts", [[100_000], [1, 50_000, 60_000, 10, 10, 10, 10, 10]])
def test_a_cut_connection_goes_on_at_the_byte_where_it_was_cut(
    hub: Hub, models: Path, files: dict[str, bytes], cuts: list[int]
) -> None:
    hub.faults[LARGE] = [Fault("cut", cut) for cut in cuts]
    fetch(hub)
    starts = [asked.start for asked in hub.asked if asked.path == LARGE]
    assert starts == [sum(cuts[:count]) for count in range(len(cuts) + 1)]
    assert hub.bytes_sent(LARGE) == len(files[LARGE])
    assert brought(models / "tiny") == files


def test_a_server_that_knows_no_ranges_still_ends_in_the_right_file(
    hub: Hub, models: Path, files: dict[str, bytes]
) -> None:
    hub.faults[LARGE] = [Fault("cut", 70_000), Fault("whole")]
    fetch(hub)
    assert brought(models / "tiny") == files


def test_a_download_that_was_closed_goes_on_where_it_stopped(
    hub: Hub, models: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "EVENT_S", 0.0)
    hub.faults[LARGE] = [Fault("slow", 50)]
    events = Downloads().download("tiny", consent=True, endpoint=hub.url)
    next(event for event in events if isinstance(event, Transfer) and event.note.endswith(LARGE))
    events.close()
    (partial,) = (models / "tiny" / manifest.PARTIAL).iterdir()
    size = partial.stat().st_size
    assert 0 < size < len(files[LARGE])
    assert find.locate(TINY) is None
    fetch(hub)
    assert {asked.start for asked in hub.asked if asked.path == LARGE} - {0} == {size}
    assert brought(models / "tiny") == files


def test_a_cancelled_download_stops_before_its_end_and_is_no_longer_running(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "EVENT_S", 0.0)
    hub.faults[LARGE] = [Fault("slow", 50)]
    mine, others = Downloads(), Downloads()
    with pytest.raises(Cancelled):
        for event in mine.download("tiny", consent=True, endpoint=hub.url):
            if isinstance(event, Transfer) and event.note.endswith(LARGE):
                assert not others.cancel("tiny")
                assert mine.cancel("tiny")
    assert not mine.cancel("tiny")
    row = next(row for row in mine.rows("cpu") if row.name == "tiny")
    assert (row.installed, row.running) == (False, False)
    assert row.brought > 0


def test_a_file_that_has_changed_since_is_brought_anew(hub: Hub, models: Path, files: dict[str, bytes]) -> None:
    hub.faults[LARGE] = [Fault("cut", 50_000)] + [Fault("status", 503)] * downloads.TRIES
    with pytest.raises(Interrupted):
        fetch(hub)
    changed = files | {LARGE: files[LARGE][::-1]}
    hub.repos[REPO] = changed
    hub.faults.clear()
    hub.asked.clear()
    fetch(hub)
    assert [asked.start for asked in hub.asked if asked.path == LARGE] == [0]
    assert brought(models / "tiny") == changed


@pytest.mark.parametrize("path", [LARGE, "tokenizer_config.json"])
def test_wrong_bytes_are_removed_and_named_and_the_right_ones_kept(
    hub: Hub, models: Path, files: dict[str, bytes], path: str
) -> None:
    hub.faults[path] = [Fault("wrong")]
    with pytest.raises(CheckpointError, match=f"{path} arrived damaged.*removed"):
        fetch(hub)
    assert not (models / "tiny" / path).exists()
    assert find.locate(TINY) is None
    right = brought(models / "tiny")
    hub.asked.clear()
    fetch(hub)
    assert {asked.path for asked in hub.asked} == files.keys() - right.keys()
    assert brought(models / "tiny") == files


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "refuses access"), (403, "refuses access"), (404, "has no"), (400, "answered 400"), (451, "answered 451")],
)
@pytest.mark.parametrize("where", ["api", LARGE])
def test_a_refusal_is_told_at_once_with_one_thing_to_do(hub: Hub, where: str, status: int, message: str) -> None:
    hub.faults[where] = [Fault("status", status)]
    with pytest.raises(StudioError, match=f"{message}.*") as caught:
        fetch(hub)
    assert str(status) in caught.value.message
    assert (REPO if where == "api" else LARGE) in caught.value.message
    assert caught.value.hint
    assert hub.faults[where] == []


def test_a_repository_that_is_not_there_leaves_no_empty_folder(hub: Hub, models: Path) -> None:
    del hub.repos[REPO]
    with pytest.raises(StudioError, match="has no someone/tiny"):
        fetch(hub)
    assert list(models.iterdir()) == []


def test_a_repository_that_lacks_a_file_is_told_before_anything_is_brought(hub: Hub) -> None:
    hub.repos[REPO] = {path: content for path, content in hub.repos[REPO].items() if path != LARGE}
    with pytest.raises(CheckpointError, match=r"someone/tiny does not hold \*.safetensors\*"):
        fetch(hub)
    assert hub.asked == []


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


SHA256, GIT = hashlib.sha256(b"other").hexdigest(), hashlib.sha1(b"other").hexdigest()


@pytest.mark.parametrize(
    ("path", "lie"),
    [
        *(("config.json", {"blobId": digest}) for digest in (
            "../../outside", "/outside", "", "a", GIT[:39], GIT.upper(), f"{GIT[:39]}g", f"{GIT}\n", 7,
        )),
        *((LARGE, {"lfs": {"sha256": digest, "size": 400_000, "pointerSize": 130}}) for digest in (
            "../../outside", "/outside", "", "a", SHA256[:8], SHA256[:63], SHA256.upper(), f"{SHA256}0", 7,
        )),
        *(("config.json", {"size": size}) for size in (-1, 2.5, "2", True, [0])),
        *((LARGE, {"lfs": {"sha256": SHA256, "size": size, "pointerSize": 130}}) for size in (-1, 2.5, "2", None)),
    ],
)  # fmt: skip
def test_a_listing_with_impossible_checksums_or_sizes_is_refused_before_anything_is_written(
    hub: Hub, models: Path, tmp_path: Path, path: str, lie: dict[str, object]
) -> None:
    before = everything(tmp_path)
    hub.lies[path] = lie
    with pytest.raises(CheckpointError, match=rf"list of files .*cannot be trusted: {path}") as refused:
        fetch(hub)
    assert refused.value.hint
    assert hub.asked == []
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    "path",
    [
        *("../outside.json", "../../outside", "a/../config.json", "./config.json", "a//config.json", "/outside.json"),
        *("C:/outside.json", "C:outside.json", "..\\outside.json", "a\\config.json", "new\nline.json", "nul\0.json"),
        *(manifest.NAME, ".hidden.json", "\u2028.json", ""),
    ],
)
def test_a_listing_with_names_that_lead_elsewhere_is_refused_before_anything_is_written(
    hub: Hub, tmp_path: Path, path: str
) -> None:
    before = everything(tmp_path)
    hub.repos[REPO] = {**hub.repos[REPO], path: b"{}"}
    with pytest.raises(CheckpointError, match="list of files .*cannot be trusted") as refused:
        fetch(hub)
    assert refused.value.hint
    assert hub.asked == []
    assert everything(tmp_path) == before


def test_what_a_repository_hides_and_no_row_asks_for_does_no_harm(
    hub: Hub, models: Path, files: dict[str, bytes]
) -> None:
    hub.repos[REPO] = {**hub.repos[REPO], ".gitattributes": b"*", ".eval/notes.json": b"{}"}
    fetch(hub)
    assert brought(models / "tiny") == files


@pytest.mark.parametrize(
    "answer", [b"", b"no", b"[]", b"7", b"null", b"{}", b'{"siblings": 7}', b'{"siblings": [7]}',
               b'{"siblings": [{}]}', b'{"siblings": [{"rfilename": 7}]}', b'{"id": "x", "siblings": null}',
               b'{"id": "x", "siblings": [{"rfilename": "config.json", "lfs": {}}]}'],
)  # fmt: skip
def test_an_answer_that_is_no_listing_is_an_error_of_the_studio(hub: Hub, tmp_path: Path, answer: bytes) -> None:
    before = everything(tmp_path)
    hub.answer = answer
    with pytest.raises(CheckpointError):
        fetch(hub)
    assert everything(tmp_path) == before


def test_a_server_that_sends_more_than_it_told_is_cut_short(hub: Hub, models: Path, files: dict[str, bytes]) -> None:
    hub.lies[LARGE] = {"lfs": {"sha256": SHA256, "size": 1000, "pointerSize": 130}}
    hub.faults[LARGE] = [Fault("slow", 1)]
    with pytest.raises(CheckpointError, match=f"{LARGE} arrived damaged"):
        fetch(hub)
    assert LARGE not in brought(models / "tiny")


@pytest.mark.parametrize("change", [{"path": "../outside"}, {"path": manifest.NAME}, {"digest": "git:../../x"},
                                    {"digest": "md5:0"}, {"bytes": -1}])  # fmt: skip
def test_a_record_that_was_tampered_with_is_refused(
    hub: Hub, models: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    fetch(hub)
    (models / "outside").write_text("mine")
    record = models / "tiny" / manifest.NAME
    facts = json.loads(record.read_text())
    facts["files"][0] |= change
    record.write_text(json.dumps(facts))
    for action in (lambda: list(verify(models / "tiny")), lambda: remove("tiny", consent=True)):
        with pytest.raises(CheckpointError, match=r"cannot be read"):
            action()
    assert (models / "outside").read_text() == "mine"


@pytest.mark.parametrize("where", ["api", LARGE])
def test_a_busy_server_is_given_the_time_that_it_asks_for(hub: Hub, models: Path, where: str) -> None:
    hub.faults[where] = [Fault("status", 429, {"Retry-After": "1"})]
    started = time.monotonic()
    events = fetch(hub)
    assert time.monotonic() - started >= 1.0
    assert any("Trying again in 1 s" in str(event) for event in events)
    assert find.locate(TINY) is not None


@pytest.mark.parametrize("after", ["3600", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_a_server_that_asks_for_an_hour_is_left_alone(hub: Hub, after: str) -> None:
    hub.faults["api"] = [Fault("status", 429, {"Retry-After": after})]
    with pytest.raises(Interrupted, match=r"busy \(429\).*goes on|busy \(429\).*continues"):
        fetch(hub)


def test_a_server_that_stays_down_is_asked_five_times(hub: Hub) -> None:
    hub.faults["api"] = [Fault("status", 503)] * 9
    with pytest.raises(Interrupted, match="503"):
        fetch(hub)
    assert len(hub.requests) == downloads.TRIES == 5


def test_a_line_that_is_dead_is_told_as_such(hub: Hub) -> None:
    with pytest.raises(Interrupted, match="connection broke.*Start the download again later"):
        list(Downloads().download("tiny", consent=True, endpoint="http://127.0.0.1:9"))


def test_a_disk_with_too_little_room_is_told_before_anything_is_brought(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=downloads.SPARE_BYTES + 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StudioError, match=r"GB are needed in .*models, and 0.5 GB are free"):
        fetch(hub)
    assert hub.asked == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_disk_that_fills_up_is_told_and_the_rest_comes_later(
    hub: Hub, models: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = manifest.partial_of

    def full(folder: Path, file: manifest.Kept) -> Path:
        return Path("/dev/full") if file.path == LARGE else place(folder, file)

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "partial_of", full)
        with pytest.raises(StudioError, match=r"The disk is full. Make room in .*models"):
            fetch(hub)
    fetch(hub)
    assert brought(models / "tiny") == files


def test_a_folder_that_cannot_be_written_is_told(hub: Hub, models: Path) -> None:
    models.write_text("a file in the place of the folder")
    with pytest.raises(StudioError, match="cannot be written"):
        fetch(hub)


def test_nothing_is_downloaded_without_consent(hub: Hub) -> None:
    with pytest.raises(RequestError, match=r"consent = False: must be given: Tiny is 0.0 GB, licence MIT"):
        next(Downloads().download("tiny", consent=False, endpoint=hub.url))
    with pytest.raises(MissingWeights, match=r"\./studio checkpoints download tiny"):
        find.checkpoint("tiny")
    assert hub.requests == []


def test_offline_mode_is_honoured_and_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(StudioError, match="HF_HUB_OFFLINE.*checkpoints import"):
        fetch(hub)
    assert hub.requests == []


def test_what_cannot_be_downloaded_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ACE_NANO_DIR", str(tmp_path))
    with pytest.raises(StudioError, match="nano ships with the studio"):
        next(Downloads().download("nano", consent=True))
    with pytest.raises(RequestError, match="checkpoint = 'xl': must be one of tiny, song, nano, xl-sft"):
        next(Downloads().download("xl", consent=True))


def test_two_downloads_of_one_checkpoint_do_not_meet(hub: Hub, models: Path, files: dict[str, bytes]) -> None:
    first = Downloads().download("tiny", consent=True, endpoint=hub.url)
    next(first)
    with pytest.raises(Busy, match="at work on tiny"):
        fetch(hub)
    assert list(first)[-1] == find.checkpoint("tiny")
    assert brought(models / "tiny") == files


def test_the_token_goes_to_the_hub_and_not_to_where_it_sends_us(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(hub)
    assert hub.tokens == {"Bearer hf_secret"}
    assert {asked.token for asked in hub.asked} == {None}


def test_a_song_in_the_original_layout_brings_its_companion(
    hub: Hub, models: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ROOT / "tests" / "data" / "parity" / "acestep-tiny-sft"
    hub.repos["someone/old"] = {
        f"dit/{name}": (original / name).read_bytes()
        for name in ("config.json", "model.safetensors", "silence_latent.pt")
    }
    renamed = {"vae": "vae", "text_encoder": "Qwen3-Embedding-0.6B", "tokenizer": "Qwen3-Embedding-0.6B"}
    hub.repos["someone/umbrella"] = {
        f"{renamed[path.parent.name]}/{path.name}": path.read_bytes()
        for path in source.glob("*/*")
        if path.parent.name in renamed
    }
    shared: Any = {"bytes": 1000, "licence": "MIT"}
    rows = {
        "old": Checkpoint(
            name="old", title="Old", use="song", repo="someone/old", folder="dit", files=ORIGINAL_SONG,
            parameters=0.0006, companion="companion", recipe=SONG.recipe, **shared,
        ),
        "companion": Checkpoint(
            name="companion", title="Companion", use="companion", repo="someone/umbrella", files=COMPANION,
            parameters=0.0001, **shared,
        ),
    }  # fmt: skip
    monkeypatch.setattr(table, "CHECKPOINTS", rows)
    place = fetch(hub, "old")[-1]
    assert place == Installed(rows["old"], models / "old", models / "companion")
    assert sorted(brought(models / "old")) == ["config.json", "model.safetensors", "silence_latent.pt"]
    shutil.rmtree(models / "companion")
    with pytest.raises(MissingWeights, match="Companion is not installed.*download companion"):
        find.checkpoint("old")


@pytest.mark.parametrize("right", [True, False])
def test_a_file_that_is_known_to_the_byte_is_brought_and_no_other_under_its_name(
    hub: Hub, models: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, right: bool
) -> None:
    content = files[LARGE] if right else files[LARGE][::-1]
    known = Kept(path=LARGE, bytes=len(content), digest=f"sha256:{hashlib.sha256(content).hexdigest()}")
    monkeypatch.setattr(table, "CHECKPOINTS", {"tiny": dataclasses.replace(TINY, pinned=(known,))})
    if right:
        fetch(hub)
        assert brought(models / "tiny") == files
    else:
        with pytest.raises(CheckpointError, match="is not the file that tiny is known by"):
            fetch(hub)
        assert hub.asked == [] and not (models / "tiny").exists()


def test_progress_tells_bytes_rate_and_time_left(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "EVENT_S", 0.0)
    hub.faults[LARGE] = [Fault("slow", 100)]
    events = [event for event in fetch(hub) if isinstance(event, Transfer) and event.note.endswith(LARGE)]
    rated = [event for event in events if event.bytes_per_s]
    assert [event.step for event in events] == sorted({event.step for event in events})
    assert len(rated) >= 2
    assert 0 < (rated[-1].bytes_per_s or 0) < 2_000_000  # the server pauses; how long this machine does is its own
    assert rated[-1].left_s == pytest.approx((rated[-1].total - rated[-1].step) / (rated[-1].bytes_per_s or 1))


def test_the_rate_leaves_out_what_was_there_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 14.0, 14.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    meter_of_a_file = Meter("downloading", 10_000_000_000)
    meter_of_a_file.jump(9_000_000_000)
    meter_of_a_file.add(100_000_000)
    meter_of_a_file.event()
    meter_of_a_file.add(100_000_000)
    event = meter_of_a_file.event()
    assert (event.step, event.bytes_per_s, event.left_s) == (9_200_000_000, 50e6, 16.0)
    assert str(event) == "downloading · 9.20 of 10.00 GB · 50.0 MB/s · about 16 s left"


@pytest.mark.parametrize(("device", "gigabytes"), [("cuda", 12.8), ("cpu", 24.0)])
def test_the_list_tells_the_memory_that_xl_needs(device: str, gigabytes: float) -> None:
    found = {row.name: row for row in Downloads().rows(device)}  # type: ignore[arg-type]
    assert found["xl-sft"].memory_bytes / 1e9 == pytest.approx(gigabytes, abs=0.3)
    assert (found["xl-sft"].installed, found["xl-sft"].bytes) == (False, 11_500_000_000)


def test_the_command_line_downloads_only_when_it_is_told_to(
    hub: Hub, models: Path, files: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repos["ACE-Step/acestep-5Hz-lm-0.6B"] = files
    assert cli.main(["checkpoints", "download", "lm-0.6b"]) == 2
    assert "1.4 GB, licence MIT" in capsys.readouterr().err
    # In a process of its own, as a user has it: its hub is told by the environment.
    told = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(models.parent)}
    code = "import sys; from cli.main import main; sys.exit(main(['checkpoints', 'download', 'lm-0.6b', '--yes']))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **told}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"checkpoint": "lm-0.6b", "folder": str(models / "lm-0.6b")}
    assert brought(models / "lm-0.6b") == files


def test_the_command_line_lists_in_text_and_in_json(capsys: pytest.CaptureFixture[str], hub: Hub, models: Path) -> None:
    fetch(hub)
    assert cli.main(["checkpoints", "list", "--json"]) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert found.keys() == table.CHECKPOINTS.keys()
    assert (found["tiny"]["installed"], found["tiny"]["folder"]) == (True, str(models / "tiny"))
    assert (found["xl-turbo"]["installed"], found["xl-turbo"]["bytes"]) == (False, 11_100_000_000)
    assert cli.main(["checkpoints", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "TITLE", "USE", "SIZE", "MEMORY", "LICENCE", "INSTALLED"]
    assert len(lines) == 1 + len(found)
    assert next(line for line in lines if line.startswith("tiny")).endswith(str(models / "tiny"))
