"""What happens on the page: which component calls which handler, and what the answer changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.utils import get_upload_folder

from core.actions import ACTIONS
from core.drafts import DRAFTS
from core.knobs import knobs_of
from core.params import MODES, SONG_MODES, UNHEARD
from core.plans import length_from_words
from core.tables import Mode
from library.records import Track
from library.tracks import Library
from ui import actions, adapters, compare, drafts, plans, reasons, recordings, simple, starts, tracks, widgets
from ui.endpoints import AT_ONCE, QUIET, Endpoints, Updates
from ui.form import REGION, Form, as_shown
from ui.handlers import Handlers
from ui.installed import renewed
from ui.panes import LOCK, UNLOCK, SongPane, WordsPane
from ui.simple import DRAFT_AND
from ui.streams import FROM_A_LINE
from ui.view import View

STEM_TO: tuple[Mode, ...] = ("cover", "edit")
"""The modes that take a stem as their source."""

MOST_TAKES = 8

TELLING = ("lyrics", "plan", "timesteps", "brief")
"""Texts on which hangs what knobs mean, or what there is to know about them."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Every component that an event reads or writes.

    `simple` makes a song from one line; the `hub` asks for what a form may start from.
    """

    blocks: gr.Blocks
    endpoints: Endpoints
    rail: gr.Radio
    history: gr.Radio
    forms: Mapping[Mode, Form]
    views: Mapping[str, View]
    runs: Mapping[Mode, gr.Button]
    cancel: gr.Button
    song: SongPane
    words: WordsPane
    simple: gr.Button
    hub: gr.HTML

    @property
    def widgets(self) -> dict[tuple[str, str], Component]:
        """Every widget of the forms, by mode and knob."""
        return starts.fields(self.forms)

    @property
    def held(self) -> list[Component]:
        """What a recalled song or a start changes, and an undo puts back."""
        return [self.rail, *self.widgets.values()]

    @property
    def handlers(self) -> Handlers:
        """What the page asks of the studio."""
        return self.endpoints.handlers

    @property
    def library(self) -> Library:
        """The songs that the page shows."""
        return self.handlers.library

    def of(self, request: gr.Request, browser: str = "") -> Page:
        """The page as whoever sends the request sees it: on a page that strangers share, with their songs alone."""
        self.handlers.session(request, browser)
        return replace(self, endpoints=replace(self.endpoints, handlers=self.handlers.of(request)))

    def history_update(self, current: str | None) -> object:
        """The update of the history: as new as the library, with the line that is picked."""
        return _history_update(self, current)


def wire(page: Page) -> None:
    """Put every event of the page in place."""
    _switch_modes(page)
    # Weights came or went while the page was open, or since it was built.
    renewals = [*(view.renewal for view in page.views.values() if view.renewal), page.endpoints.progress.select]
    for mode, form in page.forms.items():
        _run(page, mode)
        runs = {page.runs[mode]: "", **({page.simple: DRAFT_AND} if form.drafts else {})}
        _follow_form(form, runs, page.handlers, renewals)
        recordings.wire(mode, form.widgets, page.endpoints)
        if form.region:
            _mark_region(form, form.region)
        if form.adapters:
            adapters.wire(form.adapters, form.widgets["adapters"])
        if form.drafts:
            drafts.wire(form.drafts, form.widgets, page.endpoints)
            _show_song(page, simple.wire(page.simple, form.drafts, form.widgets, page.endpoints, page.song.arrival))
        if form.plans:
            plans.wire(form.plans, form.widgets, page.endpoints)
            plans.wire_reuse(page.song, form.plans, form.widgets, page.rail, page.endpoints)
    actions.wire(page.song.actions, page.endpoints)
    compare.wire(page.song.compare, page.endpoints)
    for view in page.views.values():
        view.wire(page)
    page.endpoints.add_cancel(page.cancel)
    _song_actions(page)
    _history(page)
    _starts(page)
    _words_actions(page)


def _switch_modes(page: Page) -> None:
    """The rail shows one form or view, its button and its kind of result, without asking the server."""
    panes: list[tuple[Component | gr.Column, Sequence[str]]] = [
        (view.column, [name]) for name, view in page.views.items()
    ]
    for mode, form in page.forms.items():
        panes += [(form.column, [mode]), (page.runs[mode], [mode])]
    panes += [
        (page.simple, [drafts.MODE]),
        (page.song.column, [*SONG_MODES, *page.views]),
        (page.words.column, ["lyrics"]),
    ]
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

    def show(metadata: Mapping[str, Any] | None, elsewhere: Mapping[str, Any] | None, request: gr.Request) -> Updates:
        seen = page.of(request)
        track = seen.handlers.find(metadata)
        if track is None or metadata is None:
            return gr.skip()
        if elsewhere:
            line = f"saved · {tracks.clock(track.seconds)} of music · first in the history"
            history = _history_update(seen, elsewhere["id"])
            return {page.history: history, page.endpoints.progress: line}
        takes = seen.handlers.takes_beside(track, metadata)
        return {**_whole_song(seen, track, takes), page.history: _history_update(seen, track.id)}

    shown = job.success(
        show,
        js="(made, shown) => [made, studio.elsewhere(shown)]",
        inputs=[song.new_metadata, song.metadata],
        outputs=[*_whole_outputs(page), page.history, page.endpoints.progress],
        **AT_ONCE,
    )
    shown.then(None, js="() => { studio.unmade(); studio.announce(); return [] }", **QUIET)


def _song_outputs(page: Page) -> list[Component | gr.Column | gr.Accordion]:
    song = page.song
    plan = [song.plan.fold, song.plan.line, song.plan.text, song.plan.reuse]
    made = song.actions.outputs
    buttons = [song.retake, song.lock, song.wav, song.part, song.share, song.compare]
    return [song.empty, song.filled, song.title, song.takes, *buttons, *made, *plan, song.sidecar]


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
        song.retake: gr.update(interactive=track.asked_as is not None),
        song.lock: gr.update(interactive=track.asked_as is not None),
        song.wav: gr.update(value=str(track.path)),
        song.part: _part_update(page, track),
        song.share: gr.update(value=None, visible=track.asked_as is not None),
        song.compare: compare.shown(track, page.handlers),
        **actions.updates(song.actions, track, page.handlers),
        **plans.updates(song.plan, track),
        song.sidecar: gr.update(value=str(tracks.sheet(track, takes, Path(get_upload_folder())))),
    }


def _part_update(page: Page, track: Track) -> object:
    """The download of what is new, where a source stands beside it."""
    if track.mode != "extend":
        return gr.update(visible=False)
    return gr.update(value=str(page.library.new_part(track)), visible=True)


def _history_update(page: Page, current: str | None = None) -> object:
    choices = page.handlers.history()
    value = current if current in {identity for _, identity in choices} else None
    return gr.update(choices=choices, value=value, visible=bool(choices))


def _followed(form: Form) -> dict[str, Component]:
    """The widgets, by knob, on which hangs what a song costs and what the others mean."""
    knobs = [knob for knob in knobs_of(MODES[form.mode]) if not widgets.is_words(knob) or knob.name in TELLING]
    return {knob.name: form.widgets[knob.name] for knob in knobs}


def _told_by(knob: str) -> str:
    """The event of a followed widget: the page sets what is unheard by itself when it starts, and asks nothing then."""
    return "input" if knob in UNHEARD else "change"


def _follow_form(form: Form, runs: Mapping[gr.Button, str], handlers: Handlers, renewals: Sequence[Any]) -> None:
    """Let the buttons say what a song will cost, and each knob whether it means anything now, or why not.

    `runs` are the buttons with what they say in front of it; `renewals` are events after which the studio may take
    other weights than before.
    """
    mode, weights_knob = form.mode, widgets.weights_knob(form.mode)
    watched = _followed(form)
    tuned = [knob for knob in knobs_of(MODES[mode]) if knob.kind != "audio" and knob.name != weights_knob]

    def follow(shown: Mapping[str, Any], **values: Any) -> Updates:
        weights, idle, hints = values[weights_knob], handlers.idle(mode, values), handlers.hints(mode, values)
        cost = handlers.cost(mode, values)
        updates: Updates = {run: f"{first}{cost}" for run, first in runs.items()}
        now = as_shown(mode, handlers.weights_of(mode, weights), idle, hints)
        before = {name: shown[name] for name in now}
        return updates if now == before else {**updates, form.heading: {**now, "before": before}}

    gr.on(
        [*(_event(widget, _told_by(name)) for name, widget in watched.items()), *renewals],
        follow,
        js="(...told) => studio.touched(told)",
        inputs_kwargs={"shown": form.heading, **watched},
        outputs=[*runs, form.heading],
        trigger_mode="always_last",
        **AT_ONCE,
    )

    # An event of its own, and seldom: a number field that is told anything while its fold opens can come out as 0.
    def retune(now: Mapping[str, Any]) -> Updates:
        before, updates = now.get("before", now), Updates()
        quiet, was_quiet = reasons.quiet(mode, now["idle"]), reasons.quiet(mode, before["idle"])
        for knob in tuned:
            name = knob.name
            reason, hint, is_quiet = now["idle"].get(name), now["hints"].get(name), name in quiet
            if now["weights"] != before["weights"]:
                recipe = handlers.recipe_of(mode, now["weights"])
                updates[form.widgets[name]] = widgets.recipe_update(knob, mode, recipe, reason, hint, is_quiet=is_quiet)
            elif (reason, hint, is_quiet) != (before["idle"].get(name), before["hints"].get(name), name in was_quiet):
                updates[form.widgets[name]] = widgets.idle_update(knob, mode, reason, hint, is_quiet=is_quiet)
        return updates or gr.skip()

    form.heading.change(retune, inputs=form.heading, outputs=[form.widgets[knob.name] for knob in tuned], **AT_ONCE)


def _mark_region(form: Form, region: gr.HTML) -> None:
    """The waveform follows the fields, and a drag over it sets them."""
    source = form.widgets["src_audio"]
    fields = [form.widgets[name] for name in REGION]
    gr.on(
        [_event(widget, "change") for widget in (source, *fields)],
        None,
        js="(file, start, end, more) => ({ url: file ? file.url : null, start, end, more })",
        inputs=[source, *fields],
        outputs=region,
        **QUIET,
    )
    marks = "(marked) => [marked.start, marked.end, marked.more]"
    region.release(None, js=marks, inputs=region, outputs=fields, **QUIET)


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

    def pick(identity: str, metadata: Mapping[str, Any] | None, request: gr.Request) -> Updates:
        seen = page.of(request)
        track = seen.handlers.by_id(identity)
        if track is None:
            return gr.skip()
        return _whole_song(seen, track, seen.handlers.takes_beside(track, metadata))

    song.takes.input(
        pick,
        inputs=[song.takes, song.metadata],
        outputs=_whole_outputs(page),
        **AT_ONCE,
    )
    _sounds_alone(page)
    _send_stems(page)


def _sounds_alone(page: Page) -> None:
    """Of the player and the decks one sounds at a time."""
    page.song.player.play(None, js="() => { studio.alone(studio.player.hush); return [] }", **QUIET)


def _send_stems(page: Page) -> None:
    """A stem becomes the source of another mode."""
    tools, sources = page.song.actions, {mode: page.forms[mode].widgets["src_audio"] for mode in STEM_TO}

    def send(identity: str | None, asked: gr.EventData, request: gr.Request) -> Updates:
        stem = actions.stem_of(page.handlers.of(request), identity or "", str(asked.stem))
        mode = next((mode for mode in STEM_TO if mode == asked.mode), None)
        return gr.skip() if stem is None or mode is None else {sources[mode]: str(stem), page.rail: mode}

    tools.stems.select(send, inputs=tools.whose["track"], outputs=[*sources.values(), page.rail], **AT_ONCE)


def _send(page: Page, mode: Mode, button: gr.Button) -> None:
    """The song becomes the source of another mode; where the music goes on, its words go with it."""
    fields = page.forms[mode].widgets
    words = () if mode == "cover" else ("prompt", "lyrics")

    def send(metadata: Mapping[str, Any] | None, request: gr.Request) -> Updates:
        track = page.handlers.of(request).find(metadata)
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


def _recalled(page: Page, asked: Mapping[str, Any], lock: str, shown: Mapping[str, Any] | None) -> Updates:
    """The updates that bring back a song and the settings that made it.

    `asked` is its id, with the ids of its takes where they are known, and whether the rail turns to its mode.
    """
    track = page.handlers.by_id(str(asked.get("id")))
    if track is None:
        return {}
    named = asked.get("takes")
    beside = {"takes": named[:MOST_TAKES]} if isinstance(named, list) else shown
    return {
        **_whole_song(page, track, page.handlers.takes_beside(track, beside)),
        **({page.rail: track.mode} if asked.get("turn") and track.asked_as else {}),
        **_settings(page, track, lock),
    }


def _settings(page: Page, track: Track, lock: str) -> Updates:
    """The updates that put what made a track into the form of its mode."""
    fields = page.widgets
    settings = page.handlers.settings(track)
    # With its seed the next run would make the same song; a locked one stays as it is.
    if lock == LOCK and "seed" in settings:
        settings["seed"] = None
    else:
        settings.pop("seed", None)
    knobs = {knob.name: knob for knob in track.knobs}
    return {fields[track.mode, name]: widgets.widget_value(knobs[name], each) for name, each in settings.items()}


def _history(page: Page) -> None:
    """A line of the history brings back the song and the settings that made it; a reload brings back the list."""
    song = page.song
    page.history.input(None, js="(id) => studio.recall(id, null, true)", inputs=page.history, **QUIET)
    page.endpoints.progress.undo(None, js="() => studio.undone()", outputs=page.held, **QUIET)

    def refresh(browser: str, current: str | None, request: gr.Request) -> Updates:
        return {page.history: _history_update(page.of(request, browser), current)}

    # The header's line lends its place to the name of the browser: a studio that began anew asks whose this page is.
    carrier = page.endpoints.status
    named = {"js": "(_, current) => [studio.browser(), current]", "inputs": [carrier, page.history]}
    page.endpoints.status.focus(refresh, **named, outputs=page.history, **AT_ONCE)

    def weights() -> list[str]:
        return [page.handlers.weights_of(mode, None) for mode in page.forms]

    built_for = weights()

    def load(browser: str, request: gr.Request) -> Updates:
        history = _history_update(page.of(request, browser))
        lists = renewed(page.handlers, page.forms)
        updates = {page.endpoints.status: page.handlers.status(), page.history: history, **lists}
        left, others = bool(page.handlers.jobs.find(browser)), weights() != built_for
        if left or others:
            updates[page.endpoints.progress] = gr.update(left=left, renewed=others)
        # Whoever has a page open listens; clients, whose default is what the page was built with, have to ask.
        return (
            updates if "preview" in page.handlers.recipe(None).muted else {**updates, **dict.fromkeys(previews, True)}
        )

    previews = [page.forms[mode].widgets["preview"] for mode in SONG_MODES]
    places = [page.endpoints.status, page.history, page.endpoints.progress]
    outputs = [*places, *renewed(page.handlers, page.forms), *previews]
    page.blocks.load(load, js="() => [studio.browser()]", inputs=carrier, outputs=outputs, **AT_ONCE)
    shown_in: dict[str, Sequence[Component]] = {
        **dict.fromkeys(SONG_MODES, song.arrival),
        "lyrics": (page.words.draft,),
    }
    generate = page.forms["generate"]
    if generate.plans:
        shown_in["plan"] = (generate.widgets["plan"], generate.plans.line)
    if generate.drafts:
        shown_in |= dict.fromkeys(DRAFTS, (generate.drafts.draft,))
        shown_in[FROM_A_LINE] = (*song.arrival, generate.drafts.draft)
    shown_in |= dict.fromkeys(ACTIONS, (song.actions.made, song.actions.facts))
    resumed = page.endpoints.add_resumed(shown_in, page.rail)
    _show_song(page, resumed)
    if generate.drafts:
        drafts.fill_after(resumed, generate.drafts, generate.widgets, page.endpoints)

    def show_made(facts: Mapping[str, Any] | None, request: gr.Request) -> Updates:
        seen = page.of(request)
        track = seen.library.find_audio(str(facts["song"])) if facts else None
        return gr.skip() if track is None else _whole_song(seen, track, [track.id])

    resumed.success(show_made, inputs=song.actions.facts, outputs=_whole_outputs(page), **AT_ONCE)


def _starts(page: Page) -> None:
    """The forms are filled as the hub asks, which can be undone; links are made; the browser keeps it all."""
    answers, song = starts.Starts(page.handlers, page.widgets, page.rail), page.song

    def fill(asked: Mapping[str, Any], lock: str, shown: Mapping[str, Any] | None, request: gr.Request) -> Updates:
        seen = page.of(request)
        if asked.get("kind") == "song":
            return _recalled(seen, asked, lock, shown) or gr.skip()
        updates, words, identity = answers.of(seen.handlers).answer(asked)
        track = seen.handlers.opened(identity, request) if identity else None
        result = _whole_song(page.of(request), track, [track.id]) if track else {}
        said = {page.endpoints.progress: words} if words else {}
        return {**updates, **result, **said} or gr.skip()

    done = page.hub.release(
        fill,
        inputs=[page.hub, song.lock, song.metadata],
        outputs=[*page.held, *_whole_outputs(page), page.endpoints.progress],
        **AT_ONCE,
    )
    done.then(None, js="() => studio.started()", **QUIET)
    # A knob that its form follows says so there: every event of every component lengthens the page's start.
    followed = {
        widget for form in page.forms.values() for name, widget in _followed(form).items() if name not in UNHEARD
    }
    others = [_event(widget, "change") for widget in page.widgets.values() if widget not in followed]
    starts.keep_forms(page.hub, page.held, others)
    starts.wire_links(answers, page.hub, song.share, song.metadata)


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
    generate = page.forms["generate"].widgets

    def use(draft: str) -> tuple[str, float, str]:
        return draft, length_from_words(draft), "generate"

    outputs = [generate["lyrics"], generate["duration_s"], page.rail]
    words.use.click(use, inputs=words.draft, outputs=outputs, **AT_ONCE)
