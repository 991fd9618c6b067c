"""Who is who on a page that strangers share: what each visitor sees of the library hangs on a secret of theirs.

The secret is the user name of a log-in, else the name that a browser made up for itself, else that of a session, which
clients make up. Tracks tell its hash, so that neither an id nor a sidecar opens anything.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from typing import TypeVar

import gradio as gr

from core.errors import RequestError
from library.records import Track
from library.tracks import Library

Kept = TypeVar("Kept")

LONGEST = 64
SHORTEST = 16
"""Of the name of a browser, which says it by itself: pages make up longer ones, and what is shorter names nobody."""

REMEMBERED = 20_000
"""Sessions and visitors that are kept in mind, the latest."""

LENT = 64
"""Songs that were opened by links, for each visitor."""


class Visitors:
    """The visitors of a library; on a page of one's own (not `hosted`) whoever comes sees all of it."""

    def __init__(self, library: Library, *, hosted: bool) -> None:
        self._library = library
        self._hosted = hosted
        self._secrets: OrderedDict[str, str] = OrderedDict()
        self._lent: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        self._lock = threading.Lock()

    def session(self, request: gr.Request | None, browser: str = "") -> str:
        """The session that a request is of, known from now on by its user or browser; one without a name is new."""
        session = (request.session_hash if request else None) or secrets.token_urlsafe()
        user = getattr(request, "username", None) if request else None
        self.come(session, browser, user=user or "")
        return session

    def come(self, session: str, browser: str = "", *, user: str = "") -> None:
        """Note whose a session is."""
        is_browser = SHORTEST <= len(browser) <= LONGEST
        secret = f"user {user}" if user else f"browser {browser}" if is_browser else ""
        if not secret or not self._hosted:
            return
        with self._lock:
            if user or not self._secrets.get(session, "").startswith("user "):
                _keep(self._secrets, session, secret)

    def owner(self, session: str) -> str:
        """Whose songs a session makes, as they tell it."""
        with self._lock:
            secret = self._secrets.get(session, f"session {session}")
        return hashlib.sha256(f"visitor {secret}".encode()).hexdigest()

    def library(self, session: str) -> Library:
        """The library as a session sees it."""
        if not self._hosted:
            return self._library
        owner = self.owner(session)
        with self._lock:
            lent = frozenset(self._lent.get(owner, ()))
        return self._library.of(owner, lent)

    def lend(self, identity: str, session: str) -> Track | None:
        """Let a session look at the song of that id, to which it was given a link; None where the song is gone."""
        try:
            track = self._library.get(identity)
        except RequestError:
            return None
        owner = self.owner(session)
        with self._lock:
            songs = self._lent.get(owner, OrderedDict())
            _keep(songs, identity, None, LENT)
            _keep(self._lent, owner, songs)
        return track


def _keep(kept: OrderedDict[str, Kept], name: str, value: Kept, most: int = REMEMBERED) -> None:
    """Keep the value as the latest, and forget the oldest where there are too many."""
    kept[name] = value
    kept.move_to_end(name)
    while len(kept) > most:
        kept.popitem(last=False)
