"""The road of a song, on a tiny checkpoint with random weights: every mode, every knob, every length."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import pipeline
from core.errors import RequestError
from core.events import Progress
from core.knobs import Knob, knob, knobs_of, parse
from core.modes import Layout, Seam
from core.music import Music
from core.params import LM_KNOBS, SONG_MODES, TOKENS, UNHEARD, SongRequest
from core.plans import Known
from core.recipes import Recipe
from core.resolve import resolve
from core.steps import finished
from jobs import estimates
from networks.acestep import scenes as contexts
from networks.acestep.job import Job, Recording, Take
from networks.acestep.open import open_runtime
from networks.acestep.runtime import Runtime
from tests.tiny import RATE, SLOW, save_tiny

Wave = NDArray[np.float32]

RECIPE = Recipe(inference_steps=3, guidance_scale=3.0, shift=1.0)
SOURCE_S = 10.25
WORDS = {"prompt": "slow waltz", "lyrics": "[verse]\nRain on the roof", "seed": 5}
ASKED: dict[str, dict[str, object]] = {
    "generate": {**WORDS, "duration_s": 10},
    "cover": {**WORDS, "src_audio": "source.wav"},
    "extend": {**WORDS, "src_audio": "source.wav", "extra_duration_s": 5, "overlap_s": 1},
    "edit": {**WORDS, "src_audio": "source.wav", "segment_start_s": 3, "segment_end_s": 6},
}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    opened = open_runtime(save_tiny(tmp_path_factory.mktemp("tiny") / "checkpoint", ratios=SLOW), device="cpu")
    yield opened
    opened.close()


def noise(seconds: float, seed: int = 1) -> Wave:
    """White noise `(2, S)` with an RMS of 0.3, below full scale."""
    return (
        (0.3 * np.random.default_rng(seed).standard_normal((2, round(seconds * RATE)))).clip(-1, 1).astype(np.float32)
    )


def job_of(mode: str, recipe: Recipe = RECIPE, source_s: float = SOURCE_S, **values: Any) -> Job:
    request = resolve(parse(SONG_MODES[mode], {**ASKED[mode], **values}), recipe, lambda n: 77)  # type: ignore[index]
    source = None if mode == "generate" else Recording(audio=noise(source_s))
    reference = Recording(audio=noise(3, seed=2)) if getattr(request, "reference_audio", None) else None
    return Job(request=request, recipe=recipe, source=source, reference=reference)


def takes_of(job: Job, runtime: Runtime) -> list[Take]:
    return [event for event in pipeline.render(job, runtime, None) if isinstance(event, Take)]


def take_of(runtime: Runtime, mode: str, recipe: Recipe = RECIPE, **values: Any) -> Take:
    (take,) = takes_of(job_of(mode, recipe, **values), runtime)
    return take


@pytest.mark.parametrize("mode", SONG_MODES)
def test_every_step_is_an_event_and_the_last_event_is_the_song(runtime: Runtime, mode: str) -> None:
    *progress, take = pipeline.render(job_of(mode, inference_steps=4), runtime, None)
    assert isinstance(take, Take)
    steps = [event for event in progress if isinstance(event, Progress) and event.stage == "denoising"]
    assert [(step.step, step.total) for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    stages = list(dict.fromkeys(event.stage for event in progress if isinstance(event, Progress)))
    assert stages == ["planning", "encoding", "conditioning", "denoising", "decoding"]


@pytest.mark.parametrize("mode", SONG_MODES)
def test_the_same_seed_gives_the_same_samples_and_another_seed_others(runtime: Runtime, mode: str) -> None:
    first, again, other = (take_of(runtime, mode, seed=seed).audio for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_variation_is_the_song_that_its_own_request_makes(runtime: Runtime) -> None:
    takes = takes_of(job_of("generate", variations=3, retake_variance=0.3), runtime)
    assert [take.request.seed for take in takes] == [5, 6, 7]
    alone = Job(request=takes[2].request, recipe=RECIPE)
    (same,) = takes_of(alone, runtime)
    np.testing.assert_allclose(same.audio, takes[2].audio, atol=1e-4)


@pytest.mark.parametrize("duration_s", [10, 10.01, 10.333, 11.7])
def test_a_song_is_as_long_as_asked_to_the_sample(runtime: Runtime, duration_s: float) -> None:
    assert take_of(runtime, "generate", duration_s=duration_s).audio.shape == (2, round(duration_s * RATE))


@pytest.mark.parametrize("samples", [10_001, 16_007, 16_400])
@pytest.mark.parametrize("structure", ["codes", "latents"])
def test_a_cover_is_as_long_as_its_source(runtime: Runtime, samples: int, structure: str) -> None:
    take = take_of(runtime, "cover", source_s=samples / RATE, cover_structure=structure)
    assert take.audio.shape == (2, samples)


@pytest.mark.parametrize("extra_duration_s", [5, 5.37])
@pytest.mark.parametrize("side", ["after", "before"])
def test_extend_keeps_the_source_up_to_overlap_and_crossfade(
    runtime: Runtime, extra_duration_s: float, side: str
) -> None:
    source, crossfade_s, overlap_s = noise(SOURCE_S), 0.5, 1.5
    asked: dict[str, Any] = {
        "extra_duration_s": extra_duration_s,
        "side": side,
        "overlap_s": overlap_s,
        "crossfade_s": crossfade_s,
    }
    song = take_of(runtime, "extend", **asked).audio
    extra, touched = round(extra_duration_s * RATE), round((overlap_s + crossfade_s) * RATE)
    assert song.shape[1] == source.shape[1] + extra
    if side == "after":
        assert np.array_equal(song[:, : source.shape[1] - touched], source[:, :-touched])
    else:
        assert np.array_equal(song[:, extra + touched :], source[:, touched:])


@pytest.mark.parametrize("repaint_mode", ["conservative", "balanced", "aggressive"])
def test_edit_changes_the_window_and_nothing_beyond_its_crossfade(runtime: Runtime, repaint_mode: str) -> None:
    source, fade = noise(SOURCE_S), round(0.05 * RATE)
    song = take_of(runtime, "edit", repaint_mode=repaint_mode).audio
    start, end = 3 * RATE, 6 * RATE
    assert np.array_equal(song[:, : start - fade], source[:, : start - fade])
    assert np.array_equal(song[:, end + fade :], source[:, end + fade :])
    assert np.abs(song[:, start:end] - source[:, start:end]).mean() > 1e-3


def test_a_short_song_is_rendered_as_long_as_the_checkpoint_needs_and_cut(runtime: Runtime) -> None:
    recipe = Recipe(inference_steps=2, guidance_scale=1, shift=1, min_frames=4000)
    assert take_of(runtime, "generate", recipe).audio.shape == (2, 10 * RATE)


def test_closing_the_generator_between_two_steps_ends_the_work(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    velocity = type(runtime).velocity

    def counted(*arguments: object) -> object:
        passes.append(1)
        return velocity(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(runtime), "velocity", counted)
    events = pipeline.render(job_of("generate", inference_steps=50), runtime, None)
    for event in events:
        if isinstance(event, Progress) and event.stage == "denoising" and event.step == 2:
            break
    events.close()  # type: ignore[attr-defined]
    assert len(passes) == 2


def test_kept_latents_stand_in_for_a_second_way_through_the_vae(runtime: Runtime) -> None:
    made = take_of(runtime, "generate")
    job = job_of("edit")
    fresh, kept = (Recording(audio=made.audio, latents=latents) for latents in (None, made.latents))
    first, second = (
        takes_of(Job(request=job.request, recipe=RECIPE, source=source), runtime)[0].latents for source in (fresh, kept)
    )
    assert first is not None and second is not None and made.latents is not None
    outside = slice(0, 2 * RATE // runtime.shape.hop)
    assert np.array_equal(second[outside], made.latents[outside])
    assert not np.array_equal(first[outside], made.latents[outside])


def test_what_is_known_about_the_source_reaches_the_prompt(runtime: Runtime) -> None:
    job = job_of("extend")
    known = Recording(audio=noise(SOURCE_S), known=Known(music=Music(bpm=77, keyscale="D minor", timesignature="3")))
    (take,) = takes_of(Job(request=job.request, recipe=RECIPE, source=known), runtime)
    assert (take.plan.music.bpm, take.plan.music.keyscale, take.plan.music.timesignature) == (77, "D minor", "3")


def test_a_song_that_would_be_longer_than_ten_minutes_is_refused(runtime: Runtime) -> None:
    job = job_of("extend", extra_duration_s=120, source_s=500)
    with pytest.raises(RequestError, match="must not be longer than 600 seconds"):
        takes_of(job, runtime)


def test_a_window_that_begins_at_the_end_of_the_source_is_refused(runtime: Runtime) -> None:
    with pytest.raises(RequestError, match=r"segment_start_s = 10\.25"):
        takes_of(job_of("edit", segment_start_s=10.25, segment_end_s=10.26), runtime)


def test_a_song_that_is_too_loud_is_turned_down_and_its_gain_is_told(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    loud = contexts.decode

    def louder(*parts: Any) -> Generator[Progress, None, list[Any]]:
        return [40 * wave for wave in (yield from loud(*parts))]

    monkeypatch.setattr(contexts, "decode", louder)
    take = take_of(runtime, "generate")
    assert np.abs(take.audio).max() == pytest.approx(1.0) and take.latents is not None
    (decoded,) = finished(contexts.decode(runtime, contexts.kept(take.latents, runtime), take.audio.shape[1]))
    np.testing.assert_allclose(take.gain * decoded, take.audio, atol=0.05)


def test_a_new_stretch_keeps_the_level_of_a_source_that_was_turned_down(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, latents = job_of("edit"), take_of(runtime, "generate", duration_s=SOURCE_S).latents
    source = Recording(audio=noise(SOURCE_S), latents=latents)
    plain, halved = (
        takes_of(Job(request=job.request, recipe=RECIPE, source=each), runtime)[0]
        for each in (dataclasses.replace(source, gain=0.5), dataclasses.replace(source, gain=0.25))
    )
    inside = slice(4 * RATE, 5 * RATE)
    np.testing.assert_allclose(halved.audio[:, inside], 0.5 * plain.audio[:, inside], atol=1e-6)


def test_a_window_beyond_the_source_is_refused_with_its_length(runtime: Runtime) -> None:
    with pytest.raises(RequestError, match=r"segment_end_s = 12\.0: .* 10\.25 seconds long"):
        takes_of(job_of("edit", segment_end_s=12), runtime)


# ---- modes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Prelude(SongRequest):
    """A mode that nobody else knows: four seconds before a recording."""

    mode: ClassVar[Any] = "prelude"
    required: ClassVar[tuple[str, ...]] = ("src_audio",)

    src_audio: Path | None = knob(group="main")

    @property
    def layout(self) -> Layout:
        """Something new before the source."""
        return Layout(before_s=4.0, overlap_s=0.5)

    @property
    def seam(self) -> Seam:
        """A crossfade of a tenth of a second."""
        return Seam(repaint_mode="conservative", crossfade_s=0.1)


def test_a_new_mode_is_a_request_class_that_says_what_it_makes(runtime: Runtime) -> None:
    asked = parse(Prelude, {**WORDS, "src_audio": "source.wav"})
    source = noise(SOURCE_S)
    job = Job(request=resolve(asked, RECIPE, lambda n: 77), recipe=RECIPE, source=Recording(audio=source))
    (take,) = takes_of(job, runtime)
    new, touched = 4 * RATE, round(0.6 * RATE)
    assert take.windows == ((0, new + RATE // 2),)
    assert np.array_equal(take.audio[:, new + touched :], source[:, touched:])
    assert estimates.rendered_s(asked, SOURCE_S) == SOURCE_S + 4
    assert estimates.evaluations(asked, RECIPE) == 2 * RECIPE.inference_steps


def test_a_flow_edit_costs_both_descriptions_in_every_draw() -> None:
    plain, flow = (
        parse(SONG_MODES["edit"], {**ASKED["edit"], **values}) for values in ({}, {"edit_mode": "flow", "n_avg": 3})
    )
    assert estimates.evaluations(flow, RECIPE) == 6 * estimates.evaluations(plain, RECIPE)


def test_a_step_of_heun_costs_two_evaluations() -> None:
    euler, heun = (parse(SONG_MODES["generate"], {**WORDS, "solver": solver}) for solver in ("euler", "heun"))
    assert estimates.evaluations(heun, RECIPE) == 2 * estimates.evaluations(euler, RECIPE)


# ---- every knob is alive ---------------------------------------------------------------------------------------------

CONTEXT: dict[str, dict[str, Any]] = {
    "retake_seed": {"retake_variance": 0.5},
    "vocal_language": {"lyrics": "[verse]\nRain"},
    "source_prompt": {"edit_mode": "flow"},
    "source_lyrics": {"edit_mode": "flow"},
    "n_min": {"edit_mode": "flow"},
    "n_max": {"edit_mode": "flow"},
    "n_avg": {"edit_mode": "flow"},
    "crossfade_s": {"crossfade_s": 0.1},
    "dcw_mode": {"dcw_enabled": True},
    "dcw_scaler": {"dcw_enabled": True},
    "dcw_high_scaler": {"dcw_enabled": True},
    "dcw_wavelet": {"dcw_enabled": True},
    "task_type": {"task_type": "complete", "tracks": "drums"},
    "tracks": {"task_type": "extract", "tracks": "drums"},
}
"""What a knob needs around it to mean anything; tooltips say the same."""

OTHER: dict[str, object] = {
    "prompt": "fast punk",
    "lyrics": "[chorus]\nSun on the sea",
    "bpm": 93,
    "keyscale": "F# minor",
    "timesignature": "3",
    "vocal_language": "ja",
    "seed": 6,
    "inference_steps": 5,
    "guidance_scale": 9,
    "infer_method": "sde",
    "solver": "heun",
    "retake_variance": 0.5,
    "retake_seed": 3,
    "cfg_interval_start": 0.5,
    "cfg_interval_end": 0.5,
    "guidance_rule": "cfg",
    "use_adg": True,
    "shift": 3,
    "schedule": "linear_quadratic",
    "timesteps": "1, 0.4",
    "chunk_mask": "model",
    "dcw_enabled": True,
    "dcw_mode": "pix",
    "dcw_scaler": 0.1,
    "dcw_high_scaler": 0.0,
    "dcw_wavelet": "sym8",
    "duration_s": 12,
    "more_segments": "7-8.5",
    "instrumental": True,
    "reference_audio": "reference.wav",
    "audio_cover_strength": 0.4,
    "cover_noise_strength": 0.5,
    "cover_structure": "latents",
    "task_type": "lego",
    "tracks": "bass",
    "extra_duration_s": 6,
    "side": "before",
    "overlap_s": 2,
    "crossfade_s": 0.7,
    "segment_start_s": 2,
    "segment_end_s": 7,
    "edit_mode": "flow",
    "repaint_mode": "aggressive",
    "repaint_strength": 1.0,
    "source_prompt": "solo piano",
    "source_lyrics": "[verse]\nSnow",
    "n_min": 0.4,
    "n_max": 0.4,
    "n_avg": 3,
    "plan": f"codes: {' '.join(str(7 * code) for code in range(50))}",
}
"""Another value for every knob that shapes the sound."""

ELSEWHERE = {"src_audio", "checkpoint", "variations", "thinking", "adapters", *LM_KNOBS, *TOKENS, *UNHEARD}
"""Knobs that tests of their own cover: which file, which weights, how many, whether and how a planner is asked, how
tokens are drawn, and what is heard of a song before it is done."""

ALIVE = [
    pytest.param(mode, knob, id=f"{mode}-{knob.name}")
    for mode, request_class in SONG_MODES.items()
    for knob in knobs_of(request_class)
    if knob.name not in ELSEWHERE
]


@pytest.mark.parametrize(("mode", "knob"), ALIVE)
def test_every_knob_changes_the_sound(runtime: Runtime, mode: str, knob: Knob) -> None:
    around = CONTEXT.get(knob.name, {})
    before = take_of(runtime, mode, **around).audio
    after = take_of(runtime, mode, **{**around, knob.name: OTHER[knob.name]}).audio
    assert before.shape != after.shape or not np.array_equal(before, after)


def test_the_number_of_variations_is_the_number_of_songs(runtime: Runtime) -> None:
    assert len(takes_of(job_of("cover", variations=2), runtime)) == 2


def test_another_source_gives_another_cover(runtime: Runtime) -> None:
    job = job_of("cover")
    other = Job(request=job.request, recipe=RECIPE, source=Recording(audio=noise(SOURCE_S, seed=9)))
    assert not np.array_equal(takes_of(job, runtime)[0].audio, takes_of(other, runtime)[0].audio)


# ---- what each mode sends --------------------------------------------------------------------------------------------


def test_the_contexts_are_those_the_model_was_trained_on(runtime: Runtime) -> None:
    frames, channels = 40, runtime.shape.channels
    source = finished(contexts.encode(runtime, [noise(frames * runtime.shape.hop / RATE)]))
    silence = runtime.silence(frames)

    words = contexts.from_words(runtime, frames)
    assert words.task == "text2music"
    assert np.array_equal(words.context[..., :channels], silence)
    assert (words.context[..., channels:] == 1).all()

    codes = runtime.latents_to_codes(source)
    hints = runtime.codes_to_latents(codes)[:, :frames]
    for scene in (
        contexts.cover(runtime, source, "codes", "cover"),
        contexts.from_codes(runtime, codes.tolist(), frames),
    ):
        assert scene.task == "cover"
        assert np.allclose(scene.context[..., :channels], hints)
        assert (scene.context[..., channels:] == 1).all()

    scene = contexts.repaint(runtime, source, [(10, 20)])
    assert scene.task == "repaint"
    assert np.array_equal(scene.context[:, 10:20, :channels], silence[:, 10:20])
    assert np.array_equal(scene.context[:, 20:, :channels], source[:, 20:])
    assert scene.context[0, :, channels:].sum(dim=-1).tolist() == [0.0] * 10 + [channels] * 10 + [0.0] * 20


@pytest.mark.parametrize("mode", SONG_MODES)
def test_a_mask_that_is_left_to_the_model_is_two_in_every_frame_the_network_ever_sees(
    runtime: Runtime, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    velocity = type(runtime).velocity

    def watched(self: Runtime, x: torch.Tensor, t: float, context: torch.Tensor, *rest: Any) -> list[torch.Tensor]:
        seen.append(context)
        return velocity(self, x, t, context, *rest)

    monkeypatch.setattr(type(runtime), "velocity", watched)
    take_of(runtime, mode)
    explicit, channels = list(seen), runtime.shape.channels
    seen.clear()
    take_of(runtime, mode, chunk_mask="model")
    assert len(seen) == len(explicit)
    for ours, usual in zip(seen, explicit, strict=True):
        assert torch.equal(ours[..., :channels], usual[..., :channels])
        assert (ours[..., channels:] == 2).all()
        assert usual[..., channels:].max() == 1


class Elsewhere:
    """As much of a runtime as a scene needs, on a device that is not the CPU."""

    def silence(self, frames: int) -> torch.Tensor:
        return torch.zeros(1, frames, 4, device="meta")

    def latents_to_codes(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 8, dtype=torch.int64, device="meta")

    def codes_to_latents(self, codes: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 40, 4, device="meta")


def test_every_scene_stays_on_the_device_of_its_latents() -> None:
    runtime, source = Elsewhere(), torch.zeros(1, 40, 4, device="meta")
    scenes = [
        contexts.from_words(runtime, 40),  # type: ignore[arg-type]
        contexts.cover(runtime, source, "codes", "cover"),  # type: ignore[arg-type]
        contexts.repaint(runtime, source, [(3, 9)]),  # type: ignore[arg-type]
        contexts.guided_repaint(source, source, [(3, 9)], "complete"),
        contexts.flow(runtime, source, [(3, 9)], RECIPE),  # type: ignore[arg-type]
        contexts.of_tracks(source, "lego"),
    ]
    assert {scene.context.device.type for scene in scenes} == {"meta"}
    assert contexts.kept(np.zeros((5, 4), np.float16), runtime, 2).shape == (1, 7, 4)  # type: ignore[arg-type]


def test_a_guide_stands_in_the_window_and_the_source_around_it(runtime: Runtime) -> None:
    source, guide = torch.zeros(1, 40, 4), torch.ones(2, 40, 4)
    scene = contexts.guided_repaint(source, guide, [(10, 20)], "complete")
    assert scene.context.shape == (2, 40, 8)
    assert scene.context[1, :, 0].tolist() == [0.0] * 10 + [1.0] * 10 + [0.0] * 20
    assert (scene.context[..., 4:] == 1).all()
    placed = contexts.place(guide[:, :6], 36, runtime.silence(40))
    assert (placed[:, 36:] == 1).all() and np.array_equal(placed[0, :36], runtime.silence(40)[0, :36])


@pytest.fixture
def heard(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that reach the text encoder."""
    texts_heard: list[str] = []
    condition = type(runtime).condition

    def listening(self: Runtime, texts: list[str], *rest: object) -> object:
        texts_heard.extend(texts)
        return condition(self, texts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(runtime), "condition", listening)
    return texts_heard


def test_the_instruction_of_each_mode_reaches_the_text_encoder(runtime: Runtime, heard: list[str]) -> None:
    expected = {
        "generate": ["Fill the audio semantic mask based on the given conditions:"],
        "cover": [
            "Fill the audio semantic mask based on the given conditions:",
            "Generate audio semantic tokens based on the given conditions:",
        ],
        "extend": ["Repaint the mask area based on the given conditions:"],
        "edit": ["Repaint the mask area based on the given conditions:"],
    }
    lengths = {"generate": 10, "cover": 10, "extend": 15, "edit": 10}
    for mode, instructions in expected.items():
        heard.clear()
        take_of(runtime, mode)
        assert [text.split("\n")[1] for text in heard] == instructions
        assert all(f"- duration: {lengths[mode]} seconds" in text for text in heard)


@pytest.mark.parametrize(
    ("task", "tracks", "instruction"),
    [
        ("lego", "backing vocals", "Generate the BACKING_VOCALS track based on the audio context:"),
        ("extract", "drums", "Extract the DRUMS track from the audio:"),
        ("complete", "drums, bass", "Complete the input track with DRUMS | BASS:"),
    ],
)
def test_the_tasks_of_base_checkpoints_name_their_tracks(
    runtime: Runtime, heard: list[str], task: str, tracks: str, instruction: str
) -> None:
    take_of(runtime, "cover", task_type=task, tracks=tracks)
    assert [text.split("\n")[1] for text in heard] == [instruction]
