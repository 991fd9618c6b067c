"""Jobs in threads of their own: streams of events that never fall silent, that anyone can stop by a job's name.

A job belongs to the studio. Who asked for it may go away and come back: it runs on, and tells again what it told.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Generic, TypeVar

from core.errors import Cancelled, StudioError
from core.events import Preview, Progress, Sign, TextDelta
from core.steps import leave_when
from networks.machine import return_free_memory

HEARTBEAT_S = 1.0
"""A waiting caller hears something at least this often: proxies drop silent streams."""

UNHEARD = 20
"""So many jobs that ended while nobody listened are kept for whoever comes back."""

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Events = Callable[[threading.Event], Generator[Result, None, None]]


@dataclass(frozen=True)
class _End:
    """The end of a job, and the exception that was it, if any."""

    error: Exception | None = None


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A job as the studio keeps it: its name, what was asked for, and whose it is.

    While it waits for its turn and nobody listens, it is dropped after `grace_s`; None keeps it.
    """

    job: str
    asked: str = ""
    owner: str = ""
    grace_s: float | None = None


class Run(Generic[Result]):
    """One job at work: what it told, who listens, and how it ended."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.stop = threading.Event()
        self.over = threading.Event()
        self.ended = False
        self.heard = False
        self._begun = False
        self._told: list[Progress | Result | _End] = [Progress("queued")]
        self._inboxes: list[queue.SimpleQueue[Progress | Result | _End]] = []
        self._grace: threading.Timer | None = None
        self._lock = threading.Lock()

    def tell(self, event: Progress | Result | _End) -> None:
        """Pass an event on to all who listen, and keep it for who comes later.

        Of progress in a row only the last is kept, and of previews, which nobody hears any more when the job is over.
        """
        with self._lock:
            if isinstance(event, Preview | _End):
                self._told = [each for each in self._told if not isinstance(each, Preview)]
            if len(self._told) > 1 and isinstance(event, Progress) and isinstance(self._told[-1], Progress):
                self._told[-1] = event
            else:
                self._told.append(event)
            self._begun |= not (isinstance(event, Progress) and event.stage == "queued")
            self.ended |= isinstance(event, _End)
            for inbox in self._inboxes:
                inbox.put(event)
            unheard = not self._inboxes
        error = event.error if isinstance(event, _End) else None
        if unheard and error is not None and not isinstance(error, StudioError):
            log.error("a job failed while nobody listened", exc_info=error)

    def events(self) -> Generator[Progress | Result, None, None]:
        """What it told and tells, at least once a second. Raises what the job raises; closing it ends nothing."""
        inbox: queue.SimpleQueue[Progress | Result | _End] = queue.SimpleQueue()
        self._come(inbox)
        try:
            latest, since = Progress("queued"), time.monotonic()
            while True:
                try:
                    item = inbox.get(timeout=HEARTBEAT_S)
                except queue.Empty:
                    yield latest.after(time.monotonic() - since)
                    continue
                if isinstance(item, _End):
                    self.heard = True
                    if item.error is not None:
                        raise item.error
                    return
                if isinstance(item, Progress):
                    latest, since = item, time.monotonic()
                yield item
        finally:
            self._go(inbox)

    def _come(self, inbox: queue.SimpleQueue[Progress | Result | _End]) -> None:
        with self._lock:
            for event in self._told:
                inbox.put(event)
            self._inboxes.append(inbox)
            if self._grace is not None:
                self._grace.cancel()

    def _go(self, inbox: queue.SimpleQueue[Progress | Result | _End]) -> None:
        with self._lock:
            self._inboxes.remove(inbox)
            if self._inboxes or self.ended or self._begun or self.ticket.grace_s is None:
                return
            self._grace = threading.Timer(self.ticket.grace_s, self._drop)
            self._grace.daemon = True
            self._grace.start()

    def _drop(self) -> None:
        with self._lock:
            if not self._inboxes and not self._begun:
                self.stop.set()

    def work(self, events: Events[Result]) -> None:
        """Do the job, and tell what it tells."""
        leave_when(self.stop.is_set)
        try:
            with contextlib.closing(events(self.stop)) as stream:
                for event in stream:
                    self.tell(event)
                    # With its first result a job is done: the rest is saved rather than half of it lost.
                    if self.stop.is_set() and isinstance(event, Sign | TextDelta):
                        raise Cancelled("The job was cancelled.")
            self.tell(_End())
        except Exception as error:
            self.tell(_End(error))
        except BaseException as leaving:  # what means to end the thread ends it: here is its end, and it must be heard
            log.error("a job's thread was ended", exc_info=leaving)
            self.tell(_End(StudioError(f"The job ended at once: {leaving!r}.", "Ask for it again.")))


class Workers(Generic[Result]):
    """Runs jobs, each in a thread of its own, and knows by name which of them there are."""

    def __init__(self) -> None:
        self._runs: dict[str, Run[Result]] = {}
        self._lock = threading.Lock()

    def run(self, events: Events[Result], job: str | None = None) -> Generator[Progress | Result, None, None]:
        """The events of a job, at least one a second; the first, which is Progress, comes at once.

        `events(stop)` is called in the job's thread and closed there; it looks at `stop` only where it waits. `job` is
        the name by which `cancel` knows it. Raises what the job raises; Cancelled after a cancel. Closing the generator
        is a cancel too, and does not wait.
        """
        ticket = Ticket(job=job or uuid.uuid4().hex)
        run = self._begin(events, ticket)
        try:
            yield from run.events()
        finally:
            run.stop.set()
            self._forget(run)

    def begin(self, events: Events[Result], ticket: Ticket) -> None:
        """Begin a job that runs on, whether or not anybody follows it."""
        self._begin(events, ticket)

    def follow(self, job: str) -> Generator[Progress | Result, None, None]:
        """The events of a job that was begun, from its first: of progress in a row that is over only the last.

        Raises what the job raises. Closing the generator ends nothing; a job whose end was told is forgotten.
        """
        with self._lock:
            run = self._runs.get(job)
        if run is None:
            raise StudioError("The job is not known any more.", "What it made is in the library.")
        try:
            yield from run.events()
        finally:
            if run.heard:
                self._forget(run)

    def tickets(self, *, ended: bool) -> list[Ticket]:
        """The jobs that are running, or those that ended while nobody listened; the newest first."""
        with self._lock:
            return [run.ticket for run in reversed(self._runs.values()) if run.ended is ended]

    def cancel(self, job: str) -> bool:
        """Whether there was such a job; it ends within one step."""
        with self._lock:
            run = self._runs.get(job)
        if run is None or run.ended:
            return False
        run.stop.set()
        return True

    def cancel_all(self) -> None:
        """Tell every job to end within one step."""
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.stop.set()

    def wait(self, wait_s: float | None = None) -> bool:
        """Whether every job has ended, at the latest after so many seconds: what they saved is saved."""
        deadline = None if wait_s is None else time.monotonic() + wait_s
        with self._lock:
            runs = list(self._runs.values())
        return all(run.over.wait(None if deadline is None else max(0.0, deadline - time.monotonic())) for run in runs)

    def _begin(self, events: Events[Result], ticket: Ticket) -> Run[Result]:
        """Begin a job in a thread, which sees the caller's context variables: a GPU is leased in their name."""
        run: Run[Result] = Run(ticket)
        with self._lock:
            self._runs[ticket.job] = run
            for old in [each for each in self._runs.values() if each.ended][:-UNHEARD]:
                del self._runs[old.ticket.job]
        context = contextvars.copy_context()
        name = f"job-{ticket.job[:8]}"
        threading.Thread(target=context.run, args=(self._work, run, events), name=name, daemon=True).start()
        return run

    def _work(self, run: Run[Result], events: Events[Result]) -> None:
        try:
            run.work(events)
            with self._lock:
                at_rest = all(each.ended for each in self._runs.values())
            if at_rest:  # beside others at work it would hold them up
                return_free_memory()
        finally:
            run.over.set()

    def _forget(self, run: Run[Result]) -> None:
        with self._lock:
            if self._runs.get(run.ticket.job) is run:
                del self._runs[run.ticket.job]
