"""The jobs of every browser session: started and stopped, whatever page they came from."""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing

from backend import Studio
from core.errors import Cancelled
from core.knobs import parse
from core.requests import REQUESTS
from jobs.desk import Event
from ui.idle import rested


class Jobs:
    """Runs requests on the studio for many sessions, so that a session can stop its own jobs and no others.

    A job may wait in Gradio's queue before the studio hears of it: a stop that comes then is kept and honoured when
    the job starts. `expect` forgets it when the session starts its next job.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._running: dict[str, set[str]] = defaultdict(set)
        self._stopped: set[str] = set()
        self._expected: set[str] = set()
        self._lock = threading.Lock()

    def expect(self, session: str) -> None:
        """Note that the session is about to start a job from the page, where knobs that mean nothing are disabled."""
        with self._lock:
            self._stopped.discard(session)
            self._expected.add(session)

    def stop(self, session: str) -> None:
        """Let every job of the session end within one step."""
        with self._lock:
            self._stopped.add(session)
            running = tuple(self._running.get(session, ()))
        for job in running:
            self._studio.cancel(job)

    def run(self, name: str, values: Mapping[str, object], session: str) -> Iterator[Event]:
        """The events of a job, asked for by the name of its endpoint; raises what the studio raises.

        A client that sets a knob in vain is refused. The page is not: its form shows the knob disabled, with what was
        typed into it before, and that is not asked for.
        """
        with self._lock:
            if session in self._expected:
                self._expected.remove(session)
                values = rested(self._studio, name, values)
        request, job = parse(REQUESTS[name], values), uuid.uuid4().hex
        with self._lock:
            if session in self._stopped:
                raise Cancelled("Stopped before it began.")
            self._running[session].add(job)
        try:
            with closing(self._studio.run(request, job=job)) as events:
                for event in events:
                    if session in self._stopped:  # asked for before the studio knew the job
                        self._studio.cancel(job)
                    yield event
        finally:
            with self._lock:
                self._stopped.discard(session)
                self._running[session].discard(job)
                if not self._running[session]:
                    del self._running[session]
