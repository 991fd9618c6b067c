"""Faults in the page's words: labels in place of parameters, each at the field that it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

import tooltips
from core.errors import Fault, RequestError
from core.knobs import knobs_of
from core.requests import REQUESTS


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the page shows a knob: the id of its element, and that of the fold around it, if there is one."""

    element: str
    fold: str | None


Told = dict[str, "str | list[str] | None"]
"""A fault as the page takes it: `at` an element, in a `fold`, what it `says`, and `with` which fields it is mended."""


def places_of(widgets: Mapping[str, Component]) -> dict[str, Place]:
    """Where each knob is shown, by its name."""
    return {name: Place(element=str(widget.elem_id), fold=_fold(widget)) for name, widget in widgets.items()}


def _fold(block: Block) -> str | None:
    around = next((each for each in _around(block) if isinstance(each, gr.Accordion)), None)
    return None if around is None else str(around.elem_id)


def _around(block: Block) -> Iterator[Block]:
    while block.parent is not None:
        block = block.parent
        yield block


def in_words(name: str, text: str) -> str:
    """A rule or a reason with labels in place of the parameters of that endpoint's request."""
    labels, names = _labels(name)
    return names.sub(lambda found: f"“{labels[found[0]]}”", text)


@cache
def _labels(name: str) -> tuple[Mapping[str, str], re.Pattern[str]]:
    """The labels of knobs by their names, where these are other words, and what finds the names in a text."""
    labels = {knob.name: tooltips.of(name, knob.name)[0] for knob in knobs_of(REQUESTS[name])}
    other = {knob: label for knob, label in labels.items() if knob != label.lower()}
    return labels, re.compile(rf"\b({'|'.join(other)})\b")


def label_of(name: str, field: str) -> str:
    """The label of a field; what is no knob of that endpoint's request keeps its name."""
    return _labels(name)[0].get(field, field)


def sentence(name: str, fault: Fault) -> str:
    """What is wrong with a value, as the page says it."""
    # The lines of a plan are named in its text: bpm there is what stands in front of a colon.
    rule = fault.rule if fault.field == "plan" else in_words(name, fault.rule)
    return f"{label_of(name, fault.field)} {rule}."


def told(name: str, faults: Sequence[Fault], places: Mapping[str, Place]) -> list[Told]:
    """The faults of an endpoint's request that have a place in the page, in its order."""
    return [
        {
            "at": places[fault.field].element,
            "fold": places[fault.field].fold,
            "says": sentence(name, fault),
            "with": [place.element for knob, place in places.items() if _mends(knob, fault)],
        }
        for fault in _in_order(faults, places)
    ]


def _in_order(faults: Sequence[Fault], places: Mapping[str, Place]) -> list[Fault]:
    """Those that have a place, as they stand in the page: what is open comes before what is folded."""
    order = list(places)
    placed = [fault for fault in faults if fault.field in places]
    return sorted(placed, key=lambda fault: (places[fault.field].fold is not None, order.index(fault.field)))


def _mends(knob: str, fault: Fault) -> bool:
    """Whether another value of the knob may mend the fault: it is its own, or the rule speaks of it."""
    return knob == fault.field or bool(re.search(rf"\b{knob}\b", fault.rule))


def line(name: str, error: RequestError, places: Mapping[str, Place]) -> str:
    """The line of progress of a refused request: it names the fields, and says in full what has no place."""
    fields = dict.fromkeys(label_of(name, fault.field) for fault in _in_order(error.faults, places))
    elsewhere = [sentence(name, fault) for fault in error.faults if fault.field not in places]
    return " · ".join(["refused", *([", ".join(fields)] if fields else []), *elsewhere, *filter(None, [error.hint])])
