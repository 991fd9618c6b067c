"""Bad requests of every kind against a running studio: each is refused with a reason, and leaves nothing behind.

    .venv/bin/python -m tests.attack.requests --count 4000

They are made from the tables of knobs, from the events of the page and from the routes of its server, by a seed.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from core.knobs import Knob, knobs_of
from core.requests import REQUESTS
from library.index import FILES
from tests.conftest import ROOT, App, serving

ANSWER_S = 120
API = "/gradio_api"
JOBS = (*REQUESTS, "run", "again")
"""Handlers of events that make something when what they are told is good enough."""

JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, 1e308, -0.5, math.nan, math.inf, "", " ", "\0\0", "x" * 5000, "\ud800"),
    *("NaN", "null", "../../etc/passwd", "<script>", "${1}", "№ 雨", [], [[]], [None], {}, {"value": {}}),
    *({"path": "/etc/passwd"}, {"path": None}, {"path": 7}, {"path": "x", "meta": {"_type": "gradio.FileData"}}),
    *({"__type__": "update", "value": 1}, {"id": "..", "takes": 7}, {"deed": "import", "paths": {}}),
    *({"kind": "song", "id": [], "takes": [[]]}, {"kind": "preset", "mode": [], "values": {}}, {"mode": {}}),
    {"kind": "restore", "modes": {"cover": {"src_audio": "/etc/passwd"}}},
)
ROUTES = (
    *("/", "/config", "/login", "/gradio_api/info", "/gradio_api/queue/join", "/gradio_api/queue/data"),
    *("/gradio_api/queue/status", "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/upload"),
    *("/gradio_api/upload_progress", "/gradio_api/heartbeat", "/gradio_api/component_server", "/gradio_api/token"),
    *("/gradio_api/call/generate", "/gradio_api/call/v2/generate", "/gradio_api/call/nothing"),
    *("/gradio_api/run/nothing", "/gradio_api/api/find", "/gradio_api/file=/etc/passwd", "/gradio_api/file="),
    *("/gradio_api/file=http://127.0.0.1:1/", "/gradio_api/proxy=http://127.0.0.1:1/", "/gradio_api/stream/x"),
    *("/gradio_api/process_recording", "/gradio_api/vibe-edit", "/gradio_api/dev/reload", "/gradio_api/deep_link"),
    *("/static/../app.py", "/assets/%2e%2e/%2e%2e/app.py", "/theme.css", "/monitoring", "/nothing", "//", "/%00"),
)
METHODS = ("GET", "POST", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a bad request was answered with; `field` is the knob that was at fault, if one was."""

    asked: str
    status: int
    text: str
    field: str = ""

    def faults(self) -> list[str]:
        """What is wrong with the answer itself."""
        faults = []
        if self.status == 500:
            faults.append("a bare 500" if "error" not in self.text else "a 500")
        if '"error": null' in self.text or '"error":null' in self.text or "data: null\n\n" in f"{self.text}\n\n":
            faults.append("an error that says nothing")
        if "Traceback" in self.text or "The studio failed" in self.text:
            faults.append("a failure of the studio")
        if self.field and self.status == 200 and self.field not in self.text:
            faults.append(f"{self.field} is not named")
        return [f"{fault}: {self.asked[:300]} -> {self.status} {self.text[:300]}" for fault in faults]


class Attacker:
    """Sends bad requests to a studio, one after another, as a seed decides."""

    def __init__(self, url: str, seed: int) -> None:
        self._random = random.Random(seed)
        self._client = httpx.Client(base_url=url, timeout=ANSWER_S)
        self._events = [
            event
            for event in self._client.get("/config").json()["dependencies"]
            if event["backend_fn"] and event["api_name"] not in JOBS
        ]

    def attack(self) -> Answer:
        """What one bad request is answered with."""
        return self._random.choices((self._knob, self._event, self._raw), (4, 3, 3))[0]()

    def _knob(self) -> Answer:
        """A call of a named endpoint in which one knob is wrong, or does not exist."""
        name = self._random.choice(list(REQUESTS))
        knob = self._random.choice(knobs_of(REQUESTS[name]))
        values: dict[str, Any] = {"prompt": "rain", "brief": "rain", "query": "rain"}
        values = {each.name: values[each.name] for each in knobs_of(REQUESTS[name]) if each.name in values}
        field = knob.name
        if self._random.random() < 0.1:
            field = self._random.choice(("wish", "Prompt", "__class__", "duration", ""))
        values[field] = self._random.choice(wrong_values(knob))
        started = self._post(f"{API}/call/v2/{name}", values)
        if started.status_code != 200:
            return _answer(started, f"{name} {field}={values[field]!r}", field)
        stream = self._client.get(f"{API}/call/{name}/{started.json()['event_id']}")
        return _answer(stream, f"{name} {field}={values[field]!r}", field)

    def _event(self) -> Answer:
        """An event of the page that is told junk, or not enough, or too much."""
        event = self._random.choice(self._events)
        count = max(0, len(event["inputs"]) + self._random.choice((0, 0, 0, 0, 0, -1, 1)))
        data = [self._random.choice(JUNK) for _ in range(count)]
        body: dict[str, Any] = {"fn_index": event["id"], "data": data, "session_hash": f"s{self._random.random()}"}
        if self._random.random() < 0.3:
            body["event_data"] = self._random.choice(JUNK)
        if self._random.random() < 0.15:
            body[self._random.choice(tuple(body))] = self._random.choice(JUNK)
        asked = f"{event['api_name']} {str(body)[:250]}"
        if not event["queue"]:
            return _answer(self._post(f"{API}/run/{event['id']}", body), asked)
        joined = self._post(f"{API}/queue/join", body)
        if joined.status_code != 200:
            return _answer(joined, asked)
        query = {"session_hash": body["session_hash"]}
        return _answer(self._client.get(f"{API}/queue/data", params=query), asked)

    def _raw(self) -> Answer:
        """Anything under any address."""
        method, route = self._random.choice(METHODS), self._random.choice(ROUTES)
        headers = {"content-type": self._random.choice(("application/json", "text/plain", "multipart/form-data", ""))}
        junk = self._random.choice(JUNK)
        told = _spelled(junk) if self._random.random() < 0.7 else self._random.randbytes(40)
        if self._random.random() < 0.3:
            told = _spelled({"data": junk, "fn_index": self._random.choice(JUNK), "session_hash": "s"})
        query = self._random.choice(("", "?session_hash=s", "?x=%00", f"?{'y' * 3000}"))
        request = self._client.build_request(method, f"{route}{query}", content=told, headers=headers)
        try:
            with self._client.stream(method, request.url, content=told, headers=headers) as answer:
                text = b"".join(_some(answer)).decode(errors="replace")
                return Answer(asked=f"{method} {route} {told[:80]!r}", status=answer.status_code, text=text)
        except httpx.RemoteProtocolError as broken:
            return Answer(asked=f"{method} {route}", status=500, text=f"broken off: {broken}")

    def _post(self, route: str, body: Mapping[str, Any]) -> httpx.Response:
        return self._client.post(route, content=_spelled(body), headers={"content-type": "application/json"})


def wrong_values(knob: Knob) -> list[Any]:
    """Values that the knob cannot have."""
    wrong: list[Any] = [{}, [], {"a": 1}, [knob.default]]
    match knob.kind:
        case "integer" | "number":
            assert knob.low is not None and knob.high is not None
            wrong += [math.nan, math.inf, -math.inf, "7", "", True, knob.low - 1, knob.high + 1, 1e308, -1e308]
            wrong = [each for each in wrong if not (each == "" and knob.optional)]
            wrong += [knob.low + 0.5] if knob.kind == "integer" else []
        case "text":
            wrong += ["\ud800", 7, True, "x" * int((knob.high or 0) + 1)]
        case "flag":
            wrong += ["no", "true", 2, -1, "null"]
        case "choice":
            wrong += ["no such", 7, "\0", True]
        case "audio":
            wrong += [
                "/etc/passwd",
                7,
                True,
                {"path": "/etc/passwd"},
                {"path": None},
                {"path": []},
                {"url": "file:///x"},
            ]
    return wrong


def _spelled(value: Any) -> bytes:
    return json.dumps(value).encode()


def _some(answer: httpx.Response) -> list[bytes]:
    """The beginning of an answer: streams of events need not end."""
    parts: list[bytes] = []
    if "event-stream" not in answer.headers.get("content-type", ""):
        for part in answer.iter_bytes():
            parts.append(part)
            if sum(map(len, parts)) > 20_000:
                break
    return parts


def _answer(answer: httpx.Response, asked: str, field: str = "") -> Answer:
    return Answer(asked=asked, status=answer.status_code, text=answer.text, field=field)


def attacked(app: App, count: int, seed: int, at_once: int = 4) -> tuple[Counter[int], list[str]]:
    """(how often each status was the answer, what is wrong) after so many bad requests."""
    before = _files(app)
    share, rest = divmod(count, at_once)

    def some(number: int) -> list[Answer]:
        attacker = Attacker(app.url, seed + number)
        return [attacker.attack() for _ in range(share + (rest if number == 0 else 0))]

    with ThreadPoolExecutor(at_once) as threads:
        answers: Sequence[Answer] = [answer for part in threads.map(some, range(at_once)) for answer in part]
    faults = [fault for answer in answers for fault in answer.faults()]
    faults += [f"{name} is left" for name in _files(app) - before]
    log = app.log.read_text(encoding="utf-8", errors="replace")
    faults += ["a traceback in the log"] * log.count("Traceback")
    return Counter(answer.status for answer in answers), faults


def _files(app: App) -> set[str]:
    return {path.name for path in app.outputs.glob("*")} - set(FILES)


def main() -> int:
    """The exit code: 0 if every request was answered well."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=4000)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as home, serving(Path(home), ROOT / "app.py", junk=True) as app:
        statuses, faults = attacked(app, asked.count, asked.seed)
        loaded = app.log.read_text(encoding="utf-8", errors="replace").count("loading")
    for fault, times in Counter(fault[:400] for fault in faults).most_common(40):
        sys.stdout.write(f"{times} x {fault}\n")
    told = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    sys.stdout.write(f"bad requests: {asked.count} ({told}), {len(faults)} faults, {loaded} loads\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
