"""What can be done to a song that exists, asked for as the page, the API and the command line ask."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import mido
import numpy as np
import pytest
import soundfile
from mutagen import File as tags_of
from safetensors.torch import load_file, save_file

import cli.main as cli
from backend import Settings, Studio
from checkpoints import table
from core.actions import ACTIONS, ActionName, ExportFormat
from core.errors import MissingWeights, RequestError
from core.events import Progress
from core.knobs import knobs_of, parse
from core.params import GenerateRequest
from core.requests import REQUESTS
from core.tables import SAMPLE_RATE
from jobs.desk import Event
from library import exports, loudness
from library.companions import Companion
from library.records import Record, Track
from lyrics.synced import TOLD, read_lrc
from networks.acestep.layouts import LYRIC_HEADS
from networks.demucs.separator import STEMS
from networks.machine import Machine
from tests.tiny import save_tiny
from tests.tiny_demucs import install_separator

LYRICS = "[verse]\nstreetlights hum\nthe night is young\n[chorus]\nwe go home"
SONG = {"prompt": "folk ballad", "lyrics": LYRICS, "duration_s": 10, "inference_steps": 1, "seed": 7, "bpm": 100}


def install_song(folder: Path) -> None:
    """Write a tiny random checkpoint that says which of its heads follow the words, and looks sharply at them."""
    config = save_tiny(folder) / "transformer" / "config.json"
    (weights,) = config.parent.glob("*.safetensors")
    tensors = load_file(weights)
    sharper = {name: 6 * value for name, value in tensors.items() if name.endswith("cross_attn.norm_q.weight")}
    save_file(tensors | sharper, weights, {"format": "pt"})
    config.write_text(json.dumps({**json.loads(config.read_text()), LYRIC_HEADS: {"0": [3], "1": [0], "2": [1, 2]}}))


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio whose separator is a tiny random one."""
    models = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACE_MODELS_DIR", str(models))
        (name,) = table.row(table.SEPARATOR).files
        install_separator(models / table.SEPARATOR / name)
        install_song(models / "xl-turbo")
        settings = Settings(checkpoint="nano", machine=Machine(device="cpu"), outputs=tmp_path_factory.mktemp("out"))
        with closing(Studio(settings)) as made:
            yield made


@pytest.fixture(scope="module")
def song(studio: Studio) -> Track:
    """A song that nano made."""
    *_, track = studio.run(parse(GenerateRequest, SONG))
    assert isinstance(track, Track)
    return track


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording that nobody knows: a second of a chord with a beat."""
    path = tmp_path_factory.mktemp("recording") / "My Tape (1).flac"
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * hz * t) for hz in (220, 277, 330)) * 0.1 * (1 + np.sin(2 * np.pi * 2 * t))
    soundfile.write(path, np.stack([tone, 0.8 * tone], axis=1), SAMPLE_RATE)
    return path


def events_of(studio: Studio, name: ActionName, values: Mapping[str, object], *, fresh: bool = False) -> list[Event]:
    return list(studio.run(parse(REQUESTS[name], values), fresh=fresh))


def made_by(studio: Studio, name: ActionName, **values: object) -> Companion:
    *_, last = events_of(studio, name, values)
    assert isinstance(last, Companion)
    return last


def sound_of(path: Path) -> Any:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == SAMPLE_RATE
    return samples.T


def everything_in(studio: Studio) -> set[Path]:
    return set(studio.library.root.rglob("*"))


# ---- which song ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_is_told_which_song_by_a_track_or_a_recording_and_not_by_both(name: ActionName) -> None:
    with pytest.raises(RequestError, match="track = None: must be given where audio is not"):
        parse(REQUESTS[name], {})
    with pytest.raises(RequestError, match=r"audio = 'a\.wav': means nothing beside track"):
        parse(REQUESTS[name], {"track": "20260101-000000-00000000", "audio": "a.wav"})


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize(
    ("whose", "fault"),
    [
        ({"track": "../../etc/passwd"}, "track = .*must be the id of a track in the library"),
        ({"track": "20260101-000000-00000000"}, "must be the id of a track in the library"),
        ({"audio": "/nowhere/song.wav"}, "must be a file that exists"),
        ({"audio": __file__}, "must be a complete audio file"),
    ],
)
def test_a_song_that_is_not_there_is_refused_and_nothing_is_written(
    studio: Studio, song: Track, name: ActionName, whose: dict[str, str], fault: str
) -> None:
    before = everything_in(studio)
    with pytest.raises(RequestError, match=fault):
        events_of(studio, name, whose)
    assert everything_in(studio) == before


def test_what_was_made_of_a_song_is_kept_and_costs_nothing_the_next_time(studio: Studio, song: Track) -> None:
    made = made_by(studio, "normalise", track=song.id, lufs=-18)
    again = [
        event
        for event in events_of(studio, "normalise", {"track": song.id, "lufs": -18})
        if event != Progress("queued")
    ]
    assert again == [made]
    other = made_by(studio, "normalise", track=song.id, lufs=-20)
    assert other.files != made.files and all(file.is_file() for file in made.files)
    assert made in studio.library.companions.of(song.sha256)
    afresh = events_of(studio, "normalise", {"track": song.id, "lufs": -18}, fresh=True)
    assert afresh[-1] != made and Progress("measuring") in afresh


def test_the_file_of_a_track_is_known_for_the_track(studio: Studio, song: Track, tmp_path: Path) -> None:
    copy = tmp_path / "renamed.wav"
    copy.write_bytes(song.path.read_bytes())
    assert made_by(studio, "notes", audio=str(copy)) == made_by(studio, "notes", track=song.id)


# ---- what they make --------------------------------------------------------------------------------------------------


def test_a_song_is_taken_apart_into_stems_of_its_length_and_a_zip_of_them(studio: Studio, recording: Path) -> None:
    events = events_of(studio, "stems", {"audio": str(recording), "shifts": 0})
    told = [event for event in events if isinstance(event, Progress) and event.stage == "separating"]
    steps = [event for event in told if event.total]  # the song is brought to the rate of the network first
    assert sorted({step.step for step in steps}) == list(range(1, steps[-1].total + 1))
    assert steps[-1].total > 3
    made = events[-1]
    assert isinstance(made, Companion)
    *wavs, packed = made.files
    assert [file.name for file in wavs] == [f"my-tape-1_{stem}.wav" for stem in STEMS]
    parts = [sound_of(wav) for wav in wavs]
    assert {part.shape for part in parts} == {(2, SAMPLE_RATE)}
    assert packed.name == "my-tape-1_stems.zip"
    with zipfile.ZipFile(packed) as archive:
        assert archive.namelist() == [wav.name for wav in wavs]
        assert [archive.read(wav.name) for wav in wavs] == [wav.read_bytes() for wav in wavs]
    assert "stems" in studio.loaded


def test_stems_are_the_same_run_after_run(studio: Studio, recording: Path) -> None:
    first = [sound_of(file) for file in made_by(studio, "stems", audio=str(recording)).files[:-1]]
    *_, last = events_of(studio, "stems", {"audio": str(recording)}, fresh=True)
    assert isinstance(last, Companion)
    for one, other in zip(first, map(sound_of, last.files[:-1]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_stems_that_are_cancelled_leave_nothing(studio: Studio, recording: Path) -> None:
    before = everything_in(studio)
    job = studio.run(parse(REQUESTS["stems"], {"audio": str(recording), "shifts": 5}), job="stems")
    next(event for event in job if isinstance(event, Progress) and event.step == 2)
    job.close()
    patience = time.monotonic() + 60
    while everything_in(studio) != before:  # closing a job does not wait for its end
        assert time.monotonic() < patience
        time.sleep(0.05)


def test_without_its_weights_an_action_says_what_to_download_and_how_much_it_is(
    studio: Studio, song: Track, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"not installed \(\d+ MB\)\..*checkpoints download htdemucs"):
        events_of(studio, "stems", {"track": song.id})


def test_a_song_is_brought_to_a_loudness_under_the_ceiling(studio: Studio, song: Track) -> None:
    made = made_by(studio, "normalise", track=song.id, lufs=-14, ceiling_db=-1)
    (file,) = made.files
    assert file.name == "folk-ballad_seed7_-14lufs.wav"
    found = loudness.measure(sound_of(file))
    assert found.lufs == pytest.approx(-14, abs=0.1)
    assert found.true_peak_db <= -1.0
    assert made.facts["lufs"] == pytest.approx(found.lufs, abs=0.02)
    assert made.facts["true_peak_db"] == pytest.approx(found.true_peak_db, abs=0.02)


OTHERWISE: dict[str, tuple[ActionName, dict[str, object]]] = {
    "shifts": ("stems", {"shifts": 0}),
    "overlap": ("stems", {"overlap": 0.5}),
    "normalise lufs": ("normalise", {"lufs": -20}),
    "ceiling_db": ("normalise", {"lufs": -8, "ceiling_db": -6}),
    "format": ("export", {"format": "wav24"}),
    "export lufs": ("export", {"lufs": -20}),
    "start_s": ("export", {"start_s": 0.2}),
    "end_s": ("export", {"end_s": 0.7}),
    "fade_in_s": ("export", {"fade_in_s": 0.3}),
    "fade_out_s": ("export", {"fade_out_s": 0.3}),
}
USUAL: dict[str, dict[str, object]] = {"ceiling_db": {"lufs": -8}, "format": {"format": "wav32f"}}
"""What a knob is held against where that is not the defaults; exports are held as wav."""


@pytest.mark.parametrize("knob", OTHERWISE)
def test_every_knob_of_an_action_changes_what_it_makes(studio: Studio, recording: Path, knob: str) -> None:
    name, values = OTHERWISE[knob]
    common: dict[str, object] = {"audio": str(recording), **({"format": "wav24"} if name == "export" else {})}
    usual, otherwise = (
        made_by(studio, name, **{**common, **each}) for each in (USUAL.get(knob, {}), {**USUAL.get(knob, {}), **values})
    )
    if knob == "format":
        subtypes = {soundfile.info(made.files[0]).subtype for made in (usual, otherwise)}
        assert subtypes == {"FLOAT", "PCM_24"}
    else:
        assert not np.array_equal(sound_of(usual.files[0]), sound_of(otherwise.files[0]))


def test_every_knob_of_the_actions_is_among_those_that_are_changed() -> None:
    knobs = {
        (name, knob.name) for name, request in ACTIONS.items() for knob in knobs_of(request) if knob.group != "main"
    }
    assert {(name, knob.split()[-1]) for knob, (name, _) in OTHERWISE.items()} == knobs


def test_the_formats_that_can_be_asked_for_are_those_that_can_be_written() -> None:
    assert get_args(ExportFormat) == tuple(exports.FORMATS)


def test_an_export_is_a_readable_file_with_tags_cut_and_faded_as_asked(studio: Studio, song: Track) -> None:
    made = made_by(studio, "export", track=song.id, format="flac", start_s=1, end_s=5, fade_in_s=1, fade_out_s=2)
    (file,) = made.files
    assert file.name == "folk-ballad_seed7.flac"
    samples, source = sound_of(file), sound_of(song.path)
    assert samples.shape == (2, 4 * SAMPLE_RATE)
    assert np.abs(samples[:, [0, -1]]).max() == 0
    middle = slice(SAMPLE_RATE, 2 * SAMPLE_RATE)
    np.testing.assert_array_equal(samples[:, middle], source[:, 2 * SAMPLE_RATE : 3 * SAMPLE_RATE])
    tags = tags_of(file)
    found = {name: tags[name][0] for name in ("title", "lyrics", "seed", "bpm", "checkpoint", "license")}
    assert found == {
        "title": "folk ballad",
        "lyrics": LYRICS,
        "seed": "7",
        "bpm": "100",
        "checkpoint": "nano",
        "license": "weights: MIT",
    }
    assert tags["initialkey"] and len(tags.pictures) == 1


def test_an_export_can_be_made_louder_on_the_way(studio: Studio, song: Track) -> None:
    made = made_by(studio, "export", track=song.id, format="wav24", lufs=-12)
    assert loudness.measure(sound_of(made.files[0])).lufs == pytest.approx(-12, abs=0.1)


@pytest.mark.parametrize(
    ("values", "field"),
    [({"start_s": 20.0}, "start_s"), ({"end_s": 50.0}, "end_s"), ({"fade_in_s": 8.0, "fade_out_s": 8.0}, "fade_out_s")],
)
def test_an_export_that_does_not_fit_the_song_is_refused_and_nothing_is_written(
    studio: Studio, song: Track, values: dict[str, float], field: str
) -> None:
    before = everything_in(studio)
    with pytest.raises(RequestError) as refused:
        events_of(studio, "export", {"track": song.id, **values})
    assert field in {fault.field for fault in refused.value.faults}
    assert everything_in(studio) == before


def test_the_notes_of_a_composed_song_are_a_midi_file_in_its_tempo(studio: Studio, song: Track) -> None:
    (file,) = made_by(studio, "notes", track=song.id).files
    assert file.name == "folk-ballad_seed7.mid"
    midi = mido.MidiFile(file)
    tempi = [message.tempo for track in midi.tracks for message in track if message.type == "set_tempo"]
    assert mido.bpm2tempo(100) in tempi
    assert sum(message.type == "note_on" for track in midi.tracks for message in track) > 20


def test_each_sung_line_of_a_composed_song_has_its_time(studio: Studio, song: Track) -> None:
    made = made_by(studio, "lrc", track=song.id)
    sheet = read_lrc(made.files[0].read_text(encoding="utf-8"))
    assert sheet.how == "score"
    sung = [line for line in LYRICS.splitlines() if not line.startswith("[")]
    told = [line.text for line in sheet.lines] + [note.removeprefix("no room for: ") for note in made.notes]
    assert sorted(told) == sorted(sung)
    assert 0 <= sheet.lines[0].start_s < 10


def test_times_of_a_song_that_nobody_can_look_into_are_estimated_and_say_so(studio: Studio) -> None:
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (2, 20 * SAMPLE_RATE)).astype(np.float32)
    record = Record(mode="generate", title="far away", checkpoint="xl-sft", seed=1, values={"lyrics": LYRICS})
    track = studio.library.save(noise, None, record)
    made = made_by(studio, "lrc", track=track.id)
    sheet = read_lrc(made.files[0].read_text(encoding="utf-8"))
    assert (sheet.how, made.facts["times"]) == ("plan", TOLD["plan"])
    assert [line.text for line in sheet.lines] == [line for line in LYRICS.splitlines() if not line.startswith("[")]
    studio.library.delete(track.id)


def test_a_song_of_ace_step_is_asked_where_it_sang_its_words(studio: Studio) -> None:
    values = {**SONG, "checkpoint": "xl-turbo", "thinking": False, "lyrics": LYRICS}
    *_, track = studio.run(parse(GenerateRequest, values))
    assert isinstance(track, Track)
    events = events_of(studio, "lrc", {"track": track.id})
    assert {"conditioning", "listening"} <= {event.stage for event in events if isinstance(event, Progress)}
    made = events[-1]
    assert isinstance(made, Companion)
    sheet = read_lrc(made.files[0].read_text(encoding="utf-8"))
    assert (sheet.how, made.facts["times"]) == ("attention", TOLD["attention"])
    assert [line.text for line in sheet.lines] == [line for line in LYRICS.splitlines() if not line.startswith("[")]
    again = events_of(studio, "lrc", {"track": track.id}, fresh=True)[-1]
    assert isinstance(again, Companion)
    assert again.files[0].read_bytes() == made.files[0].read_bytes()
    track.latents_path.unlink()
    estimated = events_of(studio, "lrc", {"track": track.id}, fresh=True)[-1]
    assert isinstance(estimated, Companion)
    assert estimated.notes == ("estimated: xl-turbo cannot be asked where it sang them",)


@pytest.mark.parametrize(("name", "rule"), [("notes", "a song that nano composed"), ("lrc", "a song of the library")])
def test_what_nobody_knows_of_a_recording_is_refused(
    studio: Studio, recording: Path, name: ActionName, rule: str
) -> None:
    with pytest.raises(RequestError, match=rf"audio = .*: must be {rule}"):
        events_of(studio, name, {"audio": str(recording)})


# ---- from the command line -------------------------------------------------------------------------------------------


def test_the_command_line_prints_where_the_files_lie_and_copies_them(
    studio: Studio,
    song: Track,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ACE_OUTPUTS_DIR", str(studio.library.root))
    assert cli.main(["export", "--track", song.id, "--format", "ogg", "--out", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == [str(tmp_path / "folk-ballad_seed7.ogg")]
    assert soundfile.info(told["files"][0]).format == "OGG"
    assert (told["action"], told["format"]) == ("export", "OGG Vorbis q8")
    assert cli.main(["export", "--track", song.id, "--out", str(tmp_path / "nowhere")]) == RequestError.exit_code
    assert "must be a folder that exists" in capsys.readouterr().err
