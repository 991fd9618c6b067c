"""What the Library view is told and may do, without a browser: all songs for a host, their own for strangers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import soundfile

from backend import Studio
from library.records import Record, Track
from ui import page
from ui.handlers import Handlers
from ui.library import Shelf
from ui.visitors import Visitors

DEEDS: tuple[dict[str, object], ...] = (
    {"deed": "rename", "name": "mine"},
    {"deed": "favour", "on": True},
    {"deed": "delete"},
    {"deed": "restore"},
    {"deed": "bound", "bound": 1.0},
    {"deed": "prune"},
    {"deed": "empty"},
)


def shared(studio: Studio, whose: str) -> Shelf:
    """The view that a visitor has of a page that strangers share."""
    return Shelf(Handlers(studio, hosted=True).of(gr.Request(session_hash=whose)))


def save(studio: Studio, title: str, whose: str = "", **facts: object) -> Track:
    sound = np.full((2, 48_000), 0.01 * len(title), np.float32)
    given = {"mode": "generate", "title": title, "checkpoint": "nano", "seed": 7} | facts
    library = Visitors(studio.library, hosted=bool(whose)).library(whose)
    return library.save(sound, None, Record(**given))  # type: ignore[arg-type]


def names(told: dict[str, Any]) -> list[str]:
    return [row["name"] for group in told["sets"] for row in group]


def test_a_visitor_sees_and_touches_their_own_songs_alone(studio: Studio) -> None:
    me, them = shared(studio, "me"), shared(studio, "them")
    theirs, mine = save(studio, "theirs", "them"), save(studio, "mine own", "me", hashes={"src_audio": "?"})
    save(studio, "a cover of theirs", "me", mode="cover", hashes={"src_audio": theirs.sha256})
    told = me.listing({"weigh": True})
    assert names(told) == ["a cover of theirs", "mine own"]
    assert told["sets"][0][0]["source"] is None
    assert (told["storage"]["bounded"], told["total"]) == (False, 2)
    assert told["storage"]["used"] < 2.2 * mine.path.stat().st_size
    before = {path: path.read_bytes() for path in studio.library.root.glob("*.json")}
    for deed in DEEDS:
        answer = me.answer({**deed, "id": theirs.id, "ids": [theirs.id]})
        assert answer["told"], deed
    assert {path: path.read_bytes() for path in studio.library.root.glob("*.json")} == before
    assert me.replay(theirs.id) == {} == me.drawn([theirs.id])
    assert me.answer({"deed": "delete", "id": mine.id})["trash"] == {"ids": [mine.id], "names": ["mine own"]}
    assert them.listing({})["trash"]["ids"] == []
    assert "that was deleted lately" in them.answer({"deed": "restore", "ids": [mine.id]})["told"]
    assert me.listing({"weigh": True})["storage"]["trash"] > 48_000
    assert me.answer({"deed": "restore", "ids": [mine.id]})["told"] == "mine own came back."


def test_a_visitor_opens_their_own_songs_alone(studio: Studio) -> None:
    theirs, mine = save(studio, "theirs", "them"), save(studio, "mine own", "me")
    me = gr.Request(session_hash="me")
    (fill,) = [
        each.fn
        for each in page.build(studio, hosted=True).fns.values()
        if each.name == "fill" and len(each.inputs) == 3
    ]
    asked = {"kind": "song", "id": mine.id, "takes": [theirs.id, mine.id]}
    shown = fill(asked, "Lock seed", None, me)
    told = [each for each in shown.values() if isinstance(each, dict) and each.get("id") == mine.id]
    assert [each["takes"] for each in told if "takes" in each] == [[mine.id]]
    assert fill({**asked, "id": theirs.id}, "Lock seed", None, me) == gr.skip()


def test_a_host_sees_what_came_of_what_and_takes_uploads_alone_in(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(Handlers(studio, hosted=False))
    source = save(studio, "the source")
    save(studio, "a cover", mode="cover", hashes={"src_audio": source.sha256})
    (cover,), _ = shelf.listing({})["sets"]
    assert cover["source"] == {"id": source.id, "name": "the source"}
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    for folder in ("uploads", "elsewhere"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "tape.wav", np.full((48_000, 2), 0.5), 48_000)
    (tmp_path / "uploads" / "no.wav").write_bytes(b"no sound")
    paths = [str(tmp_path / each) for each in ("uploads/tape.wav", "elsewhere/tape.wav", "uploads/no.wav")]
    told = shelf.answer({"deed": "import", "paths": [*paths, 7]})
    assert names(told)[0] == "tape" and told["total"] == 3
    assert "tape.wav: must be an upload." in told["told"] and "no.wav: must be" in told["told"]


JUNK: tuple[Any, ...] = (
    *(None, [], "x", {"deed": "rename"}, {"deed": "favour", "id": {}}, {"deed": "bound", "bound": float("nan")}),
    *({"deed": "restore", "ids": ["../x", None]}, {"deed": "import", "paths": ["\0", "/etc/passwd"]}),
    {"deed": "rename", "id": "..", "query": {"limit": True, "words": {}, "mode": 7}},
)


@pytest.mark.parametrize("junk", JUNK, ids=str)
def test_nothing_that_a_client_may_send_breaks_the_view(studio: Studio, junk: Any) -> None:
    shelf = Shelf(Handlers(studio, hosted=False))
    track = save(studio, "rain")
    assert names(shelf.answer(junk)) in (["rain"], [])
    assert studio.library.get(track.id) == track
