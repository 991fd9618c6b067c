"""The actions on the song that is shown: a button for each, their knobs in a fold, and what they made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import gradio as gr
from gradio.components import Component

import tooltips
from core.actions import ACTIONS, ActionName, ExportFormat
from core.knobs import Value, knobs_of
from core.tables import GROUPS
from library import exports as formats
from library.companions import Companion
from library.records import Track
from networks.demucs.separator import STEMS
from ui import choices, decks, listen
from ui.endpoints import AT_ONCE, QUIET, Endpoints, Updates
from ui.handlers import Handlers
from ui.widgets import Setting, make

STEMS_OF: ActionName = "stems"
"""The action whose files are played in step."""

EXPORT: ActionName = "export"
"""The action that has a button for each format."""


@dataclass(frozen=True, kw_only=True)
class ActionTools:
    """The buttons and knobs of the actions, and what is there of the shown song.

    `exports` holds the buttons of the action that has one for each format. `whose` are the knobs that say which song:
    the page fills in the track, clients may send a recording. `made` and `facts` hold what the latest action made, for
    clients; `files` all that was made of the song, `stems` a deck that plays its parts, and `words` what is sung.
    """

    whose: Mapping[str, Component]
    knobs: Mapping[ActionName, Mapping[str, Component]]
    buttons: Mapping[ActionName, gr.Button]
    exports: gr.HTML
    made: gr.File
    facts: gr.JSON
    stems: gr.HTML
    words: gr.HTML
    files: gr.File

    def inputs(self, name: ActionName) -> dict[str, Component]:
        """The widget of each knob of an action."""
        return {knob.name: {**self.whose, **self.knobs[name]}[knob.name] for knob in knobs_of(ACTIONS[name])}

    @property
    def outputs(self) -> list[Component]:
        """What changes with the song that is shown."""
        return [self.whose["track"], *self.buttons.values(), self.stems, self.words, self.files]


def build(handlers: Handlers, words: gr.HTML) -> ActionTools:
    """The tools, inside the open layout; `words` (ui.listen) stands under the player already."""
    with gr.Row(elem_classes=["actions"], elem_id="song-actions"):
        buttons = {
            name: gr.Button(handlers.action_label(name), elem_id=f"action-{name}") for name in ACTIONS if name != EXPORT
        }
    exports = _exports()
    with gr.Accordion(GROUPS["action"], open=False, elem_id="action-fold"), gr.Row(elem_classes=["pair"]):
        knobs = {name: _widgets(name, handlers) for name in ACTIONS}
    files = gr.File(label="Made of this song", file_count="multiple", visible=False, interactive=False, elem_id="made")
    stems = decks.make("stems", "studio.stems(element, props, trigger, watch)")
    with gr.Column(visible=False):
        first = knobs_of(next(iter(ACTIONS.values())))
        setting = Setting(mode=STEMS_OF, recipe=handlers.recipe(None))
        whose = {knob.name: make(knob, setting) for knob in first if knob.group == "main"}
        made = gr.File(label="Files", file_count="multiple", interactive=False)
        facts = gr.JSON(label="Facts")
    return ActionTools(
        exports=exports,
        whose=whose,
        knobs=knobs,
        buttons=buttons,
        made=made,
        facts=facts,
        stems=stems,
        words=words,
        files=files,
    )


def _exports() -> gr.HTML:
    """A button for each format; the value is the one that was pressed."""
    names: tuple[ExportFormat, ...] = get_args(ExportFormat)
    words, _ = tooltips.title(EXPORT)
    titles: dict[str, str] = {name: formats.FORMATS[name].title for name in names}
    each: dict[str, Value] = {name: name for name in names}
    return choices.build(words, each, "exports", titles=titles, caption=words, elem_id="exports")


def _widgets(name: ActionName, handlers: Handlers) -> dict[str, Component]:
    setting = Setting(mode=name, recipe=handlers.recipe(None))
    return {knob.name: make(knob, setting) for knob in knobs_of(ACTIONS[name]) if knob.group == "action"}


def wire(tools: ActionTools, endpoints: Endpoints) -> None:
    """Give each action its named endpoint; what it made joins what was there of the song."""
    chosen = tools.exports.select(
        None, js="(format) => format", inputs=tools.exports, outputs=tools.knobs[EXPORT]["format"], **QUIET
    )
    for name, start in {**tools.buttons, EXPORT: chosen}.items():
        job = endpoints.add(name, start, tools.inputs(name), [tools.made, tools.facts])

        def show(identity: str | None, request: gr.Request) -> Updates:
            seen = endpoints.handlers.of(request)
            track = seen.by_id(identity or "")
            return gr.skip() if track is None else updates(tools, track, seen)

        job.success(show, inputs=tools.whose["track"], outputs=tools.outputs, **AT_ONCE)


def updates(tools: ActionTools, track: Track, handlers: Handlers) -> Updates:
    """The updates that show what can be done to a track, and what was made of it."""
    made = handlers.library.companions.of(track.sha256)
    files = [str(file) for companion in made for file in companion.files]
    return {
        tools.whose["track"]: track.id,
        **{
            button: gr.update(value=handlers.action_label(name), visible=handlers.serves(name, track))
            for name, button in tools.buttons.items()
        },
        tools.stems: stems_value(made, track),
        tools.words: listen.value(track, made),
        tools.files: gr.update(value=files or None, visible=bool(files)),
    }


def stem_of(handlers: Handlers, identity: str, name: str) -> Path | None:
    """The file of a stem of a track; None where there is none."""
    track = handlers.by_id(identity)
    return None if track is None else _parts(handlers.library.companions.of(track.sha256)).get(name)


def _parts(made: Sequence[Companion]) -> Mapping[str, Path]:
    """The newest stems among what was made of a song, by their names."""
    newest = next((companion for companion in made if companion.action == STEMS_OF), None)
    return dict(zip(STEMS, newest.files, strict=False)) if newest else {}


def stems_value(made: Sequence[Companion], track: Track) -> decks.Value:
    """What the deck of the stems plays."""
    lanes = [
        {"name": name, **decks.lane(name.capitalize(), file, track.seconds)} for name, file in _parts(made).items()
    ]
    return {"lanes": lanes} if lanes else None
