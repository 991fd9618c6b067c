"""What the page has before Gradio draws anything: its look.

Gradio puts what it is given for the head of a page there by a script of its own, a second after the first paint.
"""

from __future__ import annotations

from ui.cancel_calls import Message, Receive, Send, Server

HEAD = b"<head>"


class FirstPaint:
    """Passes each request on, and puts `markup` at the top of a page's head."""

    def __init__(self, app: Server, markup: str) -> None:
        self._app = app
        self._markup = markup.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        start: Message | None = None  # held back until it is known how long the page is

        async def marked(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_page(message):
                start = message
                return
            if start is not None:
                body = message.get("body", b"")
                longer = body.replace(HEAD, HEAD + self._markup, 1)
                await send(_longer_by(start, len(longer) - len(body)))
                start, message = None, {**message, "body": longer}
            await send(message)

        await self._app(scope, receive, marked)


def _is_page(message: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/html") for name, value in message["headers"])


def _longer_by(start: Message, more: int) -> Message:
    headers = [
        (name, str(int(value) + more).encode() if name == b"content-length" else value)
        for name, value in start["headers"]
    ]
    return {**start, "headers": headers}
