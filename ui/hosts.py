"""By which names the studio may be called: a page elsewhere on the web must not talk to it through a visitor's browser.

A name that an attacker owns can be made to point at this machine (DNS rebinding): a studio answers to the names it is
known by, and to nothing else. A browser says from which page a request comes: one that is not the studio's is refused.
Programs say nothing of the kind, and are served.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ui.answers import refuse
from ui.cancel_calls import Message, Receive, Send, Server
from ui.served import Assets

EVERY = "*"
"""The name that stands for all of them."""

SHARED = ".gradio.live"
"""Where Gradio's public links lead."""

NOT_CALLED = "This studio does not answer to that name. Whoever started it can add it: --allow-host NAME."
NOT_FROM = "This request comes from a page that is not the studio's. Whoever started it can add its host: --allow-host."


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """The names of a studio; one that begins with a dot stands for all that end so.

    With `numbers` it is also called by any number of an address: those nobody can make point elsewhere.
    """

    names: frozenset[str]
    numbers: bool = False

    def answer_to(self, host: str) -> bool:
        """Whether the studio is called so: what stands in a request's header, with or without a port."""
        name = _name(host)
        if self._has(name):
            return True
        address = _address(name)
        return name == "localhost" or (address is not None and (self.numbers or address.is_loopback))

    def hear_from(self, origin: str, hosts: Iterable[str]) -> bool:
        """Whether the page at `origin` is the studio's own, which was called by those names, or was allowed."""
        try:
            page = urlsplit(origin).netloc
            return bool(page) and (self._has(_name(page)) or any(_is_same(page, host) for host in hosts))
        except ValueError:  # no address
            return False

    def _has(self, name: str) -> bool:
        """Whether the name is among the studio's."""
        endings = (each for each in self.names if each.startswith("."))
        return EVERY in self.names or name in self.names or any(name.endswith(each) for each in endings)


def hosts_of(bound: str, *, allowed: Iterable[str] = (), space: str = "", share: bool = False) -> Hosts:
    """The names of a studio that serves on that address, and on a Space or a public link under theirs."""
    address = _address(bound)
    is_open = bool(space) or (address is not None and address.is_unspecified)
    here = socket.gethostname().casefold()
    names = {_name(each) for each in (*allowed, *space.split(",")) if each.strip()} | ({SHARED} if share else set())
    names |= {here, f"{here}.local"} if is_open else {_name(bound)}
    return Hosts(names=frozenset(names), numbers=is_open)


class OwnHosts:
    """Passes each request on that is meant for this studio, and comes from its own page or from none."""

    def __init__(self, app: Server, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        said = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in said if name == b"host"]
        forwarded = [value.split(",")[0] for name, value in said if name == b"x-forwarded-host"]
        origins = [value for name, value in said if name == b"origin"]
        if len(hosts) != 1 or not self._hosts.answer_to(hosts[0]):
            why = NOT_CALLED
        elif not all(self._hosts.hear_from(origin, (*hosts, *forwarded)) for origin in origins):
            why = NOT_FROM
        else:
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refuse(send, 403, why)


def guarding(hosts: Hosts) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """What a server does when it begins: it stands behind the check, which Gradio's own answers do not come before.

    Behind it are the assets that are kept, for Gradio's packing is no use to what is packed.
    """

    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        app.middleware_stack = OwnHosts(Assets(app.middleware_stack), hosts)
        yield

    return lifespan


def _name(host: str) -> str:
    """The name in a host, without its port, in small letters."""
    host = host.strip().casefold()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() and ":" not in name else host).rstrip(".")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_same(one: str, other: str) -> bool:
    """Whether two hosts are one: the same name and port, or this machine by two of its names."""
    if one.casefold() == other.strip().casefold():
        return True
    are_here = (
        name == "localhost" or getattr(_address(name), "is_loopback", False) for name in map(_name, (one, other))
    )
    return all(are_here) and urlsplit(f"//{one}").port == urlsplit(f"//{other}").port
