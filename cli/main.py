"""One-shot jobs from the command line: `./studio generate --prompt "..."` and its siblings.

The flags are the knobs' names. Progress goes to stderr; stdout carries one JSON line for each song (for lyrics,
the words). The exit code is 0 when done, otherwise that of the error (see errors.py).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from tqdm import tqdm

import tooltips
from cli import checkpoints as cli_checkpoints
from cli import drafts as cli_drafts
from cli import plans as cli_plans
from core.drafts import DRAFTS
from core.errors import Fault, RequestError, StudioError
from core.events import Progress, TextDelta
from core.knobs import Knob, knobs_of, parse
from core.params import MODES, SONG_MODES, ModeRequest
from core.tables import Mode
from library.tracks import Track
from networks.machine import Bits, DeviceKind, DType, Machine, RuntimeName

SUFFIX = ".wav"
Result = TypeVar("Result")
Values = Mapping[str, object]
"""Knobs by name, as they were typed."""


def parser() -> argparse.ArgumentParser:
    """One subcommand for each mode and each draft, one flag for each of their knobs; and one for the checkpoints."""
    root = argparse.ArgumentParser(prog="studio", description="Make music from the command line.")
    commands = root.add_subparsers(dest="mode", required=True, metavar="MODE")
    for mode, request_class in MODES.items():
        title, sentence = tooltips.MODES[mode]
        command = commands.add_parser(mode, help=sentence, description=f"{title}. {sentence}.")
        for knob in knobs_of(request_class):
            _add_flag(command, mode, knob)
        if mode in SONG_MODES:
            command.add_argument("--out", type=Path, help=f"copy the song to this {SUFFIX} file")
            command.add_argument("--fresh", action="store_true", help="render again what is in the library already")
        else:
            command.add_argument("--out", type=Path, help="write the words to this file too")
        add_machine_flags(command)
    for name, kind in cli_drafts.COMMANDS.items():
        _, sentence = tooltips.DRAFTS[kind]
        command = commands.add_parser(name, help=sentence, description=f"{sentence}.")
        for knob in knobs_of(DRAFTS[kind]):
            _add_flag(command, kind, knob)
        add_machine_flags(command)
    plan = commands.add_parser("plan", help=tooltips.PLAN[1], description=f"{tooltips.PLAN[1]}.")
    for knob in knobs_of(MODES["generate"]):
        _add_flag(plan, "generate", knob)
    plan.add_argument("--json", action="store_true", dest="as_json", help="one JSON line instead of the plan's text")
    add_machine_flags(plan)
    cli_checkpoints.add_commands(commands.add_parser("checkpoints", help="Bring, check and remove weights"))
    return root


def add_machine_flags(command: argparse.ArgumentParser) -> None:
    """Nothing; the parser knows the flags that say where and in what format the networks run."""
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


def machine_of(values: dict[str, Any]) -> Machine:
    """What the machine flags say; they are taken out of the values."""
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
    mode: Mode | Literal["checkpoints", "plan"] = values.pop("mode")
    try:
        if mode == "checkpoints":
            cli_checkpoints.run(values.pop("action"), values)
        elif mode in cli_drafts.COMMANDS:
            machine = machine_of(values)
            cli_drafts.run(mode, values, machine, _with_bar)
        elif mode == "plan":
            machine, as_json = machine_of(values), values.pop("as_json")
            cli_plans.run(values, machine, _with_bar, as_json=as_json)
        elif mode == "lyrics":
            machine, out = machine_of(values), values.pop("out")
            _write_words(values, machine, out)
        else:
            machine, out, fresh = machine_of(values), values.pop("out"), values.pop("fresh")
            _make_songs(mode, values, machine, out=out, fresh=fresh)
    except StudioError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("Cancelled.\n")
        return 1
    return 0


def _make_songs(mode: Mode, values: Values, machine: Machine, *, out: Path | None, fresh: bool) -> None:
    request = parse(MODES[mode], values)
    if out is not None and out.suffix.lower() != SUFFIX:
        raise RequestError([Fault("out", str(out), f"must end in {SUFFIX}")])
    _check_folder(out)
    with _running(request, machine, fresh=fresh) as events:
        tracks = [event for event in events if isinstance(event, Track)]
    for number, track in enumerate(tracks, start=1):
        path = track.path if out is None else _save(track.path.read_bytes(), _numbered(out, number))
        sys.stdout.write(json.dumps(_report(track, path)) + "\n")


def _write_words(values: Values, machine: Machine, out: Path | None) -> None:
    """Nothing; the words are on stdout, who wrote them and what they lack on stderr."""
    request = parse(MODES["lyrics"], values)
    _check_folder(out)
    words = []
    with _running(request, machine) as events:
        for event in events:
            if isinstance(event, TextDelta):
                sys.stdout.write(event.text)
                sys.stdout.flush()
                words.append(event.text)
    if out is not None:
        _save("".join(words).encode(), out)


def _check_folder(out: Path | None) -> None:
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise RequestError([Fault("out", str(out), "must be a file in a folder that exists")])


@contextlib.contextmanager
def _running(request: ModeRequest, machine: Machine, *, fresh: bool = False) -> Iterator[Iterable[object]]:
    """The results of a job on a studio of its own, both closed in the end."""
    from backend import Settings, Studio  # takes longer to import than a wrong flag should take to be refused

    studio = Studio(Settings(machine=machine))
    with contextlib.closing(studio), contextlib.closing(studio.run(request, fresh=fresh)) as events:
        yield _with_bar(events, told=request.mode == "lyrics")


def _with_bar(events: Iterable[Any], *, told: bool = False) -> Iterable[Any]:
    """The results among the events; progress is drawn on stderr, where with `told` the last of it stays to be read."""
    line = ""
    with tqdm(total=1, file=sys.stderr, bar_format="{desc:<40} {bar:30}", leave=False) as bar:
        for event in events:
            if isinstance(event, Progress):
                bar.total, bar.n = max(event.total, 1), event.step
                line = str(event)
                bar.set_description_str(line)
            else:
                yield event
    if told:
        sys.stderr.write(f"{line}\n")


def _numbered(out: Path, number: int) -> Path:
    return out if number == 1 else out.with_stem(f"{out.stem}-{number}")


def _save(content: bytes, target: Path) -> Path:
    partial = target.with_name(f".{target.name}.part")
    partial.write_bytes(content)
    return partial.replace(target)


def _report(track: Track, path: Path) -> dict[str, str | int | float]:
    return {
        "path": str(path.absolute()),
        "seed": track.seed,
        "checkpoint": track.checkpoint,
        "seconds": round(track.seconds, 3),
        "seconds_taken": round(track.seconds_taken, 2),
        "id": track.id,
    }
