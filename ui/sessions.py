"""The jobs of every browser session: started, followed, found again and stopped, whatever page they came from."""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass

from backend import Studio
from core.errors import Cancelled
from core.knobs import parse
from core.requests import REQUESTS, Request
from jobs.desk import Event
from jobs.workers import Ticket
from ui.idle import rested
from ui.visitors import Visitors

GRACE_S = 120.0
"""How long a stranger's job waits on in the line when its page is gone: a reload, or a phone in a pocket for a moment.
Whoever is away for longer should not keep others waiting."""

KEY_CHARS = 64
"""Longer names of a browser are cut: it says them by itself."""


@dataclass(frozen=True, kw_only=True)
class Then:
    """With what a job goes on: the request of that name, with the values that its last event gives.

    `job` is what both together are found as.
    """

    job: str
    name: str
    values: Callable[[Event], Mapping[str, object]]


class Jobs:
    """Runs requests on the studio for many sessions, so that a session can stop its own jobs and no others.

    A session that goes away leaves its jobs running. They belong to its browser, whose next session may `find` and
    `follow` them; on a page that strangers share (`hosted`) nobody else may, and one that waits for its turn is
    dropped after `grace_s`. A stop may come before the studio hears of a job: it is kept and honoured when the job
    starts. `expect` forgets it when the session starts its next job.
    """

    def __init__(
        self, studio: Studio, *, hosted: bool = False, grace_s: float = GRACE_S, visitors: Visitors | None = None
    ) -> None:
        self._studio = studio
        self._visitors = visitors or Visitors(studio.library, hosted=hosted)
        self._hosted = hosted
        self._grace_s = grace_s if hosted else None
        self._followed: dict[str, dict[str, str]] = defaultdict(dict)
        self._browsers: dict[str, str] = {}
        self._stopped: set[str] = set()
        self._expected: set[str] = set()
        self._lock = threading.Lock()

    def expect(self, session: str, browser: str = "") -> None:
        """Note that the session is about to start a job from the page, where knobs that mean nothing are disabled.

        `browser` says which browser it is of; an empty one is that of nobody.
        """
        self._visitors.come(session, browser)
        with self._lock:
            self._stopped.discard(session)
            self._expected.add(session)
            if browser:
                self._browsers[session] = browser[:KEY_CHARS]

    def is_expected(self, session: str) -> bool:
        """Whether the session is a page that is about to start a job."""
        with self._lock:
            return session in self._expected

    def stop(self, session: str, asked: str | None = None) -> None:
        """Let every job that the session follows end within one step, or those of one request alone."""
        with self._lock:
            if asked is None:
                self._stopped.add(session)
            followed = [job for job, name in self._followed.get(session, {}).items() if asked in (None, name)]
        for job in followed:
            self._studio.cancel(job)

    def run(
        self, name: str, values: Mapping[str, object], session: str, then: Then | None = None
    ) -> Generator[Event, None, None]:
        """The events of a job, asked for by the name of its endpoint; raises what the studio raises.

        Closing the generator leaves the job running, and what is to be done `then` is still begun. A client that sets a
        knob in vain is refused. The page is not: its form shows the knob disabled, with what was typed into it before,
        and that is not asked for.
        """
        with self._lock:
            on_page = session in self._expected
            self._expected.discard(session)

        def read(name: str, values: Mapping[str, object]) -> Request:
            return parse(REQUESTS[name], rested(self._studio, name, values) if on_page else values)

        request, ticket = read(name, values), Ticket(job=uuid.uuid4().hex, asked=then.job if then else name)
        with self._lock:
            owner = self._browsers.pop(session, session)
            if session in self._stopped:
                self._stopped.discard(session)
                raise Cancelled("Stopped before it began.")
        self._studio.begin(
            request,
            job=ticket.job,
            owner=owner,
            grace_s=self._grace_s,
            library=self._visitors.library(session),
            asked=ticket.asked,
            then=None if then is None else lambda last: read(then.name, then.values(last)),
        )
        yield from self.follow(ticket, session)

    def find(self, browser: str) -> Ticket | None:
        """The job that the browser may follow again; on a page of one's own, also one that runs for another."""
        return self._studio.kept(browser[:KEY_CHARS], anyones=not self._hosted)

    def follow(self, ticket: Ticket, session: str) -> Generator[Event, None, None]:
        """The events of a job that runs already, as `run` gives them."""
        with self._lock:
            self._followed[session][ticket.job] = ticket.asked
        try:
            with closing(self._studio.follow(ticket.job)) as events:
                for event in events:
                    if session in self._stopped:  # asked for before the job was known
                        self._studio.cancel(ticket.job)
                    yield event
        finally:
            with self._lock:
                self._stopped.discard(session)
                self._followed[session].pop(ticket.job, None)
                if not self._followed[session]:
                    del self._followed[session]
