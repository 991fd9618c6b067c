"""The models panel: every checkpoint, brought, verified and removed from the page while the studio runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
from huggingface_hub import constants

import tooltips
from checkpoints import download, find, manage, table, writers
from checkpoints.download import Row
from core.errors import StudioError
from core.paths import models_folder
from jobs.weights import Task
from ui.endpoints import AT_ONCE, IN_LINE, QUIET, Updates
from ui.handlers import Handlers
from ui.installed import renewed
from ui.view import View

NAME = "models"
LOOK_S = 0.5
"""How often a page that looks on hears how far a download is."""

SHARED = "This page is shared."
OWNERS = "Whoever runs the studio brings checkpoints with ./studio checkpoints."

Facts = dict[str, Any]

_TEMPLATE = """
<header><h2></h2><p></p></header>
<p class="room"></p>
<div class="uses"></div>
"""


def build(handlers: Handlers) -> View:
    """The panel, inside the open layout: one component, drawn by models.js; it holds nothing until it is looked at."""
    with gr.Column(visible=False, elem_id="models-view", min_width=0) as column:
        panel = gr.HTML(
            None,
            html_template=_TEMPLATE,
            js_on_load="studio.models(element, props, trigger, watch)",
            elem_id=NAME,
            refused={},
        )

    return View(column=column, wire=partial(_wire, panel, handlers), renewal=panel.select)


def _wire(panel: gr.HTML, handlers: Handlers, page: Any) -> None:
    """Put the panel's events in place; `page` is a ui.events.Page, which knows the views, not the other way round."""
    buttons = page.song.actions.buttons

    def ask(event: gr.EventData) -> object:
        return _asked(handlers, event)

    def look() -> Iterator[Updates]:
        """What there is, told on while anything is done with it; what became of it then stands in the forms."""
        was = facts(handlers)
        yield {panel: told(was)}
        while was["busy"]:
            time.sleep(LOOK_S)
            now = facts(handlers)
            if now != was:
                yield {panel: told(now)}
            was = now
        yield {**elsewhere(), page.endpoints.status: handlers.status()}

    def elsewhere() -> Updates:
        """What the rest of the page says of weights: the lists of its forms, and the buttons of the actions."""
        labels = {button: gr.update(value=handlers.action_label(name)) for name, button in buttons.items()}
        return {**renewed(handlers, page.forms), **labels}

    panel.apply(ask, outputs=panel, **AT_ONCE)
    # Not `load`: that one Gradio begins with every page.
    panel.focus(look, outputs=[panel, *elsewhere(), page.endpoints.status], **QUIET, **IN_LINE)


def _asked(handlers: Handlers, event: gr.EventData) -> object:
    """Do what was pressed; the update of the panel, which says what was refused."""
    name = str(getattr(event, "name", ""))
    try:
        act(handlers, str(getattr(event, "what", "")), name, consent=getattr(event, "consent", None) is True)
    except StudioError as refused:
        return gr.update(value=told(facts(handlers)), refused={"name": name, "says": str(refused)})
    return gr.update(value=told(facts(handlers)), refused={})


def act(handlers: Handlers, what: str, name: str, *, consent: bool) -> None:
    """Begin or stop what is to be done with a checkpoint. Raises StudioErrors; on a shared page nothing is done."""
    if handlers.hosted:
        raise StudioError(SHARED, OWNERS)
    weights, row = handlers.studio.weights, table.row(name)
    match what:
        case "download":
            weights.download(row.name, consent=consent)
        case "verify":
            weights.verify(row.name)
        case "remove":
            weights.remove(row.name, consent=consent)
        case "cancel":
            weights.cancel(row.name)
        case _:
            raise StudioError(f"Nothing is known by the name of {what!r}.", "Reload the page.")


def told(found: Facts) -> str:
    """The facts as the panel takes them: text, for Gradio sends what changes in a list by places that are not there."""
    return json.dumps(found, ensure_ascii=False)


# ---- what the page is told -------------------------------------------------------------------------------------------


def facts(handlers: Handlers) -> Facts:
    """Everything that the panel shows: plain texts and numbers."""
    weights, used = handlers.studio.weights, _used(handlers)
    tasks = weights.tasks
    rows = [_row(row, tasks.get(row.name), row.name in used, handlers) for row in weights.rows()]
    title, sentence = tooltips.VIEWS[NAME]
    return {
        "title": title,
        "sentence": sentence,
        "room": OWNERS if handlers.hosted else f"{table.in_words(download.free_bytes())} free in {models_folder()}",
        "uses": [
            {"title": words[0], "sentence": words[1], "rows": [row for row in rows if row["use"] == use]}
            for use, words in tooltips.USES.items()
        ],
        "busy": any(task.running for task in tasks.values()),
    }


def _used(handlers: Handlers) -> set[str]:
    """What the studio takes where nobody names one."""
    planner = find.planner()
    names = {handlers.studio.status().checkpoint, writers.find().name, table.SEPARATOR}
    return names if planner is None else {*names, planner.checkpoint.name}


def _row(row: Row, task: Task | None, is_used: bool, handlers: Handlers) -> Facts:
    can = [] if handlers.hosted else _can(row, task)
    memory = f"{table.in_words(row.memory_bytes)} of memory"
    return {
        "name": row.name,
        "title": row.title,
        "use": row.use,
        "facts": " · ".join([table.in_words(row.bytes) if row.bytes else "ships with the studio", row.licence, memory]),
        "source": "" if any("terms" in way for way in can) else _source(row),  # it stands on the button then
        "state": _state(row, is_used),
        "installed": row.installed,
        "can": can,
        "task": _task(task),
    }


def _source(row: Row) -> str:
    return f"{urlsplit(constants.ENDPOINT).netloc}/{row.source}" if row.source else ""


def _state(row: Row, is_used: bool) -> str:
    if row.installed:
        return "in use" if is_used else "installed"
    return f"{table.in_words(row.brought)} here" if row.brought else ""


def _can(row: Row, task: Task | None) -> list[dict[str, str]]:
    """The buttons of a row: what each does and says; what a download brings, and whose licence it has, is agreed to."""
    checkpoint = table.CHECKPOINTS[row.name]
    if task and task.running:
        return [{"what": "cancel", "words": "Stop"}]
    found = []
    if not row.installed and row.source and row.use != "musicgen":
        words = "Go on with the download of" if row.brought else "Download"
        terms = f"{row.licence} · from {_source(row)}"
        found.append({"what": "download", "words": f"{words} {table.in_words(row.to_bring)}", "terms": terms})
    if row.installed:
        found.append({"what": "verify", "words": "Verify"})
    if manage.is_ours(checkpoint):
        folder = Path(models_folder()) / row.name
        found.append({"what": "remove", "words": "Remove", "asks": f"Remove {row.title} from {folder}?"})
    return found


def _task(task: Task | None) -> Facts | None:
    if task is None:
        return None
    step = task.progress
    share = step.step / step.total if step and step.total else None
    return {"says": task.outcome or str(step), "failed": task.failed, "running": task.running, "done": share}
