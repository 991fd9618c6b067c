"""Checkpoints brought to this machine: asked for in so many words, resumable, checked, in one place.

Files go to the models folder, one plain folder for each checkpoint. A file takes its name once its checksum is
right; until then it lies in a folder beside it, from where the next download goes on. Closing a download's generator,
or `cancel`, stops it between two pieces and loses nothing. Importing this module touches no network.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from huggingface_hub import is_offline_mode

from checkpoints import find, manifest, table
from checkpoints.find import Installed
from checkpoints.hub import OFFLINE_HINT, Interrupted, Listing, RemoteFile, listing, opened
from checkpoints.manifest import Manifest
from checkpoints.meter import Meter
from checkpoints.table import ORIGINAL_SONG, Checkpoint
from core.errors import Busy, Cancelled, CheckpointError, Fault, RequestError, StudioError
from core.events import Transfer
from core.paths import models_folder
from networks.acestep.published import TEXT_ENCODER_BILLIONS, VAE_BILLIONS
from networks.machine import DeviceKind

TRIES = 5
"""Attempts in a row that bring no byte before a download gives up."""

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 120.0
"""The wait doubles with each attempt; a server that asks for more than the longest is left alone."""

SPARE_BYTES = 500_000_000
"""Left free on the disk: songs and the system need room too."""

WORKING_BYTES = 1_000_000_000
"""What the framework and the tiles of a decode take."""

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A checkpoint as a list shows it: what it is, what it asks for, and whether it is here.

    `to_bring` counts the bytes that its download brings, its companion's included; `brought` those of a download that
    is not complete; `running` tells that it goes on right now.
    """

    name: str
    title: str
    use: table.Use
    licence: str
    source: str
    bytes: int
    memory_bytes: int
    to_bring: int
    installed: bool
    folder: Path | None
    brought: int
    running: bool


def memory_bytes(checkpoint: Checkpoint, device: DeviceKind) -> int:
    """Memory to run a checkpoint in, weights and working room: float32 on a CPU, 16 bits a number elsewhere."""
    width = 4 if device == "cpu" or checkpoint.dtype == "float32" else 2
    billions = checkpoint.parameters * width
    if checkpoint.companion:
        billions += TEXT_ENCODER_BILLIONS * width + VAE_BILLIONS * 4
    return int(billions * 1e9) + WORKING_BYTES


def folder_of(checkpoint: Checkpoint) -> Path:
    """Where a checkpoint is brought to."""
    return models_folder() / checkpoint.name


class Downloads:
    """The downloads of one process: each runs once at a time, is seen while it runs, and can be stopped."""

    def __init__(self) -> None:
        self._running: dict[str, threading.Event] = {}

    def rows(self, device: DeviceKind) -> tuple[Row, ...]:
        """Every checkpoint, with the memory that it needs on such a device."""
        return tuple(self._row(checkpoint, device) for checkpoint in table.CHECKPOINTS.values())

    def _row(self, checkpoint: Checkpoint, device: DeviceKind) -> Row:
        place = find.locate(checkpoint)
        return Row(
            name=checkpoint.name,
            title=checkpoint.title,
            use=checkpoint.use,
            licence=checkpoint.licence,
            source=checkpoint.repo,
            bytes=checkpoint.bytes,
            memory_bytes=memory_bytes(checkpoint, device),
            to_bring=0 if place else sum(part.bytes for part in _parts(checkpoint)),
            installed=place is not None,
            folder=place.folder if place else None,
            brought=0 if place else manifest.bytes_here(folder_of(checkpoint)),
            running=checkpoint.name in self._running,
        )

    def cancel(self, name: str) -> bool:
        """Whether there was such a download; it stops between two pieces and can be taken up again."""
        stop = self._running.get(name)
        if stop is not None:
            stop.set()
        return stop is not None

    def download(
        self, name: str, *, consent: bool, endpoint: str | None = None
    ) -> Generator[Transfer | Installed, None, None]:
        """Events of a download, and at last where the checkpoint lies; nothing is brought that is here already.

        `consent` is the user's own word: a pressed button, a flag. `endpoint` takes the place of huggingface.co. A song
        in upstream's layout brings its companion along. Raises RequestError without consent, CheckpointError for a file
        whose checksum is wrong and for a listing that cannot be trusted, Busy when the same download runs, Cancelled,
        and StudioError for what the line, the server or the disk refuses.
        """
        checkpoint = table.row(name)
        place = find.locate(checkpoint)
        if place is None:
            _refuse(checkpoint, consent)
            stop = threading.Event()
            with contextlib.ExitStack() as held:
                parts = _parts(checkpoint)
                for part in parts:
                    held.enter_context(alone(part))
                self._running[name] = stop
                held.callback(self._running.pop, name)
                held.enter_context(disk_errors())
                events = held.enter_context(contextlib.closing(_bring_all(parts, endpoint)))
                for event in events:
                    if stop.is_set():
                        raise Cancelled("The download was stopped.", "Started again, it goes on where it stopped.")
                    yield event
            place = find.checkpoint(name)
        yield place


def _refuse(checkpoint: Checkpoint, consent: bool) -> None:
    """Raise RequestError for what nobody agreed to, StudioError for what cannot be downloaded."""
    if not checkpoint.repo:
        raise StudioError(f"{checkpoint.name} ships with the studio.", "Clone the repository again.")
    if not consent:
        size = sum(part.bytes for part in _parts(checkpoint)) / 1e9
        rule = f"must be given: {checkpoint.title} is {size:.1f} GB, licence {checkpoint.licence}"
        raise RequestError([Fault("consent", consent, rule)], "Agree with --yes, or with the button on the page.")
    if is_offline_mode():
        raise StudioError("Offline mode is on (HF_HUB_OFFLINE): nothing is downloaded.", OFFLINE_HINT)


def _parts(checkpoint: Checkpoint) -> tuple[Checkpoint, ...]:
    """The checkpoint, and its companion when it needs one that is not here."""
    if checkpoint.companion is None or checkpoint.files != ORIGINAL_SONG:
        return (checkpoint,)
    companion = table.CHECKPOINTS[checkpoint.companion]
    return (checkpoint,) if find.locate(companion) else (checkpoint, companion)


@contextlib.contextmanager
def alone(checkpoint: Checkpoint) -> Iterator[None]:
    """Hold the checkpoint's folder, over all processes; leave no empty one. Raises Busy when someone else holds it."""
    folder = folder_of(checkpoint)
    with disk_errors():
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, checkpoint.name)
        yield
    finally:
        os.close(handle)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _lock(handle: int, name: str) -> None:
    """Hold the open folder until it is closed, where the disk knows locks. Raises Busy."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy(f"Something else is at work on {name}.", "Wait for it, or stop it.") from None
    except OSError as unknown:  # some network disks lock no folders
        log.warning("%s is not held against other downloads: %s", name, unknown)


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Tell what the disk refuses in the studio's own words: a StudioError in place of an OSError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        message = "The disk is full." if full else f"The files cannot be written: {error}."
        hint = f"Make room in {models_folder()}, or set ACE_MODELS_DIR to another disk."
        raise StudioError(message, hint) from error


# ---- the road of a download ------------------------------------------------------------------------------------------


def _bring_all(parts: tuple[Checkpoint, ...], endpoint: str | None) -> Generator[Transfer, None, None]:
    """The events of bringing every file that is not here yet, in right shape."""
    started, meter = time.monotonic(), Meter("downloading")
    wanted: list[tuple[Path, RemoteFile]] = []
    for part in parts:
        found = yield from _patiently(meter, lambda: _listed(part, endpoint, meter))  # noqa: B023
        folder = folder_of(part)
        _prepare(folder, part, found)
        wanted += [(folder, file) for file in found.files]
    absent = []
    check = Meter("checking", sum(file.bytes for folder, file in wanted if (folder / file.path).is_file()))
    for folder, file in wanted:
        target = folder / file.path
        if not (target.is_file() and (yield from manifest.has_digest(target, file, check))):
            absent.append((folder, file))
    meter.total = sum(file.bytes for _, file in absent)
    check_space(sum(file.bytes - _size(manifest.partial_of(folder, file)) for folder, file in absent))
    for folder, file in absent:
        yield from _bring(folder, file, meter)
    for part in parts:
        manifest.drop_partials(folder_of(part))
    log.info("%s downloaded: %.2f GB in %.0f s", parts[0].name, meter.total / 1e9, time.monotonic() - started)


def _listed(part: Checkpoint, endpoint: str | None, meter: Meter) -> Generator[Transfer, None, Listing]:
    yield meter.event(f"looking up {part.title}")
    return listing(part, endpoint)


def _prepare(folder: Path, part: Checkpoint, found: Listing) -> None:
    """Write down in the folder what is about to come, and remove what remained of anything else."""
    (folder / manifest.PARTIAL).mkdir(parents=True, exist_ok=True)
    manifest.drop_partials(folder, found.files)
    files = tuple(manifest.Kept(path=file.path, bytes=file.bytes, digest=file.digest) for file in found.files)
    manifest.write(folder, Manifest(checkpoint=part.name, source=found.source, files=files))


def free_bytes() -> int:
    """The room on the disk of the models folder."""
    folder = models_folder()
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def check_space(needed: int) -> None:
    """Raise StudioError when the disk of the models folder has less room than that, and some to spare."""
    folder, free = models_folder(), free_bytes()
    if needed and free < needed + SPARE_BYTES:
        raise StudioError(
            f"{(needed + SPARE_BYTES) / 1e9:.1f} GB are needed in {folder}, and {free / 1e9:.1f} GB are free.",
            "Make room, or set ACE_MODELS_DIR to another disk.",
        )


def _bring(folder: Path, file: RemoteFile, meter: Meter) -> Generator[Transfer, None, None]:
    """The events of one file, up to its right name. Raises CheckpointError when it arrived damaged."""
    partial, target, before = manifest.partial_of(folder, file), folder / file.path, meter.done
    yield from _patiently(meter, lambda: _continue(partial, file, before, meter))
    right = yield from manifest.has_digest(partial, file, Meter("checking", file.bytes))
    if not right:
        partial.unlink()
        raise CheckpointError(
            f"{file.path} arrived damaged: its checksum is wrong. It was removed.",
            "Start the download again: files that are right are not brought twice.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(target)
    yield meter.event()


def _continue(partial: Path, file: RemoteFile, before: int, meter: Meter) -> Generator[Transfer, None, None]:
    """One attempt to bring what is missing of a file; `before` counts the bytes of the files that came earlier."""
    start = _size(partial)
    if start < file.bytes or not partial.exists():  # otherwise whole, or damaged, which its checksum will tell
        with opened(file, start) as (offset, pieces), partial.open("r+b" if offset else "wb") as sink:
            sink.seek(offset)
            meter.jump(before + offset)
            for piece in pieces:
                sink.write(piece)
                meter.add(len(piece))
                if sink.tell() > file.bytes:  # it is not what was listed, as its checksum will tell
                    break
                if meter.due():
                    yield meter.event(f"downloading {file.path}")
        if _size(partial) < file.bytes:
            raise Interrupted(f"The connection ended before {file.path} was complete.")
    meter.jump(before + file.bytes)


def _patiently(meter: Meter, attempt: Callable[[], Generator[Transfer, None, T]]) -> Generator[Transfer, None, T]:
    """The events and the result of an attempt, made again after interruptions, with growing pauses."""
    failures = 0
    while True:
        before = meter.done
        try:
            return (yield from attempt())
        except Interrupted as broken:
            failures = 1 if meter.done > before else failures + 1
            wait_s = FIRST_WAIT_S * 2 ** (failures - 1) if broken.after_s is None else broken.after_s
            if failures >= TRIES or wait_s > LONGEST_WAIT_S:
                raise
            log.warning("%s Trying again in %.0f s.", broken.message, wait_s)
            yield from _pause(wait_s, broken.message, meter)


def _pause(seconds: float, why: str, meter: Meter) -> Generator[Transfer, None, None]:
    """An event a second until the time is over."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        yield meter.event(f"{why} Trying again in {left:.0f} s")
        time.sleep(min(1.0, left))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
