"""Jobs that outlive who asked for them, and the line in which they wait."""

from __future__ import annotations

import platform
import threading
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from core.errors import Busy, Cancelled, StudioError
from core.events import Progress, TextDelta
from core.steps import leave_if_asked
from jobs.line import Line
from jobs.workers import UNHEARD, Ticket, Workers

PATIENCE_S = 60
Told = Generator[Progress | TextDelta, None, None]


class Counting:
    """A job that waits in line until it is let go, then counts to three, told when to go on from one."""

    def __init__(self) -> None:
        self.turn = threading.Event()
        self.go = threading.Event()

    def __call__(self, stop: threading.Event) -> Told:
        yield Progress("queued", note="queued · 1 before you")
        while not self.turn.wait(0.01):
            if stop.is_set():
                raise Cancelled("The job was cancelled while it waited.")
        for step in (1, 2, 3):
            yield Progress("denoising", step, 3)
            if step == 1:
                self.go.wait(PATIENCE_S)
        yield TextDelta("done")


@pytest.fixture
def workers() -> Workers[Progress | TextDelta]:
    return Workers()


def ended(workers: Workers[Progress | TextDelta]) -> None:
    """Wait until no job runs."""
    pause = threading.Event()
    for _ in range(PATIENCE_S * 100):
        if not workers.tickets(ended=False):
            return
        pause.wait(0.01)
    pytest.fail("a job did not end")


def test_a_job_that_is_left_runs_on_and_is_told_to_all_who_come_back(workers: Workers[Progress | TextDelta]) -> None:
    job = Counting()
    job.turn.set()
    workers.begin(job, Ticket(job="mine", asked="generate", owner="me"))
    with closing(workers.follow("mine")) as first:
        assert next(event for event in first if str(event).startswith("denoising")) == Progress("denoising", 1, 3)
    assert [ticket.owner for ticket in workers.tickets(ended=False)] == ["me"]
    back, beside = workers.follow("mine"), workers.follow("mine")
    for events in (back, beside):
        assert [next(events), next(events)] == [Progress("queued"), Progress("denoising", 1, 3)]
    job.go.set()
    assert [event for event in back if isinstance(event, TextDelta)] == [TextDelta("done")]
    assert [event for event in beside if isinstance(event, TextDelta)] == [TextDelta("done")]
    assert workers.tickets(ended=False) == workers.tickets(ended=True) == []


def test_a_caller_that_runs_a_job_and_goes_away_ends_it(workers: Workers[Progress | TextDelta]) -> None:
    job = Counting()
    events = workers.run(job, "mine")
    assert next(events) == Progress("queued")
    events.close()
    assert not workers.cancel("mine")
    assert workers.tickets(ended=False) == []


def test_a_job_that_waits_and_is_left_is_dropped_after_its_grace(workers: Workers[Progress | TextDelta]) -> None:
    workers.begin(Counting(), Ticket(job="waits", grace_s=0))
    with closing(workers.follow("waits")) as events:
        next(events)
    ended(workers)
    with pytest.raises(Cancelled):
        list(workers.follow("waits"))


def test_a_job_that_is_left_in_line_at_home_or_at_work_anywhere_is_finished(
    workers: Workers[Progress | TextDelta],
) -> None:
    at_home, at_work = Counting(), Counting()
    at_work.turn.set()
    workers.begin(at_home, Ticket(job="at home"))
    workers.begin(at_work, Ticket(job="at work", grace_s=0))
    with closing(workers.follow("at home")) as events:
        next(events)
    with closing(workers.follow("at work")) as events:
        next(event for event in events if str(event).startswith("denoising"))
    for job in (at_home, at_work):
        job.turn.set()
        job.go.set()
    ended(workers)
    for name in ("at home", "at work"):
        assert list(workers.follow(name))[-1] == TextDelta("done")


def test_results_that_nobody_fetches_do_not_pile_up(workers: Workers[Progress | TextDelta]) -> None:
    def words(stop: threading.Event) -> Told:
        yield TextDelta("la")

    for number in range(UNHEARD + 5):
        workers.begin(words, Ticket(job=str(number)))
        ended(workers)
    kept = [ticket.job for ticket in workers.tickets(ended=True)]
    assert len(kept) <= UNHEARD + 1
    assert kept[0] == str(UNHEARD + 4)


def test_a_line_that_is_full_refuses_and_serves_who_must() -> None:
    line = Line(longest=1)
    with line.turn():
        with pytest.raises(Busy, match="1 before"), line.place():
            pass
        with line.place(urgent=True) as second:
            assert second.before(0) == 1
    with line.place() as alone:
        assert alone.before(0) == 0


def test_owners_take_turns_and_nobody_waits_for_more_than_one_job_of_each() -> None:
    line = Line(longest=8)
    with ExitStack() as stack:
        first = stack.enter_context(line.place(owner="many", seconds=180.0))
        assert first.before(0) == 0
        many = [stack.enter_context(line.place(owner="many")) for _ in range(4)]
        assert [place.before(0) for place in many] == [1, 2, 3, 4]
        one = stack.enter_context(line.place(owner="one"))
        other = stack.enter_context(line.place(owner="other"))
        assert [place.before(0) for place in (many[0], one, other, *many[1:])] == [1, 2, 3, 4, 5, 6]
        stack.enter_context(line.place(owner="other"))
        with pytest.raises(Busy, match="8 before this one. Try again in about 3 min"), line.place(owner="late"):
            pass


def test_a_line_serves_in_turn_while_who_is_served_leaves() -> None:
    line, served = Line(longest=9), list[str]()
    with ExitStack() as opening:
        at_work = opening.enter_context(line.place(owner="a"))

        def wait(owner: str) -> None:
            with line.place(owner=owner) as place:
                queued.release()
                place.before(None)
                served.append(owner)

        queued, threads = threading.Semaphore(0), []
        for owner in ("a", "a", "a", "b", "c", "b"):
            threads.append(threading.Thread(target=wait, args=(owner,)))
            threads[-1].start()
            queued.acquire()
        assert at_work.before(0) == 0
    for thread in threads:
        thread.join()
    with line.turn():
        assert served == ["a", "b", "c", "a", "b", "a"]


def test_time_left_goes_down_while_nothing_is_told() -> None:
    told = Progress("decoding", left_s=10)
    assert (told.after(4).left_s, told.after(40).left_s) == (6, 0)
    assert Progress("decoding").after(4) == Progress("decoding")


def test_a_job_that_ends_with_its_thread_is_heard_to_end(workers: Workers[Progress | TextDelta]) -> None:
    def leaving(stop: threading.Event) -> Told:
        yield Progress("denoising", 1, 3)
        raise SystemExit("gone")

    with pytest.raises(StudioError, match="The job ended at once: SystemExit"):
        list(workers.run(leaving))


def test_a_cancel_is_seen_inside_a_step(workers: Workers[Progress | TextDelta]) -> None:
    def endless(stop: threading.Event) -> Told:
        yield Progress("denoising", 1, 1)
        for _ in range(PATIENCE_S * 100):
            leave_if_asked()
            threading.Event().wait(0.01)

    workers.begin(endless, Ticket(job="mine"))
    assert workers.cancel("mine")
    with pytest.raises(Cancelled):
        list(workers.follow("mine"))
    leave_if_asked()  # only the job's


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_what_a_job_freed_goes_back_to_the_system(workers: Workers[Progress | TextDelta]) -> None:
    kept: list[bytearray] = []

    def wasteful(stop: threading.Event) -> Told:
        yield Progress("denoising", 1, 1)
        pieces = [bytearray(b"x" * 60_000) for _ in range(5000)]
        kept.append(pieces[-1])  # behind all the others in this thread's heap

    before = resident_mb()
    workers.begin(wasteful, Ticket(job="mine"))
    assert workers.wait(PATIENCE_S)
    assert resident_mb() - before < 100


def resident_mb() -> float:
    """What this process holds."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
