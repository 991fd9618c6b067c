"""Jobs that hang on a button: the page turns busy when one begins and comes to rest when it ends."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui.handlers import Handlers

GPU = "gpu"
"""Every event that runs a model shares this slot: one job at a time over all modes."""

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
AT_ONCE: dict[str, Any] = {**QUIET, "queue": False}
"""For events that must not wait behind a song."""

Updates = dict[Any, object]
"""What a handler changes: components that are not named stay as they are. gr.skip() changes none; {} would raise."""


def begin(button: gr.Button, handlers: Handlers) -> Any:
    """The event that a job hangs on: the page turns busy, an older Cancel of this session is forgotten."""

    def expect(request: gr.Request) -> None:
        handlers.jobs.expect(request.session_hash or "")

    return button.click(expect, js="() => studio.busy(true)", **AT_ONCE)


def stop(handlers: Handlers) -> Any:
    """The handler of Cancel: it ends the jobs of its own session."""

    def cancel(request: gr.Request) -> None:
        handlers.jobs.stop(request.session_hash or "")

    return cancel


def rest(job: Any, status: gr.HTML, handlers: Handlers) -> None:
    """Nothing; the page is at rest again when the job ends, well or not."""
    for ended in (job.success, job.failure):  # Gradio's `then` stays silent when the job raises
        ended(handlers.status, js="() => { studio.busy(false); return [] }", outputs=status, **AT_ONCE)
