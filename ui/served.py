"""What every browser asks for before it shows anything: small on its way, and made small once.

Gradio compresses the hundred scripts of a page anew for each visitor, lets browsers ask for them again every time, and
sends the page itself, most of a megabyte, as it is.
"""

from __future__ import annotations

import gzip

from ui.cancel_calls import Message, Receive, Send, Server

ASSETS = "/assets/"
"""Whose files are named by their content, so that none ever changes."""

FOR_EVER = (b"cache-control", b"public, max-age=31536000, immutable")
KEPT_BYTES = 32_000_000
"""Of assets that are kept in memory: all that Gradio 6.31 has take 6 MB, packed in one way."""

PACKED = (b"br", b"gzip")
"""How Gradio packs what browsers say that they unpack."""

Headers = list[tuple[bytes, bytes]]
_Kept = tuple[tuple[bytes, ...], str]


class Assets:
    """Passes each request on, but for assets that were asked for before, which it keeps in memory as they were sent."""

    def __init__(self, app: Server) -> None:
        self._app = app
        self._kept: dict[_Kept, list[Message]] = {}
        self._bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith(ASSETS):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if b"range" in headers:
            await self._app(scope, receive, send)
            return
        packed = headers.get(b"accept-encoding", b"")
        key = tuple(way for way in PACKED if way in packed), scope["path"]
        if key not in self._kept:
            await self._first(key, scope, receive, send)
            return
        for message in self._kept[key]:
            await send({**message})

    async def _first(self, key: _Kept, scope: Message, receive: Receive, send: Send) -> None:
        told: list[Message] = []

        async def overheard(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                message = {**message, "headers": [*message["headers"], FOR_EVER]}
            told.append({**message})
            await send(message)

        await self._app(scope, receive, overheard)
        size = sum(len(message.get("body", b"")) for message in told)
        is_there = bool(told) and told[0].get("status") == 200
        if is_there and key not in self._kept and self._bytes + size <= KEPT_BYTES:
            self._kept[key], self._bytes = told, self._bytes + size


class PackedPage:
    """Passes each request on, and packs the page for browsers that unpack it."""

    def __init__(self, app: Server) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_page = scope["type"] == "http" and scope["method"] == "GET" and scope["path"] == "/"
        if not is_page or b"gzip" not in dict(scope["headers"]).get(b"accept-encoding", b""):
            await self._app(scope, receive, send)
            return
        start: Message = {}  # held back until it is known how long the page is
        page = bytearray()

        async def packed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            page.extend(message.get("body", b""))
            if not message.get("more_body", False):
                body = gzip.compress(page, compresslevel=5)
                await send({**start, "headers": _packed(start["headers"], len(body))})
                await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, packed)


def _packed(headers: Headers, length: int) -> Headers:
    others = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    told = {b"content-length": str(length).encode(), b"content-encoding": b"gzip", b"vary": b"Accept-Encoding"}
    return [*others, *told.items()]
