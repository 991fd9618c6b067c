"""Prompts that were read are kept: variations, retakes and the two phases of a planner begin with the same ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, Self, TypeVar

TOKENS = 128
"""A prompt of so many tokens is kept: a shorter one is soon read again."""

MOST = 2
"""So many are kept, one for each phase of a planner."""

Prompts = tuple[tuple[int, ...], ...]


class Copied(Protocol):
    """A session that can be gone on with twice."""

    def copy(self) -> Self:
        """Another session that has read the same."""
        ...


S = TypeVar("S", bound=Copied)


class Remembered(Generic[S]):
    """The sessions of the last long prompts, as they were when the prompts were read."""

    def __init__(self) -> None:
        self._kept: dict[Prompts, S] = {}

    def session(self, prompts: Sequence[Sequence[int]], read: Callable[[Prompts], S]) -> S:
        """A session that has read the prompts, for the caller alone; `read` makes it where none is kept."""
        key = tuple(tuple(prompt) for prompt in prompts)
        kept = self._kept.pop(key, None)
        session = read(key) if kept is None else kept.copy()
        if max(map(len, key)) >= TOKENS:
            while len(self._kept) >= MOST:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = kept or session.copy()
        return session

    def clear(self) -> None:
        """Nothing; the memory of what was kept is freed."""
        self._kept.clear()
