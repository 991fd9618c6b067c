"""Strangers' recordings, read where a crash costs nothing: in a process of its own, with bounds on memory and time.

The process is kept for the next file, since its start takes as long as many files do, and it holds what `library.audio`
needs and no framework. One that crashes, takes too long or is left halfway is replaced by the next that is asked for.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import select
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from core.errors import Fault, RequestError
from core.paths import ROOT
from core.steps import finished
from library import audio
from library.audio import Header

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Waveform = NDArray[np.float32]

LONGEST_S = 180.0
"""A file that is not decoded by then is none: ten minutes take a slow processor ten seconds."""

MOST_BYTES = 6 << 30
"""Of address space: ten minutes at 192 kHz take four while they are brought to 48 kHz."""

KEPT = 2
"""Processes that wait for the next file; while more are asked at once there are more."""

SERVED = 200
"""Files after which a process is replaced: what a decoder leaks on odd ones stays bounded."""

POLL_S = 0.05

ENDED = "cannot be decoded: the decoder broke down over it"
LATE = f"cannot be decoded: the decoder was still at it after {LONGEST_S:g} seconds"
LARGE = f"cannot be decoded: it takes more than the {MOST_BYTES >> 30} GB of memory that a recording may take"

_Task = Literal["probe", "load"]
_Answer = Mapping[str, Any]
"""What the process writes as JSON: the facts of a file, or the rule that it breaks."""

_SERVE = "from library.decoder import serve; serve()"

log = logging.getLogger(__name__)


def probe(path: Path, field: str = "audio") -> Header:
    """As `library.audio.probe`."""
    header, _ = finished(_asked("probe", path, field))
    return Header(**header)


def started() -> Generator[None, None, None]:
    """Steps until a process is there that answers at once."""
    with _at_hand() as process:
        try:
            yield from process.ask("probe", ROOT)
        except (EOFError, TimeoutError):
            process.left = 0  # what is asked next will tell


def load(path: Path, field: str = "audio") -> Waveform:
    """As `library.audio.load`."""
    return finished(loading(path, field))


def loading(path: Path, field: str = "audio") -> Generator[None, None, Waveform]:
    """As `load`, with a step now and then; closed before its end, it ends the process that is at it."""
    _, samples = yield from _asked("load", path, field)
    return samples


class _Process:
    """A process that decodes, one file after the other."""

    def __init__(self) -> None:
        # BLAS would reserve memory for each thread that it does not use here.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._child = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.left = SERVED

    def ask(self, task: _Task, path: Path) -> Generator[None, None, tuple[_Answer, Waveform]]:
        """The answer, and the samples that follow it. Raises EOFError where the process ends, TimeoutError."""
        assert self._child.stdin is not None and self._child.stdout is not None
        until = time.monotonic() + LONGEST_S
        self.left -= 1
        try:
            self._child.stdin.write(json.dumps([task, str(path.absolute())]).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError as ended:
            raise EOFError from ended
        while not select.select([self._child.stdout], [], [], POLL_S)[0]:
            if time.monotonic() > until:
                raise TimeoutError
            yield
        answer = json.loads(self._child.stdout.readline() or b"null")
        if answer is None:
            raise EOFError
        samples = np.empty((2, answer.get("samples", 0)), np.float32)
        if samples.size and self._child.stdout.readinto(samples.data.cast("B")) < samples.nbytes:  # type: ignore[attr-defined]
            raise EOFError
        return answer, samples

    def end(self) -> None:
        """End the process, whatever it is at."""
        self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            with suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self._child.wait()


_idle: list[_Process] = []
_lock = threading.Lock()


def _asked(task: _Task, path: Path, field: str) -> Generator[None, None, tuple[_Answer, Waveform]]:
    """The facts and samples of a file. Raises RequestError, with `field` as the name of the fault."""
    with _at_hand() as process:
        try:
            answer, samples = yield from process.ask(task, path)
        except (EOFError, TimeoutError) as broken:
            rule = LATE if isinstance(broken, TimeoutError) else ENDED
            log.warning("a recording of %d bytes %s", path.stat().st_size if path.is_file() else 0, rule)
            raise RequestError([Fault(field, path.name, rule)], audio.ANOTHER) from broken
    if "rule" in answer:
        raise RequestError([Fault(field, path.name, str(answer["rule"]))], audio.ANOTHER)
    return answer, samples


@contextmanager
def _at_hand() -> Generator[_Process, None, None]:
    """A process that serves nobody else; it is kept when all went well, and ended otherwise."""
    with _lock:
        process = _idle.pop() if _idle else None
    process = process or _Process()
    try:
        yield process
    except BaseException:
        process.end()
        raise
    with _lock:
        if process.left > 0 and len(_idle) < KEPT:
            _idle.append(process)
            return
    process.end()


# ---- in the process --------------------------------------------------------------------------------------------------


def serve() -> None:
    """Answer what is asked on the standard input until that is closed."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints is no answer
    for what, most in ((resource.RLIMIT_AS, MOST_BYTES), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # a system that has no such bound, or a lower one
            resource.setrlimit(what, (most, most))
    for line in sys.stdin.buffer:
        task, path = json.loads(line)
        _answer(answers, task, Path(path))


def _answer(answers: IO[bytes], task: _Task, path: Path) -> None:
    samples: Waveform | None = None
    try:
        if task == "load":
            samples = audio.load(path)
            told: dict[str, object] = {"samples": samples.shape[1]}
        else:
            told = asdict(audio.probe(path))
    except RequestError as refused:
        told = {"rule": refused.faults[0].rule}
    except MemoryError:
        told = {"rule": LARGE}
    answers.write(json.dumps(told).encode() + b"\n")
    if samples is not None:
        answers.write(np.ascontiguousarray(samples).data)
    answers.flush()
