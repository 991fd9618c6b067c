"""The lease of a shared GPU: the one function that does work, and the one retry when a lease runs out.

Only a Space on ZeroGPU leases; elsewhere the function runs in the process that calls it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

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


def _lease_s(work: Work[object], models: int, stretch: float) -> int:
    """Seconds of GPU time to ask for; called with the arguments of the leased function, before it."""
    ahead = Models.numbered(models).needs
    weights = {need.place.folder: need.gigabytes for need in (*ahead, *work.needs)}
    return estimates.lease_s(work.cost.seconds("cuda"), sum(weights.values()), stretch)


@gpu_lease(duration=_lease_s)
def _leased(
    work: Work[Product], models: int, stretch: float
) -> Iterator[Begun | Sign | Product | Effort | StudioError]:
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


def leased(work: Work[Product], models: Models) -> Generator[Sign | Product, None, Effort]:
    """The events of the work, done under a lease where the GPU is shared; returns what it took.

    A lease that ends while the work goes on is asked for once more, twice as long; the products that were yielded are
    not yielded again. Raises LeaseRefused when there is no GPU to be had, LeaseEnded when the longest lease was too
    short.
    """
    given = 0
    for stretch in ATTEMPTS:
        skipped, begun, effort = given, False, None
        if ON_ZERO_GPU:
            yield Progress("queued", note="waiting for a GPU")
        try:
            for event in _leased(work, models.number, stretch):
                if isinstance(event, Begun):
                    begun = True
                    if ON_ZERO_GPU:
                        yield Progress("loading", note="a GPU is there")  # who cancelled while waiting is heard here
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
            return effort
        except StudioError:
            raise
        except Exception as error:
            # The leased function raises nothing: what arrives here is what Spaces has to say. Before a GPU was granted
            # that is a refusal; later it is the end of the lease, since nothing else ends a leased process.
            if not ON_ZERO_GPU:
                raise
            if not begun and getattr(error, "title", None) != GRANTED_TITLE:
                raise LeaseRefused(str(getattr(error, "message", error)), f"{work.remedy} {REFUSED}") from error
            log.warning("the lease of the GPU ended before the work did: %s", error)
    raise LeaseEnded("The GPU was taken away before the job was done.", work.remedy)
