"""What cards of common sizes run, by arithmetic: the table in docs/checkpoints.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

from checkpoints import table
from core.tables import DEFAULT_DURATION_S
from jobs import estimates
from networks.acestep.published import CONFIGS, HALF_BYTES, weights_of
from networks.machine import Offload
from networks.memory import Weights

CARDS_GB = (6, 8, 12, 16, 24)
OTHERS_GB = 1.0
"""What driver, framework and desktop take of a card before the first weight lies on it."""

WAYS = MappingProxyType({"none": "whole", "parts": "parts in turn", "layers": "layers one by one"})


@dataclass(frozen=True, kw_only=True)
class Tier:
    """How a family of checkpoints runs on a card: the way, its most memory in GB, and which planners go with it.

    Those `beside` it stay loaded; those `in_turn` are freed before a song is rendered, or load when a song is freed.
    """

    card_gb: int
    family: str
    offload: Offload
    needed_gb: float
    beside: tuple[str, ...]
    in_turn: tuple[str, ...]


def tier(card_gb: int, family: str, weights: Weights) -> Tier:
    """How songs of a usual length, in 16 bits, run on a card."""
    room = card_gb - OTHERS_GB
    working = estimates.working_gb(DEFAULT_DURATION_S, 1)
    offload = weights.offload(room - working)
    needed = weights.at_once(offload) + working
    sizes = {name: HALF_BYTES * table.row(name).parameters for name in reversed(table.PLANNERS)}
    beside = tuple(name for name, size in sizes.items() if needed + size <= room)
    alone = tuple(name for name, size in sizes.items() if size + estimates.PLANNING_GB <= room and name not in beside)
    return Tier(card_gb=card_gb, family=family, offload=offload, needed_gb=needed, beside=beside, in_turn=alone)


def tiers() -> Iterator[Tier]:
    """Every card with every family."""
    weighed = {family: weights_of(family) for family in CONFIGS}
    for card_gb in CARDS_GB:
        for family, weights in weighed.items():
            yield tier(card_gb, family, weights)


def tiers_table() -> str:
    """The table of docs/checkpoints.md."""
    head = "| a GPU of | checkpoint | its networks | the most at once | planners beside it | planners in turn with it |"
    rows = [head, "|---|---|---|---|---|---|"]
    for each in tiers():
        planners = (", ".join(names) or "none" for names in (each.beside, each.in_turn))
        cells = (f"{each.card_gb} GB", each.family, WAYS[each.offload], f"{each.needed_gb:.1f} GB", *planners)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"
