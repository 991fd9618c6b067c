"""Several stretches of a recording made anew in one run: their text, their windows, and what one by one would give."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pipeline
from backend import Settings, Studio
from core.actions import NotesRequest
from core.errors import RequestError
from core.knobs import parse
from core.music import Music
from core.params import MODES, EditRequest
from core.plans import Known, Plan, known_from
from core.resolve import resolve
from core.segments import read_segments, write_segments
from core.steps import finished
from core.tables import SAMPLE_RATE, Mode
from library import audio
from library.companions import Companion
from library.records import Record, Track
from library.tracks import Library
from networks.acestep import scenes
from networks.acestep.job import Recording
from networks.acestep.open import open_runtime
from networks.acestep.runtime import Runtime
from networks.acestep.sampler import DenoiseInputs, Guidance, RepaintWindows, View, denoise, noise_levels
from networks.machine import RUNTIMES, Machine, RuntimeName
from planner.composer.planner import ComposerPlanner
from post_process import composed_times, scores_of
from tests.test_pipeline import RECIPE, Wave, job_of, noise, takes_of
from tests.tiny import RATE, SLOW, save_tiny
from ui import listen

TWO: dict[str, Any] = {"segment_start_s": 2, "segment_end_s": 4, "more_segments": "6-8.5"}
EDIT = {"src_audio": "source.wav", "prompt": "slow waltz"}


# ---- as text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", ()),
        ("12-20", ((12, 20),)),
        ("00:12 - 00:15 ; 00:45 - 01:30 ; 2:12 - 2:36", ((12, 15), (45, 90), (132, 156))),
        ("40.25–55.5,\n1:00-1:02.125", ((40.25, 55.5), (60, 62.125))),
    ],
)
def test_stretches_are_read_in_seconds_or_minutes_and_written_in_seconds(
    text: str, segments: tuple[tuple[float, float], ...]
) -> None:
    assert read_segments(text) == segments
    assert read_segments(write_segments(segments)) == segments


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("12", "must be stretches such as"),
        ("12-20-30", "must be stretches such as"),
        ("a-b", "must be stretches such as"),
        ("-3-5", "must be stretches such as"),
        ("20-12", "at least 0.1 seconds: 20-12 is none"),
        ("12-12.05", "at least 0.1 seconds: 12-12.05 is none"),
        (", ".join(f"{5 * n}-{5 * n + 1}" for n in range(1, 18)), "at most 15"),
        ("1.5-3", "0-2 and 1.5-3 do not"),
        ("2.05-3", "0-2 and 2.05-3 do not"),
        ("5-8, 20-30, 7-9", "5-8 and 7-9 do not"),
    ],
)
def test_stretches_that_cannot_be_made_are_refused_by_name(text: str, told: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse(EditRequest, {**EDIT, "segment_end_s": 2, "more_segments": text})
    (fault,) = refused.value.faults
    assert fault.field == "more_segments" and told in str(fault)


def test_the_same_stretches_in_other_words_are_the_same_request() -> None:
    first, again = (
        resolve(parse(EditRequest, {**EDIT, "seed": 1, "more_segments": text}), RECIPE, lambda n: 0)
        for text in ("0:40-1:05; 12-20", "12.0 - 20, 40-65")
    )
    assert first == again == resolve(first, RECIPE, lambda n: 0)
    assert first.more_segments == "12-20, 40-65"


def test_a_stretch_beyond_the_source_is_refused_with_its_length() -> None:
    with pytest.raises(RequestError, match=r"more_segments.*10\.25 seconds long: 9-12 does not"):
        job_of("edit", segment_start_s=1, segment_end_s=2, more_segments="4-5, 9-12").duration_s(RATE)


# ---- one by one ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("injections", [0, 2, 4])
def test_where_no_frame_looks_at_another_one_run_gives_what_one_by_one_gives(injections: int) -> None:
    """So that whatever differs with a real network comes of what it sees in the other window, and of nothing else."""
    generator = torch.Generator().manual_seed(3)
    source, start = (torch.randn(1, 60, 4, generator=generator) for _ in range(2))

    def local(x: torch.Tensor, t: float, context: torch.Tensor, conditions: Any) -> list[torch.Tensor]:
        return [x * t - 0.3 * context[..., :4] + context[..., 4:] for _ in conditions]

    def edited(source: torch.Tensor, *windows: tuple[int, int]) -> torch.Tensor:
        mask = scenes.window_mask(source, windows)
        run = DenoiseInputs(
            levels=noise_levels("linear", 4),
            view=View(context=scenes.masked(source * (1 - mask), mask), condition=""),
            guidance=Guidance(),
            repaint=RepaintWindows(windows=windows, source=source, noise=start, injections=injections, ramp=5),
        )
        *_, last = denoise(local, start, run, lambda index: start)
        return last.x

    apart = ((5, 15), (30, 41))
    assert torch.equal(edited(source, *apart), edited(edited(source, apart[0]), apart[1]))
    weights = RepaintWindows(windows=[(5, 15), (18, 30)], source=source, noise=start, ramp=5).weights(60)
    assert weights[15:18].tolist() == pytest.approx([5 / 6, 4 / 6, 5 / 6])  # ramps that meet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "checkpoint", ratios=SLOW)


@pytest.fixture(scope="module")
def runtime(folder: Path) -> Iterator[Runtime]:
    opened = open_runtime(folder, runtime="torch", device="cpu", dtype="float32")
    yield opened
    opened.close()


def shown(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, **values: Any) -> tuple[torch.Tensor, Wave]:
    """The context that the network is given for an edit of four seconds, and the song that comes of it."""
    seen: list[torch.Tensor] = []
    velocity = type(runtime).velocity

    def watched(self: Runtime, x: torch.Tensor, t: float, context: torch.Tensor, *rest: Any) -> list[torch.Tensor]:
        seen.append(context)
        return velocity(self, x, t, context, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(type(runtime), "velocity", watched)
        (take,) = takes_of(job_of("edit", source_s=4, inference_steps=2, **values), runtime)
    return seen[0].cpu(), take.audio


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_network_is_shown_both_windows_and_the_source_stays_around_them(
    folder: Path, name: RuntimeName, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = open_runtime(folder, runtime=name, device="cpu", dtype="float32")
    context, song = shown(runtime, monkeypatch, segment_start_s=1, segment_end_s=1.5, more_segments="2.5-3.2")
    first, _ = shown(runtime, monkeypatch, segment_start_s=1, segment_end_s=1.5)
    second, _ = shown(runtime, monkeypatch, segment_start_s=2.5, segment_end_s=3.2)
    runtime.close()
    late = context.shape[1] // 2
    assert torch.equal(context, torch.cat([first[:, :late], second[:, late:]], dim=1))

    source, fade = noise(4), round(0.05 * RATE)
    outside = np.ones(source.shape[1], dtype=bool)
    for start, end in ((RATE, round(1.5 * RATE)), (round(2.5 * RATE), round(3.2 * RATE))):
        outside[start - fade : end + fade] = False
        assert np.abs(song[:, start:end] - source[:, start:end]).mean() > 1e-3
    assert np.array_equal(song[:, outside], source[:, outside])


@pytest.mark.parametrize("values", [{"edit_mode": "flow"}, {"repaint_mode": "aggressive", "variations": 2}])
def test_every_kind_of_edit_takes_several_stretches_in_any_order(runtime: Runtime, values: dict[str, Any]) -> None:
    asked = {**values, "segment_start_s": 6, "segment_end_s": 8.5, "more_segments": "2-4, 0:09.5-0:10"}
    takes, source = takes_of(job_of("edit", **asked), runtime), noise(10.25)
    windows = tuple((round(start * RATE), round(end * RATE)) for start, end in ((2, 4), (6, 8.5), (9.5, 10)))
    for take in takes:
        assert take.windows == windows
        for start, end in windows:
            assert not np.array_equal(take.audio[:, start:end], source[:, start:end])
        between = slice(round(4.1 * RATE), round(5.9 * RATE))
        assert np.array_equal(take.audio[:, between], source[:, between])


def test_new_words_reach_the_network_with_the_length_of_the_whole_song(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[list[str], list[str]]] = []
    condition = type(runtime).condition

    def listening(self: Runtime, texts: list[str], words: list[str], *rest: object) -> object:
        heard.append((texts, words))
        return condition(self, texts, words, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(runtime), "condition", listening)
    sung: dict[str, Any] = {"lyrics": "[verse]\nNew words in the middle", "vocal_language": "en"}
    takes_of(job_of("edit", **TWO, **sung), runtime)
    takes_of(job_of("edit", **TWO, lyrics=""), runtime)
    ((text,), (words,)), (_, (silent,)) = heard
    assert "- duration: 10 seconds" in text
    assert words == "# Languages\nen\n\n# Lyric\n[verse]\nNew words in the middle<|endoftext|>"
    assert "[Instrumental]" in silent


# ---- nano ------------------------------------------------------------------------------------------------------------


def plan_of(known: Known, **values: Any) -> Plan:
    job = job_of("edit", source_s=10.25, seed=4, **values)
    source = Recording(audio=noise(10.25), known=known)
    planner = ComposerPlanner()
    return finished(pipeline.plans_of(dataclasses.replace(job, source=source), planner, RATE))[0]


def test_the_composer_writes_for_each_window_what_it_would_write_one_by_one() -> None:
    known = Known(music=Music(caption="pop"), anchor_s=0.21)  # tempo and key are the first window's to decide
    words = {"prompt": "rock", "lyrics": "[verse]\nNew words in the middle"}
    both = plan_of(known, **TWO, **words)
    first = plan_of(known, segment_start_s=2, segment_end_s=4, **words)
    second = plan_of(known_from(first.summary()), segment_start_s=6, segment_end_s=8.5, **words)
    assert both.music == first.music
    assert [guide.shape[1] for guide in both.guides] == [guide.shape[1] for guide in (*first.guides, *second.guides)]
    assert all(map(np.array_equal, both.guides, (*first.guides, *second.guides)))
    assert both.score == f"{first.score} {second.score}"


def test_a_song_with_several_new_stretches_is_kept_shown_followed_and_found_again(
    tiny_nano: None, tmp_path: Path
) -> None:
    studio = Studio(Settings(checkpoint="nano", machine=Machine(device="cpu"), outputs=tmp_path / "songs"))
    sung = {"lyrics": "[verse]\nHome again", "seed": 4, "inference_steps": 1}
    (source,) = tracks_of(studio, "generate", prompt="pop", duration_s=10, bpm=120, **sung)
    asked = {"src_audio": str(source.path), "prompt": "rock", **sung, **TWO}
    (made,) = tracks_of(studio, "edit", **asked)
    again = tracks_of(studio, "edit", **{**asked, "more_segments": "0:06.00 - 0:08.5"})
    assert [track.id for track in again] == [made.id]

    track = Library(made.path.parent).get(made.id)
    assert track == made
    assert list(track.windows_s) == [(2, 4), (6, 8.5)]
    assert (track.window_start_s, track.window_end_s) == (2, 8.5)
    assert track.asked()["more_segments"] == "6-8.5"
    before, after = audio.load(source.path), audio.load(track.path)
    between = slice(round(4.1 * SAMPLE_RATE), round(5.9 * SAMPLE_RATE))
    assert np.array_equal(before[:, between], after[:, between])
    part = audio.load(studio.library.new_part(track))
    cuts = [after[:, round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for start, end in track.windows_s]
    assert np.array_equal(part, np.concatenate(cuts, axis=1))

    shown = listen.value(track, [])
    assert shown["windows"] == [(2, 4), (6, 8.5)]
    times = composed_times(track)
    assert times is not None and [line.text for line in times.lines] == ["Home again"] * 2
    assert all(2 <= first.start_s < 4 <= 6 <= second.start_s < 8.5 for first, second in [times.lines])
    assert [start_s for _, start_s in scores_of(track)] == [2, 6]
    (notes,) = [event for event in studio.run(parse(NotesRequest, {"track": track.id})) if isinstance(event, Companion)]
    assert [file.suffix for file in notes.files] == [".mid", ".mid"]
    assert studio.replay(track).same
    studio.close()


def tracks_of(studio: Studio, mode: Mode, **values: object) -> list[Track]:
    return [event for event in studio.run(parse(MODES[mode], values)) if isinstance(event, Track)]


@pytest.mark.parametrize(
    "several_s", [[[2, 4], [6, 8]], [[6, 8.5], [2, 4]], [[2, 5], [4, 8.5]], [[2, 4, 8.5]], [2, 8.5], [[2, "8.5"]]]
)
def test_a_sidecar_whose_stretches_cannot_be_is_passed_over(tmp_path: Path, several_s: object) -> None:
    library = Library(tmp_path)
    record = Record(mode="edit", title="a song", checkpoint="nano", seed=1, window_start_s=2, window_end_s=8.5)
    track = library.save(noise(1), None, record)
    told = json.loads(track.sidecar.read_text())
    assert told["several_s"] == []
    track.sidecar.write_text(json.dumps({**told, "several_s": several_s}))
    with pytest.raises(RequestError):
        Library(tmp_path).get(track.id)
