"""Jobs that hang on a button: their named endpoints, and how the page turns busy and comes to rest.

An endpoint takes every knob by name, as Gradio, its client and MCP read them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

import tooltips
from core.actions import ACTIONS
from core.drafts import DRAFTS
from core.knobs import Kind, Knob, knobs_of
from core.requests import REQUESTS
from ui import faults
from ui.faults import Place
from ui.handlers import Handlers
from ui.sessions import Jobs
from ui.streams import Outputs, outputs

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
AT_ONCE: dict[str, Any] = {**QUIET, "queue": False}
"""For events that must not wait behind a song."""

GPU: dict[str, Any] = {"concurrency_id": "gpu", "concurrency_limit": 1}
"""The slot that all songs, plans and words share: one job at a time over all modes."""

Updates = dict[Any, object]
"""What a handler changes: components that are not named stay as they are. gr.skip() changes none; {} would raise."""

_TYPES: Mapping[Kind, type] = {
    "text": str,
    "integer": int,
    "number": float,
    "flag": bool,
    "choice": str,
    "audio": str,
}


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Hangs jobs on the buttons of a page, which share the handlers, the header's line and the line of progress."""

    handlers: Handlers
    status: gr.HTML
    progress: gr.HTML

    def add(self, name: str, button: gr.Button, inputs: Mapping[str, Component], shown_in: Sequence[Component]) -> Any:
        """Add a request's job, begun by the button, or by a client under the request's name; its event is returned.

        `inputs` are the widgets of its knobs; its outputs stand in `shown_in` and in the line of progress.
        """
        # A draft or an action is there at once, or waits for its turn within the studio.
        slot = {} if name in DRAFTS or name in ACTIONS else GPU
        return self._job(
            button,
            named(name, self.handlers.jobs, faults.places_of(inputs)),
            shown_in,
            inputs_kwargs=dict(inputs),
            api_name=name,
            **slot,
        )

    def add_private(
        self, button: gr.Button, run: Callable[..., Iterator[Outputs]], inputs: Component, shown_in: Sequence[Component]
    ) -> Any:
        """Add a job that only the page asks for; its event is returned."""
        return self._job(button, run, shown_in, inputs=inputs, api_visibility="private", **GPU)

    def add_cancel(self, button: gr.Button) -> None:
        """Let a button end the jobs of its own session."""

        def cancel(request: gr.Request) -> None:
            self.handlers.jobs.stop(request.session_hash or "")

        button.click(cancel, **AT_ONCE)

    def _job(
        self, button: gr.Button, run: Callable[..., Iterator[Outputs]], shown_in: Sequence[Component], **how: Any
    ) -> Any:
        """The job's event, between one that turns the page busy and one that brings it to rest."""

        def expect(request: gr.Request) -> None:
            self.handlers.jobs.expect(request.session_hash or "")

        begun = button.click(expect, js="() => studio.busy(true)", **AT_ONCE)
        job = begun.then(run, outputs=[*shown_in, self.progress], show_progress="hidden", **how)
        for ended in (job.success, job.failure):  # Gradio's `then` stays silent when the job raises
            ended(self.handlers.status, js="() => { studio.busy(false); return [] }", outputs=self.status, **AT_ONCE)
        return job


def named(name: str, jobs: Jobs, places: Mapping[str, Place]) -> Callable[..., Iterator[Outputs]]:
    """A generator function whose signature and docstring name every knob of the request, with its default."""
    knobs = knobs_of(REQUESTS[name])

    def run(request: gr.Request, **values: object) -> Iterator[Outputs]:
        # The `yield` stands in here, or Gradio does not see a generator.
        yield from outputs(jobs, name, values, request.session_hash or "", places)

    caller = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request)
    run.__name__ = name
    run.__doc__ = _docstring(name, knobs)
    run.__annotations__ = {"request": gr.Request} | {knob.name: _hint(knob) for knob in knobs}
    run.__signature__ = inspect.Signature([caller, *map(_parameter, knobs)])  # type: ignore[attr-defined]
    return run


def _hint(knob: Knob) -> object:
    kind = _TYPES[knob.kind]
    return kind | None if knob.optional else kind


def _parameter(knob: Knob) -> inspect.Parameter:
    return inspect.Parameter(knob.name, inspect.Parameter.KEYWORD_ONLY, default=knob.default, annotation=_hint(knob))


def _docstring(name: str, knobs: tuple[Knob, ...]) -> str:
    _, sentence = tooltips.title(name)
    lines = [f"    {knob.name}: {tooltips.of(name, knob.name)[1]} {knob.rule.capitalize()}." for knob in knobs]
    return "\n".join([f"{sentence}.", "", "Args:", *lines])
