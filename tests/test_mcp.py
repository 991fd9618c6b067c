"""Assistants at the real server, by the official client: tools, a song, a refusal, a cancel, and walls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile
from mcp import ClientSession, types
from mcp.client.streamable_http import streamablehttp_client

import app as program
from core.knobs import knobs_of
from core.requests import REQUESTS
from library.tracks import Library
from tests.conftest import ROOT, App, awaited, serving
from tests.tiny import STUDIO_RATE, save_stand_in

SONG: dict[str, Any] = {"prompt": "lofi", "duration_s": 10, "inference_steps": 2, "seed": 1}
ANSWER_S = 60


@contextlib.contextmanager
def with_assistants(home: Path, **environment: str) -> Iterator[App]:
    nano = save_stand_in(home / "nano")
    options = ("--mcp", "--host", "127.0.0.1")
    with serving(home, ROOT / "app.py", *options, environment={"ACE_NANO_DIR": str(nano), **environment}) as app:
        yield app


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The studio with assistants, on a page of one's own."""
    with with_assistants(tmp_path_factory.mktemp("own")) as app:
        yield app


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The same on a page that strangers share."""
    with with_assistants(tmp_path_factory.mktemp("shared"), SPACE_ID="somebody/studio") as app:
        yield app


@contextlib.asynccontextmanager
async def assistant(app: App) -> AsyncIterator[ClientSession]:
    async with streamablehttp_client(f"{app.url}/mcp") as (read, write, _), ClientSession(read, write) as session:
        await session.initialize()
        yield session


def ask(app: App, talk: Callable[[ClientSession], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with assistant(app) as session:
            return await talk(session)

    return awaited(main())


def facts(result: types.CallToolResult) -> dict[str, Any]:
    [text] = [each for each in result.content if isinstance(each, types.TextContent)]
    assert result.structuredContent is not None
    if not result.isError:
        assert json.loads(text.text) == result.structuredContent
    return dict(result.structuredContent)


def links(result: types.CallToolResult) -> list[types.ResourceLink]:
    return [each for each in result.content if isinstance(each, types.ResourceLink)]


def test_the_tools_are_the_endpoints_and_their_schemas_the_knobs(own: App) -> None:
    tools = {tool.name: tool for tool in ask(own, lambda session: session.list_tools()).tools}
    assert tools.keys() == REQUESTS.keys()
    for name, tool in tools.items():
        properties = tool.inputSchema["properties"]
        assert properties.keys() == {knob.name for knob in knobs_of(REQUESTS[name])}
        assert tool.description
    length = tools["generate"].inputSchema["properties"]["duration_s"]
    assert length["default"] == 30 and length["x-unit"] == "seconds"
    assert length["anyOf"][0] == {"type": "number", "minimum": 5, "maximum": 600}


def test_a_song_is_made_with_its_progress_and_taken_on_by_its_link_and_its_id(own: App, tmp_path: Path) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def talk(session: ClientSession) -> tuple[types.CallToolResult, ...]:
        async def hear(progress: float, total: float | None, message: str | None) -> None:
            told.append((progress, total, message))

        song = await session.call_tool("generate", SONG, progress_callback=hear)
        [link] = links(song)
        lines = await session.call_tool("export", {"track": facts(song)["results"][0]["id"], "format": "flac"})
        longer = await session.call_tool(
            "extend", {"src_audio": str(link.uri), "extra_duration_s": 5, "inference_steps": 1, "seed": 1}
        )
        words = await session.call_tool("lyrics", {"brief": "rain", "writer": "built-in"})
        return song, lines, longer, words

    song, exported, longer, words = ask(own, talk)
    assert not song.isError, song
    [link] = links(song)
    assert (link.mimeType, facts(song)["results"][0]["seed"]) == ("audio/wav", 1)
    sound = httpx.get(str(link.uri), timeout=ANSWER_S)
    (tmp_path / "song.wav").write_bytes(sound.content)
    assert soundfile.info(tmp_path / "song.wav").frames == 10 * STUDIO_RATE == 480_000
    assert len(sound.content) == link.size
    assert any("denoising · 1 of 2" in str(message) for *_, message in told)
    seconds = [progress for progress, *_ in told]
    assert seconds == sorted(set(seconds)) and any(total is not None for _, total, _ in told)
    assert [each.name for each in links(exported)] == ["lofi_seed1.flac"]
    assert facts(longer)["results"][0]["seconds"] == 15, longer
    assert "[verse" in facts(words)["results"][0]["text"]


def test_what_is_wrong_is_refused_with_every_rule_that_it_breaks(own: App) -> None:
    async def talk(session: ClientSession) -> list[types.CallToolResult]:
        return [
            await session.call_tool("generate", {**SONG, "seed": -1, "bpm": "fast", "colour": "red"}),
            await session.call_tool("stems", {}),
            await session.call_tool("dance", {}),
            await session.call_tool("generate", {**SONG, "checkpoint": "xl-sft"}),
        ]

    wrong, nothing, unknown, missing = ask(own, talk)
    assert all(each.isError for each in (wrong, nothing, unknown, missing))
    assert {fault["field"] for fault in facts(wrong)["faults"]} == {"seed", "bpm", "colour"}
    assert "seed = -1: must be a whole number from 0 to 2147483647" in wrong.content[0].text
    assert facts(nothing)["faults"][0]["field"] == "track"
    assert facts(unknown)["faults"][0]["field"] == "tool"
    assert facts(missing)["error"] == "MissingWeights"


def test_a_call_that_is_taken_back_ends_its_job(own: App) -> None:
    before = {track.id for track in Library(own.outputs).list()}

    async def talk(session: ClientSession) -> types.CallToolResult:
        begun = asyncio.Event()

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            if str(message).startswith("denoising"):
                begun.set()

        endless = {**SONG, "duration_s": 20, "inference_steps": 200, "seed": 2}
        call = asyncio.create_task(session.call_tool("generate", endless, progress_callback=hear))
        await begun.wait()
        # What the client has asked so far was to begin and this: requests are numbered from 0.
        taken_back = types.CancelledNotification(params=types.CancelledNotificationParams(requestId=1))
        await session.send_notification(types.ClientNotification(taken_back))
        with pytest.raises(Exception, match="cancelled"):
            await call
        return await session.call_tool("generate", {**SONG, "seed": 3})

    assert facts(ask(own, talk))["results"][0]["seed"] == 3
    made = [track.seed for track in Library(own.outputs).list() if track.id not in before]
    assert made == [3]


@pytest.mark.parametrize("whose", ["own", "shared"])
def test_assistants_of_a_shared_page_are_kept_apart_and_name_no_files(
    request: pytest.FixtureRequest, whose: str
) -> None:
    app: App = request.getfixturevalue(whose)

    async def make(session: ClientSession) -> tuple[types.CallToolResult, types.CallToolResult]:
        song = await session.call_tool("generate", {**SONG, "seed": 4})
        return song, await session.call_tool("normalise", {"track": facts(song)["results"][0]["id"]})

    song, louder = ask(app, make)
    assert not song.isError and not louder.isError, louder
    told = facts(song)["results"][0]
    path = next(track.path for track in Library(app.outputs).list() if track.id == told["id"])
    [link] = links(song)
    asked = [{"track": told["id"]}, {"audio": str(path)}, {"audio": f"{app.url}/gradio_api/file={path}"}]

    async def steal(session: ClientSession) -> list[types.CallToolResult]:
        return [
            await session.call_tool("normalise", {**each, "lufs": -20}) for each in (*asked, {"audio": str(link.uri)})
        ]

    *answers, given = ask(app, steal)
    assert [each.isError for each in answers] == [whose == "shared"] * 3, answers
    assert not given.isError  # whoever was given the address has the sound
    if whose == "shared":
        assert str(app.outputs.parent / "outputs") not in str((song, louder, answers))
    elsewhere = httpx.post(f"{app.url}/mcp", headers={"Origin": "http://evil.example"}, json={}, timeout=ANSWER_S)
    assert elsewhere.status_code == 403


def test_no_private_event_of_the_page_is_a_tool(own: App) -> None:
    config = httpx.get(f"{own.url}/config", timeout=ANSWER_S).json()
    private = {each["api_name"] for each in config["dependencies"] if each["api_visibility"] == "private"}
    tools = {tool.name for tool in ask(own, lambda session: session.list_tools()).tools}
    assert private and not private & tools


def test_assistants_are_refused_beside_log_ins_and_without_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACE_OUTPUTS_DIR", str(tmp_path))
    monkeypatch.setenv("ACE_AUTH", "alto:one")
    assert program.main(["--mcp"]) == 1
    assert "Assistants cannot log in" in capsys.readouterr().err
    monkeypatch.delenv("ACE_AUTH")
    monkeypatch.setitem(sys.modules, "ui.mcp", None)
    assert program.main(["--mcp"]) == 1
    assert "pip install '.[mcp]'" in capsys.readouterr().err
