"""The score of a song that is there: composed once more from what its track tells, and proven to be the one."""

from __future__ import annotations

from collections.abc import Mapping

from core.errors import RequestError, StudioError
from core.params import SongRequest
from core.plans import known_from
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


def recalled(request: SongRequest, seed: int, plan: Mapping[str, object], start_s: float) -> Score:
    """The score that a track was rendered from: `plan` is its plan, `start_s` the start of what is new in it.

    The score counts its seconds from there. It is composed from the facts that the plan settled, whatever has become of
    the source, and handed out only if its digest is the one in the plan. Raises UnknownScore for a song that was not
    composed, or whose notes this version would write otherwise.
    """
    if not is_composed(plan):
        raise UnknownScore(NOT_COMPOSED)
    known = known_from(plan)
    if known.music.duration_s is None:
        raise UnknownScore(OLDER, HINT)
    try:
        score = compose(brief_of(request, seed, known, start_s))
    except RequestError as refused:  # the plan was edited, or is another version's
        raise UnknownScore(OLDER, HINT) from refused
    if score.digest() != plan["score"]:
        raise UnknownScore(OLDER, HINT)
    return score
