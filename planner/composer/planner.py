"""The planners: who decides tempo, key, metre, form and notes before a song is rendered."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from core.events import Progress
from core.params import SongRequest
from core.plans import Facts, Plan, Stretch, length_from_words, open_plan
from planner.composer.score import Brief, compose, sketch

SHORTEST_S = 0.5
"""The composer writes no less; of a shorter stretch it is the beginning that counts."""


class ComposerPlanner:
    """Nano's planner: a rule-based composer writes notes, and its sketch guides the network.

    Inside a song (Extend, Edit) it goes on in the tempo, key and bars of the surroundings.
    """

    name = "composer"

    def plan(self, request: SongRequest, seed: int, stretch: Stretch) -> Iterator[Progress | Plan]:
        """One Progress, then the Plan with its guide over the stretch."""
        yield Progress("planning", note="composing")
        known = stretch.surroundings or Facts()
        duration_s = length_from_words(request.lyrics) if stretch.duration_s is None else stretch.duration_s
        draft = open_plan(request, duration_s, stretch.surroundings)
        inside = stretch.surroundings is not None
        metre = draft.timesignature
        score = compose(
            Brief(
                prompt=draft.caption,
                lyrics=request.lyrics,
                instrumental=bool(getattr(request, "instrumental", False)),
                bpm=draft.bpm,
                keyscale=draft.keyscale,
                timesignature=int(metre) if metre else None,
                duration_s=max(duration_s, SHORTEST_S),
                seed=seed,
                anchor_s=known.anchor_s - stretch.start_s,
                opens=not inside,
                closes=not inside,
            )
        )
        yield dataclasses.replace(
            draft,
            bpm=score.bpm,
            keyscale=score.keyscale,
            timesignature=str(score.timesignature),
            planner=self.name,
            notes=(score.summary(), *_heard(known)),
            guide=sketch(score),
        )


def _heard(facts: Facts) -> tuple[str, ...]:
    return ("tempo and key of the source were found by listening",) if facts.heard else ()
