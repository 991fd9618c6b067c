"""A generator seen on its way: what becomes of each of its events, and what it returns in the end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import TypeVar

Event = TypeVar("Event")
Passed = TypeVar("Passed")
Result = TypeVar("Result")


def passing(
    events: Generator[Event, None, Result], see: Callable[[Event], Iterable[Passed]]
) -> Generator[Passed, None, Result]:
    """What `see` makes of each event; returns what the generator returns, which is closed with this one."""
    with closing(events):
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                result: Result = end.value
                return result
            yield from see(event)
