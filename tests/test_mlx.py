"""What MLX does besides what every runtime does (test_runtimes.py): its formats, its choice, its thread, its end."""

from __future__ import annotations

import gc
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import pipeline
from backend import Settings, Studio
from checkpoints import find, table
from cli import reference
from core.errors import AdapterError, StudioError
from core.events import Progress
from core.params import SONG_MODES, GenerateRequest
from core.paths import nano_folder
from core.resolve import resolve
from jobs.models import Models
from jobs.work import Need
from library.records import Track
from networks.acestep.job import Job, Take
from networks.acestep.layouts import SILENCE_KEY, original_configs
from networks.acestep.lora.adapter import Adapter, describe
from networks.acestep.mlx.networks import build
from networks.acestep.mlx.weights import stored_shapes
from networks.acestep.open import open_runtime
from networks.acestep.published import CONFIGS
from networks.acestep.runtime import Runtime
from networks.acestep.torch.parts import build_parts
from networks.machine import RUNTIMES, Bits, Choice, Machine, RuntimeName, default_runtime
from planner.composer.planner import ComposerPlanner
from tests.parity import GOLDENS, relative_error
from tests.test_layouts import shard
from tests.test_lora import everywhere, heard, saved, weighed
from tests.test_pipeline import Wave, job_of, take_of, takes_of
from tests.tiny import CHANNELS, save_tiny
from tests.trials import TOLERANCES

ROOT = Path(__file__).parent.parent
TOLERANCE = TOLERANCES["torch"] + TOLERANCES["mlx"]
"""Each of the two may be so far from what is exact."""
SONG_DB = -80
SHORT_S = 1.0
QUICK: dict[str, Any] = {"inference_steps": 1, "guidance_scale": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def opened(folder: Path, name: RuntimeName = "mlx", bits: Bits | None = None) -> Runtime:
    return open_runtime(folder, runtime=name, device="cpu", dtype="float32", bits=bits)


@pytest.fixture(scope="module")
def mlx(folder: Path) -> Iterator[Runtime]:
    runtime = opened(folder)
    yield runtime
    runtime.close()


@pytest.fixture(scope="module")
def torch_runtime(folder: Path) -> Iterator[Runtime]:
    runtime = opened(folder, "torch")
    yield runtime
    runtime.close()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- the same as torch -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [8, 8 * 217 + 3, 8 * 2100])
def test_the_vae_hears_and_sounds_as_torchs(mlx: Runtime, torch_runtime: Runtime, samples: int) -> None:
    wave = noise(1, 2, samples)
    latents = torch_runtime.encode(wave)
    assert relative_error(mlx.encode(wave), latents) <= TOLERANCE
    assert relative_error(mlx.decode(latents), torch_runtime.decode(latents)) <= TOLERANCE


def test_words_and_references_become_the_velocity_that_torch_gives(mlx: Runtime, torch_runtime: Runtime) -> None:
    x, shown, reference = noise(2, 41, CHANNELS), noise(1, 41, 2 * CHANNELS, seed=1), noise(2, 50, CHANNELS, seed=2)
    answers = []
    for runtime in (mlx, torch_runtime):
        told = runtime.condition(["calm piano", "loud drums"], ["[verse]\nhello", "[Instrumental]"], [reference, None])
        answers.append(torch.cat(runtime.velocity(x, 0.3, shown, [told, runtime.null_condition()])))
    assert relative_error(*answers) <= TOLERANCE


@pytest.mark.parametrize("mode", SONG_MODES)
def test_every_mode_gives_the_song_that_torch_gives(mlx: Runtime, torch_runtime: Runtime, mode: str) -> None:
    ours, theirs = (take_of(runtime, mode, **QUICK) for runtime in (mlx, torch_runtime))
    assert np.abs(ours.audio - theirs.audio).max() <= TOLERANCE


Steps = Generator[Progress, None, Tensor]


def overheard(decoding: Callable[[Tensor], Steps], kept: list[Tensor], latents: Tensor) -> Steps:
    """What `decoding` gives; the latents are kept as they are, since a track has them in half precision."""
    kept.append(latents)
    return decoding(latents)


def test_a_whole_song_of_nano_is_torchs_within_80_decibels(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = table.recipe_of("nano")
    request = GenerateRequest(prompt="lofi hip hop", seed=7, duration_s=SHORT_S, inference_steps=2)
    job = Job(request=resolve(request, recipe, lambda n: 0), recipe=recipe)
    waves, decoded = [], list[Tensor]()
    for name in RUNTIMES:
        runtime = opened(nano_folder(), name)
        monkeypatch.setattr(runtime, "decoding", partial(overheard, runtime.decoding, decoded))
        takes = [event for event in pipeline.render(job, runtime, ComposerPlanner()) if isinstance(event, Take)]
        waves.append(takes[0].audio)
        runtime.close()
    assert np.abs(waves[0]).max() > 0.05
    assert (decoded[0] - decoded[1]).abs().max() <= TOLERANCE
    assert 20 * np.log10(np.abs(waves[0] - waves[1]).max()) <= SONG_DB


def test_adapters_do_in_mlx_what_they_do_in_torch(
    mlx: Runtime, torch_runtime: Runtime, folder: Path, tmp_path: Path
) -> None:
    adapters = [describe(saved(tmp_path / f"{n}.safetensors", everywhere(folder, n, rank=n))) for n in (1, 2)]
    base = heard(mlx)
    for chosen in (adapters, adapters[:1], [weighed(adapters[1], 0.5)], [weighed(adapters[0], 0), adapters[1]]):
        assert relative_error(heard(mlx, *chosen), heard(torch_runtime, *chosen)) <= TOLERANCE
        assert relative_error(heard(mlx), base) == 0
    heard(torch_runtime)


def test_an_adapter_that_went_bad_leaves_the_network_alone(mlx: Runtime, folder: Path, tmp_path: Path) -> None:
    def adapter(name: str, tensors: dict[str, Tensor]) -> Adapter:
        return describe(saved(tmp_path / f"{name}.safetensors", tensors))

    good, tensors = adapter("good", everywhere(folder, 1)), everywhere(folder, 2)
    first = next(iter(tensors))
    bad, gone = adapter("bad", tensors), adapter("gone", tensors)
    saved(bad.path, tensors | {first: torch.full_like(tensors[first], torch.nan)})
    gone.path.unlink()
    before = heard(mlx, good)
    for broken, reason in ((bad, "not finite"), (gone, "cannot be read")):
        with pytest.raises(AdapterError, match=reason):
            mlx.set_adapters([good, broken])
        assert torch.equal(heard(mlx, good), before)
    heard(mlx)


def velocity_of(runtime: Runtime) -> Tensor:
    x, shown = noise(1, 20, CHANNELS), noise(1, 20, 2 * CHANNELS, seed=1)
    return runtime.velocity(x, 0.5, shown, [runtime.null_condition()])[0]


# ---- weights ---------------------------------------------------------------------------------------------------------


def test_no_other_framework_loads_networks_beside_it(folder: Path) -> None:
    code = """
import sys
import threading
from pathlib import Path
from typing import Any
from networks.acestep.open import open_runtime
open_runtime(Path(sys.argv[1]), runtime="mlx", device="cpu").close()
sys.exit(", ".join({"diffusers", "accelerate", "peft"} & set(sys.modules)) or 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("family", CONFIGS)
def test_a_published_checkpoint_has_the_tensors_that_torch_looks_for(family: str) -> None:
    configs = original_configs(CONFIGS[family])
    theirs = {part: module.state_dict() for part, module in build_parts(configs).items()}
    shapes = {f"{part}.{key}": tuple(value.shape) for part in theirs for key, value in theirs[part].items()}
    ours = {key: shape for part, model in build(configs).items() for key, shape in stored_shapes(part, model)}
    assert {key: shape for key, shape in ours.items() if shapes.get(key) != shape} == {SILENCE_KEY: (1, 1, 64)}
    assert set(ours) == set(shapes)


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    whole = Path(shutil.copytree(GOLDENS[0].folder, tmp_path / "whole"))
    sharded = Path(shutil.copytree(whole, tmp_path / "sharded"))
    shard(sharded)
    codes = [opened(folder).latents_to_codes(GOLDENS[0].inputs["src_latents"]) for folder in (whole, sharded)]
    assert torch.equal(*codes)


def test_weights_stored_in_bfloat16_are_read_as_they_are(tmp_path: Path) -> None:
    golden, half = GOLDENS[0], tmp_path / "half"
    half.mkdir()
    for name in ("config.json", "silence_latent.pt"):
        (half / name).write_bytes((golden.folder / name).read_bytes())
    tensors = load_file(golden.folder / "model.safetensors")
    save_file({key: value.bfloat16() for key, value in tensors.items()}, half / "model.safetensors")
    inputs = golden.inputs
    answers = []
    for name in RUNTIMES:
        runtime = opened(half, name)
        told = runtime.condition_from_states(inputs["text_hidden_states"], inputs["lyric_hidden_states"])
        context = torch.cat([inputs["src_latents"], torch.ones_like(inputs["src_latents"])], dim=-1)
        answers.append(runtime.velocity(inputs["noise"], 0.5, context, [told])[0])
        runtime.close()
    assert relative_error(*answers) <= TOLERANCE


@pytest.mark.parametrize(("bits", "low", "high"), [(8, 1e-4, 0.03), (4, 0.03, 0.5)])
def test_packed_layers_answer_nearly_the_same(bits: Bits, low: float, high: float) -> None:
    channels = 16
    x, shown = noise(1, 40, channels), noise(1, 40, 2 * channels, seed=1)
    answers = []
    for chosen in (None, bits):
        runtime = opened(nano_folder(), bits=chosen)
        answers.append(runtime.velocity(x, 0.5, shown, [runtime.null_condition()])[0])
        runtime.close()
    assert low <= relative_error(answers[1], answers[0]) <= high


def test_numbers_that_leave_float16_end_the_job_instead_of_becoming_noise(folder: Path, tmp_path: Path) -> None:
    loud = Path(shutil.copytree(folder, tmp_path / "loud"))
    file = loud / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["proj_out_conv.weight"] *= 1e6
    save_file(tensors, file)
    for dtype in ("bfloat16", "float32"):
        assert bool(velocity_of(open_runtime(loud, runtime="mlx", device="cpu", dtype=dtype)).isfinite().all())
    with pytest.raises(StudioError, match="left their format.*bfloat16"):
        velocity_of(open_runtime(loud, runtime="mlx", device="cpu", dtype="float16"))


def test_torch_packs_nothing(folder: Path) -> None:
    with pytest.raises(StudioError, match="need the runtime mlx"):
        opened(folder, "torch", bits=8)


def test_a_device_that_mlx_does_not_have_is_named(folder: Path) -> None:
    with pytest.raises(StudioError, match=r"no device 'cuda'"):
        open_runtime(folder, runtime="mlx", device="cuda")


# ---- the choice ------------------------------------------------------------------------------------------------------


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that says that it is a Mac of Apple's own chips."""
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    default_runtime.cache_clear()
    yield
    default_runtime.cache_clear()


@pytest.mark.usefixtures("apple")
def test_apple_silicon_takes_mlx_except_on_another_device() -> None:
    assert default_runtime() == default_runtime("mps") == Choice("mlx")
    assert default_runtime("cpu") == Choice("torch")
    assert Machine(runtime="torch").chosen == Choice("torch")


@pytest.mark.usefixtures("apple")
def test_where_mlx_cannot_be_imported_torch_takes_over_and_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mlx_lm", None)
    choice = default_runtime()
    assert choice.runtime == "torch"
    assert "PyTorch's MPS instead of MLX" in choice.note
    assert "mlx_lm" in choice.note
    monkeypatch.setenv("ACE_NANO_DIR", str(folder))
    models = Models(Machine())
    with caplog.at_level(logging.WARNING):
        list(models.load([Need("song", find.checkpoint("nano"))]))
    assert choice.note in models.notes
    assert choice.note in caplog.text
    models.free()


def test_who_asks_for_mlx_where_it_is_not_is_told_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlx_lm", None)
    with pytest.raises(StudioError, match=r"MLX cannot be used here: .*mlx_lm.* Choose the runtime torch"):
        opened(folder)


def test_the_table_of_memory_on_the_page_about_apple_is_fresh() -> None:
    assert reference.apple_page() == reference.APPLE.read_text(encoding="utf-8"), "run python -m cli.reference"


def test_elsewhere_torch_is_the_usual_one() -> None:
    default_runtime.cache_clear()
    assert default_runtime() == Choice("torch")


def test_a_song_on_mlx_is_a_track_of_its_own_and_tells_its_peak(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACE_NANO_DIR", str(folder))
    request = GenerateRequest(prompt="lofi", thinking=False, duration_s=10, seed=3, inference_steps=1)
    tracks, threads, rendered = [], [], pipeline.rendered

    def watched(*job: Any) -> Iterator[object]:
        for event in rendered(*job):
            threads.append(threading.current_thread().name)
            yield event

    monkeypatch.setattr(pipeline, "rendered", watched)
    for name in (*RUNTIMES, "mlx"):
        settings = Settings(checkpoint="nano", machine=Machine(runtime=name, device="cpu"), outputs=tmp_path)
        with closing(Studio(settings)) as studio:
            tracks.append(next(event for event in studio.run(request) if isinstance(event, Track)))
    on_torch, on_mlx, again = tracks
    half = len(threads) // 2
    assert not set(threads[:half]) & {"mlx"}
    assert set(threads[half:]) == {"mlx"}  # from end to end, what is kept between two steps included
    assert again.id == on_mlx.id != on_torch.id
    assert 0 < on_mlx.peak_gb < on_torch.peak_gb  # torch tells the whole process


# ---- the thread ------------------------------------------------------------------------------------------------------


def test_four_clients_a_cancel_and_an_abandoned_song_do_not_disturb_each_other(
    mlx: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    seeds = [5, 6, 7, 8]
    expected = [take_of(mlx, "generate", seed=seed, **QUICK).audio for seed in seeds]

    def song(seed: int) -> Wave:
        return takes_of(job_of("generate", seed=seed, **QUICK), mlx)[0].audio

    def cancelled(steps: int) -> None:
        events = pipeline.render(job_of("cover", guidance_scale=1), mlx, None)
        for _ in range(steps):
            next(events)
        assert isinstance(events, Generator)
        events.close()

    def abandoned() -> None:
        events = pipeline.render(job_of("edit", guidance_scale=1), mlx, None)
        for _ in range(5):
            next(events)
        del events
        gc.collect()

    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(6) as pool:
        others = [pool.submit(cancelled, 6), pool.submit(abandoned)]
        songs = list(pool.map(song, seeds))
        for other in others:
            other.result()
    assert all(np.array_equal(mine, alone) for mine, alone in zip(songs, expected, strict=True))
    assert caplog.text == ""


SONG_AND_EXIT = """
import sys, threading
from pathlib import Path
from typing import Any
import torch
from networks.acestep.open import open_runtime

def song():
    global kept
    kept = open_runtime(Path(sys.argv[1]), runtime="mlx", device="cpu")
    noise, told = torch.randn(1, 200, 4), kept.condition(["calm piano"], ["[verse]"])
    (v,) = kept.velocity(noise, 1.0, torch.zeros(1, 200, 8), [told])
    assert kept.decode(noise - v).isfinite().all()

worker = threading.Thread(target=song, daemon=True)
worker.start()
worker.join()
"""


def exits(folder: Path, times: int) -> list[tuple[int, str]]:
    """Return code and error output of processes in which a worker thread made a song and left it open."""
    command = [sys.executable, "-c", SONG_AND_EXIT, str(folder)]
    runs = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False) for _ in range(times)]
    return [(run.returncode, run.stderr) for run in runs]


def test_a_process_that_made_a_song_in_a_worker_thread_ends_cleanly(folder: Path) -> None:
    assert exits(folder, 2) == [(0, "")] * 2


@pytest.mark.slow
def test_25_of_25_processes_end_cleanly(folder: Path) -> None:
    assert exits(folder, 25) == [(0, "")] * 25
