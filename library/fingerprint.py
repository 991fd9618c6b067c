"""What weights are, told without reading them all: the same name for the same weights, another for others."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

END_BYTES = 65_536
"""Read of each end of a file: the names, types and shapes of the tensors stand at the start."""


def fingerprint(folder: Path) -> str:
    """Sixteen hexadecimal digits for the safetensors files below a folder: their names, sizes and ends."""
    files = sorted(folder.rglob("*.safetensors"))
    return _of(tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@cache
def _of(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for file, size, _ in files:
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as weights:
            digest.update(weights.read(END_BYTES))
            weights.seek(max(0, size - END_BYTES))
            digest.update(weights.read())
    return digest.hexdigest()[:16]
