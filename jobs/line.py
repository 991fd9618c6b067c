"""The line before the devices: one job at a time on each, first come, first served, and each knows its place."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import Busy


class Line:
    """A lock that serves in the order of arrival: so many at once, while `longest` is how many may be in it."""

    def __init__(self, longest: int, at_once: int = 1) -> None:
        self._longest, self._at_once = longest, at_once
        self._places: deque[Place] = deque()
        self._moved = threading.Condition()

    @contextmanager
    def place(self, *, urgent: bool = False) -> Iterator[Place]:
        """A place at the end, given up on leaving; nobody is served before its `before` is 0.

        Raises Busy when the line is full, unless it is urgent.
        """
        place = Place(self)
        with self._moved:
            if len(self._places) >= self._longest and not urgent:
                raise Busy(f"Too many jobs wait: {len(self._places)} before this one.", "Try again in a while.")
            self._places.append(place)
        try:
            yield place
        finally:
            with self._moved:
                self._places.remove(place)
                self._moved.notify_all()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until all who came before have left, however long the line is."""
        with self.place(urgent=True) as place:
            with self._moved:
                self._moved.wait_for(lambda: self._places[0] is place)
            yield

    def before(self, place: Place, wait_s: float | None) -> int:
        """How many are before that place, once it is 0 or after so many seconds."""

        def ahead() -> int:
            return max(0, self._places.index(place) + 1 - self._at_once)

        with self._moved:
            self._moved.wait_for(lambda: not ahead(), wait_s)
            return ahead()


class Place:
    """A place in a line."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def before(self, wait_s: float | None) -> int:
        """How many are served before this one, as soon as nobody is or after so many seconds; None waits on."""
        return self._line.before(self, wait_s)
