"""A song from one line: the draft and the song, in one press."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from core.drafts import InspireRequest
from core.knobs import Value, knobs_of
from core.plans import within
from core.stated import length_stated
from ui import drafts, faults
from ui.drafts import DraftTools
from ui.endpoints import Endpoints, Updates
from ui.streams import Outputs, outputs_of_both

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

    What is drafted lands in the form, where it can be seen, changed and undone. The length is the user's, in the line
    or else in its field: where there is one, the words are as many as can be sung in it. Both are one job: who goes
    away finds the song.
    """
    fields = drafts.drafted_fields(form)
    shown_in = [*arrival, *fields, tools.steps, tools.undo, tools.line]
    inputs = {**form, drafts.OWN["inspire"]: tools.own["inspire"]}
    places = faults.places_of(inputs)
    handlers = endpoints.handlers

    def run(request: gr.Request, **values: Any) -> Iterator[Outputs]:
        session, steps = handlers.session(request), values.pop(STEPS)
        line = {knob.name: values[knob.name] for knob in knobs_of(InspireRequest)}
        form_values = {name: value for name, value in values.items() if name in form}

        def filled(draft: Mapping[str, Any]) -> dict[str, Value]:
            proposed = drafts.proposed(draft, handlers.recipe(values["checkpoint"]).muted)
            stated_s = length_stated(str(values["query"] or ""))
            if (length := stated_s or values["duration_s"]) is not None:
                proposed.pop("duration_s", None)
                proposed |= {"duration_s": stated_s} if stated_s else {}
                proposed |= {"lyrics": within(str(proposed["lyrics"]), length)} if "lyrics" in proposed else {}
            return proposed

        def song(draft: Mapping[str, Any]) -> Mapping[str, object]:
            return {**form_values, **filled(draft)}

        for *made, draft, told in outputs_of_both(handlers.jobs, line, song, session, places):
            updates: Updates = dict(zip(arrival, made, strict=True))
            if draft != gr.skip():
                assert isinstance(draft, Mapping)
                updates |= drafts.taken(tools, form, draft, filled(draft), form_values, steps)
            yield *(updates.get(place, gr.skip()) for place in shown_in), told

    return endpoints.add_private(button, run, {**inputs, STEPS: tools.steps}, shown_in)
