from __future__ import annotations

import dataclasses
import json
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path

import av
import numpy as np
import pyloudnorm
import pytest
import soundfile
from numpy.typing import NDArray

from core.errors import RequestError
from core.tables import LONGEST_S, SAMPLE_RATE
from library.audio import load, resample
from library.loudness import MOST_REDUCTION_DB, TOLERANCE_LU, measure, normalise

Waveform = NDArray[np.float32]


def ffmpeg(audio: Waveform) -> tuple[float, float]:
    """Integrated loudness and true peak as ffmpeg's ebur128 measures them, to a thousandth."""
    graph = av.filter.Graph()
    source = graph.add(
        "abuffer",
        f"sample_rate={SAMPLE_RATE}:sample_fmt=fltp:channel_layout=stereo:time_base=1/{SAMPLE_RATE}",
    )
    meter = graph.add("ebur128", "peak=true:metadata=1:framelog=quiet")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    told: dict[str, str] = {}
    block = SAMPLE_RATE // 10
    for start in range(0, audio.shape[1], block):
        samples = np.ascontiguousarray(audio[:, start : start + block])
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = SAMPLE_RATE, start
        source.push(frame)
        while True:
            try:
                told |= sink.pull().metadata
            except (av.BlockingIOError, av.EOFError):
                break
    peak = float(told["lavfi.r128.true_peak"])
    return float(told["lavfi.r128.I"]), float(20 * np.log10(peak + 1e-9))


def times(seconds: float) -> NDArray[np.float64]:
    return np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE


def both(side: NDArray[np.floating]) -> Waveform:
    return np.stack([side, side]).astype(np.float32)


def tone(hz: float, level: float = 0.5, seconds: float = 1.5, phase: float = 0.1) -> Waveform:
    return both(level * np.sin(2 * np.pi * hz * times(seconds) + phase))


def noise(level: float = 0.3, seconds: float = 1.5, seed: int = 0) -> Waveform:
    shape = (2, round(seconds * SAMPLE_RATE))
    return np.random.default_rng(seed).uniform(-level, level, shape).astype(np.float32)


def music(seconds: float = 3.0) -> Waveform:
    """Tones with drums over them whose peaks are 15 dB louder."""
    beat = np.exp(-((times(seconds) * 2) % 1) * 20) * np.random.default_rng(1).standard_normal(times(seconds).size)
    chords = ((110, 277, 330), (55, 415, 660))
    left, right = (sum(0.05 * np.sin(2 * np.pi * hz * times(seconds)) for hz in chord) for chord in chords)
    return np.stack([left + 0.2 * beat, right + 0.15 * beat]).astype(np.float32)


def one_hot(over: Waveform, level: float = 1.0) -> Waveform:
    changed = over.copy()
    changed[:, changed.shape[1] // 2] = level
    return changed


def spoilt(value: float) -> Waveform:
    return one_hot(noise(), value)


AWKWARD: Mapping[str, Callable[[], Waveform]] = {
    "silence": lambda: np.zeros((2, 48_000), dtype=np.float32),
    "DC": lambda: both(np.full(48_000, 0.5)),
    "DC on one side": lambda: np.stack([np.full(48_000, 0.5), np.zeros(48_000)]).astype(np.float32),
    "noise on DC": lambda: noise(0.2) + np.float32(0.4),
    "a step": lambda: both(np.where(times(1) < 0.5, 0, 0.8)),
    "no samples": lambda: np.zeros((2, 0), dtype=np.float32),
    "one sample": lambda: np.ones((2, 1), dtype=np.float32),
    "0.1 s": lambda: noise(seconds=0.1),
    "a sample less than 0.4 s": lambda: noise(seconds=0.4)[:, 1:],
    "0.4 s": lambda: noise(seconds=0.4),
    "an odd length": lambda: noise()[:, :48_017],
    "a full-scale square": lambda: np.sign(tone(200, 1.0)),
    "a full-scale square at 997 Hz": lambda: np.sign(tone(997, 1.0)),
    "samples of full scale and random sign": lambda: np.sign(noise()),
    "clipped": lambda: np.clip(4 * music(), -1, 1),
    "beyond full scale": lambda: 30 * music(),
    "mono on both sides": lambda: both(music()[0]),
    "one side only": lambda: music() * np.array([[1], [0]], dtype=np.float32),
    "opposite sides": lambda: tone(330) * np.array([[1], [-1]], dtype=np.float32),
    "8 kHz": lambda: resample(noise()[:, :12_000], 8_000, SAMPLE_RATE),
    "one hot sample": lambda: one_hot(np.zeros((2, 72_000), dtype=np.float32)),
    "one hot sample over noise": lambda: one_hot(noise(0.01)),
    "the first sample is hot": lambda: np.concatenate([np.ones((2, 1), dtype=np.float32), noise(0.1)], axis=1),
    "the last sample is hot": lambda: np.concatenate([noise(0.1), np.ones((2, 1), dtype=np.float32)], axis=1),
    "NaN": lambda: spoilt(np.nan),
    "infinite": lambda: spoilt(-np.inf),
    "white noise": noise,
    "very quiet": lambda: noise(0.002),
    "below the gate": lambda: noise(0.0002),
    "half the sample rate": lambda: both(0.5 * np.cos(np.pi * np.arange(72_000))),
    "just below half the sample rate": lambda: tone(23_000.3),
    "a start between the samples": lambda: tone(12_000, 0.7, phase=np.pi / 4) * np.array([[1], [0]], dtype=np.float32),
    "partly below the gate": lambda: np.concatenate([noise(0.0004), noise(0.00025)], axis=1),
    "deep bass": lambda: tone(25, 0.9),
    "bursts": lambda: noise(0.5, 3) * (times(3) % 1 < 0.05).astype(np.float32),
    "mostly silence": lambda: noise(0.5, 3) * (times(3) < 0.3).astype(np.float32),
    "a fade over 60 dB": lambda: noise(0.9, 3) * (10 ** (-times(3))).astype(np.float32),
    "longer than the limiter reads at a time": lambda: one_hot(noise(0.05, 21), 0.7),
}

REFUSED = {
    "silence": "must hold sound: every sample is the same",
    "DC": "must hold sound: every sample is the same",
    "DC on one side": "must hold sound: every sample is the same",
    "no samples": "must last at least 0.4 seconds to have a loudness",
    "one sample": "must last at least 0.4 seconds to have a loudness",
    "0.1 s": "must last at least 0.4 seconds to have a loudness",
    "a sample less than 0.4 s": "must last at least 0.4 seconds to have a loudness",
    "NaN": "must hold finite samples only",
    "infinite": "must hold finite samples only",
    "below the gate": "must hold sound above -70 LUFS, where the meter begins",
}


@pytest.mark.parametrize("name", [name for name in AWKWARD if name not in REFUSED])
def test_an_awkward_recording_gets_its_loudness_under_the_ceiling_or_a_word_on_why_not(name: str) -> None:
    audio = AWKWARD[name]()
    before = audio.copy()
    for lufs, ceiling_db in ((-14.0, -1.0), (-8.0, -9.0)):
        changed, facts = normalise(audio, lufs, ceiling_db)
        assert changed.shape == audio.shape and changed.dtype == np.float32
        heard, peak_db = ffmpeg(changed)
        assert peak_db <= ceiling_db + 0.005  # ffmpeg tells it to a thousandth
        assert abs(heard - facts.after.lufs) <= 0.05
        assert facts.after.true_peak_db <= ceiling_db
        assert facts.reached == (abs(facts.after.lufs - lufs) <= TOLERANCE_LU)
        assert facts.reached != any("comes no nearer" in note for note in facts.notes)
        assert facts.reduction_db <= MOST_REDUCTION_DB
        assert facts.reached or facts.after.true_peak_db > ceiling_db - 1  # nothing is left undone
    assert np.array_equal(audio, before)


@pytest.mark.parametrize("name", REFUSED)
def test_a_recording_without_a_loudness_is_refused_in_words(name: str) -> None:
    for act in (measure, lambda audio: normalise(audio, -14, -1)):
        with pytest.raises(RequestError) as raised:
            act(AWKWARD[name]())
        (fault,) = raised.value.faults
        assert (fault.field, fault.rule) == ("audio", REFUSED[name])


@pytest.mark.parametrize("ceiling_db", [-9.0, -3.0, -1.0, 0.0])
@pytest.mark.parametrize("lufs", [-24.0, -16.0, -14.0, -11.0, -8.0])
def test_music_reaches_every_loudness_that_its_ceiling_allows(lufs: float, ceiling_db: float) -> None:
    changed, facts = normalise(music(), lufs, ceiling_db)
    heard, peak_db = ffmpeg(changed)
    assert peak_db <= ceiling_db + 0.005
    if ceiling_db - lufs >= 9:
        assert facts.reached and abs(heard - lufs) <= 0.1 and facts.notes == ()


@pytest.mark.parametrize("make", [music, noise, lambda: tone(60), lambda: music(11.3)])
def test_the_meter_agrees_with_ffmpeg_and_with_pyloudnorm(make: Callable[[], Waveform]) -> None:
    audio = make()
    measured = measure(audio)
    heard, peak_db = ffmpeg(audio)
    assert abs(measured.lufs - heard) <= 0.02
    assert abs(measured.true_peak_db - peak_db) <= 0.05
    whole = audio[:, : audio.shape[1] // 4800 * 4800]
    exact = pyloudnorm.Meter(SAMPLE_RATE, filter_class="DeMan").integrated_loudness(whole.T.astype(np.float64))
    assert abs(measured.lufs - exact) <= 0.005


def test_a_reference_tone_measures_what_the_standard_says() -> None:
    assert measure(tone(997, 1.0, 2)).lufs == pytest.approx(0.0, abs=0.05)  # BS.1770: -3.01 for one side
    assert measure(tone(997, 1.0, 2)).true_peak_db == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("name", ["8 kHz", "white noise", "noise on DC", "clipped", "very quiet"])
def test_nothing_but_the_gain_changes_where_the_peaks_have_room(name: str) -> None:
    audio = AWKWARD[name]()
    changed, facts = normalise(audio, -24, 0)
    assert facts.reduction_db == 0
    assert np.allclose(changed, audio * 10 ** (facts.gain_db / 20), rtol=1e-6, atol=0)


def test_the_limiter_turns_both_sides_down_alike_and_leaves_the_rest_alone() -> None:
    audio = tone(300, 0.1, 2)
    audio[0, 48_000:48_100] *= 8
    changed, facts = normalise(audio, -14, -1)
    assert facts.reached and facts.reduction_db > 1
    gain = changed / audio / 10 ** (facts.gain_db / 20)
    clear = np.abs(audio).min(axis=0) > 0.01
    assert np.allclose(gain[0, clear], gain[1, clear], rtol=1e-4)
    ahead, after = 48_000 - 250, 48_100 + SAMPLE_RATE
    assert np.allclose(gain[:, :ahead][:, clear[:ahead]], 1, atol=1e-4)
    assert np.allclose(gain[:, after:][:, clear[after:]], 1, atol=1e-3)
    assert np.abs(np.diff(gain[1, clear])).max() < 0.05  # it moves in a curve


@pytest.mark.parametrize("hz", [50, 110, 1000, 5000])
def test_a_tone_that_is_held_down_stays_a_tone(hz: float) -> None:
    swelling = tone(hz, 1.0, 4) * np.where(times(4) < 2, 0.5, 1).astype(np.float32)
    changed, facts = normalise(swelling, measure(swelling).lufs - 4.5, -6)
    assert facts.reached and facts.reduction_db > 2
    held = changed[0, 3 * SAMPLE_RATE :] * np.hanning(SAMPLE_RATE)
    spectrum = np.abs(np.fft.rfft(held))
    rest = np.delete(spectrum, np.arange(hz - 4, hz + 5).astype(int))
    assert 20 * np.log10(rest.max() / spectrum.max()) < -60


def test_what_cannot_be_reached_is_said_with_the_loudness_that_is() -> None:
    changed, facts = normalise(one_hot(noise(0.01)), -14, -1)
    assert not facts.reached
    (note,) = facts.notes
    assert note == (
        f"It reaches {facts.after.lufs:.1f} LUFS instead of -14: under -1 dBTP, with at most 12 dB taken off a peak, "
        "it comes no nearer."
    )
    assert ffmpeg(changed)[1] == pytest.approx(-1, abs=0.3)


def test_a_clipped_source_and_one_off_its_zero_line_are_told_of() -> None:
    clipped = music()
    clipped[:, 30_000:30_010] = 1
    clipped[:, 60_000:60_003] = -1
    assert normalise(clipped, -14, -1)[1].notes[0] == (
        "The source is clipped 2 times: that can be heard at any loudness."
    )
    assert normalise(noise(0.2) + np.float32(0.4), -20, 0)[1].notes[0] == (
        "The source lies 40% of full scale off its zero line, which costs headroom."
    )
    assert normalise(tone(50, 1.0), -14, -1)[1].notes == ()


def test_normalising_again_changes_next_to_nothing_and_is_the_same_every_time() -> None:
    once, facts = normalise(music(), -11, -1)
    assert np.array_equal(normalise(music(), -11, -1)[0], once)
    _, again = normalise(once, -11, -1)
    assert facts.reduction_db > 1
    assert abs(again.gain_db) < 0.1 and again.reduction_db < 0.1


def test_the_facts_are_plain_numbers_for_a_file() -> None:
    facts = normalise(music(), -11, -1)[1]
    told = json.loads(json.dumps(dataclasses.asdict(facts), allow_nan=False))
    assert told["before"]["lufs"] == facts.before.lufs and told["reached"] is True


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (8_000, 2), (44_100, 1), (96_000, 2)])
def test_files_of_other_rates_and_of_one_channel_are_normalised_too(rate: int, channels: int, tmp_path: Path) -> None:
    sound = np.random.default_rng(5).uniform(-0.1, 0.1, (rate, channels))
    soundfile.write(tmp_path / "in.wav", sound, rate)
    heard, peak_db = ffmpeg(normalise(load(tmp_path / "in.wav"), -14, -1)[0])
    assert abs(heard + 14) <= 0.1 and peak_db <= -1


@pytest.mark.slow
def test_ten_minutes_are_normalised_in_bounded_memory() -> None:
    audio = np.tile(music(10), LONGEST_S // 10)
    tracemalloc.start()
    changed, facts = normalise(audio, -11, -1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * audio.nbytes
    heard, peak_db = ffmpeg(changed)
    assert facts.reached and abs(heard + 11) <= 0.1 and peak_db <= -1
