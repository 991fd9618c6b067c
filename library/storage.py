"""What a library takes of the disk, and what would go if it had to be less."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from core.files import write_whole
from library.tracks import Library

SETTINGS = "storage.json"
"""The file in the library's folder that holds the bound."""

GB = 10**9
LARGEST_GB = 100_000.0


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Bytes of the tracks, of what was made of them, and of what lies in the trash."""

    tracks: int
    made: int
    trash: int

    @property
    def kept(self) -> int:
        """What counts against the bound: the trash empties by itself."""
        return self.tracks + self.made


@dataclass(frozen=True, kw_only=True)
class Surplus:
    """The tracks that would go, the oldest first, and the bytes that they take with what was made of them."""

    ids: tuple[str, ...] = ()
    bytes: int = 0


def usage(library: Library) -> Usage:
    """What the tracks of a library take: all of them, or those of its owner."""
    weights = library.weights()
    sounds = {each.sha256 for each in weights}
    if library.companions.owner is None:
        made, trash = size_of(library.companions.root), size_of(library.trash.root)
    else:
        made = sum(
            file.stat().st_size for sound in sounds for each in library.companions.of(sound) for file in each.files
        )
        aside = (track.id for batch in library.discarded() for track in batch)
        trash = sum(size_of(library.trash.root / identity) for identity in aside)
    return Usage(tracks=sum(each.bytes for each in weights), made=made, trash=trash)


def bound_gb(library: Library) -> float | None:
    """The most that the library should take, in GB; None where nobody has set it."""
    try:
        bound = json.loads((library.root / SETTINGS).read_text(encoding="utf-8"))["bound_gb"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_number = isinstance(bound, int | float) and not isinstance(bound, bool)
    return float(bound) if is_number and 0 < bound <= LARGEST_GB else None


def set_bound_gb(library: Library, bound: float | None) -> None:
    """Remember the bound; None lifts it. Nothing goes by itself. Raises OSError."""
    library.root.mkdir(parents=True, exist_ok=True)
    write_whole(library.root / SETTINGS, json.dumps({"bound_gb": bound}).encode())


def surplus(library: Library, bound: float) -> Surplus:
    """What would go to come down to so many GB: the oldest tracks that are no favourites."""
    weights = library.weights()
    sounds = Counter(each.sha256 for each in weights)
    over = sum(each.bytes for each in weights) + size_of(library.companions.root) - bound * GB
    ids: list[str] = []
    freed = 0
    for each in weights:
        if freed >= over:
            break
        if not each.favourite:
            ids.append(each.id)
            alone = sounds[each.sha256] == 1
            freed += each.bytes + (size_of(library.companions.folder(each.sha256)) if alone else 0)
    return Surplus(ids=tuple(ids), bytes=freed)


def size_of(folder: Path) -> int:
    """The bytes of every file below a folder, which need not be there."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # it went meanwhile
            continue
    return total
