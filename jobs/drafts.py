"""Drafts of a form: which drafter serves a request, and what is refused before it begins."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from checkpoints import find, table
from core.drafts import Draft
from core.errors import RequestError
from core.events import Progress
from core.knobs import knobs_of, set_in_vain
from core.lyrics import DraftRequest, EnhanceRequest, InspireRequest, PlannerKnobs, UnderstandRequest
from core.tables import MAX_SEED
from jobs import lease
from library import audio

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from networks.machine import Machine

NO_EARS = "tempo and key were found by listening; a planner hears through an ACE-Step checkpoint, and none is installed"
_NO_MODEL = "means something to a planner model only, and none is installed"


def drafted(
    request: DraftRequest, machine: Machine, turn: Callable[[], AbstractContextManager[None]]
) -> Generator[Progress | Draft, None, None]:
    """Progress, then one Draft by the best drafter that is installed, with the seed of its dice.

    `turn` is held while a planner is in use. Raises RequestError, before anything is loaded, for a recording that
    cannot be used and for knobs that mean nothing to the drafter, MissingWeights for a planner that is not installed.
    """
    planner = find.planner(request.planner)
    if planner is None:
        yield from _built_in(request)
        return
    seeded = request if request.seed is not None else dataclasses.replace(request, seed=secrets.randbelow(MAX_SEED + 1))
    wave, song = None, None
    if isinstance(request, UnderstandRequest):
        assert request.src_audio is not None
        wave = audio.load(request.src_audio, "src_audio")
        song = next((row for row in find.installed() if table.recipe_of(row.name).planner == "lm"), None)
        if song is None:
            from planner.builtin_drafter import BuiltinDrafter

            for event in BuiltinDrafter().understand(request):
                yield dataclasses.replace(event, notes=(NO_EARS,)) if isinstance(event, Draft) else event
            return
    with turn():
        yield Progress("loading", note=f"loading {planner.checkpoint.title}")
        if song is not None:
            lease.load(find.checkpoint(song.name), machine)
        lease.load_planner(planner, machine)
        yield from lease.leased_draft(seeded, planner.checkpoint.parameters, wave)


def _built_in(request: DraftRequest) -> Generator[Progress | Draft, None, None]:
    """The draft of the built-in drafter; raises RequestError for knobs that mean nothing to it."""
    from planner.builtin_drafter import BuiltinDrafter

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
