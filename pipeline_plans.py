"""The first stage of a song: one plan for each variation, by a planner, by hand, or by nobody."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import TYPE_CHECKING

from core.events import Progress
from core.params import GenerateRequest
from core.plans import Known, Plan, Planner, open_plan
from core.tables import DEFAULT_DURATION_S
from library.analysis import listen

if TYPE_CHECKING:
    from pipeline import Job

NO_PLANNER = "no planner is installed: rendered from the words alone; ./studio checkpoints download lm-1.7b brings one"
SWITCHED_OFF = "the planner was switched off: rendered from the words alone"
BY_HAND = "given"
"""Who planned a song whose codes the user brought along."""


def plans_of(job: Job, planner: Planner | None, rate: int) -> Generator[Progress, None, list[Plan]]:
    """Progress; returns one plan for each variation, all of one length."""
    request = job.request
    yield Progress("planning")
    known = None if job.source is None else job.source.known
    if job.source is not None and known is None and planner is not None:
        yield Progress("planning", note="listening to the source")
        known = listen(job.source.audio, rate)
    if planner is None or not request.planned:
        return [_unplanned(job, rate, known)] * request.variations
    span = job.span(rate, known)
    plans: list[Plan] = []
    for seed in job.seeds:
        for event in planner.plan(request, seed, span):
            if isinstance(event, Plan):
                plans.append(event)
            else:
                yield event
        span = dataclasses.replace(span, duration_s=plans[0].duration_s)
    return plans


def _unplanned(job: Job, rate: int, known: Known | None) -> Plan:
    """The plan without a planner: as it was given, or with what goes undecided said."""
    duration_s, codes, notes = job.duration_s(rate), None, []
    if isinstance(job.request, GenerateRequest):
        codes = job.request.own_plan.codes
        if codes is None:
            notes.append(NO_PLANNER if job.request.thinking else SWITCHED_OFF)
    if duration_s is None:
        notes.append(f"nobody chose a length: {DEFAULT_DURATION_S:g} seconds")
    plan = open_plan(job.request, duration_s or DEFAULT_DURATION_S, known, tuple(notes))
    return plan if codes is None else dataclasses.replace(plan, codes=codes, planner=BY_HAND)
