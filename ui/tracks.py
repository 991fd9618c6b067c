"""What the page says about tracks: lines, metadata and the files to download."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.files import write_whole
from core.knobs import Json
from library.records import Track

Metadata = dict[str, "Json | list[str] | Metadata"]
TITLE_CHARS = 80


def clock(seconds: float) -> str:
    """Minutes and seconds, as players show them."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def duration(seconds: float) -> str:
    """A length of time in round words."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 90:
        return f"{5 * round(seconds / 5)} s"
    return f"{round(seconds / 60)} min"


def name_of(track: Track) -> str:
    """The track's title on one line."""
    words = " ".join(track.called.split()) or "Untitled"
    return words if len(words) <= TITLE_CHARS else f"{words[: TITLE_CHARS - 1]}…"


def headline(track: Track) -> str:
    """The title line of a result: prompt, length, seed."""
    origin = "a recording" if track.asked_as is None else f"seed {track.seed}"
    return f"{name_of(track)} · {clock(track.seconds)} · {origin}"


def entry(track: Track) -> str:
    """The track's line in the history."""
    return f"{clock(track.seconds)}  {name_of(track)}"


def plan_line(plan: Mapping[str, object]) -> str:
    """Who planned a song, and what there is to know about the plan, from its summary."""
    return " · ".join(str(part) for part in (plan.get("planner"), plan.get("notes")) if part)


def metadata(track: Track, takes: Sequence[str]) -> Metadata:
    """All that is known of a track, without the places of files on this machine; `takes` are the ids made with it."""
    return {
        "id": track.id,
        "mode": track.mode,
        "title": track.title,
        "name": track.name,
        "seed": track.seed,
        "seconds": round(track.seconds, 3),
        "seconds_taken": round(track.seconds_taken, 2),
        "checkpoint": track.checkpoint,
        "created": track.created.isoformat(timespec="seconds"),
        "takes": list(takes),
        "values": _without_paths(track),
        "plan": dict(track.plan),
        "notes": list(track.notes),
        "adapters": {digest: dict(facts) for digest, facts in track.adapters.items()},
    }


def sheet(track: Track, takes: Sequence[str], folder: Path) -> Path:
    """A file in the folder that holds the metadata: what a visitor may keep, unlike the sidecar with its paths.

    It lies under the hash of its content, as Gradio's files do: whoever knows an id does not know that.
    """
    content = json.dumps(metadata(track, takes), ensure_ascii=False, indent=1).encode()
    path = folder / hashlib.sha256(content).hexdigest() / f"{track.id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(path, content)


def _without_paths(track: Track) -> Metadata:
    files = {knob.name for knob in track.knobs if knob.kind == "audio"}
    return {name: Path(str(value)).name if name in files and value else value for name, value in track.values.items()}
