"""What the forms offer of the weights that are on this machine now."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from checkpoints import writers
from core.knobs import knobs_of
from core.lyrics import LyricsRequest
from core.params import MODES
from core.tables import Mode
from ui import widgets
from ui.endpoints import Updates
from ui.form import Form
from ui.handlers import Handlers

SAMPLED = tuple(writers.find(writers.BUILT_IN).recipe.muted)
"""Knobs of the lyrics that only language models can honour."""


def renewed(handlers: Handlers, forms: Mapping[Mode, Form]) -> Updates:
    """What can be chosen where knobs name weights: a download that ended since shows when the page is loaded."""
    installed = handlers.installed()
    recipes = {mode: handlers.recipe_of(mode, None) for mode in forms}
    choices: Updates = {
        form.widgets[knob.name]: gr.update(choices=widgets.entries(knob, recipes[mode], installed[knob.name]))
        for mode, form in forms.items()
        for knob in knobs_of(MODES[mode])
        if knob.name in installed
    }
    writing = {
        forms["lyrics"].widgets[knob.name]: widgets.recipe_update(knob, "lyrics", recipes["lyrics"])
        for knob in knobs_of(LyricsRequest)
        if knob.name in SAMPLED
    }
    return {**choices, **writing}
