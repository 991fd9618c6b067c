"""What the studio bears: `python benchmarks/soak.py clients | sessions | leavers | kills`, or all in turn.

Songs of ten seconds on a few thousand random weights, whose rendering takes little: what is left is the studio itself.

clients    so many for so long, each asking for one song after another; 503 is an answer, a wrong song is not
sessions   a song for each of many visitors, and what the process holds after the first of them and after the last
leavers    jobs whose page goes away at a random moment: the browser must find each of them again
kills      kill -9 at a random moment of saving, naming, favouring, deleting and bringing back; then a new start
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import httpx

from backend import Settings, Studio
from core.errors import StudioError
from core.files import sha256
from core.knobs import parse
from core.requests import REQUESTS
from library.records import Track
from library.repair import repair
from library.tracks import Library
from networks.machine import Machine
from tests.conftest import App, serving
from tests.tiny import QUICK, STUDIO_RATE, save_tiny
from ui.sessions import Jobs

ROOT = Path(__file__).parent.parent
SONG: dict[str, Any] = {"prompt": "lofi hip hop", "duration_s": 10, "inference_steps": 2}
LONG_S = 0.25
"""A callback that takes longer holds up everybody."""
FULL = "Too many jobs wait"
ANSWER_S = 600.0
REST_S = 1.0
"""A song is told before its thread has ended."""


def say(line: str) -> None:
    """Write a line of the report."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


# ---- the studio and what it holds ----------------------------------------------------------------------------------


@contextmanager
def studio(home: Path, *options: str) -> Iterator[App]:
    """The studio on tiny weights, its event loop watched."""
    weights = save_tiny(home / "tiny", rate=STUDIO_RATE, ratios=QUICK)
    (home / "tmp").mkdir()
    environment = {
        "ACE_NANO_DIR": str(weights),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(home / "tmp"),
        "SOAK_STALLS": str(home / "stalls"),
    }
    usual = ("--checkpoint", "nano", "--device", "cpu")
    with serving(home, Path(__file__), "serve", *usual, *options, environment=environment) as running:
        yield running


def serve_watched() -> None:
    """Run app.py, and write down each callback of an event loop that takes too long, by both clocks."""
    import asyncio
    import runpy

    run, stalls = asyncio.events.Handle._run, Path(os.environ["SOAK_STALLS"])
    stalls.write_text("")

    def watched(handle: asyncio.Handle) -> None:
        clock, work = time.monotonic(), time.thread_time()
        task = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
        name = repr(task.get_coro() if isinstance(task, asyncio.Task) else handle)[:200]
        run(handle)
        took = time.monotonic() - clock
        if took > LONG_S:
            with stalls.open("a") as lines:
                lines.write(json.dumps([round(took, 3), round(time.thread_time() - work, 3), name]) + "\n")

    asyncio.events.Handle._run = watched  # type: ignore[assignment, method-assign]
    sys.argv = [str(ROOT / "app.py"), *(each for each in sys.argv[1:] if each != "serve")]
    runpy.run_path(sys.argv[0], run_name="__main__")


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a process holds: memory in MB, threads, descriptors, and files that are temporary."""

    resident_mb: float
    threads: int
    descriptors: int
    temporary: int
    temporary_mb: float

    def __str__(self) -> str:
        temporary = f"{self.temporary} temporary files of {self.temporary_mb:.1f} MB"
        return f"{self.resident_mb:.0f} MB, {self.threads} threads, {self.descriptors} descriptors, {temporary}"


def held(app: App) -> Held:
    """What the studio holds now."""
    facts = dict(line.split(":", 1) for line in Path(f"/proc/{app.pid}/status").read_text().splitlines())
    home = app.outputs.parent
    files = [path for folder in ("tmp", "uploads") for path in (home / folder).rglob("*") if path.is_file()]
    return Held(
        resident_mb=int(facts["VmRSS"].split()[0]) / 1024,
        threads=int(facts["Threads"]),
        descriptors=len(list(Path(f"/proc/{app.pid}/fd").iterdir())),
        temporary=len(files),
        temporary_mb=sum(path.stat().st_size for path in files) / 1e6,
    )


class Visitor:
    """A session that asks for songs over HTTP, as a program does."""

    def __init__(self, app: App, fields: list[dict[str, Any]]) -> None:
        self._http = httpx.Client(base_url=f"{app.url}/gradio_api", timeout=ANSWER_S)
        self._fields, self.session = fields, uuid.uuid4().hex

    def song(self, **values: object) -> dict[str, Any]:
        """What is known of the song. Raises StudioError with what the studio says when it makes none."""
        given = SONG | values
        data = [given.get(each["parameter_name"], each.get("parameter_default")) for each in self._fields]
        asked = self._http.post("/call/generate", json={"data": data, "session_hash": self.session})
        if asked.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise StudioError(FULL)
        asked.raise_for_status()
        with self._http.stream("GET", f"/call/generate/{asked.json()['event_id']}") as stream:
            kind, body = "", ""
            for line in stream.iter_lines():
                name, _, rest = line.partition(": ")
                kind = rest if name == "event" else kind
                body = rest if name == "data" else body
        if kind != "complete":
            raise StudioError(body)
        facts: dict[str, Any] = json.loads(body)[1]
        return facts

    def close(self) -> None:
        """Hang up."""
        self._http.close()


def fields_of(app: App) -> list[dict[str, Any]]:
    """The parameters of Generate, in their order."""
    told = httpx.get(f"{app.url}/gradio_api/info", timeout=ANSWER_S).json()
    return list(told["named_endpoints"]["/generate"]["parameters"])


# ---- clients ---------------------------------------------------------------------------------------------------------


@dataclass
class Clients:
    """What so many clients got: songs by client, refusals, what was wrong, and the callbacks that took too long."""

    songs: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    stalls: list[tuple[float, float, str]] = field(default_factory=list)

    def __str__(self) -> str:
        each = [self.songs[number] for number in sorted(self.songs)] or [0]
        own = [stall for stall in self.stalls if stall[1] > LONG_S]
        fair = f"each client got {min(each)} to {max(each)} ({max(each) / max(1, min(each)):.2f} times)"
        return (
            f"{sum(each)} songs, {fair}, {self.refused} times refused for the moment, {len(self.wrong)} wrong; "
            f"{len(self.stalls)} callbacks over {LONG_S} s by the clock, {len(own)} of them by the processor's"
        )


def clients(home: Path, count: int, seconds: float, *options: str) -> Clients:
    """So many clients for so long; in the end every song is looked at."""
    told = Clients()
    with studio(home, *options) as app:
        fields, library, until = fields_of(app), Library(app.outputs), time.monotonic() + seconds
        made: dict[int, str] = {}

        def one(number: int) -> None:
            visitor, asked = Visitor(app, fields), 0
            told.songs[number] = 0
            while time.monotonic() < until:
                seed = number * 100_000 + asked
                try:
                    facts = visitor.song(seed=seed)
                except StudioError as refusal:
                    if FULL not in str(refusal):
                        told.wrong.append(f"seed {seed}: {refusal}")
                    told.refused += 1
                    time.sleep(random.uniform(0.5, 1.5))
                    continue
                except httpx.HTTPError as error:
                    told.wrong.append(f"seed {seed}: {error!r}")
                    continue
                asked += 1
                told.songs[number] += 1
                made[seed] = facts["id"]
            visitor.close()

        with ThreadPoolExecutor(count) as threads:
            list(threads.map(one, range(count)))
        say(f"afterwards: {held(app)}")
        for seed, identity in made.items():
            track = library.get(identity)
            if track.seed != seed or sha256(track.path) != track.sha256:
                told.wrong.append(f"seed {seed}: track {identity}")
    told.stalls = [tuple(json.loads(line)) for line in (home / "stalls").read_text().splitlines()]
    return told


# ---- sessions --------------------------------------------------------------------------------------------------------


def sessions(home: Path, count: int, settled: int, songs: int, *options: str) -> tuple[Held, Held]:
    """What is held after the first sessions and after the last; each asks for one of so many songs."""
    first: Held | None = None
    with studio(home, *options) as app:
        fields = fields_of(app)
        for number in range(count):
            visitor = Visitor(app, fields)
            visitor.song(seed=number % songs)
            visitor.close()
            if number + 1 == settled or (number + 1) % max(1, count // 10) == 0:
                time.sleep(REST_S)
                say(f"after {number + 1} sessions: {held(app)}")
            if number + 1 == settled:
                first = held(app)
        assert first is not None
        return first, held(app)


# ---- leavers ---------------------------------------------------------------------------------------------------------


@contextmanager
def tiny_studio(home: Path) -> Iterator[Studio]:
    """A studio in this process, on the tiny weights in the folder."""
    os.environ["ACE_NANO_DIR"] = str(home / "tiny")
    machine = Machine(device="cpu")
    with closing(Studio(Settings(checkpoint="nano", machine=machine, outputs=home / "outputs"))) as made:
        yield made


def leavers(home: Path, count: int, choose: random.Random) -> list[str]:
    """The jobs that were not found again, each left after a random number of events."""
    save_tiny(home / "tiny", rate=STUDIO_RATE, ratios=QUICK)
    lost = []
    with tiny_studio(home) as studio:
        jobs = Jobs(studio)
        for number in range(count):
            session, browser = f"session {number}", f"browser {number}"
            jobs.expect(session, browser)
            events = jobs.run("generate", {**SONG, "inference_steps": 8, "seed": number}, session)
            for _ in range(choose.randrange(1, 14)):
                next(events, None)
            events.close()
            found = jobs.find(browser)
            told = [] if found is None else list(jobs.follow(found, f"{session} again"))
            if not any(isinstance(event, Track) and event.seed == number for event in told):
                lost.append(f"job {number}: {found}")
    return lost


# ---- kills -----------------------------------------------------------------------------------------------------------


@dataclass
class Killed:
    """What so many kills left: tracks told as saved and gone, those that are damaged, and files of no track."""

    rounds: int = 0
    told: int = 0
    lost: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    litter: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        before = ", ".join(f"{count} {name}" for name, count in sorted(self.litter.items())) or "nothing"
        after = ", ".join(f"{count} {name}" for name, count in sorted(self.left.items())) or "nothing"
        return (
            f"{self.rounds} kills, {self.told} songs saved: {len(self.lost)} lost, {len(self.corrupt)} corrupt; "
            f"litter before a start: {before}; after it: {after}"
        )


def work_until_killed(home: Path, seed: int, pipe: int) -> None:
    """Make songs and change them, telling each that was saved and each that was deleted."""
    choose = random.Random(seed)
    with tiny_studio(home) as studio, os.fdopen(pipe, "w", buffering=1) as tell:
        for number in range(1000):
            request = parse(REQUESTS["generate"], {**SONG, "variations": 2, "seed": 1000 * seed + number})
            for event in studio.run(request):
                if isinstance(event, Track):
                    tell.write(f"saved {event.id}\n")
            track = choose.choice(studio.library.list())
            with suppress(StudioError):
                studio.library.rename(track.id, f"song {number}")
                studio.library.favour(track.id, choose.random() < 0.5)
                list(studio.run(parse(REQUESTS["export"], {"track": track.id})))
                if choose.random() < 0.3:
                    tell.write(f"gone {track.id}\n")
                    studio.library.discard(track.id)
                    if choose.random() < 0.5:
                        studio.library.restore(track.id)
                        tell.write(f"saved {track.id}\n")


def kills(home: Path, count: int, choose: random.Random, latest_s: float = 2.0) -> Killed:
    """Kill a studio so many times, each at a random moment after its first song was saved."""
    save_tiny(home / "tiny", rate=STUDIO_RATE, ratios=QUICK)
    import torch

    torch.set_num_threads(1)  # before anything is computed: a forked process has no pool of threads
    told, there = Killed(rounds=count), set[str]()
    for round_ in range(count):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            try:
                work_until_killed(home, round_, writing)
            finally:
                os._exit(1)
        os.close(writing)
        timer = threading.Timer(choose.uniform(0.05, latest_s), os.kill, (child, signal.SIGKILL))
        with os.fdopen(reading) as lines:
            for line in lines:
                if not timer.is_alive() and timer.ident is None:
                    timer.start()
                word, _, identity = line.strip().partition(" ")
                told.told += word == "saved"
                (there.add if word == "saved" else there.discard)(identity)
        os.waitpid(child, 0)
        _look(home, told, there)
    return told


def _look(home: Path, told: Killed, there: set[str]) -> None:
    """Compare the folder with what was told, before the next start and after it."""
    told.litter |= litter(home / "outputs")
    with tiny_studio(home) as studio:
        started(studio)
        known = {track.id: track for track in studio.library.list()}
    told.left |= litter(home / "outputs")
    told.lost += there - known.keys()
    there -= there - known.keys()
    told.corrupt += [track.id for track in known.values() if sha256(track.path) != track.sha256]


def started(studio: Studio) -> None:
    """What a start does to the library before the page is served."""
    studio.library.empty_trash()
    repair(studio.library)


def litter(outputs: Path) -> Counter[str]:
    """The files that belong to no track, by their kind."""
    tracks = {path.stem for path in outputs.glob("*.json")}
    sounds = set()
    for path in outputs.glob("*.json"):
        with suppress(ValueError, KeyError):
            sounds.add(json.loads(path.read_text())["sha256"])
    found: Counter[str] = Counter()
    for path in outputs.rglob("*"):
        if not path.is_file():
            continue
        parts = path.relative_to(outputs).parts
        if len(parts) == 1 and (path.stem in tracks or path.suffix not in (".wav", ".safetensors", ".json")):
            if path.suffix in (".wav", ".safetensors", ".json") or path.name.startswith("index"):
                continue
            if path.name == ".key" or "sqlite" in path.name or "index" in path.name:
                continue
        if len(parts) > 1 and any(part in sounds for part in parts):
            continue
        found[
            "/".join([*(part if len(part) < 20 else "*" for part in parts[:-1]), f"*{''.join(path.suffixes[-2:])}"])
        ] += 1
    return found


# ---- the command line ------------------------------------------------------------------------------------------------


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="clients, sessions, leavers, kills; left out: all")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--settled", type=int, default=50, help="sessions after which memory is first looked at")
    parser.add_argument("--songs", type=int, default=1000, help="of the sessions; fewer come from the library again")
    parser.add_argument("--leavers", type=int, default=100)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--option", action="append", default=[], help="of the server, say --option=--max-queue=60")
    options = parser.parse_args()
    parts: Mapping[str, Any] = {
        "clients": lambda home: clients(home, options.clients, options.seconds, *options.option),
        "sessions": lambda home: "first {}; last {}".format(
            *sessions(home, options.sessions, options.settled, options.songs, *options.option)
        ),
        "leavers": lambda home: (
            f"{options.leavers} left, lost: {leavers(home, options.leavers, random.Random(options.seed))}"
        ),
        "kills": lambda home: kills(home, options.kills, random.Random(options.seed)),
    }
    for part in options.parts or parts:
        with tempfile.TemporaryDirectory() as home:
            told = parts[part](Path(home))
            say(f"{part}: {told}")
            longest = sorted(getattr(told, "stalls", []), key=lambda stall: -stall[1])
            for line in getattr(told, "wrong", [])[:20] + longest[:10]:
                say(f"  {line}")


if __name__ == "__main__":
    serve_watched() if "serve" in sys.argv else main()
