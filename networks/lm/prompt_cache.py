"""Sessions of prompts that were read before: variations, retakes and both phases of a planner share their prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, Self, TypeVar

MIN_TOKENS = 128
"""The shortest prompt that is cached: a shorter one is soon read again."""

MAX_SESSIONS = 2
"""One for each phase of a planner."""

PromptIds = tuple[tuple[int, ...], ...]
"""The token ids of a batch of prompts."""


class Copyable(Protocol):
    """A session that can be continued more than once."""

    def copy(self) -> Self:
        """Another session that has read the same."""
        ...


S = TypeVar("S", bound=Copyable)


class PromptCache(Generic[S]):
    """The sessions of the last long prompts, as they were when the prompts had been read."""

    def __init__(self) -> None:
        self._sessions: dict[PromptIds, S] = {}

    def session(self, prompts: Sequence[Sequence[int]], prefill: Callable[[PromptIds], S]) -> S:
        """A session that has read the prompts, for the caller alone; `prefill` makes one that is not cached."""
        key = tuple(tuple(prompt) for prompt in prompts)
        cached = self._sessions.pop(key, None)
        session = prefill(key) if cached is None else cached.copy()
        if max(map(len, key)) >= MIN_TOKENS:
            while len(self._sessions) >= MAX_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[key] = cached or session.copy()
        return session

    def clear(self) -> None:
        """Free the memory of the cached sessions."""
        self._sessions.clear()
