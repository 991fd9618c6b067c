"""The options of the server: one row each, from which the command line, the environment and docs/server.md derive."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.tables import DURATION_S
from jobs.replica import LONGEST_LINE

PORT = 7860
MAX_UPLOAD = "1gb"
LOG_INS = "ACE_AUTH"
"""The variable of the environment that says who may log in."""

STRANGERS_JOBS = 4
"""So many jobs may each visitor have at once on a page that strangers share, unless it is said otherwise."""

_SIZE = re.compile(r"(\d{1,6})\s*(kb|mb|gb)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of the server; `read` makes its value of a text, and raises ValueError with the rule that it breaks.

    `unset` says what holds where nobody said anything. One without `read` is a switch. `many` may be said repeatedly,
    and stand in one text with commas between them.
    """

    name: str
    help: str
    unset: str
    read: Callable[[str], Any] | None = None
    metavar: str = ""
    many: bool = False

    @property
    def flag(self) -> str:
        """How it is said on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """The variable of the environment that says it where the command line does not."""
        return f"ACE_{self.name.upper()}"


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text.strip()) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return read


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= DURATION_S[1]:
        raise ValueError(f"must be a number from 1 to {DURATION_S[1]:g} seconds")
    return seconds


def _size(text: str) -> str:
    found = _SIZE.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise ValueError("must be a size like 200mb or 1gb")
    return f"{int(found[1])}{found[2].lower()}"


def _host(text: str) -> str:
    name = text.strip().casefold()
    if not re.fullmatch(r"\*|\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*", name):
        raise ValueError("must be the name of a host, or *")
    return name


OPTIONS: tuple[Option, ...] = (
    Option(name="port", read=_whole(1, 65535), metavar="N", unset=str(PORT), help="the port of the page"),
    Option(name="host", read=str, metavar="ADDRESS", unset="this machine only", help="the address that is served"),
    Option(name="share", unset="off", help="make a public link through Gradio's servers"),
    Option(
        name="allow_host",
        read=_host,
        metavar="NAME",
        many=True,
        unset="its own names",
        help="another name by which the page may be called, and a page that may call it; .name for all that end so",
    ),
    Option(
        name="auth",
        read=Path,
        metavar="FILE",
        unset="no log-in",
        help="let in only who is named in this file: a line `name:password` each",
    ),
    Option(name="mcp", unset="off", help="serve assistants at /mcp, with the extra of that name (mcp.md)"),
    Option(
        name="max_queue",
        read=_whole(1, 1000),
        metavar="N",
        unset=str(LONGEST_LINE),
        help="jobs at work and in the line, all together",
    ),
    Option(
        name="max_jobs_per_session",
        read=_whole(1, 1000),
        metavar="N",
        unset=f"{STRANGERS_JOBS} where others reach the page, else no bound",
        help="jobs at work and in the line of one visitor",
    ),
    Option(
        name="max_duration_s",
        read=_seconds,
        metavar="S",
        unset=f"{DURATION_S[1]:g}",
        help="seconds of music that one job may make or work on",
    ),
    Option(
        name="max_upload", read=_size, metavar="SIZE", unset=MAX_UPLOAD, help="the largest file that may be brought in"
    ),
    Option(
        name="checkpoint",
        read=str,
        metavar="NAME",
        unset="the best that is installed",
        help="the weights to run on",
    ),
    Option(
        name="replicas",
        read=str,
        metavar="N",
        unset="this process alone",
        help="so many jobs at once, each on a device of its own; 2-8: at least 2, up to 8 as jobs wait (scale.md)",
    ),
    Option(
        name="cluster",
        read=str,
        metavar="ADDRESS",
        unset="this machine",
        help="the Ray cluster whose machines the replicas run on",
    ),
)


def add_flags(parser: argparse.ArgumentParser, unset: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Add a flag for each option; where it is not said the environment says it, and else `unset` or None."""
    for option in OPTIONS:
        said = environment.get(option.variable) or None
        told: dict[str, Any] = {"help": f"{option.help}; left out: {option.unset} ({option.variable})"}
        if option.read is None:
            told |= {"action": "store_true", "default": said not in (None, "0")}
        else:
            told |= {"type": _reader(option), "metavar": option.metavar, "default": unset.get(option.name)}
            if option.many:
                told |= {"action": "append", "default": None}
            if said is not None and option.name != "auth":
                told["default"] = _said(parser, option, said)
        parser.add_argument(option.flag, **told)


def _said(parser: argparse.ArgumentParser, option: Option, said: str) -> Any:
    try:
        values = [_reader(option)(each) for each in (said.split(",") if option.many else [said])]
    except argparse.ArgumentTypeError as odd:
        parser.error(f"{option.variable}: {odd}")
    return values if option.many else values[0]


def _reader(option: Option) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        assert option.read is not None
        try:
            return option.read(text)
        except ValueError as odd:
            raise argparse.ArgumentTypeError(f"{text!r:.60} {odd}") from None

    return read


def users_of(file: Path | None, environment: Mapping[str, str]) -> dict[str, str] | None:
    """Who may log in, and with which password; None lets everybody in.

    From the file, or else from `LOG_INS`, which holds the same lines or has commas between them. A password never
    stands on the command line, which everybody on the machine can read. Raises StudioError.
    """
    said = environment.get(LOG_INS, "")
    if file is None and not said:
        return None
    if file is not None:
        if not file.is_file() and ":" in str(file):
            raise StudioError(
                "--auth takes a file, and no password: everybody on this machine can read a command line.",
                f"Put name:password into a file of your own, or into the environment as {LOG_INS}.",
            )
        try:
            said = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StudioError(f"The log-ins of {file} cannot be read: {error}.", "Name another file.") from error
    lines = said.splitlines() if file is not None else re.split(r"[\n,]", said)
    pairs = [line.strip().partition(":") for line in lines if line.strip() and not line.lstrip().startswith("#")]
    users = {name.strip(): password for name, _, password in pairs}
    if not users or not all(users) or not all(users.values()):
        raise StudioError("A log-in needs a name and a password.", "Write one line name:password for each.")
    return users


def table() -> str:
    """The options as a table of Markdown."""
    rows = ["| option | environment | left out | what it says |", "|---|---|---|---|"]
    for option in OPTIONS:
        flag = f"{option.flag} {option.metavar}".strip()
        rows.append(f"| `{flag}` | `{option.variable}` | {option.unset} | {option.help.capitalize()}. |")
    return "\n".join(rows)
