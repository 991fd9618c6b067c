"""Clients that take a call back: what they say to Gradio ends the job, while one that only goes away leaves it running.

Gradio closes the generator of a call in both cases and does not tell which it was.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Server = Callable[[Message, Receive, Send], Awaitable[None]]
"""A web server by the rules of ASGI, as Gradio's is."""

LONGEST = 4096
"""Bytes of a call's cancellation: three short names."""

log = logging.getLogger(__name__)


class CancelCalls:
    """Passes each request on, and calls `cancelled(session, number of the event)` for those that take a call back."""

    def __init__(self, app: Server, cancelled: Callable[[str, int], None]) -> None:
        self._app = app
        self._cancelled = cancelled

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith("/cancel"):
            await self._app(scope, receive, send)
            return
        heard = bytearray()

        async def overheard() -> Message:
            message = await receive()
            if message["type"] == "http.request" and len(heard) <= LONGEST:
                heard.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    self._read(bytes(heard))
            return message

        await self._app(scope, overheard, send)

    def _read(self, body: bytes) -> None:
        try:
            asked = json.loads(body)
            session, number = str(asked["session_hash"]), int(asked["fn_index"])
        except (ValueError, TypeError, KeyError):  # which Gradio refuses in its own words
            log.debug("a cancellation that cannot be read")
            return
        self._cancelled(session, number)
