"""The API as an OpenAPI document, from the tables of the knobs: names, defaults, bounds, outputs, errors.

Gradio's own knows neither bounds nor defaults and takes recordings for texts. docs/openapi.json is this document,
written by `.venv/bin/python -m ui.openapi`: names and defaults are a contract, and a change of them is seen there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import tooltips
from core.actions import ACTIONS
from core.drafts import DRAFTS
from core.params import SONG_MODES
from core.paths import DOCS
from core.requests import REQUESTS
from ui.cancel_calls import Message, Receive, Send, Server
from ui.schemas import Schema, schema_of

PAGE = DOCS / "openapi.json"
PATH = "/gradio_api/openapi.json"

FILE: Schema = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "description": "As /gradio_api/upload answered it."},
        "meta": {"type": "object", "properties": {"_type": {"const": "gradio.FileData"}}, "required": ["_type"]},
    },
    "required": ["path", "meta"],
}
"""A recording that was uploaded."""

MADE: Schema = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "url": {"type": "string", "description": "Where it can be fetched."},
        "orig_name": {"type": "string"},
    },
    "required": ["path", "url"],
}
"""A file that the studio gives."""

ANY: Schema = {"type": "object"}
TEXT: Schema = {"type": "string"}
LINE: Schema = {
    "anyOf": [TEXT, {"type": "object"}],
    "description": "The line of progress; an object whose value is the line where there is more to tell.",
}

_OUTPUTS: Mapping[str, tuple[tuple[str, Schema], ...]] = {
    **dict.fromkeys(SONG_MODES, (("song", MADE), ("metadata", ANY))),
    "lyrics": (("words", TEXT),),
    "plan": (("plan", TEXT), ("about", TEXT)),
    **dict.fromkeys(DRAFTS, (("draft", ANY),)),
    **dict.fromkeys(ACTIONS, (("files", {"type": "array", "items": MADE}), ("facts", ANY))),
}
"""What stands in the data of each request's events before the line of progress."""

ERROR: Schema = {
    "type": "object",
    "properties": {"error": {"type": "string", "description": "What happened, and one thing to do about it."}},
    "required": ["error"],
}

STREAM = """Server-sent events until one is `complete` or `error`. `generating`: data is an array of the outputs as they
stand; {"__type__": "update"} is one that is as it was. `complete`: the outputs. `error`: an object with `error`, the
reason. `heartbeat`: null."""


def document() -> Schema:
    """The whole of the API."""
    paths: Schema = {"/gradio_api/upload": {"post": _upload()}}
    for name in REQUESTS:
        paths[f"/gradio_api/call/v2/{name}"] = {"post": _call(name)}
        paths[f"/gradio_api/call/{name}/{{event_id}}"] = {"get": _events(name)}
    words = "Ask with POST, then follow the events of what was asked. docs/api.md tells more."
    return {
        "openapi": "3.1.0",
        "info": {"title": "ACE Music Studio", "version": "1", "description": words},
        "paths": paths,
        "components": {"schemas": {"File": FILE, "Made": MADE, "Error": ERROR}},
    }


def _upload() -> Schema:
    files = {"type": "array", "items": {"type": "string", "contentMediaType": "application/octet-stream"}}
    form = {"type": "object", "properties": {"files": files}, "required": ["files"]}
    paths = {"type": "array", "items": TEXT}
    return {
        "operationId": "upload",
        "summary": "Bring recordings in; their paths are what a call names them by.",
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}},
        "responses": {"200": _answer("The path of each file.", paths), "413": _answer("It is too large.")},
    }


def _call(name: str) -> Schema:
    title, sentence = tooltips.title(name)
    event = {"type": "object", "properties": {"event_id": TEXT}, "required": ["event_id"]}
    body = schema_of(name, {"$ref": "#/components/schemas/File"})
    return {
        "operationId": name,
        "summary": title,
        "description": f"{sentence}. Wrong values are told by the events.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _answer("It was asked for.", event),
            "400": _answer("It is no JSON."),
            "422": _answer("It names a parameter that there is not."),
            "503": _answer("Too many wait."),
        },
    }


def _events(name: str) -> Schema:
    outputs = [*_OUTPUTS[name], ("status", LINE)]
    data = {
        "type": "array",
        "prefixItems": [{"title": each, **_referred(schema)} for each, schema in outputs],
        "minItems": len(outputs),
        "maxItems": len(outputs),
    }
    told = _answer(STREAM.replace("\n", " "))
    told["content"] = {"text/event-stream": {"schema": {"type": "string"}, "x-data": data}}
    event = {"name": "event_id", "in": "path", "required": True, "schema": TEXT}
    return {
        "operationId": f"{name}_events",
        "summary": "The events of what was asked, once.",
        "parameters": [event],
        "responses": {"200": told, "404": _answer("There is no such event, or its events were fetched.")},
    }


def _referred(schema: Schema) -> Schema:
    if schema is MADE:
        return {"$ref": "#/components/schemas/Made"}
    return {**schema, "items": {"$ref": "#/components/schemas/Made"}} if "items" in schema else schema


def _answer(description: str, schema: Schema | None = None) -> Schema:
    content = {"application/json": {"schema": schema or {"$ref": "#/components/schemas/Error"}}}
    return {"description": description, "content": content}


class OwnDocument:
    """Passes each request on, and puts the document in the place of Gradio's."""

    def __init__(self, app: Server) -> None:
        self._app = app
        self._body = json.dumps(document(), ensure_ascii=False).encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].endswith(PATH):
            await self._app(scope, receive, send)
            return
        is_ours = False

        async def own(message: Message) -> None:
            nonlocal is_ours
            if message["type"] == "http.response.start" and message["status"] == 200:
                is_ours = True
                headers = [(b"content-type", b"application/json"), (b"content-length", str(len(self._body)).encode())]
                await send({**message, "headers": headers})
            elif not is_ours:
                await send(message)
            elif not message.get("more_body", False):
                await send({"type": "http.response.body", "body": self._body})

        await self._app(scope, receive, own)


def text() -> str:
    """The document as it stands in docs/openapi.json."""
    return f"{json.dumps(document(), ensure_ascii=False, indent=1)}\n"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
