"""The same weights and inputs give what upstream's code gives, through the code that makes songs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from core.errors import AdapterError
from networks.acestep.lora.adapter import Adapter, check_fit, describe, linear_shapes
from networks.acestep.open import open_runtime
from networks.acestep.runtime import Runtime
from networks.acestep.sampler import (
    DenoiseInputs,
    Guidance,
    RepaintWindow,
    View,
    denoise,
    levels_from,
    noise_levels,
    renoise,
    retake_noise,
)
from networks.acestep.torch.runtime import TorchRuntime
from networks.machine import RuntimeName
from tests.parity import DATA, GOLDENS, TOLERANCE, Arguments, Golden, goldens_in, relative_error

TOLERANCES: dict[RuntimeName, float] = {"torch": TOLERANCE, "mlx": 1e-4}
ADG_TOLERANCE = 1e-3  # upstream's arc cosine loses the digits of small angles
ADAPTED = "ode_apg_shift1"
"""The case that upstream made with adapters too."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A parity folder on a runtime."""

    golden: Golden
    name: RuntimeName

    @property
    def runtime(self) -> Runtime:
        return runtime_of(self)

    @property
    def tolerance(self) -> float:
        return TOLERANCES[self.name]

    def __str__(self) -> str:
        return f"{self.name}-{self.golden.folder.name}"


@cache
def runtime_of(trial: Trial) -> Runtime:
    return open_runtime(trial.golden.folder, runtime=trial.name, device="cpu", dtype="float32")


TRIALS = [Trial(golden, name) for name in TOLERANCES for golden in GOLDENS]
with_adapters = [trial for trial in TRIALS if trial.golden.spellings]
every_folder = pytest.mark.parametrize("trial", TRIALS, ids=str)
every_case = pytest.mark.parametrize(
    ("trial", "case"),
    [(trial, case) for trial in TRIALS for case in trial.golden.cases],
    ids=[f"{trial}-{case}" for trial in TRIALS for case in trial.golden.cases],
)
every_adapter = pytest.mark.parametrize("trial", with_adapters, ids=str)
every_spelling = pytest.mark.parametrize(
    ("trial", "spelling"),
    [(trial, spelling) for trial in with_adapters for spelling in trial.golden.spellings],
    ids=[f"{trial}-{spelling.name}" for trial in with_adapters for spelling in trial.golden.spellings],
)


def test_there_are_cases_to_compare() -> None:
    assert GOLDENS, f"{DATA} neither is nor holds a folder with a cases.json"
    assert all(golden.cases for golden in GOLDENS)


def test_a_parity_folder_is_found_by_itself_and_among_others() -> None:
    for golden in GOLDENS:
        assert goldens_in(golden.folder) == [golden]
        assert golden in goldens_in(golden.folder.parent)
        assert goldens_in(golden.folder / "nowhere") == []


def context_of(trial: Trial, case: str, arguments: Arguments) -> Tensor:
    runtime, source = trial.runtime, trial.golden.inputs["src_latents"]
    batch, frames, _ = source.shape
    structure, mask = runtime.silence(frames).expand_as(source), torch.ones_like(source)
    if arguments["codes"]:
        codes = trial.golden.expected[f"{case}.audio_code_indices"].squeeze(-1)
        hints = runtime.codes_to_latents(codes)
        assert relative_error(hints, trial.golden.expected[f"{case}.hints"]) <= trial.tolerance
        structure = hints[:, :frames]
    elif arguments["cover"]:
        structure = runtime.codes_to_latents(runtime.latents_to_codes(source))[:, :frames]
    elif arguments["repaint"]:
        start, stop = arguments["repaint"]
        inside = torch.zeros(batch, frames, 1, dtype=torch.bool)
        inside[:, start:stop] = True
        structure, mask = torch.where(inside, structure, source), inside.expand_as(source).float()
    return torch.cat([structure, mask], dim=-1)


def view_of(trial: Trial, context: Tensor, text: str = "text_hidden_states") -> View:
    condition = trial.runtime.condition_from_states(
        trial.golden.inputs[text], trial.golden.inputs["lyric_hidden_states"], trial.golden.references
    )
    return View(context=context, condition=condition)


def window_of(trial: Trial, arguments: Arguments, steps: int) -> RepaintWindow | None:
    if not arguments["repaint"] or not trial.golden.splices:
        return None
    start, stop = arguments["repaint"]
    return RepaintWindow(
        start=start,
        stop=stop,
        source=trial.golden.inputs["src_latents"],
        noise=trial.golden.inputs["noise"],
        injections=round(arguments.get("repaint_injection_ratio", 0) * steps),
        ramp=arguments.get("repaint_crossfade_frames", 0),
    )


def solver_of(trial: Trial, arguments: Arguments) -> str:
    if arguments["infer_method"] == "sde":
        return "pingpong" if trial.golden.is_turbo else "upstream_sde"
    return arguments.get("sampler_mode", "euler")


def target_latents(trial: Trial, case: str) -> Tensor:
    arguments, inputs, runtime = trial.golden.cases[case], trial.golden.inputs, trial.runtime
    levels = noise_levels("linear", arguments.get("infer_steps", 8), arguments["shift"])
    x = retake_noise(inputs["noise"], inputs["step_noise"][0], arguments.get("retake_variance", 0))
    if kept := arguments.get("cover_noise_strength", 0):
        levels = levels_from(levels, kept)
        x = renoise(inputs["src_latents"], x, levels[0])
    steps, strength = len(levels) - 1, arguments.get("audio_cover_strength", 1)
    silence = runtime.silence(x.shape[1]).expand_as(x)
    after = torch.cat([silence, torch.ones_like(silence)], dim=-1)
    denoising = DenoiseInputs(
        levels=levels,
        view=view_of(trial, context_of(trial, case, arguments)),
        later=view_of(trial, after, "non_cover_text_hidden_states") if strength < 1 else None,
        switch=int(steps * strength),
        guidance=Guidance(
            null=runtime.null_condition(),
            scale=arguments.get("diffusion_guidance_sale", 1),
            rule="adg" if arguments.get("use_adg") else "apg",
            start=arguments.get("cfg_interval_start", 0),
            end=arguments.get("cfg_interval_end", 1),
        ),
        solver=solver_of(trial, arguments),
        window=window_of(trial, arguments, steps),
    )
    *_, last = denoise(runtime.velocity, x, denoising, lambda index: inputs["step_noise"][index])
    return last.x


@every_case
def test_the_loop_ends_where_upstream_ends(trial: Trial, case: str) -> None:
    error = relative_error(target_latents(trial, case), trial.golden.expected[f"{case}.target_latents"])
    assert error <= (ADG_TOLERANCE if trial.golden.cases[case].get("use_adg") else trial.tolerance)


@every_folder
def test_lyrics_timbre_and_text_are_packed_as_upstream_packs_them(trial: Trial) -> None:
    states = view_of(trial, torch.empty(0)).condition.states
    error = relative_error(
        torch.cat([torch.from_numpy(np.array(each)) for each in states]),
        trial.golden.expected["modules.encoder_hidden_states"],
    )
    assert error <= trial.tolerance


@every_folder
def test_a_source_becomes_the_codes_that_upstream_makes_of_it(trial: Trial) -> None:
    codes = trial.runtime.latents_to_codes(trial.golden.inputs["src_latents"])
    assert torch.equal(codes, trial.golden.expected["modules.tokenize.indices"].squeeze(-1).long())


@every_folder
def test_codes_stand_for_the_states_and_latents_that_upstream_gives_them(trial: Trial) -> None:
    runtime, codes = trial.runtime, trial.golden.expected["modules.tokenize.indices"].squeeze(-1)
    if isinstance(runtime, TorchRuntime):
        states = runtime.parts.audio_tokenizer.quantizer.get_output_from_indices(codes)
        assert relative_error(states, trial.golden.expected["modules.tokenize.quantized"]) <= trial.tolerance
    assert (
        relative_error(runtime.codes_to_latents(codes), trial.golden.expected["modules.detokenize"]) <= trial.tolerance
    )


# ---- adapters --------------------------------------------------------------------------------------------------------


@pytest.fixture
def bare() -> Iterator[Callable[[Trial], Runtime]]:
    """A parity folder's runtime, whose adapters are taken away when the test is over."""
    used: list[Runtime] = []

    def take(trial: Trial) -> Runtime:
        used.append(trial.runtime)
        return used[-1]

    yield take
    for runtime in used:
        runtime.set_adapters(())


def weighed(adapter: Adapter, weight: float) -> Adapter:
    return dataclasses.replace(adapter, weight=weight)


@every_spelling
@pytest.mark.parametrize("weight", [1.0, 0.5, 0.0])
def test_an_adapter_does_what_upstream_does_with_it(
    trial: Trial, spelling: Path, weight: float, bare: Callable[[Trial], Runtime]
) -> None:
    expected = Golden(trial.golden.adapters).expected[f"scale_{weight}.target_latents"]
    adapter = describe(spelling)
    check_fit(adapter, linear_shapes(trial.golden.folder))
    bare(trial).set_adapters([weighed(adapter, weight)])
    assert relative_error(target_latents(trial, ADAPTED), expected) <= trial.tolerance


@every_spelling
def test_without_adapters_and_at_weight_zero_the_base_answers_bit_for_bit(
    trial: Trial, spelling: Path, bare: Callable[[Trial], Runtime]
) -> None:
    runtime, adapter = bare(trial), describe(spelling)
    base = target_latents(trial, ADAPTED)
    runtime.set_adapters([weighed(adapter, 0)])
    assert torch.equal(target_latents(trial, ADAPTED), base)
    runtime.set_adapters([adapter])
    assert relative_error(target_latents(trial, ADAPTED), base) > 1e-3
    runtime.set_adapters([])
    assert torch.equal(target_latents(trial, ADAPTED), base)


@every_adapter
def test_an_adapter_of_another_base_is_refused_before_anything_changes(
    trial: Trial, bare: Callable[[Trial], Runtime]
) -> None:
    runtime, wrong = bare(trial), describe(trial.golden.adapters / "wrong_base.safetensors")
    with pytest.raises(AdapterError, match=r"layers\.\d+"):
        check_fit(wrong, linear_shapes(trial.golden.folder))
    good = describe(trial.golden.spellings[0])
    runtime.set_adapters([good])
    before = target_latents(trial, ADAPTED)
    with pytest.raises(AdapterError, match=r"layers\.\d+"):
        runtime.set_adapters([weighed(good, 0.5), wrong])
    assert torch.equal(target_latents(trial, ADAPTED), before)


@every_adapter
def test_all_spellings_name_the_same_layers_and_factors(trial: Trial) -> None:
    adapters = [describe(spelling) for spelling in trial.golden.spellings]
    assert len({frozenset((layer.name, layer.rank, layer.scale) for layer in each.layers) for each in adapters}) == 1
