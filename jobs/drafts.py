"""Drafts of a form: which drafter serves a request, and what is refused before it begins."""

from __future__ import annotations

import dataclasses
import secrets
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from checkpoints import find, table
from core.drafts import Draft, DraftRequest, UnderstandRequest
from core.errors import RequestError
from core.events import Progress
from core.knobs import knobs_of, set_in_vain
from core.params import PlannerKnobs
from core.resolve import seeded
from core.steps import telling
from jobs import estimates
from jobs.desk import Desk, Event
from jobs.estimates import Cost
from jobs.models import Models
from jobs.songs import READING
from jobs.work import Need
from library import decoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NO_EARS = (
    "tempo and key were found by listening; a planner hears through an ACE-Step checkpoint that writes audio codes, "
    "and none is installed: ./studio checkpoints download xl-sft brings one"
)
_NO_MODEL = "means something to a planner model only, and none is installed"


@dataclass(frozen=True, kw_only=True)
class BuiltInWork:
    """A draft by the drafter that has no weights, with notes that replace its own if there are any."""

    request: DraftRequest
    seed: int
    notes: tuple[str, ...] = ()
    needs: ClassVar[tuple[Need, ...]] = ()
    cost: ClassVar[Cost] = Cost()
    remedy: ClassVar[str] = ""

    def events(self, models: Models) -> Iterator[Progress | Draft]:
        """Progress, then the Draft."""
        from planner.builtin_drafter import BuiltinDrafter

        for event in self.request.drafted_by(BuiltinDrafter(), self.seed):
            if isinstance(event, Draft) and self.notes:
                event = dataclasses.replace(event, notes=self.notes)
            yield event


@dataclass(frozen=True, kw_only=True)
class ModelWork:
    """A draft by a planner that is a language model, the last of its needs.

    A recording `(2, S)` is heard through a song's networks, the first of them.
    """

    request: DraftRequest
    wave: NDArray[np.float32] | None
    needs: tuple[Need, ...]
    cost: Cost
    remedy: ClassVar[str] = "Choose a smaller planner."

    def events(self, models: Models) -> Iterator[Progress | Draft]:
        """Progress, then the Draft."""
        from planner.lm.drafter import LmDrafter, heard

        codes = () if self.wave is None else (yield from heard(self.wave, models.song))
        yield from models.bring(self.needs[-1])
        assert self.request.seed is not None
        yield from self.request.drafted_by(LmDrafter(models.planner, codes), self.request.seed)


class Drafts:
    """Forms filled in by the best drafter that is installed."""

    def events(
        self, request: DraftRequest, desk: Desk, stop: threading.Event, *, fresh: bool
    ) -> Generator[Event, None, None]:
        """Progress, then one Draft with its seed."""
        work = yield from self._work(request)
        yield from desk.perform(work, stop)

    def seconds(self, request: DraftRequest, desk: Desk) -> float:
        """The planner's time; the built-in drafter is quicker than anyone reads."""
        planner = find.planner(request.planner)
        cost = estimates.tokens(estimates.DRAFT_TOKENS, planner.checkpoint.parameters) if planner else Cost()
        return cost.seconds(desk.device)

    def _work(self, request: DraftRequest) -> Generator[Progress, None, BuiltInWork | ModelWork]:
        """Progress while a recording is read; returns the work of the drafter that serves the request.

        Raises RequestError for a recording that cannot be used and for knobs that mean nothing to the drafter,
        MissingWeights for a planner that is not installed.
        """
        seed = seeded(request, secrets.randbelow).seed
        assert seed is not None
        planner = find.planner(request.planner)
        if planner is None:
            faults = list(
                set_in_vain(request, dict.fromkeys((knob.name for knob in knobs_of(PlannerKnobs)), _NO_MODEL))
            )
            if faults:
                raise RequestError(faults)
            return BuiltInWork(request=request, seed=seed)
        wave = None
        needs: tuple[Need, ...] = (Need("planner", planner),)
        if isinstance(request, UnderstandRequest):
            assert request.src_audio is not None
            yield READING
            wave = yield from telling(READING, decoder.loading(request.src_audio, "src_audio"))
            songs = (row for row in find.installed() if table.recipe_of(row.name).planner == "lm")
            ears = next((place for row in songs if (place := find.checkpoint(row.name)).has_codes), None)
            if ears is None:
                return BuiltInWork(request=request, seed=seed, notes=(NO_EARS,))
            needs = (Need("song", ears), *needs)
        return ModelWork(
            request=dataclasses.replace(request, seed=seed),
            wave=wave,
            needs=needs,
            cost=estimates.tokens(estimates.DRAFT_TOKENS, planner.checkpoint.parameters),
        )
