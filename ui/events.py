"""What happens on the page: which component calls which handler, and what the answer changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.utils import get_upload_folder

import tooltips
from checkpoints import writers as lyrics_writers
from core.knobs import knobs_of
from core.lyrics import LyricsRequest
from core.params import MODES, SONG_MODES
from core.tables import Mode
from library.tracks import Library, Track
from ui import adapters as ui_adapters
from ui import draft_events as ui_draft_events
from ui import plans as ui_plans
from ui import tracks as ui_tracks
from ui import widgets as ui_widgets
from ui.endpoints import endpoint
from ui.form import REGION, Form
from ui.handlers import Handlers
from ui.panes import LOCK, UNLOCK, SongPane, WordsPane
from ui.runs import AT_ONCE, GPU, QUIET, Updates, begin, rest, stop

SAMPLED = tuple(lyrics_writers.find(lyrics_writers.BUILT_IN).recipe.muted)
"""Knobs of the lyrics that only language models can honour."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Every component that an event reads or writes; `made` are the ids of the songs of this browser."""

    blocks: gr.Blocks
    library: Library
    status: gr.HTML
    rail: gr.Radio
    history: gr.Radio
    forms: Mapping[Mode, Form]
    runs: Mapping[Mode, gr.Button]
    progress: gr.HTML
    cancel: gr.Button
    song: SongPane
    words: WordsPane
    made: gr.BrowserState


def wire(page: Page, handlers: Handlers) -> None:
    """Nothing; every event of the page is in place."""
    _switch_modes(page)
    for mode, form in page.forms.items():
        _run(page, handlers, mode)
        _retune(form, page.runs[mode], handlers)
        if form.region:
            _mark_region(form, form.region)
        if form.adapters:
            ui_adapters.wire(form.adapters, form.widgets["adapters"])
        if form.drafts:
            ui_draft_events.wire(form, page.status, page.progress, handlers)
        if form.plans:
            ui_plans.wire(form.plans, form.widgets, page.progress, page.status, handlers)
            ui_plans.wire_reuse(page.song, form.plans, form.widgets, page.rail, handlers)
    page.cancel.click(stop(handlers), **AT_ONCE)
    _song_actions(page, handlers)
    _history(page, handlers)
    _words_actions(page, handlers)


def _switch_modes(page: Page) -> None:
    """The rail shows one form, its button and its kind of result, without asking the server."""
    panes: list[tuple[Component | gr.Column, Sequence[Mode]]] = []
    for mode, form in page.forms.items():
        panes += [(form.column, [mode]), (page.runs[mode], [mode])]
    panes += [(page.song.column, list(SONG_MODES)), (page.words.column, ["lyrics"])]
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


def _run(page: Page, handlers: Handlers, mode: Mode) -> None:
    """The mode's named endpoint, on its button."""
    words = mode not in SONG_MODES
    handler = handlers.words if words else partial(handlers.song, mode)
    outputs = [page.words.draft, page.progress] if words else [page.song.player, page.song.metadata, page.progress]
    job = begin(page.runs[mode], handlers).then(
        endpoint(mode, MODES[mode], tooltips.MODES[mode][1], handler),
        inputs_kwargs=dict(page.forms[mode].widgets),
        outputs=outputs,
        api_name=mode,
        concurrency_id=GPU,
        concurrency_limit=1,
        show_progress="hidden",
    )
    _finish(job, page, handlers, shows_song=not words)


def _finish(job: Any, page: Page, handlers: Handlers, *, shows_song: bool) -> None:
    """After a job: the page is at rest again, and a new song stands in the result and in the history."""
    rest(job, page.status, handlers)
    if not shows_song:
        return

    def show(shown: Mapping[str, Any] | None, made: Sequence[str] | None) -> Updates:
        track = handlers.find(shown)
        if track is None or shown is None:
            return gr.skip()
        made = [*(made or ()), *(identity for identity in shown["takes"] if identity not in (made or ()))]
        return {
            **_song(page, track, shown["takes"]),
            page.made: made,
            page.history: _listed(handlers, made, track.id),
        }

    job.success(
        show,
        inputs=[page.song.metadata, page.made],
        outputs=[*_song_outputs(page), page.made, page.history],
        **AT_ONCE,
    )


def _song_outputs(page: Page) -> list[Component | gr.Column | gr.Accordion]:
    song = page.song
    plan = [song.plan.fold, song.plan.line, song.plan.text, song.plan.reuse]
    return [song.empty, song.filled, song.title, song.takes, song.wav, song.part, *plan, song.sidecar]


def _song(page: Page, track: Track, takes: Sequence[str]) -> Updates:
    """The updates that show a track in the result, apart from its sound and metadata."""
    song = page.song
    choices = [(f"Take {number}", identity) for number, identity in enumerate(takes, start=1)]
    return {
        song.empty: gr.update(visible=False),
        song.filled: gr.update(visible=True),
        song.title: ui_tracks.headline(track),
        song.takes: gr.update(choices=choices, value=track.id, visible=len(takes) > 1),
        song.wav: gr.update(value=str(track.path)),
        song.part: _part(page, track),
        **ui_plans.shown(song.plan, track),
        song.sidecar: gr.update(value=str(ui_tracks.sheet(track, takes, Path(get_upload_folder())))),
    }


def _part(page: Page, track: Track) -> object:
    """The download of what is new, where a source stands beside it."""
    if track.mode != "extend":
        return gr.update(visible=False)
    return gr.update(value=str(page.library.new_part(track)), visible=True)


def _listed(handlers: Handlers, made: Sequence[str] | None, current: str | None = None) -> object:
    choices = handlers.history(made)
    return gr.update(choices=choices, value=current, visible=bool(choices))


def _retune(form: Form, run: gr.Button, handlers: Handlers) -> None:
    """The button tells what a song will cost; another checkpoint enables what it can and says what it cannot."""
    knobs = knobs_of(MODES[form.mode])
    costly = {knob.name: form.widgets[knob.name] for knob in knobs if not ui_widgets.is_words(knob)}

    def cost(**values: object) -> str:
        return handlers.cost(form.mode, values)

    gr.on(
        [_event(widget, "change") for widget in costly.values()],
        cost,
        inputs_kwargs=costly,
        outputs=run,
        trigger_mode="always_last",
        **AT_ONCE,
    )
    chooser = ui_widgets.chooser(form.mode)

    def retune(weights: str | None) -> Updates:
        recipe = handlers.terms(form.mode, weights)
        return {
            form.widgets[knob.name]: ui_widgets.retune(knob, form.mode, recipe)
            for knob in knobs
            if knob.kind != "audio" and knob.name != chooser
        }

    _event(form.widgets[chooser], "input")(
        retune, inputs=form.widgets[chooser], outputs=list(form.widgets.values()), **AT_ONCE
    )


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


def _song_actions(page: Page, handlers: Handlers) -> None:
    """Retake, lock the seed, send to another mode, compare takes."""
    song = page.song
    job = begin(song.retake, handlers).then(
        handlers.again,
        inputs=song.metadata,
        outputs=[song.player, song.metadata, page.progress],
        api_visibility="private",
        concurrency_id=GPU,
        concurrency_limit=1,
        show_progress="hidden",
    )
    _finish(job, page, handlers, shows_song=True)
    seeds = [form.widgets["seed"] for form in page.forms.values()]

    def lock(words: str, shown: Mapping[str, Any] | None) -> Updates:
        locks = words == LOCK and bool(shown)
        seed = shown["seed"] if locks and shown else None
        return {song.lock: UNLOCK if locks else LOCK, **dict.fromkeys(seeds, seed)}

    song.lock.click(lock, inputs=[song.lock, song.metadata], outputs=[song.lock, *seeds], **AT_ONCE)
    for mode, button in song.send.items():
        _send(page, handlers, mode, button)

    def pick(identity: str, shown: Mapping[str, Any]) -> Updates:
        track = handlers.by_id(identity)
        if track is None:
            return gr.skip()
        sound = {song.player: str(track.path), song.metadata: ui_tracks.metadata(track, shown["takes"])}
        return {**_song(page, track, shown["takes"]), **sound}

    song.takes.input(
        pick,
        inputs=[song.takes, song.metadata],
        outputs=[*_song_outputs(page), song.player, song.metadata],
        **AT_ONCE,
    )


def _send(page: Page, handlers: Handlers, mode: Mode, button: gr.Button) -> None:
    """The song becomes the source of another mode; where the music goes on, its words go with it."""
    widgets = page.forms[mode].widgets
    words = () if mode == "cover" else ("prompt", "lyrics")

    def send(shown: Mapping[str, Any] | None) -> Updates:
        track = handlers.find(shown)
        if track is None:
            return gr.skip()
        texts = {widgets[name]: track.values.get(name) or "" for name in words}
        return {widgets["src_audio"]: str(track.path), page.rail: mode, **texts}

    outputs = [widgets["src_audio"], page.rail, *(widgets[name] for name in words)]
    button.click(send, inputs=page.song.metadata, outputs=outputs, **AT_ONCE)


def _history(page: Page, handlers: Handlers) -> None:
    """A line of the history brings back the song and the settings that made it; a reload brings back the list."""
    song = page.song
    fields = {(mode, name): w for mode, form in page.forms.items() for name, w in form.widgets.items()}

    def recall(identity: str) -> Updates:
        track = handlers.by_id(identity)
        if track is None:
            return gr.skip()
        knobs = {knob.name: knob for knob in knobs_of(MODES[track.mode])}
        settings = handlers.settings(track)
        return {
            **_song(page, track, [track.id]),
            song.player: str(track.path),
            song.metadata: ui_tracks.metadata(track, [track.id]),
            page.rail: track.mode,
            **{fields[track.mode, name]: ui_widgets.shown(knobs[name], value) for name, value in settings.items()},
        }

    outputs = [*_song_outputs(page), song.player, song.metadata, page.rail, *fields.values()]
    page.history.input(recall, inputs=page.history, outputs=outputs, **AT_ONCE)

    def load(made: Sequence[str] | None) -> Updates:
        return {page.status: handlers.status(), page.history: _listed(handlers, made), **_choices(page, handlers)}

    outputs = [page.status, page.history, *_choices(page, handlers)]
    page.blocks.load(load, inputs=page.made, outputs=outputs, **AT_ONCE)


def _choices(page: Page, handlers: Handlers) -> Updates:
    """What can be chosen from where knobs name weights: a download that ended since shows when the page is loaded."""
    installed = handlers.installed()
    terms = {mode: handlers.terms(mode, None) for mode in page.forms}
    choices: Updates = {
        form.widgets[knob.name]: gr.update(choices=ui_widgets.listed(knob, terms[mode], installed[knob.name]))
        for mode, form in page.forms.items()
        for knob in knobs_of(MODES[mode])
        if knob.name in installed
    }
    writing = {
        page.forms["lyrics"].widgets[knob.name]: ui_widgets.retune(knob, "lyrics", terms["lyrics"])
        for knob in knobs_of(LyricsRequest)
        if knob.name in SAMPLED
    }
    return {**choices, **writing}


def _words_actions(page: Page, handlers: Handlers) -> None:
    """The draft is counted as it grows and as it is changed, and can be taken over into Generate."""
    words, widgets = page.words, page.forms["lyrics"].widgets
    counted = {name: widgets[name] for name in ("structure", "lines_verse", "lines_chorus", "lines_bridge")}

    def count(draft: str, **values: object) -> str:
        return handlers.line_counts(draft, values)

    words.draft.change(
        count,
        inputs_kwargs={"draft": words.draft, **counted},
        outputs=words.counts,
        trigger_mode="always_last",
        **AT_ONCE,
    )
    words.use.click(
        None,
        js="(draft) => [draft, 'generate']",
        inputs=words.draft,
        outputs=[page.forms["generate"].widgets["lyrics"], page.rail],
        **QUIET,
    )
