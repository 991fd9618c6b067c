"""The lease of a device: the one function that does work, the ways to where it runs, and the one retry.

Work is done in the process that asks, on a Space under a lease of its GPU, or by a replica elsewhere (jobs/cluster.py).
What is lost on its way is asked for once more.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from core.errors import LeaseEnded, LeaseRefused, StudioError
from core.events import Progress, Sign
from jobs import estimates
from jobs.models import Models, as_studio_error
from jobs.work import Effort, Work
from networks.machine import ON_ZERO_GPU

F = TypeVar("F", bound=Callable[..., object])
Product = TypeVar("Product")

try:  # Spaces replaces parts of torch: its import comes before any of torch's.
    from spaces import GPU as gpu_lease
except ImportError:

    def gpu_lease(duration: Callable[..., int]) -> Callable[[F], F]:
        """Return the function as it is: only a Space leases its GPU."""
        return lambda function: function


log = logging.getLogger(__name__)

ATTEMPTS = (1.0, 2.0)
"""How many times the estimated lease each attempt asks for."""

GRANTED_TITLE = "ZeroGPU worker error"
"""What spaces 0.51.3 puts above what happens after a GPU was granted: its errors differ in nothing else."""

REFUSED = "Come back later, log in to Hugging Face for more GPU time a day, or run the studio on a machine of your own."


@dataclass(frozen=True)
class Begun:
    """The first event of leased work: the GPU is there."""


Step: TypeAlias = Begun | Sign | Product | Effort | StudioError
"""What the leased function tells: first that it has begun, last what it took, or the error that ended it."""


def _lease_s(work: Work[object], models: int, stretch: float) -> int:
    """Seconds of GPU time to ask for; called with the arguments of the leased function, before it."""
    ahead = Models.numbered(models).needs
    weights = {need.place.folder: need.gigabytes for need in (*ahead, *work.needs)}
    return estimates.lease_s(work.cost.seconds("cuda"), sum(weights.values()), stretch)


@gpu_lease(duration=_lease_s)
def _leased(work: Work[Product], models: int, stretch: float) -> Iterator[Step[Product]]:
    """Do the work with the models of that number, and tell last what it took.

    On ZeroGPU this runs in a process of its own, which was forked when some earlier job began and holds what it has
    loaded since: what is needed now is compared and loaded here. An error is the last event instead of being raised,
    for of an exception only its class would cross.
    """
    yield Begun()
    try:
        own = Models.numbered(models)
        yield from own.load(work.needs, work.remedy, work.cost.working_gb)
        started, loading_s = time.monotonic(), own.loading_s
        yield from own.drive(work.events(own))
        seconds = time.monotonic() - started - (own.loading_s - loading_s)
        yield Effort(seconds=seconds, peak_gb=own.peak_gb(), notes=own.notes)
    except StudioError as error:
        yield error
    except Exception as error:
        log.exception("the job failed")
        known = as_studio_error(error, work.remedy)
        yield known or StudioError(f"{type(error).__name__}: {error}", "The log says more.")


class Way(Protocol):
    """How work gets to the device that does it.

    `waiting` and `there` are told before work begins and once it has, empty where nobody waits. `again` is noted of
    work that was lost and done once more, `lost` is said when that was lost too.
    """

    waiting: str
    there: str
    again: str
    lost: str

    def steps(self, work: Work[Product], stretch: float, stop: threading.Event) -> Iterator[Step[Product]]:
        """What the leased function tells. Raises Cancelled where it waits and `stop` is set."""
        ...

    def verdict(self, error: Exception, remedy: str, *, begun: bool) -> Exception | None:
        """What is to be raised for an error of the way itself; None when the work was lost and is asked for again."""
        ...

    def close(self) -> None:
        """Let go of the device."""
        ...


class Here:
    """In the process that asks, with its models."""

    waiting = there = again = lost = ""

    def __init__(self, models: Models) -> None:
        self._models = models

    def steps(self, work: Work[Product], stretch: float, stop: threading.Event) -> Iterator[Step[Product]]:
        """What the leased function tells."""
        return _leased(work, self._models.number, stretch)

    def verdict(self, error: Exception, remedy: str, *, begun: bool) -> Exception | None:
        """The error itself."""
        return error

    def close(self) -> None:
        """Free the weights."""
        self._models.free()


class OnZeroGpu(Here):
    """In a process that holds a leased GPU for as long as it was asked for, or a little longer."""

    waiting = "waiting for a GPU"
    there = "a GPU is there"
    lost = "The GPU was taken away before the job was done."

    def verdict(self, error: Exception, remedy: str, *, begun: bool) -> Exception | None:
        """The refusal, in the words of Spaces, before a GPU was granted; later it is the end of the lease.

        Nothing else ends a leased process, and the leased function raises nothing.
        """
        if not begun and getattr(error, "title", None) != GRANTED_TITLE:
            return LeaseRefused(str(getattr(error, "message", error)), f"{remedy} {REFUSED}")
        return None


def way_of(models: Models) -> Way:
    """How work gets to those models from the process that made them."""
    return OnZeroGpu(models) if ON_ZERO_GPU else Here(models)


def leased(
    work: Work[Product], way: Way, stop: threading.Event | None = None
) -> Generator[Sign | Product, None, Effort]:
    """The events of the work, done that way; returns what it took.

    Work that is lost while it goes on is asked for once more, under a lease that is twice as long; the products that
    were yielded are not yielded again. Raises LeaseRefused when there is no device to be had, LeaseEnded when the work
    was lost twice.
    """
    given = 0
    notes: tuple[str, ...] = ()
    for stretch in ATTEMPTS:
        skipped, begun, effort = given, False, None
        if way.waiting:
            yield Progress("queued", note=way.waiting)
        try:
            for event in way.steps(work, stretch, stop or threading.Event()):
                if isinstance(event, Begun):
                    begun = True
                    if way.there:
                        yield Progress("loading", note=way.there)  # who cancelled while waiting is heard here
                elif isinstance(event, StudioError):
                    raise event
                elif isinstance(event, Effort):
                    effort = event
                elif isinstance(event, Sign):
                    yield event
                elif skipped:
                    skipped -= 1
                else:
                    given += 1
                    yield event
            assert effort is not None
            return dataclasses.replace(effort, notes=(*effort.notes, *notes))
        except StudioError:
            raise
        except Exception as error:
            verdict = way.verdict(error, work.remedy, begun=begun)
            if verdict is error:
                raise
            if verdict is not None:
                raise verdict from error
            log.warning("the work was lost before it was done: %s", error)
            notes = (way.again,) if way.again else ()
    raise LeaseEnded(way.lost, work.remedy)
