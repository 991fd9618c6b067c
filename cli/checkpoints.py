"""`./studio checkpoints`: list, download, verify, remove and import from the command line.

Progress and questions go to stderr. stdout carries the table, or one JSON line about what was done.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from core.events import Transfer
from networks.machine import likely_device

if TYPE_CHECKING:
    from checkpoints.download import Row
    from checkpoints.find import Installed

BAR = "{desc} {bar:20}"
Result = TypeVar("Result")


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add what can be done with checkpoints to the parser."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    command = commands.add_parser("list", help="what there is, what is installed, what it needs")
    command.add_argument("--json", dest="as_json", action="store_true", help="as JSON, sizes in bytes")
    command = commands.add_parser("download", help="bring one here; goes on where an earlier one stopped")
    command.add_argument("name", metavar="NAME")
    command.add_argument("--yes", action="store_true", help="agree to its size and licence without being asked")
    command = commands.add_parser("verify", help="look over a checkpoint's files, tensor by tensor")
    command.add_argument("folder", metavar="FOLDER", help="a folder, or the name of an installed checkpoint")
    command = commands.add_parser("remove", help="take away what was downloaded or imported")
    command.add_argument("name", metavar="NAME")
    command.add_argument("--yes", action="store_true", help="agree without being asked")
    command = commands.add_parser("import", help="take the files of a folder as the checkpoint of that name")
    command.add_argument("name", metavar="NAME")
    command.add_argument("folder", metavar="FOLDER", type=Path)


def run(action: str, options: Mapping[str, Any]) -> None:
    """Do one action and print its result. Raises StudioErrors."""
    actions: Mapping[str, Callable[..., None]] = {
        "list": _list,
        "download": _download,
        "verify": _verify,
        "remove": _remove,
        "import": _import,
    }
    actions[action](**options)


def _list(as_json: bool) -> None:
    from checkpoints.download import Downloads

    found = Downloads().rows(likely_device())
    if as_json:
        _write([asdict(row) for row in found])
    else:
        sys.stdout.write(_table(found))


def _table(rows: Sequence[Row]) -> str:
    """Columns of text, the checkpoints grouped by use as they stand in the list."""
    lines = [("NAME", "TITLE", "USE", "SIZE", "MEMORY", "LICENCE", "INSTALLED")]
    for row in rows:
        state = str(row.folder) if row.installed else "no"
        if row.brought:
            state = f"{row.brought / max(row.bytes, row.brought):.0%} downloaded"
        size = f"{row.bytes / 1e9:.1f} GB" if row.bytes else "-"
        memory = f"{row.memory_bytes / 1e9:.1f} GB"
        lines.append((row.name, row.title, row.use, size, memory, row.licence, state))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)


def _download(name: str, yes: bool) -> None:
    from checkpoints import table
    from checkpoints.download import Downloads, folder_of

    checkpoint = table.row(name)
    question = f"{checkpoint.title}: {checkpoint.bytes / 1e9:.1f} GB, licence {checkpoint.licence}, "
    agreed = yes or asked(f"{question}to {folder_of(checkpoint)}. Download it?")
    _write_place(_with_bar(Downloads().download(name, consent=agreed)))


def _import(name: str, folder: Path) -> None:
    from checkpoints.manage import import_folder

    _write_place(_with_bar(import_folder(name, folder)))


def _verify(folder: str) -> None:
    from checkpoints import find, table
    from checkpoints.manage import verify

    path = Path(folder)
    if not path.is_dir() and folder in table.CHECKPOINTS:
        path = find.checkpoint(folder).folder
    _write(asdict(_with_bar(verify(path))))


def _remove(name: str, yes: bool) -> None:
    from checkpoints import table
    from checkpoints.download import folder_of
    from checkpoints.manage import remove

    agreed = yes or asked(f"Remove {name} from {folder_of(table.row(name))}?")
    _write(asdict(remove(name, consent=agreed)))


def asked(question: str) -> bool:
    """The answer of whoever sits at the terminal; no when nobody does."""
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _with_bar(events: Generator[Transfer | Result, None, None]) -> Result:
    """The result, which is the last event; the others are drawn on stderr."""
    with contextlib.closing(events), tqdm(total=1, file=sys.stderr, disable=None, bar_format=BAR, leave=False) as bar:
        for event in events:
            if not isinstance(event, Transfer):
                return event
            bar.total, bar.n = max(event.total, 1), event.step
            bar.set_description_str(str(event))
    raise AssertionError("an action ends in its result")


def _write_place(place: Installed) -> None:
    _write({"checkpoint": place.checkpoint.name, "folder": str(place.folder)})


def _write(facts: object) -> None:
    sys.stdout.write(json.dumps(facts, default=str, ensure_ascii=False) + "\n")
