"""Where a form starts from: examples, an idea, presets, a link, what this browser kept of it, or nothing at all.

The browser keeps presets and what was typed; the studio checks what comes back. Everything goes through one component
without a look, the hub: its value is what is asked for, and each answer can be undone.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from core.knobs import Value
from core.params import MODES, UNHEARD
from core.tables import Mode
from library.shares import Shares
from ui import drafts, settings
from ui.endpoints import AT_ONCE, QUIET, Updates
from ui.faults import label_of
from ui.form import Form
from ui.handlers import Handlers
from ui.ideas import examples, idea
from ui.settings import LINE, Settings


def build_hub() -> gr.HTML:
    """The hub, inside the open layout. Its `forms` are what the forms hold at first; `link` is a link just made.

    `unheard` are the knobs that are no settings of a song.
    """
    return gr.HTML(
        None,
        html_template="",
        js_on_load="studio.hub(props, trigger, watch)",
        elem_id="hub",
        forms={mode: settings.defaults(mode) for mode in MODES},
        unheard=list(UNHEARD),
        ideas=[example.name for example in examples()],
        link={},
    )


def fields(forms: Mapping[Mode, Form]) -> dict[tuple[str, str], Component]:
    """Every widget that a start may fill, by mode and knob, in the order of `settings.fields`."""
    found: dict[tuple[str, str], Component] = {}
    for mode, form in forms.items():
        line = {LINE: form.drafts.own["inspire"]} if form.drafts else {}
        found |= {(mode, name): widget for name, widget in {**form.widgets, **line}.items()}
    return found


class Starts:
    """Answers what the hub asks for. `widgets` are those of the forms, `rail` turns to a mode."""

    def __init__(self, handlers: Handlers, widgets: Mapping[tuple[str, str], Component], rail: gr.Radio) -> None:
        self.handlers = handlers
        self._widgets = widgets
        self._rail = rail
        self._shares = Shares(handlers.studio.library.root)

    def of(self, handlers: Handlers) -> Starts:
        """The answers for a visitor who sees that much."""
        seen = copy.copy(self)
        seen.handlers = handlers
        return seen

    def answer(self, asked: Mapping[str, Any]) -> tuple[Updates, str, str | None]:
        """(updates of the forms, what there is to say, the id of the song that a link opens)."""
        match asked:
            case {"kind": "restore", "modes": dict(modes)}:
                return self._restored(modes), "", None
            case {"kind": "link", "text": str(text)}:
                return self._linked(text)
            case {"kind": "example", "number": int(number)} if 0 <= number < len(examples()):
                example = examples()[number]
                values = {name: value for name, value in vars(example).items() if name != "name"}
                return self._filled(drafts.MODE, values), "", None
            case {"kind": "idea"}:
                line, prompt = idea(secrets.randbelow)
                return self._filled(drafts.MODE, {LINE: line, "prompt": prompt, "lyrics": ""}), "", None
            case {"kind": "preset", "mode": mode, "values": dict(values)} if mode in MODES:
                kept, dropped = settings.checked(mode, values, self.handlers.servable)
                return self._whole(mode, kept), _dropped(mode, dropped), None
        return {}, "", None

    def _filled(self, mode: Mode, values: Mapping[str, Value]) -> Updates:
        return {self._widgets[mode, name]: value for name, value in values.items()}

    def _whole(self, mode: Mode, values: Mapping[str, Value]) -> Updates:
        """The updates of a form that holds these values and nothing else."""
        anew = {name: value for name, value in settings.defaults(mode).items() if name not in UNHEARD}
        return self._filled(mode, {**anew, **values})

    def _restored(self, modes: Mapping[str, Any]) -> Updates:
        updates: Updates = {}
        for mode in MODES:
            values = modes.get(mode)
            if isinstance(values, dict):
                updates |= self._filled(mode, settings.checked(mode, values, self.handlers.servable)[0])
        return updates

    def _linked(self, text: str) -> tuple[Updates, str, str | None]:
        try:
            told = settings.decode(text)
        except ValueError as broken:
            return {}, f"The link cannot be read: {broken}.", None
        kept, dropped = settings.checked(told.mode, told.values, lambda _: None, whole=True)
        song = self._shares.opened(told.song)
        there = song is not None and self.handlers.is_there(song)
        gone = "The song of the link is no longer here." if told.song and not there else ""
        updates = {**self._whole(told.mode, kept), self._rail: told.mode}
        return updates, " ".join(filter(None, [_dropped(told.mode, dropped), gone])), None if gone else song

    def link(self, mode: Mode, values: Mapping[str, object]) -> str:
        """The link of a form."""
        return settings.encode(Settings(mode=mode, values=values))

    def link_of(self, metadata: Mapping[str, Any] | None) -> str | None:
        """The link of a song: its settings and, where strangers share the page, what opens its sound.

        Only whoever made a song is given what opens it.
        """
        track = self.handlers.find(metadata)
        if track is None or track.mode == "recording":
            return None
        values = {**self.handlers.settings(track), "seed": track.seed, "variations": 1}
        opens = self.handlers.hosted and self.handlers.library.owns(track)
        token = self._shares.token(track.id) if opens else ""
        return settings.encode(Settings(mode=track.mode, values=values, song=token))


def _dropped(mode: Mode, names: Sequence[str]) -> str:
    """What was left out, by the labels of the form; what is no knob is only counted."""
    known = [label_of(mode, name) for name in names if name in settings.fields(mode)]
    other = len(names) - len(known)
    told = [*known, *([f"{other} unknown"] if other else [])]
    return f"Left out, for it does not fit this studio: {', '.join(told)}." if told else ""


def keep_forms(hub: gr.HTML, held: Sequence[Component], changes: Sequence[Any]) -> None:
    """Let the browser keep what the forms hold, without asking the server.

    After any of `changes`, and whenever the hub wants to know, the page asks once for what all the components hold.
    """
    gr.on(list(changes), None, js="() => studio.touched([])", trigger_mode="multiple", **QUIET)
    hub.tick(None, js="(...held) => studio.told(held)", inputs=list(held), trigger_mode="multiple", **QUIET)


def wire_links(starts: Starts, hub: gr.HTML, share: gr.HTML, song: Component) -> None:
    """Let the hub make links of forms, and the button under a song one of it; `song` is its metadata."""

    def of_form(asked: Mapping[str, Any]) -> object:
        match asked:
            case {"mode": mode, "values": dict(values)} if mode in MODES:
                return gr.update(link={"mode": mode, "turn": asked.get("turn"), "text": starts.link(mode, values)})
        return gr.skip()

    hub.submit(of_form, inputs=hub, outputs=hub, **AT_ONCE)

    def of_song(metadata: Mapping[str, Any] | None, request: gr.Request) -> str | None:
        return starts.of(starts.handlers.of(request)).link_of(metadata)

    share.release(of_song, inputs=song, outputs=share, **AT_ONCE)
