"""The trash of a library: tracks that were put aside, each in a folder of its id, until they come back or go."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from library.index import ID

MADE = "companions"
"""The folder, beside a track that was put aside, of what was made of it."""


class Trash:
    """A folder of tracks that were put aside, which is made with the first one; `suffixes` are those of their files."""

    def __init__(self, root: Path, suffixes: Sequence[str]) -> None:
        self.root = root
        self._suffixes = suffixes

    def take(self, wav: Path, made: Path | None, now_ns: int) -> None:
        """Put the files of the track with that wav aside, and the folder of what was made of it. Raises OSError.

        Tracks with the same time `now_ns` are one batch.
        """
        folder = self.root / wav.stem
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for suffix in self._suffixes:
            with suppress(FileNotFoundError):
                wav.with_suffix(suffix).rename(folder / f"{wav.stem}{suffix}")
        if made is not None and made.is_dir():
            (folder / MADE).mkdir()
            made.rename(folder / MADE / made.name)
        os.utime(folder, ns=(now_ns, now_ns))

    def give_back(self, identity: str, tracks: Path, companions: Path) -> None:
        """Put everything of a track back where it was. Raises OSError."""
        folder = self.root / identity
        for made in (folder / MADE).glob("*"):
            companions.mkdir(parents=True, exist_ok=True)
            if not (companions / made.name).exists():
                made.rename(companions / made.name)
        for suffix in reversed(self._suffixes):  # the sidecar last: with it the track is there
            with suppress(FileNotFoundError):
                (folder / f"{identity}{suffix}").rename(tracks / f"{identity}{suffix}")
        shutil.rmtree(folder, ignore_errors=True)

    def holds(self, identity: str) -> bool:
        """Whether a track of that id was put aside."""
        return bool(ID.fullmatch(identity)) and (self.root / identity / f"{identity}.json").is_file()

    def batches(self) -> list[list[Path]]:
        """The sidecars of what was put aside at once, the last batch first."""
        batches: dict[int, list[Path]] = {}
        for folder in sorted(self.root.glob("*")):
            if self.holds(folder.name):
                batches.setdefault(folder.stat().st_mtime_ns, []).append(folder / f"{folder.name}.json")
        return [batches[now_ns] for now_ns in sorted(batches, reverse=True)]

    def empty(self, older_s: float = 0.0) -> None:
        """Remove for good what was put aside so many seconds ago, or earlier."""
        before = time.time() - older_s
        for folder in self.root.glob("*"):
            with suppress(FileNotFoundError):
                if folder.stat().st_mtime <= before:
                    shutil.rmtree(folder, ignore_errors=True)
