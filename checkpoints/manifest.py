"""What the studio put into a checkpoint's folder: each file, its size and what its content hashes to."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from checkpoints.meter import Meter
from core.errors import CheckpointError
from core.events import Transfer
from core.files import write_whole

NAME = ".studio.json"
PARTIAL = ".partial"
"""Folder of what has not wholly arrived, each file under its digest; away once everything is there."""

BLOCK = 1 << 22
SCHEMA = 1

_DIGEST = re.compile(r"git:[0-9a-f]{40}|sha256:[0-9a-f]{8,64}")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A file below the checkpoint's folder; its digest reads `sha256:...` or, as git counts, `git:...`.

    A SHA-256 may be cut short, to eight digits at the least: then only so many are known, and compared. Raises
    ValueError for a path that leads elsewhere or to the studio's own files, a size or a digest that cannot be.
    """

    path: str
    bytes: int
    digest: str

    def __post_init__(self) -> None:
        if inside(self.path).partition("/")[0] in (NAME, PARTIAL):
            raise ValueError(f"{self.path} is the studio's own")
        if type(self.bytes) is not int or self.bytes < 0:
            raise ValueError(f"{self.path} has the size {self.bytes!r}")
        if not isinstance(self.digest, str) or not _DIGEST.fullmatch(self.digest):
            raise ValueError(f"{self.path} has the checksum {self.digest!r}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What was put into a folder, and from where: a repository and its commit, an address or another folder."""

    checkpoint: str
    source: str
    files: tuple[Kept, ...]


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def write(folder: Path, manifest: Manifest) -> None:
    """Let the folder tell what is put there. Raises OSError."""
    write_whole(folder / NAME, json.dumps({"schema": SCHEMA, **asdict(manifest)}, indent=1).encode())


def read(folder: Path) -> Manifest | None:
    """What the studio put into the folder; None when nothing. Raises CheckpointError when the record is broken."""
    try:
        facts = json.loads((folder / NAME).read_text(encoding="utf-8"))
        if facts["schema"] != SCHEMA:
            raise ValueError("another version of the studio wrote it")
        files = tuple(Kept(path=each["path"], bytes=each["bytes"], digest=each["digest"]) for each in facts["files"])
        return Manifest(checkpoint=str(facts["checkpoint"]), source=str(facts["source"]), files=files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as broken:
        raise CheckpointError(f"{folder / NAME} cannot be read: {broken}.", "Remove the folder by hand.") from broken


def inside(path: object) -> str:
    """The path, which stays below the folder that it is joined to, on any system. Raises ValueError for any other."""
    if isinstance(path, str) and path.isprintable() and not set(path) & set("\\:"):
        pure = PurePosixPath(path)
        if not pure.is_absolute() and ".." not in pure.parts and pure.as_posix() == path:
            return path
    raise ValueError(f"{path!r} leads out of the folder, or is not plainly written")


def partial_of(folder: Path, file: Kept) -> Path:
    """Where a file lies until it has wholly arrived: by its digest, so that only the same file is ever continued."""
    return folder / PARTIAL / file.digest.partition(":")[2]


def drop_partials(folder: Path, wanted: Iterable[Kept] = ()) -> None:
    """Remove what had begun to arrive, but for the files that are still wanted."""
    kept = {partial_of(folder, file) for file in wanted}
    if not kept:
        shutil.rmtree(folder / PARTIAL, ignore_errors=True)
        return
    for path in (folder / PARTIAL).glob("*"):
        if path not in kept:
            path.unlink(missing_ok=True)


def bytes_here(folder: Path) -> int:
    """Bytes that a download has brought so far."""
    try:
        manifest = read(folder)
    except CheckpointError:
        return 0
    files = [] if manifest is None else [folder / file.path for file in manifest.files]
    return sum(path.stat().st_size for path in (*files, *(folder / PARTIAL).glob("*")) if path.is_file())


def has_digest(path: Path, file: Kept, meter: Meter) -> Generator[Transfer, None, bool]:
    """Whether the content of a path is that of the file; counts the bytes it reads."""
    if path.stat().st_size != file.bytes:
        return False
    kind, _, digest = file.digest.partition(":")
    found = yield from hashed(path, kind, meter)
    return found.startswith(digest)


def hashed(path: Path, kind: str, meter: Meter) -> Generator[Transfer, None, str]:
    """The digest of a file in hexadecimal digits; `kind` is `sha256` or `git`, which is the SHA-1 of a git blob."""
    hasher: _Hash = hashlib.sha256()
    if kind == "git":
        hasher = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as source:
        while block := source.read(BLOCK):
            hasher.update(block)
            meter.add(len(block))
            if meter.due():
                yield meter.event(f"checking {path.name}")
    return hasher.hexdigest()
