"""Plans: who plans a song, and plans without songs."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Protocol

from checkpoints import find, table
from core.errors import Fault, MissingWeights, RequestError
from core.events import Progress
from core.params import GenerateRequest, PlanRequest, SongRequest
from core.plans import LONGEST_SUNG_S, Plan, Planner, Span
from core.recipes import Recipe
from core.resolve import refuse_muted, resolve
from jobs import estimates
from jobs.desk import Desk, Event
from jobs.estimates import Cost
from jobs.models import Models
from jobs.work import Need

NO_PLANNER = "No planner is installed."
BRING_ONE = "Bring one here with ./studio checkpoints download lm-1.7b, or choose nano, which composes its plans."
GET_CODES = (
    "./studio checkpoints download xl-sft brings a checkpoint that has them; so does "
    "./studio checkpoints import xl-turbo FOLDER, of ACE-Step/acestep-v15-xl-turbo, upstream's own layout."
)


class PlannerKind(Protocol):
    """A way to plan a checkpoint's songs; a recipe names the one that it wants."""

    def needs(self, request: SongRequest) -> tuple[Need, ...]:
        """The weights that plan the request; none where it needs none, has none, or leaves nothing to plan.

        Raises RequestError and MissingWeights for a planner that is named.
        """
        ...

    def opened(self, models: Models, needs: tuple[Need, ...]) -> Planner | None:
        """The planner, with what the work needs loaded; None where its needs name no planner that takes one."""
        ...

    def check(self, request: PlanRequest) -> None:
        """Raise MissingWeights where a plan cannot be made because no planner is installed."""
        ...


class Composer:
    """Nano's composer: rules instead of weights."""

    def needs(self, request: SongRequest) -> tuple[Need, ...]:
        """None: it has no weights."""
        return ()

    def opened(self, models: Models, needs: tuple[Need, ...]) -> Planner:
        """The composer."""
        from planner.composer.planner import ComposerPlanner

        return ComposerPlanner()

    def check(self, request: PlanRequest) -> None:
        """Accept every request."""


class LanguageModelPlanner:
    """The 5 Hz language model, which plans new songs."""

    def needs(self, request: SongRequest) -> tuple[Need, ...]:
        """The planner that is named or the best that is installed."""
        if not isinstance(request, GenerateRequest) or not request.planned:
            return ()
        place = find.planner(request.planner)
        return () if place is None else (Need("planner", place),)

    def opened(self, models: Models, needs: tuple[Need, ...]) -> Planner | None:
        """The language model, if the work needs one: what is left loaded of another job plans nothing."""
        return models.planner if any(need.role == "planner" for need in needs) else None

    def check(self, request: PlanRequest) -> None:
        """Refuse where no planner is installed."""
        if not self.needs(request):
            raise MissingWeights(NO_PLANNER, BRING_ONE)


class Unplanned:
    """Nobody, where a song is made of the words at once."""

    def needs(self, request: SongRequest) -> tuple[Need, ...]:
        """None."""
        return ()

    def opened(self, models: Models, needs: tuple[Need, ...]) -> None:
        """No planner."""

    def check(self, request: PlanRequest) -> None:
        """Refuse every request."""
        rule = "must plan its songs: this one makes them from the words at once"
        raise RequestError([Fault("checkpoint", request.checkpoint, rule)], "Choose another checkpoint.")


PLANNERS: Mapping[str, PlannerKind] = MappingProxyType(
    {"composer": Composer(), "lm": LanguageModelPlanner(), "none": Unplanned()}
)
"""By the name that a recipe gives its planner."""


def billions_of(needs: tuple[Need, ...]) -> float:
    """Parameters of the planner among the needs, in billions; 0 without one."""
    return sum(need.place.checkpoint.parameters for need in needs if need.role == "planner")


@dataclass(frozen=True, kw_only=True)
class PlanWork:
    """A plan of a resolved request."""

    request: PlanRequest
    planner: str
    needs: tuple[Need, ...]
    cost: Cost
    remedy: ClassVar[str] = "Choose a smaller planner, or switch thinking off."

    def events(self, models: Models) -> Iterator[Progress | Plan]:
        """Progress, then the Plan."""
        planner = PLANNERS[self.planner].opened(models, self.needs)
        assert planner is not None and self.request.seed is not None
        yield from planner.plan(self.request, self.request.seed, Span(duration_s=self.request.music.duration_s))


class Plans:
    """Plans without songs."""

    def events(
        self, request: PlanRequest, desk: Desk, stop: threading.Event, *, fresh: bool
    ) -> Generator[Event, None, None]:
        """Progress, then the Plan that a song by this request would follow."""
        recipe = self._recipe(request, desk)
        refuse_muted(request, recipe)
        if not request.planned:
            name = "plan" if request.thinking else "thinking"
            raise RequestError([Fault(name, getattr(request, name), "leaves nothing to plan")])
        place = find.locate(desk.row(request.checkpoint))
        if place is not None and not place.has_codes:
            rule = f"must read codes, which is what a plan is: {find.no_codes(place)}"
            raise RequestError([Fault("checkpoint", place.checkpoint.name, rule)], GET_CODES)
        kind = PLANNERS[recipe.planner]
        kind.check(request)
        resolved, needs = resolve(request, recipe, secrets.randbelow), kind.needs(request)
        cost = estimates.planning(resolved.music.duration_s or LONGEST_SUNG_S, billions_of(needs))
        work = PlanWork(request=resolved, planner=recipe.planner, needs=needs, cost=cost)
        yield from desk.perform(work, stop)

    def seconds(self, request: PlanRequest, desk: Desk) -> float:
        """The planner's time, as far as the length is known."""
        needs = PLANNERS[self._recipe(request, desk).planner].needs(request)
        return estimates.planning(estimates.rendered_s(request, None), billions_of(needs)).seconds(desk.device)

    @staticmethod
    def _recipe(request: PlanRequest, desk: Desk) -> Recipe:
        return table.recipe_of(desk.row(request.checkpoint).name)
