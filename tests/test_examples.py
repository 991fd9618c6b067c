"""The examples as users run them, and what the studio says of its API: both against the real server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from checkpoints import table
from core.knobs import AUTO
from core.requests import REQUESTS
from tests.conftest import ROOT, App, serving
from tests.tiny import STUDIO_RATE, save_stand_in
from tests.tiny_demucs import install_separator
from tests.visitor import strict
from ui import openapi

EXAMPLES = ROOT / "examples"
DONE_S = 240
ANSWER_S = 60


@pytest.fixture(scope="module")
def tiny_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The studio on tiny random weights, a separator among them."""
    home = tmp_path_factory.mktemp("examples")
    nano = save_stand_in(home / "nano")
    install_separator(home / "models" / table.SEPARATOR / table.row(table.SEPARATOR).files[0])
    with serving(home, ROOT / "app.py", environment={"ACE_NANO_DIR": str(nano)}) as app:
        yield app


def command_of(name: str) -> list[str]:
    """How an example is run. Where node is missing and cannot be brought, it is skipped."""
    path = str(EXAMPLES / name)
    if path.endswith(".py"):
        return [sys.executable, path]
    if path.endswith(".sh"):
        return [path]
    node = shutil.which("node")
    if node is None or not (EXAMPLES / "node_modules").is_dir():
        pytest.skip("node, or @gradio/client below examples/, could not be had by ./studio test")
    return [node, path]


def done(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=DONE_S, check=False)


@pytest.mark.parametrize("name", ["song.py", "song.mjs", "song.sh"])
def test_a_song_is_asked_for_followed_and_fetched_and_a_wrong_value_told(
    tiny_app: App, tmp_path: Path, name: str
) -> None:
    target = tmp_path / "song.wav"
    ended = done([*command_of(name), tiny_app.url, f"lofi by {Path(name).suffix[1:]}", str(target)])
    assert ended.returncode == 0, ended.stderr
    assert soundfile.info(target).frames == 10 * STUDIO_RATE
    assert "queued" in ended.stdout and "0:10 of music" in ended.stdout
    target.unlink()
    ended = done([*command_of(name), tiny_app.url, " ", str(target)])
    assert ended.returncode == 1 and not target.exists()
    assert "prompt = ' ': must not be empty when the lyrics are empty too" in ended.stderr


def test_a_recording_becomes_the_tracks_of_its_cover(tiny_app: App, tmp_path: Path) -> None:
    source, folder = tmp_path / "demo.wav", tmp_path / "tracks"
    soundfile.write(source, 0.1 * np.random.default_rng(0).normal(size=(3 * STUDIO_RATE, 2)), STUDIO_RATE)
    command = [*command_of("cover_stems.py"), tiny_app.url, str(source)]
    ended = done([*command, "chiptune", str(folder)])
    assert ended.returncode == 0, ended.stderr
    parts = sorted(folder.iterdir())
    assert [path.name[:2] for path in parts] == ["01", "02", "03", "04"]
    assert {soundfile.info(path).frames for path in parts} == {3 * STUDIO_RATE}
    assert ended.stdout.splitlines() == [str(path) for path in parts]
    ended = done([*command, "x" * 100_000, str(folder)])
    assert ended.returncode == 1 and "refused: prompt = 'xxx" in ended.stderr


def test_names_and_defaults_of_the_api_are_those_that_were_agreed_on() -> None:
    """A change of docs/openapi.json is a change for every client: read its diff as one."""
    assert openapi.PAGE.read_text(encoding="utf-8") == openapi.text(), "run: .venv/bin/python -m ui.openapi"


def test_the_openapi_document_tells_the_truth(tiny_app: App) -> None:
    served = strict(httpx.get(f"{tiny_app.url}/gradio_api/openapi.json", timeout=ANSWER_S).text)
    assert served == strict(openapi.text())
    info = strict(httpx.get(f"{tiny_app.url}/gradio_api/info", timeout=ANSWER_S).text)["named_endpoints"]
    assert info.keys() == {f"/{name}" for name in REQUESTS}
    for name in REQUESTS:
        body = served["paths"][f"/gradio_api/call/v2/{name}"]["post"]["requestBody"]
        properties = body["content"]["application/json"]["schema"]["properties"]
        told = {each["parameter_name"]: each["parameter_default"] for each in info[f"/{name}"]["parameters"]}
        assert told.keys() == properties.keys()
        defaults = {each: facts["default"] for each, facts in properties.items()}
        # The page's fields show what is left to the studio in their own way.
        assert {each: None if value in ("", AUTO) else value for each, value in told.items()} == {
            each: None if value in ("", AUTO) else value for each, value in defaults.items()
        }
        outputs = served["paths"][f"/gradio_api/call/{name}/{{event_id}}"]["get"]["responses"]["200"]["content"]
        assert len(outputs["text/event-stream"]["x-data"]["prefixItems"]) == len(info[f"/{name}"]["returns"])


@pytest.mark.parametrize("name", ["generate", "lyrics", "stems"])
def test_the_defaults_that_are_told_can_be_sent(tiny_app: App, name: str) -> None:
    document: Any = openapi.document()
    body = document["paths"][f"/gradio_api/call/v2/{name}"]["post"]["requestBody"]
    properties = body["content"]["application/json"]["schema"]["properties"]
    defaults = {each: facts["default"] for each, facts in properties.items()}
    told = []
    for values in (defaults, {}):
        asked = httpx.post(f"{tiny_app.url}/gradio_api/call/v2/{name}", json=values, timeout=ANSWER_S)
        event = asked.json()["event_id"]
        stream = httpx.get(f"{tiny_app.url}/gradio_api/call/{name}/{event}", timeout=ANSWER_S).text
        told.append(stream[stream.index("event: error") :])
    assert told[0] == told[1] and "must" in told[0]


def test_what_is_no_call_is_answered_as_the_document_says(tiny_app: App) -> None:
    call = f"{tiny_app.url}/gradio_api/call"
    calls: tuple[tuple[str, dict[str, Any], int], ...] = (
        ("v2/generate", {"content": b"nonsense"}, 400),
        ("v2/generate", {"json": {"promt": "x"}}, 422),
        ("v2/dance", {"json": {}}, 404),
    )
    for path, sent, status in calls:
        answer = httpx.post(f"{call}/{path}", timeout=ANSWER_S, **sent)
        assert (answer.status_code, "error" in answer.json()) == (status, True)
    assert httpx.get(f"{call}/generate/none", timeout=ANSWER_S).status_code == 404
