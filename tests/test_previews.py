"""What is heard of a song before it is done: real stretches of it, at a bounded cost, and the song stays the same."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import pipeline
from backend import Studio
from checkpoints import table
from core.errors import Cancelled, RequestError
from core.events import Preview, Progress
from core.knobs import parse
from core.params import GenerateRequest
from core.resolve import refuse_muted
from jobs import estimates
from jobs.workers import Ticket, Workers
from library.index import FILES as INDEX
from library.preview import COLUMNS, PREVIEW_HZ
from library.records import Track
from networks.acestep.job import Take
from networks.acestep.open import open_runtime
from networks.acestep.previews import LONGEST_S, MOST, SHARE, Previews, affordable
from networks.acestep.runtime import Runtime
from networks.machine import RUNTIMES
from tests.test_pipeline import job_of, take_of
from tests.tiny import SLOW, save_tiny

SONG: dict[str, Any] = {"prompt": "lofi", "duration_s": 10, "seed": 3, "inference_steps": 4}


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    folder = save_tiny(tmp_path_factory.mktemp("tiny") / "checkpoint", ratios=SLOW)
    opened = open_runtime(folder, runtime=request.param, device="cpu", dtype="float32")
    yield opened
    opened.close()


def sound_of(preview: Preview) -> np.ndarray[Any, np.dtype[np.float32]]:
    samples, rate = soundfile.read(io.BytesIO(preview.sound), dtype="float32")
    assert rate == PREVIEW_HZ and samples.shape == (round(preview.seconds * PREVIEW_HZ),)
    return samples


@pytest.mark.parametrize("mode", ["generate", "edit"])  # an edit by flow starts from its source
def test_a_song_with_previews_is_the_song_without_them(runtime: Runtime, mode: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(pipeline, "SHARE", 100.0)  # whatever this machine takes for them
    values: dict[str, Any] = {"inference_steps": 3} | ({"edit_mode": "flow"} if mode == "edit" else {})
    events = list(pipeline.render(job_of(mode, **values), runtime, None, Previews(count=2, seconds=2)))
    heard = [event for event in events if isinstance(event, Preview)]
    take = next(event for event in events if isinstance(event, Take))
    plain = take_of(runtime, mode, **values)
    assert take.latents is not None and plain.latents is not None
    assert np.array_equal(take.audio, plain.audio) and np.array_equal(take.latents, plain.latents)
    assert [(preview.step, preview.total) for preview in heard] == [(1, 3), (2, 3)]
    start, stop = (sample / runtime.shape.sample_rate for sample in take.windows[0])
    for preview in heard:
        assert preview.seconds == 2 and len(preview.peaks) == COLUMNS
        assert preview.start_s + 1 == pytest.approx((start + stop) / 2, abs=0.02)
        assert np.abs(sound_of(preview)).max() > 0


def test_what_is_heard_comes_nearer_to_the_song(runtime: Runtime, monkeypatch: Any) -> None:
    monkeypatch.setattr(pipeline, "SHARE", 100.0)
    *events, take = pipeline.render(job_of("generate", inference_steps=5), runtime, None, Previews(count=4, seconds=10))
    assert isinstance(take, Take)
    drawn = [np.array(event.peaks) for event in events if isinstance(event, Preview)]
    columns = np.array_split(np.abs(take.audio / take.gain).max(axis=0), COLUMNS)
    song = np.array([column.max() for column in columns])
    apart = [float(np.abs(each - song).mean()) for each in drawn]
    assert apart[-1] < 0.5 * apart[0]


def test_previews_cost_a_tenth_of_the_song_at_the_most_and_the_estimate_has_them() -> None:
    for recipe in (table.recipe_of("nano"), table.recipe_of("xl-sft")):
        for seconds in (10, 30, 240):
            plain, heard = (parse(GenerateRequest, {**SONG, "preview": preview}) for preview in (False, True))
            without, cost = (estimates.song(request, recipe, seconds).tflop for request in (plain, heard))
            planned = estimates.previews(heard, recipe, seconds)
            assert without < cost <= (1 + SHARE) * without + 1e-5
            assert cost - without == pytest.approx(planned.count * planned.seconds * recipe.vae_tflop)
            assert planned.seconds <= min(seconds, LONGEST_S) and planned.count <= MOST
            assert estimates.previews(plain, recipe, seconds).count == 0
    assert affordable(1.0, 30).count == 0
    assert Previews(count=3, seconds=2).steps(2) == {1} and Previews(count=3, seconds=2).steps(1) == frozenset()


@pytest.mark.parametrize(("preview_s", "count"), [(3.0, 1), (0.1, 7)])
def test_how_often_there_is_one_hangs_on_what_the_first_took(
    runtime: Runtime, preview_s: float, count: int, monkeypatch: Any
) -> None:
    now = 0.0

    def taking(seconds: float, work: Callable[..., Any]) -> Callable[..., Any]:
        def done(*inputs: Any) -> Any:
            nonlocal now
            now += seconds
            return work(*inputs)

        return done

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(runtime, "velocity", taking(1.0, runtime.velocity))
    monkeypatch.setattr(runtime, "decoding", taking(preview_s, runtime.decoding))
    job = job_of("generate", inference_steps=8, guidance_scale=1)
    events = list(pipeline.render(job, runtime, None, Previews(count=7, seconds=2)))
    assert sum(isinstance(event, Preview) for event in events) == count


def test_where_a_gpu_is_leased_there_are_none_and_the_reason_is_told(monkeypatch: Any) -> None:
    asked = parse(GenerateRequest, {**SONG, "preview": True})
    refuse_muted(asked, table.recipe_of("nano"))
    monkeypatch.setattr(table, "ON_ZERO_GPU", True)
    with pytest.raises(RequestError, match="preview = True: would use up the minutes that visitors have"):
        refuse_muted(asked, table.recipe_of("nano"))


@pytest.mark.usefixtures("tiny_nano")
def test_a_preview_is_told_through_the_studio_is_no_other_song_and_leaves_no_file(
    studio: Studio, tmp_path: Path
) -> None:
    events = list(studio.run(parse(GenerateRequest, {**SONG, "preview": True})))
    (track,) = [event for event in events if isinstance(event, Track)]
    heard = [event for event in events if isinstance(event, Preview)]
    assert heard and all(sound_of(preview).size for preview in heard)
    again = list(studio.run(parse(GenerateRequest, SONG)))
    assert [event.id for event in again if isinstance(event, Track)] == [track.id]  # nothing is rendered anew
    kept = (path for path in studio.library.root.iterdir() if path.name not in INDEX)
    assert {path.suffix for path in kept} == {".wav", ".json", ".safetensors"}
    with closing(studio.run(parse(GenerateRequest, {**SONG, "seed": 4, "preview": True}), job="mine")) as stream:
        next(event for event in stream if isinstance(event, Preview))
        studio.cancel("mine")
        with pytest.raises(Cancelled):
            list(stream)
    assert len(studio.library.list()) == 1


def test_who_comes_late_hears_the_newest_preview_and_nobody_hears_one_of_a_song_that_is_done() -> None:
    workers: Workers[Progress | Preview] = Workers()
    told, go = threading.Event(), threading.Event()

    def job(stop: threading.Event) -> Iterator[Any]:
        for step in (1, 2, 3):
            yield Progress("denoising", step, 4)
            yield Preview(step=step, total=4, start_s=0, seconds=2, peaks=(), sound=b"")
        told.set()
        go.wait(60)

    workers.begin(job, Ticket(job="mine"))  # type: ignore[arg-type]
    assert told.wait(60)
    with closing(workers.follow("mine")) as late:
        newest = next(event for event in late if isinstance(event, Preview))
        assert newest.step == 3
    go.set()
    pause = threading.Event()
    while workers.tickets(ended=False):
        pause.wait(0.01)
    assert not any(isinstance(event, Preview) for event in workers.follow("mine"))
