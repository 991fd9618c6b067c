from __future__ import annotations

import base64
import gc
import io
import subprocess
import sys
import tracemalloc
from pathlib import Path

import av
import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.flac import FLAC, Picture
from mutagen.id3 import ID3
from numpy.typing import NDArray
from PIL import Image

from core.errors import RequestError
from core.paths import ROOT
from core.tables import PRODUCT, SAMPLE_RATE
from library.audio import load
from library.cover import GROUND, INK, SIZE, WHITE, cover_of
from library.exports import FORMATS, Format, file_name, trimmed, write, writing
from library.tags import Tags
from theme import MONO

Waveform = NDArray[np.float32]

LYRICS = "[verse]\nMünchen, 東京 – the rain\n\n[chorus]\nis 'near' <b>"
TAGS = Tags(
    title="Lo-fi  Hip\nHop",
    prompt="lo-fi hip hop, dusty piano ♫",
    lyrics=LYRICS,
    seed=0,
    tempo_bpm=82.6,
    key="A♯ minor",
    checkpoint="nano",
    licence="Weights: MIT",
    date="2026-11-28",
)
EXPECTED = {
    "TITLE": "Lo-fi Hip Hop",
    "DESCRIPTION": "lo-fi hip hop, dusty piano ♫",
    "LYRICS": LYRICS,
    "SEED": "0",
    "BPM": "83",
    "INITIALKEY": "A#m",
    "CHECKPOINT": "nano",
    "LICENSE": "Weights: MIT",
    "DATE": "2026-11-28",
    "ENCODER": PRODUCT,
}

formats = pytest.mark.parametrize("name", FORMATS)
lossy = pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if not each.lossless])


def song(seconds: float = 1.3456) -> Waveform:
    """Two chords with a beat `(2, S)`, another on each side; its samples have more than 24 bits."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    beat = np.exp(-((times * 2) % 1) * 8) * np.random.default_rng(1).uniform(-0.3, 0.3, times.size)
    tones = [sum(0.15 * np.sin(2 * np.pi * hz * times) for hz in chord) for chord in ((220, 277, 330), (110, 415, 660))]
    return (np.stack(tones) + beat).astype(np.float32)


def exported(folder: Path, name: str, audio: Waveform, tags: Tags = TAGS, cover: bytes | None = None) -> Path:
    return write(folder / f"song{FORMATS[name].suffix}", audio, FORMATS[name], tags, cover)


def decoded(path: Path) -> Waveform:
    """What ffmpeg hears in the file."""
    to_floats = av.AudioResampler(format="fltp", layout="stereo", rate=SAMPLE_RATE)
    with av.open(str(path)) as container:
        blocks = [each.to_ndarray() for frame in container.decode(audio=0) for each in to_floats.resample(frame)]
    return np.concatenate(blocks, axis=1)


def texts_of(path: Path) -> dict[str, str]:
    """The facts that mutagen finds, by their name among Vorbis comments."""
    tags = mutagen.File(path).tags
    if not isinstance(tags, ID3):
        return {name.upper(): text for name, text in tags if name.upper() != "METADATA_BLOCK_PICTURE"}
    assert tags.version == (2, 4, 0)
    own = {"TIT2": "TITLE", "TBPM": "BPM", "TKEY": "INITIALKEY", "TDRC": "DATE", "TSSE": "ENCODER"}
    texts = {own[frame]: str(tags[frame]) for frame in own if frame in tags}
    texts |= {frame.desc: str(frame) for frame in tags.getall("TXXX")}
    for name, frame in (("DESCRIPTION", "COMM"), ("LYRICS", "USLT")):
        texts |= dict.fromkeys([name] * len(tags.getall(frame)), "".join(map(str, tags.getall(frame))))
    return texts


def pictures_of(path: Path) -> list[tuple[int, str, bytes]]:
    opened = mutagen.File(path)
    if isinstance(opened.tags, ID3):
        return [(int(each.type), each.mime, each.data) for each in opened.tags.getall("APIC")]
    if isinstance(opened, FLAC):
        found = opened.pictures
    else:
        found = [Picture(base64.b64decode(text)) for text in opened.tags.get("METADATA_BLOCK_PICTURE", [])]
    assert all((each.width, each.height) == (SIZE, SIZE) for each in found)
    return [(int(each.type), each.mime, each.data) for each in found]


def faults_of(error: pytest.ExceptionInfo[RequestError]) -> dict[str, str]:
    return {fault.field: fault.rule for fault in error.value.faults}


@formats
def test_every_format_keeps_length_tags_and_cover_and_is_read_again(name: str, tmp_path: Path) -> None:
    audio = song()
    cover = cover_of(audio, 7)
    path = exported(tmp_path, name, audio, cover=cover)
    assert list(tmp_path.iterdir()) == [path]
    assert texts_of(path) == EXPECTED
    assert pictures_of(path) == [(3, "image/png", cover)]
    for heard in (decoded(path), load(path), soundfile.read(path, always_2d=True, dtype="float32")[0].T):
        assert abs(heard.shape[1] - audio.shape[1]) <= 0.05 * SAMPLE_RATE
        both = min(heard.shape[1], audio.shape[1])
        error = np.abs(np.fft.rfft(heard[:, :both] - audio[:, :both])[:, : both // 8]).max()
        assert error < 0.05 * np.abs(np.fft.rfft(audio)).max()  # no shift, no swapped sides, no change of level


@pytest.mark.parametrize("seconds", [0.1, 0.5, 4.03])
@lossy
def test_lossy_files_last_as_long_as_the_song(name: str, seconds: float, tmp_path: Path) -> None:
    path = exported(tmp_path, name, song(seconds))
    assert abs(decoded(path).shape[1] / SAMPLE_RATE - seconds) <= 0.05
    assert abs(soundfile.info(path).duration - seconds) <= 0.05
    assert abs(mutagen.File(path).info.length - seconds) <= 0.05


@pytest.mark.parametrize("name", ["wav24", "flac"])
def test_24_bits_are_kept_exactly(name: str, tmp_path: Path) -> None:
    grid = np.random.default_rng(2).integers(-(2**23), 2**23, (2, 30_000))
    grid[:, :4] = [[-(2**23), 2**23 - 1, 0, 1], [0, -1, 2**23 - 1, -(2**23)]]
    path = exported(tmp_path, name, (grid / 2**23).astype(np.float32))
    assert np.array_equal(soundfile.read(path, dtype="int32")[0].T >> 8, grid)
    assert np.array_equal(load(path), (grid / 2**23).astype(np.float32))


def test_floats_are_kept_exactly_also_beyond_full_scale(tmp_path: Path) -> None:
    audio = song() * np.float32(3)
    assert np.abs(audio).max() > 1
    assert np.array_equal(soundfile.read(exported(tmp_path, "wav32f", audio), dtype="float32")[0].T, audio)


@pytest.mark.parametrize("name", ["wav24", "wav16", "flac", "flac16"])
def test_samples_beyond_full_scale_stay_at_it(name: str, tmp_path: Path) -> None:
    read = soundfile.read(exported(tmp_path, name, song() * np.float32(3)), dtype="float32")[0].T
    loud = song() * np.float32(3)
    assert (read[loud > 1.001] > 0.999).all() and (read[loud < -1.001] < -0.999).all()


@pytest.mark.parametrize("name", ["wav16", "flac16"])
def test_16_bits_are_dithered_the_same_way_every_time(name: str, tmp_path: Path) -> None:
    quiet = np.full((2, 48_000), 0.3 / 2**15, dtype=np.float32)
    path = exported(tmp_path, name, quiet)
    first = path.read_bytes()
    levels = soundfile.read(path, dtype="int16")[0].T
    assert {-1, 0, 1} <= set(np.unique(levels).tolist()) <= {-1, 0, 1, 2}
    assert abs(levels.mean() - 0.3) < 0.02  # what is smaller than a step is kept as a mean
    error = (levels - 0.3).std()
    assert 0.45 < error < 0.55  # triangular noise and rounding: a variance of a quarter
    assert abs(np.corrcoef(levels)[0, 1]) < 0.05
    assert exported(tmp_path, name, quiet).read_bytes() == first


@pytest.mark.parametrize("name", ["wav16", "flac16"])
def test_what_has_16_bits_already_comes_out_as_it_went_in(name: str, tmp_path: Path) -> None:
    grid = np.random.default_rng(2).integers(-(2**15), 2**15, (2, 30_000)).astype(np.int16)
    path = exported(tmp_path, name, (grid / 2**15).astype(np.float32))
    assert np.array_equal(soundfile.read(path, dtype="int16")[0].T, grid)
    silence = exported(tmp_path, name, np.zeros((2, 4_800), dtype=np.float32))
    assert not soundfile.read(silence)[0].any()


def test_lossy_files_have_the_rates_that_they_promise(tmp_path: Path) -> None:
    audio = np.random.default_rng(4).uniform(-0.5, 0.5, (2, 2 * SAMPLE_RATE)).astype(np.float32)
    rates = {}
    for name in ("mp3-320", "mp3-v0", "ogg", "opus"):
        path = exported(tmp_path, name, audio)
        rates[name] = path.stat().st_size * 8 / 1000 / 2
        info = mutagen.File(path).info
        if name.startswith("mp3"):
            assert info.encoder_settings.startswith({"mp3-320": "-b 320", "mp3-v0": "-V 0"}[name])
    assert 320 <= rates["mp3-320"] < 345  # with its tags
    assert 200 < rates["mp3-v0"] < 320
    assert 200 < rates["ogg"] < 400
    assert 170 < rates["opus"] < 230


@formats
def test_facts_that_are_not_there_leave_no_tags(name: str, tmp_path: Path) -> None:
    path = exported(tmp_path, name, song(0.5), Tags())
    assert texts_of(path) == {"ENCODER": PRODUCT}
    assert pictures_of(path) == []


@formats
def test_text_that_no_field_can_hold_is_cleaned(name: str, tmp_path: Path) -> None:
    nasty = Tags(
        title="  a\0b\u2028c\r\n\x1b[31m=d \ud800 ",
        prompt="x\r\ny\u0085z" + "😀" * 2000,
        lyrics="é\n" * 4000,
        key="H dur",
        tempo_bpm=0,
    )
    texts = texts_of(exported(tmp_path, name, song(0.5), nasty))
    assert texts["TITLE"] == "ab c [31m=d"
    assert texts["DESCRIPTION"] == "x\ny\nz" + "😀" * 2000
    assert texts["LYRICS"] == ("é\n" * 4000).strip()
    assert "INITIALKEY" not in texts


def test_wav_tells_title_and_prompt_to_programs_without_id3(tmp_path: Path) -> None:
    with soundfile.SoundFile(exported(tmp_path, "wav24", song())) as file:
        assert (file.title, file.comment) == (EXPECTED["TITLE"], EXPECTED["DESCRIPTION"])
        assert file.software.startswith(PRODUCT)


@pytest.mark.parametrize(
    ("key", "short"), [("C major", "C"), ("F# minor", "F#m"), ("B♭ major", "Bb"), ("Ab minor", "Abm"), ("", None)]
)
def test_keys_are_written_as_players_read_them(key: str, short: str | None, tmp_path: Path) -> None:
    assert texts_of(exported(tmp_path, "flac", song(0.5), Tags(key=key))).get("INITIALKEY") == short


@formats
def test_a_disk_that_is_full_leaves_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        exported(tmp_path, name, song(0.5))
    assert list(tmp_path.iterdir()) == []


def test_samples_that_are_not_finite_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    audio = song(0.5)
    audio[1, 77] = np.nan
    with pytest.raises(RequestError) as raised:
        exported(tmp_path, "mp3-v0", audio)
    assert faults_of(raised) == {"audio": "must hold finite samples only"}
    assert list(tmp_path.iterdir()) == []


def test_an_export_tells_how_far_it_is_and_leaves_nothing_when_it_is_stopped(tmp_path: Path) -> None:
    audio = np.zeros((2, 25 * SAMPLE_RATE), dtype=np.float32)
    path = tmp_path / "song.flac"
    assert list(writing(path, audio, FORMATS["flac"], TAGS)) == [round(0.08 * part, 2) for part in range(1, 13)] + [1.0]
    path.unlink()
    started = writing(path, audio, FORMATS["flac"], TAGS)
    assert next(started) == 0.08
    started.close()
    assert list(tmp_path.iterdir()) == []


def test_formats_are_told_apart_by_what_people_see() -> None:
    titles = [each.title for each in FORMATS.values()]
    assert len(set(titles)) == len(titles)
    assert all(isinstance(each, Format) and each.note.endswith(".") for each in FORMATS.values())
    assert {each.suffix for each in FORMATS.values()} == {".wav", ".flac", ".mp3", ".ogg", ".opus"}


def test_a_trim_keeps_the_samples_between_its_times() -> None:
    audio = song()
    assert np.array_equal(trimmed(audio), audio)
    assert np.array_equal(trimmed(audio, 0.25, 1.25), audio[:, 12_000:60_000])
    assert np.array_equal(trimmed(audio, 0.25), audio[:, 12_000:])
    assert np.array_equal(trimmed(audio, end_s=1.35), audio)  # its length as it is shown


def test_fades_have_equal_power_and_end_in_exact_zeros() -> None:
    ones = np.ones((2, 48_000), dtype=np.float32)
    faded = trimmed(ones, 0, 1, 0.25, 0.5)
    assert faded[:, 0].tolist() == [0, 0] and faded[:, -1].tolist() == [0, 0]
    assert (np.diff(faded[:, :12_001]) >= 0).all() and (np.diff(faded[:, 24_000:]) <= 0).all()
    assert (faded[:, 12_000:24_000] == 1).all()
    assert np.allclose(faded[0, :12_000] ** 2 + faded[0, 11_999::-1] ** 2, 1, atol=2e-4)
    whole = trimmed(ones, 0, 1, 0.5, 0.5)
    assert whole[:, [0, -1]].tolist() == [[0, 0], [0, 0]] and whole.max() <= 1
    assert (ones == 1).all()


@pytest.mark.parametrize(
    ("times", "fields"),
    [
        ({"start_s": -1.0}, {"start_s"}),
        ({"start_s": float("nan"), "end_s": float("inf")}, {"start_s", "end_s"}),
        ({"end_s": 1.4}, {"end_s"}),
        ({"end_s": 100.0, "start_s": 50.0}, {"end_s", "start_s"}),
        ({"start_s": 1.0, "end_s": 1.05}, {"start_s"}),
        ({"start_s": 2.0, "end_s": 1.0}, {"start_s"}),
        ({"start_s": 1.3}, {"start_s"}),
        ({"fade_in_s": 3.0}, {"fade_in_s"}),
        ({"fade_in_s": 0.6, "fade_out_s": 0.8}, {"fade_out_s"}),
        ({"fade_out_s": -0.1, "fade_in_s": float("nan")}, {"fade_in_s", "fade_out_s"}),
    ],
)
def test_times_that_do_not_fit_the_recording_are_refused(times: dict[str, float], fields: set[str]) -> None:
    with pytest.raises(RequestError) as raised:
        trimmed(song(), **times)
    assert set(faults_of(raised)) == fields


def test_a_cover_is_drawn_from_its_song_and_seed_alone() -> None:
    audio = song(3)
    first = cover_of(audio, 7)
    assert cover_of(audio.copy(), 7) == first
    assert cover_of(audio, 8) != first
    assert cover_of(audio[:, ::-1], 7) != first
    assert len(first) < 80_000
    picture = Image.open(io.BytesIO(first))
    assert (picture.format, picture.size) == ("PNG", (SIZE, SIZE))
    greys = np.asarray(picture.convert("L"))
    assert greys[0, 0] == GROUND and greys.max() >= INK - 8
    assert 0.03 < (greys > 128).mean() < 0.5


@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_silence_has_a_cover_too(seconds: float) -> None:
    silence = np.zeros((2, round(seconds * SAMPLE_RATE)), dtype=np.float32)
    assert Image.open(io.BytesIO(cover_of(silence, 2**31 - 1))).size == (SIZE, SIZE)


def test_covers_have_the_colours_of_the_page() -> None:
    assert [MONO.c950, MONO.c100, MONO.c50] == [f"#{grey:02x}{grey:02x}{grey:02x}" for grey in (GROUND, INK, WHITE)]


@pytest.mark.parametrize(
    ("title", "stem"),
    [
        ("lofi hip hop", "lofi-hip-hop"),
        ("Lofi Hip-Hop!", "lofi-hip-hop"),
        ("", "song"),
        (" . ", "song"),
        ("🎵🔥", "song"),
        ("❤️ love 👩‍👩‍👧", "love"),
        ("CON", "con"),
        ("../../etc/passwd", "etc-passwd"),
        ("C:\\Windows\\nul.", "c-windows-nul"),
        ('a<b>:"|?*\0\n\tc', "a-b-c"),
        ("$(rm -rf ~); `ls`", "rm-rf-ls"),
        ("-rf --help", "rf-help"),
        (".hidden", "hidden"),
        ("trailing. . .", "trailing"),
        ("\u202egnp.exe\u202c", "gnp-exe"),
        ("\u200fשלום\u200f עולם", "שלום-עולם"),
        ("Cafe\u0301 – Größe", "café-größe"),
        ("Ça va? ½ ﬁn ＡＢＣ", "ça-va-1-2-fin-abc"),
        ("東京の夜", "東京の夜"),
        ("हिन्दी गीत", "हिन्दी-गीत"),
        ("İstanbul", "i̇stanbul"),
        ("\u3164\u115f\ufe0f\u200b", "song"),
        ("\u0301\u0301", "song"),
        ("\ud800", "song"),
    ],
)
def test_names_are_readable_and_safe_on_every_file_system(title: str, stem: str, tmp_path: Path) -> None:
    name = file_name(title, 7, ".mp3")
    assert name == f"{stem}_seed7.mp3"
    (tmp_path / name).write_bytes(b"")
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("title", ["very long words " * 100, "x" * 5000, "😀é" * 500, "夜" * 300, "𝐚\U00020000" * 300])
def test_long_names_stay_below_255_bytes(title: str) -> None:
    name = file_name(title, 2**31 - 1, ".opus")
    assert 40 < len(name.encode()) <= 255 and len(name) <= 120
    assert name.endswith("_seed2147483647.opus")
    assert not name.split("_")[0].endswith("-")


def test_long_names_end_with_a_whole_word() -> None:
    assert file_name("seventeen letters " * 9, 1, ".wav").startswith("seventeen-letters-")
    assert file_name("seventeen letters " * 9, 1, ".wav").endswith(("-seventeen_seed1.wav", "-letters_seed1.wav"))


def test_what_only_an_action_needs_is_loaded_by_the_action() -> None:
    late = {"scipy", "pyloudnorm", "mutagen", "PIL"}
    code = f"import sys, library.exports, library.loudness; sys.stdout.write(' '.join({late} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_what_was_written_is_not_kept_in_memory(tmp_path: Path) -> None:
    audio = song(10.0)
    write(tmp_path / "song.wav", song(), FORMATS["wav32f"], TAGS)  # imports what it needs
    gc.disable()  # which would find it, some time
    tracemalloc.start()
    try:
        write(tmp_path / "song.wav", audio, FORMATS["wav32f"], TAGS)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()
    assert kept < audio.nbytes / 8
