"""The actions on the song that is shown: a button for each, their knobs in a fold, and what they made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from core.actions import ACTIONS, ActionName
from core.knobs import knobs_of
from core.tables import GROUPS
from library.companions import Companion
from library.tracks import Track
from networks.demucs.separator import STEMS
from ui.endpoints import AT_ONCE, Endpoints, Updates
from ui.handlers import Handlers
from ui.widgets import WAVEFORM, Setting, make

STEMS_OF: ActionName = "stems"
"""The action whose files stand in players of their own."""


@dataclass(frozen=True, kw_only=True)
class ActionTools:
    """The buttons and knobs of the actions, and what is there of the shown song.

    `whose` are the knobs that say which song: the page fills in the track, clients may send a recording. `made` and
    `facts` hold what the latest action made, for clients; `files` all that was made of the song, `stems` a player for
    each part.
    """

    whose: Mapping[str, Component]
    knobs: Mapping[ActionName, Mapping[str, Component]]
    buttons: Mapping[ActionName, gr.Button]
    made: gr.File
    facts: gr.JSON
    grid: gr.Column
    stems: Mapping[str, gr.Audio]
    files: gr.File

    def inputs(self, name: ActionName) -> dict[str, Component]:
        """The widget of each knob of an action."""
        return {knob.name: {**self.whose, **self.knobs[name]}[knob.name] for knob in knobs_of(ACTIONS[name])}

    @property
    def outputs(self) -> list[Component | gr.Column]:
        """What changes with the song that is shown."""
        return [self.whose["track"], *self.buttons.values(), self.grid, *self.stems.values(), self.files]


def build(handlers: Handlers) -> ActionTools:
    """The tools, inside the open layout."""
    with gr.Row(elem_classes=["actions"], elem_id="song-actions"):
        buttons = {name: gr.Button(handlers.action_label(name), elem_id=f"action-{name}") for name in ACTIONS}
    with gr.Accordion(GROUPS["action"], open=False, elem_id="action-fold"), gr.Row(elem_classes=["pair"]):
        knobs = {name: _widgets(name, handlers) for name in ACTIONS}
    with gr.Column(visible=False, elem_id="stems", min_width=0) as grid:
        stems: dict[str, gr.Audio] = {name: _player(name) for name in STEMS}
    files = gr.File(label="Made of this song", file_count="multiple", visible=False, interactive=False, elem_id="made")
    with gr.Column(visible=False):
        first = knobs_of(next(iter(ACTIONS.values())))
        setting = Setting(mode=STEMS_OF, recipe=handlers.recipe(None))
        whose = {knob.name: make(knob, setting) for knob in first if knob.group == "main"}
        made = gr.File(label="Files", file_count="multiple", interactive=False)
        facts = gr.JSON(label="Facts")
    return ActionTools(
        whose=whose, knobs=knobs, buttons=buttons, made=made, facts=facts, grid=grid, stems=stems, files=files
    )


def _widgets(name: ActionName, handlers: Handlers) -> dict[str, Component]:
    setting = Setting(mode=name, recipe=handlers.recipe(None))
    return {knob.name: make(knob, setting) for knob in knobs_of(ACTIONS[name]) if knob.group == "action"}


def _player(stem: str) -> gr.Audio:
    return gr.Audio(
        label=stem.capitalize(), type="filepath", interactive=False, buttons=[], elem_id=f"stem-{stem}",
        waveform_options=WAVEFORM,
    )  # fmt: skip


def wire(tools: ActionTools, endpoints: Endpoints) -> None:
    """Give each action its named endpoint; what it made joins what was there of the song."""
    for name, button in tools.buttons.items():
        job = endpoints.add(name, button, tools.inputs(name), [tools.made, tools.facts])

        def show(identity: str | None) -> Updates:
            track = endpoints.handlers.by_id(identity or "")
            return gr.skip() if track is None else updates(tools, track, endpoints.handlers)

        job.success(show, inputs=tools.whose["track"], outputs=tools.outputs, **AT_ONCE)


def updates(tools: ActionTools, track: Track, handlers: Handlers) -> Updates:
    """The updates that show what can be done to a track, and what was made of it."""
    made = handlers.studio.library.companions.of(track.sha256)
    files = [str(file) for companion in made for file in companion.files]
    return {
        tools.whose["track"]: track.id,
        **{
            button: gr.update(value=handlers.action_label(name), visible=handlers.serves(name, track))
            for name, button in tools.buttons.items()
        },
        **_stems(tools, made),
        tools.files: gr.update(value=files or None, visible=bool(files)),
    }


def _stems(tools: ActionTools, made: Sequence[Companion]) -> Updates:
    newest = next((companion for companion in made if companion.action == STEMS_OF), None)
    parts: dict[str, str] = dict(zip(STEMS, map(str, newest.files), strict=False)) if newest else {}
    players: Updates = {player: parts.get(stem) for stem, player in tools.stems.items()}
    return {tools.grid: gr.update(visible=bool(parts)), **players}
