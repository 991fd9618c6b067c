"""A plan as text: to be read, edited and used again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import yaml

from core.music import OPEN, Music
from core.tables import (
    BPM,
    CODEBOOK,
    CODES_PER_S,
    DURATION_S,
    KEYSCALES,
    LANGUAGES,
    PROMPT_CHARS,
    TIME_SIGNATURES,
)

_FIELD = re.compile(r"([a-z_]+):(.*)", re.DOTALL)
_CODE_TOKEN = re.compile(r"<\|audio_code_(\d+)\|>")
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "bpm": "bpm",
        "caption": "caption",
        "duration_s": "duration",
        "keyscale": "keyscale",
        "language": "language",
        "timesignature": "timesignature",
    }
)
"""The names that the 5 Hz planner has for the facts it decides, in its order."""

_CODES = "codes"


@dataclass(frozen=True, kw_only=True)
class PlanText:
    """What a text says about a song. `codes` are the whole song's, five a second; None is left open."""

    music: Music = OPEN
    codes: tuple[int, ...] | None = None

    def __str__(self) -> str:
        """The text: names as the planner writes them, in its order."""
        facts = self.music.facts()
        lines = {name: facts[fact] for fact, name in NAMES.items() if fact in facts}
        if "caption" in lines:
            lines["caption"] = _on_one_line(self.music.caption)
        if self.music.duration_s is not None:
            lines["duration"] = f"{self.music.duration_s:g}"
        if self.codes is not None:
            lines[_CODES] = " ".join(map(str, self.codes))
        return "".join(f"{name}: {value}\n" for name, value in lines.items())


def _on_one_line(caption: str) -> str:
    """The caption as a value; one that begins with a quotation mark is quoted once more."""
    line = " ".join(caption.split())
    return json.dumps(line, ensure_ascii=False) if line[:1] in ("'", '"') else line


def fields(text: str) -> dict[str, str]:
    """The values of the lines `name: value` by name, as they stand there; indented lines go on with the one before.

    Values are not read as YAML: it takes the language `no` for false, and a colon in a caption for a mistake. Only a
    value in quotes is unquoted as YAML would. Raises ValueError for a line that is no such line.
    """
    raw: dict[str, str] = {}
    name = None
    for line in text.split("\n"):
        if not line.strip():
            continue
        start = _FIELD.fullmatch(line)
        if start:
            name = start[1]
            if name in raw:
                raise ValueError(f"must have one line {name[:40]}, not two")
            raw[name] = start[2]
        elif name is not None and line[0] in " \t":
            raw[name] += f"\n{line}"
        else:
            raise ValueError(f"must be lines such as bpm: 92, not {line.strip()[:40]!r}")
    return {name: _unquoted(value) for name, value in raw.items()}


def _unquoted(value: str) -> str:
    """The value on one line, without the quotes that YAML puts around some."""
    stripped = value.strip()
    if stripped[:1] in ("'", '"'):
        try:
            loaded = yaml.safe_load(stripped)
        except yaml.YAMLError:
            loaded = None
        stripped = loaded if isinstance(loaded, str) else stripped
    return " ".join(stripped.split())


def read_output(text: str) -> tuple[dict[str, str], tuple[int, ...]]:
    """The fields and the code tokens of what a planner wrote; of any other text, its fields.

    Raises ValueError for a line that is no field.
    """
    facts, rest = text.strip(), ""
    if facts.startswith("<think>"):  # elsewhere the tags are words like any other
        facts, end, rest = facts.removeprefix("<think>").partition("\n</think>")
        if not end:
            raise ValueError("must close <think> by </think> on a line of its own")
        if not facts.strip() and not rest.strip():
            raise ValueError("must say something between <think> and </think>")
    return fields(facts), tuple(int(code) for code in _CODE_TOKEN.findall(rest))


def read_plan(text: str) -> PlanText:
    """The plan in a text, as a planner wrote it or as `PlanText` writes it; an empty text leaves everything open.

    Raises ValueError with the rule that it breaks.
    """
    lines, tokens = read_output(text)
    names = (*NAMES.values(), _CODES)
    if unknown := sorted(lines.keys() - {*names, "genres"}):
        raise ValueError(f"must name {', '.join(names)}, not {unknown[0][:40]}")
    codes = _codes(lines[_CODES]) if _CODES in lines else tokens or None
    music = Music(
        caption=lines.get("caption", ""),
        duration_s=_seconds(lines, codes),
        bpm=_whole(lines, "bpm", BPM),
        keyscale=_one_of(lines, "keyscale", KEYSCALES),
        timesignature=_one_of(lines, "timesignature", TIME_SIGNATURES),
        language=_one_of(lines, "language", LANGUAGES),
    )
    if len(music.caption) > PROMPT_CHARS:
        raise ValueError(f"must have a caption of at most {PROMPT_CHARS} characters")
    return PlanText(music=music, codes=codes)


def _codes(text: str) -> tuple[int, ...]:
    try:
        codes = tuple(int(code) for code in text.replace(",", " ").split())
    except ValueError:
        codes = ()
    if not codes or not all(0 <= code < CODEBOOK for code in codes):
        raise ValueError(f"must have codes that are whole numbers from 0 to {CODEBOOK - 1}, separated by spaces")
    return codes


def _seconds(lines: Mapping[str, str], codes: Sequence[int] | None) -> float | None:
    """The song's length as written, or that of the codes. Raises ValueError when the two do not agree."""
    low, high = DURATION_S
    typed = lines.get("duration") or None
    if typed is None and codes is None:
        return None
    try:
        seconds = float(typed) if typed is not None else len(codes or ()) / CODES_PER_S
    except ValueError:
        seconds = 0.0
    if not low <= seconds <= high:
        raise ValueError(f"must have a duration from {low} to {high} seconds")
    if codes is not None and len(codes) != int(CODES_PER_S * seconds):
        wanted = int(CODES_PER_S * seconds)
        raise ValueError(f"must have {wanted} codes for {seconds:g} seconds, five a second, not {len(codes)}")
    return seconds


def _whole(lines: Mapping[str, str], name: str, bounds: tuple[int, int]) -> int | None:
    typed = lines.get(name) or None
    if typed is None:
        return None
    if not (typed.isascii() and typed.isdigit() and bounds[0] <= int(typed) <= bounds[1]):
        raise ValueError(f"must have a {name} from {bounds[0]} to {bounds[1]}")
    return int(typed)


def _one_of(lines: Mapping[str, str], name: str, choices: Sequence[str]) -> str | None:
    typed = lines.get(name) or None
    if typed is not None and typed not in choices:
        raise ValueError(f"must have a {name} that is one of {', '.join(choices)}")
    return typed
