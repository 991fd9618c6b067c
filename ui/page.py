"""The page: modes and views in a rail, a form for each mode, one result; derived from the tables of params.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import gradio as gr

import tooltips
from backend import Studio
from core.knobs import knobs_of
from core.params import MODES, SONG_MODES, UNHEARD
from core.paths import STATIC
from core.requests import REQUESTS
from core.tables import PRODUCT, Mode
from theme import twin_css
from ui import form, starts
from ui.bad_requests import BadRequests
from ui.bad_requests import Endpoints as Callables
from ui.cancel_calls import CancelCalls
from ui.endpoints import Endpoints
from ui.events import Page, wire
from ui.first_paint import FirstPaint
from ui.gradio_start import is_told_of, is_waiting
from ui.handlers import Handlers
from ui.kept_files import KeptFiles
from ui.login import LogIns
from ui.openapi import OwnDocument
from ui.panes import build_song_pane, build_words_pane, plain_text
from ui.served import PackedPage
from ui.simple import DRAFT_AND
from ui.views import VIEWS
from ui.widgets import Blocks

STYLES = tuple(
    STATIC / f"{name}.css"
    for name in ("page", "form", "controls", "result", "library", "deck", "compare", "working", "starts", "models")
)
FIRST_SCRIPT = STATIC / "look.js"
"""Run before the first paint."""

SCRIPTS = tuple(
    STATIC / f"{name}.js"
    for name in (
        *("page", "keys", "reach", "history", "faults", "earlier", "waves", "region", "folds", "starts"),
        *("player", "deck", "stems", "compare", "listen", "library", "working", "models"),
    )
)

QUEUE_LENGTH = 20
"""Events that wait in Gradio's own line, at the least: jobs wait in the studio's."""

SESSIONS_KEPT = 64
"""So many sessions' components and states are kept in memory, two thirds of a megabyte each; one that is forgotten
starts anew when it comes again, without the drafts that it could have undone."""

CACHE_AGE_S = 24 * 3600
FIRST: Mode = "generate"

_LOOK = """
<select aria-label="Look">
  <option value="system">◐ System</option>
  <option value="light">○ Light</option>
  <option value="dark">● Dark</option>
</select>
"""

_NAME = f"""
<nav class="skips" aria-label="Skip">
  <a href="#work">Skip to the form</a>
  <a href="#result">Skip to the result</a>
</nav>
<h1>{PRODUCT}</h1>
"""

_PROGRESS = """
<div class="line">
  <p data-text role="status" aria-live="polite"></p><button type="button" class="back" hidden>Show it</button>
  <div class="bar"></div>
</div>
<button type="button" class="missing" hidden>Bring it here under Models</button>
<div class="recalled" role="status" hidden>
  <p>The settings of this song are in the form; its seed is not, unless the seed is locked.</p>
  <button type="button" aria-label="Undo the recall">Undo</button>
</div>
"""


def head() -> str:
    """The scripts of the page."""
    return "".join(map(_script, SCRIPTS))


def _script(path: Path) -> str:
    return f"<script>{path.read_text(encoding='utf-8')}</script>"


def build(studio: Studio, *, hosted: bool = False) -> Blocks:
    """The page of a studio, its queue set; `hosted` keeps the songs of different visitors apart."""
    handlers = Handlers(studio, hosted=hosted)
    blocks = Blocks(title=PRODUCT, fill_width=True, analytics_enabled=False, delete_cache=(3600, CACHE_AGE_S))
    with blocks:
        wire(_page(blocks, handlers))
    # Gradio tells every output of every event of each turn that an event takes, though all of it is hidden here: a
    # third of the work of a page that starts.
    for event in blocks.fns.values():
        event.show_progress_on = []
    blocks.queue(max_size=max(QUEUE_LENGTH, studio.settings.max_queue), default_concurrency_limit=4)
    # What Starlette calls a middleware: a class, and what it is made with beside the server that it stands before.
    markup = f"<style>{twin_css()}</style>{_script(FIRST_SCRIPT)}"
    blocks.serving = {
        "middleware": [
            (LogIns, (), {}),
            (
                BadRequests,
                (
                    lambda: _endpoints(blocks),
                    lambda session: is_waiting(blocks, session),
                    lambda event: is_told_of(blocks, event),
                ),
                {},
            ),
            (KeptFiles, (studio.library.root.absolute(),), {}),
            (CancelCalls, (_canceller(blocks, handlers),), {}),
            (PackedPage, (), {}),
            (FirstPaint, (markup,), {}),
            (OwnDocument, (), {}),
        ],
    }
    return blocks


def _endpoints(blocks: gr.Blocks) -> Callables:
    """What can be called of the page."""
    return Callables(
        names={str(event.api_name) for event in blocks.fns.values() if event.api_name},
        numbers=set(blocks.fns),
        parameters={name: [knob.name for knob in knobs_of(request)] for name, request in REQUESTS.items()},
    )


def _canceller(blocks: gr.Blocks, handlers: Handlers) -> Callable[[str, int], None]:
    """Ends the jobs that a session has of an endpoint, which has that number in the page."""

    def cancelled(session: str, number: int) -> None:
        event = blocks.fns.get(number)
        if event is not None and event.api_name:
            handlers.jobs.stop(session, str(event.api_name))

    return cancelled


def _page(blocks: gr.Blocks, handlers: Handlers) -> Page:
    with gr.Row(elem_id="header"):
        gr.HTML(_NAME, js_on_load="studio.skips(element)", elem_id="name")
        status = plain_text("p", "status", "studio.status(element, props, watch); studio.front(trigger)")
        gr.HTML(html_template=_LOOK, js_on_load="studio.look(element)", elem_id="look")
    with gr.Row(elem_id="desk"):
        rail, history = _rail()
        with gr.Column(elem_id="work", min_width=0):
            choices = handlers.installed()
            forms = {
                mode: form.build(
                    mode,
                    handlers.recipe_of(mode, None),
                    choices,
                    weights=handlers.weights_of(mode, None),
                    idle=handlers.idle(mode, {}),
                    visible=mode == FIRST,
                )
                for mode in MODES
            }
            views = {name: make(handlers) for name, make in VIEWS.items()}
            progress, runs, simple, cancel = _dock(handlers)
            hub = starts.build_hub()
        with gr.Column(elem_id="result", min_width=0):
            song, words = build_song_pane(handlers), build_words_pane()
    return Page(
        blocks=blocks,
        endpoints=Endpoints(handlers=handlers, status=status, progress=progress),
        rail=rail,
        history=history,
        forms=forms,
        views=views,
        runs=runs,
        cancel=cancel,
        song=song,
        words=words,
        simple=simple,
        hub=hub,
    )


def _rail() -> tuple[gr.Radio, gr.Radio]:
    with gr.Column(elem_id="rail", min_width=0):
        modes = [(tooltips.title(name)[0], name) for name in (*MODES, *VIEWS)]
        rail = gr.Radio(modes, value=FIRST, label="Mode", elem_id="modes")
        history = gr.Radio([], label="History", elem_id="history", visible=False, interactive=True)
    return rail, history


def _dock(handlers: Handlers) -> tuple[gr.HTML, Mapping[Mode, gr.Button], gr.Button, gr.Button]:
    """The progress line, one run button for each mode, that of the simple form, and Cancel.

    Cancel takes their place while a job runs.
    """
    with gr.Column(elem_id="dock", min_width=0):
        progress = gr.HTML(
            "",
            label="Status",
            html_template=_PROGRESS,
            js_on_load="studio.progress(element, props, watch); studio.follow(element, props, watch); "
            "studio.undoable(element, trigger); studio.missing(element, props, watch); "
            "studio.comesBack(props, trigger, watch)",
            elem_id="progress",
            faults=[],
            missing={},
            working=None,
            preview=None,
            left=False,
            renewed=False,
        )
        runs = {
            mode: gr.Button(
                _cost(handlers, mode),
                variant="primary",
                visible=mode == FIRST,
                elem_id=f"run-{mode}",
                elem_classes=["run"],
            )
            for mode in MODES
        }
        words = f"{DRAFT_AND}{_cost(handlers, FIRST)}"
        simple = gr.Button(words, variant="primary", elem_id="run-simple", elem_classes=["run"])
        cancel = gr.Button("Cancel", elem_id="cancel")
    return progress, runs, simple, cancel


def _cost(handlers: Handlers, mode: Mode) -> str:
    """What a run button says of a form as the page shows it at first: whoever has one open listens to previews."""
    return handlers.cost(mode, dict.fromkeys(UNHEARD, True) if mode in SONG_MODES else {})
