"""The tools that fill the form of Generate: a line to start from, a recording to listen to, Enhance, and Undo.

The line is all that the simple form asks for: one press drafts from it and makes the song.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

import tooltips
from core.drafts import DRAFTS, DraftKind
from core.knobs import Json, Knob, Value, knobs_of
from core.music import KNOBS
from core.params import GenerateRequest
from core.tables import Mode
from ui import recordings
from ui.endpoints import AT_ONCE, QUIET, Endpoints, Updates
from ui.panes import plain_text
from ui.widgets import NAMED, AnyRecipe, Setting, caption, make, widget_value

MODE: Mode = "generate"
"""The mode whose form drafts fill."""

DRAFTED = tuple(knob for knob in knobs_of(GenerateRequest) if knob.name in KNOBS.values())
"""The knobs of Generate that a draft may fill."""

DEPTH = 20
"""So many drafts can be undone."""

OWN: Mapping[DraftKind, str] = {"inspire": "query", "understand": "src_audio"}
"""The knob of a draft that has a widget of its own in the page; the others are those of the form."""

_FOLDS: Mapping[DraftKind, str] = {"understand": "Understand a recording · its facts"}

Step = dict[str, tuple[Value, Value]]
"""What a draft filled in: by knob, what the form held before and what it held then."""


@dataclass(frozen=True, kw_only=True)
class DraftTools:
    """A button for each draft, the widgets that only drafts have, Undo and the line that says who proposed what.

    `hidden` are those of `own`'s kind that only clients see. `draft` holds the latest draft, for clients and for the
    page; `steps` what each of them changed.
    """

    buttons: Mapping[DraftKind, gr.Button]
    own: Mapping[DraftKind, Component]
    hidden: Mapping[DraftKind, Mapping[str, Component]]
    undo: gr.Button
    line: gr.HTML
    draft: gr.JSON
    steps: gr.State


def build_openers(recipe: AnyRecipe) -> tuple[dict[DraftKind, gr.Button], dict[DraftKind, Component]]:
    """(buttons, widgets) of what stands above the form, inside the open layout: the line, and a fold."""
    buttons: dict[DraftKind, gr.Button] = {}
    own: dict[DraftKind, Component] = {}
    for kind, name in OWN.items():
        knob = next(knob for knob in knobs_of(DRAFTS[kind]) if knob.name == name)
        with _opener(kind), gr.Column(elem_classes=["cell"], min_width=0):
            own[kind] = _widget(kind, knob, recipe)
            with gr.Row(elem_classes=["actions", "alone"]):
                buttons[kind] = _button(kind)
    return buttons, own


def _opener(kind: DraftKind) -> gr.Accordion | gr.Column:
    if kind in _FOLDS:
        return gr.Accordion(_FOLDS[kind], open=False, elem_id=f"{kind}-fold", elem_classes=["opener"])
    return gr.Column(elem_id=f"{kind}-line", min_width=0)


def build(buttons: dict[DraftKind, gr.Button], own: Mapping[DraftKind, Component], recipe: AnyRecipe) -> DraftTools:
    """All the tools: those of the folds, and the row under the words that is made here, inside the open layout."""
    with gr.Row(elem_classes=["actions", "draft-actions"]):
        buttons["enhance"] = _button("enhance")
        undo = gr.Button("Undo the draft", interactive=False, elem_id="undo-draft")
    line = plain_text("p", "draft-line")
    with gr.Column(visible=False):
        hidden = {
            kind: {
                knob.name: _widget(kind, knob, recipe)
                for knob in knobs_of(request)
                if knob.name != OWN.get(kind) and not _is_shared(knob)
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
        steps=gr.State([]),
    )


def _widget(kind: DraftKind, knob: Knob, recipe: AnyRecipe) -> Component:
    choices = () if knob.name in NAMED else None  # clients know what they name; the page shows none of it
    setting = Setting(mode=kind, recipe=recipe, choices=choices, step=kind == "inspire" and knob.name == OWN[kind])
    if knob.kind == "audio":
        caption(knob, setting)
    return make(knob, setting)


def _button(kind: DraftKind) -> gr.Button:
    title, _ = tooltips.title(kind)
    return gr.Button(title, elem_id=f"draft-{kind}")


def _is_shared(knob: Knob) -> bool:
    """Whether the form of Generate has the knob, with the same default: a draft takes its value from there."""
    return any((each.name, each.default) == (knob.name, knob.default) for each in knobs_of(GenerateRequest))


def wire(tools: DraftTools, widgets: Mapping[str, Component], endpoints: Endpoints) -> None:
    """Give each tool its named endpoint, and let it fill the form whose widgets these are."""
    fields = drafted_fields(widgets)
    for kind, knob in OWN.items():
        recordings.wire(kind, {knob: tools.own[kind]}, endpoints)
    for kind in DRAFTS:
        job = endpoints.add(kind, tools.buttons[kind], _inputs(tools, widgets, kind), [tools.draft])
        fill_after(job, tools, widgets, endpoints)
        if kind == "inspire":  # what was drafted stands in the full form
            job.success(None, js="() => studio.full()", **QUIET)

    def undo(steps: Sequence[Step], *held: Json) -> Updates:
        if not steps:
            return gr.skip()
        *earlier, latest = steps
        now = dict(zip((knob.name for knob in DRAFTED), held, strict=True))
        values = {widgets[name]: before for name, (before, filled) in latest.items() if now[name] == filled}
        line = _undone([name for name, (_, filled) in latest.items() if now[name] != filled], len(earlier))
        return {**values, endpoints.progress: "undone", **_undo_updates(tools, earlier), tools.line: line}

    outputs = [*fields, tools.steps, tools.undo, tools.line, endpoints.progress]
    tools.undo.click(undo, inputs=[tools.steps, *fields], outputs=outputs, **AT_ONCE)


def fill_after(job: Any, tools: DraftTools, widgets: Mapping[str, Component], endpoints: Endpoints) -> None:
    """Let the draft of a job that has ended well fill the form; a job without one leaves it as it is."""
    fields = [widgets[knob.name] for knob in DRAFTED]
    job.success(
        _filler(tools, widgets, endpoints),
        inputs=[tools.draft, widgets["checkpoint"], tools.steps, *fields],
        outputs=[*fields, tools.steps, tools.undo, tools.line],
        **AT_ONCE,
    )


def _inputs(tools: DraftTools, form: Mapping[str, Component], kind: DraftKind) -> dict[str, Component]:
    """The widget of each knob of a draft: its own, that of the form, or one that only clients see."""
    inputs: dict[str, Component] = {}
    for knob in knobs_of(DRAFTS[kind]):
        if knob.name == OWN.get(kind):
            inputs[knob.name] = tools.own[kind]
        else:
            inputs[knob.name] = form[knob.name] if _is_shared(knob) else tools.hidden[kind][knob.name]
    return inputs


def drafted_fields(form: Mapping[str, Component]) -> list[Component]:
    """The widgets that a draft may fill, in the order of `DRAFTED`."""
    return [form[knob.name] for knob in DRAFTED]


def proposed(draft: Mapping[str, Any], muted: Mapping[str, str]) -> dict[str, Value]:
    """What a draft puts into the form, by knob, but for what the checkpoint cannot honour: that is `muted`."""
    filled = [knob for knob in DRAFTED if draft.get(knob.name) is not None and knob.name not in muted]
    return {knob.name: widget_value(knob, draft[knob.name]) for knob in filled}


def taken(
    tools: DraftTools,
    form: Mapping[str, Component],
    draft: Mapping[str, Any],
    values: Mapping[str, Value],
    before: Mapping[str, Json],
    steps: Sequence[Step],
) -> Updates:
    """The updates that put a draft's values into the form, which held others `before`, and let that be undone."""
    step: Step = {name: (before[name], value) for name, value in values.items()}
    updates = {form[name]: value for name, value in values.items()}
    line = _summary([knob for knob in DRAFTED if knob.name in values], draft)
    return {**updates, **_undo_updates(tools, [*steps, step][-DEPTH:]), tools.line: line}


def _filler(tools: DraftTools, form: Mapping[str, Component], endpoints: Endpoints) -> Callable[..., Updates]:
    """The handler that takes a draft over into the form."""

    def fill(draft: Mapping[str, Any] | None, checkpoint: str | None, steps: Sequence[Step], *held: Json) -> Updates:
        if not draft:  # cancelled
            return gr.skip()
        before = dict(zip((knob.name for knob in DRAFTED), held, strict=True))
        values = proposed(draft, endpoints.handlers.recipe(checkpoint).muted)
        return taken(tools, form, draft, values, before, steps)

    return fill


def _summary(filled: Sequence[Knob], draft: Mapping[str, Any]) -> str:
    """What was filled in, who proposed it, and the notes."""
    names = [tooltips.of(MODE, knob.name)[0].lower() for knob in filled]
    done = f"Filled in {', '.join(names)}" if names else "Nothing to fill in"
    seed = [] if draft["seed"] is None else [f"seed {draft['seed']}"]
    return " · ".join([done, draft["author"], *seed, *draft["notes"]])


def _undone(changed: Sequence[str], left: int) -> str:
    """What was undone: the fields of those names were changed by hand since the draft, and stay."""
    names = ", ".join(tooltips.of(MODE, name)[0].lower() for name in changed)
    kept = f" but for what you changed since: {names}" if changed else ""
    more = f" {left} more can be undone." if left else ""
    return f"The form is as it was before the draft{kept}.{more}"


def _undo_updates(tools: DraftTools, steps: Sequence[Step]) -> Updates:
    return {tools.steps: list(steps), tools.undo: gr.update(interactive=bool(steps))}
