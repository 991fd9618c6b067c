"""Every stage of every job can be left between two of its steps: nothing stays behind, and the next job is served.

A cancel is what happens when a job's events are closed. Here that is done after each event in turn, with networks so
small that all stages of all jobs are walked in seconds.
"""

from __future__ import annotations

import contextvars
import json
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pipeline
from checkpoints import table
from core.actions import ACTIONS
from core.errors import Cancelled
from core.events import Progress, TextDelta
from core.knobs import parse
from core.lyrics import LyricsRequest
from core.params import MODES, SONG_MODES, GenerateRequest
from core.recipes import Recipe
from core.requests import Request
from core.resolve import resolve
from core.steps import aside, finished, leave_when
from jobs import models as loading
from jobs.desk import Desk, Event
from jobs.kinds import KINDS
from jobs.replica import Replica
from library import exports, loudness
from library.records import Track
from library.tags import Tags
from library.tracks import Library
from networks.acestep import open as acestep
from networks.acestep.job import Job, Recording, Take
from networks.acestep.layouts import LYRIC_HEADS
from networks.acestep.lora.adapter import describe
from networks.acestep.runtime import Runtime
from networks.acestep.torch.parts import load_parts
from networks.acestep.torch.runtime import TorchRuntime
from networks.demucs.open import open_separator
from networks.demucs.separator import Stem
from networks.lm import model as lm
from networks.machine import RUNTIMES, Machine, RuntimeName
from tests.test_lora import everywhere, saved
from tests.tiny import save_stand_in, save_tiny
from tests.tiny_demucs import install_separator
from tests.tiny_lm import save_lm

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = Recipe(inference_steps=2, guidance_scale=3.0, shift=1.0)
RATE = 160
"""Of the tiny checkpoint: its tiles hold few frames."""

WORDS = "[verse]\nRain on the roof"
LONG_S = 35.0
"""Four tiles of the VAE."""


def noise(seconds: float, rate: int = RATE) -> Any:
    return np.random.default_rng(1).uniform(-0.3, 0.3, (2, round(seconds * rate))).astype(np.float32)


# ---- the steps of what takes long ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "checkpoint", rate=RATE)


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(checkpoint: Path, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    opened = acestep.open_runtime(checkpoint, runtime=request.param, device="cpu", dtype="float32")
    yield opened
    opened.close()


def test_the_vae_can_be_left_after_every_tile_both_ways(runtime: Runtime) -> None:
    wave = torch.from_numpy(np.stack([noise(LONG_S), noise(LONG_S)[:, ::-1].copy()]))
    latents, told = runtime.encode(wave), [("encoding", done, 8) for done in range(1, 8)]
    assert [(each.stage, each.step, each.total) for each in runtime.encoding(wave)] == told
    assert [(each.step, each.total) for each in runtime.decoding(latents)] == [each[1:] for each in told]
    for steps in (runtime.encoding(wave), runtime.decoding(latents)):
        with closing(steps):
            next(steps)
    assert torch.equal(runtime.encode(wave), latents)


def test_on_a_processor_a_cancel_is_seen_before_every_layer_and_the_networks_go_on_as_before(checkpoint: Path) -> None:
    processor = torch.device("cpu")
    runtime = TorchRuntime(load_parts(checkpoint, None, processor, torch.float32), processor, torch.float32)
    wave, latents = torch.from_numpy(noise(5))[None], torch.zeros(1, 20, runtime.shape.channels)
    context, null = torch.zeros(1, 20, 2 * runtime.shape.channels), runtime.null_condition()
    forwards: dict[str, Callable[[], object]] = {
        "encode": lambda: runtime.encode(wave),
        "condition": lambda: runtime.condition(["lofi"], [WORDS]),
        "velocity": lambda: runtime.velocity(latents, 1.0, context, [null])[0],
        "decode": lambda: runtime.decode(latents),
    }
    seen: list[object] = []
    hooks = [
        layer.register_forward_hook(lambda layer, *_: seen.append(layer))
        for part in runtime.parts.modules
        for layer in weighted(part)
    ]

    def leaving(forward: Callable[[], object]) -> None:
        leave_when(lambda: len(seen) >= 4)
        with pytest.raises(Cancelled):
            forward()

    for name, forward in forwards.items():
        before = forward()
        assert len(seen) > 8, name
        seen.clear()
        contextvars.copy_context().run(leaving, forward)
        assert len(seen) == 4, name
        after = forward()
        if isinstance(before, torch.Tensor) and isinstance(after, torch.Tensor):
            assert torch.equal(before, after)
        seen.clear()
    for hook in hooks:
        hook.remove()
    runtime.close()


def weighted(network: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers that have weights of their own."""
    return [module for module in network.modules() if any(True for _ in module.parameters(recurse=False))]


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_checkpoint_can_be_left_after_every_tensor(checkpoint: Path, name: RuntimeName) -> None:
    count = sum(1 for _ in acestep.opening(checkpoint, runtime=name, device="cpu"))
    assert count > 100  # of its tensors
    opening = acestep.opening(checkpoint, runtime=name, device="cpu")
    for _ in range(count // 2):
        next(opening)
    opening.close()
    acestep.open_runtime(checkpoint, runtime=name, device="cpu").close()


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_language_model_can_be_left_while_it_is_loaded(tmp_path: Path, name: RuntimeName) -> None:
    folder = save_lm(tmp_path / "lm-0.6b")
    assert sum(1 for _ in lm.opening(folder, runtime=name, device="cpu")) > 10
    opening = lm.opening(folder, runtime=name, device="cpu")
    next(opening)
    opening.close()
    lm.open_language_model(folder, runtime=name, device="cpu").close()


def test_adapters_can_be_left_after_every_layer_and_change_nothing_until_all_are_read(
    runtime: Runtime, checkpoint: Path, tmp_path: Path
) -> None:
    adapter = describe(saved(tmp_path / "lora.safetensors", everywhere(checkpoint, 0)))
    latents = torch.zeros(1, 10, runtime.shape.channels)
    context = torch.zeros(1, 10, 2 * runtime.shape.channels)
    null = runtime.null_condition()
    before = runtime.velocity(latents, 1.0, context, [null])[0]
    steps = runtime.adapting([adapter])
    next(steps)
    steps.close()
    assert torch.equal(runtime.velocity(latents, 1.0, context, [runtime.null_condition()])[0], before)
    assert sum(1 for _ in runtime.adapting([adapter])) == len(adapter.layers)
    runtime.set_adapters([])
    assert torch.equal(runtime.velocity(latents, 1.0, context, [runtime.null_condition()])[0], before)


def test_loudness_exports_and_stems_can_be_left_at_every_piece(tmp_path: Path) -> None:
    sound = noise(25, 48_000)
    assert sum(1 for _ in loudness.normalising(sound, -30.0, -1.0)) >= 5 * 3
    shares = list(exports.writing(tmp_path / "a.mp3", sound, exports.FORMATS["mp3-320"], Tags(title="x")))
    assert len(shares) == 13
    steps = exports.writing(tmp_path / "b.mp3", sound, exports.FORMATS["mp3-320"], Tags(title="x"))
    next(steps)
    steps.close()
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp3"]
    install_separator(tmp_path / "htdemucs" / "htdemucs.safetensors")
    separator = open_separator(tmp_path / "htdemucs", "cpu")
    events = list(separator.separate(noise(1, 48_000), shifts=0, overlap=0.25, seed=0))
    between = [[isinstance(event, Stem) for event in events].index(True), len(events) - 1]
    assert events[: between[0]] and all(isinstance(event, Progress) for event in events[: between[0]])
    assert sum(isinstance(event, Progress) for event in events[between[0] :]) == 2 * 3  # a channel of each later stem


def test_what_nobody_can_stop_is_left_at_once_and_its_errors_arrive() -> None:
    go = threading.Event()
    steps = aside(go.wait)
    next(steps)
    steps.close()
    go.set()
    assert finished(aside(lambda: 7)) == 7
    with pytest.raises(ZeroDivisionError):
        finished(aside(lambda: 1 / 0))


# ---- the road of a song ----------------------------------------------------------------------------------------------


def job_of(mode: str, **values: Any) -> Job:
    asked = {"prompt": "slow waltz", "lyrics": "[verse]\nRain", "seed": 5, "reference_audio": "timbre.wav", **values}
    request = resolve(parse(SONG_MODES[mode], asked), RECIPE, lambda n: 77)  # type: ignore[index]
    source = None if mode == "generate" else Recording(audio=noise(LONG_S))
    return Job(request=request, recipe=RECIPE, source=source, reference=Recording(audio=noise(3)))


def test_a_song_can_be_left_after_every_event_and_comes_out_the_same_after_that(runtime: Runtime) -> None:
    job = job_of("cover", src_audio="source.wav", inference_steps=1)

    def left_after(count: int) -> None:
        with closing(pipeline.render(job, runtime, None)) as events:  # type: ignore[type-var]
            for _ in range(count):
                next(events)

    walked = list(pipeline.render(job, runtime, None))
    stages = [event.stage for event in walked if isinstance(event, Progress)]
    assert {"planning", "encoding", "conditioning", "denoising", "decoding"} == set(stages)
    assert (stages.count("encoding"), stages.count("decoding")) == (1 + 2 + 3, 1 + 3)  # three tiles of timbre, four
    for stage in ("encoding", "conditioning", "decoding"):
        left_after(stages.index(stage) + 1 + (stages.count(stage) > 1))
    (*_, first), (*_, again) = walked, pipeline.render(job, runtime, None)
    assert isinstance(first, Take) and isinstance(again, Take)
    assert np.array_equal(first.audio, again.audio)


# ---- every kind of job in the studio ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    config = save_stand_in(models / "xl-turbo") / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), LYRIC_HEADS: {"0": [3], "1": [0], "2": [1, 2]}}))
    save_lm(models / "lm-0.6b", spread=0.3, terse=True)
    (name,) = table.row(table.SEPARATOR).files
    install_separator(models / table.SEPARATOR / name)
    return models


@pytest.fixture
def desk(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("ACE_MODELS_DIR", str(weights))
    monkeypatch.setattr(loading, "PULSE_S", 0.0)  # a tiny checkpoint is there before it could be told twice
    replica = Replica(loading.Models(Machine(runtime="torch", device="cpu")))
    yield Desk(library=Library(tmp_path / "outputs"), replica=replica, checkpoint="xl-turbo")
    replica.close()


def requests(song: Track, tmp_path: Path) -> Iterator[tuple[Request, set[str]]]:
    """What can be asked for, and the stages that it has."""
    made = {"prompt": "waltz", "lyrics": WORDS, "duration_s": 10, "inference_steps": 2, "seed": 1}
    sung = {"loading", "planning", "encoding", "conditioning", "denoising", "decoding", "saving"}
    yield parse(GenerateRequest, {**made, "use_cot_caption": False}), sung
    edit = {"src_audio": str(song.path), "segment_start_s": 2.0, "segment_end_s": 6.0, "inference_steps": 2}
    yield parse(MODES["edit"], edit), {"queued", *sung}
    yield parse(LyricsRequest, {"brief": "rain"}), {"writing"}
    for name, stages in {
        "stems": {"loading", "listening", "separating", "writing", "saving"},
        "normalise": {"listening", "measuring", "writing", "saving"},
        "export": {"listening", "writing", "saving"},
        "lrc": {"loading", "listening", "encoding", "conditioning", "writing", "saving"},
    }.items():
        yield parse(ACTIONS[name], {"track": song.id}), stages  # type: ignore[index]


def walked(request: Request, desk: Desk, leave: Callable[[str], bool]) -> list[str]:
    """The stages of a job's progress, which is left where `leave` says so."""
    stop, stages = threading.Event(), list[str]()
    kind: Any = KINDS[type(request)]
    events: Generator[Event, None, None] = kind.events(request, desk, stop, fresh=True)
    with closing(events):
        for event in events:
            if isinstance(event, Progress):
                stages.append(event.stage)
                if leave(event.stage):
                    break
            else:
                assert not isinstance(event, TextDelta) or event.text
    return stages


def test_every_job_can_be_left_in_every_stage(desk: Desk, tmp_path: Path) -> None:
    made = {"prompt": "waltz", "lyrics": WORDS, "duration_s": 10, "inference_steps": 1, "seed": 9}
    kind: Any = KINDS[GenerateRequest]
    song = list(kind.events(parse(GenerateRequest, made), desk, threading.Event(), fresh=True))[-1]
    for request, expected in requests(song, tmp_path):
        desk.replica.models.free()
        stages = walked(request, desk, lambda stage: False)
        assert set(stages) >= expected, type(request)
        for stage in dict.fromkeys(stages):
            if stage == "loading":
                desk.replica.models.free()
            assert walked(request, desk, partial(eq, stage))[-1] == stage
        made_now = [path for path in (tmp_path / "outputs").rglob("*") if path.name.startswith(".")]
        assert made_now == []


def test_a_queued_job_hears_its_cancel_in_the_line(desk: Desk, tmp_path: Path) -> None:
    first: Any = KINDS[GenerateRequest].events(
        parse(GenerateRequest, {"prompt": "waltz", "duration_s": 10, "seed": 1}), desk, threading.Event(), fresh=True
    )
    next(first)
    stop = threading.Event()
    second: Any = KINDS[GenerateRequest].events(
        parse(GenerateRequest, {"prompt": "march", "duration_s": 10, "seed": 1}), desk, stop, fresh=True
    )
    assert str(next(second)) == "queued · 1 before you"
    stop.set()
    with pytest.raises(Cancelled, match="while it waited"):
        next(second)
    first.close()
