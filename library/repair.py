"""A library put in order after a process that died in it: what was begun and never finished goes, or is adopted."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from core.files import PART, alone_in
from library.companions import BEGUN
from library.index import ID
from library.tracks import NEW_PART, SUFFIXES, Library

STALE_S = 24 * 3600.0
"""What is older goes even while others write into the folder: nothing takes so long."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """How much was found that nobody finished."""

    removed: int = 0
    adopted: int = 0

    def __bool__(self) -> bool:
        return bool(self.removed or self.adopted)

    def __str__(self) -> str:
        told = [
            f"{count} {words}"
            for count, words in ((self.adopted, "songs adopted"), (self.removed, "unfinished files removed"))
            if count
        ]
        return f"the library is in order again: {', '.join(told)}"


def repair(library: Library) -> Repaired:
    """Remove what a process left unfinished, adopt whole songs without a sidecar, and bring the index up to date.

    What somebody else is writing just now is left alone.
    """
    with ExitStack() as locks:
        alone = [locks.enter_context(alone_in(root)) for root in (library.root, library.companions.root)]
        now = time.time()
        removed = [each for each in _litter(library) if _is_stale(each, now, alone=all(alone)) and _remove(each)]
        adopted = [each for each in _orphans(library) if all(alone) and _adopt(library, each)]
        gone = [each for each in _orphans(library) if all(alone) and _remove(each)]
    with suppress(OSError):
        library.newest(1)
    return Repaired(removed=len(removed) + len(gone), adopted=len(adopted))


def _litter(library: Library) -> Iterator[Path]:
    """Files and folders that were never finished."""
    yield from library.root.glob(f".*{PART}")
    yield from library.companions.root.glob(f"*/{BEGUN}*")
    yield from library.companions.root.glob(f"*/*/.*{PART}")
    for path in _files(library):
        alone = path.suffix != ".wav" or path.name.endswith(NEW_PART)
        stem = path.name.partition(".")[0]
        has_song = path.with_name(f"{stem}.wav").is_file() or path.with_name(f"{stem}.json").is_file()
        if path.suffix != ".json" and alone and not has_song:
            yield path


def _orphans(library: Library) -> Iterator[Path]:
    """The recordings of songs without a sidecar, and what lies beside them; the recordings come first."""
    for path in sorted(_files(library), key=lambda each: each.name.endswith((NEW_PART, ".safetensors"))):
        if path.suffix != ".json" and not path.with_name(f"{path.name.partition('.')[0]}.json").is_file():
            yield path


def _files(library: Library) -> Iterator[Path]:
    """Whatever is called like a file of a track."""
    for path in library.root.glob("*.*"):
        stem, dot, rest = path.name.partition(".")
        if ID.fullmatch(stem) and f"{dot}{rest}" in SUFFIXES:
            yield path


def _adopt(library: Library, path: Path) -> bool:
    """Whether a song was adopted; one that was about to be deleted is none."""
    if path.suffix != ".wav" or path.name.endswith(NEW_PART) or (library.trash.root / path.stem).is_dir():
        return False
    with suppress(OSError):
        return library.adopt(path) is not None
    return False


def _is_stale(path: Path, now: float, *, alone: bool) -> bool:
    with suppress(OSError):
        return alone or now - path.stat().st_mtime > STALE_S
    return False


def _remove(path: Path) -> bool:
    """Whether it is gone."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        log.warning("%s was left unfinished and cannot be removed: %s", path.name, error)
        return False
    return True
