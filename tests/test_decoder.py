"""Recordings are read in a process of its own: what breaks it breaks nothing else, and what is cut is told."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from core.errors import RequestError
from core.paths import ROOT
from library import audio, decoder
from tests.test_audio import noise


def fault_of(path: Path) -> str:
    with pytest.raises(RequestError) as raised:
        decoder.load(path, "src_audio")
    (fault,) = raised.value.faults
    assert (fault.field, fault.value) == ("src_audio", path.name)
    return fault.rule


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "mine.wav"
    soundfile.write(path, noise(2).T, 48_000, subtype="PCM_24")
    return path


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The process ids of the decoders that are started, the last one last; none is there before."""
    started: list[int] = []
    start = subprocess.Popen.__init__

    def noting(self: Any, *parts: Any, **named: Any) -> None:
        start(self, *parts, **named)
        started.append(self.pid)

    monkeypatch.setattr(decoder, "_idle", [])
    monkeypatch.setattr(subprocess.Popen, "__init__", noting)
    yield started
    while decoder._idle:
        decoder._idle.pop().end()


def test_it_reads_what_audio_reads_and_one_process_serves_many(recording: Path, child: list[int]) -> None:
    for _ in range(3):
        assert np.array_equal(decoder.load(recording), audio.load(recording))
        assert decoder.probe(recording) == audio.probe(recording)
    assert len(child) == 1
    assert fault_of(recording.with_name("none.wav")) == "must be a file that exists"


def test_a_decoder_that_crashes_is_told_and_replaced(recording: Path, child: list[int]) -> None:
    steps = decoder.loading(recording, "src_audio")
    decoder.probe(recording)
    os.kill(child[-1], signal.SIGSEGV)
    with pytest.raises(RequestError, match="src_audio = 'mine.wav': cannot be decoded: the decoder broke down"):
        list(steps)
    assert decoder.load(recording).shape == (2, 96_000)
    assert len(child) == 2


def test_a_decoder_that_hangs_is_left_and_ended(
    recording: Path, child: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder.probe(recording)
    os.kill(child[-1], signal.SIGSTOP)
    steps = decoder.loading(recording)
    next(steps)
    steps.close()  # a cancel
    decoder.probe(recording)
    assert len(child) == 2
    os.kill(child[-1], signal.SIGSTOP)
    monkeypatch.setattr(decoder, "LONGEST_S", 0.0)
    with pytest.raises(RequestError, match="was still at it"):
        decoder.load(recording)
    monkeypatch.undo()
    for pid in child:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_several_at_once_are_read_side_by_side(recording: Path, child: list[int]) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(decoder.load(recording).shape[1])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [96_000] * 4
    assert len(decoder._idle) <= decoder.KEPT


def test_the_process_loads_no_framework_and_has_bounds() -> None:
    asked = """
import sys, resource, io
from library import decoder
sys.stdin = io.TextIOWrapper(io.BytesIO(b""))
decoder.serve()
heavy = {"torch", "gradio", "transformers", "diffusers", "mlx", "scipy"} & set(sys.modules)
sys.stderr.write(f"{heavy} {resource.getrlimit(resource.RLIMIT_FSIZE)}")
"""
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr == "set() (0, 0)"


# ---- what is cut, and what nobody reads ------------------------------------------------------------------------------


def test_a_cut_wav_is_told_by_what_is_missing(recording: Path) -> None:
    whole = recording.read_bytes()
    recording.write_bytes(whole[: len(whole) - 3 * 2 * 48_000 // 2])
    assert fault_of(recording) == "breaks off after 1.5 of 2 seconds: 144,000 bytes are missing"
    recording.write_bytes(whole[:-6])  # one sample: some programs end so
    assert decoder.load(recording).shape[1] == 95_999
    for size in (0, 0xFFFFFFFF):  # of a wav that was written into a pipe
        at = whole.index(b"data") + 4
        recording.write_bytes(whole[:at] + struct.pack("<I", size) + whole[at + 4 :])
        if size:
            assert decoder.load(recording).shape[1] >= 95_999


@pytest.mark.parametrize("suffix", ["ogg", "opus"])
def test_a_cut_ogg_is_told(tmp_path: Path, suffix: str) -> None:
    path, subtype = tmp_path / f"mine.{suffix}", "OPUS" if suffix == "opus" else "VORBIS"
    soundfile.write(path, noise(3).T, 48_000, format="OGG", subtype=subtype)
    assert decoder.load(path).shape[1] == 144_000
    path.write_bytes(path.read_bytes()[:-500])
    assert fault_of(path) == "breaks off in its last page: at least 500 bytes are missing"


def test_a_flac_without_a_length_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.flac"
    soundfile.write(path, noise(2).T, 48_000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)  # the 36 bits of STREAMINFO that count samples
    path.write_bytes(content)
    assert decoder.load(path).shape == (2, 96_000)


@pytest.mark.parametrize(
    ("number", "bits", "told"),
    [(1, 40, "PCM with 40 bits"), (0x1234, 16, "0x1234 with 16 bits"), (3, 80, "float with")],
)
def test_a_wav_that_nobody_reads_is_told_by_its_format(recording: Path, number: int, bits: int, told: str) -> None:
    content = bytearray(recording.read_bytes())
    at = content.index(b"fmt ") + 8
    content[at : at + 2] = struct.pack("<H", number)
    content[at + 14 : at + 16] = struct.pack("<H", bits)
    recording.write_bytes(content)
    assert f"this wav's samples are of the format {told}" in fault_of(recording)


def test_a_wav_of_nothing_but_empty_chunks_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "zeros.wav"
    path.write_bytes(b"RIFF\0\0\0\0WAVE" + bytes(30_000_000))
    assert "must be a complete audio file" in fault_of(path)
