"""Checkpoints that are brought, verified and removed while the studio runs.

None of it needs a device: it goes on beside the line in which songs wait, whoever looks on.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Literal

from checkpoints import find, manage, table
from checkpoints.download import Downloads, Row
from checkpoints.find import Installed
from checkpoints.manage import Removed, Verified
from core.errors import Busy, Cancelled, StudioError
from core.events import Progress, Transfer
from networks.machine import DeviceKind

Doing = Literal["download", "verify", "remove"]
Events = Generator[Transfer | Installed | Verified, None, None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is or was done with a checkpoint: how far it is while it runs, then its `outcome`."""

    doing: Doing
    progress: Progress | None = None
    outcome: str = ""
    failed: bool = False

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return not self.outcome


class Weights:
    """The checkpoints of a studio and what is done with them: one thing at a time with each, in a thread of its own."""

    def __init__(self, device: Callable[[], DeviceKind]) -> None:
        self._device = device
        self._downloads = Downloads()
        self._tasks: dict[str, Task] = {}
        self._stops: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def rows(self) -> tuple[Row, ...]:
        """Every checkpoint, with the memory that it needs on this machine's device."""
        return self._downloads.rows(self._device())

    @property
    def tasks(self) -> Mapping[str, Task]:
        """What is done with each checkpoint now, or was done last, by its name."""
        with self._lock:
            return dict(self._tasks)

    def download(self, name: str, *, consent: bool) -> None:
        """Begin to bring a checkpoint, or go on where that stopped.

        Raises at once what a download refuses before it asks the server: RequestError without consent, StudioError
        offline, Busy while something else is done with the checkpoint.
        """
        self._begin(name, "download", self._downloads.download(name, consent=consent))

    def verify(self, name: str) -> None:
        """Begin to look over a checkpoint's files and tensors. Raises MissingWeights when it is not here, and Busy."""
        self._begin(name, "verify", manage.verify(find.checkpoint(name).folder))

    def remove(self, name: str, *, consent: bool) -> None:
        """Take away what the studio put there. Raises as `checkpoints.manage.remove` does, and Busy."""
        with self._at_work(name):
            self._tell(name, Task(doing="remove", outcome=_said(manage.remove(name, consent=consent))))

    def cancel(self, name: str) -> bool:
        """Whether something was being done with the checkpoint; it ends between two pieces."""
        with self._lock:
            stop = self._stops.get(name)
        if stop is not None:
            stop.set()
        return stop is not None

    def close(self) -> None:
        """Let everything end that goes on; a download is taken up again by the next."""
        with self._lock:
            for stop in self._stops.values():
                stop.set()

    @contextlib.contextmanager
    def _at_work(self, name: str) -> Generator[threading.Event, None, None]:
        with self._lock:
            if name in self._stops:
                raise Busy(f"Something else is at work on {name}.", "Wait for it, or stop it.")
            stop = self._stops[name] = threading.Event()
        try:
            yield stop
        finally:
            with self._lock:
                del self._stops[name]

    def _begin(self, name: str, doing: Doing, events: Events) -> None:
        """Take the first event here, for what it refuses, and all others in a thread."""
        with contextlib.ExitStack() as held:
            stop = held.enter_context(self._at_work(name))
            held.enter_context(contextlib.closing(events))
            self._told(name, doing, next(events))
            work = held.pop_all()
        threading.Thread(
            target=self._work, args=(name, doing, events, stop, work), name=f"{doing}-{name}", daemon=True
        ).start()

    def _work(self, name: str, doing: Doing, events: Events, stop: threading.Event, held: contextlib.ExitStack) -> None:
        last: Task | None = None
        with held:
            try:
                for event in events:
                    if stop.is_set():
                        raise Cancelled("Stopped.", "Started again, it goes on where it stopped.")
                    last = self._told(name, doing, event)
            except Cancelled as stopped:
                last = Task(doing=doing, outcome=str(stopped) if doing == "download" else "Stopped.")
            except StudioError as refused:
                last = Task(doing=doing, outcome=str(refused), failed=True)
            except Exception:
                log.exception("%s of %s failed", doing, name)
                last = Task(doing=doing, outcome="The studio failed; its log says why.", failed=True)
        if last is not None:  # told once nothing is held any more: whoever reads it may begin anew
            self._tell(name, last)

    def _told(self, name: str, doing: Doing, event: Transfer | Installed | Verified) -> Task:
        if isinstance(event, Progress):
            task = Task(doing=doing, progress=event)
            self._tell(name, task)
            return task
        return Task(doing=doing, outcome=_said(event))

    def _tell(self, name: str, task: Task) -> None:
        with self._lock:
            self._tasks[name] = task


def _said(result: Installed | Verified | Removed) -> str:
    """What came of it, in one sentence."""
    if isinstance(result, Installed):
        return "Installed."
    if isinstance(result, Verified):
        sums = f"{result.checksums} checksums are right" if result.checksums else "no checksums are known"
        return f"Whole: {result.files} files, {result.parameters / 1e9:.2f} B parameters, {sums}."
    kept = f" {len(result.kept)} files that others put there stayed." if result.kept else ""
    return f"Removed: {table.in_words(result.bytes)} are free again.{kept}"
