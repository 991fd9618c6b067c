"""A piece of work: what it needs loaded, what it costs, and the events that doing it yields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from checkpoints import table
from core.events import Sign
from jobs.estimates import Cost

if TYPE_CHECKING:
    from checkpoints.find import Installed
    from jobs.models import Models

Role = Literal["song", "planner", "writer", "stems"]
"""As what weights are loaded: a song's networks, the language models that plan and write lyrics, what separates."""

Product_co = TypeVar("Product_co", covariant=True)


@dataclass(frozen=True)
class Need:
    """Weights that must be loaded, and as what."""

    role: Role
    place: Installed

    @property
    def gigabytes(self) -> float:
        """What is read to load them."""
        rows = [self.place.checkpoint]
        if self.place.companion and self.place.checkpoint.companion:
            rows.append(table.row(self.place.checkpoint.companion))
        return sum(row.bytes for row in rows) / 1e9


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What a piece of work took: seconds without loading, the most memory in GB, and what was not as usual."""

    seconds: float
    peak_gb: float
    notes: tuple[str, ...]


class Work(Protocol[Product_co]):
    """What a job does once it is its turn. Plain data: on a Space it crosses into the process that holds the GPU.

    Doing the same work again yields the same products in the same order. `remedy` is what the user can do when the
    device has not enough memory for it.
    """

    @property
    def needs(self) -> tuple[Need, ...]:
        """What must be loaded, in the order in which it is used; work that needs nothing waits for nobody."""
        ...

    @property
    def cost(self) -> Cost:
        """What it asks of the device at the most."""
        ...

    @property
    def remedy(self) -> str:
        """One thing to do when memory runs out."""
        ...

    def events(self, models: Models) -> Iterator[Sign | Product_co]:
        """What tells of it, and products, with the first of its needs loaded.

        The others are loaded as far as they have room beside it; `Models.bring` sees to each when it is its turn.
        """
        ...
