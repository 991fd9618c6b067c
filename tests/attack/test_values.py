"""Values of every kind against the tables of knobs: what is wrong is refused by its name, what is right comes back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import RequestError, faults_of
from core.knobs import Knob, knobs_of, parse, readable, to_json
from core.requests import REQUESTS, Request
from tests.attack.requests import wrong_values

TRIALS = settings(deadline=None, derandomize=True, database=None)
"""The same trials each time: what fails here fails everywhere."""

FEW_OR_MANY = pytest.mark.parametrize("count", [100, pytest.param(5000, marks=pytest.mark.slow)])

LONGEST = 60
"""Characters of most texts: longer ones are a matter of their bound alone."""

ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.characters(categories=["Cs"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
"""Whatever JSON can spell, and more: halves of surrogate pairs, numbers that are none, whole numbers of any size."""


def right(knob: Knob) -> st.SearchStrategy[Any]:
    """Values that meet the rule of the knob."""
    values: st.SearchStrategy[Any]
    match knob.kind:
        case "flag":
            values = st.booleans()
        case "choice":
            values = st.sampled_from(knob.choices)
        case "integer":
            assert knob.low is not None and knob.high is not None
            values = st.integers(math.ceil(knob.low), math.floor(knob.high))
            values |= values.map(float)
        case "number":
            assert knob.low is not None and knob.high is not None
            values = st.floats(knob.low, knob.high)
        case "text":
            values = st.text(st.characters(exclude_categories=["Cs"]), max_size=min(LONGEST, int(knob.high or 0)))
        case "audio":
            name = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
            values = st.text(name, min_size=1, max_size=LONGEST)
    return values | st.sampled_from([None, "", "auto"]) if knob.optional else values


def wrong(knob: Knob) -> st.SearchStrategy[Any]:
    """Values that break the rule of the knob."""
    known = wrong_values(knob)
    if knob.kind == "audio":  # which files there are, and whose, is not the table's to say
        known = [value for value in known if not isinstance(value, str)]
    values = st.sampled_from(known) | st.lists(ANYTHING, max_size=2)
    if knob.kind in ("integer", "number"):
        assert knob.low is not None and knob.high is not None
        values |= st.floats(max_value=knob.low, exclude_max=True) | st.floats(min_value=knob.high, exclude_min=True)
        values |= st.integers(max_value=math.ceil(knob.low) - 1) | st.integers(min_value=math.floor(knob.high) + 1)
    return values


def some(knobs: Iterable[Knob]) -> st.SearchStrategy[dict[str, Any]]:
    """Right values for some of the knobs."""
    return st.fixed_dictionaries({}, optional={knob.name: right(knob) for knob in knobs})


CLASSES = st.sampled_from(list(REQUESTS.values()))


@FEW_OR_MANY
def test_what_meets_every_rule_comes_back_as_it_was_unless_it_contradicts_itself(count: int) -> None:
    @settings(TRIALS, max_examples=count)
    @given(CLASSES, st.data())
    def check(cls: type[Request], data: st.DataObject) -> None:
        values = data.draw(some(knobs_of(cls)))
        try:
            request = parse(cls, values)
        except RequestError as refused:
            rules = {knob.name: knob.rule for knob in knobs_of(cls)}
            assert all(fault.rule != rules.get(fault.field) for fault in refused.faults)
            return
        assert parse(cls, json.loads(json.dumps(to_json(request)))) == request == readable(cls, values)

    check()


@FEW_OR_MANY
def test_what_breaks_a_rule_is_refused_by_its_name_and_its_rule(count: int) -> None:
    @settings(TRIALS, max_examples=count)
    @given(CLASSES, st.data())
    def check(cls: type[Request], data: st.DataObject) -> None:
        broken = data.draw(st.sampled_from(knobs_of(cls)))
        values = data.draw(some(knob for knob in knobs_of(cls) if knob != broken))
        with pytest.raises(RequestError) as refused:
            parse(cls, {**values, broken.name: data.draw(wrong(broken))})
        assert {fault.field: fault.rule for fault in refused.value.faults}[broken.name] == broken.rule
        json.dumps(faults_of(refused.value)).encode()

    check()


@FEW_OR_MANY
def test_anything_is_a_request_or_refused_in_words(count: int) -> None:
    @settings(TRIALS, max_examples=count)
    @given(CLASSES, st.data())
    def check(cls: type[Request], data: st.DataObject) -> None:
        names = st.sampled_from([knob.name for knob in knobs_of(cls)]) | st.text(max_size=12)
        try:
            parse(cls, data.draw(st.dictionaries(names, ANYTHING, max_size=4)))
        except RequestError as refused:
            assert refused.faults
            assert len(str(refused)) < 1000 * len(refused.faults)
            str(refused).encode()

    check()
