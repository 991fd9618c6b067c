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
from core.knobs import Kind, Knob, knobs_of
from core.params import MODES
from core.requests import REQUESTS
from core.tables import Mode
from ui import faults
from ui.faults import Place
from ui.handlers import Handlers
from ui.streams import Outputs, followed, outputs

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
AT_ONCE: dict[str, Any] = {**QUIET, "queue": False}
"""For events that must not wait behind a song."""

IN_LINE: dict[str, Any] = {"concurrency_limit": None}
"""For jobs: they wait for their turn within the studio, which knows their places and drops one at once."""

PLANNED_IN: Mode = "generate"
"""The mode in whose form a plan stands."""

NOBODY = ""
"""The browser of a page that does not say which one it is of."""

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

    def add(self, name: str, start: Any, inputs: Mapping[str, Component], shown_in: Sequence[Component]) -> Any:
        """Add a request's job, begun by a client under the request's name, or on the page; its event is returned.

        `start` is the button that begins it, or the event after which it begins. `inputs` are the widgets of its knobs;
        its outputs stand in `shown_in` and in the line of progress.
        """
        return self._job(
            start,
            named(name, self.handlers, faults.places_of(inputs)),
            shown_in,
            inputs_kwargs=dict(inputs),
            api_name=name,
        )

    def add_private(
        self,
        button: gr.Button,
        run: Callable[..., Iterator[Outputs]],
        inputs: Component | Mapping[str, Component],
        shown_in: Sequence[Component],
    ) -> Any:
        """Add a job that only the page asks for; its event is returned. Inputs with names are given by these."""
        how: dict[str, Any] = {"inputs_kwargs": dict(inputs)} if isinstance(inputs, Mapping) else {"inputs": inputs}
        return self._job(button, run, shown_in, api_visibility="private", **how)

    def add_cancel(self, button: gr.Button) -> None:
        """Let a button end the jobs of its own session."""

        def cancel(request: gr.Request) -> None:
            self.handlers.jobs.stop(self.handlers.session(request))

        button.click(cancel, js="() => studio.cancelling()", **AT_ONCE)

    def add_resumed(self, shown_in: Mapping[str, Sequence[Component]], rail: Component) -> Any:
        """Let a page that comes back show the job that it left; its event is returned.

        It begins when the line of progress is told that there is one. `shown_in` are the components of each request
        that can be shown again, by its name; `rail` turns to its mode.
        """
        places = list(dict.fromkeys(each for components in shown_in.values() for each in components))

        def resume(browser: str, request: gr.Request) -> Iterator[Outputs]:
            session = self.handlers.session(request, browser)
            ticket = self.handlers.jobs.find(browser or NOBODY)
            if ticket is None or ticket.asked not in shown_in:
                yield (gr.skip(),) * (len(places) + 2)
                return
            mode: object = ticket.asked if ticket.asked in MODES else PLANNED_IN
            for *values, line in followed(self.handlers.jobs, ticket, session):
                held = dict(zip(shown_in[ticket.asked], values, strict=True))
                yield *(held.get(place, gr.skip()) for place in places), mode, line
                mode = gr.skip()

        # The line of progress holds nothing yet: it lends its place to the name of the browser.
        come = self.progress.input(
            resume,
            js="() => studio.comeBack()",
            inputs=self.progress,
            outputs=[*places, rail, self.progress],
            **QUIET,
            **IN_LINE,
        )
        self._at_rest(come)
        return come

    def _job(self, start: Any, run: Callable[..., Iterator[Outputs]], shown_in: Sequence[Component], **how: Any) -> Any:
        """The job's event, between one that turns the page busy and one that brings it to rest."""

        def expect(browser: str, request: gr.Request) -> None:
            self.handlers.jobs.expect(self.handlers.session(request), browser or NOBODY)

        begins = start.click if isinstance(start, gr.Button) else start.then
        begun = begins(expect, js="() => studio.begin()", inputs=self.progress, **AT_ONCE)
        job = begun.then(run, outputs=[*shown_in, self.progress], show_progress="hidden", **IN_LINE, **how)
        self._at_rest(job)
        return job

    def _at_rest(self, job: Any) -> None:
        # Gradio's `then` stays silent when the job raises. The result of one that does not is still to be shown.
        for ended, and_then in ((job.success, ""), (job.failure, "studio.unmade();")):
            js = f"() => {{ studio.busy(false); {and_then} return [] }}"
            ended(self.handlers.status, js=js, outputs=self.status, **AT_ONCE)


def named(name: str, handlers: Handlers, places: Mapping[str, Place]) -> Callable[..., Iterator[Outputs]]:
    """A generator function whose signature and docstring name every knob of the request, with its default."""
    knobs = knobs_of(REQUESTS[name])

    def run(request: gr.Request, **values: object) -> Iterator[Outputs]:
        # The `yield` stands in here, or Gradio does not see a generator.
        yield from outputs(handlers.jobs, name, values, handlers.session(request), places)

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
