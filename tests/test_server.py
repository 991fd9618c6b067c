"""The server as it is started and stopped: its options, its log-in, and what is kept when it is told to go."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

import app as program
from cli import reference
from cli.server import OPTIONS, users_of
from core.errors import StudioError
from library.index import FILES as INDEX
from library.tracks import Library
from tests.attack.requests import attacked
from tests.attack.stops import stop_once
from tests.conftest import ROOT, serving
from tests.tiny import save_stand_in
from tests.visitor import Visitor

BAD_REQUESTS = 120


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--port", "70000"], "'70000' must be a whole number from 1 to 65535"),
        (["--port", "-1"], "must be a whole number from 1 to 65535"),
        (["--max-queue", "0"], "must be a whole number from 1 to 1000"),
        (["--max-upload", "lots"], "must be a size like 200mb or 1gb"),
        (["--max-duration-s", "nan"], "must be a number from 1 to 600 seconds"),
        (["--allow-host", "a b"], "must be the name of a host"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_refused_with_its_rule(
    flags: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        program.main(flags)
    said = capsys.readouterr().err
    assert refused.value.code == 2
    assert flags[0] in said and why in said and "Traceback" not in said


def test_the_environment_says_what_the_command_line_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in OPTIONS:
        monkeypatch.delenv(option.variable, raising=False)
    plain = program.parser().parse_args([])
    assert (plain.port, plain.host, plain.share, plain.allow_host, plain.max_queue) == (
        *(7860, "127.0.0.1", False, None, 21),
    )
    monkeypatch.setenv("ACE_PORT", "7999")
    monkeypatch.setenv("ACE_ALLOW_HOST", "a.lan, .b.lan")
    monkeypatch.setenv("ACE_MAX_DURATION_S", "90")
    said = program.parser().parse_args(["--max-queue", "5"])
    assert (said.port, said.allow_host, said.max_duration_s, said.max_queue) == (7999, ["a.lan", ".b.lan"], 90.0, 5)
    monkeypatch.setenv("ACE_PORT", "70000")
    with pytest.raises(SystemExit):
        program.parser()


def test_passwords_come_from_a_file_or_the_environment_and_never_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("# who may come\nalto:a:b\n\nbass:secret\n", encoding="utf-8")
    assert users_of(file, {}) == {"alto": "a:b", "bass": "secret"}
    assert users_of(None, {"ACE_AUTH": "alto:x,bass:y"}) == {"alto": "x", "bass": "y"}
    assert users_of(None, {}) is None
    with pytest.raises(StudioError, match="everybody on this machine can read a command line"):
        users_of(Path("alto:secret"), {})
    for lines in ("", "alto", "alto:", ":x"):
        file.write_text(lines)
        with pytest.raises(StudioError, match="a name and a password|name:password"):
            users_of(file, {})


def test_the_page_of_the_server_tells_every_option() -> None:
    assert reference.server_page() == reference.SERVER.read_text(encoding="utf-8")
    assert all(f"`{option.flag}" in reference.server_page() for option in OPTIONS)


def test_a_studio_with_a_log_in_keeps_bounds_and_apart_who_uses_it(tmp_path: Path) -> None:
    limits = ("--max-duration-s", "20", "--max-upload", "1mb", "--max-jobs-per-session", "1")
    nano = save_stand_in(tmp_path / "nano")
    environment = {"ACE_AUTH": "alto:one,bass:two", "ACE_NANO_DIR": str(nano)}
    with serving(tmp_path, ROOT / "app.py", *limits, environment=environment) as studio:
        assert httpx.get(f"{studio.url}/gradio_api/info").status_code == 401
        people = {}
        for name, password in (("alto", "one"), ("bass", "two")):
            people[name] = httpx.Client(base_url=studio.url, timeout=60)
            assert people[name].post("/login", data={"username": name, "password": password}).status_code == 200
        alto, bass = (Visitor(studio.url, client) for client in people.values())
        assert "must be at most 20 seconds on this server" in alto.ask("generate", prompt="rain", duration_s=30)
        assert "saved" in alto.ask("generate", prompt="zanzibar", duration_s=10, inference_steps=1)
        assert "zanzibar" in alto.fire(".tick", {}) and "zanzibar" not in bass.fire(".tick", {})
        again = Visitor(studio.url, people["alto"])
        assert "zanzibar" in again.fire(".tick", {})
        upload = people["alto"].post("/gradio_api/upload", files={"files": b"0" * 2_000_000})
        assert upload.status_code == 413
        stranger = httpx.Client(base_url=studio.url, timeout=60)
        tries = [stranger.post("/login", data={"username": "alto", "password": str(n)}) for n in range(7)]
        assert [each.status_code for each in tries] == [400] * 5 + [429] * 2
        assert "Try again in" in tries[-1].json()["detail"]


def test_a_studio_that_is_told_to_stop_ends_cleanly_in_the_middle_of_a_song(tmp_path: Path) -> None:
    stop = stop_once(tmp_path, signal.SIGTERM, 6.0)
    assert (stop.code, stop.faults) == (0, ())


def test_a_studio_puts_in_order_what_a_dead_one_left_and_gives_each_bad_request_a_reason(
    tmp_path: Path,
) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    (outputs / ".20260101-000000-00000000.wav.part").write_bytes(b"half")
    (outputs / "20260101-000000-00000001.safetensors").write_bytes(b"half")
    with serving(tmp_path, ROOT / "app.py", junk=True) as studio:
        statuses, faults = attacked(studio, BAD_REQUESTS, seed=1)
        no_json = httpx.post(f"{studio.url}/gradio_api/cancel", content=b'{"fn_index": " ", "data": NaN}', timeout=60)
        told = studio.log.read_text(encoding="utf-8")
    assert faults == [] and sum(statuses.values()) == BAD_REQUESTS
    assert (no_json.status_code, no_json.json()["error"]) == (400, "The body must be JSON.")
    assert "loading" not in told
    assert told.count("the library is in order again: 2 unfinished files removed") == 1
    assert not Library(outputs).list() and {path.name for path in outputs.glob("*")} <= set(INDEX)


@pytest.mark.slow
def test_thousands_of_bad_requests_are_answered_with_a_reason(tmp_path: Path) -> None:
    with serving(tmp_path, ROOT / "app.py", junk=True) as studio:
        statuses, faults = attacked(studio, 4000, seed=2)
    assert faults == [] and sum(statuses.values()) == 4000
