"""Gradio's private corners: what its documentation does not promise, tried with the versions of `KNOWN` alone.

All of it saves time at the start and no more. With another version, with STUDIO_PLAIN_START=1 or where a corner is not
as it was, Gradio starts in its own way and the page is the same.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import get_ident
from types import ModuleType
from typing import Any

KNOWN = ("6.31.0",)
"""The versions of Gradio whose corners were looked into."""

SWITCH = "STUDIO_PLAIN_START"
"""The environment variable that leaves Gradio's start alone when it is 1."""

_STUBS = "create_or_modify_pyi"
STUB_WRITERS = ("gradio.component_meta", "gradio.blocks_events")
"""The modules that call the function which writes stubs."""


def is_known() -> bool:
    """Whether the start may be shortened: this version is known, and nobody switched that off."""
    return os.environ.get(SWITCH) != "1" and importlib.metadata.version("gradio") in KNOWN


def import_gradio() -> None:
    """Import Gradio in about half its usual time."""
    with without_stubs():
        import gradio  # noqa: F401


@contextmanager
def without_collecting() -> Iterator[None]:
    """Search nothing for garbage that is made inside: a start keeps what it makes, and the search takes a tenth.

    What it makes is not searched later either: that would stop the page for a quarter of a second each time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


@contextmanager
def without_stubs() -> Iterator[None]:
    """Write no type stubs of the components that are defined inside.

    Gradio parses the source of each of its components to refresh a `.pyi` file beside it, which takes as long as the
    rest of its import, and would leave such files beside the studio's own sources.
    """
    if not is_known():
        yield
        return
    finder = _StubWriters()
    sys.meta_path.insert(0, finder)
    for name in STUB_WRITERS:
        if module := sys.modules.get(name):
            finder.silence(module)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        finder.restore()


@contextmanager
def without_server() -> Iterator[None]:
    """Give the page that this thread builds inside no server yet: `launch` makes it one.

    Gradio makes a page another server each time it is begun, finished, or given a queue; every one of them describes
    the page anew and is thrown away.
    """
    app: Any = getattr(sys.modules.get("gradio.routes"), "App", None)  # there by now, or there is no page to build
    create = getattr(app, "create_app", None)
    if create is None or not is_known():
        yield
        return
    builder = get_ident()

    def none_yet(*args: Any, **facts: Any) -> Any:
        return None if get_ident() == builder else create(*args, **facts)

    app.create_app = staticmethod(none_yet)
    try:
        yield
    finally:
        app.create_app = staticmethod(create)


def is_waiting(blocks: Any, session: str) -> bool:
    """Whether a session has asked for anything whose answer it has not heard; True where Gradio does not tell."""
    sessions = getattr(blocks._queue, "pending_messages_per_session", None)
    return sessions is None or session in sessions


def is_told_of(blocks: Any, event: str) -> bool:
    """Whether there is anything to be told of a call by its event; True where Gradio does not tell."""
    queue = blocks._queue
    known, pending = (getattr(queue, name, None) for name in ("event_ids_to_events", "pending_event_ids_session"))
    if known is None or pending is None:
        return True
    return event in known or any(event in events for events in list(pending.values())) or is_waiting(blocks, event)


def _write_nothing(*_: object) -> None:
    """Stand in for the function that writes stubs."""


class _StubWriters(MetaPathFinder):
    """Finds the modules that write stubs when they are imported, and silences them until `restore`."""

    def __init__(self) -> None:
        self._write: Any = _write_nothing
        self._modules: list[ModuleType] = []

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """The usual way to the module, silenced once it is loaded; None for every other module."""
        spec = PathFinder.find_spec(name, path, target) if name in STUB_WRITERS else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Silenced(spec.loader, self)
        return spec

    def silence(self, module: ModuleType) -> None:
        """Let the module write no stubs, if it is one that can."""
        write = getattr(module, _STUBS, None)
        if write is None:
            return
        if write is not _write_nothing:  # which a module gets that imports the function from a silenced one
            self._write = write
        self._modules.append(module)
        setattr(module, _STUBS, _write_nothing)

    def restore(self) -> None:
        """Let the modules write stubs again."""
        for module in self._modules:
            setattr(module, _STUBS, self._write)


class _Silenced(Loader):
    """A module's own loader, after which the module writes no stubs."""

    def __init__(self, loader: Loader, writers: _StubWriters) -> None:
        self._loader = loader
        self._writers = writers

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._writers.silence(module)
