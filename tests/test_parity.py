"""The same weights and inputs give what upstream's code gives, through the code that makes songs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import AdapterError
from networks.acestep.lora.adapter import Adapter, check_fit, describe, linear_shapes
from networks.acestep.runtime import Runtime
from networks.acestep.torch.runtime import TorchRuntime
from tests.parity import DATA, GOLDENS, REORDERED, Golden, goldens_in, relative_error
from tests.trials import ADG_TOLERANCE, TOLERANCES, TRIALS, Trial, target_latents, view_of, waves

ADAPTED = "ode_apg_shift1"
"""The case that upstream made with adapters too."""

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


@every_case
def test_the_loop_ends_where_upstream_ends(trial: Trial, case: str) -> None:
    error = relative_error(target_latents(trial, case), trial.golden.expected[f"{case}.target_latents"])
    assert error <= (ADG_TOLERANCE if trial.golden.cases[case].get("use_adg") else trial.tolerance)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.folder.name)
def test_the_last_digit_of_the_waves_of_t_moves_no_case_beyond_its_limit(golden: Golden, seed: int) -> None:
    trial = Trial(golden, "torch")
    assert isinstance(trial.runtime, TorchRuntime)
    with waves(trial.runtime, seed):
        errors = {
            case: relative_error(target_latents(trial, case), golden.expected[f"{case}.target_latents"])
            for case in golden.cases
        }
    assert {case: error for case, error in errors.items() if error > trial.tolerance} == {}
    assert max(errors.values()) > TOLERANCES["float64"] / 4, "a limit so wide has no reason"


@every_folder
def test_lyrics_timbre_and_text_are_packed_as_upstream_packs_them(trial: Trial) -> None:
    states = view_of(trial, torch.empty(0)).condition.states
    error = relative_error(
        torch.cat([torch.from_numpy(np.array(each)) for each in states]),
        trial.golden.expected["modules.encoder_hidden_states"],
    )
    assert error <= REORDERED


@every_folder
def test_a_source_becomes_the_codes_that_upstream_makes_of_it(trial: Trial) -> None:
    codes = trial.runtime.latents_to_codes(trial.golden.inputs["src_latents"])
    assert torch.equal(codes, trial.golden.expected["modules.tokenize.indices"].squeeze(-1).long())


@every_folder
def test_codes_stand_for_the_states_and_latents_that_upstream_gives_them(trial: Trial) -> None:
    runtime, codes = trial.runtime, trial.golden.expected["modules.tokenize.indices"].squeeze(-1)
    if isinstance(runtime, TorchRuntime):
        states = runtime.parts.audio_tokenizer.quantizer.get_output_from_indices(codes)
        assert relative_error(states, trial.golden.expected["modules.tokenize.quantized"]) <= REORDERED
    assert relative_error(runtime.codes_to_latents(codes), trial.golden.expected["modules.detokenize"]) <= REORDERED


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
