"""Faults of every class at every stage of a song's road: nothing is lost or left, and the next song is made."""

from __future__ import annotations

import errno
import itertools
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pipeline
from backend import Studio
from core.errors import StudioError
from core.events import Progress
from core.knobs import parse
from core.params import GenerateRequest
from jobs import songs
from library import audio, latents, peaks, tracks
from library.records import Track
from networks import memory
from networks.acestep import sampler, scenes

pytestmark = pytest.mark.usefixtures("tiny_nano")

FAULTS: tuple[Callable[[], BaseException], ...] = (
    lambda: ValueError("odd"),
    lambda: RuntimeError("CUDA error: an illegal memory access"),
    MemoryError,
    lambda: OSError(errno.ENOSPC, "No space left on device", "/secret/place"),
    lambda: OSError(errno.EIO, "Input/output error"),
    KeyError,
    RecursionError,
    lambda: StudioError("refused"),
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
)
STAGES: dict[str, tuple[Any, str]] = {
    "ordering": (songs, "settled"),
    "loading": (memory, "weights_of_song"),
    "planning": (pipeline, "open_plan"),
    "encoding": (scenes, "masked"),
    "denoising": (sampler, "draw_noise"),
    "decoding": (scenes, "decode"),
    "writing": (audio, "save_wav"),
    "latents": (latents, "write"),
    "drawing": (peaks, "of"),
    "sidecar": (tracks, "write_whole"),
}
"""Where a fault is put in, by what stands in the road there."""


def asked(seed: int) -> GenerateRequest:
    made = {"prompt": "lofi hip hop", "duration_s": 10, "inference_steps": 1, "seed": seed, "thinking": False}
    return parse(GenerateRequest, made)


def left_over(studio: Studio) -> list[Path]:
    """Files that belong to no track."""
    known = {track.id for track in studio.library.list()}
    ours = (path for path in studio.library.root.iterdir() if path.suffix in (".wav", ".safetensors", ".json", ".part"))
    return [path for path in ours if path.name.partition(".")[0] not in known and path.name != "storage.json"]


def song_of(studio: Studio, seed: int) -> Track:
    *_, song = studio.run(asked(seed))
    assert isinstance(song, Track) and studio.library.is_whole(song)
    return song


def walked(studio: Studio, faults: Iterator[tuple[str, Callable[[], BaseException]]], limit: int | None = None) -> int:
    """How many faults were put in, each before a song that comes out well."""
    first, count = song_of(studio, 0), 0
    threads = threading.active_count()
    for seed, (stage, fault) in enumerate(itertools.islice(faults, limit), start=1):
        owner, name = STAGES[stage]
        with pytest.MonkeyPatch.context() as patch:

            def broken(*parts: object, fault: Callable[[], BaseException] = fault, **named: object) -> None:
                raise fault()

            patch.setattr(owner, name, broken)
            if stage == "loading":
                studio._replica.models.free()
            with pytest.raises(Exception) as raised:  # of the thread's end the caller hears an error, too
                list(studio.run(asked(seed)))
            assert not isinstance(raised.value, StudioError) or "/secret" not in str(raised.value), (stage, fault)
        assert left_over(studio) == [], (stage, raised.value)
        assert studio.status().state in ("idle", "ready"), (stage, raised.value)
        song_of(studio, seed)
        count += 1
    assert studio.library.is_whole(first)
    assert threading.active_count() <= threads + 2
    return count


def pairs() -> Iterator[tuple[str, Callable[[], BaseException]]]:
    """Every fault at every stage; the first of them touch each stage and each class once."""
    stages, faults = list(STAGES), list(FAULTS)
    for shift in range(len(faults)):
        yield from ((stage, faults[(index + shift) % len(faults)]) for index, stage in enumerate(stages))


def test_a_fault_at_every_stage_leaves_nothing_and_the_next_song_is_made(studio: Studio) -> None:
    assert walked(studio, pairs(), limit=len(STAGES)) == len(STAGES)


@pytest.mark.slow
def test_every_fault_at_every_stage_leaves_nothing_and_the_next_song_is_made(studio: Studio) -> None:
    count = walked(studio, pairs())
    sys.stderr.write(f"{count} faults\n")
    assert count == len(STAGES) * len(FAULTS)


def test_a_file_that_may_not_grow_is_a_full_disk_that_leaves_nothing(studio: Studio) -> None:
    song_of(studio, 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for most in (100, 10_000, 1_000_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
            with pytest.raises(StudioError, match="The song could not be saved: File too large"):
                list(studio.run(asked(most)))
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert left_over(studio) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    song_of(studio, 1)


def test_what_a_slow_disk_is_writing_when_its_listener_goes_is_saved_whole(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, done, save = threading.Event(), threading.Event(), audio.save_wav

    def slow(*parts: Any) -> None:
        go.wait(60)
        save(*parts)
        done.set()

    monkeypatch.setattr(audio, "save_wav", slow)
    events = studio.run(asked(1))
    assert any(isinstance(event, Progress) and event.stage == "saving" for event in events)
    events.close()
    go.set()
    assert done.wait(60)
    monkeypatch.undo()
    song_of(studio, 2)
    assert left_over(studio) == []
