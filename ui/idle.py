"""Knobs that mean nothing now, to the weights or beside the other values: shown with the reason, and sent at rest."""

from __future__ import annotations

from collections.abc import Mapping

from backend import Studio
from checkpoints.writers import Writer
from core.errors import StudioError
from core.knobs import AUTO, knobs_of, readable
from core.lyrics import LyricsRequest
from core.params import SongRequest
from core.recipes import Recipe
from core.requests import REQUESTS
from core.resolve import idle_among, overlong, unsung
from lyrics_lm import ENGLISH_ONLY, understands
from ui.widgets import AnyRecipe


def recipe(studio: Studio, checkpoint: object) -> Recipe:
    """How a checkpoint wants to be run; of the studio's own for None and for a name that is not known."""
    try:
        return studio.recipe(None if checkpoint in (None, "", AUTO) else str(checkpoint))
    except StudioError:
        return studio.recipe()


def writer_recipe(studio: Studio, writer: object) -> AnyRecipe:
    """What a writer cannot do; of the best that is there for None and for a name that is not known."""
    return _writer(studio, writer).recipe


def _writer(studio: Studio, name: object) -> Writer:
    try:
        return studio.writer(None if name in (None, "", AUTO) else str(name))
    except StudioError:
        return studio.writer()


def idle(studio: Studio, name: str, values: Mapping[str, object]) -> dict[str, str]:
    """The knobs of an endpoint's request that mean nothing, with the reason."""
    request = REQUESTS[name]
    if issubclass(request, SongRequest):
        return idle_among(request, values, recipe(studio, values.get("checkpoint")))
    if issubclass(request, LyricsRequest):
        return idle_among(request, values, writer_recipe(studio, values.get("writer")))
    return {}


def hints(studio: Studio, name: str, values: Mapping[str, object]) -> dict[str, str]:
    """What is to be known before the run of knobs that mean something, but not what they seem to, by knob."""
    request = REQUESTS[name]
    if issubclass(request, LyricsRequest):
        brief = readable(request, values).brief
        return {} if understands(brief, _writer(studio, values.get("writer"))) else {"brief": f"It {ENGLISH_ONLY}."}
    if not issubclass(request, SongRequest):
        return {}
    asked, weights = readable(request, values), recipe(studio, values.get("checkpoint"))
    less = unsung(asked, weights)
    told = {} if less is None else {"lyrics": less}
    try:
        return told | {fault.field: fault.rule.capitalize() for fault in overlong(asked, weights)}
    except ValueError:  # the plan is being typed, which may hold the length
        return told


def rested(studio: Studio, name: str, values: Mapping[str, object]) -> dict[str, object]:
    """The values of a form as they are asked for: what it shows disabled keeps its value there, and rests here."""
    silent = idle(studio, name, values)
    return {**values, **{knob.name: knob.default for knob in knobs_of(REQUESTS[name]) if knob.name in silent}}
