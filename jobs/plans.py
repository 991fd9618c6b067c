"""Who plans a song, and plans without songs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from checkpoints import find
from core.errors import Fault, MissingWeights, RequestError
from core.events import Progress
from core.params import GenerateRequest, PlanRequest, Recipe
from core.plans import Plan, Stretch
from core.resolve import refuse_muted, resolve
from jobs import lease

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from checkpoints.find import Installed
    from networks.machine import Machine

NO_PLANNER = "No planner is installed."
BRING_ONE = "Bring one here with ./studio checkpoints download lm-1.7b, or choose nano, which composes its plans."


def planner_of(request: object, recipe: Recipe) -> Installed | None:
    """The language model that plans a song, with its place; None where none does, or none is installed.

    Raises RequestError and MissingWeights for one that is named.
    """
    if not isinstance(request, GenerateRequest) or not request.planned or recipe.planner != "lm":
        return None
    return find.planner(request.planner)


def planned(
    request: PlanRequest, recipe: Recipe, machine: Machine, turn: Callable[[], AbstractContextManager[None]]
) -> Generator[Progress | Plan, None, None]:
    """Progress, then the Plan that a song by this request would follow. `turn` is held while a model is in use.

    Raises RequestError, before anything is loaded, where there is nothing to plan, MissingWeights without a planner.
    """
    refuse_muted(request, recipe)
    if not request.planned:
        name = "plan" if request.thinking else "thinking"
        raise RequestError([Fault(name, getattr(request, name), "leaves nothing to plan")])
    resolved = resolve(request, recipe, secrets.randbelow)
    if recipe.planner == "composer":
        from planner.composer.planner import ComposerPlanner

        assert resolved.seed is not None
        whole = Stretch(start_s=0.0, duration_s=resolved.length_s)
        yield from ComposerPlanner().plan(resolved, resolved.seed, whole)
        return
    place = planner_of(request, recipe)
    if place is None:
        raise MissingWeights(NO_PLANNER, BRING_ONE)
    with turn():
        yield Progress("loading", note=f"loading {place.checkpoint.title}")
        lease.load_planner(place, machine)
        yield from lease.leased_plan(resolved, place.checkpoint.parameters)
