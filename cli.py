"""One-shot jobs from the command line: `./studio generate --prompt "..."` and its siblings.

The flags are the knobs' names. Progress goes to stderr; stdout carries one JSON line for each song (for lyrics,
the words). The exit code is 0 when done, otherwise that of the error (see errors.py).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

import cli_checkpoints
import tooltips
from errors import Fault, RequestError, StudioError
from events import Progress, TextDelta
from knobs import Knob, knobs_of, parse
from library import Track
from params import MODES, Mode, Request

if TYPE_CHECKING:
    from runtimes import DType

COMMON = ("device", "dtype", "out", "fresh")
"""Options of a one-shot job that are not knobs."""


def parser() -> argparse.ArgumentParser:
    """One subcommand for each mode, one flag for each of its knobs; and one for the checkpoints."""
    root = argparse.ArgumentParser(prog="studio", description="Make music from the command line.")
    commands = root.add_subparsers(dest="mode", required=True, metavar="MODE")
    for mode, request_class in MODES.items():
        title, sentence = tooltips.MODES[mode]
        command = commands.add_parser(mode, help=sentence, description=f"{title}. {sentence}.")
        for knob in knobs_of(request_class):
            _add_flag(command, knob)
        command.add_argument("--out", type=Path, help="copy the result to this file")
        command.add_argument(
            "--fresh", action="store_true", help="render again even if this very song is in the library"
        )
        command.add_argument("--device", help="cpu, cuda or mps; left out: the best there is")
        command.add_argument(
            "--dtype",
            choices=("float32", "float16", "bfloat16"),
            help="number format of the networks; left out: what suits the device",
        )
    cli_checkpoints.add_commands(commands.add_parser("checkpoints", help="Bring, check and remove weights"))
    return root


def _add_flag(command: argparse.ArgumentParser, knob: Knob) -> None:
    label, sentence = tooltips.KNOBS[knob.name]
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
    mode: Mode | Literal["checkpoints"] = values.pop("mode")
    try:
        if mode == "checkpoints":
            return cli_checkpoints.run(values.pop("action"), values)
        options = {name: values.pop(name) for name in COMMON}
        request = parse(MODES[mode], values)
        _check_target(options["out"])
        return _run(request, options["out"], fresh=options["fresh"], device=options["device"], dtype=options["dtype"])
    except StudioError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("Cancelled.\n")
        return 1


def _check_target(out: Path | None) -> None:
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise RequestError([Fault("out", str(out), "must be a file in a folder that exists")])


def _run(request: Request, out: Path | None, *, fresh: bool, device: str | None, dtype: DType | None) -> int:
    from backend import Settings, Studio

    studio = Studio(Settings(device=device, dtype=dtype))
    tracks = []
    events = studio.run(request, fresh=fresh)
    try:
        for event in _with_bar(events):
            if isinstance(event, TextDelta):
                sys.stdout.write(event.text)
            else:
                tracks.append(event)
    finally:
        events.close()
        studio.close()
    for number, track in enumerate(tracks, start=1):
        path = track.path if out is None else _copy(track.path, _numbered(out, number))
        sys.stdout.write(json.dumps(_report(track, path)) + "\n")
    return 0


def _with_bar(events: Iterable[Progress | TextDelta | Track]) -> Iterable[TextDelta | Track]:
    """The results among the events; progress is drawn on stderr."""
    with tqdm(total=1, file=sys.stderr, bar_format="{desc:<40} {bar:30}", leave=False) as bar:
        for event in events:
            if isinstance(event, Progress):
                bar.total, bar.n = max(event.total, 1), event.step
                bar.set_description_str(str(event))
            else:
                yield event


def _numbered(out: Path, number: int) -> Path:
    return out if number == 1 else out.with_stem(f"{out.stem}-{number}")


def _copy(source: Path, target: Path) -> Path:
    partial = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, partial)
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
