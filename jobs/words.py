"""Lyrics: who writes them, and the words as they are written."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import ClassVar

import lyrics_lm
from checkpoints import writers
from checkpoints.writers import Writer
from core.events import Progress, TextDelta
from core.lyrics import LyricsRequest
from core.resolve import seeded
from jobs import estimates
from jobs.desk import Desk, Event
from jobs.estimates import Cost
from jobs.models import Models
from jobs.work import Need

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WordsWork:
    """Lyrics by a writer, who is named in the request."""

    request: LyricsRequest
    writer: Writer
    remedy: ClassVar[str] = "Choose a smaller language model, or the built-in writer, which needs none of it."

    @property
    def needs(self) -> tuple[Need, ...]:
        """The writer's weights, if it has some."""
        return () if self.writer.place is None else (Need("writer", self.writer.place),)

    @property
    def cost(self) -> Cost:
        """As many tokens as are allowed."""
        return estimates.tokens(self.request.max_new_tokens, self.writer.billions)

    def events(self, models: Models) -> Iterator[Progress | TextDelta]:
        """Who writes, the words in pieces, and at last what is not as it was asked for."""
        yield from lyrics_lm.write(self.request, self.writer, models.writer if self.needs else None)


class Words:
    """Song words from a brief."""

    def events(
        self, request: LyricsRequest, desk: Desk, stop: threading.Event, *, fresh: bool
    ) -> Generator[Event, None, None]:
        """Progress and the words; one line in the log."""
        writer = writers.find(request.writer)
        lyrics_lm.refuse_foreign(request, writer)
        resolved = seeded(writers.assigned(request, writer), secrets.randbelow)
        effort = yield from desk.perform(WordsWork(request=resolved, writer=writer), stop)
        facts = (writer.name, resolved.seed, effort.seconds, effort.peak_gb)
        log.info("lyrics with %s, seed %d: in %.1f s, peak memory %.1f GB", *facts)

    def seconds(self, request: LyricsRequest, desk: Desk) -> float:
        """The time of the lines that are asked for."""
        writer = writers.find(request.writer)
        return estimates.tokens(estimates.lyrics_tokens(request), writer.billions).seconds(desk.device)
