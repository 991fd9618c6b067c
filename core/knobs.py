"""How a knob is declared, checked and carried: the mechanism behind the tables of params.py.

A request is a frozen, keyword-only dataclass whose fields are made by `knob()`. The annotation gives the
kind (`int`, `float`, `bool`, `str`, `Path` for audio, `Literal` for closed choices; `| None` means "choose
for me"), the metadata gives the rest. Widgets, validation, command line, API schema, sidecar and
docs/knobs.md all read the same `Knob`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from core.errors import Fault, RequestError

Kind = Literal["text", "integer", "number", "flag", "choice", "audio"]
Value = str | int | float | bool | Path | None
Json = str | int | float | bool | None
R = TypeVar("R")

AUTO = "auto"
"""What a user picks or types where `None` cannot be shown."""


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One user-settable value and every fact about it.

    `low` and `high` are inclusive and in `unit`; for text `high` counts characters. `optional` means that
    `None` is allowed and asks the studio to choose. `group` is the fold of the form in which it is shown.
    """

    name: str
    kind: Kind
    default: Value
    optional: bool
    group: str
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    lines: int = 1

    @property
    def rule(self) -> str:
        """The condition a value must meet, in words."""
        return f"must be {self._range()}{self._empty()}"

    def _range(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        match self.kind:
            case "flag":
                return "true or false"
            case "choice":
                return f"one of {', '.join(self.choices)}"
            case "audio":
                return "the path of an audio file"
            case "text":
                return f"text of at most {self.high:g} characters"
            case "integer":
                return f"a whole number from {self.low:.0f} to {self.high:.0f}{unit}"
        return f"a number from {self.low:g} to {self.high:g}{unit}"

    def _empty(self) -> str:
        return ", or empty to let the studio choose" if self.optional else ""

    def parse(self, value: object) -> Value:
        """The value as its Python type; raises ValueError when the rule is broken.

        Integral floats count as whole numbers (JSON and browsers send 8.0 for 8); numbers in text do not
        count as numbers, and true / false do not count as 1 / 0.
        """
        if self.optional and isinstance(value, str) and value.strip().lower() in ("", AUTO):
            return None
        if value is None:
            if self.optional:
                return None
            raise ValueError(self.rule)
        parsed = _PARSERS[self.kind](self, value)
        if parsed is _WRONG:
            raise ValueError(self.rule)
        return typing.cast(Value, parsed)


_WRONG = object()


def _text(knob: Knob, value: object) -> object:
    assert knob.high is not None
    if not isinstance(value, str) or len(value) > knob.high or not _is_whole(value):
        return _WRONG
    return value.replace("\r\n", "\n").replace("\x00", "")


def _is_whole(text: str) -> bool:
    """Whether the text can be written to a file: half a surrogate pair, which JSON can spell, cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _number(knob: Knob, value: object) -> object:
    assert knob.low is not None and knob.high is not None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _WRONG
    # The range comes first: it leaves out NaN, and whole numbers too large to become a float.
    if not knob.low <= value <= knob.high or (knob.kind == "integer" and value != int(value)):
        return _WRONG
    return int(value) if knob.kind == "integer" else float(value)


def _flag(knob: Knob, value: object) -> object:
    return value if isinstance(value, bool) else _WRONG


def _choice(knob: Knob, value: object) -> object:
    return value if isinstance(value, str) and value in knob.choices else _WRONG


def _audio(knob: Knob, value: object) -> object:
    """Absolute, for the request may be made again from another working directory."""
    if not isinstance(value, str | Path) or "\x00" in str(value) or not _is_whole(str(value)):
        return _WRONG
    return Path(value).absolute()


_PARSERS = {"text": _text, "integer": _number, "number": _number, "flag": _flag, "choice": _choice, "audio": _audio}


def knob(
    default: Value = None,
    *,
    group: str,
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
    choices: tuple[str, ...] = (),
    unit: str = "",
    lines: int = 1,
) -> typing.Any:
    """A dataclass field that declares a knob; see `Knob` for the facts."""
    facts = {"group": group, "low": low, "high": high, "step": step, "choices": choices, "unit": unit, "lines": lines}
    return dataclasses.field(default=default, metadata={"knob": facts})


def _kind(hint: object, choices: tuple[str, ...]) -> tuple[Kind, bool, tuple[str, ...]]:
    """(kind, optional, choices) of an annotation."""
    optional = False
    if get_origin(hint) in (Union, types.UnionType):
        optional = type(None) in get_args(hint)
        (hint,) = (arg for arg in get_args(hint) if arg is not type(None))
    if get_origin(hint) is Literal:
        return "choice", optional, tuple(get_args(hint))
    if hint is str:
        return ("choice" if choices else "text"), optional, choices
    kinds: dict[object, Kind] = {bool: "flag", int: "integer", float: "number", Path: "audio"}
    return kinds[hint], optional, ()


_READ: dict[type, tuple[Knob, ...]] = {}
"""The knobs of the classes that were asked for: annotations take long to read."""


def knobs_of(request_class: type) -> tuple[Knob, ...]:
    """The knobs of a request class, in the order of declaration (base classes first)."""
    if request_class not in _READ:
        _READ[request_class] = tuple(_read(request_class))
    return _READ[request_class]


def _read(request_class: type) -> Iterator[Knob]:
    assert dataclasses.is_dataclass(request_class)
    hints = get_type_hints(request_class)
    for field in dataclasses.fields(request_class):
        facts = dict(field.metadata["knob"])
        kind, optional, choices = _kind(hints[field.name], facts.pop("choices"))
        default = typing.cast(Value, field.default)
        yield Knob(name=field.name, kind=kind, optional=optional, choices=choices, default=default, **facts)


def parse(request_class: type[R], values: Mapping[str, object]) -> R:
    """A validated request from values by name; a name that is left out takes its default.

    Raises RequestError with one fault for every unknown name, broken rule and broken combination of values.
    """
    known = {knob.name: knob for knob in knobs_of(request_class)}
    faults = [Fault(name, values[name], "is not a knob of this mode") for name in values if name not in known]
    parsed: dict[str, Value] = {}
    for name, value in values.items():
        if name in known:
            try:
                parsed[name] = known[name].parse(value)
            except ValueError as broken:
                faults.append(Fault(name, value, str(broken)))
    wrong = {fault.field for fault in faults}
    defaults = {name: knob.default for name, knob in known.items()}
    request = request_class(**{**defaults, **parsed})
    check: typing.Callable[[], Iterator[Fault]] | None = getattr(request, "combinations", None)
    if check is not None:
        faults += [fault for fault in check() if fault.field not in wrong]
    if faults:
        raise RequestError(faults)
    return request


def readable(request_class: type[R], values: Mapping[str, object]) -> R:
    """The request of those values that can be read, the others at their default; nothing else of it is checked."""
    read: dict[str, Value] = {}
    for knob in knobs_of(request_class):
        try:
            read[knob.name] = knob.parse(values.get(knob.name, knob.default))
        except ValueError:
            read[knob.name] = knob.default
    return request_class(**read)


def changed(request: R, values: Mapping[str, object]) -> R:
    """The request with these values, which are known to be right, in place of its own; also of other dataclasses."""
    return dataclasses.replace(request, **values)  # type: ignore[type-var]


def set_in_vain(
    request: object, idle: Mapping[str, str], allowed: Mapping[str, Value] = MappingProxyType({})
) -> Iterator[Fault]:
    """A fault for every knob that was set although it means nothing: `idle` maps such knobs to the reason.

    Resting at the default is no fault, nor is the value of `allowed`, which the knob has in effect.
    """
    for knob in knobs_of(type(request)):
        value = getattr(request, knob.name)
        if knob.name in idle and value not in (knob.default, allowed.get(knob.name, knob.default)):
            yield Fault(knob.name, value, idle[knob.name])


def to_json(request: object) -> dict[str, Json]:
    """The request's values by name as plain JSON values: what the sidecar, the cache key and a worker process get."""
    values: dict[str, Json] = {}
    for knob in knobs_of(type(request)):
        value = getattr(request, knob.name)
        values[knob.name] = str(value) if isinstance(value, Path) else value
    return values
