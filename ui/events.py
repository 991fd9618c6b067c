"""What happens on the page: which component calls which handler, and what the answer changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.utils import get_upload_folder

from core.knobs import knobs_of
from core.params import MODES, SONG_MODES
from core.tables import Mode
from library.tracks import Library, Track
from ui import actions, adapters, drafts, plans, recordings, tracks, widgets
from ui.endpoints import AT_ONCE, QUIET, Endpoints, Updates
from ui.form import REGION, Form, as_shown
from ui.handlers import Handlers
from ui.installed import renewed
from ui.panes import LOCK, UNLOCK, SongPane, WordsPane
from ui.view import View

TELLING = ("lyrics", "plan", "timesteps")
"""Texts on which hangs what other knobs mean."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Every component that an event reads or writes; `own` are the ids of the songs that this browser made."""

    blocks: gr.Blocks
    library: Library
    endpoints: Endpoints
    rail: gr.Radio
    history: gr.Radio
    forms: Mapping[Mode, Form]
    views: Mapping[str, View]
    runs: Mapping[Mode, gr.Button]
    cancel: gr.Button
    song: SongPane
    words: WordsPane
    own: gr.BrowserState

    @property
    def handlers(self) -> Handlers:
        """What the page asks of the studio."""
        return self.endpoints.handlers


def wire(page: Page) -> None:
    """Put every event of the page in place."""
    _switch_modes(page)
    renewals = [view.renewal for view in page.views.values() if view.renewal]
    for mode, form in page.forms.items():
        _run(page, mode)
        _follow_form(form, page.runs[mode], page.handlers, renewals)
        recordings.wire(mode, form.widgets, page.endpoints)
        if form.region:
            _mark_region(form, form.region)
        if form.adapters:
            adapters.wire(form.adapters, form.widgets["adapters"])
        if form.drafts:
            drafts.wire(form.drafts, form.widgets, page.endpoints)
        if form.plans:
            plans.wire(form.plans, form.widgets, page.endpoints)
            plans.wire_reuse(page.song, form.plans, form.widgets, page.rail, page.endpoints)
    actions.wire(page.song.actions, page.endpoints)
    for view in page.views.values():
        view.wire(page)
    page.endpoints.add_cancel(page.cancel)
    _song_actions(page)
    _history(page)
    _words_actions(page)


def _switch_modes(page: Page) -> None:
    """The rail shows one form or view, its button and its kind of result, without asking the server."""
    panes: list[tuple[Component | gr.Column, Sequence[str]]] = [
        (view.column, [name]) for name, view in page.views.items()
    ]
    for mode, form in page.forms.items():
        panes += [(form.column, [mode]), (page.runs[mode], [mode])]
    panes += [(page.song.column, [*SONG_MODES, *page.views]), (page.words.column, ["lyrics"])]
    shown_in = json.dumps([modes for _, modes in panes])
    page.rail.change(
        None,
        js=f"(mode) => studio.panes(mode, {shown_in})",
        inputs=page.rail,
        outputs=[pane for pane, _ in panes],
        **QUIET,
    )


def _event(widget: Component, name: str) -> Any:
    """The widget's listener of that name: Gradio gives classes theirs at run time."""
    return getattr(widget, name)


def _run(page: Page, mode: Mode) -> None:
    """The mode's named endpoint, on its button."""
    button, fields = page.runs[mode], page.forms[mode].widgets
    if mode in SONG_MODES:
        _show_song(page, page.endpoints.add(mode, button, fields, page.song.arrival))
    else:
        written = page.endpoints.add(mode, button, fields, [page.words.draft])
        written.success(None, js="() => studio.reveal('#words')", **QUIET)


def _show_song(page: Page, job: Any) -> None:
    """Let the new song of a job stand in the history, and in the result unless the user has turned to another one."""
    song = page.song

    def show(
        metadata: Mapping[str, Any] | None, own: Sequence[str] | None, elsewhere: Mapping[str, Any] | None
    ) -> Updates:
        track = page.handlers.find(metadata)
        if track is None or metadata is None:
            return gr.skip()
        own = [*(own or ()), *(each for each in metadata["takes"] if each not in (own or ()))]
        if elsewhere:
            line = f"saved · {tracks.clock(track.seconds)} of music · first in the history"
            history = _history_update(page, own, elsewhere["id"])
            return {page.own: own, page.history: history, page.endpoints.progress: line}
        return {
            **_whole_song(page, track, metadata["takes"]),
            page.own: own,
            page.history: _history_update(page, own, track.id),
        }

    job.success(
        show,
        js="(made, own, shown) => [made, own, studio.elsewhere(shown)]",
        inputs=[song.new_metadata, page.own, song.metadata],
        outputs=[*_whole_outputs(page), page.own, page.history, page.endpoints.progress],
        **AT_ONCE,
    )


def _song_outputs(page: Page) -> list[Component | gr.Column | gr.Accordion]:
    song = page.song
    plan = [song.plan.fold, song.plan.line, song.plan.text, song.plan.reuse]
    made = song.actions.outputs
    return [song.empty, song.filled, song.title, song.takes, song.wav, song.part, *made, *plan, song.sidecar]


def _whole_outputs(page: Page) -> list[Component | gr.Column | gr.Accordion]:
    return [*_song_outputs(page), page.song.player, page.song.metadata]


def _song_updates(page: Page, track: Track, takes: Sequence[str]) -> Updates:
    """The updates that show a track in the result, apart from its sound and metadata."""
    song = page.song
    choices = [(f"Take {number}", identity) for number, identity in enumerate(takes, start=1)]
    return {
        song.empty: gr.update(visible=False),
        song.filled: gr.update(visible=True),
        song.title: tracks.headline(track),
        song.takes: gr.update(choices=choices, value=track.id, visible=len(takes) > 1),
        song.wav: gr.update(value=str(track.path)),
        song.part: _part_update(page, track),
        **actions.updates(song.actions, track, page.handlers),
        **plans.updates(song.plan, track),
        song.sidecar: gr.update(value=str(tracks.sheet(track, takes, Path(get_upload_folder())))),
    }


def _part_update(page: Page, track: Track) -> object:
    """The download of what is new, where a source stands beside it."""
    if track.mode != "extend":
        return gr.update(visible=False)
    return gr.update(value=str(page.library.new_part(track)), visible=True)


def _history_update(page: Page, own: Sequence[str] | None, current: str | None = None) -> object:
    choices = page.handlers.history(own)
    value = current if current in {identity for _, identity in choices} else None
    return gr.update(choices=choices, value=value, visible=bool(choices))


def _follow_form(form: Form, run: gr.Button, handlers: Handlers, renewals: Sequence[Any]) -> None:
    """Let the button say what a song will cost, and each knob whether it means anything now, or why not.

    `renewals` are events after which the studio may take other weights than before.
    """
    mode, weights_knob = form.mode, widgets.weights_knob(form.mode)
    knobs = [knob for knob in knobs_of(MODES[mode]) if not widgets.is_words(knob) or knob.name in TELLING]
    watched = {knob.name: form.widgets[knob.name] for knob in knobs}
    tuned = [knob for knob in knobs_of(MODES[mode]) if knob.kind != "audio" and knob.name != weights_knob]

    def follow(shown: Mapping[str, Any], **values: Any) -> Updates:
        weights, idle, hints = values[weights_knob], handlers.idle(mode, values), handlers.hints(mode, values)
        updates: Updates = {run: handlers.cost(mode, values)}
        now = as_shown(handlers.weights_of(mode, weights), idle, hints)
        before = {name: shown[name] for name in now}
        return updates if now == before else {**updates, form.heading: {**now, "before": before}}

    gr.on(
        [*(_event(widget, "change") for widget in watched.values()), *renewals],
        follow,
        inputs_kwargs={"shown": form.heading, **watched},
        outputs=[run, form.heading],
        trigger_mode="always_last",
        **AT_ONCE,
    )

    # An event of its own, and seldom: a number field that is told anything while its fold opens can come out as 0.
    def retune(now: Mapping[str, Any]) -> Updates:
        before, updates = now.get("before", now), Updates()
        for knob in tuned:
            reason, hint = now["idle"].get(knob.name), now["hints"].get(knob.name)
            if now["weights"] != before["weights"]:
                recipe = handlers.recipe_of(mode, now["weights"])
                updates[form.widgets[knob.name]] = widgets.recipe_update(knob, mode, recipe, reason, hint)
            elif (reason, hint) != (before["idle"].get(knob.name), before["hints"].get(knob.name)):
                updates[form.widgets[knob.name]] = widgets.idle_update(knob, mode, reason, hint)
        return updates or gr.skip()

    form.heading.change(retune, inputs=form.heading, outputs=[form.widgets[knob.name] for knob in tuned], **AT_ONCE)


def _mark_region(form: Form, region: gr.HTML) -> None:
    """The waveform follows the numbers, and a drag over it sets them."""
    source = form.widgets["src_audio"]
    numbers = [form.widgets[name] for name in REGION]
    gr.on(
        [_event(widget, "change") for widget in (source, *numbers)],
        None,
        js="(file, start, end) => ({ url: file ? file.url : null, start, end })",
        inputs=[source, *numbers],
        outputs=region,
        **QUIET,
    )
    region.release(None, js="(marked) => [marked.start, marked.end]", inputs=region, outputs=numbers, **QUIET)


def _song_actions(page: Page) -> None:
    """Retake, lock the seed, send to another mode, compare takes."""
    song = page.song
    _show_song(page, page.endpoints.add_private(song.retake, page.handlers.again, song.metadata, song.arrival))
    seeds = [form.widgets["seed"] for form in page.forms.values()]

    def lock(words: str, metadata: Mapping[str, Any] | None) -> Updates:
        locks = words == LOCK and bool(metadata)
        seed = metadata["seed"] if locks and metadata else None
        return {song.lock: UNLOCK if locks else LOCK, **dict.fromkeys(seeds, seed)}

    song.lock.click(lock, inputs=[song.lock, song.metadata], outputs=[song.lock, *seeds], **AT_ONCE)
    for mode, button in song.send.items():
        _send(page, mode, button)

    def pick(identity: str, metadata: Mapping[str, Any]) -> Updates:
        track = page.handlers.by_id(identity)
        return gr.skip() if track is None else _whole_song(page, track, metadata["takes"])

    song.takes.input(
        pick,
        inputs=[song.takes, song.metadata],
        outputs=_whole_outputs(page),
        **AT_ONCE,
    )


def _send(page: Page, mode: Mode, button: gr.Button) -> None:
    """The song becomes the source of another mode; where the music goes on, its words go with it."""
    fields = page.forms[mode].widgets
    words = () if mode == "cover" else ("prompt", "lyrics")

    def send(metadata: Mapping[str, Any] | None) -> Updates:
        track = page.handlers.find(metadata)
        if track is None:
            return gr.skip()
        texts = {fields[name]: track.values.get(name) or "" for name in words}
        return {fields["src_audio"]: str(track.path), page.rail: mode, **texts}

    outputs = [fields["src_audio"], page.rail, *(fields[name] for name in words)]
    button.click(send, inputs=page.song.metadata, outputs=outputs, **AT_ONCE)


def _whole_song(page: Page, track: Track, takes: Sequence[str]) -> Updates:
    """The updates that show a track in the result with its sound and metadata."""
    sound = {page.song.player: str(track.path), page.song.metadata: tracks.metadata(track, takes)}
    return {**_song_updates(page, track, takes), **sound}


def _history(page: Page) -> None:
    """A line of the history brings back the song and the settings that made it; a reload brings back the list."""
    song = page.song
    fields = {(mode, name): w for mode, form in page.forms.items() for name, w in form.widgets.items()}

    def recall(identity: str, lock: str) -> Updates:
        track = page.handlers.by_id(identity)
        if track is None:
            return gr.skip()
        knobs = {knob.name: knob for knob in knobs_of(MODES[track.mode])}
        settings = page.handlers.settings(track)
        # With its seed the next run would make the same song; a locked one stays as it is.
        if lock == LOCK:
            settings["seed"] = None
        else:
            settings.pop("seed", None)
        return {
            **_whole_song(page, track, [track.id]),
            page.rail: track.mode,
            **{fields[track.mode, name]: widgets.widget_value(knobs[name], each) for name, each in settings.items()},
        }

    held = [page.rail, *fields.values()]
    kept = page.history.input(None, js="(...held) => studio.keep(held)", inputs=held, **QUIET)
    done = kept.then(recall, inputs=[page.history, song.lock], outputs=[*_whole_outputs(page), *held], **AT_ONCE)
    done.then(None, js="(...held) => studio.recalled(held)", inputs=held, **QUIET)
    page.endpoints.progress.undo(None, js="(...held) => studio.undone(held)", inputs=held, outputs=held, **QUIET)

    def refresh(own: Sequence[str] | None, current: str | None) -> object:
        return _history_update(page, own, current)

    page.endpoints.status.focus(refresh, inputs=[page.own, page.history], outputs=page.history, **AT_ONCE)

    def load(own: Sequence[str] | None) -> Updates:
        history = _history_update(page, own)
        return {
            page.endpoints.status: page.handlers.status(),
            page.history: history,
            **renewed(page.handlers, page.forms),
        }

    outputs = [page.endpoints.status, page.history, *renewed(page.handlers, page.forms)]
    loaded = page.blocks.load(load, inputs=page.own, outputs=outputs, **AT_ONCE)
    shown_in: dict[str, Sequence[Component]] = {
        **dict.fromkeys(SONG_MODES, song.arrival),
        "lyrics": (page.words.draft,),
    }
    generate = page.forms["generate"]
    if generate.plans:
        shown_in["plan"] = (generate.widgets["plan"], generate.plans.line)
    _show_song(page, page.endpoints.add_resumed(loaded, shown_in, page.rail))


def _words_actions(page: Page) -> None:
    """Count the draft as it grows and as it is changed, let it be taken over into Generate, and lose none of it."""
    words, fields = page.words, page.forms["lyrics"].widgets
    counted = {name: fields[name] for name in ("structure", "lines_verse", "lines_chorus", "lines_bridge")}

    def count(draft: str, **values: object) -> str:
        return page.handlers.line_counts(draft, values)

    words.draft.change(
        count,
        inputs_kwargs={"draft": words.draft, **counted},
        outputs=words.counts,
        trigger_mode="always_last",
        **AT_ONCE,
    )
    page.runs["lyrics"].click(None, js="(draft) => { studio.keepDraft(draft); return [] }", inputs=words.draft, **QUIET)
    words.draft.change(None, js="studio.hasEarlier", inputs=words.draft, outputs=words.earlier, **QUIET)
    words.earlier.click(None, js="studio.earlierDraft", inputs=words.draft, outputs=words.draft, **QUIET)
    words.use.click(
        None,
        js="(draft) => [draft, 'generate']",
        inputs=words.draft,
        outputs=[page.forms["generate"].widgets["lyrics"], page.rail],
        **QUIET,
    )
