"""The studio itself: the way from a request to its events, one job at a time on each device."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from checkpoints import table, writers
from checkpoints.writers import Writer
from core.errors import Busy, StudioError
from core.paths import outputs_folder
from core.recipes import Recipe
from core.requests import REQUESTS, Request
from jobs import cluster
from jobs.cluster import Replicas
from jobs.desk import Desk, Event
from jobs.kinds import KINDS
from jobs.models import Models
from jobs.replay import Replay, replay
from jobs.replica import LONGEST_LINE, Replica, State
from jobs.songs import usual_needs
from jobs.weights import Weights
from jobs.workers import Ticket, Workers
from library.records import Track
from library.tracks import Library
from networks.machine import ON_ZERO_GPU, Machine

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the studio was started; None chooses for the machine.

    `adapter_homes` are the folders in which a request may name adapters beside the presets; None allows any file,
    which is not for a page that strangers use. `replicas` are those that do the work instead of this process.
    `max_queue` jobs wait or are done by one device at the most, `max_jobs_per_session` of one owner, and none makes or
    reads more than `max_duration_s` of music; None sets no bound.
    """

    checkpoint: str | None = None
    machine: Machine = field(default_factory=Machine)
    replicas: Replicas | None = None
    outputs: Path = field(default_factory=outputs_folder)
    adapter_homes: tuple[Path, ...] | None = () if os.environ.get("SPACE_ID") else None
    max_queue: int = LONGEST_LINE
    max_jobs_per_session: int | None = None
    max_duration_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Status:
    """The quiet line of the header."""

    checkpoint: str
    device: str
    state: State
    note: str = ""


def _replica_of(settings: Settings) -> Replica:
    """Where the work of the studio is done. Raises StudioError for replicas that cannot be had."""
    if settings.replicas is None:
        return Replica(Models(settings.machine), longest=settings.max_queue)
    outputs = str(settings.outputs.absolute())
    return cluster.opened(settings.replicas, settings.machine, outputs, settings.max_queue)


class Studio:
    """Runs requests, one at a time on each device over all modes, and keeps what they made.

    Weights are loaded by the first job that needs them and stay until others take their place. `weights` are those on
    the disk: what there is, and what is brought, verified and removed meanwhile.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.library = Library(self.settings.outputs)
        self._replica = _replica_of(self.settings)
        self.weights = Weights(self._replica.models.device_kind)
        self._desk = Desk(
            library=self.library,
            replica=self._replica,
            checkpoint=self.settings.checkpoint,
            adapter_homes=self.settings.adapter_homes,
            max_duration_s=self.settings.max_duration_s,
        )
        self._workers: Workers[Event] = Workers()

    def prepare(self) -> None:
        """Load what most songs need before the page is served, where the GPU is leased; elsewhere the first job does.

        Called in the main thread: Spaces emulates a GPU there and in no other, packs what lies on it when the page is
        launched, and puts that on the real one before a leased process begins.
        """
        if not ON_ZERO_GPU:
            return
        try:
            self._replica.prepare(usual_needs(self._desk))
        except StudioError as error:
            log.warning("nothing is loaded ahead; each lease loads what it needs: %s", error)

    def run(self, request: Request, *, job: str | None = None, fresh: bool = False) -> Generator[Event, None, None]:
        """Events of a job, at least one a second; its results are Tracks, the words of lyrics, a Plan or a Draft.

        The first event comes at once. `job` is the name by which `cancel` knows the job; `fresh` renders again what
        the library holds already. Raises StudioErrors; Cancelled after a cancel. Closing the generator is a cancel too,
        and does not wait.
        """
        return self._workers.run(self._events(request, self._desk, fresh=fresh), job)

    def begin(
        self,
        request: Request,
        *,
        job: str,
        owner: str = "",
        grace_s: float | None = None,
        library: Library | None = None,
        asked: str = "",
        then: Callable[[Event], Request] | None = None,
    ) -> None:
        """Begin a job that runs on whether or not anybody follows it; `owner` says whose it is.

        A job that waits for its turn while nobody follows it is dropped after `grace_s`; None keeps it. What it finds
        and makes lies in `library`: the studio's, as somebody sees it. `asked` is what whoever comes back finds it as;
        without one the name of the request. The job goes on with the request that `then` makes of its last event.
        Raises Busy when the owner has too many already.
        """
        most = self.settings.max_jobs_per_session
        mine = [ticket for ticket in self._workers.tickets(ended=False) if owner and ticket.owner == owner]
        if most is not None and len(mine) >= most:
            raise Busy(
                f"You have {len(mine)} jobs at work or in the line: no more than {most} at once.", "Wait for one."
            )
        asked = asked or next(name for name, each in REQUESTS.items() if each is type(request))
        ticket = Ticket(job=job, asked=asked, owner=owner, grace_s=grace_s)
        desk = self._desk.of(owner, library or self.library)
        self._workers.begin(self._events(request, desk, then=then), ticket)

    def follow(self, job: str) -> Generator[Event, None, None]:
        """The events of a job that was begun, as `run` gives them; what was missed comes first.

        Closing the generator ends nothing. Raises StudioError for a job that is not known any more.
        """
        return self._workers.follow(job)

    def kept(self, owner: str, *, anyones: bool = False) -> Ticket | None:
        """The job that the owner may follow again: the newest that runs, else the newest whose end nobody heard.

        `anyones` takes a running job of somebody else where the owner has none.
        """
        running = self._workers.tickets(ended=False)
        own = [ticket for ticket in (*running, *self._workers.tickets(ended=True)) if ticket.owner == owner]
        others = [ticket for ticket in running if ticket.asked] if anyones else []
        return next(iter([*(own if owner else []), *others]), None)

    def _events(
        self, request: Request, desk: Desk, *, fresh: bool = False, then: Callable[[Event], Request] | None = None
    ) -> Callable[[threading.Event], Generator[Event, None, None]]:
        def events(stop: threading.Event) -> Generator[Event, None, None]:
            last: Event | None = None
            with closing(KINDS[type(request)].events(request, desk, stop, fresh=fresh)) as coming:
                for last in coming:
                    yield last
            if then is not None and last is not None:
                following = then(last)
                yield from KINDS[type(following)].events(following, desk, stop, fresh=fresh)

        return events

    def cancel(self, job: str) -> bool:
        """Whether there was such a job; it ends within one step."""
        return self._workers.cancel(job)

    def estimate_s(self, request: Request) -> float:
        """Seconds that a job is likely to take on this machine; learns from the tracks in the library."""
        return KINDS[type(request)].seconds(request, self._desk)

    def replay(self, track: Track, library: Library | None = None) -> Replay:
        """Whether the track's request would give the same samples on this machine, or why not. Renders nothing."""
        return replay(track, self._desk.of("", library or self.library))

    def recipe(self, checkpoint: str | None = None) -> Recipe:
        """The recipe of a checkpoint; None means the one that the studio runs on. Loads nothing."""
        return table.recipe_of(self._desk.row(checkpoint).name)

    def writer(self, name: str | None = None) -> Writer:
        """The lyric writer of that name; None takes the best that is installed. Loads nothing."""
        return writers.find(name)

    @property
    def loaded(self) -> frozenset[str]:
        """What holds memory: a song's networks, a planner, a writer."""
        return self._replica.models.roles

    def status(self) -> Status:
        """What the studio runs on, and what it is doing."""
        replica = self._replica
        return Status(
            checkpoint=self._desk.row().name, device=self._desk.device, state=replica.state, note=replica.note
        )

    def close(self) -> None:
        """Tell running jobs to stop, wait for them, and free the weights."""
        self._workers.cancel_all()
        self.weights.close()
        self._workers.wait()
        self._replica.close()
