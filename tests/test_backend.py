"""The studio as its callers know it: jobs, their ends, and what stays on disk."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

import app as server
from backend import Settings, Studio
from checkpoints import find
from cli import main as cli
from core.errors import Cancelled, MissingWeights, RequestError
from core.events import Progress, TextDelta
from core.knobs import parse
from core.lyrics import LyricsRequest
from core.params import MODES, GenerateRequest
from core.requests import Request
from core.tables import SAMPLE_RATE
from library import audio
from library.records import Track
from networks.machine import RUNTIMES, DeviceKind, DType, Machine

pytestmark = pytest.mark.usefixtures("tiny_nano")

Wave = NDArray[np.float32]
RATE = SAMPLE_RATE
ABSENT = "mps" if torch.cuda.is_available() else "cuda"
"""A device that this machine does not have: no machine has both."""
QUICK: dict[str, object] = {"prompt": "lofi hip hop", "duration_s": 10, "inference_steps": 2, "seed": 3}


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    made = Studio(Settings(checkpoint="nano", machine=Machine(device="cpu"), outputs=tmp_path / "outputs"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "outputs"


@pytest.fixture(scope="module")
def shared(home: Path) -> Iterator[Studio]:
    """One studio for the tests that only need a song that is there."""
    made = Studio(Settings(checkpoint="nano", machine=Machine(device="cpu"), outputs=home))
    yield made
    made.close()


@pytest.fixture(scope="module")
def song(shared: Studio) -> Track:
    return made_by(shared, parse(GenerateRequest, QUICK))[0]


def made_by(studio: Studio, request: Request, **options: bool) -> list[Track]:
    return [event for event in studio.run(request, **options) if isinstance(event, Track)]  # type: ignore[arg-type]


def request_of(mode: str, **values: object) -> Request:
    return parse(MODES[mode], values)  # type: ignore[index]


def samples_of(path: Path) -> NDArray[np.int32]:
    return soundfile.read(path, dtype="int32", always_2d=True)[0].T


def test_a_song_is_saved_with_its_latents_and_everything_needed_to_make_it_again(shared: Studio, song: Track) -> None:
    assert soundfile.info(song.path).frames == 10 * RATE
    latents = shared.library.latents(song).latents
    assert latents is not None and latents.dtype == np.float16
    assert (song.seed, song.checkpoint, song.values["inference_steps"]) == (3, "nano", 2)
    assert song.plan["planner"] == "composer"
    again = made_by(shared, parse(GenerateRequest, song.values), fresh=True)[0]
    assert again.id != song.id
    assert np.array_equal(samples_of(again.path), samples_of(song.path))


def test_the_same_request_returns_the_stored_song_without_rendering(shared: Studio, song: Track) -> None:
    before = shared.library.list()
    events = list(shared.run(parse(GenerateRequest, QUICK)))
    (track,) = (event for event in events if isinstance(event, Track))
    assert track.sha256 == song.sha256
    assert shared.library.list() == before
    assert not any(isinstance(event, Progress) and event.stage == "denoising" for event in events)


def test_the_first_event_comes_at_once_and_every_step_is_told(studio: Studio) -> None:
    events = studio.run(request_of("generate", **{**QUICK, "inference_steps": 3}))
    assert next(events) == Progress("queued")
    steps = [event for event in events if isinstance(event, Progress) and event.stage == "denoising"]
    assert sorted({event.step for event in steps}) == [1, 2, 3]
    assert all(event.left_s is not None and event.left_s > 0 for event in steps)  # the last step is not the last stage


def test_an_empty_seed_is_drawn_anew_each_time_and_told(studio: Studio) -> None:
    request = request_of("generate", **{**QUICK, "seed": None, "inference_steps": 1})
    seeds = {made_by(studio, request)[0].seed for _ in range(2)}
    assert len(seeds) == 2


def test_variations_are_songs_of_their_own_with_seeds_counting_up(studio: Studio) -> None:
    first, second = made_by(studio, request_of("generate", **QUICK, variations=2))
    assert (first.seed, second.seed) == (3, 4)
    assert not np.array_equal(samples_of(first.path), samples_of(second.path))


def test_a_cancel_acts_within_one_step_saves_nothing_and_frees_the_studio(studio: Studio) -> None:
    events = studio.run(request_of("generate", **{**QUICK, "inference_steps": 200}), job="mine")
    seen, stopped = 0, []
    with pytest.raises(Cancelled):
        for event in events:
            if isinstance(event, Progress) and event.stage == "denoising":
                seen = max(seen, event.step)
                stopped.append(studio.cancel("mine"))  # after the first the job may have ended before this is heard
    assert stopped[0] and 1 <= seen <= 4
    assert not studio.library.list()
    assert made_by(studio, request_of("generate", **QUICK))


def test_a_cancel_while_takes_are_being_saved_loses_none_of_them(studio: Studio) -> None:
    request = request_of("generate", **{**QUICK, "inference_steps": 1}, variations=3)
    tracks = []
    for event in studio.run(request, job="late"):
        if isinstance(event, Track):
            tracks.append(event)
            studio.cancel("late")
    assert len(tracks) == 3


def test_a_caller_that_goes_away_frees_the_studio(studio: Studio) -> None:
    events = studio.run(request_of("generate", **{**QUICK, "inference_steps": 200}))
    next(event for event in events if isinstance(event, Progress) and event.stage == "denoising")
    events.close()
    assert not studio.library.list()
    assert made_by(studio, request_of("generate", **QUICK))


def test_one_job_runs_at_a_time(studio: Studio) -> None:
    running: list[tuple[int, float]] = []

    def job(number: int) -> None:
        for event in studio.run(request_of("generate", **{**QUICK, "seed": number})):
            if isinstance(event, Progress) and event.stage in ("encoding", "denoising", "decoding"):
                running.append((number, time.monotonic()))

    jobs = [threading.Thread(target=job, args=(number,)) for number in (1, 2, 3)]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join()
    order = [number for number, _ in sorted(running, key=lambda entry: entry[1])]
    assert sorted(order, key=order.index) == order
    assert len(studio.library.list()) == 3


def test_a_song_without_a_plan_is_another_song_and_says_so(shared: Studio, song: Track) -> None:
    (alone,) = made_by(shared, request_of("generate", **QUICK, thinking=False))
    assert alone.plan["planner"] == "none"
    assert any("from the words alone" in note for note in alone.notes)
    assert not np.array_equal(samples_of(alone.path), samples_of(song.path))


def test_another_checkpoint_renders_by_its_own_recipe(
    shared: Studio, song: Track, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "xl-turbo").symlink_to(find.checkpoint("nano").folder)
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path))
    asked = {name: value for name, value in QUICK.items() if name != "inference_steps"}
    (other,) = made_by(shared, request_of("generate", **asked, checkpoint="xl-turbo"))
    assert (other.checkpoint, other.values["inference_steps"], other.values["shift"]) == ("xl-turbo", 8, 3.0)
    assert not np.array_equal(samples_of(other.path), samples_of(song.path))


def test_estimates_grow_with_length_and_steps(shared: Studio) -> None:
    def estimate(**values: object) -> float:
        return shared.estimate_s(request_of("generate", **{**QUICK, **values}))

    assert estimate() < estimate(duration_s=60) < estimate(duration_s=60, inference_steps=100)


@pytest.mark.parametrize("seconds_taken", [7.0, 700.0])
def test_a_song_that_the_library_has_is_estimated_at_what_it_took(
    shared: Studio, song: Track, tmp_path: Path, seconds_taken: float
) -> None:
    told = json.loads(song.sidecar.read_text(encoding="utf-8")) | {"seconds_taken": seconds_taken}
    shutil.copy(song.path, tmp_path)
    (tmp_path / song.sidecar.name).write_text(json.dumps(told), encoding="utf-8")
    with closing(Studio(dataclasses.replace(shared.settings, outputs=tmp_path))) as studio:
        assert studio.estimate_s(request_of("generate", **QUICK)) == pytest.approx(seconds_taken)


def test_lyrics_come_as_text_and_say_who_wrote_them(studio: Studio) -> None:
    events = list(studio.run(parse(LyricsRequest, {"brief": "rain at night", "writer": "built-in", "seed": 1})))
    assert "[chorus]" in "".join(event.text for event in events if isinstance(event, TextDelta))
    assert any(isinstance(event, Progress) and event.note == "built-in writer · seed 1" for event in events)


# ---- sources ---------------------------------------------------------------------------------------------------------


def test_extend_goes_on_in_the_tempo_and_key_of_its_own_song_and_keeps_every_sample(
    shared: Studio, song: Track
) -> None:
    asked = {"src_audio": str(song.path), "extra_duration_s": 5.3, "overlap_s": 1, "crossfade_s": 0.5, "seed": 1}
    (longer,) = made_by(shared, request_of("extend", **asked, inference_steps=2))
    assert [longer.plan[name] for name in ("bpm", "keyscale", "caption")] == [
        song.plan[name] for name in ("bpm", "keyscale", "caption")
    ]
    before, after = samples_of(song.path), samples_of(longer.path)
    assert after.shape[1] == before.shape[1] + round(5.3 * RATE)
    kept = before.shape[1] - round(1.5 * RATE)
    assert np.array_equal(after[:, :kept], before[:, :kept])
    part = samples_of(shared.library.new_part(longer))
    assert np.array_equal(part, after[:, before.shape[1] - RATE :])


def test_an_edit_of_a_song_leaves_everything_else_bit_for_bit(shared: Studio, song: Track) -> None:
    asked = {"src_audio": str(song.path), "segment_start_s": 4, "segment_end_s": 6.5, "seed": 1, "inference_steps": 2}
    (edited,) = made_by(shared, request_of("edit", **asked))
    before, after = samples_of(song.path), samples_of(edited.path)
    fade = round(0.05 * RATE)
    outside = np.r_[0 : 4 * RATE - fade, round(6.5 * RATE) + fade : before.shape[1]]
    assert np.array_equal(after[:, outside], before[:, outside])
    assert not np.array_equal(after[:, 4 * RATE : 6 * RATE], before[:, 4 * RATE : 6 * RATE])


def test_latents_of_another_vae_are_left_alone(shared: Studio, song: Track, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request_of("extend", src_audio=str(song.path), extra_duration_s=5, seed=1, inference_steps=1)
    with_latents = samples_of(made_by(shared, asked)[0].path)
    monkeypatch.setattr("jobs.songs.fingerprint", lambda folder: "another")
    assert not np.array_equal(samples_of(made_by(shared, asked)[0].path), with_latents)


def test_the_shortest_edit_is_made_anew(shared: Studio, song: Track) -> None:
    asked = {"src_audio": str(song.path), "segment_start_s": 4, "segment_end_s": 4.1, "seed": 1, "inference_steps": 2}
    (edited,) = made_by(shared, request_of("edit", **asked))
    window = slice(4 * RATE, round(4.1 * RATE))
    assert not np.array_equal(samples_of(edited.path)[:, window], samples_of(song.path)[:, window])


def test_another_source_under_the_same_name_is_another_request(shared: Studio, song: Track, tmp_path: Path) -> None:
    path = tmp_path / "source.wav"
    asked = request_of("cover", prompt="chiptune", src_audio=str(path), seed=1, inference_steps=1)
    shutil.copy(song.path, path)
    (first,) = made_by(shared, asked)
    audio.save_wav(path, audio.load(song.path)[:, : 8 * RATE])
    (second,) = made_by(shared, asked)
    assert (first.seconds, second.seconds) == (10, 8)


def write(path: Path, wave: NDArray[np.float64] | Wave, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, wave.T, rate, subtype=subtype)
    return path


def tone(seconds: float, rate: int = RATE) -> NDArray[np.float64]:
    return 0.3 * np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * 220 / rate)[None].repeat(2, axis=0)


BAD_SOURCES = {
    "missing": lambda path: path,
    "empty": lambda path: (path.write_bytes(b"") and path) or path,
    "no audio": lambda path: path.write_bytes(b"RIFF" + b"\x00" * 400) and path,
    "silent": lambda path: write(path, np.zeros((2, 3 * RATE))),
    "one sample": lambda path: write(path, np.full((2, 1), 0.5)),
    "not finite": lambda path: write(path, np.full((2, 2 * RATE), np.nan), subtype="FLOAT"),
    "too long": lambda path: write(path, np.tile(tone(1, 8000)[:1], 3700), 8000),
    "rate": lambda path: write(path, tone(3, 4000), 4000),
}


@pytest.mark.parametrize("kind", BAD_SOURCES)
@pytest.mark.parametrize("mode", ["cover", "extend", "edit"])
def test_a_bad_source_is_named_before_any_weights_load_and_nothing_is_written(
    studio: Studio, tmp_path: Path, kind: str, mode: str
) -> None:
    path = BAD_SOURCES[kind](tmp_path / "source.wav")
    request = request_of(mode, prompt="x", src_audio=str(path))
    with pytest.raises(RequestError) as caught:
        list(studio.run(request))
    (fault,) = caught.value.faults
    assert (fault.field, fault.value) == ("src_audio", "source.wav")
    assert fault.rule
    assert not studio.loaded
    assert not studio.settings.outputs.exists()


@pytest.mark.parametrize(
    ("mode", "values", "field"),
    [
        ("edit", {"segment_start_s": 1, "segment_end_s": 9}, "segment_end_s"),
        ("extend", {"checkpoint": "no-such"}, "checkpoint"),
        ("cover", {"prompt": "x", "vocal_language": "ja"}, "vocal_language"),
    ],
)
def test_what_does_not_fit_source_or_checkpoint_is_named_before_any_weights_load(
    studio: Studio, tmp_path: Path, mode: str, values: dict[str, object], field: str
) -> None:
    path = write(tmp_path / "source.wav", tone(3))
    with pytest.raises(RequestError) as caught:
        list(studio.run(request_of(mode, src_audio=str(path), **values)))
    assert [fault.field for fault in caught.value.faults] == [field]
    assert not studio.loaded


def test_a_checkpoint_that_is_not_installed_is_said_with_its_size(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"11\.5 GB"):
        list(studio.run(request_of("generate", **QUICK, checkpoint="xl-sft")))


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"), [(8000, 1, "PCM_16"), (44100, 2, "PCM_24"), (96000, 2, "FLOAT")]
)
def test_unusual_sources_are_brought_to_48_khz_stereo(
    shared: Studio, tmp_path: Path, rate: int, channels: int, subtype: str
) -> None:
    path = write(tmp_path / "source.wav", tone(2.5, rate)[:channels], rate, subtype)
    (track,) = made_by(shared, request_of("cover", prompt="folk", src_audio=str(path), seed=1, inference_steps=1))
    info = soundfile.info(track.path)
    assert (info.samplerate, info.channels, info.frames) == (48_000, 2, round(2.5 * 48_000))


# ---- the command line ------------------------------------------------------------------------------------------------


def test_the_command_line_prints_one_json_line_and_writes_the_song(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACE_OUTPUTS_DIR", str(tmp_path / "outputs"))
    flags = ["--prompt", "rock", "--duration-s", "10", "--inference-steps", "1", "--seed", "0", "--out", "song.wav"]
    assert cli.main(["generate", *flags]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["path"] == str(tmp_path / "song.wav")
    assert (report["seed"], report["checkpoint"], report["seconds"]) == (0, find.default().name, 10.0)
    assert soundfile.info(tmp_path / "song.wav").frames == 10 * RATE
    assert "denoising" in printed.err


def test_the_words_of_a_song_are_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACE_OUTPUTS_DIR", str(tmp_path / "outputs"))
    words = tmp_path / "words.txt"
    assert cli.main(["lyrics", "--brief", "rain at night", "--writer", "built-in", "--out", str(words)]) == 0
    assert "[chorus]" in words.read_text(encoding="utf-8")
    assert capsys.readouterr().out == words.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [words]


def test_words_that_cannot_be_written_are_an_error_of_the_studio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACE_OUTPUTS_DIR", str(tmp_path / "outputs"))
    flags = ["lyrics", "--brief", "rain", "--writer", "built-in", "--out"]
    assert cli.main([*flags, str(tmp_path / ("x" * 300))]) == 2
    assert "must be a file in a folder that exists" in capsys.readouterr().err

    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert cli.main([*flags, str(tmp_path / "words.txt")]) == 1
    assert "words.txt could not be written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_lyrics_take_no_flag_that_would_do_nothing() -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["lyrics", "--brief", "rain", "--fresh"])
    assert ended.value.code == 2


@pytest.mark.parametrize("job", [[], ["generate", "--prompt", "x"]], ids=["page", "job"])
def test_the_page_and_the_jobs_know_the_same_devices_and_formats(job: list[str]) -> None:
    read = (cli if job else server).parser().parse_args
    for device in get_args(DeviceKind):
        assert read([*job, "--device", device]).device == device
    for dtype in get_args(DType):
        assert read([*job, "--dtype", dtype]).dtype == dtype
    for runtime in RUNTIMES:
        assert read([*job, "--runtime", runtime]).runtime == runtime
    asked = read([*job, "--runtime", "mlx", "--device", "cpu", "--dtype", "float16", "--bits", "8"])
    assert cli.machine_of(vars(asked)) == Machine(runtime="mlx", device="cpu", dtype="float16", bits=8)
    for wrong in (["--device", "tpu"], ["--dtype", "int8"], ["--runtime", "jax"], ["--bits", "3"]):
        with pytest.raises(SystemExit):
            read([*job, *wrong])


@pytest.mark.parametrize(
    ("flags", "strangers"),
    [
        ([], False),
        (["--host", "localhost"], False),
        (["--host", "127.0.0.5"], False),
        (["--host", "::1"], False),
        (["--host", "0.0.0.0"], True),
        (["--host", "::"], True),
        (["--host", "192.168.1.7"], True),
        (["--host", "studio.local"], True),
        (["--share"], True),
    ],
)
def test_whoever_may_be_a_stranger_opens_presets_and_uploads_only(
    flags: list[str], strangers: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    options = server.parser().parse_args(flags)
    assert server.open_to_strangers(options) == strangers
    assert server.settings_of(options).adapter_homes == ((tmp_path,) if strangers else None)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["generate"], 2, "prompt = ''"),
        (["generate", "--prompt", "x", "--bpm", "fast"], 2, "bpm = 'fast': must be a whole number from 30 to 300"),
        (["generate", "--prompt", "x", "--seed", "-1"], 2, "seed = -1.0"),
        (["generate", "--prompt", "x", "--duration-s", "nan"], 2, "duration_s = nan"),
        (["cover", "--prompt", "x"], 2, "src_audio = None"),
        (["extend", "--src-audio", "nowhere.wav"], 2, "src_audio = 'nowhere.wav': must be a file that exists"),
        (["generate", "--prompt", "x", "--out", "no/such/folder/a.wav"], 2, "out = 'no/such/folder/a.wav'"),
        (["generate", "--prompt", "x", "--out", "song.mp3"], 2, "out = 'song.mp3': must end in .wav"),
        (["lyrics", "--brief", "x", "--out", "no/such/folder/words.txt"], 2, "out = 'no/such/folder/words.txt'"),
        (["lyrics", "--brief", "x", "--writer", "nano"], 2, "writer = 'nano': must be one of qwen-7b"),
        (["lyrics", "--brief", "x", "--vocal-language", "fr"], 2, "the built-in writer knows English only"),
        (["lyrics", "--brief", "x", "--writer", "qwen-7b"], 3, "leave the writer empty"),
        (["generate", "--prompt", "x", "--checkpoint", "xl-sft"], 3, "is not installed"),
        (["generate", "--prompt", "x", "--device", ABSENT], 1, f"no device '{ABSENT}'. Choose "),
        (["generate", "--prompt", "x", "--checkpoint", "lm-1.7b"], 2, "checkpoint = 'lm-1.7b': must be one of nano"),
    ],
)
def test_the_exit_code_tells_what_went_wrong_and_the_message_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACE_OUTPUTS_DIR", str(tmp_path / "outputs"))
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path))
    assert cli.main(arguments) == code
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
