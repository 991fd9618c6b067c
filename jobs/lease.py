"""The one runtime of the process, and the lease under which it renders on a shared GPU."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from checkpoints import table
from core.errors import OutOfMemory, StudioError
from core.events import Progress, TextDelta
from core.plans import LONGEST_SUNG_S
from core.tables import SAMPLE_RATE
from jobs import estimates
from networks.machine import ON_ZERO_GPU, DeviceKind, likely_device

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from checkpoints.find import Installed
    from checkpoints.writers import Writer
    from core.drafts import Draft
    from core.lyrics import DraftRequest, LyricsRequest
    from core.params import GenerateRequest
    from core.plans import Plan, Planner
    from networks.acestep.runtime import Runtime
    from networks.lm.model import LanguageModel
    from networks.machine import Bits, Machine
    from pipeline import Job, Take
    from planner.lm.planner import LmPlanner

F = TypeVar("F", bound=Callable[..., object])
Event = TypeVar("Event")

try:  # Spaces replaces parts of torch: its import comes before any of torch's.
    from spaces import GPU as gpu_lease
except ImportError:

    def gpu_lease(duration: Callable[..., int]) -> Callable[[F], F]:
        """The function as it is: only a Space leases its GPU."""
        return lambda function: function


log = logging.getLogger(__name__)

STRETCHES = (1.0, 2.0)
"""A lease that ran out is asked for once more, twice as long."""

BITS: Bits = 4
"""To so many bits the weights of a lyric writer are packed where the framework can (MLX): words bear it."""

SHORTER = "Make it shorter, or fewer variations."
SMALLER_PLANNER = "Choose a smaller planner, or switch thinking off."
SMALLER_WRITER = "Choose a smaller language model, or the built-in writer, which needs none of it."

turn = threading.Lock()
"""Held by the job that runs: one at a time in the whole process."""


@dataclass(frozen=True)
class _Loaded:
    """A runtime, the planner that goes with it, and what they were built from."""

    built_from: tuple[Path, Machine]
    runtime: Runtime
    planner: Planner | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _LoadedWriter:
    """The language model that writes lyrics, and what it was built from."""

    built_from: tuple[Path, Machine]
    model: LanguageModel


@dataclass(frozen=True)
class _LoadedPlanner:
    """The language model that plans songs, and what it was built from."""

    built_from: tuple[Path, Machine]
    planner: LmPlanner


_loaded: _Loaded | None = None
_writer: _LoadedWriter | None = None
_planner: _LoadedPlanner | None = None
# A writer is there alone: it is as large as a song's checkpoint, and both are quickly loaded again.


def load(place: Installed, machine: Machine) -> None:
    """Nothing; the checkpoint is the one that is loaded. A planner stays beside it."""
    global _loaded
    machine = dataclasses.replace(machine, dtype=machine.dtype or place.checkpoint.dtype)
    built_from = (place.folder, machine)
    if _loaded is not None and _loaded.built_from == built_from:
        return
    _unload_song()
    _unload_writer()
    from networks.acestep.open import open_runtime
    from planner.composer.planner import ComposerPlanner

    notes = tuple(_notes(machine))
    for note in notes:
        log.warning(note)
    runtime = open_runtime(place.folder, place.companion, **vars(machine))
    planner = ComposerPlanner() if table.recipe_of(place.checkpoint.name).planner == "composer" else None
    _loaded = _Loaded(built_from, runtime, planner, notes)


def _notes(machine: Machine) -> Iterator[str]:
    """What is not as it usually is, for the log and for the track."""
    if machine.chosen.note:
        yield machine.chosen.note
    if machine.bits:
        experiment = ", which is an experiment" if machine.bits == 4 else ""
        yield f"the network's layers are packed to {machine.bits} bits{experiment}"


def load_planner(place: Installed, machine: Machine) -> None:
    """Nothing; the language model that plans songs is the one that is loaded. A song's checkpoint stays beside it."""
    global _planner
    built_from = (place.folder, machine)
    if _planner is not None and _planner.built_from == built_from:
        return
    _unload_planner()
    _unload_writer()
    from planner.lm.planner import LmPlanner

    _planner = _LoadedPlanner(
        built_from, LmPlanner(_opened(place, machine, None, SMALLER_PLANNER), place.checkpoint.name)
    )


def _opened(place: Installed, machine: Machine, bits: Bits | None, remedy: str) -> LanguageModel:
    """The language model, its weights in memory."""
    from networks.lm.model import open_language_model

    try:
        return open_language_model(
            place.folder, runtime=machine.runtime, device=machine.device, dtype=machine.dtype, bits=bits
        )
    except Exception as error:
        raise as_studio_error(error, remedy) or error from error


def load_writer(place: Installed, machine: Machine) -> None:
    """Nothing; the language model that writes lyrics is the one that is loaded, alone."""
    global _writer
    built_from = (place.folder, machine)
    if _writer is not None and _writer.built_from == built_from:
        return
    unload()
    _writer = _LoadedWriter(built_from, _opened(place, machine, BITS, SMALLER_WRITER))


def unload() -> None:
    """Nothing; the weights are freed."""
    _unload_song()
    _unload_writer()
    _unload_planner()


def _unload_song() -> None:
    global _loaded
    if _loaded is not None:
        _loaded.runtime.close()
        _loaded = None


def _unload_writer() -> None:
    global _writer
    if _writer is not None:
        _writer.model.close()
        _writer = None


def _unload_planner() -> None:
    global _planner
    if _planner is not None:
        _planner.planner.close()
        _planner = None


def _lease_s(job: Job, stretch: float = 1.0) -> int:
    """Seconds of GPU time to ask a Space for; called with the arguments of the leased function."""
    # A lease is better too long than too short: of a length that is not chosen yet the longest is assumed.
    seconds = job.duration_s(SAMPLE_RATE) or LONGEST_SUNG_S
    work = estimates.tflop(job.request, job.recipe, seconds)
    planning_s = estimates.planning_s(seconds, job.planner_billions, "cuda", job.request.variations)
    return estimates.lease_s(estimates.seconds_for(work, "cuda") + planning_s, stretch)


@gpu_lease(duration=_lease_s)
def _render(job: Job, stretch: float = 1.0) -> Iterator[Progress | Take | StudioError]:
    """The events of the pipeline. On a Space this runs in a process of its own, into which the weights were forked.

    An error is the last event instead of being raised: of an exception only the class name would cross.
    """
    from pipeline import render

    assert _loaded is not None
    planner = _planner.planner if job.planner_billions and _planner else _loaded.planner
    yield from _told(render(job, _loaded.runtime, planner), SHORTER)


def _planning_s(request: GenerateRequest, billions: float, stretch: float = 1.0) -> int:
    """Seconds of GPU time to ask a Space for; called with the arguments of the leased function."""
    return estimates.lease_s(estimates.planning_s(request.length_s or LONGEST_SUNG_S, billions, "cuda"), stretch)


@gpu_lease(duration=_planning_s)
def _plan(request: GenerateRequest, billions: float, stretch: float = 1.0) -> Iterator[Progress | Plan | StudioError]:
    """The events of the planner that is loaded, in the manner of `_render`."""
    from core.plans import Stretch

    assert _planner is not None and request.seed is not None
    whole = Stretch(start_s=0.0, duration_s=request.length_s)
    yield from _told(_planner.planner.plan(request, request.seed, whole), SMALLER_PLANNER)


def _writing_s(request: LyricsRequest, writer: Writer, stretch: float = 1.0) -> int:
    """Seconds of GPU time to ask a Space for; called with the arguments of the leased function."""
    assert writer.place is not None
    seconds = estimates.tokens_s(request.max_new_tokens, writer.place.checkpoint.parameters, "cuda")
    return estimates.lease_s(seconds, stretch)


@gpu_lease(duration=_writing_s)
def _write(
    request: LyricsRequest, writer: Writer, stretch: float = 1.0
) -> Iterator[Progress | TextDelta | StudioError]:
    """The events of the lyric writer, in the manner of `_render`."""
    from lyrics_lm import write

    assert _writer is not None
    yield from _told(write(request, writer, _writer.model), SMALLER_WRITER)


def _drafting_s(request: DraftRequest, billions: float, wave: NDArray[np.float32] | None, stretch: float = 1.0) -> int:
    """Seconds of GPU time to ask a Space for; called with the arguments of the leased function."""
    return estimates.lease_s(estimates.tokens_s(estimates.DRAFT_TOKENS, billions, "cuda"), stretch)


@gpu_lease(duration=_drafting_s)
def _draft(
    request: DraftRequest, billions: float, wave: NDArray[np.float32] | None, stretch: float = 1.0
) -> Iterator[Progress | Draft | StudioError]:
    """The events of a draft by the planner that is loaded, in the manner of `_render`."""
    from planner.lm.drafter import drafts_of

    assert _planner is not None
    runtime = _loaded.runtime if _loaded and wave is not None else None
    yield from _told(drafts_of(_planner.planner, request, runtime, wave), SMALLER_PLANNER)


def _told(events: Iterator[Event], remedy: str) -> Iterator[Event | StudioError]:
    """The events; an error is the last of them instead of being raised."""
    try:
        yield from _driven(events)
    except StudioError as error:
        yield error
    except Exception as error:
        log.exception("the job failed")
        yield as_studio_error(error, remedy) or StudioError(f"{type(error).__name__}: {error}", "The log says more.")


def _driven(events: Iterator[Event]) -> Iterator[Event]:
    """The events of a generator that has not begun; where MLX is at work, it runs in MLX's thread from end to end.

    All that it keeps between two events, conditions and sessions, is then made and freed where MLX wants it.
    """
    if not any(each and each.built_from[1].chosen.runtime == "mlx" for each in (_loaded, _writer, _planner)):
        return events
    from networks import mlx_thread

    def there() -> Generator[Event, None, None]:
        yield from events

    return mlx_thread.iterate(there)


@contextlib.contextmanager
def _one_more_lease(stretch: float) -> Iterator[None]:
    """Nothing; that a lease ended is forgiven, unless it was the longest."""
    try:
        yield
    except StudioError:
        raise
    except Exception:
        # Spaces tells the end of a lease by a bare gradio.Error; here, nothing else leaves a leased function as one.
        if not ON_ZERO_GPU or stretch == STRETCHES[-1]:
            raise
        log.warning("the GPU lease ran out or was taken away; asking for a longer one")


def leased(job: Job) -> Generator[Progress | Take, None, None]:
    """The events of `_render`, its takes last."""
    for stretch in STRETCHES:
        takes = []  # those of a broken attempt are forgotten
        with _one_more_lease(stretch):
            for event in _render(job, stretch):
                if isinstance(event, StudioError):
                    raise event
                if isinstance(event, Progress):
                    yield event
                else:
                    takes.append(event)
            yield from takes
            return


def leased_plan(request: GenerateRequest, billions: float) -> Generator[Progress | Plan, None, None]:
    """The events of a planner of so many billions of parameters, its plan last."""
    return _attempts(lambda stretch: _plan(request, billions, stretch))


def leased_draft(
    request: DraftRequest, billions: float, wave: NDArray[np.float32] | None
) -> Generator[Progress | Draft, None, None]:
    """The events of a draft by a planner of so many billions of parameters; a recording is heard as its wave."""
    return _attempts(lambda stretch: _draft(request, billions, wave, stretch))


def _attempts(
    attempt: Callable[[float], Iterator[Event | StudioError]],
) -> Generator[Event, None, None]:
    """The events of a leased function that is the same every time."""
    for stretch in STRETCHES:
        with _one_more_lease(stretch):
            for event in attempt(stretch):
                if isinstance(event, StudioError):
                    raise event
                yield event
            return


def leased_words(request: LyricsRequest, writer: Writer) -> Generator[Progress | TextDelta, None, None]:
    """The events of `_write`. A second attempt writes the same text again: what was told of it is left out."""
    told = 0
    for stretch in STRETCHES:
        written = 0
        with _one_more_lease(stretch):
            for event in _write(request, writer, stretch):
                if isinstance(event, StudioError):
                    raise event
                if isinstance(event, TextDelta):
                    written += 1
                    if written <= told:
                        continue
                    told = written
                yield event
            return


def notes() -> tuple[str, ...]:
    """What is not as it usually is about the song's networks that are loaded."""
    return _loaded.notes if _loaded else ()


def peak_gb() -> float:
    """The most memory that the last job held; 0 when no song's networks are loaded."""
    return _loaded.runtime.peak_gb() if _loaded else 0.0


def loaded() -> bool:
    """Whether weights are loaded."""
    return any(each is not None for each in (_loaded, _writer, _planner))


def device_kind(asked: str | None = None) -> DeviceKind:
    """Where jobs run: as asked, as loaded, or, before the first job, as far as can be told without a framework."""
    kind = asked.partition(":")[0] if asked else _loaded.runtime.device_kind if _loaded else likely_device()
    return cast(DeviceKind, kind)


def as_studio_error(error: Exception, remedy: str = SHORTER) -> StudioError | None:
    """The studio's own error for what a framework raised when memory ran out; None for anything else."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OutOfMemory("The device has not enough memory for this.", remedy)
    return error if isinstance(error, StudioError) else None
