"""Songs, plans and drafts through the studio, with a tiny ACE-Step checkpoint and a tiny planner installed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipeline
from backend import Settings, Studio
from checkpoints import table
from cli import main as cli
from core.drafts import Draft, EnhanceRequest, InspireRequest, UnderstandRequest
from core.errors import Cancelled, MissingWeights, RequestError
from core.events import Progress
from core.knobs import parse
from core.music import Music
from core.params import CoverRequest, ExtendRequest, GenerateRequest, PlanRequest
from core.plans import Plan, Span, plan_text
from core.tables import SAMPLE_RATE
from jobs import estimates
from jobs.estimates import Cost
from library import audio
from library.records import Track
from networks import machine
from networks.acestep.job import Job
from networks.acestep.layouts import CODE_PARTS
from networks.machine import Machine
from planner.composer.planner import ComposerPlanner
from tests.tiny import SLOW, save_tiny
from tests.tiny_lm import save_lm

ASKED: dict[str, Any] = {
    "prompt": "slow waltz",
    "lyrics": "[verse]\nRain",
    "duration_s": 10,
    "seed": 5,
    "use_cot_caption": False,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a song's checkpoint and two planners, which differ."""
    models = tmp_path_factory.mktemp("models")
    save_tiny(models / "xl-turbo", ratios=SLOW)
    save_lm(models / "lm-0.6b", spread=0.3, terse=True)
    save_lm(models / "lm-1.7b", spread=0.3, terse=True, seed=1)
    return models


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("songs")


@pytest.fixture(scope="module")
def opened(home: Path) -> Iterator[Studio]:
    made = Studio(Settings(checkpoint="xl-turbo", machine=Machine(runtime="torch", device="cpu"), outputs=home))
    yield made
    made.close()


@pytest.fixture
def studio(opened: Studio, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    """The studio over these weights; what it loads and renders stays for the next test."""
    monkeypatch.setenv("ACE_MODELS_DIR", str(weights))
    return opened


def request_of(**values: Any) -> GenerateRequest:
    return parse(GenerateRequest, {**ASKED, **values})


def song_of(studio: Studio, **values: Any) -> Track:
    (track,) = [event for event in studio.run(request_of(**values)) if isinstance(event, Track)]
    return track


def plan_of(studio: Studio, **values: Any) -> Plan:
    plan = list(studio.run(parse(PlanRequest, {**ASKED, **values})))[-1]
    assert isinstance(plan, Plan)
    return plan


def codes_of(track: Track) -> list[int]:
    return [int(code) for code in str(track.plan["codes"]).split()]


def latents_of(studio: Studio, track: Track) -> Any:
    latents = studio.library.latents(track).latents
    assert latents is not None
    return latents


def test_a_song_is_planned_by_the_best_planner_and_its_plan_is_in_the_track(studio: Studio) -> None:
    track = song_of(studio)
    assert track.plan["planner"] == track.values["planner"] == "lm-1.7b"
    assert len(codes_of(track)) == 50
    assert track.notes == ()
    assert song_of(studio).id == track.id
    sidecar = json.loads(track.sidecar.read_text(encoding="utf-8"))
    assert sidecar["plan"]["codes"] == track.plan["codes"]


def test_another_planner_gives_another_song(studio: Studio) -> None:
    best, other = song_of(studio), song_of(studio, planner="lm-0.6b")
    assert other.plan["planner"] == "lm-0.6b"
    assert codes_of(other) != codes_of(best)
    assert not np.array_equal(latents_of(studio, other), latents_of(studio, best))


def test_new_weights_under_the_old_name_plan_anew(studio: Studio, weights: Path) -> None:
    before = song_of(studio, planner="lm-0.6b")
    kept = weights.parent / "kept"
    shutil.copytree(weights / "lm-0.6b", kept)
    try:
        shutil.rmtree(weights / "lm-0.6b")
        save_lm(weights / "lm-0.6b", spread=0.3, terse=True, seed=9)
        studio.close()
        after = song_of(studio, planner="lm-0.6b")
        assert (after.key, codes_of(after)) != (before.key, codes_of(before))
        assert after.key != before.key
    finally:
        shutil.rmtree(weights / "lm-0.6b")
        kept.rename(weights / "lm-0.6b")


def test_a_plan_alone_is_the_plan_of_the_song(studio: Studio) -> None:
    plan = plan_of(studio)
    assert plan.codes == tuple(codes_of(song_of(studio)))
    assert plan.to_text() == plan_text(song_of(studio).plan)


def test_a_plan_that_is_used_again_makes_the_same_song(studio: Studio) -> None:
    first = song_of(studio)
    again = song_of(studio, plan=plan_text(first.plan), use_cot_caption=True)
    assert again.plan["planner"] == pipeline.BY_HAND
    assert again.plan["codes"] == first.plan["codes"]
    assert np.array_equal(latents_of(studio, again), latents_of(studio, first))


def test_an_edited_plan_makes_another_song(studio: Studio) -> None:
    first = song_of(studio)
    text = plan_text(first.plan)
    edited = text.replace(str(first.plan["codes"]), " ".join(map(str, reversed(codes_of(first)))))
    again = song_of(studio, plan=edited, use_cot_caption=True)
    assert codes_of(again) == codes_of(first)[::-1]
    assert not np.array_equal(latents_of(studio, again), latents_of(studio, first))


def test_facts_of_a_plan_count_as_the_users_own(studio: Studio) -> None:
    text = "bpm: 93\nkeyscale: F# minor\ncaption: solo piano\nduration: 12"
    plan = plan_of(studio, plan=text, use_cot_caption=True, duration_s=30)
    music = Music(bpm=93, keyscale="F# minor", caption="solo piano", duration_s=12)
    assert plan.music.over(music) == plan.music and music.over(plan.music) == plan.music
    assert len(plan.codes or ()) == 60


def test_without_a_planner_the_song_is_made_and_says_so(
    studio: Studio, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path))
    shutil.copytree(weights / "xl-turbo", tmp_path / "xl-turbo")
    track = song_of(studio, use_cot_caption=True)
    assert track.notes == (pipeline.NO_PLANNER,)
    assert "download lm-1.7b" in track.notes[0]
    with pytest.raises(MissingWeights, match=r"download lm-1\.7b"):
        plan_of(studio)


def test_a_planner_that_is_still_loaded_plans_new_songs_alone(studio: Studio, tmp_path: Path) -> None:
    plan_of(studio)
    assert "planner" in studio.loaded
    save_tone(tmp_path / "tone.wav", 900)
    request = parse(ExtendRequest, {"src_audio": str(tmp_path / "tone.wav"), "extra_duration_s": 5, "seed": 1})
    (longer,) = [event for event in studio.run(request) if isinstance(event, Track)]
    assert (longer.plan["planner"], longer.notes) == ("none", ())


def test_a_planner_that_is_switched_off_is_not_asked(studio: Studio) -> None:
    track = song_of(studio, thinking=False, use_cot_caption=True)
    assert track.notes == (pipeline.SWITCHED_OFF,)
    assert "codes" not in track.plan


def test_planners_that_are_not_there_are_told_before_anything_loads(studio: Studio) -> None:
    studio.close()
    with pytest.raises(MissingWeights, match="5 Hz planner 4B is not installed"):
        song_of(studio, planner="lm-4b")
    with pytest.raises(RequestError, match="planner = 'nano': must be one of lm-4b"):
        song_of(studio, planner="nano")
    assert not studio.loaded


def test_a_cancel_while_planning_ends_the_job_and_frees_the_studio(studio: Studio) -> None:
    events = studio.run(request_of(duration_s=600, seed=77), job="long")
    with pytest.raises(Cancelled):
        for event in events:
            if isinstance(event, Progress) and event.stage == "planning" and event.step:
                studio.cancel("long")
    assert plan_of(studio)


def test_what_leaves_nothing_to_plan_is_refused(studio: Studio) -> None:
    with pytest.raises(RequestError, match="thinking = False: leaves nothing to plan"):
        plan_of(studio, thinking=False, use_cot_caption=True)
    codes = " ".join(["7"] * 50)
    with pytest.raises(RequestError, match="leaves nothing to plan"):
        plan_of(studio, plan=f"codes: {codes}", use_cot_caption=True)


def test_planning_takes_its_time_in_the_estimate(studio: Studio) -> None:
    shorter = studio.estimate_s(request_of(thinking=False, use_cot_caption=True))
    assert studio.estimate_s(request_of()) > shorter
    planning = estimates.planning(30, 4, 2)
    assert planning.seconds("cuda") - Cost().seconds("cuda") == pytest.approx(2 * (150 + 150) * 8 / 400)


def test_the_plan_is_printed_as_the_flag_takes_it(
    studio: Studio, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("ACE_OUTPUTS_DIR", str(home))
    flags = ["--prompt", "slow waltz", "--lyrics", "[verse]\nRain", "--duration-s", "10", "--seed", "5"]
    flags += ["--no-use-cot-caption", "--checkpoint", "xl-turbo", "--device", "cpu", "--runtime", "torch"]
    assert cli.main(["plan", *flags]) == 0
    told = capsys.readouterr().out
    assert told == plan_of(studio).to_text()
    assert cli.main(["plan", *flags, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["codes"] == " ".join(map(str, plan_of(studio).codes or ()))
    assert cli.main(["plan", *flags, "--plan", told]) == 2
    assert cli.main(["plan", *flags, "--planner", "lm-4b"]) == 3


def test_a_variation_whose_length_was_planned_says_its_length() -> None:
    job = Job(
        request=parse(GenerateRequest, {"prompt": "x", "duration_s": None, "variations": 2, "seed": 1}),
        recipe=table.recipe_of("nano"),
    )
    first, second = (job.narrowed(index, 42.0) for index in range(2))
    assert isinstance(first, GenerateRequest) and isinstance(second, GenerateRequest)
    assert (first.duration_s, second.duration_s) == (None, 42.0)


def test_the_composer_of_nano_follows_the_facts_of_a_plan_too() -> None:
    request = parse(GenerateRequest, {"prompt": "folk", "plan": "bpm: 93\nkeyscale: F# minor\nduration: 12", "seed": 1})
    *_, plan = ComposerPlanner().plan(request, 1, Span(duration_s=request.music.duration_s))
    assert isinstance(plan, Plan)
    assert (plan.music.bpm, plan.music.keyscale, plan.music.duration_s) == (93, "F# minor", 12)


def save_tone(path: Path, pitch: int) -> None:
    tone = 0.5 * np.sin(np.linspace(0, pitch, SAMPLE_RATE * 3 // 5))
    audio.save_wav(path, np.stack([tone, tone]).astype(np.float32))


def test_nano_takes_no_codes_of_a_planner(studio: Studio) -> None:
    plan = f"bpm: 93\ncodes: {'5 ' * 50}"
    request = parse(GenerateRequest, {"prompt": "folk", "plan": plan, "checkpoint": "nano"})
    with pytest.raises(RequestError, match="must hold no codes"):
        list(studio.run(request))


# ---- drafts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [InspireRequest(query="rain", instrumental=True, seed=4), EnhanceRequest(prompt="calm piano", seed=4)],
    ids=["inspire", "enhance"],
)
def test_forms_are_drafted_by_the_planner(studio: Studio, request_: Any) -> None:
    drafts = [list(studio.run(request_))[-1] for _ in range(2)]
    assert isinstance(drafts[0], Draft)
    assert drafts[0] == drafts[1]
    assert (drafts[0].author, drafts[0].seed) == ("lm-1.7b", 4)
    assert drafts[0].music.caption and drafts[0].music.bpm


def test_a_recording_is_understood_through_its_codes(
    studio: Studio, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path))
    shutil.copytree(weights / "xl-turbo", tmp_path / "xl-turbo")
    save_lm(tmp_path / "lm-0.6b", spread=0.3, terse=True, codes=64_000)
    drafts = []
    for pitch in (900, 2000):
        save_tone(tmp_path / "tone.wav", pitch)
        drafts.append(list(studio.run(UnderstandRequest(src_audio=tmp_path / "tone.wav", seed=4)))[-1])
    assert all(isinstance(draft, Draft) and draft.author == "lm-0.6b" and draft.music.caption for draft in drafts)
    assert drafts[0] != drafts[1]


def test_a_planner_without_ears_says_so(
    studio: Studio, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path))
    shutil.copytree(weights / "lm-0.6b", tmp_path / "lm-0.6b")
    save_tone(tmp_path / "tone.wav", 900)
    draft = list(studio.run(UnderstandRequest(src_audio=tmp_path / "tone.wav")))[-1]
    assert isinstance(draft, Draft)
    assert "none is installed" in draft.notes[0]


# ---- a checkpoint without the networks of codes ----------------------------------------------------------------------


@pytest.fixture
def codeless(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """A studio on a checkpoint without tokenizer and detokenizer, as XL turbo is published, and a planner."""
    models = tmp_path / "models"
    shutil.copytree(weights / "xl-turbo", models / "xl-turbo")
    shutil.copytree(weights / "lm-0.6b", models / "lm-0.6b")
    for part in CODE_PARTS:
        shutil.rmtree(models / "xl-turbo" / part)
    monkeypatch.setenv("ACE_MODELS_DIR", str(models))
    made = Studio(Settings(checkpoint="xl-turbo", machine=Machine(runtime="torch", device="cpu"), outputs=tmp_path))
    yield made
    made.close()


def test_without_a_detokenizer_a_song_comes_from_its_words_and_its_track_says_so(codeless: Studio) -> None:
    track = song_of(codeless)
    (note,) = track.notes
    assert note.startswith("xl-turbo came without audio_tokenizer and audio_token_detokenizer")
    assert "rendered from the words alone" in note
    assert "checkpoints download xl-sft" in note
    assert "codes" not in track.plan
    assert song_of(codeless, thinking=False, use_cot_caption=True).notes == (pipeline.SWITCHED_OFF,)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"planner": "lm-0.6b"}, "planner = 'lm-0.6b': must be empty"),
        ({"plan": f"codes: {'7 ' * 50}", "use_cot_caption": True}, "must hold no codes"),
    ],
)
def test_what_asks_for_codes_is_refused_before_anything_loads_with_a_way_to_get_them(
    codeless: Studio, values: dict[str, Any], fault: str
) -> None:
    with pytest.raises(RequestError) as caught:
        list(codeless.run(request_of(**values)))
    assert fault in caught.value.message
    assert "xl-turbo came without audio_tokenizer" in caught.value.message
    assert "checkpoints download xl-sft" in caught.value.hint
    assert codeless.status().state == "idle"


def test_a_plan_for_a_checkpoint_without_codes_is_refused(codeless: Studio) -> None:
    with pytest.raises(RequestError, match="checkpoint = 'xl-turbo': must read codes"):
        plan_of(codeless)


def test_a_cover_without_codes_asks_for_the_latents_instead(codeless: Studio, tmp_path: Path) -> None:
    save_tone(tmp_path / "tone.wav", 900)
    values: dict[str, Any] = {"prompt": "harp", "src_audio": str(tmp_path / "tone.wav"), "inference_steps": 2}
    with pytest.raises(RequestError, match="cover_structure = 'codes': must be latents"):
        list(codeless.run(parse(CoverRequest, values)))
    covered = [*codeless.run(parse(CoverRequest, {**values, "cover_structure": "latents"}))][-1]
    assert isinstance(covered, Track)


def test_a_planner_hears_nothing_through_a_checkpoint_without_codes(codeless: Studio, tmp_path: Path) -> None:
    save_tone(tmp_path / "tone.wav", 900)
    draft = [*codeless.run(UnderstandRequest(src_audio=tmp_path / "tone.wav"))][-1]
    assert isinstance(draft, Draft)
    assert "writes audio codes, and none is installed" in draft.notes[0]


# ---- number formats --------------------------------------------------------------------------------------------------


def test_a_processor_with_units_for_bfloat16_renders_in_it_and_says_so(
    home: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"prompt": "folk", "duration_s": 10, "seed": 31, "thinking": False, "inference_steps": 1}
    tracks: dict[tuple[str, bool], Track] = {}
    monkeypatch.setenv("ACE_MODELS_DIR", str(weights))
    for units in (False, True):
        monkeypatch.setattr("jobs.models.has_bfloat16_units", lambda units=units: units)
        with closing(Studio(Settings(machine=Machine(device="cpu"), outputs=home))) as fresh:
            for name in ("xl-turbo", "nano"):
                events = fresh.run(parse(GenerateRequest, {**asked, "checkpoint": name}))
                tracks[name, units] = next(event for event in events if isinstance(event, Track))
    assert not any("bfloat16" in note for note in tracks["xl-turbo", False].notes)
    assert any(note.startswith("in bfloat16, for which this processor") for note in tracks["xl-turbo", True].notes)
    assert tracks["xl-turbo", True].key != tracks["xl-turbo", False].key
    assert tracks["nano", True].key == tracks["nano", False].key


@pytest.mark.parametrize(
    ("flags", "units"),
    [
        ("flags\t\t: fpu sse2 avx2 amx_bf16 amx_tile", True),
        ("flags\t\t: fpu avx512f avx512_bf16", True),
        ("flags\t\t: fpu sse2 avx2 avx512f", False),
        ("Features\t: fp asimd i8mm bf16", True),
        ("Features\t: fp asimd", False),
    ],
)
def test_the_flags_of_a_processor_tell_whether_it_has_units_for_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, units: bool
) -> None:
    listed = tmp_path / "cpuinfo"
    listed.write_text(f"processor\t: 0\n{flags}\n\nprocessor\t: 1\n{flags}\n")
    monkeypatch.setattr(machine, "CPU_FLAGS", listed)
    machine.has_bfloat16_units.cache_clear()
    assert machine.has_bfloat16_units() == units
    monkeypatch.setattr(machine, "CPU_FLAGS", tmp_path / "nowhere")
    machine.has_bfloat16_units.cache_clear()
    assert not machine.has_bfloat16_units()
    monkeypatch.undo()
    machine.has_bfloat16_units.cache_clear()
