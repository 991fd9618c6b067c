"""Encoded conditions: what the DiT attends to besides the song, and which rows of a batch attend to which item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array")


@dataclass(frozen=True)
class EncodedCondition(Generic[Array]):
    """Encoded items: the packed states `(1, L, W)` of each, and its cross-attention cache.

    The cache holds the keys and values `(1, heads, L, D)` by item and layer; they do not depend on x_t or t.
    """

    states: tuple[Array, ...]
    cross_attention_cache: tuple[tuple[tuple[Array, Array], ...], ...]

    @property
    def items(self) -> int:
        """The number of items held."""
        return len(self.states)


def caches_by_rows(
    batch: int, conditions: Sequence[EncodedCondition[Array]]
) -> list[tuple[int, tuple[tuple[Array, Array], ...]]]:
    """The layers' keys and values of every item of the conditions, each with the number of rows that attend to it.

    One item serves a whole batch of `batch` rows; otherwise there is one for each row.
    """
    return [(batch // condition.items, cache) for condition in conditions for cache in condition.cross_attention_cache]


def distinct_items(
    texts: Sequence[str], lyrics: Sequence[str], references: Sequence[Tensor | None]
) -> list[tuple[str, str, Tensor | None]]:
    """(text, lyrics, reference) of every item; of the first alone when all are the same."""
    items = list(zip(texts, lyrics, references or [None] * len(texts), strict=True))
    first_text, first_lyrics, first_reference = items[0]
    same = all((item[0], item[1]) == (first_text, first_lyrics) and item[2] is first_reference for item in items)
    return items[:1] if same else items
