"""What the tools of drafts do: propose, fill the form, and put back what it held before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

import tooltips
from core.drafts import DRAFTS, DraftKind
from core.knobs import Json, knobs_of
from core.music import KNOBS
from core.params import GenerateRequest
from ui import widgets as ui_widgets
from ui.drafts import OWN, DraftTools, shared
from ui.endpoints import endpoint
from ui.form import Form
from ui.handlers import Handlers
from ui.runs import AT_ONCE, Updates, begin, rest

DRAFTED = tuple(knob for knob in knobs_of(GenerateRequest) if knob.name in KNOBS.values())
"""The knobs of Generate that a draft may fill."""

DEPTH = 20
"""So many drafts can be undone."""

Snapshot = dict[str, Json]
"""What the form held, by knob."""


def wire(form: Form, status: gr.HTML, progress: gr.HTML, handlers: Handlers) -> None:
    """Nothing; each tool of the form has its named endpoint, and fills the form."""
    tools, widgets = form.drafts, form.widgets
    assert tools is not None
    fields = [widgets[knob.name] for knob in DRAFTED]
    for kind in DRAFTS:
        job = begin(tools.buttons[kind], handlers).then(
            endpoint(kind, DRAFTS[kind], tooltips.DRAFTS[kind][1], _handler(handlers, kind)),
            inputs_kwargs=_inputs(tools, widgets, kind),
            outputs=[tools.draft, progress],
            api_name=kind,
            show_progress="hidden",
        )
        rest(job, status, handlers)
        job.success(
            _filler(tools, widgets, handlers),
            inputs=[tools.draft, widgets["checkpoint"], tools.before, *fields],
            outputs=[*fields, tools.before, tools.undo, tools.line],
            **AT_ONCE,
        )

    def undo(before: Sequence[Snapshot]) -> Updates:
        if not before:
            return gr.skip()
        *earlier, latest = before
        values = {widgets[name]: value for name, value in latest.items()}
        left = f" {len(earlier)} more can be undone." if earlier else ""
        line = f"The form is as it was before the draft.{left}"
        return {**values, tools.before: earlier, progress: "undone", **_state(tools, earlier, line)}

    outputs = [*fields, tools.before, tools.undo, tools.line, progress]
    tools.undo.click(undo, inputs=tools.before, outputs=outputs, **AT_ONCE)


def _handler(handlers: Handlers, kind: DraftKind) -> Any:
    def handle(values: Mapping[str, object], session: str) -> Any:
        return handlers.draft(kind, values, session)

    return handle


def _inputs(tools: DraftTools, form: Mapping[str, Component], kind: DraftKind) -> dict[str, Component]:
    """The widget of each knob of a draft: its own, that of the form, or one that only clients see."""
    inputs: dict[str, Component] = {}
    for knob in knobs_of(DRAFTS[kind]):
        if knob.name == OWN.get(kind):
            inputs[knob.name] = tools.own[kind]
        else:
            inputs[knob.name] = form[knob.name] if shared(knob) else tools.hidden[kind][knob.name]
    return inputs


def _filler(tools: DraftTools, form: Mapping[str, Component], handlers: Handlers) -> Any:
    def fill(
        draft: Mapping[str, Any] | None, checkpoint: str | None, before: Sequence[Snapshot], *held: Json
    ) -> Updates:
        if not draft:  # cancelled
            return gr.skip()
        muted = handlers.recipe(checkpoint).muted
        filled = [knob for knob in DRAFTED if draft.get(knob.name) is not None and knob.name not in muted]
        values = {form[knob.name]: ui_widgets.shown(knob, draft[knob.name]) for knob in filled}
        snapshot = {knob.name: value for knob, value in zip(DRAFTED, held, strict=True)}
        before = [*before, snapshot][-DEPTH:]
        names = [tooltips.of("generate", knob.name)[0].lower() for knob in filled]
        line = f"Filled in {', '.join(names)}" if names else "Nothing to fill in"
        return {**values, tools.before: before, **_state(tools, before, told(line, draft))}

    return fill


def told(line: str, draft: Mapping[str, Any]) -> str:
    """What was filled in, who proposed it, and the notes."""
    seed = [] if draft["seed"] is None else [f"seed {draft['seed']}"]
    return " · ".join([line, draft["author"], *seed, *draft["notes"]])


def _state(tools: DraftTools, before: Sequence[Snapshot], line: str) -> Updates:
    return {tools.undo: gr.update(interactive=bool(before)), tools.line: line}
