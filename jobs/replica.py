"""A replica: a device with what is loaded on it, or several of them elsewhere, and the line in which jobs wait."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Literal, TypeVar

from core.errors import Cancelled
from core.events import Progress, Sign
from jobs.lease import Way, leased, way_of
from jobs.line import Line, Place
from jobs.models import Models
from jobs.passing import passing
from jobs.work import Effort, Need, Work

log = logging.getLogger(__name__)

POLL_S = 0.1
"""How long a queued job waits for its turn before it looks whether it was cancelled."""

LONGEST_LINE = 21
"""The job that has the device, and those that wait, unless it is said otherwise: each holds the recordings that it
works on, 230 MB for ten minutes."""

State = Literal["idle", "loading", "running", "ready"]
Product = TypeVar("Product")


class Replica:
    """Does one piece of work at a time on each of its devices; `state` and `note` tell what was last seen of one.

    `models` are those of this process. Where work goes another `way`, they stay empty and speak for the machines there,
    of which so many are `at_once` at work. `longest` is the line before one device.
    """

    def __init__(self, models: Models, way: Way | None = None, at_once: int = 1, longest: int = LONGEST_LINE) -> None:
        self.models = models
        self.state: State = "idle"
        self.note = ""
        self._way = way or way_of(models)
        self._at_work, self._lock = 0, threading.Lock()
        self._line = Line(longest + at_once - 1, at_once)

    def perform(
        self, work: Work[Product], stop: threading.Event, owner: str = ""
    ) -> Generator[Sign | Product, None, Effort]:
        """The events of the work; returns what it took. Owners take turns where their work has to wait.

        Work that needs nothing loaded is done at once, beside whatever runs. Raises Cancelled when `stop` is set while
        it waits for its turn, Busy when too many wait already; closing the generator frees the device.
        """
        if not work.needs:
            started = time.monotonic()
            yield from work.events(self.models)
            return Effort(seconds=time.monotonic() - started, peak_gb=0.0, notes=())
        seconds = work.cost.seconds(self.models.device_kind())
        with self._line.place(owner=owner, seconds=seconds) as place:
            yield from _waited(place, stop)
            self._count(1)
            try:
                watch: Callable[[Sign | Product], Iterator[Sign | Product]] = self._watch
                return (yield from passing(leased(work, self._way, stop), watch))
            finally:
                self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            self._at_work += more
            if not self._at_work:
                self.state, self.note = ("ready" if self.models.roles else "idle"), ""

    def _watch(self, event: Sign | Product) -> Iterator[Sign | Product]:
        """The event, once `state` and `note` say what it tells."""
        if isinstance(event, Progress):
            self.state = "loading" if event.stage in ("queued", "loading") else "running"
            self.note = str(event)
        yield event

    def prepare(self, needs: Sequence[Need]) -> None:
        """Load what is needed, before any work. Raises what the networks raise."""
        with self._line.turn():
            for progress in self.models.load(needs):
                log.info("%s", progress)
            self.state = "ready"

    def close(self) -> None:
        """Wait for the work that is at it, then let go of the device."""
        with self._line.turn():
            self._way.close()


def _waited(place: Place, stop: threading.Event) -> Generator[Progress, None, None]:
    """Progress whenever fewer are before that place, until nobody is. Raises Cancelled when `stop` is set."""
    told = 0
    while before := place.before(POLL_S):
        if stop.is_set():
            raise Cancelled("The job was cancelled while it waited.")
        if before != told:
            yield Progress("queued", note=f"queued · {before} before you")
            told = before
