"""What actions made of a song: files that lie beside the library's tracks, found by the sound that they were made of.

A companion is there once its sheet is there: its folder takes its name when everything in it is written. It belongs to
a sound and not to a name, so that a song never shows what was made of another, and a repeated action costs nothing.
"""

from __future__ import annotations

import json
import logging
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.errors import StudioError
from core.files import in_use, reason, write_whole
from core.knobs import Json

SHEET = "companion.json"
KEY_DIGITS = 16
BEGUN = ".begun-"
"""Begins the name of a folder whose content is not whole yet."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Companion:
    """The files that an action made of a song, in order, and what is to be known about them.

    `song` is the SHA-256 of the song's audio; `notes` name what did not go as asked. `owner` says whose it is where
    strangers share the library: names of files tell what they call their song.
    """

    action: str
    song: str
    key: str
    created: datetime
    files: tuple[Path, ...]
    facts: Mapping[str, Json]
    notes: tuple[str, ...] = ()
    owner: str = ""

    def summary(self) -> dict[str, Json | list[str]]:
        """What to know about it, in round numbers."""
        return {"action": self.action, "song": self.song, **self.facts, "notes": list(self.notes)}


class Companions:
    """The companions in a folder, which is made with the first one; with an owner, theirs alone."""

    def __init__(self, root: Path, owner: str | None = None) -> None:
        self.root = root
        self.owner = owner

    def of_owner(self, owner: str) -> Companions:
        """The companions as that owner sees them: theirs alone."""
        return Companions(self.root, owner)

    def find(self, song: str, action: str, key: str) -> Companion | None:
        """What that action made of a song under that key, if all of its files are there."""
        there = _read(self._folder(song, action, key))
        return there if there and self.owner in (None, there.owner) else None

    def of(self, song: str) -> tuple[Companion, ...]:
        """Everything that was made of a song, the newest first."""
        made = filter(None, map(_read, (self.root / song).glob("[!.]*-*")))  # what was begun has a dot in front
        mine = (companion for companion in made if self.owner in (None, companion.owner))
        return tuple(sorted(mine, key=lambda companion: companion.created, reverse=True))

    @contextmanager
    def begun(self, song: str) -> Iterator[Path]:
        """An empty folder for what is being made; whatever `keep` did not take is gone at the end.

        Raises StudioError when the disk refuses.
        """
        folder = self.root / song / f"{BEGUN}{secrets.token_hex(4)}"
        try:
            folder.mkdir(parents=True)
            with in_use(self.root):
                yield folder
        except OSError as error:
            log.error("what was made could not be saved: %s", error)
            raise StudioError(
                f"What was made could not be saved: {reason(error)}.", "Make room on the disk and ask again."
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _remove_empty(folder.parent)

    def keep(
        self,
        folder: Path,
        action: str,
        key: str,
        *,
        facts: Mapping[str, Json],
        names: Sequence[str],
        notes: Sequence[str],
    ) -> Companion:
        """The companion made of the files of those names in a folder that was begun. Raises OSError."""
        sheet = {
            "action": action,
            "created": datetime.now(UTC).isoformat(),
            "key": key,
            "files": {name: (folder / name).stat().st_size for name in names},
            "facts": dict(facts),
            "notes": list(notes),
            "owner": self.owner or "",
        }
        write_whole(folder / SHEET, json.dumps(sheet, ensure_ascii=False, indent=1, allow_nan=False).encode())
        target = self._folder(folder.parent.name, action, key)
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
        kept = _read(target)
        assert kept is not None
        return kept

    def folder(self, song: str) -> Path:
        """Where everything lies that was made of a song; there may be nothing."""
        return self.root / song

    def remove(self, song: str) -> None:
        """Remove everything that was made of a song."""
        shutil.rmtree(self.root / song, ignore_errors=True)

    def _folder(self, song: str, action: str, key: str) -> Path:
        whose = f"-{self.owner[:KEY_DIGITS]}" if self.owner else ""
        return self.root / song / f"{action}-{key[:KEY_DIGITS]}{whose}"


def _read(folder: Path) -> Companion | None:
    """The companion in a folder; None when it is not whole."""
    try:
        sheet = json.loads((folder / SHEET).read_text(encoding="utf-8"))
        files = tuple(folder / Path(name).name for name in sheet["files"])
        if [file.stat().st_size for file in files] != list(sheet["files"].values()):
            return None
        return Companion(
            action=str(sheet["action"]),
            song=folder.parent.name,
            key=str(sheet["key"]),
            created=datetime.fromisoformat(sheet["created"]),
            files=files,
            facts=dict(sheet["facts"]),
            notes=tuple(map(str, sheet["notes"])),
            owner=str(sheet.get("owner", "")),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        log.warning("companion %s passed over: %s", folder.name, " ".join(str(error).split())[:200])
        return None


def _remove_empty(folder: Path) -> None:
    for each in (folder, folder.parent):
        try:
            each.rmdir()
        except OSError:  # something is in it
            return
