"""What replicas are worth, and what they survive: `python benchmarks/scale.py`, where the extra `scale` is installed.

The studio is started as a user starts it, one thread for each device: on nano without replicas, with one and with two.
Clients of its API ask for songs, which are counted by the clock, with the processor's seconds that the front itself
took for each. Then, on a few thousand random weights, two replicas serve all the clients while they are killed in turn.
Told are the songs that were lost, those that differ from the single process's, and the seconds to the end of a cancel.
Last, one replica that may become two: when the second is there, and when it has gone again.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from gradio_client import Client

from library.tracks import Library
from tests.conftest import App, serving
from tests.tiny import QUICK, STUDIO_RATE, save_tiny

ROOT = Path(__file__).parent.parent
SONG: dict[str, Any] = {"prompt": "lofi hip hop", "inference_steps": 4}
QUIET = {"OMP_NUM_THREADS": "1"}
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
JOB_S = 1800.0
ATTEMPTS = 3


@dataclass
class Served:
    """What clients got: the hash of each song by its seed, its notes, and what went wrong."""

    songs: dict[int, str] = field(default_factory=dict)
    again: int = 0
    failed: list[str] = field(default_factory=list)
    clock_s: float = 0.0
    front_s: float = 0.0


def processor_s(pid: int) -> float:
    """The processor's seconds that a process took so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def replicas() -> list[int]:
    """The processes that Serve started for the replicas."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if each.read_bytes().startswith(b"ray::ServeReplica:studio-"):
                found.append(int(each.parent.name))
        except OSError:  # it ended meanwhile
            continue
    return found


@contextmanager
def studio(home: Path, replicas: str, environment: Mapping[str, str]) -> Iterator[App]:
    """The studio, with so many replicas, say 2-2; without a number it renders in the process of the page."""
    options = ("--checkpoint", "nano", "--device", "cpu")
    more = ("--replicas", replicas) if replicas else ()
    with ExitStack() as stack:
        for attempt in range(ATTEMPTS):
            tried = home / str(attempt)
            tried.mkdir(parents=True)
            program = serving(tried, ROOT / "app.py", *options, *more, environment={**QUIET, **environment})
            try:
                running = stack.enter_context(program)
                break
            except HTTPException:  # Ray's processes take free ports too, and one of them took this
                continue
        yield running


def serve(app: App, seeds: Sequence[int], clients: int, seconds: int = 10) -> Served:
    """Let so many clients ask for the songs of these seeds, each for one after another."""
    served = Served()
    library = Library(app.outputs)

    def one(number: int) -> None:
        client = Client(app.url, verbose=False, download_files=False)
        for seed in seeds[number::clients]:
            try:
                facts = client.submit(**SONG, duration_s=seconds, seed=seed, api_name="/generate").result(
                    timeout=JOB_S
                )[1]
                track = library.get(facts["id"])
                served.songs[seed] = track.sha256
                served.again += any("made once more" in note for note in track.notes)
            except Exception as error:  # whatever it is, it is counted and told
                served.failed.append(f"seed {seed}: {error!r}")
        client.close()

    before, started = processor_s(app.pid), time.monotonic()
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(one, range(clients)))
    served.clock_s, served.front_s = time.monotonic() - started, processor_s(app.pid) - before
    return served


def busiest() -> int | None:
    """The replica that computes now; None where none does."""
    try:
        before = {pid: processor_s(pid) for pid in replicas()}
        time.sleep(0.3)
        spent = {pid: processor_s(pid) - ticks for pid, ticks in before.items()}
    except OSError:
        return None
    found = max(spent, key=lambda pid: spent[pid], default=None)
    return found if found is not None and spent[found] > 0.1 else None


def kill_now_and_then(over: threading.Event, every_s: float, killed: list[int]) -> None:
    """Kill a replica that is at work, again and again, as long as another one is there."""
    while not over.wait(every_s):
        pid = busiest()
        if pid is not None and len(replicas()) > 1:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)


def cancels(app: App, count: int) -> list[float]:
    """Seconds from a cancel to its end, each in the middle of a song."""
    taken = []
    client = Client(app.url, verbose=False, download_files=False)
    for number in range(count):
        job = client.submit(
            **{**SONG, "inference_steps": 200}, duration_s=10, seed=90_000 + number, api_name="/generate"
        )
        while not any("denoising" in str(output[-1]) for output in job.outputs()):
            time.sleep(0.02)
        started = time.monotonic()
        job.cancel()
        while not job.done():
            time.sleep(0.005)
        taken.append(time.monotonic() - started)
    client.close()
    return taken


def adapted(app: App, songs: int, clients: int) -> tuple[float, float]:
    """Seconds from the first of many songs to the second replica, and from the last one's end to its going."""
    serve(app, [80_000], 1)
    started, second = time.monotonic(), list[float]()

    def watch() -> None:
        while len(replicas()) < 2:
            time.sleep(0.1)
        second.append(time.monotonic() - started)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    serve(app, range(81_000, 81_000 + songs), clients)
    over = time.monotonic()
    while second and len(replicas()) > 1:
        time.sleep(0.5)
    return second[0] if second else float("inf"), time.monotonic() - over


def say(line: str) -> None:
    """Write a line of the report."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def timed(folder: Path, count: int, songs: int, clients: int) -> Served:
    """What clients got on nano with so many replicas, once each of those has loaded."""
    with studio(folder / f"nano-{count}", f"{count}-{count}" if count else "", {}) as app:
        warm = max(count, 1)
        serve(app, range(2 * warm), warm)
        return serve(app, range(1000, 1000 + songs), clients)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timed", type=int, default=40, help="songs of each timed run, on nano")
    parser.add_argument("--jobs", type=int, default=200, help="songs while replicas are killed, on random weights")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=10, help="of each song while replicas are killed")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two kills")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        rates = []
        for count in (0, 1, 2) if options.timed else ():
            got = timed(folder, count, options.timed, options.clients)
            rates.append(len(got.songs) / got.clock_s)
            each = f"the front took {got.front_s / options.timed:.2f} s of processor for each"
            say(f"{count} replicas: {3600 * rates[-1]:.0f} songs an hour, {each}, {len(got.failed)} failed")
        if rates:
            say(f"two replicas to one: {rates[2] / rates[1]:.2f}; one replica to none: {rates[1] / rates[0]:.2f}")
        weights = {"ACE_NANO_DIR": str(save_tiny(folder / "tiny", rate=STUDIO_RATE, ratios=QUICK))}
        seeds = range(options.jobs)
        with studio(folder / "alone", "", weights) as app:
            alone = serve(app, seeds, options.clients, options.seconds)
        with studio(folder / "apart", "2-2", weights) as app:
            over, killed = threading.Event(), list[int]()
            killer = threading.Thread(target=kill_now_and_then, args=(over, options.every, killed))
            killer.start()
            got = serve(app, seeds, options.clients, options.seconds)
            over.set()
            killer.join()
            missing = set(seeds) - {track.seed for track in Library(app.outputs).list()}
            both = got.songs.keys() & alone.songs.keys()
            differ = [seed for seed in both if got.songs[seed] != alone.songs[seed]]
            say(
                f"{len(seeds)} songs, {options.clients} clients: {got.clock_s:.0f} s; one process {alone.clock_s:.0f} s"
            )
            say(f"the front took {got.front_s / len(seeds):.2f} s of processor for each")
            say(f"{len(killed)} replicas killed at work, {got.again} songs made once more")
            say(f"{len(got.failed)} failed, {len(missing)} missing, {len(differ)} of {len(both)} with other samples")
            say("\n".join([*got.failed, *(f"in one process: {line}" for line in alone.failed)]))
            taken = cancels(app, 10)
            say(f"cancel: median {statistics.median(taken):.2f} s, at the most {max(taken):.2f} s")
        with studio(folder / "growing", "1-2", weights) as app:
            came_s, went_s = adapted(app, options.jobs // 2, options.clients)
            say(f"one replica of at most two: the second was there after {came_s:.0f} s and went {went_s:.0f} s later")


if __name__ == "__main__":
    main()
