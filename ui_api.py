"""The named endpoints: handlers that take every knob by name, as Gradio, its client and MCP read them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import gradio as gr

import tooltips
from knobs import Kind, Knob, knobs_of
from params import MODES
from params_tables import Mode

Out = TypeVar("Out")

_TYPES: Mapping[Kind, type] = {
    "text": str,
    "integer": int,
    "number": float,
    "flag": bool,
    "choice": str,
    "audio": str,
}


def endpoint(mode: Mode, handler: Callable[[Mapping[str, object], str], Iterator[Out]]) -> Callable[..., Iterator[Out]]:
    """A generator function whose signature and docstring name every knob of the mode, with its default.

    `handler(values, session)` gets the knobs by name and the id of the browser session or client.
    """
    knobs = knobs_of(MODES[mode])

    def run(request: gr.Request, **values: object) -> Iterator[Out]:
        yield from handler(values, request.session_hash or "")  # in here, or Gradio does not see a generator

    caller = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request)
    run.__name__ = mode
    run.__doc__ = _docstring(mode, knobs)
    run.__annotations__ = {"request": gr.Request} | {knob.name: _hint(knob) for knob in knobs}
    run.__signature__ = inspect.Signature([caller, *map(_parameter, knobs)])  # type: ignore[attr-defined]
    return run


def _hint(knob: Knob) -> object:
    kind = _TYPES[knob.kind]
    return kind | None if knob.optional else kind


def _parameter(knob: Knob) -> inspect.Parameter:
    return inspect.Parameter(knob.name, inspect.Parameter.KEYWORD_ONLY, default=knob.default, annotation=_hint(knob))


def _docstring(mode: Mode, knobs: tuple[Knob, ...]) -> str:
    _, sentence = tooltips.MODES[mode]
    lines = [f"    {knob.name}: {tooltips.of(mode, knob.name)[1]} {knob.rule.capitalize()}." for knob in knobs]
    return "\n".join([f"{sentence}.", "", "Args:", *lines])
