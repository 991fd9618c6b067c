"""The one runtime of the process, and the lease under which it renders on a shared GPU."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import shutil
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast

import audio
import checkpoints
import estimates
from errors import OutOfMemory, StudioError
from events import Progress, TextDelta

if TYPE_CHECKING:
    from checkpoints import Installed
    from lm import LanguageModel
    from lyrics_writers import Writer
    from params_words import LyricsRequest
    from pipeline import Job, Take
    from plans import Planner
    from runtimes import DType, Runtime

F = TypeVar("F", bound=Callable[..., object])
Event = TypeVar("Event")

try:  # Spaces replaces parts of torch: its import comes before any of torch's.
    from spaces import GPU as gpu_lease
except ImportError:

    def gpu_lease(duration: Callable[..., int]) -> Callable[[F], F]:
        """The function as it is: only a Space leases its GPU."""
        return lambda function: function


log = logging.getLogger(__name__)

ON_ZERO_GPU = bool(os.environ.get("SPACES_ZERO_GPU"))

LONGEST_PLAN_S = 240.0
"""Assumed length of a song whose planner has not chosen one yet: a lease is better too long than too short."""

STRETCHES = (1.0, 2.0)
"""A lease that ran out is asked for once more, twice as long."""

BITS: Literal[4] = 4
"""To so many bits the weights of a lyric writer are packed where the framework can (MLX): words bear it."""

SHORTER = "Make it shorter, or fewer variations."
SMALLER_WRITER = "Choose a smaller language model, or the built-in writer, which needs none of it."

turn = threading.Lock()
"""Held by the job that runs: one at a time in the whole process."""


@dataclass(frozen=True)
class _Loaded:
    """A runtime, the planner that goes with it, and what they were built from."""

    built_from: tuple[Path, str | None, str | None]
    runtime: Runtime
    planner: Planner | None


@dataclass(frozen=True)
class _LoadedWriter:
    """The language model that writes lyrics, and what it was built from."""

    built_from: tuple[Path, str | None, str | None]
    model: LanguageModel


_loaded: _Loaded | None = None
_writer: _LoadedWriter | None = None
# At most one of the two is there: a writer is as large as a song's checkpoint, and both are quickly loaded again.


def load(place: Installed, device: str | None, dtype: DType | None) -> None:
    """Nothing; the checkpoint is the one that is loaded, alone."""
    global _loaded
    dtype = dtype or place.checkpoint.dtype
    built_from = (place.folder, device, dtype)
    if _loaded is not None and _loaded.built_from == built_from:
        return
    unload()
    from planner import ComposerPlanner
    from runtimes import open_runtime

    runtime = open_runtime(place.folder, place.companion, device=device, dtype=dtype)
    planner = ComposerPlanner() if checkpoints.recipe_of(place.checkpoint.name).planner == "composer" else None
    _loaded = _Loaded(built_from, runtime, planner)


def load_writer(place: Installed, device: str | None, dtype: DType | None) -> None:
    """Nothing; the language model that writes lyrics is the one that is loaded, alone."""
    global _writer
    built_from = (place.folder, device, dtype)
    if _writer is not None and _writer.built_from == built_from:
        return
    unload()
    from lm import open_language_model

    try:
        model = open_language_model(place.folder, device=device, dtype=dtype, bits=BITS)
    except Exception as error:
        raise as_studio_error(error, SMALLER_WRITER) or error from error
    _writer = _LoadedWriter(built_from, model)


def unload() -> None:
    """Nothing; the weights are freed."""
    global _loaded, _writer
    if _loaded is not None:
        _loaded.runtime.close()
        _loaded = None
    if _writer is not None:
        _writer.model.close()
        _writer = None


def _lease_s(job: Job, stretch: float = 1.0) -> int:
    """Seconds of GPU time to ask a Space for; called with the arguments of the leased function."""
    work = estimates.tflop(job.request, job.recipe, job.duration_s(audio.SAMPLE_RATE) or LONGEST_PLAN_S)
    return estimates.lease_s(estimates.seconds_for(work, "cuda"), stretch)


@gpu_lease(duration=_lease_s)
def _render(job: Job, stretch: float = 1.0) -> Iterator[Progress | Take | StudioError]:
    """The events of the pipeline. On a Space this runs in a process of its own, into which the weights were forked.

    An error is the last event instead of being raised: of an exception only the class name would cross.
    """
    from pipeline import render

    assert _loaded is not None
    yield from _told(render(job, _loaded.runtime, _loaded.planner), SHORTER)


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


def _told(events: Iterator[Event], remedy: str) -> Iterator[Event | StudioError]:
    """The events; an error is the last of them instead of being raised."""
    try:
        yield from events
    except StudioError as error:
        yield error
    except Exception as error:
        log.exception("the job failed")
        yield as_studio_error(error, remedy) or StudioError(f"{type(error).__name__}: {error}", "The log says more.")


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


def loaded() -> bool:
    """Whether weights are loaded."""
    return _loaded is not None or _writer is not None


def device_kind(asked: str | None = None) -> estimates.DeviceKind:
    """Where jobs run: as asked, as loaded, or, before the first job, as far as can be told without a framework."""
    kind = asked.partition(":")[0] if asked else _loaded.runtime.device_kind if _loaded else likely_device()
    return cast(estimates.DeviceKind, kind)


def likely_device() -> estimates.DeviceKind:
    """The kind of device that a runtime will choose on this machine, told without loading a framework."""
    if ON_ZERO_GPU or shutil.which("nvidia-smi"):
        return "cuda"
    return "mps" if (platform.system(), platform.machine()) == ("Darwin", "arm64") else "cpu"


def as_studio_error(error: Exception, remedy: str = SHORTER) -> StudioError | None:
    """The studio's own error for what a framework raised when memory ran out; None for anything else."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OutOfMemory("The device has not enough memory for this.", remedy)
    return error if isinstance(error, StudioError) else None
