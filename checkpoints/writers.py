"""Who can write lyrics on this machine: language models that are installed, and always the built-in writer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import MappingProxyType

from checkpoints import table
from checkpoints.find import Installed, checkpoint, installed
from core.errors import Fault, MissingWeights, RequestError
from core.knobs import set_in_vain
from core.lyrics import LyricsRequest
from core.recipes import WriterRecipe

BUILT_IN = "built-in"

_NO_DICE = "the built-in writer goes by rules: only language models sample"
_ENGLISH = "the built-in writer knows English only"
_BUILT_IN_RECIPE = WriterRecipe(
    writer=BUILT_IN,
    muted=MappingProxyType(
        {
            "vocal_language": _ENGLISH,
            **dict.fromkeys(("temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens"), _NO_DICE),
        }
    ),
    fixed=MappingProxyType({"vocal_language": "en"}),
)


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Who writes: `place` is where the language model lies, None for the built-in writer, which has no weights."""

    name: str
    title: str
    recipe: WriterRecipe
    place: Installed | None = None

    @property
    def billions(self) -> float:
        """Parameters, in billions; the built-in writer has none."""
        return 0.0 if self.place is None else self.place.checkpoint.parameters


_BUILT_IN_WRITER = Writer(name=BUILT_IN, title="built-in writer", recipe=_BUILT_IN_RECIPE)


def names() -> tuple[str, ...]:
    """The writers that can be chosen on this machine, the best first."""
    return (*(row.name for row in installed("lyrics")), BUILT_IN)


def find(name: str | None = None) -> Writer:
    """The writer of that name; None takes the best there is.

    Raises RequestError for a name that no writer has, MissingWeights for one that is not installed.
    """
    if name is None:
        name = names()[0]
    if name == BUILT_IN:
        return _BUILT_IN_WRITER
    known = [row.name for row in table.CHECKPOINTS.values() if row.use == "lyrics"]
    if name not in known:
        raise RequestError([Fault("writer", name, f"must be one of {', '.join([*known, BUILT_IN])}")])
    try:
        place = checkpoint(name)
    except MissingWeights as absent:
        remedy = f"Bring it here with ./studio checkpoints download {name}, or leave the writer empty"
        hint = f"{remedy}: the built-in writer needs no weights."
        raise MissingWeights(absent.message, hint, checkpoint=absent.checkpoint) from absent
    return Writer(name=name, title=place.checkpoint.title, recipe=WriterRecipe(writer=name), place=place)


def assigned(request: LyricsRequest, writer: Writer) -> LyricsRequest:
    """The request with its writer named. Raises RequestError for knobs that were set and mean nothing to the writer."""
    faults = list(set_in_vain(request, writer.recipe.muted, writer.recipe.fixed))
    if faults:
        raise RequestError(faults, "Leave them empty, or choose a language model as the writer.")
    return dataclasses.replace(request, writer=writer.name)
