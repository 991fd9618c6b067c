"""Bytes on their way, counted, as events."""

from __future__ import annotations

import time
from collections import deque

from core.events import Stage, Transfer

EVENT_S = 0.2
"""At least so much time lies between two events of one meter."""

SHORTEST_S, WINDOW_S = 0.05, 10.0
"""The rate is that of the last seconds: an average over a long pause would promise too much time."""


class Meter:
    """How far a transfer of `total` bytes is, and how fast it goes."""

    def __init__(self, stage: Stage, total: int = 0) -> None:
        self.stage = stage
        self.total = total
        self.done = 0
        self._last_s = 0.0
        self._marks: deque[tuple[float, int]] = deque()

    def jump(self, done: int) -> None:
        """Set the count to so many bytes, which says nothing about the rate."""
        self.done = done
        self._marks = deque([(time.monotonic(), done)])

    def add(self, count: int) -> None:
        """Count so many bytes more."""
        self.done += count

    def due(self) -> bool:
        """Whether it is time for the next event."""
        return time.monotonic() - self._last_s >= EVENT_S

    def event(self, note: str = "") -> Transfer:
        """Where the transfer stands."""
        self._last_s = time.monotonic()
        self._marks.append((self._last_s, self.done))
        while self._last_s - self._marks[0][0] > WINDOW_S:
            self._marks.popleft()
        (start, before), (now, done) = self._marks[0], self._marks[-1]
        rate = (done - before) / (now - start) if now - start >= SHORTEST_S else None
        left_s = (self.total - done) / rate if rate and self.total else None
        return Transfer(self.stage, done, self.total, left_s, note, bytes_per_s=rate)
