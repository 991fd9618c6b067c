"""LoKr, LoHa and DoRA: what they make of the weights is what their formulas and peft's own classes make of them."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.errors import AdapterError
from core.paths import nano_folder
from networks.acestep.lora.adapter import CONFIG, LYCORIS_WEIGHTS, WEIGHTS, check_fit, describe, linear_shapes
from networks.acestep.lora.presets import presets
from networks.acestep.open import open_runtime
from networks.acestep.runtime import Runtime
from networks.acestep.torch.parts import DIFFUSERS_PARTS
from networks.acestep.torch.runtime import TorchRuntime
from networks.machine import RUNTIMES, Bits, RuntimeName
from tests.parity import REORDERED, relative_error
from tests.test_lora import everywhere, heard, weighed
from tests.tiny import save_tiny

TOLERANCE = 10 * REORDERED
"""Between an adapter beside a layer and the same adapter in its weights."""

Matrices = dict[str, Tensor]
Make = Callable[[nn.Linear, torch.Generator], Matrices]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def opened(folder: Path, name: RuntimeName = "torch", bits: Bits | None = None) -> Runtime:
    return open_runtime(folder, runtime=name, device="cpu", dtype="float32", bits=bits)


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, folder: Path) -> Iterator[Runtime]:
    if request.param == "mlx":
        pytest.importorskip("mlx.core")
    runtime = opened(folder, request.param)
    yield runtime
    runtime.close()


@pytest.fixture(scope="module")
def reference(folder: Path) -> Iterator[TorchRuntime]:
    """A runtime whose weights are changed instead of being given adapters."""
    runtime = opened(folder)
    assert isinstance(runtime, TorchRuntime)
    yield runtime
    runtime.close()


@cache
def network(folder: Path) -> nn.Module:
    dit: nn.Module = DIFFUSERS_PARTS["transformer"].from_pretrained(folder / "transformer")  # type: ignore[attr-defined]
    return dit.requires_grad_(False)


def linears(dit: nn.Module) -> dict[str, nn.Linear]:
    return {path: module for path, module in dit.named_modules() if isinstance(module, nn.Linear)}


def changed(reference: TorchRuntime, change: Callable[[str, Tensor], Tensor]) -> Tensor:
    """The velocity of the checkpoint whose linear layers have the weights that `change` makes of them."""
    layers = linears(reference.parts.transformer)
    kept = {path: linear.weight.clone() for path, linear in layers.items()}
    for path, linear in layers.items():
        linear.weight.copy_(change(path, kept[path]))
    velocity = heard(reference)
    for path, linear in layers.items():
        linear.weight.copy_(kept[path])
    return velocity


# ---- by hand ---------------------------------------------------------------------------------------------------------


def drawn(dice: torch.Generator, *shape: int) -> Tensor:
    return 0.5 * torch.randn(shape, generator=dice)


def thirds(side: int) -> tuple[int, int]:
    """Two factors of a side, the first as near to 4 as can be."""
    first = next(factor for factor in (4, 3, 2, 1) if side % factor == 0)
    return first, side // first


def lokr(linear: nn.Linear, dice: torch.Generator) -> Matrices:
    (high, low), (wide, narrow) = thirds(linear.out_features), thirds(linear.in_features)
    return {
        "lokr_w1": drawn(dice, high, wide),
        "lokr_w2_a": drawn(dice, low, 2),
        "lokr_w2_b": drawn(dice, 2, narrow),
        "alpha": torch.tensor(3.0, dtype=torch.bfloat16),
    }


def lokr_of_factors(linear: nn.Linear, dice: torch.Generator) -> Matrices:
    (high, low), (narrow, wide) = thirds(linear.out_features), thirds(linear.in_features)
    return {
        "lokr_w1_a": drawn(dice, high, 2),
        "lokr_w1_b": drawn(dice, 2, wide),
        "lokr_w2_a": drawn(dice, low, 2),
        "lokr_w2_b": drawn(dice, 2, narrow),
        "alpha": torch.tensor(1.0),
    }


def whole_lokr(linear: nn.Linear, dice: torch.Generator) -> Matrices:
    """Without low-rank matrices, whose alpha means nothing."""
    (high, low), (wide, narrow) = thirds(linear.out_features), thirds(linear.in_features)
    return {"lokr_w1": drawn(dice, high, wide), "lokr_w2": drawn(dice, low, narrow), "alpha": torch.tensor(64.0)}


def loha(linear: nn.Linear, dice: torch.Generator) -> Matrices:
    high, wide = linear.out_features, linear.in_features
    return {
        "hada_w1_a": drawn(dice, high, 3),
        "hada_w1_b": drawn(dice, 3, wide),
        "hada_w2_a": drawn(dice, high, 3),
        "hada_w2_b": drawn(dice, 3, wide),
        "alpha": torch.tensor(1.5),
    }


def lora(linear: nn.Linear, dice: torch.Generator) -> Matrices:
    return {
        "lora_down.weight": drawn(dice, 2, linear.in_features),
        "lora_up.weight": drawn(dice, linear.out_features, 2),
        "alpha": torch.tensor(1.0),
    }


def with_magnitude(make: Make, *, of_inputs: bool = False) -> Make:
    def made(linear: nn.Linear, dice: torch.Generator) -> Matrices:
        shape = (1, linear.in_features) if of_inputs else (linear.out_features, 1)
        return make(linear, dice) | {"dora_scale": 0.5 + torch.rand(shape, generator=dice)}

    return made


def effect(weight: Tensor, parts: Matrices) -> Tensor:
    """What an adapter adds to a weight, by its formula and in float64."""
    each = {name.removesuffix(".weight"): tensor.double() for name, tensor in parts.items()}
    if "hada_w1_a" in each:
        delta = (each["hada_w1_a"] @ each["hada_w1_b"]) * (each["hada_w2_a"] @ each["hada_w2_b"]) * (each["alpha"] / 3)
    elif "lora_down" in each:
        delta = each["lora_up"] @ each["lora_down"] * (each["alpha"] / 2)
    else:
        outer = each["lokr_w1"] if "lokr_w1" in each else each["lokr_w1_a"] @ each["lokr_w1_b"]
        inner = each["lokr_w2"] if "lokr_w2" in each else each["lokr_w2_a"] @ each["lokr_w2_b"]
        delta = torch.kron(outer, inner) * (1 if "lokr_w2" in each else each["alpha"] / 2)
    if "dora_scale" not in each:
        return delta
    whole, magnitude = weight.double() + delta, each["dora_scale"]
    norm = whole.norm(dim=1 if magnitude.shape[1] == 1 else 0, keepdim=True)
    return magnitude * whole / norm - weight.double()


def file_of(folder: Path, path: Path, make: Make, seed: int) -> tuple[Path, dict[str, Matrices]]:
    """An adapter for every linear layer in LyCORIS' spelling, and its matrices by the layers' paths."""
    dice = torch.Generator().manual_seed(seed)
    made = {name: make(linear, dice) for name, linear in linears(network(folder)).items()}
    tensors = {
        f"lycoris_{name.replace('.', '_')}.{part}": tensor
        for name, parts in made.items()
        for part, tensor in parts.items()
    }
    save_file(tensors, path)
    return path, made


def heavier(made: dict[str, Matrices], factor: float, name: str, old: Tensor) -> Tensor:
    return (old + factor * effect(old, made[name])).float()


FORMS: dict[str, tuple[Make, str]] = {
    "LoKr": (lokr, "LoKr"),
    "LoKr of factors": (lokr_of_factors, "LoKr"),
    "whole LoKr": (whole_lokr, "LoKr"),
    "LoHa": (loha, "LoHa"),
    "DoRA": (with_magnitude(lora), "DoRA"),
    "DoRA of inputs": (with_magnitude(lora, of_inputs=True), "DoRA"),
    "LoKr with magnitudes": (with_magnitude(lokr), "LoKr + DoRA"),
    "LoHa with magnitudes of inputs": (with_magnitude(loha, of_inputs=True), "LoHa + DoRA"),
}
every_form = pytest.mark.parametrize(("make", "form"), FORMS.values(), ids=list(FORMS))


@every_form
def test_a_form_does_to_the_weights_what_its_formula_says_at_every_weight(
    runtime: Runtime, reference: TorchRuntime, folder: Path, tmp_path: Path, make: Make, form: str
) -> None:
    path, made = file_of(folder, tmp_path / "a.safetensors", make, 1)
    adapter = describe(path)
    check_fit(adapter, linear_shapes(folder))
    assert (adapter.form, adapter.kind, len(adapter.layers)) == (form, "LyCORIS", len(made))
    base = heard(runtime)
    for weight in (0.3, 1.5):
        expected = changed(reference, partial(heavier, made, weight))
        assert relative_error(heard(runtime, weighed(adapter, weight)), expected) <= TOLERANCE
        assert relative_error(expected, base) > 0.01
    assert torch.equal(heard(runtime, weighed(adapter, 0)), base)
    assert torch.equal(heard(runtime), base)


def test_adapters_of_every_form_add_up_on_the_same_layers(
    runtime: Runtime, reference: TorchRuntime, folder: Path, tmp_path: Path
) -> None:
    base, adapters, effects = heard(runtime), [], []
    for number, (make, _) in enumerate(FORMS.values()):
        path, made = file_of(folder, tmp_path / f"{number}.safetensors", make, number)
        adapters.append(weighed(describe(path), 0.2))
        effects.append(made)
    plain, made = file_of(folder, tmp_path / "plain.safetensors", lora, 9)
    adapters.append(weighed(describe(plain), 0.2))
    effects.append(made)
    expected = changed(
        reference, lambda name, old: (old + sum(0.2 * effect(old, made[name]) for made in effects)).float()
    )
    assert relative_error(heard(runtime, *adapters), expected) <= TOLERANCE
    for left_out in adapters:
        few = [adapter for adapter in adapters if adapter is not left_out]
        assert relative_error(heard(runtime, *few), expected) > TOLERANCE
    assert torch.equal(heard(runtime), base)


@every_form
def test_a_form_runs_in_half_precision_as_in_full(folder: Path, tmp_path: Path, make: Make, form: str) -> None:
    adapter = describe(file_of(folder, tmp_path / "a.safetensors", make, 1)[0])
    answers = []
    for dtype in ("float32", "bfloat16"):
        half = open_runtime(folder, runtime="torch", device="cpu", dtype=dtype)
        answers.append(heard(half, adapter))
        half.close()
    assert relative_error(answers[1], answers[0]) < 0.1


def test_a_quantised_base_keeps_its_adapters_in_full(tmp_path: Path) -> None:
    """The norm is that of the numbers for which the quantised ones stand."""
    pytest.importorskip("mlx.core")
    path, _ = file_of(nano_folder(), tmp_path / "a.safetensors", with_magnitude(lokr), 1)
    x, shown = (torch.randn(1, 40, wide, generator=torch.Generator().manual_seed(wide)) for wide in (16, 32))
    answers = []
    for bits, adapters in ((None, [describe(path)]), (8, [describe(path)]), (8, [])):
        runtime = opened(nano_folder(), "mlx", bits)  # type: ignore[arg-type]
        runtime.set_adapters(adapters)
        answers.append(runtime.velocity(x, 0.5, shown, [runtime.null_condition()])[0])
        runtime.close()
    assert relative_error(answers[1], answers[0]) < 0.03
    assert relative_error(answers[2], answers[0]) > 0.1


# ---- by peft ---------------------------------------------------------------------------------------------------------

TARGETS = ["to_q", "to_v", "up_proj", "down_proj", "gate_proj", "condition_embedder", "linear_1"]
CONFIGS = {
    "LoKr": peft.LoKrConfig(target_modules=TARGETS, r=2, alpha=6, alpha_pattern={"to_v": 1}, rank_pattern={"to_q": 3}),
    "LoKr of factors": peft.LoKrConfig(target_modules=TARGETS, r=2, alpha=3, decompose_both=True, decompose_factor=8),
    "whole LoKr": peft.LoKrConfig(target_modules=TARGETS, r=16, alpha=8, rank_pattern={"to_v": 40}),
    "LoHa": peft.LoHaConfig(target_modules=TARGETS, r=3, alpha=2, use_effective_conv2d=True),
    "DoRA": peft.LoraConfig(target_modules=TARGETS, r=2, lora_alpha=5, use_dora=True),
    "rank-stabilised DoRA": peft.LoraConfig(target_modules=TARGETS, r=4, lora_alpha=2, use_dora=True, use_rslora=True),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_what_peft_saves_does_what_peft_makes_of_the_weights(
    runtime: Runtime, reference: TorchRuntime, folder: Path, tmp_path: Path, config: peft.PeftConfig
) -> None:
    model = peft.get_peft_model(copy.deepcopy(network(folder)), config)
    dice = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            shift = torch.rand(parameter.shape, generator=dice) if "magnitude" in name else 0
            parameter.data = parameter.data + shift if "magnitude" in name else drawn(dice, *parameter.shape)
    model.save_pretrained(str(tmp_path / "adapter"))
    merged = linears(model.merge_and_unload())
    expected = changed(reference, lambda name, old: merged[name].weight)
    adapter = describe(tmp_path / "adapter")
    assert adapter.kind == "PEFT"
    assert relative_error(heard(runtime, adapter), expected) <= TOLERANCE
    assert relative_error(heard(runtime), expected) > 0.01
    heard(runtime)


# ---- folders and spellings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["lora_unet_", "lycoris_", "lycoris_decoder_"])
def test_flat_spellings_of_one_adapter_are_one_adapter(folder: Path, tmp_path: Path, prefix: str) -> None:
    path, _ = file_of(folder, tmp_path / "a.safetensors", with_magnitude(lokr), 1)
    renamed = {key.replace("lycoris_", prefix): tensor for key, tensor in load_file(path).items()}
    save_file(renamed, tmp_path / "b.safetensors")
    ours, theirs = ([dataclasses.replace(layer, module="", keys={}) for layer in describe(each).layers]
                    for each in (path, tmp_path / "b.safetensors"))  # fmt: skip
    assert sorted(ours, key=str) == sorted(theirs, key=str)


@pytest.mark.parametrize("name", LYCORIS_WEIGHTS)
def test_the_folder_that_a_trainer_writes_through_lycoris_is_an_adapter_and_a_preset(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    trained = tmp_path / "presets" / "my run"
    trained.mkdir(parents=True)
    file_of(folder, trained / name, lokr, 1)
    (trained / "training_state.pt").touch()
    adapter = describe(trained)
    assert (adapter.title, adapter.form, adapter.rank) == ("my run", "LoKr", 2)
    monkeypatch.setenv("ACE_ADAPTERS_DIR", str(tmp_path / "presets"))
    assert presets() == {"my run": trained}


def test_the_magnitudes_of_peft_lie_in_either_spelling(folder: Path, tmp_path: Path) -> None:
    tensors = everywhere(folder, 1)
    for number, spelling in enumerate(("lora_magnitude_vector", "lora_magnitude_vector.weight", "dora_scale")):
        magnitudes = {
            key.replace("lora_B.weight", spelling): torch.ones(len(up))
            for key, up in tensors.items()
            if "lora_B" in key
        }
        save_file(tensors | magnitudes, tmp_path / f"{number}.safetensors")
        assert describe(tmp_path / f"{number}.safetensors").form == "DoRA"


def test_a_lokr_of_another_base_is_refused_with_both_sizes(folder: Path, tmp_path: Path) -> None:
    tensors = {"lycoris_layers_0_self_attn_q_proj.lokr_w1": torch.ones(4, 4)}
    save_file(tensors | {"lycoris_layers_0_self_attn_q_proj.lokr_w2": torch.ones(16, 16)}, tmp_path / "a.safetensors")
    with pytest.raises(AdapterError, match="64 x 64 there and 32 x 32 here"):
        check_fit(describe(tmp_path / "a.safetensors"), linear_shapes(folder))


def test_a_peft_folder_that_names_patterns_for_ranks_is_held_to_names(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "a"
    place.mkdir()
    file_of(folder, place / WEIGHTS, whole_lokr, 1)
    config = {"peft_type": "LOKR", "r": 4, "alpha": 4, "rank_pattern": {"(a+)+": 2}}
    (place / CONFIG).write_text(json.dumps(config))
    with pytest.raises(AdapterError, match="no module's name"):
        describe(place)
