"""A replica: one device with what is loaded on it, and the lock that gives it to one job at a time."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Literal, TypeVar

from core.errors import Cancelled
from core.events import Progress
from jobs.lease import leased
from jobs.models import Models
from jobs.work import Effort, Need, Work
from networks.machine import Machine

log = logging.getLogger(__name__)

POLL_S = 0.1
"""How long a queued job waits for the lock before it looks whether it was cancelled."""

State = Literal["idle", "loading", "running", "ready"]
Product = TypeVar("Product")


class Replica:
    """Does one piece of work at a time; `state` and `note` tell what it is at."""

    def __init__(self, machine: Machine) -> None:
        self.models = Models(machine)
        self.state: State = "idle"
        self.note = ""
        self._lock = threading.Lock()

    def perform(self, work: Work[Product], stop: threading.Event) -> Generator[Progress | Product, None, Effort]:
        """The events of the work; returns what it took.

        Work that needs nothing loaded is done at once, beside whatever runs. Raises Cancelled when `stop` is set while
        it waits for its turn; closing the generator frees the lock.
        """
        if not work.needs:
            started = time.monotonic()
            yield from work.events(self.models)
            return Effort(seconds=time.monotonic() - started, peak_gb=0.0, notes=())
        with self._locked(stop), contextlib.closing(leased(work, self.models)) as events:
            return (yield from self._told(events))

    def _told(self, events: Generator[Progress | Product, None, Effort]) -> Generator[Progress | Product, None, Effort]:
        """The events, with `state` and `note` kept by what they tell."""
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                effort: Effort = end.value
                return effort
            if isinstance(event, Progress):
                self.state = "loading" if event.stage in ("queued", "loading") else "running"
                self.note = str(event)
            yield event

    def prepare(self, needs: Sequence[Need]) -> None:
        """Load what is needed, before any work. Raises what the networks raise."""
        with self._lock:
            for progress in self.models.load(needs):
                log.info("%s", progress)
            self.state = "ready"

    @contextlib.contextmanager
    def _locked(self, stop: threading.Event) -> Iterator[None]:
        while not self._lock.acquire(timeout=POLL_S):
            if stop.is_set():
                raise Cancelled("The job was cancelled while it waited.")
        try:
            yield
        finally:
            self.state, self.note = ("ready" if self.models.roles else "idle"), ""
            self._lock.release()

    def close(self) -> None:
        """Wait for the work that is at it, then free the weights."""
        with self._lock:
            self.models.free()
