"""The tools that fill the form of Generate: a line to start from, a recording to listen to, Enhance, and Undo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

import tooltips
from core.drafts import DRAFTS, DraftKind
from core.knobs import Knob, knobs_of
from core.params import GenerateRequest
from core.tables import Mode
from ui import panes as ui_result
from ui import widgets as ui_widgets
from ui.widgets import AnyRecipe

MODE: Mode = "generate"
"""The mode whose form drafts fill."""

UNDO = "Undo the draft"
OWN: Mapping[DraftKind, str] = {"inspire": "query", "understand": "src_audio"}
"""The knob of a draft that has a place of its own in the page; the others are those of the form."""

_FOLDS: Mapping[DraftKind, str] = {
    "inspire": "Start from a line · a whole draft",
    "understand": "Understand a recording · its facts",
}


@dataclass(frozen=True, kw_only=True)
class DraftTools:
    """A button for each draft, the widgets that only drafts have, Undo and the line that says who proposed what.

    `hidden` are those of `own`'s kind that only clients see. `draft` holds the latest draft, for clients and for the
    page; `before` what the form held before each of them.
    """

    buttons: Mapping[DraftKind, gr.Button]
    own: Mapping[DraftKind, Component]
    hidden: Mapping[DraftKind, Mapping[str, Component]]
    undo: gr.Button
    line: gr.HTML
    draft: gr.JSON
    before: gr.State


def build_openers(recipe: AnyRecipe) -> tuple[dict[DraftKind, gr.Button], dict[DraftKind, Component]]:
    """(buttons, widgets) of the two folds above the form, inside the open layout."""
    buttons: dict[DraftKind, gr.Button] = {}
    own: dict[DraftKind, Component] = {}
    for kind, summary in _FOLDS.items():
        knob = next(knob for knob in knobs_of(DRAFTS[kind]) if knob.name == OWN[kind])
        fold = gr.Accordion(summary, open=False, elem_id=f"{kind}-fold", elem_classes=["opener"])
        with fold, gr.Column(elem_classes=["cell"], min_width=0):
            own[kind] = _widget(kind, knob, recipe)
            with gr.Row(elem_classes=["actions", "alone"]):
                buttons[kind] = _button(kind)
    return buttons, own


def shared(knob: Knob) -> bool:
    """Whether the form of Generate has the knob, with the same default: a draft takes its value from there."""
    return any((each.name, each.default) == (knob.name, knob.default) for each in knobs_of(GenerateRequest))


def build(buttons: dict[DraftKind, gr.Button], own: Mapping[DraftKind, Component], recipe: AnyRecipe) -> DraftTools:
    """All the tools: those of the folds, and the row under the words that is made here, inside the open layout."""
    with gr.Row(elem_classes=["actions", "draft-actions"]):
        buttons["enhance"] = _button("enhance")
        undo = gr.Button(UNDO, interactive=False, elem_id="undo-draft")
    line = ui_result.text("p", "draft-line")
    with gr.Column(visible=False):
        hidden = {
            kind: {
                knob.name: _widget(kind, knob, recipe)
                for knob in knobs_of(request)
                if knob.name != OWN.get(kind) and not shared(knob)
            }
            for kind, request in DRAFTS.items()
        }
    return DraftTools(
        buttons=buttons,
        own=own,
        hidden=hidden,
        undo=undo,
        line=line,
        draft=gr.JSON(visible=False, label="Draft"),
        before=gr.State([]),
    )


def _widget(kind: DraftKind, knob: Knob, recipe: AnyRecipe) -> Component:
    choices = () if knob.name in ui_widgets.NAMED else None  # clients know what they name; the page shows none of it
    setting = ui_widgets.Setting(mode=kind, recipe=recipe, choices=choices)
    if knob.kind == "audio":
        ui_widgets.caption(knob, setting)
    return ui_widgets.make(knob, setting)


def _button(kind: DraftKind) -> gr.Button:
    title, _ = tooltips.DRAFTS[kind]
    return gr.Button(title, elem_id=f"draft-{kind}")
