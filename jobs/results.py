"""What jobs make, as plain facts for JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from core.drafts import Draft
from core.events import TextDelta
from core.plans import Plan
from library.companions import Companion
from library.records import Track


def facts(result: Track | Companion | Plan | Draft) -> dict[str, Any]:
    """What to know about a result, and where its files lie."""
    match result:
        case Track():
            return {"path": str(result.path.absolute()), **result.summary()}
        case Companion():
            return {"files": [str(file.absolute()) for file in result.files], **result.summary()}
        case Plan():
            return {"text": result.to_text(), **result.summary()}
        case Draft():
            return dict(result.values())


def all_facts(events: Iterable[object]) -> list[dict[str, Any]]:
    """The facts of every result among the events of one job; pieces of a text are one."""
    found = list(events)
    words = "".join(event.text for event in found if isinstance(event, TextDelta))
    made = [facts(event) for event in found if isinstance(event, Track | Companion | Plan | Draft)]
    return [{"text": words}, *made] if words else made
