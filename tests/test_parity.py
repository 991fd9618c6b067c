"""The same weights and inputs give what upstream's code gives, through the code that makes songs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from errors import AdapterError
from lora import Adapter, check_fit, describe, sides_of
from runtimes import Runtime, open_runtime
from runtimes.torch_runtime import TorchRuntime
from sampler import Guidance, Run, View, Window, denoise, levels_from, noise_levels, renoise, retake_noise
from tests.parity import DATA, GOLDENS, TOLERANCE, Arguments, Golden, goldens_in, relative_error

ADG_TOLERANCE = 1e-3  # upstream's arc cosine loses the digits of small angles
ADAPTED = "ode_apg_shift1"
"""The case that upstream made with adapters too."""

with_adapters = [golden for golden in GOLDENS if golden.spellings]
every_folder = pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.folder.name)
every_case = pytest.mark.parametrize(
    ("golden", "case"),
    [(golden, case) for golden in GOLDENS for case in golden.cases],
    ids=[f"{golden.folder.name}-{case}" for golden in GOLDENS for case in golden.cases],
)
every_adapter = pytest.mark.parametrize("golden", with_adapters, ids=lambda golden: golden.folder.name)
every_spelling = pytest.mark.parametrize(
    ("golden", "spelling"),
    [(golden, spelling) for golden in with_adapters for spelling in golden.spellings],
    ids=[f"{golden.folder.name}-{spelling.name}" for golden in with_adapters for spelling in golden.spellings],
)


def test_there_are_cases_to_compare() -> None:
    assert GOLDENS, f"{DATA} neither is nor holds a folder with a cases.json"
    assert all(golden.cases for golden in GOLDENS)


def test_a_parity_folder_is_found_by_itself_and_among_others() -> None:
    for golden in GOLDENS:
        assert goldens_in(golden.folder) == [golden]
        assert golden in goldens_in(golden.folder.parent)
        assert goldens_in(golden.folder / "nowhere") == []


@cache
def runtime_of(golden: Golden) -> Runtime:
    return open_runtime(golden.folder, device="cpu", dtype="float32")


def context_of(golden: Golden, case: str, arguments: Arguments) -> Tensor:
    runtime, source = runtime_of(golden), golden.inputs["src_latents"]
    batch, frames, _ = source.shape
    structure, mask = runtime.silence(frames).expand_as(source), torch.ones_like(source)
    if arguments["codes"]:
        codes = golden.expected[f"{case}.audio_code_indices"].squeeze(-1)
        hints = runtime.codes_to_latents(codes)
        assert relative_error(hints, golden.expected[f"{case}.hints"]) <= TOLERANCE
        structure = hints[:, :frames]
    elif arguments["cover"]:
        structure = runtime.codes_to_latents(runtime.latents_to_codes(source))[:, :frames]
    elif arguments["repaint"]:
        start, stop = arguments["repaint"]
        inside = torch.zeros(batch, frames, 1, dtype=torch.bool)
        inside[:, start:stop] = True
        structure, mask = torch.where(inside, structure, source), inside.expand_as(source).float()
    return torch.cat([structure, mask], dim=-1)


def view_of(golden: Golden, context: Tensor, text: str = "text_hidden_states") -> View:
    condition = runtime_of(golden).condition_from_states(
        golden.inputs[text], golden.inputs["lyric_hidden_states"], golden.references
    )
    return View(context=context, condition=condition)


def window_of(golden: Golden, arguments: Arguments, steps: int) -> Window | None:
    if not arguments["repaint"] or not golden.splices:
        return None
    start, stop = arguments["repaint"]
    return Window(
        start=start,
        stop=stop,
        source=golden.inputs["src_latents"],
        noise=golden.inputs["noise"],
        injections=round(arguments.get("repaint_injection_ratio", 0) * steps),
        ramp=arguments.get("repaint_crossfade_frames", 0),
    )


def solver_of(golden: Golden, arguments: Arguments) -> str:
    if arguments["infer_method"] == "sde":
        return "pingpong" if golden.is_turbo else "upstream_sde"
    return arguments.get("sampler_mode", "euler")


def target_latents(golden: Golden, case: str) -> Tensor:
    arguments, inputs, runtime = golden.cases[case], golden.inputs, runtime_of(golden)
    levels = noise_levels("linear", arguments.get("infer_steps", 8), arguments["shift"])
    x = retake_noise(inputs["noise"], inputs["step_noise"][0], arguments.get("retake_variance", 0))
    if kept := arguments.get("cover_noise_strength", 0):
        levels = levels_from(levels, kept)
        x = renoise(inputs["src_latents"], x, levels[0])
    steps, strength = len(levels) - 1, arguments.get("audio_cover_strength", 1)
    silence = runtime.silence(x.shape[1]).expand_as(x)
    after = torch.cat([silence, torch.ones_like(silence)], dim=-1)
    run = Run(
        levels=levels,
        view=view_of(golden, context_of(golden, case, arguments)),
        later=view_of(golden, after, "non_cover_text_hidden_states") if strength < 1 else None,
        switch=int(steps * strength),
        guidance=Guidance(
            null=runtime.null_condition(),
            scale=arguments.get("diffusion_guidance_sale", 1),
            rule="adg" if arguments.get("use_adg") else "apg",
            start=arguments.get("cfg_interval_start", 0),
            end=arguments.get("cfg_interval_end", 1),
        ),
        solver=solver_of(golden, arguments),
        window=window_of(golden, arguments, steps),
    )
    *_, last = denoise(runtime.velocity, x, run, lambda index: inputs["step_noise"][index])
    return last.x


@every_case
def test_the_loop_ends_where_upstream_ends(golden: Golden, case: str) -> None:
    error = relative_error(target_latents(golden, case), golden.expected[f"{case}.target_latents"])
    assert error <= (ADG_TOLERANCE if golden.cases[case].get("use_adg") else TOLERANCE)


@every_folder
def test_lyrics_timbre_and_text_are_packed_as_upstream_packs_them(golden: Golden) -> None:
    condition = view_of(golden, torch.empty(0)).condition
    error = relative_error(torch.cat(condition.states), golden.expected["modules.encoder_hidden_states"])
    assert error <= TOLERANCE


@every_folder
def test_a_source_becomes_the_codes_that_upstream_makes_of_it(golden: Golden) -> None:
    codes = runtime_of(golden).latents_to_codes(golden.inputs["src_latents"])
    assert torch.equal(codes, golden.expected["modules.tokenize.indices"].squeeze(-1).long())


@every_folder
def test_codes_stand_for_the_states_and_latents_that_upstream_gives_them(golden: Golden) -> None:
    runtime, codes = runtime_of(golden), golden.expected["modules.tokenize.indices"].squeeze(-1)
    assert isinstance(runtime, TorchRuntime)
    states = runtime.parts.audio_tokenizer.quantizer.get_output_from_indices(codes)
    assert relative_error(states, golden.expected["modules.tokenize.quantized"]) <= TOLERANCE
    assert relative_error(runtime.codes_to_latents(codes), golden.expected["modules.detokenize"]) <= TOLERANCE


# ---- adapters --------------------------------------------------------------------------------------------------------


@pytest.fixture
def bare() -> Iterator[Callable[[Golden], Runtime]]:
    """A parity folder's runtime, whose adapters are taken away when the test is over."""
    used: list[Runtime] = []

    def take(golden: Golden) -> Runtime:
        used.append(runtime_of(golden))
        return used[-1]

    yield take
    for runtime in used:
        runtime.set_adapters(())


def weighed(adapter: Adapter, weight: float) -> Adapter:
    return dataclasses.replace(adapter, weight=weight)


@every_spelling
@pytest.mark.parametrize("weight", [1.0, 0.5, 0.0])
def test_an_adapter_does_what_upstream_does_with_it(
    golden: Golden, spelling: Path, weight: float, bare: Callable[[Golden], Runtime]
) -> None:
    expected = Golden(golden.adapters).expected[f"scale_{weight}.target_latents"]
    adapter = describe(spelling)
    check_fit(adapter, sides_of(golden.folder))
    bare(golden).set_adapters([weighed(adapter, weight)])
    assert relative_error(target_latents(golden, ADAPTED), expected) <= TOLERANCE


@every_spelling
def test_without_adapters_and_at_weight_zero_the_base_answers_bit_for_bit(
    golden: Golden, spelling: Path, bare: Callable[[Golden], Runtime]
) -> None:
    runtime, adapter = bare(golden), describe(spelling)
    base = target_latents(golden, ADAPTED)
    runtime.set_adapters([weighed(adapter, 0)])
    assert torch.equal(target_latents(golden, ADAPTED), base)
    runtime.set_adapters([adapter])
    assert relative_error(target_latents(golden, ADAPTED), base) > 1e-3
    runtime.set_adapters([])
    assert torch.equal(target_latents(golden, ADAPTED), base)


@every_adapter
def test_an_adapter_of_another_base_is_refused_before_anything_changes(
    golden: Golden, bare: Callable[[Golden], Runtime]
) -> None:
    runtime, wrong = bare(golden), describe(golden.adapters / "wrong_base.safetensors")
    with pytest.raises(AdapterError, match=r"layers\.\d+"):
        check_fit(wrong, sides_of(golden.folder))
    good = describe(golden.spellings[0])
    runtime.set_adapters([good])
    before = target_latents(golden, ADAPTED)
    with pytest.raises(AdapterError, match=r"layers\.\d+"):
        runtime.set_adapters([weighed(good, 0.5), wrong])
    assert torch.equal(target_latents(golden, ADAPTED), before)


@every_adapter
def test_all_spellings_name_the_same_layers_and_factors(golden: Golden) -> None:
    adapters = [describe(spelling) for spelling in golden.spellings]
    assert len({frozenset((layer.name, layer.rank, layer.scale) for layer in each.layers) for each in adapters}) == 1
