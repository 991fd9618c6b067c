"""Stems on a tiny random htdemucs: the samples are those of Demucs's own apply_model, and no foreign file is opened."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soxr
import torch
from demucs import apply as demucs_apply
from demucs.apply import apply_model
from demucs.hdemucs import HDemucs
from demucs.hf import load_safetensors_model
from demucs.htdemucs import HTDemucs
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from checkpoints import find, table
from core.errors import CheckpointError, StudioError
from core.events import Progress
from core.tables import SAMPLE_RATE
from networks.demucs.open import open_separator
from networks.demucs.separator import STEMS, Separator, Stem
from tests.tiny_demucs import SEGMENT_S, SIGNATURE, SOURCES, package, save_pickle, tiny_arguments, tiny_network

Waveform = NDArray[np.float32]
SEED = 7

pytestmark = pytest.mark.usefixtures("one_thread")


def noise(seconds: float, seed: int = 1) -> Waveform:
    """A loud song of two different channels that is not centred on zero."""
    generator = np.random.default_rng(seed)
    samples = generator.normal(0.1, [[0.3], [0.1]], (2, int(seconds * SAMPLE_RATE)))
    return samples.astype(np.float32)


def digests_of(path: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}


def opened(folder: Path, samplerate: int, **changed: object) -> Separator:
    path = save_pickle(folder, package(tiny_network(samplerate), **changed))
    return open_separator(folder, "cpu", digests=digests_of(path))


@pytest.fixture(scope="module")
def separators(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Separator]:
    """A separator for each rate that its network runs at: that of the song, and that of the published network."""
    return {rate: opened(tmp_path_factory.mktemp(str(rate)), rate) for rate in (SAMPLE_RATE, 44_100)}


def stems_of(separator: Separator, audio: Waveform, shifts: int = 0, overlap: float = 0.25, seed: int = SEED) -> Any:
    events = separator.separate(audio, shifts=shifts, overlap=overlap, seed=seed)
    return {event.name: event.audio for event in events if isinstance(event, Stem)}


def demucs_stems(audio: Waveform, network: HTDemucs, **how: Any) -> dict[str, Waveform]:
    """What Demucs gives for a song at the network's rate, as `demucs.api.Separator` asks `apply_model` for it."""
    song = torch.from_numpy(audio)
    middle = song.mean(0)
    mean, deviation = middle.mean(), middle.std() + 1e-8
    parts = apply_model(network, ((song - mean) / deviation)[None], **how) * deviation + mean
    return {name: part.numpy() for name, part in zip(SOURCES, parts[0], strict=True)}


@pytest.fixture
def same_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Demucs draws its shifts from the seed too; its own generator is also drawn from by each forward pass."""
    monkeypatch.setattr(demucs_apply, "random", SimpleNamespace(randint=random.Random(SEED).randint))


# ---- the samples -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("same_dice")
@pytest.mark.parametrize(
    ("seconds", "shifts", "overlap"),
    [(0.73, 0, 0.25), (0.31, 0, 0.75), (0.1, 0, 0.25), (0.4, 0, 0.0), (0.2, 0, 0.5), (0.3, 1, 0.25), (0.1, 3, 0.1)],
)
def test_the_stems_are_those_of_apply_model_to_the_bit(
    separators: dict[int, Separator], seconds: float, shifts: int, overlap: float
) -> None:
    audio = noise(seconds)
    stems = stems_of(separators[SAMPLE_RATE], audio, shifts, overlap)
    expected = demucs_stems(audio, tiny_network(SAMPLE_RATE), shifts=shifts, overlap=overlap)
    assert tuple(stems) == STEMS
    for name in STEMS:
        assert np.abs(expected[name]).max() > 0.01
        np.testing.assert_array_equal(stems[name], expected[name])


@pytest.mark.parametrize("samples", [24_000, 15_001, 12_007])
def test_a_network_of_another_rate_gives_stems_of_the_songs_length_and_rate(
    separators: dict[int, Separator], samples: int
) -> None:
    audio = noise(1.0)[:, :samples]
    stems = stems_of(separators[44_100], audio)
    expected = demucs_stems(soxr.resample(audio.T, SAMPLE_RATE, 44_100).T.copy(), tiny_network(), shifts=0)
    for name, stem in stems.items():
        assert stem.shape == (2, samples) and stem.dtype == np.float32
        back = soxr.resample(expected[name].T, 44_100, SAMPLE_RATE).T[:, :samples]
        np.testing.assert_allclose(stem[:, : back.shape[1]], back, atol=1e-6)


def test_the_same_seed_gives_the_same_samples_and_another_gives_others(separators: dict[int, Separator]) -> None:
    audio = noise(0.2)
    first, again, other = (stems_of(separators[44_100], audio, shifts=1, seed=seed) for seed in (7, 7, 8))
    for name in STEMS:
        np.testing.assert_array_equal(first[name], again[name])
        assert np.abs(first[name] - other[name]).max() > 1e-4


def test_pythons_and_torchs_own_generators_are_left_as_they_were(tmp_path: Path) -> None:
    before = random.getstate(), torch.random.get_rng_state()
    stems_of(opened(tmp_path, 44_100), noise(0.1), shifts=1)
    assert random.getstate() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])


def test_the_song_itself_is_not_changed(separators: dict[int, Separator]) -> None:
    audio = noise(0.3)
    kept = audio.copy()
    for separator in separators.values():
        stems_of(separator, audio)
    np.testing.assert_array_equal(audio, kept)


def test_silence_stays_silent(separators: dict[int, Separator]) -> None:
    for stem in stems_of(separators[44_100], np.zeros((2, 9_600), np.float32), shifts=1).values():
        assert np.abs(stem).max() < 1e-6


def test_a_song_of_two_equal_channels_and_one_with_a_silent_channel_come_apart(
    separators: dict[int, Separator],
) -> None:
    same = np.repeat(noise(0.4)[:1], 2, axis=0)
    half = np.concatenate([same[:1], np.zeros_like(same[:1])])
    for audio in (same, half):
        for stem in stems_of(separators[44_100], audio).values():
            assert stem.shape == audio.shape and np.isfinite(stem).all()


# ---- progress, cancel and memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shifts", "passes"), [(0, 1), (2, 2)])
def test_every_segment_is_told_before_the_stems_come(
    separators: dict[int, Separator], shifts: int, passes: int
) -> None:
    events = list(separators[44_100].separate(noise(0.5), shifts=shifts, overlap=0.25, seed=SEED))
    first_stem = next(place for place, event in enumerate(events) if isinstance(event, Stem))
    told = [event for event in events[:first_stem] if isinstance(event, Progress) and not event.note]
    assert not any(isinstance(event, Progress) and not event.note for event in events[first_stem:])
    assert [event.step for event in told] == list(range(1, len(told) + 1))
    assert {(event.stage, event.total) for event in told} == {("separating", len(told))}
    # A moved pass is up to half a second longer than the song.
    stride_s = float(SEGMENT_S) * 0.75
    assert passes * 0.5 / stride_s <= len(told) <= passes * (1 + (1.0 if shifts else 0.5) / stride_s)
    assert told[-1].left_s == 0


def open_files() -> int:
    """How many files this process holds open, where the system tells it."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_closing_stops_before_the_next_segment_and_leaves_no_file(
    separators: dict[int, Separator], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    passes = []
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, *_: passes.append(1) if isinstance(module, HTDemucs) else None
    )
    before = open_files()
    try:
        events = separators[44_100].separate(noise(2.0), shifts=0, overlap=0.25, seed=SEED)
        segments = (event for event in events if isinstance(event, Progress) and event.total)
        assert [next(segments).step, next(segments).step] == [1, 2]
        events.close()
    finally:
        handle.remove()
    assert len(passes) == 2
    assert list(tmp_path.iterdir()) == []
    assert open_files() <= before
    assert tuple(stems_of(separators[44_100], noise(0.3))) == STEMS


def test_a_full_disk_is_told_in_the_studios_words(
    separators: dict[int, Separator], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StudioError, match="cannot be kept.*set TMPDIR"):
        stems_of(separators[44_100], noise(0.3))


MEASURED = """
import sys
from pathlib import Path
import numpy as np
from networks.demucs.open import open_separator
separator = open_separator(Path(sys.argv[1]), "cpu")
song = np.random.default_rng(1).standard_normal((2, int(sys.argv[2]) * 48_000), np.float32)
for event in separator.separate(song, shifts=1, overlap=0, seed=1):
    pass
print(separator.peak_gb())
"""
PUBLISHED_GB = 0.6
"""What the published network, of 42 million weights, may take beyond the tiny one; at the peak it took 0.42."""


@pytest.mark.slow
def test_ten_minutes_of_song_take_less_than_two_gigabytes(tmp_path: Path) -> None:
    path = save_pickle(tmp_path, package(tiny_network(segment_s=Fraction(39, 5))))
    open_separator(tmp_path, "cpu", digests=digests_of(path)).close()
    command = [sys.executable, "-c", MEASURED, str(tmp_path), "600"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1800).stdout
    assert float(told) + PUBLISHED_GB < 2


def test_a_closed_separator_holds_no_weights(tmp_path: Path) -> None:
    separator = opened(tmp_path, 44_100)
    assert separator.device_kind == "cpu" and separator.note == "" and separator.peak_gb() > 0.05
    separator.close()
    with pytest.raises(AssertionError, match="closed"):
        stems_of(separator, noise(0.3))


# ---- the files -------------------------------------------------------------------------------------------------------


def test_a_pickle_is_stored_as_the_safetensors_that_demucs_publishes(tmp_path: Path) -> None:
    path = save_pickle(tmp_path, package(tiny_network()))
    first = stems_of(open_separator(tmp_path, "cpu", digests=digests_of(path)), noise(0.4))
    stored = tmp_path / f"{SIGNATURE}.safetensors"
    with safe_open(stored, "pt") as file:
        facts, dtypes = file.metadata(), {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert facts["klass"] == "demucs.htdemucs.HTDemucs" and json.loads(facts["args"]) == []
    assert json.loads(facts["kwargs"])["segment"] == {"_type": "fraction", "numerator": 1, "denominator": 5}
    assert dtypes == {torch.float16}
    theirs = load_safetensors_model(stored)
    assert theirs.segment == SEGMENT_S
    for key, value in tiny_network().state_dict().items():
        torch.testing.assert_close(theirs.state_dict()[key], value, rtol=0, atol=0)
    path.unlink()
    again = stems_of(open_separator(tmp_path, "cpu"), noise(0.4))
    for name in STEMS:
        np.testing.assert_array_equal(again[name], first[name])


def write_safetensors(folder: Path, network: torch.nn.Module, **changed: str) -> Path:
    """The file of a network as Demucs's own export writes it."""
    kwargs: dict[str, Any] = tiny_arguments()
    kwargs["segment"] = {"_type": "fraction", "numerator": 1, "denominator": 5}
    facts = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(kwargs), **changed}
    folder.mkdir(exist_ok=True)
    path = folder / f"{SIGNATURE}.safetensors"
    save_file({key: value.half() for key, value in network.state_dict().items()}, path, metadata=facts)
    return path


def test_the_published_safetensors_is_opened_as_it_is(tmp_path: Path) -> None:
    write_safetensors(tmp_path, tiny_network())
    stems = stems_of(open_separator(tmp_path, "cpu"), noise(0.4))
    expected = stems_of(opened(tmp_path / "pickled", 44_100), noise(0.4))
    for name in STEMS:
        np.testing.assert_array_equal(stems[name], expected[name])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"klass": "os.system"}, "is made for 'os.system'"),
        ({"klass": "demucs.hdemucs.HDemucs"}, "is made for 'demucs.hdemucs.HDemucs'"),
        ({"kwargs": "{"}, "does not say what its network is made with"),
        ({"kwargs": json.dumps({"segment": {"_type": "fraction"}})}, "does not say what its network is made with"),
        ({"kwargs": "[]"}, "something else than plain tensors"),
        ({"kwargs": "{}"}, "do not fit"),
        ({"kwargs": json.dumps({"sources": SOURCES, "channels": 8})}, "do not fit"),
    ],
)
def test_a_safetensors_file_for_another_network_is_refused(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    write_safetensors(tmp_path, tiny_network(), **changed)
    with pytest.raises(CheckpointError, match=said):
        open_separator(tmp_path, "cpu")


def test_a_network_that_makes_other_parts_is_refused(tmp_path: Path) -> None:
    arguments = {**tiny_arguments(), "sources": ["speech", "music"]}
    network = HTDemucs(**arguments)
    kwargs = {**arguments, "segment": {"_type": "fraction", "numerator": 1, "denominator": 5}}
    write_safetensors(tmp_path, network, kwargs=json.dumps(kwargs))
    with pytest.raises(CheckpointError, match="takes 2 channels apart into speech, music"):
        open_separator(tmp_path, "cpu")


def test_a_broken_file_and_a_folder_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds 0 files of weights"):
        open_separator(tmp_path, "cpu")
    path = write_safetensors(tmp_path, tiny_network())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_separator(tmp_path, "cpu")


class Evil:
    """What leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """The folder that a pickle makes when it runs what it names."""
    yield tmp_path / "mark"
    assert not (tmp_path / "mark").exists()


def test_a_pickle_of_another_digest_is_not_opened(tmp_path: Path, mark: Path) -> None:
    path = save_pickle(tmp_path / "weights", package(tiny_network(), metrics=Evil(mark)))
    known = digests_of(path)[path.name]
    for digests in ({}, {path.name: known[:8]}, {path.name: known[::-1]}, {"another.th": known}):
        with pytest.raises(CheckpointError, match="not the file that was published.*It was not opened"):
            open_separator(path.parent, "cpu", digests=digests)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_pickle_that_names_anything_else_is_refused_whatever_its_digest(tmp_path: Path, mark: Path) -> None:
    path = save_pickle(tmp_path / "weights", package(tiny_network(), metrics=Evil(mark)))
    with pytest.raises(CheckpointError, match="cannot be opened"):
        open_separator(path.parent, "cpu", digests=digests_of(path))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"klass": HDemucs}, "cannot be opened"),
        ({"klass": Fraction}, "is made for"),
        ({"state": {"__quantized": True}}, "something else than plain tensors"),
        ({"state": [torch.zeros(1)]}, "something else than plain tensors"),
        ({"kwargs": ["sources"]}, "something else than plain tensors"),
    ],
    ids=["another network", "no network", "quantised", "no names", "no arguments"],
)
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        opened(tmp_path, 44_100, **changed)
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_weights_in_a_folder_that_cannot_be_written_to_are_used_as_they_are(tmp_path: Path) -> None:
    path = save_pickle(tmp_path, package(tiny_network()))
    tmp_path.chmod(0o500)
    try:
        separator = open_separator(tmp_path, "cpu", digests=digests_of(path))
    finally:
        tmp_path.chmod(0o700)
    assert tuple(stems_of(separator, noise(0.3))) == STEMS


def test_neither_the_protocol_nor_the_road_to_it_imports_a_framework() -> None:
    code = "import sys, networks.demucs.open; print({'torch', 'demucs', 'numpy'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "set()"


# ---- the published weights -------------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_a_gpu_gives_the_same_samples_each_time_and_nearly_those_of_the_cpu(
    separators: dict[int, Separator], tmp_path: Path
) -> None:
    write_safetensors(tmp_path, tiny_network())
    separator = open_separator(tmp_path)
    assert separator.device_kind != "cpu"
    audio = noise(2.0)
    stems, on_cpu = stems_of(separator, audio), stems_of(separators[44_100], audio)
    again = stems_of(separator, audio)
    for name in STEMS:
        np.testing.assert_array_equal(stems[name], again[name])
        error = np.square(stems[name] - on_cpu[name]).mean() / np.square(on_cpu[name]).mean()
        assert 10 * np.log10(error) < -80
    assert separator.note == ""
    separator.close()


@pytest.mark.weights
def test_the_installed_weights_tell_a_bass_line_from_a_melody() -> None:
    place = find.locate(table.CHECKPOINTS["htdemucs"])
    if place is None:
        pytest.skip("htdemucs is not installed")
    seconds = np.arange(8 * SAMPLE_RATE) / SAMPLE_RATE
    low = sum(np.sin(2 * np.pi * 55 * order * seconds) / order**2 for order in range(1, 6))
    audio = np.repeat((0.3 * low * (np.sin(2 * np.pi * 2 * seconds) > 0))[None], 2, axis=0).astype(np.float32)
    separator = open_separator(place.folder, digests=place.checkpoint.digests)
    stems = stems_of(separator, audio)
    power = {name: float(np.square(stem).mean()) for name, stem in stems.items()}
    assert max(power, key=power.__getitem__) == "bass"
    left = audio - sum(stems.values())
    assert np.square(left).mean() < 0.01 * np.square(audio).mean()
