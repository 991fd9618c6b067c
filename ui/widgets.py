"""One widget for each knob: what the page shows is read from the knob, its words and the checkpoint's recipe."""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from types import MappingProxyType
from typing import Any, cast

import gradio as gr
from gradio.components import Component
from gradio.processing_utils import check_all_files_in_cache

import tooltips
from core.actions import ActionName
from core.drafts import DraftKind
from core.errors import Fault
from core.knobs import AUTO, Knob, Value
from core.params import MODES, SONG_MODES
from core.recipes import Recipe, WriterRecipe
from core.tables import KEYS, KEYSCALES, SAMPLE_RATE, Mode, usual_key
from theme import MONO
from ui.answers import FAILED
from ui.gradio_start import without_stubs

SEGMENTS = 3
"""A required choice of at most so many values is a switch; longer ones and optional ones fold into a list."""

MAX_LINES = 12
POSITIONS = 1000
"""A slider with more positions than its track has pixels could not reach them all: such a knob is a number field."""

_FROM_CLIENT = {"validate_meta": True}
"""How Gradio checks a file that a client names."""

NAMED = ("checkpoint", "planner", "writer")
"""Knobs whose text names one of a list: what is installed on this machine."""

ON_OFF = MappingProxyType({True: "on", False: "off"})
"""A flag that may also be left to the studio, in words."""

UNREADABLE = "The event cannot be read: it does not say what the page would say"
_UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)

log = logging.getLogger(__name__)

Owner = Mode | DraftKind | ActionName
"""Whose knobs they are."""

AnyRecipe = Recipe | WriterRecipe
"""What says which knobs mean nothing: of the checkpoint that renders a song, or of whoever writes the lyrics."""

WAVEFORM = gr.WaveformOptions(
    waveform_color=MONO.c500, waveform_progress_color=MONO.c50, trim_region_color=MONO.c300, sample_rate=SAMPLE_RATE
)
"""48 kHz, or the browser would resample what it trims."""


class _OfKnob:
    """What the widgets of knobs do otherwise than Gradio's own components.

    They are classes, and bear the names of those they stand for, because Gradio makes a component anew from its class
    whenever it is updated, and finds its looks by the name of the class.
    """

    def preprocess(self, payload: Any) -> Any:
        """The value as it comes: Gradio's own checks name neither field nor rule, the request is checked as a whole."""
        return payload

    def get_expected_parent(self) -> None:
        """No frame around each widget: that would make half as many components again."""


with without_stubs():

    class Textbox(_OfKnob, gr.Textbox):
        """A text, or a name."""

    class Checkbox(_OfKnob, gr.Checkbox):
        """A flag."""

    class Number(_OfKnob, gr.Number):
        """A number that may be empty.

        In the page an empty one is an empty text: from null or nothing Gradio makes a 0 as soon as its fold opens
        (seen in 6.31), and what reads the form just then, reads that.
        """

        def preprocess(self, payload: Any) -> Any:
            """The value as it comes; None for an empty field."""
            return None if payload == "" else payload

        def postprocess(self, value: float | None) -> Any:
            """The value; an empty text for None."""
            return "" if value is None else value

    class Slider(_OfKnob, gr.Slider):
        """A number on a scale."""

    class Radio(_OfKnob, gr.Radio):
        """A choice of few."""

    class Dropdown(_OfKnob, gr.Dropdown):
        """A choice of many."""

        def api_info(self) -> dict[str, Any]:
            """What clients may give: a key in any spelling, of which the page lists one."""
            info = super().api_info()
            if set(KEYS) <= set(info.get("enum", ())):
                info["enum"] = list(dict.fromkeys([*info["enum"], *KEYSCALES]))
            return info

    class Blocks(gr.Blocks):
        """Blocks that know what the server of their page needs beside it, for `launch(app_kwargs=...)`.

        What they are sent and cannot read is refused by the name of its field; Gradio tells nothing (seen in 6.31).
        """

        serving: Mapping[str, Any] = MappingProxyType({})

        async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **how: Any) -> Any:
            """The values as the handlers take them. Raises gr.Error for what is no value of its component."""
            try:
                return await super().preprocess_data(block_fn, inputs, *args, **how)
            except Exception as unreadable:
                why = unreadable if isinstance(unreadable, gr.Error) else None
                raise gr.Error(_fault_of(block_fn.inputs, inputs, why), print_exception=False) from unreadable

        async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
            """The outputs as the page takes them.

            What is left as it is costs nothing: Gradio makes each such component anew, on the loop that serves
            everybody, a hundred times a song.
            """
            values = _listed(block_fn.outputs, predictions)
            if values is None:
                return await super().postprocess_data(block_fn, predictions, state)
            changed = [not _is_left(value) for value in values]
            part, said = copy.copy(block_fn), list(compress(values, changed))
            part.outputs = list(compress(block_fn.outputs, changed))
            told = iter(await super().postprocess_data(part, said[0] if len(said) == 1 else said, state))
            return [next(told) if is_changed else gr.skip() for is_changed in changed]

        async def process_api(self, *args: Any, **how: Any) -> Any:
            """What comes of an event. Raises gr.Error, which says something to whoever asked, whatever went wrong."""
            try:
                return await super().process_api(*args, **how)
            except gr.Error:
                raise
            except _UNREADABLE as odd:
                # An event of the page that says what no page says. Should it be the page's after all, tests notice.
                log.error("%s: %s: %s", UNREADABLE, type(odd).__name__, str(odd)[:200])
                log.debug("the event", exc_info=odd)
                raise gr.Error(UNREADABLE, print_exception=False) from odd
            except Exception as failure:
                log.error("an event of the page failed", exc_info=failure)
                raise gr.Error(FAILED, print_exception=False) from failure


def _is_left(value: object) -> bool:
    """Whether a value of an output leaves it as it is."""
    return isinstance(value, dict) and value == gr.skip()


def _listed(outputs: Sequence[Any], predictions: Any) -> list[Any] | None:
    """What a handler returns, for each of its several outputs; None for what Gradio has to read."""
    if len(outputs) < 2:
        return None
    if _is_left(predictions):
        return [gr.skip()] * len(outputs)
    if isinstance(predictions, dict) and predictions and set(predictions) <= set(outputs):
        return [predictions.get(output, gr.skip()) for output in outputs]
    if isinstance(predictions, list | tuple) and len(predictions) == len(outputs):
        return list(predictions)
    return None


def _fault_of(blocks: Sequence[Any], values: Sequence[Any], why: Exception | None) -> str:
    """Which of the values is no value of its component, in the words of a refused request."""
    if len(values) < len(blocks):
        return f"data: must be a list of {len(blocks)} values."
    for block, value in zip(blocks, values, strict=False):
        name = str(block.elem_id or block.label or type(block).__name__.lower())
        field = name.partition("-")[2].replace("-", "_") or name
        model = getattr(block, "data_model", None)
        try:
            read = value if value is None or model is None else model.model_validate(value, context=_FROM_CLIENT)
            if isinstance(block, gr.Audio | gr.File):
                check_all_files_in_cache(value)
            block.preprocess(read)
        except Exception:
            rule = "must be an upload" if isinstance(block, gr.Audio | gr.File) else "must be a value of its field"
            return str(Fault(field, value, rule))
    return str(why or "The values cannot be read.")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the page knows beside the knob: its mode or draft, the recipe, whether it is one of the numbered steps.

    `choices` replaces the knob's own (installed checkpoints, say); `idle` are the knobs that mean nothing at first,
    with the reason, and `quiet` those among them whose reason stands above the fold.
    """

    mode: Owner
    recipe: AnyRecipe
    step: bool = False
    choices: Sequence[str] | None = None
    idle: Mapping[str, str] = field(default_factory=dict)
    quiet: Collection[str] = ()


def element_id(mode: Owner, name: str) -> str:
    """The id of a knob's element in the page."""
    return f"{mode}-{name.replace('_', '-')}"


def weights_knob(mode: Mode) -> str:
    """The knob that names the weights of a mode, and with them the recipe."""
    return "checkpoint" if mode in SONG_MODES else "writer"


def muted(knob: Knob, mode: Owner, recipe: AnyRecipe) -> str | None:
    """Why the checkpoint or the writer cannot honour the knob; None when it can. Neither has a say in drafts."""
    return recipe.muted.get(knob.name) if mode in MODES else None


def hint(knob: Knob, mode: Owner, recipe: AnyRecipe) -> str:
    """The knob's sentence, or the reason why the checkpoint cannot honour it."""
    return muted(knob, mode, recipe) or tooltips.of(mode, knob.name)[1]


def auto_text(knob: Knob, recipe: AnyRecipe) -> str:
    """What stands in an empty field: `auto`, with the recipe's own value where it has one."""
    # A recipe's planner is a kind of planner, not one that could be named.
    own = None if knob.name == "planner" else getattr(recipe, knob.name, None)
    if own is None:
        return AUTO
    if isinstance(own, bool):
        return f"{AUTO} · {ON_OFF[own]}"
    return f"{AUTO} · {own:g}" if isinstance(own, int | float) else f"{AUTO} · {own}"


def widget_value(knob: Knob, value: Value) -> Value:
    """The value as the knob's widget holds it: `None` is the word `auto` where a list is shown.

    A key stands there in its usual spelling.
    """
    if knob.choices == KEYSCALES and value in KEYSCALES:
        return usual_key(str(value))
    return AUTO if value is None and _is_list(knob) else value


def is_words(knob: Knob) -> bool:
    """Whether the knob is free text."""
    return knob.kind == "text" and knob.name not in NAMED


def is_tall(knob: Knob) -> bool:
    """Whether the widget takes the whole width of the form."""
    return knob.kind == "audio" or is_words(knob)


def caption(knob: Knob, setting: Setting) -> None:
    """Put the label and hint of a recording into the open layout: gr.Audio has no line for them."""
    words, sentence = tooltips.of(setting.mode, knob.name)[0], hint(knob, setting.mode, setting.recipe)
    gr.HTML(f"<p><span>{words}</span><span>{sentence}</span></p>", elem_classes=["caption", *_numbered(setting)])


def _numbered(setting: Setting) -> tuple[str, ...]:
    """The class of a step: the style sheet counts those that are seen."""
    return ("step",) if setting.step else ()


def make(knob: Knob, setting: Setting) -> Component:
    """The widget of a knob, inside the layout that is being built."""
    facts: dict[str, Any] = {
        "elem_id": element_id(setting.mode, knob.name),
        "elem_classes": ["knob", knob.kind, "tall" if is_tall(knob) else "small", *_numbered(setting)],
        "label": tooltips.of(setting.mode, knob.name)[0],
    }
    if knob.kind == "audio":
        return gr.Audio(type="filepath", show_label=False, buttons=[], waveform_options=WAVEFORM, **facts)
    reason = setting.idle.get(knob.name) or muted(knob, setting.mode, setting.recipe)
    facts |= _meaning(knob, setting.mode, reason, is_quiet=knob.name in setting.quiet)
    is_choice = setting.choices is not None or knob.kind == "choice"
    return _choice(knob, setting, facts) if is_choice else _field(knob, setting.recipe, facts)


def _field(knob: Knob, recipe: AnyRecipe, facts: Mapping[str, Any]) -> Component:
    match knob.kind:
        case "text":
            return Textbox(str(knob.default or ""), lines=knob.lines, max_lines=max(knob.lines, MAX_LINES), **facts)
        case "flag" if knob.optional:
            return Dropdown(entries(knob, recipe, ()), value=AUTO, **facts)
        case "flag":
            return Checkbox(bool(knob.default), **facts)
    assert knob.low is not None and knob.high is not None and knob.step is not None
    value = cast("float | None", knob.default)
    if knob.optional or (knob.high - knob.low) / knob.step > POSITIONS:
        return Number(value, placeholder=auto_text(knob, recipe), step=knob.step, **facts)
    return Slider(knob.low, knob.high, value=value, step=knob.step, buttons=[], **facts)


def _choice(knob: Knob, setting: Setting, facts: Mapping[str, Any]) -> Component:
    names = _offered(knob) if setting.choices is None else setting.choices
    value = cast("str | None", widget_value(knob, knob.default))
    if not knob.optional and len(names) <= SEGMENTS:
        return Radio([(name.capitalize(), name) for name in names], value=value, **facts)
    return Dropdown(entries(knob, setting.recipe, names), value=value, **facts)


def entries(knob: Knob, recipe: AnyRecipe, names: Sequence[str]) -> list[tuple[str, str | bool]]:
    """(words, value) of the entries of a list: `auto` first where the studio may choose."""
    first: list[tuple[str, str | bool]] = [(auto_text(knob, recipe), AUTO)] if knob.optional else []
    if knob.kind == "flag":
        return [*first, (ON_OFF[True], True), (ON_OFF[False], False)]
    return [*first, *((name, name) for name in names)]


def _offered(knob: Knob) -> tuple[str, ...]:
    """The choices of the knob that the page lists: each key once."""
    return KEYS if knob.choices == KEYSCALES else knob.choices


def _is_list(knob: Knob) -> bool:
    return knob.optional and (knob.kind in ("choice", "flag") or knob.name in NAMED)


def _meaning(
    knob: Knob, mode: Owner, reason: str | None, hint: str | None = None, *, is_quiet: bool = False
) -> dict[str, Any]:
    """Whether a widget is enabled and what it says: its sentence or a hint, or the reason why it is not."""
    told = None if is_quiet else reason
    return {"interactive": reason is None, "info": told or hint or tooltips.of(mode, knob.name)[1]}


def idle_update(
    knob: Knob, mode: Mode, reason: str | None, hint: str | None = None, *, is_quiet: bool = False
) -> dict[str, Any]:
    """The update of a knob's widget when it comes to mean nothing, for a reason, or something again."""
    return gr.update(**_meaning(knob, mode, reason, hint, is_quiet=is_quiet))


def recipe_update(
    knob: Knob,
    mode: Mode,
    recipe: AnyRecipe,
    reason: str | None = None,
    hint: str | None = None,
    *,
    is_quiet: bool = False,
) -> dict[str, Any]:
    """The update of a knob's widget when another checkpoint is picked: enabled or not, why, and what `auto` means.

    A `reason` of another kind disables it too. Its value stays: what was typed is there for the next checkpoint.
    """
    change = _meaning(knob, mode, reason or muted(knob, mode, recipe), hint, is_quiet=is_quiet)
    if knob.optional and knob.kind in ("integer", "number"):
        change["placeholder"] = auto_text(knob, recipe)
    if _is_list(knob) and knob.name not in NAMED and auto_text(knob, recipe) != AUTO:
        change["choices"] = entries(knob, recipe, _offered(knob))
    return gr.update(**change)
