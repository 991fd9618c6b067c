"""Nano's planner: tempo, key, metre, form and notes by rule, before a song is rendered."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial

from core.events import Progress
from core.params import SongRequest
from core.plans import Known, Plan, Span, length_from_words, open_plan
from core.stated import length_stated
from core.steps import aside, telling
from planner.composer.score import SHORTEST_S, Brief, compose, sketch

LISTENED = "tempo and key of the source were found by listening"


class ComposerPlanner:
    """Nano's planner: a rule-based composer writes notes, and its sketch guides the network.

    Inside a song (Extend, Edit) it goes on in the tempo, key and bars of the surroundings.
    """

    name = "composer"

    def plan(self, request: SongRequest, seed: int, span: Span) -> Iterator[Progress | Plan]:
        """Progress, then the Plan with its guide over the span."""
        told = Progress("planning", note="composing")
        yield told
        known = span.surroundings or Known()
        duration_s = span.duration_s or length_stated(request.prompt) or length_from_words(request.lyrics)
        plan = open_plan(request, duration_s, known)
        score = compose(brief_of(request, seed, Known(music=plan.music, anchor_s=plan.anchor_s), span.start_s))
        music = dataclasses.replace(
            plan.music, bpm=score.bpm, keyscale=score.keyscale, timesignature=str(score.timesignature)
        )
        guide = yield from telling(told, aside(partial(sketch, score)))
        notes = (score.summary(), *([LISTENED] if known.listened else ()))
        yield dataclasses.replace(
            plan, music=music, planner=self.name, notes=notes, score=score.digest(), guides=(guide,)
        )


def brief_of(request: SongRequest, seed: int, known: Known, start_s: float) -> Brief:
    """What is composed for a request: `known` are the facts, a length among them, and a downbeat of its song.

    What is composed begins at `start_s` of the song.
    """
    assert known.music.duration_s is not None, "a plan has a length"
    return Brief(
        # The tags of lyrics that nobody sings still tell the form; of a shorter span the beginning counts.
        music=dataclasses.replace(
            known.music, lyrics=request.lyrics, duration_s=max(known.music.duration_s, SHORTEST_S)
        ),
        instrumental=request.wordless,
        seed=seed,
        anchor_s=known.anchor_s - start_s,
        opens=not request.from_source,
        closes=not request.from_source,
    )
