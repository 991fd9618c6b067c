"""Requests that Gradio would answer with an empty error or a broken stream (seen in 6.31): what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs

from ui.answers import refuse
from ui.cancel_calls import Message, Receive, Send, Server

STREAM = "/queue/data"


class BadRequests:
    """Passes each request on that Gradio can read; `is_open` says whether a session has anything to be told."""

    def __init__(self, app: Server, is_open: Callable[[str], bool]) -> None:
        self._app = app
        self._is_open = is_open

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"].endswith(STREAM):
            session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
            if not self._is_open(session):
                await refuse(send, 404, "session_hash: must be a session that waits for an answer.")
                return
        await self._app(scope, receive, send)
