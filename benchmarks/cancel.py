"""How long a cancel takes in every stage of every kind of job: from the call until its stream has ended.

    .venv/bin/python benchmarks/cancel.py                          # nano, a song of 60 seconds
    .venv/bin/python benchmarks/cancel.py xl-turbo --seconds 240   # a checkpoint that is installed
    .venv/bin/python benchmarks/cancel.py --json                   # one JSON object a line

Each job runs in the studio as the page runs it, in a thread of its own. It is cancelled a little after the first event
of a stage, so that the call meets the work and not the pause between two of its steps; a stage that ended before is
told as over.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from backend import Settings, Studio
from core.actions import ACTIONS
from core.drafts import UnderstandRequest
from core.errors import Cancelled
from core.events import Progress
from core.knobs import Value, parse
from core.lyrics import LyricsRequest
from core.params import MODES, GenerateRequest
from core.requests import Request
from library.records import Track
from networks.machine import Machine

DELAYS_S = (0.05, 0.5)
"""How long after a stage began it is cancelled."""

WORDS = "[verse]\nstreetlights hum\nthe night is young\n[chorus]\nwe go home\nwe go home"


class Took(NamedTuple):
    """Seconds by the clock, and of the processors for this process: others on the machine lengthen the first."""

    seconds: float
    cpu_s: float


def requests(song: Track, seconds: float, common: Mapping[str, Value]) -> Iterator[tuple[str, Request]]:
    """The jobs, by name."""
    asked: Mapping[str, Value] = {"prompt": "lofi hip hop", "lyrics": WORDS, "seed": 2, **common}
    yield "generate", parse(GenerateRequest, {**asked, "duration_s": seconds})
    for structure in ("codes", "latents"):
        values = {**asked, "src_audio": str(song.path), "cover_structure": structure}
        yield f"cover by {structure}", parse(MODES["cover"], {**values, "reference_audio": str(song.path)})
    yield "lyrics", parse(LyricsRequest, {"brief": "rain on a tin roof", "seed": 1})
    yield "understand", parse(UnderstandRequest, {"src_audio": str(song.path)})
    for name in ("normalise", "stems", "lrc"):
        yield name, parse(ACTIONS[name], {"track": song.id})
    for kind in ("flac", "mp3-320", "ogg", "opus"):
        yield f"export {kind}", parse(ACTIONS["export"], {"track": song.id, "format": kind, "lufs": -14.0})


def stages_of(studio: Studio, request: Request) -> list[str]:
    """The stages of a job that runs to its end, as its log would tell them."""
    events = [event for event in studio.run(request, fresh=True) if isinstance(event, Progress)]
    return list(dict.fromkeys(event.stage for event in events))


def cancelled(studio: Studio, request: Request, stage: str, delay_s: float) -> Took | None:
    """What the cancel took until the stream ended; None where the job was over before."""
    asked_at: Took | None = None
    try:
        for event in studio.run(request, job="cancel", fresh=True):
            if asked_at is None and isinstance(event, Progress) and event.stage == stage:
                time.sleep(delay_s)
                asked_at = Took(time.perf_counter(), time.process_time())
                if not studio.cancel("cancel"):
                    asked_at = None
                    break
    except Cancelled:
        assert asked_at is not None
        return Took(time.perf_counter() - asked_at.seconds, time.process_time() - asked_at.cpu_s)
    return None


def queued(studio: Studio, first: Request, second: Request) -> Took:
    """The same of a job that waits behind another one."""
    studio.begin(first, job="first")
    took = cancelled(studio, second, "queued", 1.0)
    studio.cancel("first")
    assert took is not None
    return took


def main() -> int:
    """Print a line for each job and stage."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("checkpoint", nargs="?", default="nano")
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--steps", type=int, help="of the solver; else as many as the checkpoint's recipe takes")
    options.add_argument("--only", default="", help="jobs whose name begins so")
    options.add_argument("--json", action="store_true")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as home:
        studio = Studio(Settings(checkpoint=asked.checkpoint, machine=Machine(), outputs=Path(home)))
        common: Mapping[str, Value] = {"checkpoint": asked.checkpoint, "inference_steps": asked.steps}
        made = {"prompt": "lofi hip hop", "lyrics": WORDS, "duration_s": asked.seconds, "seed": 1, **common}
        (song,) = (event for event in studio.run(parse(GenerateRequest, made)) if isinstance(event, Track))

        def tell(job: str, stage: str, took: list[Took]) -> None:
            worst = max(took, default=None)
            if asked.json:
                line = json.dumps({"job": job, "stage": stage, "took": [each._asdict() for each in took]})
            else:
                told = "over before" if worst is None else f"{worst.seconds:6.2f} s {worst.cpu_s:6.2f} s of processors"
                line = f"{job:18} {stage:14} {told}"
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

        every = requests(song, asked.seconds, common)
        jobs = [(name, request) for name, request in every if name.startswith(asked.only)]
        if not asked.only:
            tell("generate", "in the line", [queued(studio, jobs[0][1], jobs[1][1])])
        for name, request in jobs:
            try:
                stages = stages_of(studio, request)
            except Exception as refused:  # a separator that is not installed, say
                sys.stdout.write(f"{name:18} left out: {refused}\n")
                continue
            for stage in stages:
                took = [each for delay in DELAYS_S if (each := cancelled(studio, request, stage, delay)) is not None]
                tell(name, stage, took)
        studio.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
