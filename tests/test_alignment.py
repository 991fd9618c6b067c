"""When the words of a song are sung: maps with a known answer, attention computed by hand, and songs of every mode."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.transformers.ace_step_transformer import AceStepTransformer1DModel
from numpy.typing import NDArray
from torch import Tensor

import pipeline
from core.errors import StudioError
from core.events import Progress
from core.music import NO_WORDS, Music
from core.params import SONG_MODES
from core.plan_text import PlanText
from core.plans import Plan, open_plan, plan_from
from lyrics.line_counts import sections_of
from lyrics.synced import Line, Section
from networks.acestep.alignment import Floats, LineTime, best_path, line_times, words_of
from networks.acestep.job import Job
from networks.acestep.layouts import LYRIC_HEADS, lyric_heads, original_configs
from networks.acestep.open import open_runtime
from networks.acestep.prompts import instruction_of, lyric_span, lyric_text, prompt_text
from networks.acestep.published import CONFIGS
from networks.acestep.runtime import Head, Runtime
from networks.machine import RUNTIMES
from pipeline import LastStep, last_step
from post_process import SungTimes, align, apart, has_words
from tests.parity import relative_error
from tests.test_pipeline import job_of
from tests.tiny import CHANNELS, save_tiny

TOLERANCE = 5e-4
FRAME_S = 0.08
LYRICS = "[verse]\nRain on the roof\nLight in the hall\n\n[chorus]\nHold the door for me\nAll night long"
HEADS: tuple[Head, ...] = ((0, 3), (1, 0), (2, 1), (2, 2))
TABLE = {"0": [3], "1": [0], "2": [1, 2]}
TEXT = prompt_text(instruction_of("text2music"), Music(caption="calm piano", bpm=90, duration_s=4))
WORDS = lyric_text("en", LYRICS)


# ---- maps with a known answer ----------------------------------------------------------------------------------------


def by_letter(text: str) -> list[tuple[int, int]]:
    return [(index, index + 1) for index in range(len(text))]


def by_word(text: str) -> list[tuple[int, int]]:
    """A token for each word with the blank before it, one for each run of newlines, as real tokenizers have."""
    return [found.span() for found in re.finditer(r" ?[^ \n]+|\n+| ", text)]


def sung_maps(
    text: str,
    offsets: Sequence[tuple[int, int]],
    when: dict[str, tuple[int, int]],
    *,
    frames: int,
    heads: int = 3,
    noise: float = 0.3,
    clear: float = 0.75,
) -> list[Floats]:
    """Maps in which the frames of each line attend to its tokens in turn, elsewhere to anything, all of it noisy."""
    words, random = words_of(text, offsets), np.random.default_rng(4)
    count = words.positions[1] - words.positions[0]
    maps = []
    for _ in range(heads):
        each = random.dirichlet(np.ones(count), frames) * random.uniform(0, noise, (frames, 1))
        for line, (first, stop) in when.items():
            own = np.flatnonzero((words.line_of == words.lines.index(line)) & words.sounds)
            for frame in range(first, stop):
                token = own[(frame - first) * own.size // (stop - first)]
                each[frame, token] += clear + random.uniform(0, 0.2)
        maps.append(each.astype(np.float32))
    return maps


@pytest.mark.parametrize("offsets", [by_letter, by_word])
def test_lines_begin_and_end_within_a_frame_of_when_they_are_sung(offsets: Any) -> None:
    when = {
        "Rain on the roof": (60, 90),
        "Light in the hall": (90, 125),
        "Hold the door for me": (300, 330),  # after a long break
        "All night long": (340, 371),
    }
    spans = offsets(WORDS)
    found = line_times(sung_maps(WORDS, spans, when, frames=500), words_of(WORDS, spans), FRAME_S)
    times = {line.text: line for line in found}
    assert list(times) == ["[verse]", "Rain on the roof", "Light in the hall", "[chorus]", *list(when)[2:]]
    assert [line.found for line in found] == [False, True, True, False, True, True]
    for text, (first, stop) in when.items():
        assert times[text].start_s == pytest.approx(first * FRAME_S, abs=FRAME_S)
        assert times[text].end_s == pytest.approx(stop * FRAME_S, abs=FRAME_S)


def test_a_line_that_nobody_sings_stands_between_its_neighbours_and_is_not_counted() -> None:
    when = {"Rain on the roof": (60, 90), "Hold the door for me": (300, 330), "All night long": (340, 371)}
    found = line_times(sung_maps(WORDS, by_word(WORDS), when, frames=500), words_of(WORDS, by_word(WORDS)), FRAME_S)
    assert [line.found for line in found] == [False, True, False, False, True, True]
    starts = [line.start_s for line in found]
    assert starts == sorted(starts)
    silent = next(line for line in found if line.text == "Light in the hall")
    assert 90 * FRAME_S - FRAME_S <= silent.start_s <= silent.end_s <= 300 * FRAME_S + FRAME_S


def test_words_before_the_first_clear_one_of_a_line_get_their_time() -> None:
    text = lyric_text("en", "la la la la la la la la")
    spans = by_word(text)
    words = words_of(text, spans)
    maps = sung_maps(text, spans, {"la la la la la la la la": (100, 180)}, frames=400)
    for each in maps:
        each[100:120] = each[120:180].mean() / words.line_of.size  # the first two of eight words are mumbled
    (line,) = line_times(maps, words, FRAME_S)
    assert line.start_s == pytest.approx(100 * FRAME_S, abs=2 * FRAME_S)
    assert line.end_s == pytest.approx(180 * FRAME_S, abs=FRAME_S)


def test_times_count_from_where_the_frames_begin_and_end_with_the_song() -> None:
    text = lyric_text("en", "one two three")
    maps = sung_maps(text, by_word(text), {"one two three": (10, 40)}, frames=40)
    (line,) = line_times(
        maps, words_of(text, by_word(text)), FRAME_S, at_s=np.float64(FRAME_S) * np.arange(len(maps[0])) + 5, end_s=8.17
    )
    assert line.start_s == pytest.approx(5 + 10 * FRAME_S, abs=FRAME_S)
    assert line.end_s == 8.17


def test_the_path_through_a_matrix_is_the_best_of_all() -> None:
    random = np.random.default_rng(0)

    def best(gain: Floats, token: int, frame: int) -> float:
        """The most that can be collected on the way to a cell."""
        if token < 0 or frame < 0:
            return -np.inf
        before = [best(gain, token - a, frame - b) for a, b in ((1, 1), (1, 0), (0, 1))]
        return float(gain[frame, token]) + (0.0 if token == frame == 0 else max(before))

    for frames, tokens in [(1, 1), (5, 4), (4, 6), (1, 5), (6, 1)]:
        gain = random.normal(size=(frames, tokens)).astype(np.float32)
        across, along = best_path(gain)
        steps = set(zip(np.diff(across).tolist(), np.diff(along).tolist(), strict=True))
        assert steps <= {(1, 1), (1, 0), (0, 1)}
        assert (across[0], along[0], across[-1], along[-1]) == (0, 0, tokens - 1, frames - 1)
        assert gain[along, across].sum() == pytest.approx(best(gain, tokens - 1, frames - 1), abs=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_more_words_than_frames_and_a_single_frame_still_have_times(frames: int) -> None:
    words = words_of(WORDS, by_letter(WORDS))
    maps = [np.random.default_rng(1).dirichlet(np.ones(words.line_of.size), frames).astype(np.float32)]
    found = line_times(maps, words, FRAME_S)
    assert len(found) == 6
    for line in found:
        assert 0 <= line.start_s < line.end_s <= frames * FRAME_S


def test_attention_that_follows_nothing_finds_nothing() -> None:
    words = words_of(WORDS, by_word(WORDS))
    flat = np.full((200, words.line_of.size), 0.01, dtype=np.float32)
    found = line_times([flat, flat], words, FRAME_S)
    assert len(found) == 6 and not any(line.found for line in found)


def test_lyrics_without_a_token_have_no_times() -> None:
    text = lyric_text("en", "")
    words = words_of(text, by_letter(text))
    assert words.positions == (0, 0)
    assert line_times([np.zeros((5, 0), np.float32)], words, FRAME_S) == ()


@pytest.mark.parametrize("lyrics", ["", " \n ", NO_WORDS, "[intro]\n[outro]"])
def test_names_of_sections_are_no_words(lyrics: str) -> None:
    assert not has_words(lyrics)


def test_a_section_whose_tag_nobody_attends_to_begins_with_its_first_line() -> None:
    times = [
        LineTime("[verse]", 0.0, 0.1, found=False),
        LineTime("Rain", 4.0, 6.0, found=True),
        LineTime("[break]", 6.1, 9.0, found=True),
        LineTime("[chorus]", 9.0, 9.1, found=False),
        LineTime("Sun", 9.1, 9.2, found=False),
        LineTime("[outro]", 9.2, 9.3, found=False),
    ]
    found = apart(times)
    assert found.lines == (Line("Rain", 4.0, 6.0), Line("Sun", 9.1, 9.2))
    assert found.sections == (
        *(Section("verse", 4.0), Section("break", 6.1)),
        *(Section("chorus", 9.0), Section("outro", 9.2)),
    )
    assert found.found == 1


# ---- the tokens of the lyrics ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = save_tiny(tmp_path_factory.mktemp("tiny"))
    config = made / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {LYRIC_HEADS: TABLE}))
    return made


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(folder: Path, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    opened = open_runtime(folder, runtime=request.param, device="cpu", dtype="float32")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def torch_runtime(folder: Path) -> Iterator[Runtime]:
    opened = open_runtime(folder, runtime="torch", device="cpu", dtype="float32")
    yield opened
    opened.close()


def test_every_token_of_the_lyrics_knows_its_line(runtime: Runtime) -> None:
    lyrics = "[verse]\r\nÜber Ärger <|endoftext|>\n\n雨の夜 🎵\n"
    text = lyric_text("de", lyrics)
    words = words_of(text, runtime.lyric_offsets(text))
    assert words.lines == ("[verse]", "Über Ärger < |endoftext|>", "", "雨の夜 🎵", "")
    start, end = lyric_span(text)
    # The tiny tokenizer knows bytes alone: its tokens can be counted.
    assert words.positions == (start, start + len(text[start:end].encode()))
    counts = [len(line.encode()) for line in text[start:end].split("\n")]
    assert np.bincount(words.line_of).tolist() == [count + 1 for count in counts[:-1]]
    assert words.sounds.sum() == len("".join(text[start:end].split()).encode())


def test_words_that_were_cut_off_get_no_times(torch_runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    lyrics = "\n".join(f"line {number:03d}" for number in range(400))
    text = lyric_text("en", lyrics)
    with caplog.at_level(logging.CRITICAL):
        offsets = torch_runtime.lyric_offsets(text)
    words = words_of(text, offsets)
    assert len(offsets) == 2048 and offsets[-1] == (len(text) - len("<|endoftext|>"), len(text))
    assert words.positions[1] == 2047
    timed = line_times([np.eye(90, words.line_of.size, dtype=np.float32)], words, FRAME_S)
    assert [line.text for line in timed[:-1]] == lyrics.split("\n")[: len(timed) - 1]
    assert 200 < len(timed) < 250


# ---- the attention ---------------------------------------------------------------------------------------------------


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(folder: Path, states: Tensor, x: Tensor, t: float, context: Tensor) -> list[Tensor]:
    """softmax(q k / sqrt(d)) of every layer `(heads, tokens, positions)`, of diffusers' own forward pass."""
    dit: Any = AceStepTransformer1DModel.from_pretrained(folder / "transformer")
    seen: dict[str, list[Tensor]] = {"norm_q": [], "norm_k": []}
    for layer in dit.layers:
        for name, kept in seen.items():
            getattr(layer.cross_attn, name).register_forward_hook(lambda *parts, to=kept: to.append(parts[-1]))
    level = torch.tensor([t])
    with torch.no_grad():
        dit(
            hidden_states=x,
            timestep=level,
            timestep_r=level,
            encoder_hidden_states=states,
            context_latents=context,
            return_dict=False,
        )
    probabilities = []
    for query, key in zip(seen["norm_q"], seen["norm_k"], strict=True):
        repeated = key[0].repeat_interleave(query.shape[2] // key.shape[2], dim=1)
        scores = torch.einsum("lhd,khd->hlk", query[0], repeated) / query.shape[-1] ** 0.5
        exponentials = scores.exp()
        probabilities.append(exponentials / exponentials.sum(dim=-1, keepdim=True))
    return probabilities


@pytest.mark.parametrize("frames", [1, 40, 41])
def test_attention_is_the_softmax_of_queries_and_keys(folder: Path, runtime: Runtime, frames: int) -> None:
    x, context = noise(1, frames, CHANNELS), noise(1, frames, 2 * CHANNELS, seed=3)
    condition: Any = runtime.condition([TEXT], [WORDS])
    states = torch.from_numpy(np.array(condition.states[0]))
    expected = by_hand(folder, states, x, 0.125, context)
    everywhere = (0, states.shape[1])
    maps = runtime.cross_attention(x, 0.125, context, condition, heads=HEADS, positions=everywhere)
    for (layer, head), each in zip(HEADS, maps, strict=True):
        assert each.shape == (-(-frames // 2), states.shape[1]) and each.dtype == torch.float32
        assert relative_error(each, expected[layer][head]) <= TOLERANCE
        assert torch.allclose(each.sum(dim=1), torch.ones(len(each)), atol=1e-5)
    some = runtime.cross_attention(x, 0.125, context, condition, heads=HEADS[::-1], positions=(7, 19))
    for each, whole in zip(some, maps[::-1], strict=True):
        assert torch.equal(each, whole[:, 7:19])


def test_asking_for_attention_leaves_songs_as_they_are(runtime: Runtime) -> None:
    x, context = noise(1, 20, CHANNELS), noise(1, 20, 2 * CHANNELS, seed=3)
    condition = runtime.condition([TEXT], [WORDS])
    (before,) = runtime.velocity(x, 0.4, context, [condition])
    runtime.cross_attention(x, 0.4, context, condition, heads=HEADS, positions=(0, 9))
    (after,) = runtime.velocity(x, 0.4, context, [condition])
    assert torch.equal(before, after)


def test_the_heads_of_every_published_checkpoint_are_known() -> None:
    heads = {family: lyric_heads(original_configs(config)) for family, config in CONFIGS.items()}
    two_b = ((2, 6), (3, 10), (3, 11), (4, 3), (5, 8), (5, 9), (6, 8))
    assert set(heads.values()) == {
        two_b,
        ((3, 18), (3, 27), (4, 22), (5, 5), (5, 6), (5, 7), (6, 2), (6, 12), (6, 13), (7, 20), (7, 21)),
    }


@pytest.mark.parametrize(
    ("named", "heads"),
    [
        ({"1": [2], "0": [3, 1]}, ((0, 1), (0, 3), (1, 2))),
        ({"1": [2, 9], "7": [0]}, ((1, 2),)),
        ({"1": 2}, ()),
        ({"first": [2]}, ()),
        ([1, 2], ()),
        ("all", ()),
        (None, ()),
    ],
)
def test_a_configuration_names_its_heads_and_nonsense_names_none(named: object, heads: tuple[Head, ...]) -> None:
    dit = {"num_hidden_layers": 3, "num_attention_heads": 4, LYRIC_HEADS: named}
    assert lyric_heads({"transformer": dit}) == heads


# ---- songs -----------------------------------------------------------------------------------------------------------


SHORT: dict[str, dict[str, Any]] = {
    "generate": {},
    "cover": {},
    "extend": {"extra_duration_s": 5, "overlap_s": 0.5},
    "edit": {"segment_start_s": 1, "segment_end_s": 2},
}


def song_of(mode: str, runtime: Runtime, **values: Any) -> tuple[Job, Plan]:
    """A job of few steps, and the plan that its track would keep."""
    usual = {"lyrics": LYRICS, "inference_steps": 2, "guidance_scale": 1, **SHORT[mode]}
    job = job_of(mode, source_s=3.0, **{**usual, **values})
    seconds = job.duration_s(runtime.shape.sample_rate)
    assert seconds is not None
    plan = dataclasses.replace(open_plan(job.request, seconds), codes=job.request.own_plan.codes)
    return job, plan_from(plan.summary(), seconds)


def latents_of(plan: Plan, runtime: Runtime) -> NDArray[np.float16]:
    frames = runtime.shape.frames_of(round(plan.duration_s * runtime.shape.sample_rate))
    return noise(frames, CHANNELS, seed=8).half().numpy()


def aligned(job: Job, plan: Plan, runtime: Runtime) -> SungTimes:
    *progress, found = align(job, plan, latents_of(plan, runtime), runtime)
    assert progress and all(isinstance(event, Progress) for event in progress)
    assert isinstance(found, SungTimes)
    return found


def step_of(job: Job, plan: Plan, runtime: Runtime) -> LastStep:
    steps = last_step(job, plan, latents_of(plan, runtime), runtime)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            step: LastStep = end.value
            return step


@pytest.mark.parametrize("mode", SONG_MODES)
def test_every_line_of_a_song_has_its_time_within_what_was_made_anew(torch_runtime: Runtime, mode: str) -> None:
    job, plan = song_of(mode, torch_runtime)
    found = aligned(job, plan, torch_runtime)
    assert [line.text for line in found.lines] == [each for _, lines in sections_of(LYRICS) for each in lines]
    assert [section.tag for section in found.sections] == ["verse", "chorus"]
    frame_s = torch_runtime.shape.patch / torch_runtime.shape.frames_hz
    start, end = {"generate": (0, 10), "cover": (0, 3), "extend": (2.5, 8), "edit": (1, 2)}[mode]
    starts = [line.start_s for line in found.lines]
    assert starts == sorted(starts)
    for line in found.lines:
        assert line.end_s is not None
        assert start - frame_s <= line.start_s <= line.end_s <= min(end + frame_s, plan.duration_s)
    for section, line in zip(found.sections, (found.lines[0], found.lines[2]), strict=True):
        assert start - frame_s <= section.start_s <= line.start_s + frame_s
    assert aligned(job, plan, torch_runtime) == found


SHOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "words": ("generate", {}),
    "codes": ("generate", {"plan": str(PlanText(codes=(7, 8) * 25)), "duration_s": None}),
    "cover": ("cover", {}),
    "cover that lets go": ("cover", {"audio_cover_strength": 0.5}),
    "extend": ("extend", {}),
    "edit": ("edit", {}),
    "flow": ("edit", {"edit_mode": "flow", "source_prompt": "a march", "source_lyrics": "left right"}),
    "mask": ("edit", {"chunk_mask": "model"}),
}


@pytest.mark.parametrize("name", SHOWN)
def test_the_dit_is_shown_what_it_was_shown_in_the_last_step(
    torch_runtime: Runtime, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode, values = SHOWN[name]
    seen: list[tuple[Tensor, Any]] = []
    velocity = type(torch_runtime).velocity

    def watched(self: Runtime, x: Tensor, t: float, context: Tensor, conditions: Any) -> list[Tensor]:
        seen.append((context, conditions))
        return velocity(self, x, t, context, conditions)

    monkeypatch.setattr(type(torch_runtime), "velocity", watched)
    job, plan = song_of(mode, torch_runtime, **values)
    for event in pipeline.render(job, torch_runtime, None):
        if isinstance(event, Progress) and event.stage == "decoding":
            break
    (context, conditions), step = seen[-1], step_of(job, plan, torch_runtime)
    shown: Any = step.view.condition
    asked = conditions[-1] if name == "flow" else conditions[0]
    assert torch.equal(step.view.context, context)
    assert torch.equal(shown.states[0], asked.states[0])
    assert step.t == 0.5 and step.x.shape == (1, context.shape[1], CHANNELS)
    clean = 2 * step.x - noise(1, *step.x.shape[1:], seed=job.seeds[0])
    latents = torch.from_numpy(latents_of(plan, torch_runtime)).float()
    assert torch.allclose(clean[0, : len(latents)], latents, atol=1e-5)


def test_the_runtimes_attend_to_the_words_of_a_song_alike(folder: Path) -> None:
    maps = []
    for name in RUNTIMES:
        opened = open_runtime(folder, runtime=name, device="cpu", dtype="float32")
        step = step_of(*song_of("cover", opened), opened)
        shown = (step.x, step.t, step.view.context, step.view.condition)
        maps.append(opened.cross_attention(*shown, heads=opened.lyric_heads, positions=(0, 50)))
        opened.close()
    for one, other in zip(*maps, strict=True):
        assert relative_error(one, other) <= TOLERANCE


def test_a_song_without_words_is_refused_before_anything_runs(torch_runtime: Runtime) -> None:
    job, plan = song_of("generate", torch_runtime, lyrics=NO_WORDS)
    with pytest.raises(StudioError, match="no words"):
        next(align(job, plan, latents_of(plan, torch_runtime), torch_runtime))


def test_a_checkpoint_whose_heads_nobody_knows_is_refused_before_anything_runs(tmp_path: Path) -> None:
    opened = open_runtime(save_tiny(tmp_path / "other"), runtime="torch", device="cpu", dtype="float32")
    assert opened.lyric_heads == ()
    job, plan = song_of("generate", opened)
    with pytest.raises(StudioError, match="not known"):
        next(align(job, plan, latents_of(plan, opened), opened))
    opened.close()
