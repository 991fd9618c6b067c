"""Files as the studio keeps them: named by their content, written whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

PART = ".part"
"""Ends the name of what is not whole yet; a dot begins it."""


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reason(refused: OSError) -> str:
    """Why a disk refuses, without the places that its message names."""
    return refused.strerror or type(refused).__name__


def free_bytes(folder: Path) -> int:
    """What the disk of a folder, which may be yet to be made, has left."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(there).free


def write_whole(path: Path, content: bytes | memoryview) -> Path:
    """Put the content into the file, which holds all of it or what it held before. Raises OSError."""
    partial = path.with_name(f".{path.name}{PART}")
    try:
        partial.write_bytes(content)
        return partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Let everybody know that something is being written into the folder; a process that dies is known to be gone."""
    with _locked(folder, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Whether nobody is writing into the folder; who wants to begin waits until this is left."""
    with _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB) as locked:
        yield locked or not folder.exists()


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[bool]:
    """Whether the folder is locked so: not if there is none, if others hold it, or if its disk knows no locks."""
    with contextlib.ExitStack() as opened:
        locked = False
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            opened.callback(os.close, handle)
            fcntl.flock(handle, how)
            locked = True
        yield locked
