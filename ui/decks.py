"""Decks: recordings that the page plays in step, drawn and mixed by deck.js from the data that stand in a component."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.data_classes import FileData

Lane = dict[str, object]
"""A recording in a deck, as deck.js reads it."""

Value = dict[str, object] | None
"""What a deck holds; it is not seen while there is None."""


def make(elem_id: str, call: str) -> gr.HTML:
    """An empty deck, inside the open layout; `call` is the JavaScript that brings it to life."""
    template = '<div class="deck"></div>'
    return gr.HTML(None, html_template=template, js_on_load=call, apply_default_css=False, elem_id=elem_id)


def lane(label: str, file: Path, seconds: float, *, gain_db: float = 0.0, offset_s: float = 0.0) -> Lane:
    """A recording of so many seconds, played at a gain, beginning at an offset of the time that all lanes share."""
    return {
        "label": label,
        "sound": FileData(path=str(file), orig_name=file.name).model_dump(),
        "seconds": round(seconds, 6),
        "gain_db": round(gain_db, 3),
        "offset_s": round(offset_s, 6),
    }
