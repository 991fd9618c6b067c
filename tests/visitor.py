"""A browser's tab without a browser: it sends the studio what Gradio's page sends, in one session."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import httpx

ANSWER_S = 60


def strict(text: str) -> Any:
    """The value of a JSON text; raises ValueError for NaN and Infinity, which Python would let through."""

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


class Visitor:
    """One session of the page at `url`, of a browser with a name of its own; `client` may have logged in."""

    def __init__(self, url: str, client: httpx.Client | None = None) -> None:
        self._client = client or httpx.Client(timeout=ANSWER_S)
        self._api = f"{url}/gradio_api"
        self._session = uuid.uuid4().hex
        self.browser = uuid.uuid4().hex
        config = strict(self._client.get(f"{url}/config").text)
        self._props = {each["id"]: each["props"] for each in config["components"]}
        self._events = config["dependencies"]

    def load(self) -> Mapping[str, Any]:
        """Open the page: what its components are updated to then, by the ids of their elements."""
        loads = [each for each in self._events if each["backend_fn"] and not each["queue"] and _hangs_on(each, "load")]
        return {
            self._props[number].get("elem_id"): update
            for event in loads
            for number, update in zip(event["outputs"], self._at_once(event, self.browser)["data"], strict=True)
        }

    def fire(self, name: str, *data: object, told: Mapping[str, object] | None = None) -> str:
        """All that the studio says to an event: `element.event`, `.event` where that says enough, or its handler.

        `data` are its first inputs, the others are as the page shows them at first; `told` comes with the event.
        """
        [event] = [each for each in self._events if each["backend_fn"] and self._is(each, name)]
        shown = [self._props[number].get("value") for number in event["inputs"][len(data) :]]
        if not event["queue"]:
            return self._sent(f"run/{event['id']}", event, [*data, *shown], told).text
        self._post("queue/join", event, [*data, *shown], told)
        with self._stream() as stream:
            return "\n".join(stream.iter_lines())

    def _is(self, event: Mapping[str, Any], name: str) -> bool:
        element, dot, what = name.partition(".")
        if not dot:
            return bool(event["api_name"] == name)
        return any(
            on == what and element in ("", self._props.get(target, {}).get("elem_id"))
            for target, on in event["targets"]
        )

    def ask(self, name: str, **values: object) -> str:
        """All that the studio says to an endpoint's job; fields that are not named are as the page shows them."""
        self._ask(name, values)
        with self._stream() as stream:
            return "\n".join(stream.iter_lines())

    def refusal(self, name: str, **values: object) -> str:
        """Why an endpoint's job is refused; fields that are not named are as the page shows them at first."""
        self._ask(name, values)
        return str(self._outcome()["error"])

    def leave(self, name: str, **values: object) -> None:
        """Begin an endpoint's job, and go away as soon as it tells anything."""
        self._ask(name, values)
        with self._stream() as stream:
            next(line for line in stream.iter_lines() if "process_generating" in line)

    def _ask(self, name: str, values: Mapping[str, object]) -> None:
        [event] = [each for each in self._events if each["api_name"] == name]
        fields = {self._knob(number): self._props[number].get("value") for number in event["inputs"]}
        assert not values.keys() - fields.keys()
        self._post("queue/join", event, list({**fields, **values}.values()))

    def come_anew(self) -> None:
        """Begin another session, and ask for what a song costs in it: the least that makes the studio keep one."""
        self._session = uuid.uuid4().hex
        costs = next(each for each in self._events if each["backend_fn"] and _hangs_on(each, "change"))
        self._at_once(costs)

    def _knob(self, number: int) -> str:
        """The name of the knob whose element has the id `mode-knob`."""
        return str(self._props[number]["elem_id"]).partition("-")[2].replace("-", "_")

    def _at_once(self, event: Mapping[str, Any], *first: object) -> Mapping[str, Any]:
        """The answer to an event that needs no queue."""
        assert event["queue"] is False
        data = [*first, *(self._props[number].get("value") for number in event["inputs"][len(first) :])]
        return dict(self._post(f"run/{event['id']}", event, data))

    def _post(self, route: str, event: Mapping[str, Any], data: list[object], told: object = None) -> Any:
        answer = self._sent(route, event, data, told)
        answer.raise_for_status()
        return strict(answer.text)

    def _sent(self, route: str, event: Mapping[str, Any], data: list[object], told: object) -> httpx.Response:
        body = {"fn_index": event["id"], "data": data, "session_hash": self._session, "event_data": told}
        return self._client.post(f"{self._api}/{route}", json=body)

    def _outcome(self) -> Mapping[str, Any]:
        """What the session's running job ends with."""
        with self._stream() as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("msg") == "process_completed":
                    return dict(message["output"])
        raise AssertionError("the stream ended before the job did")

    def _stream(self) -> AbstractContextManager[httpx.Response]:
        query = {"session_hash": self._session}
        return self._client.stream("GET", f"{self._api}/queue/data", params=query)


def _hangs_on(event: Mapping[str, Any], name: str) -> bool:
    return any(each == name for _, each in event["targets"])
