"""What a browser fetches before it shows anything: packed once, kept, and the page small on its way."""

from __future__ import annotations

import httpx

from tests.conftest import App, awaited
from ui.cancel_calls import Message, Receive, Send
from ui.served import ASSETS, KEPT_BYTES, Assets

CODE = b"play()"


def served(paths: list[tuple[str, str]], body: bytes = CODE) -> tuple[list[httpx.Response], list[str]]:
    """The answers to requests of (path, how it may be packed), in turn, and the paths that the server itself saw."""
    seen: list[str] = []

    async def server(scope: Message, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        status = 404 if "gone" in scope["path"] else 200
        headers = [(b"content-type", b"text/javascript"), (b"etag", str(len(seen)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": body})

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=Assets(server))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [await client.get(path, headers={"accept-encoding": how}) for path, how in paths]

    return awaited(ask()), seen


def test_an_asset_is_asked_of_the_server_once_for_each_way_to_pack_it() -> None:
    name = f"{ASSETS}core.js"
    answers, seen = served([(name, "br"), (name, "gzip, br"), (name, "br"), (name, "zstd"), (name, "gzip, br")])
    assert seen == [name] * 3
    assert [answer.headers["etag"] for answer in answers] == ["1", "2", "1", "3", "2"]
    assert all(answer.content == CODE * 2 for answer in answers)
    assert all("immutable" in answer.headers["cache-control"] for answer in answers)


def test_what_is_not_there_or_no_asset_is_asked_for_again_and_memory_has_a_bound() -> None:
    gone, other = f"{ASSETS}gone.js", "/theme.css"
    answers, seen = served([(gone, "br"), (gone, "br"), (other, "br"), (other, "br")])
    assert seen == [gone, gone, other, other]
    assert not any("cache-control" in answer.headers for answer in answers)
    large = f"{ASSETS}large.js"
    assert served([(large, "br"), (large, "br")], bytes(KEPT_BYTES))[1] == [large, large]


def test_the_page_is_packed_and_its_assets_are_kept_by_browsers(app: App) -> None:
    plain, small = (
        httpx.get(app.url, headers={"accept-encoding": how}, follow_redirects=True) for how in ("identity", "gzip")
    )
    assert small.headers["content-encoding"] == "gzip"
    assert int(small.headers["content-length"]) < len(plain.content) / 5
    assert "ACE Music Studio" in small.text
    name = next(part for part in plain.text.split('"') if ASSETS in part and part.endswith(".js"))
    first, second = (httpx.get(f"{app.url}{name[name.index(ASSETS) :]}") for _ in range(2))
    assert first.content == second.content
    assert "immutable" in second.headers["cache-control"]
