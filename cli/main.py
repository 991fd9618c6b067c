"""One-shot jobs from the command line: `./studio generate --prompt "..."` and its siblings.

The flags are the knobs' names. Progress goes to stderr, results to stdout: one JSON line for each song, each draft and
what an action made, the words of lyrics, the text of a plan. The exit code is 0 when done, otherwise that of the error.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from tqdm import tqdm

import tooltips
from cli import batch as cli_batch
from cli import checkpoints as cli_checkpoints
from cli import library as cli_library
from core.actions import ACTIONS, ActionRequest
from core.drafts import Draft
from core.errors import Fault, RequestError, StudioError
from core.events import Progress, TextDelta
from core.files import write_whole
from core.knobs import Knob, knobs_of, parse
from core.lyrics import LyricsRequest
from core.params import MODES, SONG_MODES, UNHEARD
from core.plans import Plan
from core.requests import REQUESTS, Request
from jobs.results import facts
from library.companions import Companion
from library.records import Track
from networks.machine import Bits, DeviceKind, DType, Machine, Offload, RuntimeName

SUFFIX = ".wav"

COMMANDS: Mapping[str, str] = MappingProxyType({{"inspire": "draft"}.get(name, name): name for name in REQUESTS})
"""What the studio can be asked for, by the word that asks for it here."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """What becomes of the results beside stdout; `as_json` tells a plan as one JSON line instead of its text."""

    out: Path | None = None
    fresh: bool = False
    as_json: bool = False


def parser() -> argparse.ArgumentParser:
    """One subcommand for each request, one flag for each of its knobs; one for lists, checkpoints and the library."""
    root = argparse.ArgumentParser(prog="studio", description="Make music from the command line.")
    commands = root.add_subparsers(dest="mode", required=True, metavar="MODE")
    for name, asked in COMMANDS.items():
        title, sentence = tooltips.title(asked)
        command = commands.add_parser(name, help=sentence, description=f"{title}. {sentence}.")
        for knob in knobs_of(REQUESTS[asked]):
            if knob.name in UNHEARD:  # nobody listens here
                continue
            _add_flag(command, "generate" if asked == "plan" else asked, knob)
        _add_output_flags(command, asked)
        add_machine_flags(command)
    command = commands.add_parser("batch", help="Make what a list of jobs asks for; what is made stays so")
    cli_batch.add_flags(command)
    add_machine_flags(command)
    cli_checkpoints.add_commands(commands.add_parser("checkpoints", help="Bring, check and remove weights"))
    cli_library.add_commands(commands.add_parser("library", help="Find, name, delete and bring in songs"))
    return root


def _add_output_flags(command: argparse.ArgumentParser, asked: str) -> None:
    if asked in SONG_MODES:
        command.add_argument("--out", type=Path, help=f"copy the song to this {SUFFIX} file")
        command.add_argument("--fresh", action="store_true", help="render again what is in the library already")
    elif asked in MODES:
        command.add_argument("--out", type=Path, help="write the words to this file too")
    elif asked in ACTIONS:
        command.add_argument("--out", type=Path, help="copy the files into this folder")
        command.add_argument("--fresh", action="store_true", help="make again what was made before")
    elif asked == "plan":
        command.add_argument("--json", dest="as_json", action="store_true", help="one JSON line instead of the text")


def add_machine_flags(command: argparse.ArgumentParser) -> None:
    """Add the flags that say where and in what format the networks run."""
    command.add_argument(
        "--runtime", choices=get_args(RuntimeName), help="framework; left out: mlx on Apple silicon, torch elsewhere"
    )
    command.add_argument("--device", choices=get_args(DeviceKind), help="left out: the best there is")
    command.add_argument(
        "--dtype", choices=get_args(DType), help="number format of the networks; left out: what suits the device"
    )
    command.add_argument(
        "--bits",
        type=int,
        choices=get_args(Bits),
        help="pack the layers of the song's network, with mlx: 8 halves their memory, 4 is an experiment",
    )
    command.add_argument(
        "--offload",
        choices=get_args(Offload),
        help="what of a song's weights waits in the host's memory: left out, what a GPU has too little memory for",
    )
    command.add_argument(
        "--memory-gb",
        type=_gigabytes,
        metavar="GB",
        help="use no more of the device's memory than this; left out: all that is free",
    )


def _gigabytes(text: str) -> float:
    """The positive number that the text spells. Raises ValueError."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def machine_of(values: dict[str, Any]) -> Machine:
    """Take what the machine flags say out of the values."""
    return Machine(**{field.name: values.pop(field.name) for field in dataclasses.fields(Machine)})


def _add_flag(command: argparse.ArgumentParser, owner: str, knob: Knob) -> None:
    label, sentence = tooltips.of(owner, knob.name)
    text = f"{label}. {sentence}".replace("%", "%%")
    options: dict[str, Any] = {"dest": knob.name, "default": argparse.SUPPRESS, "help": text}
    if knob.kind == "flag":
        options["action"] = argparse.BooleanOptionalAction
    else:
        options |= {
            "type": _number_or_text if knob.kind in ("integer", "number") else str,
            "metavar": knob.kind.upper(),
        }
    command.add_argument(f"--{knob.name.replace('_', '-')}", **options)


def _number_or_text(text: str) -> float | str | None:
    """The number that the text spells; other text goes on as it is, for the request to refuse by its own rule."""
    if text.strip().lower() in ("", "auto"):
        return None
    try:
        return float(text)
    except ValueError:
        return text


def main(argv: Sequence[str]) -> int:
    """The exit code of one job."""
    values = vars(parser().parse_args(argv))
    command = values.pop("mode")
    try:
        if command == "checkpoints":
            cli_checkpoints.run(values.pop("action"), values)
        elif command == "library":
            cli_library.run(values.pop("action"), values)
        elif command == "batch":
            machine = machine_of(values)
            return cli_batch.run(values["jobs"], COMMANDS, machine, values["processes"])
        else:
            machine = machine_of(values)
            output = Output(**{name: values.pop(name) for name in ("out", "fresh", "as_json") if name in values})
            _run(parse(REQUESTS[COMMANDS[command]], values), machine, output)
    except StudioError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("Cancelled.\n")
        return 1
    return 0


def _run(request: Request, machine: Machine, output: Output) -> None:
    """Ask a studio of its own for the request, and print what comes, each kind of result in its own way."""
    if isinstance(request, ActionRequest):
        _check_folder(output.out)
    else:
        _check_file(output.out, songs=not isinstance(request, LyricsRequest))
    from backend import Settings, Studio  # takes longer to import than a wrong flag should take to be refused

    studio, words, songs = Studio(Settings(machine=machine)), "", 0
    with contextlib.closing(studio), contextlib.closing(studio.run(request, fresh=output.fresh)) as events:
        for result in _with_bar(events, keep=isinstance(request, LyricsRequest)):
            match result:
                case Track():
                    songs += 1
                    path = _kept(result, output.out, songs).absolute()
                    _print(_json(facts(result) | {"path": str(path)}))
                case Companion():
                    songs += 1
                    _print(_json(facts(result) | {"files": [str(path) for path in _copied(result, output.out)]}))
                case TextDelta():
                    words += result.text
                    _print(result.text)
                case Plan():
                    _print(_json(result.summary()) if output.as_json else result.to_text())
                case Draft():
                    _print(_json(result.values()))
    if output.out is not None and not songs:
        _save(words.encode(), output.out)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _json(facts: object) -> str:
    return json.dumps(facts, ensure_ascii=False) + "\n"


def _kept(track: Track, out: Path | None, number: int) -> Path:
    """Where the song lies: in the library, or in a copy, numbered from the second song on."""
    if out is None:
        return track.path
    return _save(track.path.read_bytes(), out if number == 1 else out.with_stem(f"{out.stem}-{number}"))


def _copied(companion: Companion, out: Path | None) -> list[Path]:
    """Where the files lie: in the library, or in a folder of the user's."""
    if out is None:
        return [file.absolute() for file in companion.files]
    return [_save(file.read_bytes(), out.absolute() / file.name) for file in companion.files]


def _save(content: bytes, target: Path) -> Path:
    try:
        return write_whole(target, content)
    except OSError as error:
        raise StudioError(f"{target} could not be written: {error}.", "Make room or name another file.") from error


def _check_file(out: Path | None, *, songs: bool) -> None:
    if out is None:
        return
    if songs and out.suffix.lower() != SUFFIX:
        raise RequestError([Fault("out", str(out), f"must end in {SUFFIX}")])
    try:
        fits = out.absolute().parent.is_dir() and not out.is_dir()
    except OSError:  # a name that is too long
        fits = False
    if not fits:
        raise RequestError([Fault("out", str(out), "must be a file in a folder that exists")])


def _check_folder(out: Path | None) -> None:
    if out is not None and not out.is_dir():
        raise RequestError([Fault("out", str(out), "must be a folder that exists")])


def _with_bar(events: Iterable[object], *, keep: bool) -> Iterable[object]:
    """The results among the events; progress is drawn on stderr, where with `keep` the last of it stays to be read."""
    line = ""
    with tqdm(total=1, file=sys.stderr, bar_format="{desc:<40} {bar:30}", leave=False) as bar:
        for event in events:
            if isinstance(event, Progress):
                bar.total, bar.n = max(event.total, 1), event.step
                line = str(event)
                bar.set_description_str(line)
            else:
                yield event
    if keep:
        sys.stderr.write(f"{line}\n")
