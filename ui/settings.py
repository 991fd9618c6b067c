"""The settings of a form on their way: kept by a browser or carried by a link, and checked when they come back.

What comes back may be of another version, of another machine or of somebody's making: what a request would refuse is
dropped, and named.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.adapters import read_choices, write_choices
from core.drafts import InspireRequest
from core.errors import RequestError
from core.knobs import Json, Knob, Value, knobs_of, parse
from core.params import MODES, UNHEARD
from core.tables import Mode
from networks.acestep.lora.presets import presets
from ui import drafts
from ui.widgets import widget_value

VERSION = "1"
MAX_BYTES = 400_000
"""No settings are longer: a plan of ten minutes, and words in every field."""

LINE = drafts.OWN["inspire"]
"""The line that a whole song can start from: it stands in the form of Generate and is no knob of its request."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Values of a mode's form by knob, as they were told; `song` is what opens the song that was made with them."""

    mode: Mode
    values: Mapping[str, object]
    song: str = ""


def fields(mode: Mode) -> dict[str, Knob]:
    """The knobs that the form of a mode shows, by name."""
    known = {knob.name: knob for knob in knobs_of(MODES[mode])}
    if mode == drafts.MODE:
        known |= {knob.name: knob for knob in knobs_of(InspireRequest) if knob.name == LINE}
    return known


def defaults(mode: Mode) -> dict[str, Value]:
    """What the widgets of a form hold at first, by knob."""
    return {name: widget_value(knob, knob.default) for name, knob in fields(mode).items()}


def differing(mode: Mode, values: Mapping[str, object]) -> dict[str, Json]:
    """What is not at its default, apart from what lies on this machine alone: recordings, and adapters by path.

    How one listens while a song is made is no setting of it.
    """
    told: dict[str, Json] = {}
    for name, knob in fields(mode).items():
        if knob.kind == "audio" or name in UNHEARD or name not in values:
            continue
        try:
            value = knob.parse(values[name])
        except ValueError:
            continue
        value = _without_files(value) if name == "adapters" else value
        if value != knob.default:
            assert value is None or isinstance(value, str | int | float)
            told[name] = value
    return told


def _without_files(adapters: Value) -> str:
    """The adapters that other machines may know too: those with a preset's name."""
    try:
        return write_choices(choice for choice in read_choices(str(adapters)) if choice.name in presets())
    except ValueError:
        return ""


def encode(settings: Settings) -> str:
    """The settings as a short text that can stand in an address."""
    parts = [settings.mode, differing(settings.mode, settings.values), *([settings.song] if settings.song else [])]
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()
    packed = base64.urlsafe_b64encode(packer.compress(text) + packer.flush()).decode().rstrip("=")
    return f"{VERSION}.{packed}"


def decode(text: str) -> Settings:
    """The settings that a text carries, unchecked but for their form. Raises ValueError where it carries none."""
    version, _, packed = text.partition(".")
    if version != VERSION or len(packed) > MAX_BYTES:
        raise ValueError("it is of another version of the studio")
    try:
        opener = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        told = opener.decompress(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)), MAX_BYTES)
        mode, values, *more = json.loads(told)
    except (binascii.Error, zlib.error, ValueError, TypeError, RecursionError) as broken:
        raise ValueError("it is cut short or was changed on its way") from broken
    if mode not in MODES or not isinstance(values, dict):
        raise ValueError("it is of another version of the studio")
    return Settings(mode=mode, values=values, song=str(more[0]) if more else "")


def checked(
    mode: Mode, values: Mapping[str, object], file: Callable[[Value], str | None], *, whole: bool = False
) -> tuple[dict[str, Value], list[str]]:
    """(the values as widgets hold them, the names of those that were dropped).

    `file` gives the path of a recording that the page may show. Where the values come as a `whole`, what they say
    together is checked as well; what a user left half done by hand is not.
    """
    known = fields(mode)
    kept: dict[str, Value] = {}
    for name, value in values.items():
        try:
            kept[name] = _checked(known[name], value, file)
        except (KeyError, ValueError):
            continue
    while whole and (wrong := _at_fault(mode, kept)):
        kept = {name: value for name, value in kept.items() if name not in wrong}
    shown = {name: widget_value(known[name], value) for name, value in kept.items()}
    return shown, [name for name in values if name not in kept]


def _checked(knob: Knob, value: object, file: Callable[[Value], str | None]) -> Value:
    read = knob.parse(value)
    if knob.kind == "audio" and read is not None:
        read = file(read)
        if read is None:
            raise ValueError("is no longer there")
    return read


def _at_fault(mode: Mode, values: Mapping[str, Value]) -> set[str]:
    """Which of the values a request would be refused for."""
    try:
        parse(MODES[mode], {name: value for name, value in values.items() if name != LINE})
    except RequestError as refused:
        return {fault.field for fault in refused.faults} & values.keys()
    return set()
