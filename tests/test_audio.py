from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from core.errors import RequestError
from core.files import sha256
from core.paths import ROOT
from core.tables import SAMPLE_RATE
from library import audio

Waveform = NDArray[np.float32]


def tone(seconds: float = 1.0, rate: int = 48_000, hz: float = 440.0, level: float = 0.5) -> Waveform:
    """A sine `(S,)`."""
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds: float = 1.0, rate: int = 48_000, level: float = 0.3) -> Waveform:
    """Stereo noise `(2, S)`."""
    return (level * np.random.default_rng(3).uniform(-1, 1, (2, round(seconds * rate)))).astype(np.float32)


def write_with_pyav(
    path: Path, samples: Waveform, rate: int, codec: str, layout: str, options: dict[str, str] | None = None
) -> None:
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        # Interleaved: PyAV makes no frames of eight planes and more.
        frame = av.AudioFrame.from_ndarray(samples.T.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=1024)
        for block in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))


def pitch_hz(channel: Waveform) -> float:
    spectrum = np.abs(np.fft.rfft(channel * np.hanning(channel.size)))
    return float(spectrum.argmax() * SAMPLE_RATE / channel.size)


def fault_of(path: Path) -> str:
    """The rule of the one fault that loading gives, after checking its field and value."""
    with pytest.raises(RequestError) as raised:
        audio.load(path, "src_audio")
    (fault,) = raised.value.faults
    assert fault.field == "src_audio"
    assert fault.value == path.name
    return fault.rule


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_a_wav_file_goes_through_the_studio_bit_for_bit(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "in.wav", noise().T, 48_000, subtype=subtype)
    loaded = audio.load(tmp_path / "in.wav")
    audio.save_wav(tmp_path / "out.wav", loaded)
    for bits in ("int32", "float32"):
        came, went = (soundfile.read(tmp_path / name, dtype=bits)[0] for name in ("in.wav", "out.wav"))
        assert np.array_equal(came, went)
    assert loaded.dtype == np.float32 and loaded.shape == (2, 48_000)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000, 192_000])
def test_what_load_returns_is_saved_exactly_whatever_the_rate(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "in.wav", np.stack([tone(1.0, rate), tone(1.0, rate, 880)]).T, rate, subtype="FLOAT")
    loaded = audio.load(tmp_path / "in.wav")
    audio.save_wav(tmp_path / "out.wav", loaded)
    assert loaded.shape == (2, 48_000)
    assert np.array_equal(audio.load(tmp_path / "out.wav"), loaded)
    assert [pitch_hz(channel) for channel in loaded] == [440.0, 880.0]
    assert np.abs(loaded[:, 2000:-2000]).max() == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize(
    ("name", "tolerance"), [("song.wav", 1e-4), ("song.flac", 1e-4), ("song.mp3", 0.02), ("song.ogg", 0.02)]
)
def test_formats_of_libsndfile_keep_length_pitch_and_level(tmp_path: Path, name: str, tolerance: float) -> None:
    soundfile.write(tmp_path / name, np.stack([tone(2.0), tone(2.0, hz=660)]).T, 48_000)
    loaded = audio.load(tmp_path / name)
    assert loaded.shape[1] == pytest.approx(96_000, abs=0 if tolerance < 0.01 else 1200)
    assert [pitch_hz(channel) for channel in loaded] == pytest.approx([440, 660], abs=1)
    assert np.abs(loaded[:, 9_600:-9_600]).max() == pytest.approx(0.5, abs=tolerance)


@pytest.mark.parametrize(("name", "codec"), [("song.m4a", "aac"), ("song.mp4", "aac"), ("song.aac", "aac")])
def test_aac_is_read_through_pyav(tmp_path: Path, name: str, codec: str) -> None:
    write_with_pyav(tmp_path / name, np.stack([tone(2.0, 44_100), tone(2.0, 44_100, 660)]), 44_100, codec, "stereo")
    loaded = audio.load(tmp_path / name)
    assert loaded.shape[1] == pytest.approx(96_000, abs=2_400)
    assert [pitch_hz(channel) for channel in loaded] == pytest.approx([440, 660], abs=1)


def test_tags_in_an_old_encoding_keep_no_recording_out(tmp_path: Path) -> None:
    path = tmp_path / "song.mka"
    soundfile.write(tmp_path / "in.wav", tone(), 48_000)
    with av.open(str(tmp_path / "in.wav")) as source, av.open(str(path), "w") as container:
        container.metadata["title"] = "Gr~~e"
        stream = container.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    path.write_bytes(path.read_bytes().replace(b"Gr~~e", b"Gr\xfc\xdfe"))
    assert audio.load(path).shape == (2, 48_000)


def test_the_name_of_a_file_says_nothing_about_its_content(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", tone(), 48_000)
    for name in ("song.mp3", "song.raw", "song"):
        (tmp_path / name).write_bytes((tmp_path / "in.wav").read_bytes())
        assert audio.load(tmp_path / name).shape == (2, 48_000)


def test_mono_goes_to_both_sides_at_its_level(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", tone(), 48_000, subtype="PCM_16")
    left, right = audio.load(tmp_path / "in.wav")
    assert np.array_equal(left, right)
    assert np.abs(left).max() == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(
    ("channel", "left", "right"),
    [("FL", 1, 0), ("FR", 0, 1), ("FC", 0.7071, 0.7071), ("BL", 0.7071, 0), ("BR", 0, 0.7071)],
)
def test_surround_is_folded_down_by_the_itu_weights(tmp_path: Path, channel: str, left: float, right: float) -> None:
    order = ["FL", "FR", "FC", "LFE", "BL", "BR"]
    samples = np.zeros((6, 48_000), dtype=np.float32)
    samples[order.index(channel)] = tone(level=1.0)
    soundfile.write(tmp_path / "in.wav", samples.T, 48_000, subtype="PCM_24")
    peaks = np.abs(audio.load(tmp_path / "in.wav")).max(axis=1)
    assert peaks == pytest.approx(np.array([left, right]) / (1 + 2 * 0.7071), abs=1e-3)


def test_a_surround_recording_at_full_scale_does_not_clip(tmp_path: Path) -> None:
    samples = np.tile(tone(level=1.0), (6, 1))
    soundfile.write(tmp_path / "in.wav", samples.T, 48_000, subtype="PCM_24")
    assert np.abs(audio.load(tmp_path / "in.wav")).max() == pytest.approx(1.0, abs=1e-3)


def test_a_low_effects_channel_alone_is_silence(tmp_path: Path) -> None:
    samples = np.zeros((6, 48_000), dtype=np.float32)
    samples[3] = tone()
    soundfile.write(tmp_path / "in.wav", samples.T, 48_000)
    assert "silent" in fault_of(tmp_path / "in.wav")


LOADING = """
import json, sys
from pathlib import Path
import numpy as np
from core.errors import RequestError
from library import audio

for name in sys.argv[1:]:
    try:
        loaded = audio.load(Path(name), "src_audio")
        told = [loaded.shape[1], *np.abs(loaded).max(axis=1).tolist()]
    except RequestError as refused:
        told = [refused.faults[0].field, refused.faults[0].value, refused.faults[0].rule]
    print(json.dumps(told), flush=True)
"""


def loaded_elsewhere(*paths: Path) -> list[list[float | str]]:
    """[samples, left peak, right peak] or [field, value, rule] of each file, from a process that may die of it."""
    command = [sys.executable, "-c", LOADING, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr[-2000:])
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_seven_point_one_is_folded_down_by_the_itu_weights(tmp_path: Path) -> None:
    order, paths = ["FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"], []
    for channel in order:
        samples = np.zeros((8, 48_000), dtype=np.float32)
        samples[order.index(channel)] = tone(level=1.0)
        samples[0, :100] = 0.001  # the low-effects channel alone would be refused as silence
        for ending in ("wav", "flac"):
            paths.append(tmp_path / f"{channel}.{ending}")
            soundfile.write(paths[-1], samples.T, 48_000, subtype="PCM_24")
    side = 0.7071
    gains = {"FL": (1, 0), "FR": (0, 1), "FC": (side, side), "LFE": (0, 0)}
    gains |= {"BL": (side, 0), "BR": (0, side), "SL": (side, 0), "SR": (0, side)}
    for path, found in zip(paths, loaded_elsewhere(*paths), strict=True):
        expected = [48_000, *(gain / (1 + 3 * side) for gain in gains[path.stem])]
        assert found == pytest.approx(expected, abs=1e-3), path.name


@pytest.mark.parametrize("layout", ["7.1(wide)", "7.1.2", "7.1.4"])
def test_recordings_of_many_channels_that_say_where_they_stand_are_folded_down(tmp_path: Path, layout: str) -> None:
    places = [channel.name for channel in av.AudioLayout(layout).channels]
    loud, left = np.tile(tone(level=1.0), (len(places), 1)), np.zeros((len(places), 48_000), dtype=np.float32)
    left[[index for index, place in enumerate(places) if place.endswith("L")]] = tone(level=1.0)
    for name, samples in (("loud.wav", loud), ("left.wav", left)):
        write_with_pyav(tmp_path / name, samples, 48_000, "pcm_s24le", layout)
    whole, one_side = loaded_elsewhere(tmp_path / "loud.wav", tmp_path / "left.wav")
    assert whole == pytest.approx([48_000, 1, 1], abs=1e-3)
    assert one_side[1:] == pytest.approx([one_side[1], 0], abs=1e-3) and float(one_side[1]) > 0.4


def test_compressed_surround_of_eight_channels_is_folded_down(tmp_path: Path) -> None:
    samples = np.tile(tone(level=0.5), (8, 1))
    write_with_pyav(tmp_path / "song.wv", samples, 48_000, "wavpack", "7.1")
    write_with_pyav(tmp_path / "song.m4a", samples, 48_000, "aac", "7.1")
    for found in loaded_elsewhere(tmp_path / "song.wv", tmp_path / "song.m4a"):
        assert found == pytest.approx([48_000, 0.5, 0.5], rel=0.2)


@pytest.mark.parametrize("channels", [9, 12, 16, 24, 64, 100])
def test_many_channels_that_do_not_say_where_they_stand_are_refused(tmp_path: Path, channels: int) -> None:
    soundfile.write(tmp_path / "in.wav", np.full((24_000, channels), 0.1), 48_000)
    rule = f"must say where each of its {channels} channels stands, or have at most 8"
    assert loaded_elsewhere(tmp_path / "in.wav") == [["src_audio", "in.wav", rule]]


def test_the_command_line_refuses_sixteen_channels_and_lives(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.full((24_000, 16), 0.1), 48_000)
    for command in ("understand", "cover"):
        words = [sys.executable, str(ROOT / "app.py"), command, "--src-audio", str(tmp_path / "in.wav")]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (2, "")
        assert "src_audio = 'in.wav': must say where each of its 16 channels stands" in done.stderr


def test_a_stream_that_changes_its_channels_is_refused(tmp_path: Path) -> None:
    for name, samples, layout in (("one.aac", tone()[None], "mono"), ("two.aac", noise(), "stereo")):
        write_with_pyav(tmp_path / name, samples, 48_000, "aac", layout)
    both = (tmp_path / "one.aac").read_bytes() + (tmp_path / "two.aac").read_bytes()
    (tmp_path / "both.aac").write_bytes(both)
    assert fault_of(tmp_path / "both.aac") == "must keep its rate and its channels from start to end"


def test_a_recording_louder_than_full_scale_is_turned_down_not_cut(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", tone(level=2.0), 48_000, subtype="FLOAT")
    loaded = audio.load(tmp_path / "in.wav")
    assert loaded[0] == pytest.approx(tone(level=1.0), abs=1e-6)


def test_a_quiet_recording_is_not_turned_up(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", tone(level=0.001), 48_000, subtype="PCM_24")
    assert np.abs(audio.load(tmp_path / "in.wav")).max() == pytest.approx(0.001, abs=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    samples = tone()
    samples[100] = value
    soundfile.write(tmp_path / "in.wav", samples, 48_000, subtype="FLOAT")
    assert fault_of(tmp_path / "in.wav") == "must hold finite samples only"


@pytest.mark.parametrize("level", [0.0, 0.9e-4])
def test_silence_is_refused(tmp_path: Path, level: float) -> None:
    soundfile.write(tmp_path / "in.wav", tone(level=level), 48_000, subtype="PCM_24")
    assert fault_of(tmp_path / "in.wav") == "must not be silent: its peak is below -80 dBFS"


@pytest.mark.parametrize("samples", [1, 23_999])
def test_a_recording_that_is_too_short_is_refused(tmp_path: Path, samples: int) -> None:
    soundfile.write(tmp_path / "in.wav", np.full(samples, 0.5), 48_000)
    assert fault_of(tmp_path / "in.wav").startswith("must last 0.5 to 600 seconds, not ")


def test_an_empty_wav_file_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(0), 48_000)
    assert fault_of(tmp_path / "in.wav") == "must last 0.5 to 600 seconds, not 0"


def test_an_hour_is_refused_from_the_header_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with soundfile.SoundFile(tmp_path / "in.wav", "w", 8_000, 1, subtype="PCM_U8") as file:
        for _ in range(60):
            file.write(np.full(60 * 8_000, 0.5))
    monkeypatch.setattr(soundfile, "read", lambda *_, **__: pytest.fail("decoded"))
    assert fault_of(tmp_path / "in.wav") == "must last 0.5 to 600 seconds, not 3600"


def test_a_file_that_hides_its_length_is_not_decoded_further_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "LONGEST_S", 2.0)
    path = tmp_path / "live.mkv"
    write_with_pyav(path, np.tile(tone(8.0, 44_100), (2, 1)), 44_100, "aac", "stereo", {"live": "1"})
    assert audio.probe(path).seconds is None
    assert fault_of(path).startswith("must last 0.5 to 2 seconds, not 2.0")


@pytest.mark.parametrize(
    "content",
    [
        b"\x00",
        b"RIFF",
        b"not audio at all" * 40,
        bytes(range(256)) * 200,
        b"\x00" * 50_000,
        b"ID3\x04" + b"\xff" * 9000,
    ],
)
def test_files_that_are_not_audio_are_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("song.wav", "song.mp3", "song.m4a"):
        (tmp_path / name).write_bytes(content)
        assert fault_of(tmp_path / name).startswith("must ")


@pytest.mark.parametrize("name", ["song.flac", "song.mp3", "song.ogg", "song.m4a"])
def test_damaged_files_are_refused_or_read_but_never_crash(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("m4a"):
        write_with_pyav(path, noise(2.0), 48_000, "aac", "stereo")
    else:
        soundfile.write(path, noise(2.0).T, 48_000)
    whole = path.read_bytes()
    dice = np.random.default_rng(5)
    for _ in range(12):
        damaged = bytearray(whole)
        for place in dice.integers(0, len(whole), 30):
            damaged[place] = dice.integers(256)
        path.write_bytes(damaged)
        try:
            loaded = audio.load(path, "src_audio")
        except RequestError as error:
            assert error.faults[0].field == "src_audio"
        else:
            assert np.isfinite(loaded).all() and np.abs(loaded).max() <= 1


@pytest.mark.parametrize("name", ["song.flac", "song.m4a"])
def test_half_a_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("m4a"):
        write_with_pyav(path, noise(4.0), 48_000, "aac", "stereo")
    else:
        soundfile.write(path, noise(4.0).T, 48_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert fault_of(path).startswith(("must be a complete audio file", "breaks off after"))


def test_a_playlist_is_not_audio(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "secret.wav", tone(), 48_000)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path / 'secret.wav'}\n#EXT-X-ENDLIST\n"
    for name in ("song.m3u8", "song.m4a"):
        (tmp_path / name).write_text(playlist)
        assert fault_of(tmp_path / name).startswith("must be a complete audio file")
    (tmp_path / "song.ffconcat").write_text("ffconcat version 1.0\nfile secret.wav\n")
    assert fault_of(tmp_path / "song.ffconcat").startswith("must be a complete audio file")


def test_missing_empty_and_misnamed_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    assert fault_of(tmp_path / "absent.wav") == "must be a file that exists"
    assert fault_of(tmp_path) == "must be a file that exists"
    assert fault_of(tmp_path / "empty.wav") == "must not be empty: it has 0 bytes"


@pytest.mark.parametrize("rate", [4_000, 384_000])
def test_rates_out_of_range_are_refused(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "in.wav", tone(1.0, rate), rate)
    assert fault_of(tmp_path / "in.wav") == f"must be sampled at 8000 to 192000 Hz, not at {rate} Hz"


def test_probe_tells_the_header_and_refuses_what_load_refuses_by_it(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros((66_150, 2)), 44_100)
    assert audio.probe(tmp_path / "in.wav") == audio.Header(sample_rate=44_100, channels=2, seconds=1.5)
    with pytest.raises(RequestError, match=r"reference_audio = 'absent.wav': must be a file that exists"):
        audio.probe(tmp_path / "absent.wav", "reference_audio")


def test_saving_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    audio.save_wav(tmp_path / "song.wav", noise())
    before = sha256(tmp_path / "song.wav")
    with pytest.raises(FileNotFoundError):
        audio.save_wav(tmp_path / "absent" / "song.wav", noise())
    with pytest.raises(ValueError):
        audio.save_wav(tmp_path / "song.wav", np.zeros((3, 48_000), dtype=np.float32))
    assert [path.name for path in tmp_path.iterdir()] == ["song.wav"]
    assert sha256(tmp_path / "song.wav") == before


def test_saving_cuts_off_what_24_bits_cannot_hold(tmp_path: Path) -> None:
    loud = np.stack([tone(level=1.5), tone(level=1.5)])
    audio.save_wav(tmp_path / "song.wav", loud)
    saved = soundfile.read(tmp_path / "song.wav", dtype="float32")[0].T
    assert saved.max() == 1 - 2**-23 and saved.min() == -1
    quiet = np.abs(loud) < 1
    assert np.abs(saved - loud)[quiet].max() <= 2**-24


def test_tags_are_written_and_read_back(tmp_path: Path) -> None:
    audio.save_wav(tmp_path / "song.wav", noise(), {"title": "Über · “quotes”", "comment": "seed 7", "genre": "lofi"})
    with soundfile.SoundFile(tmp_path / "song.wav") as file:
        assert (file.title, file.comment, file.genre) == ("Über · “quotes”", "seed 7", "lofi")
        assert (file.samplerate, file.channels, file.subtype, file.frames) == (48_000, 2, "PCM_24", 48_000)


def test_a_splice_is_the_original_bit_for_bit_beyond_its_fades() -> None:
    original, rendered = noise(), noise() * -0.5
    spliced = audio.splice(original, rendered, (10_000, 20_000), fade=480)
    assert np.array_equal(spliced[:, :9_520], original[:, :9_520])
    assert np.array_equal(spliced[:, 20_480:], original[:, 20_480:])
    assert np.array_equal(spliced[:, 10_000:20_000], rendered[:, 10_000:20_000])


def test_the_fades_of_a_splice_are_straight_lines() -> None:
    original, rendered = np.zeros((2, 100), dtype=np.float32), np.ones((2, 100), dtype=np.float32)
    spliced = audio.splice(original, rendered, (40, 60), fade=4)
    assert spliced[0, 35:41] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert spliced[0, 59:65] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0])
    assert not original.any()


@pytest.mark.parametrize(
    ("window", "fade"), [((0, 50), 10), ((50, 100), 10), ((0, 100), 10), ((3, 98), 10), ((40, 60), 0)]
)
def test_a_splice_at_the_ends_has_no_fade_beyond_them(window: tuple[int, int], fade: int) -> None:
    original, rendered = np.zeros((2, 100), dtype=np.float32), np.ones((2, 100), dtype=np.float32)
    spliced = audio.splice(original, rendered, window, fade)
    assert spliced.shape == (2, 100)
    assert (spliced[:, slice(*window)] == 1).all()
    assert (np.diff(spliced[0, : window[0]]) >= 0).all() and (np.diff(spliced[0, window[1] :]) <= 0).all()


def test_the_peak_is_limited_only_above_full_scale() -> None:
    quiet = noise()
    assert audio.limit_peak(quiet) is quiet
    assert np.abs(audio.limit_peak(quiet * 10)).max() == pytest.approx(1)
    assert audio.limit_peak(np.zeros((2, 0), dtype=np.float32)).shape == (2, 0)


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_resampling_keeps_the_length_to_a_sample(rate: int) -> None:
    assert audio.resample(noise(1.37), 48_000, rate).shape == (2, round(1.37 * rate))


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"song")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"song").hexdigest()
