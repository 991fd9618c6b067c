"""Files as the studio keeps them: named by their content, written whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path


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
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.write_bytes(content)
        return partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
