"""A replica: one device with what is loaded on it, and the lock that gives it to one job at a time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from core.errors import Cancelled
from core.events import Progress
from jobs.lease import leased
from jobs.models import Models
from jobs.work import Work
from networks.machine import Machine

POLL_S = 0.1
"""How long a queued job waits for the lock before it looks whether it was cancelled."""

State = Literal["idle", "loading", "running", "ready"]
Product = TypeVar("Product")


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What a piece of work took: seconds without loading, the most memory in GB, and what was not as usual."""

    seconds: float
    peak_gb: float
    notes: tuple[str, ...]


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
        with self._locked(stop):
            self.state = "loading"
            yield from self.models.load(work.needs, work.remedy)
            self.state, started = "running", time.monotonic()
            with contextlib.closing(leased(work, self.models)) as events:
                for event in events:
                    if isinstance(event, Progress):
                        self.note = str(event)
                    yield event
            return Effort(seconds=time.monotonic() - started, peak_gb=self.models.peak_gb(), notes=self.models.notes)

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
