"""Drafts of a form: which drafter serves a request, and what is refused before it begins."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Generator

from drafts import Draft
from errors import RequestError
from events import Progress
from knobs import knobs_of, set_in_vain
from params_tables import MAX_SEED
from params_words import DraftRequest, EnhanceRequest, InspireRequest, PlannerKnobs

_NO_MODEL = "means something to a planner model only, and none is installed"


def drafted(request: DraftRequest) -> Generator[Progress | Draft, None, None]:
    """Progress, then one Draft by the best drafter that is installed, with the seed of its dice.

    Raises RequestError, before anything is loaded, for a recording that cannot be used and for knobs that mean nothing
    to the drafter.
    """
    from drafts_builtin import BuiltinDrafter

    faults = list(set_in_vain(request, dict.fromkeys((knob.name for knob in knobs_of(PlannerKnobs)), _NO_MODEL)))
    if faults:
        raise RequestError(faults)
    seed = secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed
    drafter = BuiltinDrafter()
    match request:
        case InspireRequest():
            events = drafter.inspire(request, seed)
        case EnhanceRequest():
            events = drafter.enhance(request, seed)
        case _:
            yield from drafter.understand(request)
            return
    for event in events:
        yield dataclasses.replace(event, seed=seed) if isinstance(event, Draft) else event
