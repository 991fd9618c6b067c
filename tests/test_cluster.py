"""Replicas elsewhere: what is asked for, what is lost and done once more, and, with -m scale, Ray Serve itself."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import soundfile

import app
from backend import Settings, Studio
from checkpoints import find
from core.errors import Cancelled, LeaseEnded, MissingWeights, RequestError
from core.events import Preview, Progress, TextDelta
from core.knobs import parse
from core.requests import REQUESTS
from core.steps import leave_if_asked
from jobs.cluster import Replicas, Server, replicas_of
from jobs.estimates import Cost
from jobs.lease import Begun, Here, Step, leased
from jobs.line import Line
from jobs.models import Models
from jobs.work import Need, Product_co, Work
from library.records import Track
from tests.conftest import awaited
from tests.test_jobs import CPU, QUICK, SLOW, Count, until_denoising

TWO = Replicas(least=2, most=2)


@dataclass
class Frail(Here):
    """Work in this process that is lost after its first product, so many times; `waiting` as anywhere else."""

    deaths: int
    attempts: list[float] = field(default_factory=list)
    waiting = "waiting for a replica"
    again = "made once more"
    lost = "Lost twice."

    def __post_init__(self) -> None:
        super().__init__(Models(CPU))

    def steps(self, work: Work[Product_co], stretch: float, stop: threading.Event) -> Iterator[Step[Product_co]]:
        self.attempts.append(stretch)
        for step in super().steps(work, stretch, stop):
            yield step
            if isinstance(step, TextDelta) and len(self.attempts) <= self.deaths:
                raise ConnectionError("the process died")

    def verdict(self, error: Exception, remedy: str, *, begun: bool) -> Exception | None:
        assert begun
        return None if isinstance(error, ConnectionError) else error


def test_work_that_is_lost_is_done_once_more_tells_nothing_twice_and_says_so() -> None:
    way, events = Frail(deaths=1), []
    work = leased(Count(), way)
    while True:
        try:
            events.append(next(work))
        except StopIteration as end:
            assert end.value.notes == ("made once more",)
            break
    assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta("one"), TextDelta("two")]
    assert events.count(Progress("queued", note="waiting for a replica")) == 2
    with pytest.raises(LeaseEnded, match=r"Lost twice\. Count less far\."):
        list(leased(Count(), Frail(deaths=2)))


def test_a_line_before_three_devices_serves_three_at_once() -> None:
    line = Line(longest=5, at_once=3)
    entered = [line.place() for _ in range(5)]
    places = [each.__enter__() for each in entered]
    assert [place.before(0) for place in places] == [0, 0, 0, 1, 2]
    entered[1].__exit__(None, None, None)
    assert [place.before(0) for place in (places[0], *places[2:])] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("number", "cluster", "asked"),
    [
        (None, None, None),
        ("4", None, Replicas(least=1, most=4)),
        ("2-8", "host:6379", Replicas(least=2, most=8, cluster="host:6379")),
        (None, "auto", Replicas(cluster="auto")),
    ],
)
def test_the_command_line_says_how_many_replicas_and_where(
    number: str | None, cluster: str | None, asked: Replicas | None
) -> None:
    given = {"--replicas": number, "--cluster": cluster}
    words = [word for name, value in given.items() if value is not None for word in (name, value)]
    assert app.settings_of(app.parser().parse_args(words)).replicas == asked


@pytest.mark.parametrize("number", ["0", "-1", "3-2", "0-2", "two", "1.5", "", "٣", "99999"])
def test_what_is_no_number_of_replicas_is_refused(number: str) -> None:
    with pytest.raises(RequestError, match="replicas"):
        replicas_of(number, None)


def test_without_ray_replicas_are_refused_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("ACE_OUTPUTS_DIR", str(tmp_path))
    assert app.main(["--replicas", "2"]) == 1
    assert "pip install '.[scale]'" in capsys.readouterr().err
    Studio(Settings(outputs=tmp_path, machine=CPU)).close()


@dataclass(frozen=True, kw_only=True)
class Traced:
    """Work that never ends, and tells in which threads it went on and was closed."""

    needs: tuple[Need, ...] = ()
    threads: list[str] = field(default_factory=list)
    cost: ClassVar[Cost] = Cost()
    remedy: ClassVar[str] = ""

    def events(self, models: Models) -> Iterator[TextDelta]:
        try:
            while True:
                self.threads.append(threading.current_thread().name)
                yield TextDelta("on")
        finally:
            self.threads.append(f"closed in {threading.current_thread().name}")


async def first_steps(work: Traced, count: int) -> list[object]:
    """What a replica tells first; then nobody listens any more."""
    told: list[object] = []
    steps = Server(CPU).steps(work, 1.0)
    async for step in steps:
        told.append(step)
        if len(told) == count:
            break
    await steps.aclose()
    return told


def test_a_replica_works_in_one_thread_and_ends_there_when_it_is_cancelled() -> None:
    work = Traced()
    assert awaited(first_steps(work, 3)) == [Begun(), TextDelta("on"), TextDelta("on")]
    assert work.threads == ["work_0", "work_0", "closed in work_0"]


@dataclass(frozen=True, kw_only=True)
class Slow(Traced):
    """Work whose second step ends only when it is to be left."""

    within: threading.Event = field(default_factory=threading.Event)

    def events(self, models: Models) -> Iterator[TextDelta]:
        yield TextDelta("on")
        self.within.set()
        try:
            while True:
                leave_if_asked()
                time.sleep(0.01)
        finally:
            self.threads.append("left")


async def cancelled_within(work: Slow) -> None:
    """Cancel a replica's work as Serve does, while its second step is at work."""
    told: list[object] = []

    async def follow() -> None:
        async for step in Server(CPU).steps(work, 1.0):
            told.append(step)

    following = asyncio.create_task(follow())
    assert await asyncio.to_thread(work.within.wait, 60)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(following, 60)
    assert told == [Begun(), TextDelta("on")]


def test_a_replica_leaves_a_step_when_it_is_cancelled() -> None:
    work = Slow()
    awaited(cancelled_within(work))
    assert work.threads == ["left"]


def test_a_replica_that_lacks_the_weights_says_where_it_looked(tmp_path: Path) -> None:
    place = dataclasses.replace(find.checkpoint("nano"), folder=tmp_path / "elsewhere")
    (told,) = awaited(first_steps(Traced(needs=(Need("song", place),)), 9))
    assert isinstance(told, MissingWeights) and f"{tmp_path / 'elsewhere'} on {platform.node()}" in told.message


# ---- Ray Serve ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory, tiny_nano: None) -> Iterator[Studio]:
    """A studio whose work is done by two replicas."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", "1")
        outputs = tmp_path_factory.mktemp("apart")
        with closing(Studio(Settings(checkpoint="nano", machine=CPU, outputs=outputs, replicas=TWO))) as made:
            yield made


def songs_of(studio: Studio, **values: object) -> list[Track]:
    request = parse(REQUESTS["generate"], QUICK | values)
    return [event for event in studio.run(request) if isinstance(event, Track)]


def pids() -> set[int]:
    """The processes that Serve started for the replicas."""
    found = set()
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if each.read_bytes().startswith(b"ray::ServeReplica:studio-"):
                found.add(int(each.parent.name))
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.mark.scale
def test_a_replica_makes_the_same_samples_and_tells_as_much(apart: Studio, tmp_path: Path, one_thread: None) -> None:
    values = {"inference_steps": 12, "variations": 2, "preview": True}
    events = list(apart.run(parse(REQUESTS["generate"], QUICK | values)))
    with closing(Studio(Settings(checkpoint="nano", machine=CPU, outputs=tmp_path))) as here:
        alone = songs_of(here, **values)
    made = [event for event in events if isinstance(event, Track)]
    assert [track.key for track in made] == [track.key for track in alone]
    for one, other in zip(made, alone, strict=True):
        assert (soundfile.read(one.path)[0] == soundfile.read(other.path)[0]).all()
        assert (one.plan, one.device, one.notes) == (other.plan, other.device, other.notes)
    steps = {event.step for event in events if isinstance(event, Progress) and event.stage == "denoising"}
    assert steps == set(range(1, 13))
    assert any(isinstance(event, Preview) for event in events)


@pytest.mark.scale
def test_two_songs_are_made_at_once_and_the_third_waits(apart: Studio) -> None:
    first, second = (apart.run(parse(REQUESTS["generate"], SLOW | {"seed": seed})) for seed in (11, 12))
    until_denoising(first), until_denoising(second)
    third = apart.run(parse(REQUESTS["generate"], QUICK | {"seed": 13}))
    assert next(event for event in third if "before" in str(event)) == Progress("queued", note="queued · 1 before you")
    assert apart.status().state == "running"
    first.close()
    assert [event for event in third if isinstance(event, Track)]
    until_denoising(second)
    second.close()


@pytest.mark.scale
def test_a_cancel_reaches_a_replica_and_leaves_it_free(apart: Studio) -> None:
    running = apart.run(parse(REQUESTS["generate"], SLOW | {"seed": 21}), job="slow")
    until_denoising(running)
    assert apart.cancel("slow")
    with pytest.raises(Cancelled):
        list(running)
    assert len(songs_of(apart, seed=22)) == len(songs_of(apart, seed=23)) == 1


@pytest.mark.scale
def test_the_song_of_a_replica_that_dies_is_made_once_more_by_another_and_says_so(apart: Studio) -> None:
    calm = songs_of(apart, seed=31, inference_steps=60)
    values = QUICK | {"seed": 31, "inference_steps": 60}
    song = apart.run(parse(REQUESTS["generate"], values), fresh=True)
    until_denoising(song)
    os.kill(_busiest(), signal.SIGKILL)
    tracks = [event for event in song if isinstance(event, Track)]
    assert "made once more by another" in tracks[0].notes[0]
    assert tracks[0].sha256 == calm[0].sha256
    assert len(apart.library.find(calm[0].key)) >= 1


def _busiest() -> int:
    """The replica that computes now."""

    def ticks(pid: int) -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = {pid: ticks(pid) for pid in pids()}
    time.sleep(0.3)
    return max(before, key=lambda pid: ticks(pid) - before[pid])
