"""Jobs in threads of their own: a stream of events that never falls silent and that anyone can stop by its name."""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
import uuid
from collections.abc import Callable, Generator
from typing import TypeVar

from core.errors import Cancelled
from core.events import Progress, TextDelta

HEARTBEAT_S = 1.0
"""A waiting caller hears something at least this often: proxies drop silent streams."""

Result = TypeVar("Result")


class Workers:
    """Runs jobs, each in a thread of its own, and knows by name which of them are running."""

    def __init__(self) -> None:
        self._stops: dict[str, threading.Event] = {}

    def run(
        self, events: Callable[[threading.Event], Generator[Result, None, None]], job: str | None = None
    ) -> Generator[Progress | Result, None, None]:
        """The events of a job, at least one a second; the first, which is Progress, comes at once.

        `events(stop)` is called in the job's thread and closed there; it looks at `stop` only where it waits. `job` is
        the name by which `cancel` knows it. Raises what the job raises; Cancelled after a cancel. Closing the generator
        is a cancel too, and does not wait.
        """
        stop = threading.Event()
        name = job or uuid.uuid4().hex
        self._stops[name] = stop
        inbox: queue.SimpleQueue[Progress | Result | BaseException | None] = queue.SimpleQueue()
        context = contextvars.copy_context()
        worker = threading.Thread(
            target=context.run, args=(_work, events, stop, inbox), name=f"job-{name[:8]}", daemon=True
        )
        try:
            latest = Progress("queued")
            yield latest
            worker.start()
            while True:
                try:
                    item = inbox.get(timeout=HEARTBEAT_S)
                except queue.Empty:
                    yield latest
                    continue
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                if isinstance(item, Progress):
                    latest = item
                yield item
        finally:
            stop.set()
            self._stops.pop(name, None)

    def cancel(self, job: str) -> bool:
        """Whether there was such a job; it ends within one step."""
        stop = self._stops.get(job)
        if stop is not None:
            stop.set()
        return stop is not None

    def cancel_all(self) -> None:
        """Tell every job to end within one step."""
        for stop in list(self._stops.values()):
            stop.set()


def _work(
    events: Callable[[threading.Event], Generator[Result, None, None]],
    stop: threading.Event,
    inbox: queue.SimpleQueue[Progress | Result | BaseException | None],
) -> None:
    """Put the job's events into the inbox, and at last None or the exception that ended it."""
    try:
        with contextlib.closing(events(stop)) as stream:
            for event in stream:
                inbox.put(event)
                # With its first result a job is done: the rest is saved rather than half of it lost.
                if stop.is_set() and isinstance(event, Progress | TextDelta):
                    raise Cancelled("The job was cancelled.")
        inbox.put(None)
    except Exception as error:
        inbox.put(error)
