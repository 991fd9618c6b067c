"""Plans in the page: one made without a song, edited in its box, and the plan of a song taken up again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

import tooltips
from core.knobs import Value, knobs_of
from core.params import GenerateRequest
from core.plan_text import read_plan
from core.plans import plan_text
from library.tracks import Track
from ui import panes as ui_result
from ui import tracks as ui_tracks
from ui import widgets as ui_widgets
from ui.endpoints import endpoint
from ui.handlers import Handlers, PlanOutput
from ui.panes import PlanPane, SongPane
from ui.runs import AT_ONCE, GPU, QUIET, Updates, begin, rest

TOLD = ("bpm", "keyscale", "timesignature", "vocal_language")
"""Knobs of the form that a plan may tell as well, its length apart."""


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
            plan = gr.Button(tooltips.PLAN[0], elem_id="plan-only")
            clear = gr.Button("Clear the plan", elem_id="clear-plan")
        line = ui_result.text("p", "plan-line")
    return PlanTools(fold=fold, plan=plan, clear=clear, line=line)


def wire(
    tools: PlanTools, widgets: Mapping[str, Component], progress: gr.HTML, status: gr.HTML, handlers: Handlers
) -> None:
    """Nothing; the plan has its named endpoint and stands in its box, `widgets["plan"]`, ready to be edited."""

    def plan(values: Mapping[str, object], session: str) -> Iterator[PlanOutput]:
        yield from handlers.plan(values, session)

    job = begin(tools.plan, handlers).then(
        endpoint("plan", GenerateRequest, tooltips.PLAN[1], plan),
        inputs_kwargs=dict(widgets),
        outputs=[widgets["plan"], tools.line, progress],
        api_name="plan",
        concurrency_id=GPU,
        concurrency_limit=1,
        show_progress="hidden",
    )
    rest(job, status, handlers)
    tools.clear.click(None, js="() => ['', '']", outputs=[widgets["plan"], tools.line], **QUIET)


def shown(pane: PlanPane, track: Track) -> Updates:
    """The updates that show the plan of a track; a mode other than Generate has no use for it."""
    text = plan_text(track.plan)
    return {
        pane.fold: gr.update(visible=bool(text)),
        pane.line: ui_tracks.plan_line(track.plan),
        pane.text: text,
        pane.reuse: gr.update(visible=track.mode == "generate"),
    }


def wire_reuse(
    song: SongPane, tools: PlanTools, widgets: Mapping[str, Component], rail: gr.Radio, handlers: Handlers
) -> None:
    """Nothing; the plan of the song that is shown goes into the form when its button is pressed."""

    def reuse(facts: Mapping[str, object] | None) -> Updates:
        track = handlers.find(facts)
        if track is None:
            return gr.skip()
        text = plan_text(track.plan)
        values = {widgets["plan"]: text, **{widgets[name]: value for name, value in _beside(text).items()}}
        line = ui_tracks.plan_line(track.plan)
        return {**values, tools.fold: gr.update(open=True), tools.line: line, rail: "generate"}

    told = [widgets[name] for name in ("plan", *TOLD, "duration_s")]
    song.plan.reuse.click(reuse, inputs=song.metadata, outputs=[*told, tools.fold, tools.line, rail], **AT_ONCE)


def _beside(text: str) -> dict[str, Value]:
    """What the form holds beside a plan, lest it contradicts it: its length, and nothing else that it tells."""
    plan = read_plan(text)
    told = {name: value for name, value in plan.music.by_knob().items() if name in TOLD}
    knobs = {knob.name: knob for knob in knobs_of(GenerateRequest)}
    values = {name: ui_widgets.shown(knobs[name], None) for name, value in told.items() if value is not None}
    return values if plan.music.duration_s is None else {**values, "duration_s": plan.music.duration_s}
