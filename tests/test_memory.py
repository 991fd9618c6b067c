"""Memory that holds not everything at once: who is there when, what is said about it, and that songs stay the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import app as server
from backend import Settings, Studio
from checkpoints import table
from cli import main as cli
from cli import reference
from core.drafts import Draft, InspireRequest, UnderstandRequest
from core.events import Progress
from core.knobs import parse
from core.params import GenerateRequest, PlanRequest
from core.plans import Plan, plan_text
from core.requests import Request
from core.tables import SAMPLE_RATE
from jobs import estimates
from jobs.tiers import CARDS_GB, OTHERS_GB, tiers
from library import audio
from library.records import Track
from library.tracks import Library
from networks import memory
from networks.acestep.published import weights_of
from networks.machine import RUNTIMES, Machine, RuntimeName
from tests.tiny import SLOW, save_tiny
from tests.tiny_lm import save_lm

ASKED: dict[str, Any] = {
    "prompt": "slow waltz",
    "lyrics": "[verse]\nRain",
    "duration_s": 10,
    "inference_steps": 2,
    "seed": 5,
    "use_cot_caption": False,
}
NARROW_GB = min(estimates.PLANNING_GB, estimates.WORKING_GB) / 2
"""So little that nothing fits beside anything."""

SONG, PLANNER = (table.row(name).title for name in ("xl-turbo", "lm-0.6b"))
FREED = "{} was freed before {} was loaded: the device has no room for both"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a song's checkpoint and a planner, both of a few hundred kilobytes."""
    models = tmp_path_factory.mktemp("models")
    save_tiny(models / "xl-turbo", ratios=SLOW)
    save_lm(models / "lm-0.6b", spread=0.3, terse=True)
    return models


Start = Callable[..., Studio]


@pytest.fixture
def start(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a studio over these weights on a machine with such settings, each with a library of its own."""
    monkeypatch.setenv("ACE_MODELS_DIR", str(weights))
    made: list[Studio] = []

    def begin(runtime: RuntimeName = "torch", **settings: Any) -> Studio:
        machine = Machine(runtime=runtime, device="cpu", **settings)
        made.append(Studio(Settings(checkpoint="xl-turbo", machine=machine, outputs=tmp_path / str(len(made)))))
        return made[-1]

    yield begin
    for studio in made:
        studio.close()


@pytest.fixture(scope="module")
def usual(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Studio, Track]]:
    """A studio with room for everything, and the song that it made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACE_MODELS_DIR", str(weights))
        machine = Machine(runtime="torch", device="cpu")
        with closing(
            Studio(Settings(checkpoint="xl-turbo", machine=machine, outputs=tmp_path_factory.mktemp("usual")))
        ) as made:
            yield made, song_of(made)[0]


def sizes(weights: Path) -> tuple[float, float]:
    """Gigabytes of the song's networks and of the planner on a CPU."""
    machine = Machine(runtime="torch", device="cpu")
    song = memory.weights_of_song(weights / "xl-turbo", None, None, machine)
    return song.whole, memory.weights_of_language_model(weights / "lm-0.6b", machine).whole


def done(studio: Studio, request: Request) -> tuple[Any, list[str]]:
    """The result of a request, and what was loaded for it."""
    *progress, result = studio.run(request, fresh=True)
    notes = [event.note for event in progress if isinstance(event, Progress) and event.stage == "loading"]
    return result, list(dict.fromkeys(notes))  # what takes long is told again and again


def song_of(studio: Studio, **values: Any) -> tuple[Track, list[str]]:
    track, loaded = done(studio, parse(GenerateRequest, {**ASKED, **values}))
    assert isinstance(track, Track)
    return track, loaded


def latents_of(studio: Studio, track: Track) -> Any:
    latents = studio.library.latents(track).latents
    assert latents is not None
    return latents


def loading(*titles: str) -> list[str]:
    return [f"loading {title}" for title in titles]


# ---- the planner out of the way --------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_planner_and_a_song_that_do_not_fit_together_take_turns(
    start: Start, usual: tuple[Studio, Track], runtime: RuntimeName
) -> None:
    studio = start(runtime, memory_gb=NARROW_GB)
    first, loaded = song_of(studio)
    assert loaded == loading(PLANNER, SONG)
    assert first.notes == (FREED.format(PLANNER, SONG),)
    assert studio.loaded == {"song"}
    if runtime == "torch":
        again, loaded = song_of(studio)
        assert loaded == loading(PLANNER, SONG)
        assert again.notes == (FREED.format(SONG, PLANNER), FREED.format(PLANNER, SONG))
        np.testing.assert_array_equal(latents_of(studio, again), latents_of(studio, first))
        roomy, both = usual
        assert roomy.loaded == {"song", "planner"}
        assert both.notes == ()
        assert (first.plan, first.key) == (both.plan, both.key)
        np.testing.assert_array_equal(latents_of(studio, first), latents_of(roomy, both))


def test_a_planner_makes_room_for_a_song_that_needs_more_to_work_in(start: Start, weights: Path) -> None:
    studio = start(memory_gb=sum(sizes(weights)) + estimates.working_gb(10, 1) + 1e-5)
    first, loaded = song_of(studio)
    assert (first.notes, loaded) == ((), loading(PLANNER, SONG))
    codes = str(first.plan["codes"])
    unplanned, loaded = song_of(studio, plan=f"codes: {codes}", use_cot_caption=True, variations=1)
    assert (unplanned.notes, loaded) == ((), [])
    longer, loaded = song_of(studio, plan=f"codes: {codes} {codes}", use_cot_caption=True, duration_s=20)
    assert loaded == []
    (note,) = longer.notes
    assert note == f"{PLANNER} was freed before rendering: the device had less than 1.3 GB of memory left"
    assert studio.loaded == {"song"}


def test_a_song_makes_room_for_a_plan_that_is_asked_for_alone(start: Start, usual: tuple[Studio, Track]) -> None:
    narrow = start(memory_gb=NARROW_GB)
    song_of(narrow, thinking=False, use_cot_caption=True)
    for request in (parse(PlanRequest, ASKED), InspireRequest(query="rain", instrumental=True, seed=4)):
        result, _ = done(narrow, request)
        assert isinstance(result, Plan | Draft)
        assert narrow.loaded == {"planner"}
        assert result == done(usual[0], request)[0]


def test_a_song_that_is_not_planned_frees_no_planner_that_fits_beside_it_and_loads_none(
    start: Start, weights: Path
) -> None:
    studio = start(memory_gb=sum(sizes(weights)) + estimates.working_gb(10, 1) + 1e-5)
    done(studio, parse(PlanRequest, ASKED))
    track, loaded = song_of(studio, thinking=False, use_cot_caption=True)
    assert loaded == loading(SONG)
    assert studio.loaded == {"song", "planner"}
    assert not any("freed" in note for note in track.notes)


def test_a_recording_is_heard_before_the_planner_takes_the_place_of_the_networks_that_hear(
    start: Start, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    shutil.copytree(weights / "xl-turbo", models / "xl-turbo")
    save_lm(models / "lm-0.6b", spread=0.3, terse=True, codes=64_000)
    monkeypatch.setenv("ACE_MODELS_DIR", str(models))
    tone = 0.5 * np.sin(np.linspace(0, 900, SAMPLE_RATE * 3 // 5))
    audio.save_wav(tmp_path / "tone.wav", np.stack([tone, tone]).astype(np.float32))
    request = UnderstandRequest(src_audio=tmp_path / "tone.wav", seed=4)
    there, loaded = done(start(), request)
    assert loaded == loading(SONG, PLANNER)
    narrow = start(memory_gb=NARROW_GB)
    here, loaded = done(narrow, request)
    assert loaded == loading(SONG, PLANNER)
    assert narrow.loaded == {"planner"}
    assert isinstance(here, Draft) and here == there and here.author == "lm-0.6b"


def test_a_cancel_between_the_two_leaves_a_studio_that_goes_on(start: Start) -> None:
    studio = start(memory_gb=NARROW_GB)
    events = studio.run(parse(GenerateRequest, ASKED), fresh=True)
    with closing(events):
        next(event for event in events if isinstance(event, Progress) and event.note == f"loading {SONG}")
    song_of(studio, thinking=False, use_cot_caption=True)
    assert studio.loaded == {"song"}


def test_a_broken_checkpoint_is_told_after_the_planning_too(
    start: Start, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    shutil.copytree(weights, models)
    monkeypatch.setenv("ACE_MODELS_DIR", str(models))
    studio = start(memory_gb=NARROW_GB)
    file = next((models / "xl-turbo" / "vae").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(Exception, match=r"cannot be read.*Download the checkpoint again"):
        song_of(studio)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_device_says_what_memory_it_has_left(runtime: RuntimeName) -> None:
    assert 0 < memory.free_gb(Machine(runtime=runtime, device="cpu")) < 1e6


# ---- weights that wait in the host's memory --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offload", "told"), [("parts", "take turns on the device"), ("layers", "the DiT's layers pass through the device")]
)
def test_an_offloaded_song_is_the_same_song_and_says_so(
    start: Start, usual: tuple[Studio, Track], offload: str, told: str
) -> None:
    (roomy, there), small = usual, start(offload=offload)
    here, _ = song_of(small)
    (note,) = here.notes
    assert told in note and note.endswith("as was asked for")
    assert here.key == there.key
    np.testing.assert_array_equal(latents_of(small, here), latents_of(roomy, there))


def test_an_offloaded_song_gives_a_planner_its_room_without_being_loaded_again(start: Start, weights: Path) -> None:
    studio = start(offload="parts", memory_gb=sizes(weights)[1] + estimates.working_gb(10, 1) + 1e-5)
    first, loaded = song_of(studio)
    assert loaded == loading(PLANNER, SONG)
    again, loaded = song_of(studio)
    assert loaded == loading(PLANNER)
    for track in (first, again):
        assert any(f"{PLANNER} was freed before" in note for note in track.notes)


@pytest.mark.parametrize(
    ("spare_gb", "told"),
    [
        (1e-9, []),
        (-1e-9, ["take turns on the device: of 1.3 GB the device had 1.3 free"]),
        (-1.0, ["pass through the device one by one: of 1.3 GB the device had 0.3 free"]),
    ],
)
def test_a_device_with_memory_of_its_own_holds_what_it_has_room_for(
    start: Start,
    weights: Path,
    usual: tuple[Studio, Track],
    monkeypatch: pytest.MonkeyPatch,
    spare_gb: float,
    told: list[str],
) -> None:
    monkeypatch.setattr(memory, "has_its_own", lambda kind: True)
    studio = start(memory_gb=sizes(weights)[0] + estimates.working_gb(10, 1) + spare_gb)
    track, _ = song_of(studio, plan=plan_text(usual[1].plan), use_cot_caption=True)
    assert len(track.notes) == len(told)
    assert all(part in note for part, note in zip(told, track.notes, strict=True))
    np.testing.assert_array_equal(latents_of(studio, track), latents_of(*usual))


def test_where_memory_is_the_hosts_nothing_waits_in_it_unless_asked_for(start: Start) -> None:
    track, _ = song_of(start(memory_gb=0.001), thinking=False, use_cot_caption=True)
    assert not any("wait in the host's memory" in note for note in track.notes)


def test_the_flags_are_those_of_the_page_and_of_each_job(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--offload", "layers", "--memory-gb", "1.3"]
    for asked in (server.parser().parse_args(flags), cli.parser().parse_args(["lyrics", *flags])):
        assert cli.machine_of(vars(asked)) == Machine(offload="layers", memory_gb=1.3)
    for wrong in (["--offload", "disk"], ["--memory-gb", "0"], ["--memory-gb", "nan"], ["--memory-gb", "much"]):
        with pytest.raises(SystemExit):
            server.parser().parse_args(wrong)
    monkeypatch.setenv("ACE_MODELS_DIR", str(weights))
    monkeypatch.setenv("ACE_OUTPUTS_DIR", str(tmp_path / "songs"))
    knobs = ["--prompt", "x", "--duration-s", "10", "--inference-steps", "1", "--seed", "1"]
    flags = ["--offload", "layers", "--memory-gb", str(NARROW_GB)]
    assert cli.main(["generate", *knobs, "--checkpoint", "xl-turbo", "--device", "cpu", *flags]) == 0
    (track,) = Library(tmp_path / "songs").list()
    assert any("was freed before" in note for note in track.notes)
    assert any("pass through the device one by one" in note for note in track.notes)


# ---- cards -----------------------------------------------------------------------------------------------------------


def test_the_page_tells_what_cards_run() -> None:
    assert reference.checkpoints_page() == reference.CHECKPOINTS.read_text(encoding="utf-8")


def test_the_sums_for_whole_networks_are_those_that_were_measured() -> None:
    """On CUDA, at 60 s: docs/fidelity.md."""
    for family, measured_gb in {"XL": 13.1, "2B": 7.9}.items():
        needed = weights_of(family).whole + estimates.working_gb(60, 1)
        assert measured_gb <= needed + 0.05 and needed <= measured_gb + 0.2


def test_every_card_runs_every_family_within_its_room() -> None:
    found = {(tier.card_gb, tier.family): tier for tier in tiers()}
    assert all(tier.needed_gb <= card_gb - OTHERS_GB for (card_gb, _), tier in found.items())
    assert [found[card_gb, "XL"].offload for card_gb in CARDS_GB] == ["layers", "layers", "parts", "none", "none"]
    assert [found[card_gb, "2B"].offload for card_gb in CARDS_GB] == ["parts", "parts", "none", "none", "none"]
    assert found[24, "XL"].beside == table.PLANNERS[::-1]
    assert found[6, "XL"].beside + found[6, "XL"].in_turn == ("lm-0.6b", "lm-1.7b")
