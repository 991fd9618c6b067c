"""The library's folder is served to nobody by name: ids can be guessed, and file names are told.

What the page shows Gradio copies to its cache, under the hash of the content, and serves from there.
"""

from __future__ import annotations

import os
from pathlib import Path

from ui.answers import refuse
from ui.cancel_calls import Message, Receive, Send, Server

ROUTE = "/file="


class KeptFiles:
    """Passes each request on, but for files below `root`."""

    def __init__(self, app: Server, root: Path) -> None:
        self._app = app
        self._root = root

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        _, route, name = scope["path"].partition(ROUTE) if scope["type"] == "http" else ("", "", "")
        if route and self._holds(name):
            await refuse(send, 403, "This file is not served by its name.")
            return
        await self._app(scope, receive, send)

    def _holds(self, name: str) -> bool:
        """Whether the file lies in the folder, by whatever name: links are followed, and the disk tells cases apart."""
        try:
            path = Path(os.path.realpath(name))
            return any(self._root.samefile(above) for above in path.parents if above.exists())
        except (OSError, ValueError):  # no folder yet, or no file name
            return False
