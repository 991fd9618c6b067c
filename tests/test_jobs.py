"""The one road of every job: what is loaded hangs on a studio, and work that needs nothing waits for nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from backend import Settings, Studio
from core.errors import Cancelled, OutOfMemory, StudioError
from core.events import Progress, TextDelta
from core.knobs import parse
from core.requests import REQUESTS
from jobs.desk import Event
from jobs.estimates import Cost
from jobs.kinds import KINDS
from jobs.lease import leased, way_of
from jobs.models import Models
from jobs.work import Need
from library.records import Track
from networks.machine import Machine

pytestmark = pytest.mark.usefixtures("tiny_nano")

QUICK: dict[str, object] = {"prompt": "lofi hip hop", "duration_s": 10, "inference_steps": 1, "seed": 3}
SLOW = QUICK | {"inference_steps": 200}
CPU = Machine(device="cpu")


@dataclass(frozen=True)
class Count:
    """Work that counts and needs nothing loaded."""

    fails: bool = False
    needs: ClassVar[tuple[Need, ...]] = ()
    cost: ClassVar[Cost] = Cost()
    remedy: ClassVar[str] = "Count less far."

    def events(self, models: Models) -> Iterator[Progress | TextDelta]:
        yield TextDelta("one")
        if self.fails:
            raise MemoryError
        yield TextDelta("two")


def studio_in(folder: Path) -> Studio:
    return Studio(Settings(checkpoint="nano", machine=CPU, outputs=folder))


def test_every_request_has_its_kind_of_job() -> None:
    assert set(KINDS) == set(REQUESTS.values())


def test_two_studios_of_one_process_render_at_the_same_time(tmp_path: Path) -> None:
    with closing(studio_in(tmp_path / "a")) as first, closing(studio_in(tmp_path / "b")) as second:
        long = first.run(parse(REQUESTS["generate"], SLOW))
        next(event for event in long if isinstance(event, Progress) and event.stage == "denoising")
        tracks = [event for event in second.run(parse(REQUESTS["generate"], QUICK)) if isinstance(event, Track)]
        assert len(tracks) == 1
        assert first.status().state == "running"
        second.close()
        assert first.loaded == {"song"}
        assert not second.loaded
        next(event for event in long if isinstance(event, Progress) and event.stage == "denoising")
        long.close()


def test_what_needs_no_weights_is_made_beside_a_song(tmp_path: Path) -> None:
    with closing(studio_in(tmp_path)) as studio:
        song = studio.run(parse(REQUESTS["generate"], SLOW))
        next(event for event in song if isinstance(event, Progress) and event.stage == "denoising")
        asked = {
            "lyrics": {"brief": "rain", "writer": "built-in"},
            "plan": {"prompt": "jazz"},
            "inspire": {"query": "folk"},
        }
        for name, values in asked.items():
            *_, last = studio.run(parse(REQUESTS[name], values))
            assert last is not None
        assert studio.status().state == "running"
        song.close()


# ---- jobs that outlive who asked for them ----------------------------------------------------------------------------


def until_denoising(events: Iterator[Event]) -> Progress:
    return next(event for event in events if isinstance(event, Progress) and event.stage == "denoising")


def test_a_result_that_nobody_heard_waits_for_its_owner_and_for_nobody_else(tmp_path: Path) -> None:
    with closing(studio_in(tmp_path)) as studio:
        studio.begin(parse(REQUESTS["lyrics"], {"brief": "rain", "writer": "built-in"}), job="words", owner="me")
        studio.begin(parse(REQUESTS["inspire"], {"query": "folk"}), job="draft", owner="you")
        list(studio.follow("draft"))
        found = studio.kept("me")
        assert found is not None and (found.job, found.asked) == ("words", "lyrics")
        assert studio.kept("you") is None and studio.kept("") is None
        assert "[verse" in "".join(event.text for event in studio.follow("words") if isinstance(event, TextDelta))
        assert studio.kept("me") is None
        with pytest.raises(StudioError, match="not known any more"):
            list(studio.follow("words"))


def test_songs_take_turns_and_one_that_waits_knows_its_place_and_ends_at_once_when_cancelled(tmp_path: Path) -> None:
    with closing(studio_in(tmp_path)) as studio:
        first = studio.run(parse(REQUESTS["generate"], SLOW))
        until_denoising(first)
        second, third = (studio.run(parse(REQUESTS["generate"], QUICK), job=name) for name in ("second", "third"))
        for waiting, line in ((second, "queued · 1 before you"), (third, "queued · 2 before you")):
            assert next(event for event in waiting if "before" in str(event)) == Progress("queued", note=line)
        assert studio.cancel("second")
        with pytest.raises(Cancelled):
            list(second)
        assert studio.status().state == "running"
        assert str(next(event for event in third if "1 before" in str(event))) == "queued · 1 before you"
        first.close()
        assert next(event for event in third if isinstance(event, Progress) and event.stage != "queued")
        third.close()


def test_work_yields_its_products_and_tells_what_to_do_when_memory_runs_out() -> None:
    way = way_of(Models(CPU))
    assert [event for event in leased(Count(), way) if isinstance(event, TextDelta)] == [
        TextDelta("one"),
        TextDelta("two"),
    ]
    with pytest.raises(OutOfMemory, match=r"Count less far\."):
        list(leased(Count(fails=True), way))


def test_costs_add_up_and_learn_from_what_was_seen() -> None:
    both = Cost(tflop=4) + Cost(read_gb=20)
    assert both.seconds("cpu") == pytest.approx(Cost(tflop=4).seconds("cpu") + 2)
    assert Cost(tflop=4).seconds("cpu", [(2, 10.5)]) == pytest.approx(20.5)
