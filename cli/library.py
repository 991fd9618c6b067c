"""`./studio library`: the songs of the library listed, searched, named, favoured, deleted, brought back and brought in.

stdout carries one JSON line for each song. Questions go to stderr; nothing goes for good without a yes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.checkpoints import asked

if TYPE_CHECKING:
    from library.records import Track
    from library.tracks import Library


MOST = 30_000
"""Songs that one search lists."""


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add what can be done with the songs of the library to the parser."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    command = commands.add_parser("list", help="the songs, the newest first")
    command.add_argument("--limit", type=int, help="so many of them; left out: all")
    command = commands.add_parser("search", help="songs with all of these words in title, prompt or lyrics")
    command.add_argument("words", metavar="WORDS", nargs="*")
    command.add_argument("--mode", dest="made_by", default="", help="made by this mode, or recording")
    command.add_argument("--checkpoint", default="", help="made with this checkpoint")
    command.add_argument("--favourite", action="store_true", help="favourites alone")
    command = commands.add_parser("rename", help="call a song by another name; an empty one gives it its title back")
    command.add_argument("id", metavar="ID")
    command.add_argument("name", metavar="NAME")
    command = commands.add_parser("favourite", help="make a song a favourite")
    command.add_argument("id", metavar="ID")
    command.add_argument("--off", action="store_true", help="make it none any more")
    command = commands.add_parser("delete", help="put songs into the trash, which empties itself after an hour")
    command.add_argument("ids", metavar="ID", nargs="+")
    command = commands.add_parser("restore", help="bring songs back from the trash")
    command.add_argument("ids", metavar="ID", nargs="+")
    command = commands.add_parser("import", help="take recordings in as songs")
    command.add_argument("files", metavar="FILE", type=Path, nargs="+")
    command = commands.add_parser("prune", help="delete the oldest songs that are no favourites until the rest fits")
    command.add_argument("--gb", type=float, help="how much may stay; left out: the bound that was set in the page")
    command.add_argument("--yes", action="store_true", help="agree without being asked")


def run(action: str, options: Mapping[str, Any]) -> None:
    """Do one action and print the songs that it is about. Raises StudioErrors."""
    from core.paths import outputs_folder
    from library.tracks import Library

    actions: Mapping[str, Callable[..., Iterable[Track]]] = {
        "list": lambda library, limit: library.newest(limit),
        "search": _search,
        "rename": lambda library, id, name: [library.rename(id, name)],
        "favourite": lambda library, id, off: [library.favour(id, not off)],
        "delete": _delete,
        "restore": lambda library, ids: [library.restore(each) for each in ids],
        "import": _import,
        "prune": _prune,
    }
    for track in actions[action](Library(outputs_folder()), **options):
        facts = {"path": str(track.path.absolute()), "name": track.called, "favourite": track.favourite}
        line = {**facts, "mode": track.mode, **track.summary()}
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")


def _search(library: Library, words: list[str], made_by: str, **filters: Any) -> list[Track]:
    from library.index import Query

    found = library.search(Query(words=" ".join(words), mode=made_by, limit=MOST, **filters))
    return [found.tracks[identity] for group in found.groups for identity in group]


def _delete(library: Library, ids: list[str]) -> list[Track]:
    tracks = [library.get(each) for each in ids]
    library.discard(*ids)
    return tracks


def _import(library: Library, files: list[Path]) -> Iterable[Track]:
    from library.recordings import bring_in

    return (bring_in(library, path) for path in files)


def _prune(library: Library, gb: float | None, yes: bool) -> list[Track]:
    from core.errors import Fault, RequestError
    from library import storage

    bound = storage.bound_gb(library) if gb is None else gb
    if bound is None or not 0 < bound <= storage.LARGEST_GB:
        raise RequestError([Fault("gb", gb, f"must be above 0 and at most {storage.LARGEST_GB:.0f}")])
    over = storage.surplus(library, bound)
    question = f"Put the {len(over.ids)} oldest songs, {over.bytes / storage.GB:.2f} GB, into the trash?"
    if not over.ids or not (yes or asked(question)):
        return []
    return _delete(library, list(over.ids))
