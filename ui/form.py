"""The form of a mode: numbered steps first, then its folds, all read from the tables of params.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType

import gradio as gr
from gradio.components import Component

import tooltips
from core.knobs import Knob, Value, knobs_of
from core.params import MODES
from core.segments import APART_S, MOST, SHORTEST_S
from core.tables import GROUPS, Mode
from ui import adapters, bars, choices, drafts, plans, reasons, widgets
from ui.adapters import AdapterTools
from ui.drafts import DraftTools
from ui.endpoints import QUIET
from ui.plans import PlanTools
from ui.widgets import AnyRecipe, Setting

CHIPS: Mapping[str, Mapping[str, Value]] = {
    "duration_s": {"10 s": 10, "30 s": 30, "1 min": 60, "2 min": 120, "4 min": 240, "auto": None},
}
"""Values that one click sets, under the widget of the knob."""

REGION = ("segment_start_s", "segment_end_s", "more_segments")
"""The knobs of the stretches that are marked on the source's waveform."""

REPEATS = ("variations", "seed")
"""The knobs of how often something is made, and from which dice."""

_REGION_TEMPLATE = """
<div class="region" hidden>
  <div class="stage">
    <canvas aria-hidden="true"></canvas>
    <i class="playhead" hidden></i>
  </div>
  <div class="ruler" aria-hidden="true"><span></span><span></span><span></span><span></span><span></span></div>
  <div class="told">
    <p data-text></p>
    <button type="button" class="add">Add a stretch</button>
    <button type="button" class="delete" disabled>Delete</button>
    <button type="button" class="hear">Play the stretch</button>
  </div>
</div>
"""


@dataclass(frozen=True, kw_only=True)
class Form:
    """The form of one mode: its column, the waveform that marks stretches, each knob's widget, and its tools.

    The value of its heading is what it has `shown`: kept by the page, it says what is to be changed in it, and what
    is told above its folds.
    The widgets stand in the order in which the knobs are declared: that of the endpoint's parameters.
    """

    mode: Mode
    column: gr.Column
    heading: gr.HTML
    widgets: Mapping[str, Component]
    region: gr.HTML | None
    adapters: AdapterTools | None
    drafts: DraftTools | None
    plans: PlanTools | None


def as_shown(mode: Mode, weights: str, idle: Mapping[str, str], hints: Mapping[str, str]) -> dict[str, object]:
    """For which weights a form stands, what is disabled in it with which reason, and which hints it gives.

    `folds` are the lines above its folds, by the ids of these.
    """
    folds = {_fold_id(mode, group): line for group, line in reasons.told(mode, idle).items()}
    return {"weights": weights, "idle": dict(idle), "hints": dict(hints), "folds": folds}


def _fold_id(mode: Mode, group: str) -> str:
    return f"{mode}-{group}-fold"


def build(
    mode: Mode,
    recipe: AnyRecipe,
    offered: Mapping[str, Sequence[str]],
    *,
    weights: str,
    idle: Mapping[str, str] = MappingProxyType({}),
    visible: bool,
) -> Form:
    """The form inside the open layout; `offered` is what the knobs of those names can be on this machine.

    `weights` are those that it stands for while none are named, with that recipe; `idle` are the knobs that mean
    nothing while all are at their default, with the reason.
    """
    knobs = knobs_of(MODES[mode])
    base = Setting(mode=mode, recipe=recipe, idle=idle, quiet=reasons.quiet(mode, idle))
    placed: dict[str, Component] = {}
    region, draft_tools = None, None
    with gr.Column(visible=visible, elem_id=f"{mode}-form", elem_classes=["mode"]) as column:
        title, sentence = tooltips.title(mode)
        heading = gr.HTML(
            as_shown(mode, weights, idle, {}),
            html_template=f"<h2>{title}</h2><p>{sentence}</p>",
            js_on_load="studio.folds(props, watch)",
            elem_classes=["heading"],
        )
        bars.build(mode, with_line=mode == drafts.MODE)
        openers = drafts.build_openers(recipe) if mode == drafts.MODE else None
        steps = _steps(knobs)
        for wide, row in groupby(steps, key=widgets.is_tall):
            names = list(row)
            if REGION[0] in {knob.name for knob in names}:
                region = _region()
            with gr.Row(elem_classes=["wide" if wide else "pair"]):
                for knob in names:
                    _add(knob, placed, _setting(knob, base, offered, step=True))
                if openers and wide:
                    draft_tools = drafts.build(*openers, recipe)
        folded = [knob for knob in knobs if knob not in steps]
        adapter_tools, plan_tools = _folds(mode, folded, placed, base, offered)
    return Form(
        mode=mode,
        column=column,
        heading=heading,
        widgets={knob.name: placed[knob.name] for knob in knobs},
        region=region,
        adapters=adapter_tools,
        drafts=draft_tools,
        plans=plan_tools,
    )


def _folds(
    mode: Mode,
    knobs: Sequence[Knob],
    placed: dict[str, Component],
    base: Setting,
    offered: Mapping[str, Sequence[str]],
) -> tuple[AdapterTools | None, PlanTools | None]:
    """The tools for adapters and for plans, once every knob that is not a step stands in its fold."""
    adapter_tools, plan_tools = None, None
    for group, summary in GROUPS.items():
        folded = [knob for knob in knobs if knob.group == group]
        if folded:
            fold = gr.Accordion(summary, open=False, elem_id=_fold_id(mode, group))
            with fold, gr.Row(elem_classes=["pair"]):
                for knob in folded:
                    _add(knob, placed, _setting(knob, base, offered, step=False))
                if group == "adapters":
                    adapter_tools = adapters.build(mode)
                if any(knob.name == "plan" for knob in folded):
                    plan_tools = plans.build(fold)
    return adapter_tools, plan_tools


def _steps(knobs: Sequence[Knob]) -> list[Knob]:
    """The knobs of the open group in their order: recordings first, then the stretches that are marked on them.

    How often and from which seed comes last.
    """
    last = {name: place for place, name in enumerate(REPEATS, start=1)}
    steps = [knob for knob in knobs if knob.group == "main"]
    return sorted(steps, key=lambda knob: (last.get(knob.name, 0), knob.kind != "audio", knob.name not in REGION))


def _setting(knob: Knob, base: Setting, offered: Mapping[str, Sequence[str]], *, step: bool) -> Setting:
    return dataclasses.replace(base, step=step, choices=offered.get(knob.name))


def _add(knob: Knob, placed: dict[str, Component], setting: Setting) -> None:
    """Put the knob's widget into the open layout: in a cell where something goes with it, or else by itself.

    Every component, seen or not, lengthens the page's start.
    """
    if knob.kind != "audio" and knob.name not in CHIPS:
        placed[knob.name] = widgets.make(knob, setting)
        return
    with gr.Column(elem_classes=["cell", "tall" if widgets.is_tall(knob) else "short"], min_width=0):
        if knob.kind == "audio":
            widgets.caption(knob, setting)
        placed[knob.name] = widgets.make(knob, setting)
        if knob.name in CHIPS:
            chips = choices.build(tooltips.of(setting.mode, knob.name)[0], CHIPS[knob.name], "chips")
            chips.select(None, js="(value) => value", inputs=chips, outputs=placed[knob.name], **QUIET)


def _region() -> gr.HTML:
    return gr.HTML(
        None,
        html_template=_REGION_TEMPLATE,
        js_on_load="studio.region(element, props, trigger, watch)",
        elem_classes=["region-pane"],
        bounds=[SHORTEST_S, APART_S, MOST + 1],
    )
