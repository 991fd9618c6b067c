"""Recordings that are dropped into a form: one that cannot serve is refused there and then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from core.errors import RequestError
from core.tables import DURATION_S
from library import decoder
from ui.endpoints import QUIET, Endpoints, Updates
from ui.faults import Place, places_of
from ui.streams import failure_update

READING: dict[str, Any] = {**QUIET, "concurrency_limit": 1, "concurrency_id": "recordings"}
"""One at a time is read, for a long one takes memory."""


def wire(name: str, fields: Mapping[str, Component], endpoints: Endpoints) -> None:
    """Let each recording among the fields of an endpoint's request be read as soon as it is there."""
    places = places_of(fields)
    for knob, field in fields.items():
        if isinstance(field, gr.Audio):
            _check(name, knob, field, places, endpoints)


def _check(name: str, knob: str, field: gr.Audio, places: Mapping[str, Place], endpoints: Endpoints) -> None:
    def check(path: str | None) -> Updates:
        refused = refusal(knob, path)
        if refused is None:
            return gr.skip()
        return {field: None, endpoints.progress: failure_update(name, refused, places)}

    field.upload(check, inputs=field, outputs=[field, endpoints.progress], **READING)


def refusal(knob: str, path: str | None) -> RequestError | None:
    """Why a recording cannot serve; None where it can.

    One that is longer than any song is judged by its header alone: to read it takes long, and a run does it again.
    """
    if path is None:
        return None
    try:
        seconds = decoder.probe(Path(path), knob).seconds
        if seconds is None or seconds <= DURATION_S[1]:
            decoder.load(Path(path), knob)
    except RequestError as refused:
        return refused
    return None
