"""Plans in the page: one made without a song, edited in its box, and the plan of a song taken up again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

import tooltips
from core.knobs import Value, knobs_of
from core.params import GenerateRequest
from core.plan_text import read_plan
from core.plans import plan_text
from library.records import Track
from ui import tracks
from ui.endpoints import AT_ONCE, QUIET, Endpoints, Updates
from ui.panes import PlanPane, SongPane, plain_text
from ui.widgets import widget_value

FACTS = ("bpm", "keyscale", "timesignature", "vocal_language")
"""Knobs of the form whose values a plan may hold as well, its length apart."""


@dataclass(frozen=True, kw_only=True)
class PlanTools:
    """The fold of the plan's box, a button that plans without rendering, one that empties the box, and who planned."""

    fold: gr.Accordion
    plan: gr.Button
    clear: gr.Button
    line: gr.HTML


def build(fold: gr.Accordion) -> PlanTools:
    """The tools under the plan's box, inside the open layout, which is that of its fold."""
    with gr.Column(elem_classes=["cell", "tall"], min_width=0):
        with gr.Row(elem_classes=["actions", "draft-actions"]):
            plan = gr.Button(tooltips.title("plan")[0], elem_id="plan-only")
            clear = gr.Button("Clear the plan", elem_id="clear-plan")
        line = plain_text("p", "plan-line")
    return PlanTools(fold=fold, plan=plan, clear=clear, line=line)


def wire(tools: PlanTools, widgets: Mapping[str, Component], endpoints: Endpoints) -> None:
    """Give the plan its named endpoint; it stands in its box, `widgets["plan"]`, ready to be edited."""
    box = widgets["plan"]
    endpoints.add("plan", tools.plan, widgets, [box, tools.line])
    tools.clear.click(None, js="() => ['', '']", outputs=[box, tools.line], **QUIET)


def updates(pane: PlanPane, track: Track) -> Updates:
    """The updates that show the plan of a track; a mode other than Generate has no use for it."""
    text = plan_text(track.plan)
    return {
        pane.fold: gr.update(visible=bool(text)),
        pane.line: tracks.plan_line(track.plan),
        pane.text: text,
        pane.reuse: gr.update(visible=track.mode == "generate"),
    }


def wire_reuse(
    song: SongPane, tools: PlanTools, widgets: Mapping[str, Component], rail: gr.Radio, endpoints: Endpoints
) -> None:
    """Let the button under the shown song's plan put it into the form."""

    def reuse(metadata: Mapping[str, object] | None, request: gr.Request) -> Updates:
        track = endpoints.handlers.of(request).find(metadata)
        if track is None:
            return gr.skip()
        text = plan_text(track.plan)
        values = {widgets["plan"]: text, **{widgets[name]: value for name, value in _beside(text).items()}}
        line = tracks.plan_line(track.plan)
        return {**values, tools.fold: gr.update(open=True), tools.line: line, rail: "generate"}

    fields = [widgets[name] for name in ("plan", *FACTS, "duration_s")]
    song.plan.reuse.click(reuse, inputs=song.metadata, outputs=[*fields, tools.fold, tools.line, rail], **AT_ONCE)


def _beside(text: str) -> dict[str, Value]:
    """What the form holds beside a plan, lest it contradicts it: its length, and nothing else that it says."""
    plan = read_plan(text)
    facts = {name: value for name, value in plan.music.by_knob().items() if name in FACTS}
    knobs = {knob.name: knob for knob in knobs_of(GenerateRequest)}
    values = {name: widget_value(knobs[name], None) for name, fact in facts.items() if fact is not None}
    return values if plan.music.duration_s is None else {**values, "duration_s": plan.music.duration_s}
