"""Requests that Gradio answers with an empty error, a bare 500 or a broken stream (seen in 6.31): what is wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from ui.answers import FAILED, refuse
from ui.cancel_calls import Message, Receive, Send, Server

API = "/gradio_api/"
LONGEST = 8_000_000
"""Bytes of a call: a plan of ten minutes and words in every field, many times over. Recordings are uploaded."""

LONGEST_NAME = 128
"""Characters of the name of a session."""

CLOSED = (
    "proxy=",
    "process_recording",
    "vibe-",
    "undo-vibe",
    "dev/",
    "deep_link",
    "custom_component",
    "component_server",
    "stream/",
    "run-history",
)
"""What Gradio offers beside and this page has no use for: it fetches, writes or runs something for whoever asks."""

WRITING = ("POST", "PUT", "PATCH", "DELETE")
UPLOAD = "upload"

NO_ENDPOINT = "must be an endpoint of this studio, as /gradio_api/info tells them"

log = logging.getLogger(__name__)

Refusal = tuple[int, str]
"""A status, and why."""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """What can be called: the events of the page by name and by number, and the parameters of what clients call."""

    names: Collection[str]
    numbers: Collection[int]
    parameters: Mapping[str, Collection[str]]


class BadRequests:
    """Passes each request on that Gradio can read, and sees to it that each that fails is told why.

    `is_open` says whether a session has anything to be told, `is_called` whether a call by its event has. `endpoints`
    are asked for at each call.
    """

    def __init__(
        self,
        app: Server,
        endpoints: Callable[[], Endpoints],
        is_open: Callable[[str], bool],
        is_called: Callable[[str], bool],
    ) -> None:
        self._app = app
        self._endpoints = endpoints
        self._is_open = is_open
        self._is_called = is_called

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _, api, route = scope["path"].partition(API)
        refused = self._refused(scope, route) if api else None
        if refused is None and api and scope["method"] in WRITING and not route.startswith(UPLOAD):
            body = await _body(receive)
            refused = (
                (413, "The body is too long: recordings are uploaded.") if body is None else self._odd(route, body)
            )
            receive = _again(body or b"", receive)
        if refused is not None:
            await refuse(send, *refused)
            return
        told = _Told(send, is_call=_is_call(route))
        try:
            await self._app(scope, receive, told)
        except Exception:
            log.exception("a request failed: %s %s", scope["method"], scope["path"][:200])
            if not told.begun:
                await refuse(send, 500, FAILED)

    def _refused(self, scope: Message, route: str) -> Refusal | None:
        """Why an address is not served, if it is not."""
        if any(route.startswith(closed) for closed in CLOSED):
            return 404, "There is nothing here."
        if route.startswith("file=") and "://" in unquote(route):
            return 403, "Files of other machines are not fetched."
        if route.rstrip("/") == "queue/data":
            query = parse_qs(scope["query_string"].decode("latin-1"))
            if not self._is_open(query.get("session_hash", [""])[0]):
                return 404, "session_hash: must be a session that waits for an answer"
        event = route.rstrip("/").rpartition("/")[2]
        if scope["method"] == "GET" and route.startswith("call/") and not self._is_called(event):
            return 404, "event_id: must be that of a call whose answer was not fetched yet"
        return None

    def _odd(self, route: str, body: bytes) -> Refusal | None:
        """What is wrong with a call; None where Gradio can read it."""
        try:
            # Values of a call are told by their fields; elsewhere FastAPI would fail to repeat what is no JSON.
            asked = json.loads(body, parse_constant=None if _is_call(route) else _no_json)
        except (ValueError, RecursionError):
            return 400, "The body must be JSON."
        if not isinstance(asked, dict):
            return 400, "The body must be a JSON object."
        if not _is_call(route):
            return None
        kind, _, name = route.strip("/").partition("/")
        known = self._endpoints()
        if name.startswith("v2/"):
            name = name.removeprefix("v2/")
            if name not in known.parameters:
                return 404, f"{name[:60]}: {NO_ENDPOINT}"
            odd = [each for each in asked if each not in known.parameters[name]]
            return (422, "; ".join(f"{each[:60]}: must be a parameter of /{name}" for each in odd[:8])) if odd else None
        return _odd_call(asked, known, kind, name)


def _odd_call(asked: Mapping[str, Any], known: Endpoints, kind: str, name: str) -> Refusal | None:
    number, session = asked.get("fn_index"), asked.get("session_hash")
    if not isinstance(asked.get("data"), list):
        return 422, "data: must be a list of values"
    if kind == "call" and name not in known.names:
        return 404, f"{name[:60]}: {NO_ENDPOINT}"
    if kind == "queue" and number is None:
        return 422, "fn_index: must be the number of an event of the page"
    if number is None and name not in known.names:
        return 404, f"{name[:60]}: {NO_ENDPOINT}"
    if number is not None and (type(number) is not int or number not in known.numbers):
        return 422, "fn_index: must be the number of an event of the page"
    if session is None and kind == "queue":
        return 422, "session_hash: must be the name of a session"
    if session is not None and not (isinstance(session, str) and 0 < len(session) <= LONGEST_NAME):
        return 422, f"session_hash: must be a name of at most {LONGEST_NAME} characters"
    if asked.get("batched"):
        return 422, "batched: must be false"
    return None


def _is_call(route: str) -> bool:
    """Whether an event is asked for there."""
    return route.startswith(("call/", "run/", "api/", "queue/join"))


def _no_json(constant: str) -> None:
    """Raise ValueError for NaN and its like, which Python reads."""
    raise ValueError(f"{constant} is no JSON")


class _Told:
    """What is sent, whereby a call that failed has a status that says so and never an empty reason."""

    def __init__(self, send: Send, *, is_call: bool) -> None:
        self._send = send
        self._is_call = is_call
        self._failed: Message | None = None
        self._body = b""
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._is_call and message["status"] == 500:
            self._failed = message
            return
        if self._failed is None:
            self.begun = True
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            self.begun = True
            try:
                why = json.loads(self._body)["error"]
            except (ValueError, TypeError, KeyError):
                why = None
            await refuse(self._send, *((422, str(why)) if why else (500, FAILED)))


async def _body(receive: Receive) -> bytes | None:
    """All that a request says; None where that is too long."""
    heard = bytearray()
    while True:
        message = await receive()
        heard.extend(message.get("body", b""))
        if len(heard) > LONGEST:
            return None
        if message["type"] != "http.request" or not message.get("more_body", False):
            return bytes(heard)


def _again(body: bytes, receive: Receive) -> Receive:
    """What a request says, from the beginning."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def heard() -> Message:
        return waiting.pop() if waiting else await receive()

    return heard
