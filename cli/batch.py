"""`./studio batch`: the jobs of a list, one after the other on a device, several at once on the cores of a CPU.

Each of the processes that do the work has a studio of its own and is handed a job when it has none. They end with this
one, however it ends. stdout carries the line of each job as it stands in the file of results, stderr the progress.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from checkpoints import find, table
from checkpoints.download import memory_bytes
from cli.job_lists import Job, JobList, Results
from core.errors import Cancelled, StudioError, faults_of
from core.events import Progress, Sign, TextDelta
from core.knobs import parse
from core.requests import REQUESTS
from jobs.results import all_facts
from networks.machine import Machine, host_free_gb, likely_device

STOPPED = 130
"""The exit code of a batch that was stopped, as shells have it."""

POLL_S = 0.5
"""So often a stop is looked for while no process tells anything."""

MOST_PROCESSES = 64
PROCESS_GB = 0.6
"""What a process takes before it has loaded any weights."""

log = logging.getLogger(__name__)


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what is said of a list of jobs."""
    command.add_argument("jobs", metavar="JOBS", type=Path, help="JSON lines, or a csv with the knobs' names on top")
    command.add_argument(
        "--processes",
        type=int,
        choices=range(1, MOST_PROCESSES + 1),
        metavar="N",
        help="so many jobs at once; left out: one for each core of a CPU whose memory holds them, else one",
    )


def run(path: Path, commands: Mapping[str, str], machine: Machine, processes: int | None) -> int:
    """The exit code: 0 where all the list asks for is made, 1 where a job failed, STOPPED where it was stopped.

    Raises StudioErrors for a list or a file of results that cannot be used.
    """
    listed = JobList(path, commands).jobs
    with contextlib.closing(Results.beside(path)) as results:
        jobs = [job for job in listed if job.key not in results.finished]
        made = len(listed) - len(jobs)
        batch = Batch(results, machine, made=made, total=len(listed))
        batch.run(jobs, processes or usual_processes(jobs, machine))
    sys.stderr.write(f"{batch}\n")
    return STOPPED if batch.stopped else int(batch.failed > 0)


def usual_processes(jobs: Sequence[Job], machine: Machine) -> int:
    """How many processes keep the machine busy: a device works on one job, each core of a CPU on another.

    A network as small as nano gains little from a second core, and large ones do not fit many times.
    """
    if (machine.device or likely_device()) != "cpu":
        return 1
    named = {str(job.values.get("checkpoint") or find.default().name) for job in jobs} & set(table.CHECKPOINTS)
    needed = PROCESS_GB + max((memory_bytes(table.row(name), "cpu") / 1e9 for name in named), default=0.0)
    room = min(machine.memory_gb or float("inf"), host_free_gb())
    return int(max(1, min(cores(), len(jobs), MOST_PROCESSES, room // needed)))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Hand:
    """A process that works, the way to it, and the job that it is at."""

    process: BaseProcess
    pipe: Connection
    job: Job | None = None


@dataclass
class Batch:
    """The jobs of a list while they are made; what was `made` before counts as done."""

    results: Results
    machine: Machine
    made: int
    total: int
    failed: int = 0
    stopped: bool = False
    _hands: list[_Hand] = field(default_factory=list)

    def __str__(self) -> str:
        told = [f"{self.made} of {self.total} made", f"{self.failed} failed" if self.failed else ""]
        rest = self.total - self.made - self.failed
        told.append(f"{rest} to do: run it again" if rest else "")
        return " · ".join(filter(None, told))

    def run(self, jobs: Sequence[Job], processes: int) -> None:
        """Make the jobs, so many at once; a stop from outside lets what runs end within its step."""
        waiting = iter(jobs)
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))  # for the processes to be
        with (
            tqdm(total=self.total, initial=self.made, file=sys.stderr, disable=None, leave=False) as bar,
            self._stops(),
        ):
            for job in waiting:
                if not self.stopped and not self._refused(job):
                    self._hands.append(self._begun(job))
                if len(self._hands) == processes or self.stopped:
                    break
            while self._hands:
                for hand in self._heard():
                    self._listen(hand, bar)
                    if hand.job is None:
                        self._go_on(hand, waiting)
                bar.n = self.made + self.failed
                bar.refresh()

    @contextlib.contextmanager
    def _stops(self) -> Iterator[None]:
        """Take Ctrl-C and SIGTERM as a stop; who asks again ends all at once."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.stopped = True
            signal.signal(number, signal.SIG_DFL)

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _refused(self, job: Job) -> bool:
        """Whether the job cannot be asked for; its line says why."""
        if job.fault is not None:
            self._tell(job, failure(job.fault))
        return job.fault is not None

    def _begun(self, job: Job) -> _Hand:
        """A process at that job. It hears no Ctrl-C: this one does, and tells it."""
        context = multiprocessing.get_context("spawn")
        pipe, its_pipe = context.Pipe()
        process = context.Process(target=work, args=(its_pipe, self.machine), daemon=True)
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if self._hears() else None
        process.start()
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
        its_pipe.close()
        pipe.send((job.asked, dict(job.values)))
        return _Hand(process, pipe, job)

    @staticmethod
    def _hears() -> bool:
        return threading.current_thread() is threading.main_thread()

    def _heard(self) -> list[_Hand]:
        """The hands that tell something, or are gone."""
        ready = wait([hand.pipe for hand in self._hands], POLL_S)
        if self.stopped:
            for hand in self._hands:
                with contextlib.suppress(OSError):
                    hand.pipe.send(None)
        return [hand for hand in self._hands if hand.pipe in ready]

    def _listen(self, hand: _Hand, bar: tqdm[Any]) -> None:
        """Take what a hand tells: its progress, what came of its job, or nothing any more."""
        try:
            told = hand.pipe.recv()
        except (EOFError, OSError):
            self._hands.remove(hand)
            hand.process.join()
            if hand.job is not None and not self.stopped:
                code = hand.process.exitcode
                lost = StudioError(f"The process that was at it ended ({code}).", "Try fewer --processes.")
                self._tell(hand.job, failure(lost))
            hand.job = None
            return
        assert hand.job is not None
        if isinstance(told, str):
            bar.set_description_str(f"line {hand.job.line} · {told}", refresh=False)
        else:
            self._tell(hand.job, told)
            hand.job = None

    def _go_on(self, hand: _Hand, waiting: Iterator[Job]) -> None:
        """Give a hand that has none the next job, to another process where this one is gone."""
        job = None if self.stopped else next((each for each in waiting if not self._refused(each)), None)
        is_there = hand in self._hands
        if job is None:
            if is_there and not self.stopped:
                hand.pipe.send(None)
        elif is_there:
            hand.job = job
            hand.pipe.send((job.asked, dict(job.values)))
        else:
            self._hands.append(self._begun(job))

    def _tell(self, job: Job, outcome: Mapping[str, object]) -> None:
        line = self.results.add({**job.facts, **outcome})
        self.failed += "error" in outcome
        self.made += "error" not in outcome
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def failure(error: Exception) -> dict[str, object]:
    """What a line of results says of a job that failed."""
    told: dict[str, object] = {"error": type(error).__name__, "message": str(error)}
    return told | faults_of(error)


# ---- in the processes that work --------------------------------------------------------------------------------------


def work(pipe: Connection, machine: Machine) -> None:
    """Do one job after the other, as they come through the pipe, until None comes or who sends them is gone."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    from backend import Settings, Studio

    with contextlib.closing(Studio(Settings(machine=machine))) as studio:
        while (asked := pipe.recv()) is not None:
            name, values = asked
            try:
                events = studio.run(parse(REQUESTS[name], values))
                outcome: dict[str, object] = {"results": all_facts(_told(events, pipe))}
            except Cancelled:
                return
            except StudioError as error:
                outcome = failure(error)
            except Exception as error:  # one job's end is not that of the others
                log.exception("a job failed")
                outcome = failure(error)
            pipe.send(outcome)


def _told(events: Any, pipe: Connection) -> Iterator[object]:
    """The events but for progress, which goes through the pipe.

    Raises Cancelled when something comes from there, unless a first result is there: then the job is as good as done.
    """
    has_result = False
    with contextlib.closing(events):
        for event in events:
            has_result |= not isinstance(event, Sign | TextDelta)
            if pipe.poll() and not has_result:
                raise Cancelled("The batch was stopped.")
            if isinstance(event, Progress):
                pipe.send(str(event))
            elif not isinstance(event, Sign):
                yield event


def _leave_with_parent() -> None:
    """End at once when the process that began this one is gone: whoever takes its place makes what is missing."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
