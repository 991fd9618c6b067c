"""Long work in steps: a generator that stops between two of them, tells how far it is, and returns what it made.

Where one step takes long by itself, it looks inside whether it is to be left: `leave_if_asked`.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from contextvars import ContextVar
from importlib import import_module
from typing import TypeVar

from core.errors import Cancelled

Event = TypeVar("Event")
Made = TypeVar("Made")

POLL_S = 0.05
"""How often somebody who waits for a thread of its own looks whether to go on waiting."""

_asked: ContextVar[Callable[[], bool]] = ContextVar("asked", default=lambda: False)


def leave_when(asked: Callable[[], bool]) -> None:
    """Let what is called in this context from now on be left inside a step, once `asked` is true."""
    _asked.set(asked)


def leave_if_asked() -> None:
    """Raise Cancelled if this context's work is to be left. Cheap enough to be called before every layer."""
    if _asked.get()():
        raise Cancelled("The job was cancelled.")


def finished(steps: Generator[object, None, Made]) -> Made:
    """What comes of the work, all its steps taken at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: Made = end.value
            return made


def telling(event: Event, steps: Generator[object, None, Made], every_s: float = 0.0) -> Generator[Event, None, Made]:
    """The event at each step of the work, but no more than once in so many seconds; returns what comes of it."""
    last = time.monotonic()
    with closing(steps):
        while True:
            try:
                next(steps)
            except StopIteration as end:
                made: Made = end.value
                return made
            if time.monotonic() - last >= every_s:
                yield event
                last = time.monotonic()


def aside(function: Callable[[], Made]) -> Generator[None, None, Made]:
    """What a function returns that nobody can stop, called in a thread of its own; a step now and then meanwhile.

    Whoever closes this stops to wait: the function runs to its end and what it returns is dropped. So it is for what
    takes seconds of a processor, holds no device and changes nothing. Raises what the function raises.
    """
    made: list[Made] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            made.append(function())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="aside", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_S)
        yield
    if failed:
        raise failed[0]
    return made[0]


def importing(name: str) -> Generator[None, None, None]:
    """Import the module of that name as `aside` calls a function. Raises ImportError.

    A framework leaves hundreds of thousands of objects, which stay: they are put where the search for garbage does not
    pass, for it stops every thread, and with theirs it would take half a second.
    """

    def run() -> None:
        is_new = name not in sys.modules
        import_module(name)
        if is_new:
            gc.freeze()

    yield from aside(run)
