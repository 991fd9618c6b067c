"""Nano's planner: tempo, key, metre, form and notes by rule, before a song is rendered."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from core.events import Progress
from core.params import SongRequest
from core.plans import Known, Plan, Span, length_from_words, open_plan
from planner.composer.score import SHORTEST_S, Brief, compose, sketch

LISTENED = "tempo and key of the source were found by listening"


class ComposerPlanner:
    """Nano's planner: a rule-based composer writes notes, and its sketch guides the network.

    Inside a song (Extend, Edit) it goes on in the tempo, key and bars of the surroundings.
    """

    name = "composer"

    def plan(self, request: SongRequest, seed: int, span: Span) -> Iterator[Progress | Plan]:
        """One Progress, then the Plan with its guide over the span."""
        yield Progress("planning", note="composing")
        known = span.surroundings or Known()
        duration_s = length_from_words(request.lyrics) if span.duration_s is None else span.duration_s
        plan = open_plan(request, duration_s, known)
        inside = span.surroundings is not None
        score = compose(
            Brief(
                # The tags of lyrics that nobody sings still tell the form; of a shorter span the beginning counts.
                music=dataclasses.replace(plan.music, lyrics=request.lyrics, duration_s=max(duration_s, SHORTEST_S)),
                instrumental=request.wordless,
                seed=seed,
                anchor_s=known.anchor_s - span.start_s,
                opens=not inside,
                closes=not inside,
            )
        )
        music = dataclasses.replace(
            plan.music, bpm=score.bpm, keyscale=score.keyscale, timesignature=str(score.timesignature)
        )
        notes = (score.summary(), *([LISTENED] if known.listened else ()))
        yield dataclasses.replace(plan, music=music, planner=self.name, notes=notes, guide=sketch(score))
