"""The line before the devices: one job at a time on each, owners take turns, and everybody knows their place."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from core.errors import Busy

SOON_S = 10.0
"""When to ask again, where nobody knows how long the work takes that is at it."""


class Line:
    """A lock for so many at once, in which owners take turns, while `longest` is how many places there are.

    Whoever comes is served after all who wait then, and one job of each of them at the most: who has many jobs in the
    line delays their own.
    """

    def __init__(self, longest: int, at_once: int = 1) -> None:
        self._longest, self._at_once = longest, at_once
        self._places: list[Place] = []
        self._turns: dict[str, int] = {}
        self._clock = count(1)
        self._moved = threading.Condition()

    @contextmanager
    def place(self, *, owner: str = "", seconds: float | None = None, urgent: bool = False) -> Iterator[Place]:
        """A place of that owner's, given up on leaving; nobody is served before its `before` is 0.

        `seconds` is how long its work is likely to take. Raises Busy when the line is full, unless it is urgent.
        """
        with self._moved:
            if len(self._places) >= self._longest and not urgent:
                raise Busy(f"Too many jobs wait: {len(self._places)} before this one.", f"Try again in {self._wait()}.")
            place = Place(self, owner, next(self._clock), seconds)
            self._places.append(place)
            self._serve()
        try:
            yield place
        finally:
            with self._moved:
                self._places.remove(place)
                self._serve()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn of one's own, and until all have left who were served before, however long the line is."""
        with self.place(urgent=True) as place:
            with self._moved:
                self._moved.wait_for(
                    lambda: place.served and not any(each.served and each.came < place.came for each in self._places)
                )
            yield

    def before(self, place: Place, wait_s: float | None) -> int:
        """How many are before that place, once it is 0 or after so many seconds."""
        with self._moved:
            self._moved.wait_for(lambda: not place.ahead, wait_s)
            return place.ahead

    def _serve(self) -> None:
        """Give every place its number; whoever has none before them is served from now on, come who may."""
        served = [place for place in self._places if place.served]
        free = self._at_once - len(served)
        for ahead, place in enumerate(self._in_turn(), start=1):
            place.ahead = max(0, ahead - free)
            if not place.ahead:
                place.served = True
                self._turns[place.owner] = next(self._clock)
        if not self._places:
            self._turns.clear()
        self._moved.notify_all()

    def _in_turn(self) -> Iterator[Place]:
        """Who waits, in the order in which they will be served."""
        waiting: dict[str, deque[Place]] = defaultdict(deque)
        for place in sorted(self._places, key=lambda each: each.came):
            if not place.served:
                waiting[place.owner].append(place)
        # An owner has had a turn when they were last served, or comes to the end of the ring.
        ring = deque(sorted(waiting, key=lambda owner: self._turns.get(owner, waiting[owner][0].came)))
        while ring:
            owner = ring.popleft()
            yield waiting[owner].popleft()
            if waiting[owner]:
                ring.append(owner)

    def _wait(self) -> str:
        """How long the shortest work takes that is at it, in round words."""
        known = [place.seconds for place in self._places if place.served and place.seconds]
        seconds = max(SOON_S, min(known, default=SOON_S))
        return f"about {round(seconds / 10) * 10} s" if seconds < 90 else f"about {round(seconds / 60)} min"


class Place:
    """A place in a line: whose it is, and how many are ahead of it."""

    def __init__(self, line: Line, owner: str, came: int, seconds: float | None) -> None:
        self.owner, self.came, self.seconds = owner, came, seconds
        self.ahead, self.served = 1, False
        self._line = line

    def before(self, wait_s: float | None) -> int:
        """How many are served before this one, as soon as nobody is or after so many seconds; None waits on."""
        return self._line.before(self, wait_s)
