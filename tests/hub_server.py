"""A small Hugging Face on this machine, with the faults of a large one."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

LFS_BYTES = 20_000
"""Larger files are kept by LFS, and known by their SHA-256 instead of git's hash."""

SLOW_BYTES = 65_536


@dataclass(frozen=True)
class Fault:
    """What happens to one request: an answer with a status, or content that is cut off, wrong, slow or all of it."""

    kind: Literal["status", "cut", "wrong", "slow", "whole"]
    number: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One request for a file's content: where it began, how many bytes were sent, and whose token came along."""

    path: str
    start: int
    sent: int
    token: str | None


@dataclass
class Hub:
    """Repositories by name, each with its files; `faults` are taken one by one, by path or by `api`.

    `lies` change what the listing tells of a file, by path; `answer` stands in place of every listing.
    """

    url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    lies: dict[str, dict[str, object]] = field(default_factory=dict)
    answer: bytes | None = None
    asked: list[Asked] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)

    def commit(self, repo: str) -> str:
        """Forty digits that change with any file."""
        return hashlib.sha1(repr(sorted(self.repos[repo].items())).encode()).hexdigest()

    def listing(self, repo: str) -> bytes:
        """What the API tells of a repository when it is asked with `blobs=true`."""
        siblings = []
        for path, content in self.repos[repo].items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            sibling: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": blob}
            if len(content) > LFS_BYTES:
                sha256 = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
            siblings.append(sibling | self.lies.get(path, {}))
        return json.dumps({"id": repo, "modelId": repo, "sha": self.commit(repo), "siblings": siblings}).encode()

    def bytes_sent(self, path: str) -> int:
        return sum(asked.sent for asked in self.asked if asked.path == path)


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that listens on 127.0.0.1; as the large one, it hands file content out under another host's name."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each answer waits 40 ms for its second half
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(path)
        if path.startswith("/api/models/"):
            self._api(path.removeprefix("/api/models/").partition("/revision/")[0])
        elif "/resolve/" in path:
            self._resolve(path)
        else:
            self._content(*path.removeprefix("/cdn/").split("/", 2))

    def _api(self, repo: str) -> None:
        self.hub.tokens.add(self.headers.get("authorization"))
        fault = self._fault("api")
        if fault is not None:
            self._answer(fault.number, b'{"error": "no"}', fault.headers)
        elif repo not in self.hub.repos:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        else:
            listing = self.hub.listing(repo) if self.hub.answer is None else self.hub.answer
            self._answer(200, listing, {"content-type": "application/json"})

    def _resolve(self, path: str) -> None:
        self.hub.tokens.add(self.headers.get("authorization"))
        repo, _, place = path.removeprefix("/").partition("/resolve/")
        commit, _, name = place.partition("/")
        if commit != self.hub.commit(repo):
            self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        where = f"{self.hub.url.replace('127.0.0.1', 'localhost')}/cdn/{repo}/{name}"
        self._answer(302, b"", {"location": where, "X-Repo-Commit": commit})

    def _content(self, owner: str, name: str, path: str) -> None:
        content = self.hub.repos[f"{owner}/{name}"][path]
        fault = self._fault(path) if self.command == "GET" else None
        if fault is not None and fault.kind == "status":
            self._answer(fault.number, b"", fault.headers)
            return
        ranged = self.headers.get("range", "bytes=0-")
        start = 0 if fault is not None and fault.kind == "whole" else int(ranged.removeprefix("bytes=").rstrip("-"))
        body = content[start:]
        if fault is not None and fault.kind == "wrong":
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(206 if start else 200)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            sent = self._send(body, fault)
            self.hub.asked.append(Asked(path, start, sent, self.headers.get("authorization")))

    def _send(self, body: bytes, fault: Fault | None) -> int:
        """The bytes that were sent; a cut ends the connection after so many."""
        if fault is not None and fault.kind == "cut":
            body = body[: fault.number]
            self.close_connection = True
        if fault is None or fault.kind != "slow":
            self.wfile.write(body)
            return len(body)
        sent = 0
        try:
            for first in range(0, len(body), SLOW_BYTES):
                sent += self.wfile.write(body[first : first + SLOW_BYTES])
                time.sleep(fault.number / 1000)
        except OSError:  # whoever asked has gone
            self.close_connection = True
        return sent

    def _fault(self, path: str) -> Fault | None:
        waiting = self.hub.faults[path]
        return waiting.pop(0) if waiting else None

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test's own output is enough."""
