"""The log-in of a page is slow to guess: after a few wrong passwords an address waits, and longer each time."""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from ui.answers import refuse
from ui.cancel_calls import Message, Receive, Send, Server

ROUTE = "/login"

FREE = 5
"""So many wrong passwords cost nothing."""

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0

FORGIVEN_S = 900.0
"""After so long without a try an address is as good as new."""

REMEMBERED = 10_000
"""Addresses that are kept in mind, the latest."""

log = logging.getLogger(__name__)


class LogIns:
    """Passes each request on, but for tries to log in that come too soon after wrong ones from the same address.

    A try counts as wrong until it is known to be right: many at once gain nothing.
    """

    def __init__(self, app: Server, now: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._now = now
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].rstrip("/").endswith(ROUTE):
            await self._app(scope, receive, send)
            return
        address = str((scope.get("client") or ("",))[0])
        wait_s = self._wait_s(address)
        if wait_s > 0:
            after = {"retry-after": str(math.ceil(wait_s))}
            await refuse(send, 429, f"Too many wrong passwords. Try again in {math.ceil(wait_s)} s.", after)
            return
        self._count(address)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] < 400:
                    self._wrong.pop(address, None)
                else:
                    log.warning("a log-in from %s failed, %d in a row", address, self._wrong.get(address, (1, 0.0))[0])
            await send(message)

        await self._app(scope, receive, told)

    def _wait_s(self, address: str) -> float:
        """How long that address has to wait before it tries again."""
        times, last = self._wrong.get(address, (0, 0.0))
        if times < FREE:
            return 0.0
        return min(FIRST_WAIT_S * 2.0 ** min(times - FREE, 60), LONGEST_WAIT_S) - (self._now() - last)

    def _count(self, address: str) -> None:
        times, last = self._wrong.get(address, (0, 0.0))
        self._wrong[address] = (1 if self._now() - last > FORGIVEN_S else times + 1, self._now())
        self._wrong.move_to_end(address)
        while len(self._wrong) > REMEMBERED:
            self._wrong.popitem(last=False)
