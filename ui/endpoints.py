"""The named endpoints: handlers that take every knob by name, as Gradio, its client and MCP read them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import gradio as gr

import tooltips
from core.knobs import Kind, Knob, knobs_of

Out = TypeVar("Out")

_TYPES: Mapping[Kind, type] = {
    "text": str,
    "integer": int,
    "number": float,
    "flag": bool,
    "choice": str,
    "audio": str,
}


def endpoint(
    name: str, request_class: type, sentence: str, handler: Callable[[Mapping[str, object], str], Iterator[Out]]
) -> Callable[..., Iterator[Out]]:
    """A generator function whose signature and docstring name every knob of the request, with its default.

    `name` is the mode's or the draft's, `sentence` says what comes out. `handler(values, session)` gets the knobs by
    name and the id of the browser session or client.
    """
    knobs = knobs_of(request_class)

    def run(request: gr.Request, **values: object) -> Iterator[Out]:
        yield from handler(values, request.session_hash or "")  # in here, or Gradio does not see a generator

    caller = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request)
    run.__name__ = name
    run.__doc__ = _docstring(name, sentence, knobs)
    run.__annotations__ = {"request": gr.Request} | {knob.name: _hint(knob) for knob in knobs}
    run.__signature__ = inspect.Signature([caller, *map(_parameter, knobs)])  # type: ignore[attr-defined]
    return run


def _hint(knob: Knob) -> object:
    kind = _TYPES[knob.kind]
    return kind | None if knob.optional else kind


def _parameter(knob: Knob) -> inspect.Parameter:
    return inspect.Parameter(knob.name, inspect.Parameter.KEYWORD_ONLY, default=knob.default, annotation=_hint(knob))


def _docstring(name: str, sentence: str, knobs: tuple[Knob, ...]) -> str:
    lines = [f"    {knob.name}: {tooltips.of(name, knob.name)[1]} {knob.rule.capitalize()}." for knob in knobs]
    return "\n".join([f"{sentence}.", "", "Args:", *lines])
