"""Stop a studio by a signal again and again, in the middle of a song: does it end in time, and keep what is finished?

.venv/bin/python -m tests.attack.stops --times 20
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from core.files import sha256
from library.index import FILES
from library.tracks import Library
from tests.conftest import ROOT, App, serving, stopped
from tests.visitor import Visitor

IN_TIME_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Stop:
    """How one studio ended: its exit code, after how long, and what was wrong then."""

    code: int
    seconds: float
    faults: tuple[str, ...]


def stop_once(home: Path, number: signal.Signals, after_s: float) -> Stop:
    """Start a studio, let it make songs while a page listens, and stop it so many seconds later."""
    with serving(home, ROOT / "app.py") as app:
        threading.Thread(target=_listen, args=(app,), daemon=True).start()
        threading.Thread(target=_ask, args=(app,), daemon=True).start()
        time.sleep(after_s)
        finished = {track.id: track.sha256 for track in Library(app.outputs).list()}
        begun = time.monotonic()
        os.kill(app.pid, number)
        code = stopped(app, 60)
        seconds = time.monotonic() - begun
    return Stop(code=code, seconds=seconds, faults=tuple(_faults(app, finished)))


def _listen(app: App) -> None:
    """A page that stays open."""
    try:
        with httpx.stream("GET", f"{app.url}/gradio_api/heartbeat/a-page", timeout=None) as stream:
            for _ in stream.iter_lines():
                pass
    except httpx.HTTPError:
        return


def _ask(app: App) -> None:
    """A client that asks for one song after another."""
    try:
        visitor = Visitor(app.url)
        for seed in range(1000):
            visitor.ask("generate", prompt="rain", duration_s=10, inference_steps=4, seed=seed)
    except (httpx.HTTPError, KeyError, ValueError):
        return


def _faults(app: App, finished: dict[str, str]) -> list[str]:
    there = {track.id: track for track in Library(app.outputs).list()}
    faults = [f"{each} is lost" for each in finished if each not in there]
    faults += [f"{each.id} is broken" for each in there.values() if sha256(each.path) != each.sha256]
    known = {*FILES, *(f"{each}{suffix}" for each in there for suffix in (".json", ".wav", ".safetensors"))}
    faults += [f"{path.name} is left" for path in app.outputs.glob("*") if path.is_file() and path.name not in known]
    return faults


def main() -> int:
    """The exit code: 0 if every stop was clean."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--times", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    rng, stops = random.Random(asked.seed), []
    for turn in range(asked.times):
        with tempfile.TemporaryDirectory() as home:
            number = (signal.SIGTERM, signal.SIGTERM, signal.SIGTERM, signal.SIGINT)[turn % 4]
            stop = stop_once(Path(home), number, rng.uniform(0.5, 8.0))
        stops.append(stop)
        sys.stderr.write(f"{turn + 1}: {number.name}, exit {stop.code} after {stop.seconds:.1f} s {stop.faults}\n")
    clean = [each for each in stops if each.code == 0 and each.seconds <= IN_TIME_S and not each.faults]
    longest = max(each.seconds for each in stops)
    sys.stdout.write(f"stops: {len(clean)} of {len(stops)} clean, the longest took {longest:.1f} s\n")
    return 0 if len(clean) == len(stops) else 1


if __name__ == "__main__":
    sys.exit(main())
