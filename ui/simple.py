"""A song from one line: the draft and the song, in one press."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from core.drafts import InspireRequest
from core.knobs import knobs_of
from core.plans import within
from ui import drafts, faults
from ui.drafts import DraftTools
from ui.endpoints import Endpoints
from ui.streams import Outputs, outputs

DRAFT_AND = "Draft · "
"""What the button says before what the song will cost."""

STEPS = "steps"
"""What the handler calls the drafts that can be undone."""


def wire(
    button: gr.Button,
    tools: DraftTools,
    form: Mapping[str, Component],
    endpoints: Endpoints,
    arrival: Sequence[Component],
) -> Any:
    """Let a button draft from the line and make the song, which comes to `arrival`; the job's event is returned.

    What is drafted lands in the form, where it can be seen, changed and undone. The length is the user's: where there
    is one, the words are as many as can be sung in it.
    """
    fields = drafts.drafted_fields(form)
    shown_in = [*arrival, *fields, tools.steps, tools.undo, tools.line]
    inputs = {**form, drafts.OWN["inspire"]: tools.own["inspire"]}
    places = faults.places_of(inputs)
    handlers = endpoints.handlers
    unchanged: Outputs = (gr.skip(),) * len(shown_in)

    def run(request: gr.Request, **values: Any) -> Iterator[Outputs]:
        session, steps = handlers.session(request), values.pop(STEPS)
        asked = {knob.name: values[knob.name] for knob in knobs_of(InspireRequest)}
        draft: Mapping[str, Any] | None = None
        for got, line in outputs(handlers.jobs, "inspire", asked, session, places, more=True):
            draft = got if isinstance(got, Mapping) else draft
            yield *unchanged, line
        if draft is None:  # cancelled
            return
        form_values = {name: value for name, value in values.items() if name in form}
        filled = drafts.proposed(draft, handlers.recipe(values["checkpoint"]).muted)
        if (length := values["duration_s"]) is not None:
            filled.pop("duration_s", None)
            filled |= {"lyrics": within(str(filled["lyrics"]), length)} if "lyrics" in filled else {}
        updates = drafts.taken(tools, form, draft, filled, form_values, steps)
        yield *(updates.get(place, gr.skip()) for place in shown_in), "drafted"
        for *song, line in outputs(handlers.jobs, "generate", {**form_values, **filled}, session, places):
            yield *song, *unchanged[len(song) :], line

    return endpoints.add_private(button, run, {**inputs, STEPS: tools.steps}, shown_in)
