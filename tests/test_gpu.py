"""A CUDA device makes what the CPU and upstream's code make, in float32 and bfloat16: run with `-m gpu`.

ACE_TEST_DEVICE names another device; `cpu` shows that the tests run. What was measured is in the report of
`--junitxml`, as the properties of each test.
"""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend import Settings, Studio
from core.knobs import parse
from core.params import SONG_MODES, GenerateRequest
from core.plans import Plan, Span
from jobs import estimates
from library.records import Track
from networks.acestep.job import Take
from networks.acestep.lora.adapter import describe
from networks.acestep.open import open_runtime
from networks.acestep.runtime import Runtime
from networks.acestep.torch.runtime import TorchRuntime
from networks.lm.model import LanguageModel, open_language_model
from networks.lm.torch_kv_cache import HEADROOM, KvCache
from networks.lm.torch_model import TorchModel
from networks.machine import DType, Machine, Offload
from planner.lm.planner import LmPlanner
from tests.parity import GOLDENS, Golden, relative_error
from tests.test_parity import ADAPTED
from tests.test_pipeline import RECIPE, job_of, takes_of
from tests.tiny import save_tiny
from tests.tiny_lm import save_lm
from tests.trials import ADG_TOLERANCE, Trial, target_latents

DEVICE = os.environ.get("ACE_TEST_DEVICE", "cuda")
KIND = torch.device(DEVICE).type

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(
        KIND == "cuda" and not torch.cuda.is_available(), reason="this machine has no CUDA device, or torch no CUDA"
    ),
]
on_cuda = pytest.mark.skipif(KIND != "cuda", reason="only CUDA tells its own memory and captures graphs")

TOLERANCE = 1e-4
"""The largest relative error in float32: a GPU sums in another order than the CPU that upstream's answers come from."""

ROUNDINGS = 3.0
"""How many times further from upstream bfloat16 may be on the device than on the CPU.

Both round equally often and equally far, but at other places: their errors are two draws of one size.
"""

QUIET_DB = -60.0
"""How far below full scale the difference between the same song on both devices must stay in float32."""

Measured = Callable[[str, object], None]
"""pytest's `record_property`."""


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Convolutions multiply float32 with all its digits: TF32, their default on CUDA, keeps ten bits of them."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@on_cuda
def test_the_autoencoder_hears_and_sounds_in_float32_whatever_the_device_prefers(tiny: Path) -> None:
    torch.backends.cudnn.allow_tf32 = True
    made = {device: open_runtime(tiny, device=device, dtype="float32") for device in (DEVICE, "cpu")}
    wave = torch.randn(1, 2, 48_000, generator=torch.Generator().manual_seed(0)) / 4
    latents = {device: runtime.encode(wave) for device, runtime in made.items()}
    sounds = {device: runtime.decode(latents["cpu"]) for device, runtime in made.items()}
    assert rms_error(latents[DEVICE].cpu(), latents["cpu"]) < 1e-4
    assert rms_error(sounds[DEVICE].cpu(), sounds["cpu"]) < 1e-4
    assert torch.backends.cudnn.allow_tf32


def rms_error(answer: Tensor, expected: Tensor) -> float:
    """The length of the difference over the expected length."""
    return ((answer.double() - expected.double()).norm() / expected.double().norm()).item()


def decibels(wave: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """The largest difference of two waveforms, in dB below full scale."""
    return float(20 * np.log10(np.abs(wave - other).max() + 1e-12))


# ---- parity with upstream --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Placed(Golden):
    """A parity folder whose tensors lie on a device."""

    device: str

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return {name: value.to(self.device) for name, value in Golden(self.folder).inputs.items()}

    @cached_property
    def expected(self) -> dict[str, Tensor]:
        return {name: value.to(self.device) for name, value in Golden(self.folder).expected.items()}


@dataclasses.dataclass(frozen=True)
class Elsewhere(Trial):
    """A parity folder on torch, on a device, in a number format."""

    device: str
    dtype: DType

    @property
    def runtime(self) -> Runtime:
        return opened(self.golden.folder, self.device, self.dtype)

    @property
    def tolerance(self) -> float:
        return TOLERANCE if self.dtype == "float32" else float("inf")  # held against the CPU's instead

    @property
    def reordered(self) -> float:
        return self.tolerance

    def latents(self, case: str) -> Tensor:
        """The end of the loop, all of which runs on the device."""
        with torch.device(self.device):
            return target_latents(self, case)


@cache
def opened(folder: Path, device: str, dtype: DType) -> Runtime:
    return open_runtime(folder, runtime="torch", device=device, dtype=dtype)


def there(golden: Golden, dtype: DType = "float32", device: str = DEVICE) -> Elsewhere:
    return Elsewhere(Placed(golden.folder, device), "torch", device, dtype)


every_folder = pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.folder.name)
every_case = pytest.mark.parametrize(
    ("golden", "case"),
    [(golden, case) for golden in GOLDENS for case in golden.cases],
    ids=[f"{golden.folder.name}-{case}" for golden in GOLDENS for case in golden.cases],
)
every_spelling = pytest.mark.parametrize(
    ("golden", "spelling"),
    [(golden, spelling) for golden in GOLDENS for spelling in golden.spellings],
    ids=[f"{golden.folder.name}-{spelling.name}" for golden in GOLDENS for spelling in golden.spellings],
)


@every_case
def test_in_float32_the_loop_ends_where_upstream_ends(golden: Golden, case: str, record_property: Measured) -> None:
    trial = there(golden)
    error = relative_error(trial.latents(case), trial.golden.expected[f"{case}.target_latents"])
    record_property("error", error)
    assert error <= (ADG_TOLERANCE if golden.cases[case].get("use_adg") else TOLERANCE)


@every_case
def test_in_bfloat16_the_loop_ends_as_near_to_upstream_as_on_the_cpu(
    golden: Golden, case: str, record_property: Measured
) -> None:
    expected = golden.expected[f"{case}.target_latents"]
    here = rms_error(there(golden, "bfloat16", "cpu").latents(case), expected)
    error = rms_error(there(golden, "bfloat16").latents(case).cpu(), expected)
    record_property("error", error)
    record_property("error_on_cpu", here)
    assert error <= ROUNDINGS * here


@every_folder
def test_a_source_becomes_the_codes_that_upstream_makes_of_it(golden: Golden) -> None:
    trial = there(golden)
    codes = trial.runtime.latents_to_codes(trial.golden.inputs["src_latents"])
    assert torch.equal(codes, trial.golden.expected["modules.tokenize.indices"].squeeze(-1).long())


@every_folder
def test_codes_stand_for_the_latents_that_upstream_gives_them(golden: Golden, record_property: Measured) -> None:
    trial = there(golden)
    latents = trial.runtime.codes_to_latents(trial.golden.expected["modules.tokenize.indices"].squeeze(-1))
    error = relative_error(latents, trial.golden.expected["modules.detokenize"])
    record_property("error", error)
    assert error <= TOLERANCE


@every_spelling
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_does_what_upstream_does_with_it(
    golden: Golden, spelling: Path, dtype: DType, record_property: Measured
) -> None:
    expected = Golden(golden.adapters).expected["scale_1.0.target_latents"]
    errors = []
    for device in (DEVICE, "cpu"):
        trial = there(golden, dtype, device)
        trial.runtime.set_adapters([describe(spelling)])
        errors.append(rms_error(trial.latents(ADAPTED).cpu(), expected))
        trial.runtime.set_adapters([])
    record_property("error", errors[0])
    record_property("error_on_cpu", errors[1])
    assert errors[0] <= (TOLERANCE if dtype == "float32" else ROUNDINGS * errors[1])


# ---- the road of a song ----------------------------------------------------------------------------------------------

SONGS: dict[str, tuple[str, dict[str, Any]]] = {
    "from words": ("generate", {}),
    "variations": ("generate", {"variations": 3, "retake_variance": 0.3}),
    "a plan's codes": ("generate", {"plan": f"codes: {' '.join(str(7 * code) for code in range(50))}"}),
    "a reference": ("cover", {"reference_audio": "reference.wav"}),
    "with Heun and plain guidance": ("generate", {"solver": "heun", "guidance_rule": "cfg"}),
    "with the multistep solver": ("generate", {"solver": "dpm3m"}),
    "with fresh noise and ADG": ("generate", {"solver": "pingpong", "use_adg": True}),
    "a cover by codes": ("cover", {"cover_structure": "codes", "audio_cover_strength": 0.5}),
    "a cover by latents": ("cover", {"cover_structure": "latents", "cover_noise_strength": 0.4}),
    "an extension": ("extend", {}),
    "an introduction": ("extend", {"side": "before"}),
    "a repaint": ("edit", {}),
    "a conservative repaint": ("edit", {"repaint_mode": "conservative"}),
    "a flow edit": ("edit", {"edit_mode": "flow", "source_prompt": "fast march", "n_avg": 2}),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "checkpoint")


def song(folder: Path, device: str, dtype: DType, name: str) -> list[Take]:
    mode, values = SONGS[name]
    return takes_of(job_of(mode, RECIPE, **values), opened(folder, device, dtype))


@pytest.mark.parametrize("name", SONGS)
def test_a_song_is_the_same_on_the_device_as_on_the_cpu(tiny: Path, name: str, record_property: Measured) -> None:
    here, far = (song(tiny, device, "float32", name) for device in ("cpu", DEVICE))
    assert [take.request for take in far] == [take.request for take in here]
    apart = max(decibels(one.audio, other.audio) for one, other in zip(here, far, strict=True))
    record_property("decibels", apart)
    assert apart <= QUIET_DB


@pytest.mark.parametrize("name", SONGS)
def test_a_song_is_made_in_bfloat16(tiny: Path, name: str, record_property: Measured) -> None:
    whole, rounded = song(tiny, "cpu", "float32", name), song(tiny, DEVICE, "bfloat16", name)
    for exact_take, take in zip(whole, rounded, strict=True):
        assert np.isfinite(take.audio).all() and take.audio.shape == exact_take.audio.shape
        record_property("decibels", decibels(take.audio, exact_take.audio))


def test_every_mode_is_among_the_songs() -> None:
    assert {mode for mode, _ in SONGS.values()} == set(SONG_MODES)


# ---- nano, as a user has it ------------------------------------------------------------------------------------------


def track_of(outputs: Path, device: str) -> Track:
    studio = Studio(Settings(checkpoint="nano", machine=Machine(device=device), outputs=outputs))
    asked = parse(GenerateRequest, {"prompt": "lofi hip hop, rainy night", "seed": 7, "duration_s": 10})
    try:
        return next(event for event in studio.run(asked) if isinstance(event, Track))
    finally:
        studio.close()


def wave_of(track: Track) -> NDArray[np.float32]:
    wave: NDArray[np.float32] = soundfile.read(track.path, dtype="float32", always_2d=True)[0].T
    return wave


def test_nano_sounds_the_same_on_the_device_as_on_the_cpu(tmp_path: Path, record_property: Measured) -> None:
    here, far = (track_of(tmp_path / device, device) for device in ("cpu", DEVICE))
    assert far.device == KIND
    apart = decibels(wave_of(here), wave_of(far))
    record_property("decibels", apart)
    record_property("seconds_taken", far.seconds_taken)
    record_property("peak_gb", far.peak_gb)
    assert apart <= QUIET_DB


# ---- memory ----------------------------------------------------------------------------------------------------------


def bytes_of(runtime: Runtime) -> int:
    assert isinstance(runtime, TorchRuntime)
    modules = [part for part in vars(runtime.parts).values() if isinstance(part, torch.nn.Module)]
    return sum(tensor.numel() * tensor.element_size() for module in modules for tensor in module.state_dict().values())


@on_cuda
def test_the_peak_is_the_devices_and_starts_anew_when_it_was_told(tiny: Path) -> None:
    runtime = open_runtime(tiny, device=DEVICE)
    before, weights = torch.cuda.memory_allocated(), bytes_of(runtime)
    runtime.peak_gb()
    runtime.decode(torch.zeros(1, 2000, runtime.shape.channels))
    decoding = runtime.peak_gb()
    assert decoding > before / 1e9 >= weights / 1e9
    assert runtime.peak_gb() == pytest.approx(torch.cuda.memory_allocated() / 1e9)
    assert runtime.peak_gb() < decoding
    runtime.close()


@pytest.mark.parametrize("offload", ["parts", "layers"])
def test_weights_that_wait_in_the_hosts_memory_make_the_same_song(
    tiny: Path, offload: Offload, record_property: Measured
) -> None:
    """The VAE's weights are folded on the host then, which may differ in the last digit from what the device makes."""
    small = open_runtime(tiny, device=DEVICE, dtype="float32", offload=offload)
    for name in ("variations", "a cover by codes", "a flow edit"):
        mode, values = SONGS[name]
        (here, *_), (there, *_) = takes_of(job_of(mode, RECIPE, **values), small), song(tiny, DEVICE, "float32", name)
        apart = decibels(here.audio, there.audio)
        record_property("decibels", apart)
        assert apart <= QUIET_DB
        if mode == "generate":
            np.testing.assert_array_equal(here.latents, there.latents)
    small.close()


@on_cuda
@pytest.mark.parametrize("offload", ["parts", "layers"])
def test_no_more_weights_lie_on_the_device_than_are_at_work(
    tiny: Path, offload: Offload, record_property: Measured
) -> None:
    whole, small = (open_runtime(tiny, device=DEVICE, offload=each) for each in ("none", offload))
    weights, before = bytes_of(whole), torch.cuda.memory_allocated()
    takes_of(job_of("generate"), small)
    at_work = torch.cuda.memory_allocated() - before
    small.rest()
    at_rest = torch.cuda.memory_allocated() - before
    record_property("bytes", [weights, at_work, at_rest])
    assert at_rest < at_work < weights
    small.close()
    whole.close()


@on_cuda
def test_a_card_that_is_too_small_for_a_whole_checkpoint_is_told_in_the_track(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "xl-turbo").symlink_to(tiny)
    monkeypatch.setenv("ACE_MODELS_DIR", str(tmp_path / "models"))
    machine = Machine(device=DEVICE, memory_gb=estimates.WORKING_GB)
    asked = parse(GenerateRequest, {"prompt": "folk", "seed": 7, "duration_s": 10, "thinking": False})
    with closing(Studio(Settings(checkpoint="xl-turbo", machine=machine, outputs=tmp_path))) as studio:
        track = next(event for event in studio.run(asked) if isinstance(event, Track))
    assert any("the DiT's layers pass through the device one by one: of" in note for note in track.notes)


def left_by(work: Callable[[], object]) -> int:
    """Bytes that are on the device after the work more than before it, done once already: libraries keep workspaces."""
    work()
    gc.collect()
    before = torch.cuda.memory_allocated()
    work()
    gc.collect()
    return torch.cuda.memory_allocated() - before


@on_cuda
def test_a_closed_runtime_leaves_nothing_on_the_device(tiny: Path) -> None:
    def work() -> None:
        runtime = open_runtime(tiny, device=DEVICE)
        takes_of(job_of("generate"), runtime)
        runtime.close()

    assert left_by(work) == 0


@on_cuda
def test_texts_that_were_written_leave_nothing_on_the_device(lm_folder: Path, record_property: Measured) -> None:
    """What the libraries keep for the stream in which steps are captured is theirs, once for all texts."""

    def work() -> None:
        model = open_language_model(lm_folder, runtime="torch", device=DEVICE)
        for _ in range(4):
            session = model.start([[1, 2, 3] * 60])
            session.feed([4])
            session.logits()
            session.close()
        model.close()

    left_by(work)
    again = left_by(work)
    record_property("left_bytes", again)
    assert again == 0


# ---- the planner -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_lm(tmp_path_factory.mktemp("planner") / "lm", spread=0.3)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def model(lm_folder: Path, request: pytest.FixtureRequest) -> Iterator[TorchModel]:
    made = open_language_model(lm_folder, runtime="torch", device=DEVICE, dtype=request.param)
    assert isinstance(made, TorchModel)
    yield made
    made.close()


def states(memory: KvCache, ids: Tensor) -> Tensor:
    """The states after each token of the ids `(B, n)`, read one by one: `(n, B, D)`."""
    return torch.stack([memory.read(token) for token in ids.split(1, dim=1)])


@on_cuda
def test_a_captured_step_says_what_the_same_step_says_uncaptured(
    model: TorchModel, caplog: pytest.LogCaptureFixture, record_property: Measured
) -> None:
    dice = torch.Generator().manual_seed(1)
    prompts, text = (torch.randint(200, (2, count), generator=dice).to(DEVICE) for count in (40, HEADROOM + 60))
    pads = torch.tensor([7, 0], device=DEVICE)
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        plain, captured = (KvCache(model.body, pads, 40, static=static) for static in (False, True))
        torch.testing.assert_close(captured.read(prompts), plain.read(prompts))
        before, after = (states(memory, text) for memory in (plain, captured))  # beyond the room: captured once more
        again = [memory.read(prompts) for memory in (plain, captured)]  # many at once, between captured ones
        tail = [states(memory, text[:, :5]) for memory in (plain, captured)]
    assert not caplog.records, caplog.text
    error = rms_error(torch.cat([after, tail[1]]), torch.cat([before, tail[0]]))
    record_property("error", error)
    record_property("error_of_many", rms_error(again[1], again[0]))
    assert error <= (1e-5 if model.head.dtype == torch.float32 else 0.02)


@on_cuda
def test_sessions_side_by_side_do_not_touch_each_others_graphs(model: TorchModel) -> None:
    prompts = [[token % 200 for token in range(150)], [5, 6, 7]]

    def alone(ids: list[int]) -> NDArray[np.float32]:
        session = model.start(prompts)
        for token in ids:
            session.feed([token])
        return session.logits()

    expected = [alone([1, 2, 3]), alone([4, 5, 6])]
    both = [model.start(prompts), model.start(prompts)]
    for tokens in zip([1, 2, 3], [4, 5, 6], strict=True):
        for session, token in zip(both, tokens, strict=True):
            session.feed([token])
    for session, logits in zip(both, expected, strict=True):
        np.testing.assert_allclose(session.logits(), logits, atol=1e-5 * np.abs(logits).max())
        session.close()


def plan_on(folder: Path, device: str) -> Plan:
    opened_model: LanguageModel = open_language_model(folder, runtime="torch", device=device, dtype="float32")
    planner = LmPlanner(opened_model, "tiny", caption_tokens=40)
    asked: dict[str, Any] = {"prompt": "slow waltz", "lyrics": "[verse]\nRain on the roof", "duration_s": 30}
    request = parse(GenerateRequest, asked)
    *_, plan = planner.plan(request, 7, Span(start_s=0, duration_s=30))
    planner.close()
    assert isinstance(plan, Plan)
    return plan


def test_a_plan_is_the_same_on_the_device_as_on_the_cpu(lm_folder: Path) -> None:
    assert plan_on(lm_folder, DEVICE) == plan_on(lm_folder, "cpu")
