"""The time that a song needs still: over all its stages, by what they took before."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from core.events import Progress, Stage
from core.knobs import parse
from core.params import CoverRequest, GenerateRequest
from core.recipes import Recipe
from jobs import estimates
from jobs.time_left import StagePace, TimeLeft

PARTS: dict[Stage, float] = {"planning": 1.0, "encoding": 0.0, "denoising": 4.0, "decoding": 2.0}
HERE = ("nano", "cpu")


class Clock:
    """A clock that others set."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def song(clock: Clock) -> Generator[Progress | str, None, int]:
    """A song of one second for a step of two, and six for its decoding, after its plan and loading."""
    yield Progress("planning")
    clock.seconds += 3
    yield Progress("loading")
    clock.seconds += 100
    yield Progress("encoding")
    for step in (1, 2):
        clock.seconds += 1
        yield Progress("denoising", step, 2, left_s=2.0 - step)
    yield Progress("decoding")
    clock.seconds += 6
    yield "a song"
    return 7


def told(pace: StagePace) -> tuple[list[float | None], int]:
    """The seconds that are told to be left in each event, and what the song returns."""
    clock = Clock()
    estimate = TimeLeft(parts=PARTS, where=HERE, per_tflop=0.5, pace=pace, now=clock)
    left: list[float | None] = []
    events = estimate.told(song(clock))
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return left, end.value
        if isinstance(event, Progress):
            left.append(event.left_s)


def test_each_stage_counts_those_that_come_after_it() -> None:
    left, returned = told(StagePace())
    assert left == pytest.approx([3.5, None, 3.0, 2.0, 1.0, 1.0])
    assert returned == 7


def test_a_machine_that_made_a_song_knows_how_long_each_stage_of_the_next_takes() -> None:
    pace = StagePace()
    told(pace)
    left, _ = told(pace)
    assert left == pytest.approx([3 + 2 + 6, None, 2 + 6, 1 + 6, 0 + 6, 6])
    pace.note(("xl-sft", "cpu"), "decoding", 1.0, 1000.0)
    assert told(pace)[0] == pytest.approx(left)


def test_the_stages_of_a_song_are_the_parts_of_its_cost() -> None:
    recipe = Recipe(inference_steps=8, guidance_scale=1.0, shift=3.0)
    made = parse(GenerateRequest, {"prompt": "rain", "variations": 2})
    stages = estimates.stages(made, recipe, 30)
    assert sum(stages.values()) == pytest.approx(estimates.song(made, recipe, 30).tflop)
    assert stages["encoding"] == 0 < stages["decoding"]
    cover = estimates.stages(parse(CoverRequest, {"src_audio": __file__, "prompt": "rain"}), recipe, 30)
    assert cover["encoding"] == cover["decoding"]
