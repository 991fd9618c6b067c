"""What the studio can be asked for as tools of the Model Context Protocol, over streamable HTTP beside the page.

The official SDK and not Gradio's own server (seen in 6.31), which tells of a running generator no more than
"Processing", keeps no session in which a cancel could be heard, and calls in the name of one visitor for all.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder
from mcp import types
from mcp.server.lowlevel import Server as Tools
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

import tooltips
from backend import Studio
from core.errors import Fault, RequestError, StudioError, faults_of
from core.events import Progress
from core.knobs import knobs_of, parse
from core.requests import REQUESTS
from jobs.desk import Event
from jobs.results import all_facts
from library.companions import Companion
from library.records import Track
from ui.answers import FAILED
from ui.cancel_calls import Message, Receive, Send, Server
from ui.schemas import Schema, schema_of
from ui.sessions import GRACE_S
from ui.visitors import Visitors

PATH = "/mcp"
FILES = "/gradio_api/file="
SESSION = "mcp-session-id"

KINDS = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".mid": "audio/midi",
    ".lrc": "text/plain",
    ".zip": "application/zip",
}
"""What a file holds, by the end of its name: the machine's own list differs from one to the next."""

TELL_S = 1.0
"""So often the same line of progress is told again."""

INSTRUCTIONS = """A song studio. Each tool is one job; it may take minutes, tells its progress and can be cancelled.
Songs and files come as resource links; a song's id is what other tools take as their track."""

log = logging.getLogger(__name__)


class Assistants:
    """The tools of a studio, and the sessions of those who use them; `hosted` keeps the songs of different ones apart.

    It stands before the server as its middleware does, and takes what is sent to its path.
    """

    def __init__(self, studio: Studio, *, hosted: bool) -> None:
        self._studio = studio
        self._hosted = hosted
        self._visitors = Visitors(studio.library, hosted=hosted)
        self._tools = Tools("ACE Music Studio", instructions=INSTRUCTIONS)
        # What is wrong is told by the studio, all faults at once, and not by the schema, the first alone.
        self._tools.call_tool(validate_input=False)(self._call)
        self._tools.list_tools()(self._list)
        self._sessions = StreamableHTTPSessionManager(self._tools)
        logging.getLogger("mcp").setLevel(logging.WARNING)  # a line for every request
        logging.getLogger("mcp.server.streamable_http").addFilter(_is_news)

    def before(self, app: Server) -> Server:
        """A server that answers assistants, and passes everything else on."""

        async def serve(scope: Message, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"].rstrip("/").endswith(PATH):
                await self._sessions.handle_request(scope, receive, send)
            else:
                await app(scope, receive, send)

        return serve

    @asynccontextmanager
    async def serving(self, server: object) -> AsyncIterator[None]:
        """While this lasts assistants are answered."""
        async with self._sessions.run():
            yield

    async def _list(self) -> list[types.Tool]:
        where = "The path of a recording that was uploaded, or the address of a result."
        if not self._hosted:
            where = "The path of a recording on the studio's machine, or the address of a result."
        return [_tool(name, {"type": "string", "description": where}) for name in REQUESTS]

    async def _call(self, name: str, arguments: Mapping[str, object]) -> types.CallToolResult:
        context = self._tools.request_context
        session = str(context.request.headers.get(SESSION, "") or uuid.uuid4().hex)
        try:
            if name not in REQUESTS:
                raise RequestError([Fault("tool", name, f"must be one of {', '.join(REQUESTS)}")])
            request = parse(REQUESTS[name], dict(self._values(name, arguments)))
            job = uuid.uuid4().hex
            library, grace_s = self._visitors.library(session), GRACE_S if self._hosted else None
            self._studio.begin(request, job=job, owner=session, grace_s=grace_s, library=library)
            events = [event async for event in self._followed(job, context)]
        except StudioError as failure:
            return _failed(failure)
        except Exception as failure:
            log.error("a tool failed", exc_info=failure)
            return _failed(StudioError(FAILED))
        return await asyncio.to_thread(self._made, events, _root_of(context.request))

    def _values(self, name: str, arguments: Mapping[str, object]) -> Iterator[tuple[str, object]]:
        """The values of the knobs, recordings by their paths.

        Raises RequestError for a file that strangers may not name.
        """
        audio = {knob.name for knob in knobs_of(REQUESTS[name]) if knob.kind == "audio"}
        for knob, value in arguments.items():
            if knob not in audio or not isinstance(value, str) or not value:
                yield knob, value
                continue
            path = value.partition(FILES)[2] or value
            if self._hosted and not _is_upload(path):
                raise RequestError([Fault(knob, Path(path).name, "must be the path of a recording that was uploaded")])
            yield knob, path

    async def _followed(self, job: str, context: Any) -> AsyncIterator[Event]:
        """What comes of a job; its progress is told to whoever asked to hear it.

        Left before the end, as when the call is taken back, it cancels the job.
        """
        inbox: asyncio.Queue[Event | Exception | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def listen() -> None:
            last: Exception | None = None
            with suppress(RuntimeError):  # the server has ended meanwhile
                try:
                    for event in self._studio.follow(job):
                        loop.call_soon_threadsafe(inbox.put_nowait, event)
                except Exception as failure:  # it is raised where it is awaited
                    last = failure
                loop.call_soon_threadsafe(inbox.put_nowait, last)

        threading.Thread(target=listen, name=f"tool-{job[:8]}", daemon=True).start()
        told = _Told(context)
        try:
            while (event := await inbox.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, Progress):
                    await told.tell(event)
                else:
                    yield event
        finally:
            self._studio.cancel(job)  # what has ended knows of no cancel

    def _made(self, events: list[Event], root: str) -> types.CallToolResult:
        """The results of a job: what to know about them as JSON, their files as links."""
        links: list[types.ResourceLink] = []
        for event in events:
            match event:
                case Track():
                    links.append(_link(event.path, root, event.title))
                case Companion():
                    links += [_link(file, root, file.name) for file in event.files]
        titles: dict[object, dict[str, Any]] = {
            event.id: {"title": event.title} for event in events if isinstance(event, Track)
        }
        hidden = ("path", "files") if self._hosted else ()  # where files lie, for who works on the same machine
        results = [
            titles.get(facts.get("id"), {}) | {name: fact for name, fact in facts.items() if name not in hidden}
            for facts in all_facts(events)
        ]
        told = {"results": results}
        text = types.TextContent(type="text", text=json.dumps(told, ensure_ascii=False))
        return types.CallToolResult(content=[text, *links], structuredContent=json.loads(text.text))


def _is_news(record: logging.LogRecord) -> bool:
    """Whether the log is to have it: the SDK (seen in 1.30) tells the end of a session as an error."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "ClosedResourceError"


class _Told:
    """The progress of a job as notifications: seconds since its start, of as many as it is likely to take."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._token = context.meta.progressToken if context.meta else None
        self._began = time.monotonic()
        self._line, self._told_s = "", -TELL_S

    async def tell(self, event: Progress) -> None:
        """Tell where the job stands, unless that was said just now."""
        seconds, line = time.monotonic() - self._began, str(event)
        if self._token is None or (line == self._line and seconds - self._told_s < TELL_S):
            return
        self._line, self._told_s = line, seconds
        await self._context.session.send_progress_notification(
            progress_token=self._token,
            progress=seconds,
            total=None if event.left_s is None else seconds + event.left_s,
            message=line,
            related_request_id=str(self._context.request_id),
        )


def _tool(name: str, audio: Schema) -> types.Tool:
    title, sentence = tooltips.title(name)
    hints = types.ToolAnnotations(title=title, readOnlyHint=False, destructiveHint=False, openWorldHint=False)
    schema = schema_of(name, audio)
    return types.Tool(name=name, title=title, description=f"{sentence}.", inputSchema=schema, annotations=hints)


def _failed(failure: StudioError) -> types.CallToolResult:
    """Why a job failed."""
    told = {"error": type(failure).__name__, **faults_of(failure)}
    text = types.TextContent(type="text", text=str(failure))
    return types.CallToolResult(content=[text], structuredContent=told, isError=True)


def _link(file: Path, root: str, title: str) -> types.ResourceLink:
    """A file where it can be fetched: in Gradio's cache, under the hash of its content, as the page shows it."""
    kept = Path(save_file_to_cache(file, get_upload_folder()))
    return types.ResourceLink(
        type="resource_link",
        uri=f"{root}{FILES}{kept}",
        name=kept.name,
        title=title,
        mimeType=KINDS.get(kept.suffix, "application/octet-stream"),
        size=kept.stat().st_size,
    )


def _is_upload(path: str) -> bool:
    try:
        found = Path(path).resolve()
        return found.is_file() and found.is_relative_to(Path(get_upload_folder()).resolve())
    except (OSError, ValueError):
        return False


def _root_of(request: Any) -> str:
    """How whoever asks calls the studio, behind a proxy too."""
    headers = request.headers
    scheme = headers.get("x-forwarded-proto", request.url.scheme).partition(",")[0].strip()
    host = headers.get("x-forwarded-host", headers["host"]).partition(",")[0].strip()
    return f"{scheme}://{host}"
