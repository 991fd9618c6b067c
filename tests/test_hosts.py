"""Who may call the studio: its own page, programs, and nobody who comes by another name or from another page."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import App, awaited
from ui.cancel_calls import Message, Receive, Send
from ui.hosts import Hosts, OwnHosts, hosts_of
from ui.login import FREE, LogIns

HOME = hosts_of("127.0.0.1")
SPACE = hosts_of("0.0.0.0", space="somebody-studio.hf.space")
SHARED = hosts_of("127.0.0.1", share=True)
HOUSE = hosts_of("0.0.0.0", allowed=["music.lan", ".example.org"])


@pytest.mark.parametrize(
    ("hosts", "host", "origin", "served"),
    [
        (HOME, "localhost:7860", None, True),
        (HOME, "127.0.0.1:7860", "http://127.0.0.1:7860", True),
        (HOME, "[::1]:7860", "http://[::1]:7860", True),
        (HOME, "localhost:7860", "http://127.0.0.1:7860", True),
        (HOME, "LOCALHOST.:7860", None, True),
        (HOME, "evil.example:7860", None, False),
        (HOME, "127.0.0.1.evil.example:7860", None, False),
        (HOME, "localhost.evil.example", None, False),
        (HOME, "192.168.1.7:7860", None, False),
        (HOME, "", None, False),
        (HOME, "localhost:7860", "http://evil.example", False),
        (HOME, "localhost:7860", "http://localhost:3000", False),
        (HOME, "localhost:7860", "null", False),
        (HOME, "localhost:7860", "https://[x", False),
        (HOME, "localhost:7860", "https://x.gradio.live", False),
        (SPACE, "somebody-studio.hf.space", "https://somebody-studio.hf.space", True),
        (SPACE, "10.0.3.4:7860", "https://somebody-studio.hf.space", True),
        (SPACE, "evil.example", None, False),
        (SPACE, "somebody-studio.hf.space", "https://other-studio.hf.space", False),
        (SHARED, "abc123.gradio.live", "https://abc123.gradio.live", True),
        (SHARED, "gradio.live.evil.example", None, False),
        (HOUSE, "192.168.1.7:7860", "http://192.168.1.7:7860", True),
        (HOUSE, "music.lan", "http://music.lan", True),
        (HOUSE, "a.example.org", "https://b.example.org", True),
        (HOUSE, "evilexample.org", None, False),
        (HOUSE, "192.168.1.7:7860", "http://evil.example", False),
        (hosts_of("127.0.0.1", allowed=["*"]), "anything", "http://anywhere", True),
        (hosts_of("10.0.0.5"), "10.0.0.5:7860", None, True),
    ],
)
def test_a_studio_answers_to_its_own_names_and_hears_its_own_page(
    hosts: Hosts, host: str, origin: str | None, served: bool
) -> None:
    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a song"})

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app=OwnHosts(answer, hosts))
        headers = {"host": host} | ({"origin": origin} if origin is not None else {})
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get("/", headers=headers)

    answered = awaited(asked())
    assert (answered.status_code, "a song" in answered.text) == ((200, True) if served else (403, False))


EVIL = {"origin": "https://evil.example"}


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/config", {"host": "rebound.example"}),
        ("GET", "/config", EVIL),
        ("POST", "/gradio_api/upload", EVIL),
        ("POST", "/gradio_api/queue/join", EVIL),
        ("POST", "/gradio_api/call/generate", {"origin": "null"}),
        ("OPTIONS", "/gradio_api/queue/join", {**EVIL, "access-control-request-method": "POST"}),
    ],
)
def test_a_page_elsewhere_reads_nothing_and_starts_nothing(
    app: App, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = httpx.request(method, f"{app.url}{path}", headers=headers, json={"data": []}, timeout=60)
    assert answer.status_code == 403
    assert "--allow-host" in answer.json()["error"]
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert httpx.get(f"{app.url}/config", headers={"origin": app.url}, timeout=60).status_code == 200


def test_a_studio_fetches_nothing_for_whoever_asks(app: App) -> None:
    for path in ("file=http://127.0.0.1:1/x", "file=HTTPS%3A//x.example/y", "proxy=http://127.0.0.1:1/x", "deep_link"):
        answer = httpx.get(f"{app.url}/gradio_api/{path}", timeout=60)
        assert answer.status_code in (403, 404) and answer.json()["error"], path


def test_who_guesses_passwords_waits_longer_each_time_and_others_do_not() -> None:
    now, asked = [0.0], []

    async def gradio(scope: Message, receive: Receive, send: Send) -> None:
        asked.append(now[0])
        status = 200 if scope["query_string"] == b"right" else 400
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    door = LogIns(gradio, now=lambda: now[0])

    def tried(address: str, password: str = "wrong") -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(app=door, client=(address, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.post(f"/login?{password}")

        return awaited(once())

    assert [tried("thief").status_code for _ in range(FREE)] == [400] * FREE
    for wait_s in (1, 2, 4, 8):
        refused = tried("thief", "right")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, str(wait_s))
        assert "Try again in" in refused.json()["detail"]
        assert tried("owner", "right").status_code == 200
        now[0] += wait_s
        assert tried("thief").status_code == 400
    now[0] += 60
    assert tried("thief", "right").status_code == 200
    assert tried("thief").status_code == 400
