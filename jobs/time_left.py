"""The time that a song is likely to need still, over all its stages, by what this machine was seen to need."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TypeVar

from core.events import Progress, Sign, Stage
from jobs.passing import passing

ORDER: tuple[Stage, ...] = ("planning", "listening", "encoding", "conditioning", "denoising", "generating", "decoding")
"""The stages of a song that are counted, in their order; what waits and what loads is not."""

Product = TypeVar("Product")
Result = TypeVar("Result")
Parts = Mapping[Stage, float]
"""What each stage asks of the device, in TFLOP."""


class StagePace:
    """Seconds that a TFLOP took lately, for each checkpoint, device and stage."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, Stage], float] = {}

    def note(self, where: tuple[str, str], stage: Stage, tflop: float, seconds: float) -> None:
        """Remember what a whole stage took."""
        if tflop > 0:
            self._seen[(*where, stage)] = seconds / tflop

    def seconds(self, where: tuple[str, str], stage: Stage, tflop: float, otherwise: float) -> float:
        """The time of a stage; at `otherwise` seconds a TFLOP where it was not seen yet."""
        return tflop * self._seen.get((*where, stage), otherwise)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeLeft:
    """The estimate of one song: its `parts`, and the pace at which the machine goes.

    `per_tflop` are the seconds that a TFLOP takes by the estimate of whole songs, `where` the checkpoint and device.
    """

    parts: Parts
    where: tuple[str, str]
    per_tflop: float
    pace: StagePace
    now: Callable[[], float] = time.monotonic

    def told(self, events: Generator[Sign | Product, None, Result]) -> Generator[Sign | Product, None, Result]:
        """The events, with the time of the stages to come in that of each; stages that end are remembered."""
        stage: Stage | None = None
        since, share = self.now(), 1.0

        def over_all(event: Sign | Product) -> Iterator[Sign | Product]:
            nonlocal stage, since, share
            if not isinstance(event, Progress):
                yield event
                return
            if event.stage != stage:
                self._note(stage, share, since)
                # A step is told when it is done: a stage whose first event is a step began before it.
                share = 1.0 - event.step / event.total if event.total else 1.0
                stage, since = event.stage, self.now()
            yield self._over_all(event, self.now() - since)

        result = yield from passing(events, over_all)
        self._note(stage, share, since)
        return result

    def _note(self, stage: Stage | None, share: float, since: float) -> None:
        if stage is not None and stage in self.parts:
            self.pace.note(self.where, stage, share * self.parts[stage], self.now() - since)

    def _over_all(self, event: Progress, spent_s: float) -> Progress:
        if event.stage not in ORDER:
            return event
        usual, own = self.per_tflop, event.left_s
        if own is None:
            whole = self.pace.seconds(self.where, event.stage, self.parts.get(event.stage, 0.0), usual)
            own = max(0.0, whole - spent_s)
        later = ORDER[ORDER.index(event.stage) + 1 :]
        rest = sum(self.pace.seconds(self.where, each, self.parts.get(each, 0.0), usual) for each in later)
        return dataclasses.replace(event, left_s=own + rest)
