"""Lists of jobs, a line each, and beside each list the lines of what came of them.

A list is JSON lines or a csv. A job is known by what it asks for and by how many of its like stand before it: lines may
be moved, added and taken away, and what is finished stays finished.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from core.actions import ActionRequest
from core.errors import Busy, Fault, RequestError, StudioError
from core.files import reason, sha256
from core.knobs import Json, Knob, knobs_of, parse, to_json
from core.params import UNHEARD
from core.requests import REQUESTS, Request
from core.resolve import seeded

MODE = "mode"
"""Names what a line asks for; without it a song is made."""

YES, NO = ("true", "yes", "1"), ("false", "no", "0")
"""How a cell of a csv spells a flag."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A line that asks for something: the request's name and its knobs, `fault` instead where it cannot be asked."""

    line: int
    asked: str
    key: str
    values: Mapping[str, Json] = field(default_factory=dict)
    fault: StudioError | None = None

    @property
    def facts(self) -> dict[str, Json]:
        """What its line of results begins with."""
        return {"line": self.line, "key": self.key, MODE: self.asked}


class JobList:
    """The jobs of a file; `commands` gives the name of each request by the word that asks for it.

    Raises RequestError where the file cannot be read. A line that is wrong is a job with a fault.
    """

    def __init__(self, path: Path, commands: Mapping[str, str]) -> None:
        self._commands = commands
        self._seen: Counter[str] = Counter()
        self._sounds: dict[str, str] = {}
        try:
            text = path.read_text(encoding="utf-8-sig")
            lines = list(_rows(text) if path.suffix.lower() == ".csv" else _objects(text))
        except (OSError, UnicodeDecodeError, csv.Error) as odd:
            rule = f"must be a list of jobs that can be read: {odd}"
            raise RequestError([Fault("jobs", str(path), rule)]) from odd
        self.jobs = [self._job(number, said) for number, said in lines]

    def _job(self, number: int, said: object) -> Job:
        asked, key = "", self._key("", str(said))
        try:
            values = _mapping(said)
            word = values.pop(MODE, "generate")
            asked = self._commands.get(word, word) if isinstance(word, str) else ""
            if asked not in REQUESTS:
                raise RequestError([Fault(MODE, word, f"must be one of {', '.join(self._commands)}")])
            if unheard := sorted(values.keys() & set(UNHEARD)):
                raise RequestError(Fault(name, values[name], "means nothing where nobody listens") for name in unheard)
            known = {knob.name: knob for knob in knobs_of(REQUESTS[asked])}
            typed = {name: _typed(known.get(name), value) for name, value in values.items()}
            asked_for = parse(REQUESTS[asked], typed)
            request = to_json(asked_for)
            sounds = {name: self._sound(str(request[name])) for name in values if known[name].kind == "audio"}
            key = self._key(asked, {name: request[name] for name in values}, sounds)
            return Job(line=number, asked=asked, key=key, values=to_json(_drawn(asked_for, key)))
        except StudioError as fault:
            return Job(line=number, asked=asked, key=key, fault=fault)

    def _key(self, asked: str, said: object, sounds: Mapping[str, str] = MappingProxyType({})) -> str:
        """The name of a job: a hash of what it asks for, of the sound of its recordings and of its like before it."""
        told = json.dumps([asked, said, dict(sounds)], sort_keys=True, default=str)
        self._seen[told] += 1
        return hashlib.sha256(f"{self._seen[told]} {told}".encode()).hexdigest()[:16]

    def _sound(self, name: str) -> str:
        if name not in self._sounds:
            try:
                self._sounds[name] = sha256(Path(name))
            except OSError:  # the job will be refused
                self._sounds[name] = ""
        return self._sounds[name]


def _objects(text: str) -> Iterator[tuple[int, object]]:
    """The JSON of each line with its number; one that is none is its text."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError:
                yield number, line.strip()


def _rows(text: str) -> Iterator[tuple[int, object]]:
    """The cells of each row by the names in the first one, with the number of its line; an empty cell says nothing."""
    rows = csv.DictReader(io.StringIO(text, newline=""))
    number = rows.line_num + 1
    for row in rows:
        begins, number = number, rows.line_num + 1
        cells = {name: _cell(value) for name, value in row.items() if value}
        if cells:
            yield max(begins, 2), cells


def _mapping(said: object) -> dict[str, object]:
    """The knobs of a line by name. Raises RequestError."""
    if not isinstance(said, dict):
        raise RequestError([Fault("line", said, "must be a JSON object of knobs by name")])
    if None in said:  # where csv.DictReader puts what has no name
        raise RequestError([Fault("line", said[None], "has more cells than the csv has names")])
    return dict(said)


class _Cell(str):
    """A text that may spell a number or a flag."""


def _cell(value: str | list[str]) -> object:
    return _Cell(value.strip()) if isinstance(value, str) else value


def _typed(knob: Knob | None, value: object) -> object:
    """What a cell spells; what it does not spell goes on as text, for the request to refuse by its own rule."""
    if not isinstance(value, _Cell) or knob is None:
        return value
    if knob.kind == "flag":
        return value.lower() in YES if value.lower() in (*YES, *NO) else str(value)
    if knob.kind in ("integer", "number"):
        try:
            return float(value)
        except ValueError:
            return str(value)
    return str(value)


def _drawn(request: Request, key: str) -> Request:
    """The request with what would be drawn for it drawn from its key: cut off, it asks for the same and finds it."""
    return request if isinstance(request, ActionRequest) else seeded(request, lambda below: int(key, 16) % below)


class Results:
    """The lines of what came of a list's jobs, in a file that one process writes.

    What is `add`ed is on the disk. Raises Busy where another process is at it, StudioError where the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise StudioError(f"{path} cannot be written: {reason(error)}.", "Put the list elsewhere.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise Busy(f"Another batch writes {path}.", "Wait for it.") from None
        text = path.read_bytes()
        if text and not text.endswith(b"\n"):  # a line that was cut off is no result
            self._write(b"\n")
        self.finished = frozenset(_finished(text))

    @classmethod
    def beside(cls, jobs: Path) -> Self:
        """Those of a list: `songs.jsonl` has its results in `songs.results.jsonl`."""
        return cls(jobs.with_name(f"{jobs.stem}.results.jsonl"))

    def add(self, line: Mapping[str, object]) -> str:
        """Write what came of a job; the line is returned."""
        text = json.dumps(line, ensure_ascii=False)
        self._write(f"{text}\n".encode())
        return text

    def _write(self, text: bytes) -> None:
        try:
            while text:
                text = text[os.write(self._file, text) :]
            os.fsync(self._file)
        except OSError as error:
            raise StudioError(
                f"{self.path} cannot be written: {reason(error)}.", "Make room, then run it again."
            ) from error

    def close(self) -> None:
        """Let others write."""
        os.close(self._file)


def _finished(text: bytes) -> Iterator[str]:
    """The keys of the jobs that were made."""
    for line in text.split(b"\n"):
        try:
            told: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict) and "results" in told:
            yield str(told.get("key"))
