"""The scores of a song that is there: composed once more from what its track tells, and proven to be the ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from core.errors import RequestError, StudioError
from core.params import SongRequest
from core.plans import Known, known_from
from planner.composer.planner import brief_of
from planner.composer.score import Score, compose

NOT_COMPOSED = "Nobody knows the notes of this song: the composer did not write them."
OLDER = "The notes of this song cannot be found again: this version of the composer writes others."
HINT = "Make the song again with the settings and the seed that it has, and take its notes then."


class UnknownScore(StudioError):
    """A song whose notes nobody knows."""


def is_composed(plan: Mapping[str, object]) -> bool:
    """Whether the plan of a track says that the composer wrote its song, or what is new in it."""
    return bool(plan.get("score"))


def recalled(
    request: SongRequest, seed: int, plan: Mapping[str, object], start_s: float, *later_s: tuple[float, float]
) -> tuple[Score, ...]:
    """The scores that a track was rendered from: `plan` is its plan, `start_s` the start of what is new in it.

    `later_s` are from where to where the windows after the first are. Each score counts its seconds from the start of
    its own. They are composed from the facts that the plan settled, whatever has become of the source, and handed out
    only if their digests are those in the plan. Raises UnknownScore for a song that was not composed, or whose notes
    this version would write otherwise.
    """
    if not is_composed(plan):
        raise UnknownScore(NOT_COMPOSED)
    known = known_from(plan)
    if known.music.duration_s is None:
        raise UnknownScore(OLDER, HINT)
    spans = [(start_s, known.music.duration_s), *((start, end - start) for start, end in later_s)]
    try:
        scores = tuple(compose(brief_of(request, seed, _lasting(known, length), start)) for start, length in spans)
    except RequestError as refused:  # the plan was edited, or is another version's
        raise UnknownScore(OLDER, HINT) from refused
    if " ".join(score.digest() for score in scores) != plan["score"]:
        raise UnknownScore(OLDER, HINT)
    return scores


def _lasting(known: Known, seconds: float) -> Known:
    return dataclasses.replace(known, music=dataclasses.replace(known.music, duration_s=seconds))
