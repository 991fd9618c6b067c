"""Requests as JSON schemas: what clients and assistants are told of the knobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tooltips
from core.knobs import Kind, Knob, knobs_of
from core.requests import REQUESTS

Schema = dict[str, Any]

_TYPES: Mapping[Kind, str] = {
    "text": "string",
    "integer": "integer",
    "number": "number",
    "flag": "boolean",
    "choice": "string",
    "audio": "string",
}


def schema_of(name: str, audio: Schema) -> Schema:
    """The knobs of a request, by its name, as a JSON object; `audio` says how a recording is given.

    Null stands for what the studio chooses. What several knobs may be together, the studio says when it is asked.
    """
    knobs = knobs_of(REQUESTS[name])
    return {
        "type": "object",
        "properties": {knob.name: _property(name, knob, audio) for knob in knobs},
        "additionalProperties": False,
    }


def _property(owner: str, knob: Knob, audio: Schema) -> Schema:
    kind: Schema = dict(audio) if knob.kind == "audio" else {"type": _TYPES[knob.kind], **_bounds(knob)}
    if knob.optional:
        kind = {"anyOf": [kind, {"type": "null"}]}
    title, sentence = tooltips.of(owner, knob.name)
    told: Schema = {"title": title, "description": f"{sentence} {knob.rule.capitalize()}.", "default": knob.default}
    return {**kind, **told, **({"x-unit": knob.unit} if knob.unit else {})}


def _bounds(knob: Knob) -> Schema:
    if knob.kind == "text":
        return {"maxLength": int(knob.high or 0)}
    if knob.kind == "choice":
        return {"enum": list(knob.choices)}
    return {} if knob.low is None else {"minimum": knob.low, "maximum": knob.high}
