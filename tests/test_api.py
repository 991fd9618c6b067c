"""The named endpoints of the running studio, called as users call them."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from checkpoints import table
from core.actions import ACTIONS
from core.knobs import AUTO
from core.params import SONG_MODES
from core.requests import REQUESTS
from library.index import FILES as INDEX
from library.shares import Shares
from tests.conftest import App
from tests.visitor import Visitor, strict
from ui.page import SESSIONS_KEPT

RATE = 48_000
JOB_S = 240
SONG: dict[str, Any] = {"prompt": "lofi hip hop", "duration_s": 10, "inference_steps": 2, "seed": 0}


SESSIONS = 40
"""So many sessions tell whether each one is kept."""

KEPT_MB = 12
"""What they may take together: a kept session takes two thirds of a megabyte."""


@pytest.fixture(scope="module")
def client(app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    made = Client(app.url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))
    yield made
    made.close()


def files(app: App) -> set[str]:
    return {path.name for path in app.outputs.glob("*")} - set(INDEX)


def test_a_song_comes_back_as_a_file_with_what_made_it_after_its_progress(client: Client) -> None:
    job = client.submit(**SONG, api_name="/generate")
    path, metadata, status = job.result(timeout=JOB_S)
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.frames) == (RATE, 2, 10 * RATE)
    assert (metadata["mode"], metadata["seed"], metadata["seconds"]) == ("generate", 0, 10.0)
    assert metadata["values"]["prompt"] == "lofi hip hop"
    assert metadata["values"]["inference_steps"] == 2
    assert not any("sings no words" in note for note in metadata["notes"])
    assert status == "saved · 0:10 of music"
    lines = [line for _, _, line in job.outputs()]
    assert lines[0] == "queued"
    assert any(line.startswith("denoising · 1 of 2") for line in lines)


def test_who_asks_for_previews_is_sent_them_beside_the_line(client: Client) -> None:
    job = client.submit(**SONG | {"seed": 30, "inference_steps": 4, "preview": True}, api_name="/generate")
    assert job.result(timeout=JOB_S)[2] == "saved · 0:10 of music"
    told = [line for _, _, line in job.outputs() if not isinstance(line, str)]
    assert told and all(line["value"].startswith("denoising") for line in told)
    preview = told[-1]["props"]["preview"]
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(preview["sound"])))
    assert sound.size / rate == pytest.approx(preview["seconds"])


def test_takes_arrive_one_by_one_with_what_is_not_sung_and_the_first_is_the_result(client: Client) -> None:
    job = client.submit(**SONG | {"seed": 20, "variations": 2, "lyrics": "la la"}, api_name="/generate")
    _, metadata, _ = job.result(timeout=JOB_S)
    made = [output[1] for output in job.outputs() if isinstance(output[1], dict) and "id" in output[1]]
    assert [each["seed"] for each in made] == [21, 20]
    assert metadata["seed"] == 20
    assert metadata["takes"] == [made[1]["id"], made[0]["id"]]
    assert metadata["notes"][0].startswith("nano sings no words")


def test_a_recording_is_extended_by_exactly_what_was_asked(client: Client, tmp_path: Path) -> None:
    source = tmp_path / "mine.wav"
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(6 * RATE) / RATE)
    soundfile.write(source, np.stack([tone, tone], axis=1), RATE)
    path, metadata, _ = client.predict(
        src_audio=handle_file(source), extra_duration_s=5, inference_steps=2, seed=1, api_name="/extend"
    )
    assert soundfile.info(path).frames == 11 * RATE
    assert metadata["values"]["src_audio"] == "mine.wav"


def test_what_was_made_of_a_song_comes_back_as_files(client: Client, app: App, tmp_path: Path) -> None:
    _, metadata, _ = client.predict(**SONG, api_name="/generate")
    files, facts, status = client.predict(track=metadata["id"], format="flac", api_name="/export")
    assert [Path(file).name for file in files] == ["lofi-hip-hop_seed0.flac"]
    assert soundfile.info(files[0]).frames == 10 * RATE
    assert (facts["action"], facts["seconds"], status) == ("export", 10.0, "made · lofi-hip-hop_seed0.flac")
    source = tmp_path / "my tape.wav"
    soundfile.write(source, 0.1 * np.random.default_rng(0).normal(size=(RATE, 2)), RATE)
    (file,), facts, _ = client.predict(audio=handle_file(source), lufs=-20, api_name="/normalise")
    assert (Path(file).name, facts["lufs"]) == ("my-tape_-20lufs.wav", pytest.approx(-20, abs=0.1))
    with pytest.raises(AppError, match="means nothing beside track"):
        client.predict(track=metadata["id"], audio=handle_file(source), api_name="/stems")


def test_lyrics_come_back_as_text(client: Client) -> None:
    text, status = client.predict(brief="rain on a tin roof", structure="verse, chorus", seed=1, api_name="/lyrics")
    assert "[verse" in text.lower() and "[chorus" in text.lower()
    assert status.startswith("written")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"duration_s": 1e9}, "duration_s = 1000000000.0: must be a number from 10 to 600 seconds"),
        ({"duration_s": "long"}, "duration_s = 'long': must be a number"),
        ({"seed": -1}, "seed = -1: must be a whole number from 0 to 2147483647"),
        ({"keyscale": "H minor"}, "keyscale = 'H minor': must be one of C major"),
        ({"use_adg": "no"}, "use_adg = 'no': must be true or false"),
        ({"prompt": " "}, "prompt = ' ': must not be empty when the lyrics are empty too"),
        ({"checkpoint": "no-such"}, "checkpoint = 'no-such': must be one of"),
        ({"seed": -1, "bpm": 5}, "bpm = 5: must be a whole number from 30 to 300 beats per minute"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_wrong_value_is_answered_with_field_value_and_rule(
    app: App, client: Client, values: dict[str, Any], fault: str
) -> None:
    before = files(app)
    with pytest.raises(AppError) as refused:
        client.predict(**SONG | values, api_name="/generate")
    assert fault in str(refused.value)
    assert files(app) == before


def test_what_the_studio_publishes_of_itself_is_json_to_the_letter(app: App) -> None:
    for path in ("config", "gradio_api/info", "gradio_api/openapi.json"):
        strict(httpx.get(f"{app.url}/{path}", timeout=60).text)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_call_that_names_nothing_is_checked_as_the_defaults_are(app: App, name: str) -> None:
    """A number that the studio chooses is left empty, by whoever writes the JSON by hand too."""
    values = {} if name in ACTIONS else {"seed": -1}
    started = httpx.post(f"{app.url}/gradio_api/call/v2/{name}", json=values, timeout=60)
    stream = httpx.get(f"{app.url}/gradio_api/call/{name}/{started.json()['event_id']}", timeout=60).text
    rule = "must be given" if name in ACTIONS else "must be a whole number from 0 to 2147483647"
    assert f"{'track = None' if name in ACTIONS else 'seed = -1'}: {rule}" in stream
    assert "nan" not in stream.lower()


def test_not_a_number_is_refused_by_name(app: App) -> None:
    """A client cannot spell NaN: whoever writes the JSON by hand can."""
    config = httpx.get(f"{app.url}/config").json()
    [names] = [each for each in config["dependencies"] if each["api_name"] == "generate"]
    assert names["api_visibility"] == "public"
    body = json.dumps({"prompt": "rain", "duration_s": float("nan")})
    headers = {"Content-Type": "application/json"}
    started = httpx.post(f"{app.url}/gradio_api/call/v2/generate", content=body, headers=headers)
    event = started.json()["event_id"]
    stream = httpx.get(f"{app.url}/gradio_api/call/generate/{event}", timeout=60).text
    assert "duration_s = nan: must be a number from 10 to 600 seconds" in stream


# ---- sessions of the page --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("generate", {"prompt": "rain", "checkpoint": "xl-sft"}),
        ("generate", {"prompt": "rain", "checkpoint": "no-such"}),
        ("generate", {"prompt": "rain", "planner": "lm-4b"}),
        ("plan", {"prompt": "rain", "checkpoint": "xl-sft"}),
        ("lyrics", {"brief": "rain", "writer": "qwen-3b"}),
        ("generate", {"prompt": "rain", "duration_s": "long"}),
        ("lyrics", {"brief": "rain", "top_k": "NaN"}),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else value,
)
def test_a_page_that_was_loaded_is_refused_in_the_studios_words_and_not_in_gradios(
    app: App, name: str, values: dict[str, Any]
) -> None:
    """Songs come back with weights that are gone, and a load changes the lists that weights are chosen from."""
    visitor = Visitor(app.url)
    before = visitor.refusal(name, **values)
    visitor.load()
    assert visitor.refusal(name, **values) == before
    assert "list of choices" not in before


def test_the_look_is_decided_before_gradio_starts_and_the_secret_of_links_is_not_served(app: App) -> None:
    page = httpx.get(app.url, timeout=60, headers={"accept-encoding": "identity"})
    assert page.text.index("data-look") < page.text.index("dataset.look") < page.text.index("window.gradio_config")
    assert int(page.headers["content-length"]) == len(page.content)
    Shares(app.outputs).token("20260101-000000-00000000")
    key = Shares(app.outputs).key_file
    assert httpx.get(f"{app.url}/gradio_api/file={key}", timeout=60).status_code == 403


def test_a_download_that_ended_since_can_be_chosen_when_the_page_is_loaded_again(app: App) -> None:
    for pattern in table.row("xl-turbo").files:
        path = app.models / "xl-turbo" / pattern.replace("*.safetensors*", "model.safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    try:
        updates = Visitor(app.url).load()
    finally:
        shutil.rmtree(app.models)
    for mode in SONG_MODES:
        assert ["xl-turbo", "xl-turbo"] in updates[f"{mode}-checkpoint"]["choices"]
        assert updates[f"{mode}-checkpoint"]["choices"][0] == [AUTO, AUTO]


def resident_mb(app: App) -> float:
    """The memory that the studio's process holds."""
    kib = subprocess.run(["ps", "-o", "rss=", "-p", str(app.pid)], check=True, capture_output=True, text=True).stdout
    return int(kib) / 1024


def test_memory_does_not_grow_with_every_session_that_comes_by(app: App) -> None:
    visitor = Visitor(app.url)
    for _ in range(SESSIONS_KEPT + 2):
        visitor.come_anew()
    before = resident_mb(app)
    for _ in range(SESSIONS):
        visitor.come_anew()
    assert resident_mb(app) - before < KEPT_MB


@pytest.mark.parametrize("content", [b"", b"RIFF not really a wav file"], ids=["0 bytes", "corrupt"])
def test_a_recording_that_cannot_be_read_is_refused_by_the_knobs_name(
    app: App, client: Client, tmp_path: Path, content: bytes
) -> None:
    source = tmp_path / "broken.wav"
    source.write_bytes(content)
    before = files(app)
    with pytest.raises(AppError, match="src_audio"):
        client.predict(src_audio=handle_file(source), prompt="rain", api_name="/cover")
    assert files(app) == before


def test_calls_wait_in_line_and_taking_them_back_frees_the_studio(app: App, client: Client) -> None:
    calls = []
    for seed, words in ((9, "denoising"), (8, "queued · 1 before you")):
        call = client.submit(**SONG | {"seed": seed, "duration_s": 20, "inference_steps": 200}, api_name="/generate")
        calls.append(call)
        while not any(status.startswith(words) for _, _, status in call.outputs()):
            assert not call.done()
    for call in calls:
        call.cancel()
    before = files(app)
    _, metadata, _ = client.predict(**SONG | {"seed": 10}, api_name="/generate")
    assert metadata["seed"] == 10
    assert files(app) - before == {f"{metadata['id']}{suffix}" for suffix in (".wav", ".json", ".safetensors")}


def test_a_tab_that_is_closed_leaves_its_job_and_the_song_is_in_the_library(app: App) -> None:
    before = files(app)
    Visitor(app.url).leave("generate", **SONG | {"seed": 11})
    deadline = time.monotonic() + JOB_S
    while not (made := [name for name in files(app) - before if name.endswith(".json")]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert json.loads((app.outputs / made[0]).read_text(encoding="utf-8"))["seed"] == 11


# ---- drafts ----------------------------------------------------------------------------------------------------------


def test_a_form_is_drafted_enhanced_and_heard(client: Client, tmp_path: Path) -> None:
    draft, status = client.predict(query="lofi rain", seed=4, api_name="/inspire")
    assert draft["prompt"].startswith("lofi rain, ")
    assert (draft["author"], draft["seed"]) == ("built-in drafter", 4)
    assert status.startswith("drafted · built-in drafter")
    fuller, _ = client.predict(prompt="lofi", lyrics="one\n\ntwo", bpm=70, api_name="/enhance")
    assert fuller["prompt"].endswith("slow") and fuller["lyrics"] == "[verse]\none\n\n[verse]\ntwo"
    source = tmp_path / "mine.wav"
    time = np.arange(6 * RATE) / RATE
    soundfile.write(source, 0.4 * ((2 * time) % 1 < 0.02) * np.sin(2 * np.pi * 220 * time), RATE)
    heard, _ = client.predict(src_audio=handle_file(source), api_name="/understand")
    assert (heard["bpm"], heard["author"]) == (120, "by listening")


@pytest.mark.parametrize(
    ("name", "values", "fault"),
    [
        ("inspire", {"query": "x" * 100_000}, "query = 'xxx"),
        ("inspire", {"seed": -1}, "seed = -1: must be a whole number"),
        ("inspire", {"vocal_language": "xx"}, "vocal_language = 'xx': must be one of"),
        ("enhance", {"prompt": " "}, "prompt = ' ': must not be empty"),
        ("understand", {}, "src_audio = None: must be given"),
        ("understand", {"lm_temperature": 9}, "lm_temperature = 9: must be a number from 0 to 2"),
    ],
)
def test_a_wrong_value_of_a_draft_is_answered_with_field_value_and_rule(
    client: Client, name: str, values: dict[str, Any], fault: str
) -> None:
    with pytest.raises(AppError) as refused:
        client.predict(**values, api_name=f"/{name}")
    assert fault in str(refused.value)


# ---- plans -----------------------------------------------------------------------------------------------------------


def test_a_plan_is_made_without_a_song_and_followed_by_one(app: App, client: Client) -> None:
    before = files(app)
    plan, told, status = client.predict(**SONG | {"seed": 31, "bpm": 101}, api_name="/plan")
    assert plan.startswith("bpm: 101\ncaption: lofi hip hop\nduration: 10\n")
    assert told.startswith("composer · lofi, 101 bpm")
    assert status == "planned · composer"
    assert files(app) == before
    edited = plan.replace("bpm: 101", "bpm: 77")
    _, metadata, _ = client.predict(**SONG | {"seed": 31, "plan": edited}, api_name="/generate")
    assert (metadata["plan"]["bpm"], metadata["values"]["plan"]) == (77, edited)


def test_a_plan_that_contradicts_the_form_is_refused(client: Client) -> None:
    with pytest.raises(AppError, match="bpm = 90"):
        client.predict(**SONG | {"bpm": 90, "plan": "bpm: 77"}, api_name="/plan")
