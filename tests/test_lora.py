"""Adapters: read in every spelling, refused with the reason, gone without a trace (see test_parity.py for upstream)."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.adapters import AdapterChoice, read_choices, write_choices
from core.errors import AdapterError, RequestError
from networks.acestep.lora.adapter import (
    CONFIG,
    HIGHEST_RANK,
    WEIGHTS,
    Adapter,
    check_fit,
    describe,
    layer_name,
    linear_shapes,
)
from networks.acestep.lora.presets import gather, locate, open_adapters, presets
from networks.acestep.open import open_runtime
from networks.acestep.runtime import Runtime
from networks.acestep.torch.parts import DIFFUSERS_PARTS
from networks.acestep.torch.runtime import TorchRuntime
from tests.parity import REORDERED, relative_error
from tests.tiny import CHANNELS, save_tiny

Q = "layers.0.self_attn.q_proj"
TINY_SIDES = (32, 32)  # of Q in the tiny checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def runtime(folder: Path) -> Iterator[TorchRuntime]:
    opened = open_runtime(folder, runtime="torch", device="cpu", dtype="float32")
    assert isinstance(opened, TorchRuntime)
    yield opened
    opened.close()


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def matrices(rank: int = 2, module: str = Q, sides: tuple[int, int] = TINY_SIDES, seed: int = 0) -> dict[str, Tensor]:
    """The two matrices of one layer, large enough to be heard."""
    return {
        f"{module}.lora_A.weight": noise(rank, sides[1], seed=seed),
        f"{module}.lora_B.weight": noise(sides[0], rank, seed=seed + 1),
    }


def saved(path: Path, tensors: dict[str, Tensor], words: dict[str, str] | None = None) -> Path:
    save_file(tensors, path, words)
    return path


def everywhere(folder: Path, seed: int, rank: int = 2) -> dict[str, Tensor]:
    """Matrices for every linear layer of the tiny checkpoint's DiT."""
    module = DIFFUSERS_PARTS["transformer"].from_pretrained(folder / "transformer")  # type: ignore[attr-defined]
    tensors: dict[str, Tensor] = {}
    for number, (path, linear) in enumerate(module.named_modules()):
        if isinstance(linear, torch.nn.Linear):
            sides = (linear.out_features, linear.in_features)
            tensors |= {
                key: 0.2 * value for key, value in matrices(rank, path, sides, seed=1000 * seed + 2 * number).items()
            }
    return tensors


def heard(runtime: Runtime, *adapters: Adapter) -> Tensor:
    """The velocity with some adapters, at a fixed place."""
    runtime.set_adapters(adapters)
    condition = runtime.condition_from_states(noise(1, 5, 16, seed=1), noise(1, 3, 16, seed=2))
    shown = noise(1, 20, 2 * CHANNELS, seed=3)
    return runtime.velocity(noise(1, 20, CHANNELS, seed=4), 0.6, shown, [condition])[0]


def weighed(adapter: Adapter, weight: float) -> Adapter:
    return dataclasses.replace(adapter, weight=weight)


# ---- in the network --------------------------------------------------------------------------------------------------


def test_two_adapters_are_their_sum(runtime: TorchRuntime, folder: Path, tmp_path: Path) -> None:
    first, second = everywhere(folder, 1), everywhere(folder, 2, rank=3)
    joined = {key: torch.cat([first[key], second[key]], dim=0 if "lora_A" in key else 1) for key in first}
    alone, other = (describe(saved(tmp_path / f"{n}.safetensors", t)) for n, t in (("a", first), ("b", second)))
    both = describe(saved(tmp_path / "both.safetensors", joined))
    together = heard(runtime, alone, other)
    assert relative_error(together, heard(runtime, both)) <= REORDERED
    assert relative_error(together, heard(runtime, alone)) > 0.01
    assert relative_error(together, heard(runtime, other)) > 0.01


def test_weights_scale_each_adapter_by_itself(runtime: TorchRuntime, folder: Path, tmp_path: Path) -> None:
    first, second = everywhere(folder, 1), everywhere(folder, 2)
    scaled = {key: value * (0.25 if "lora_B" in key else 1) for key, value in first.items()}
    plain, quiet = (describe(saved(tmp_path / f"{n}.safetensors", t)) for n, t in (("plain", first), ("quiet", scaled)))
    other = describe(saved(tmp_path / "other.safetensors", second))
    expected = heard(runtime, quiet, weighed(other, 1.5))
    assert relative_error(heard(runtime, weighed(plain, 0.25), weighed(other, 1.5)), expected) <= REORDERED


def test_taking_adapters_away_restores_every_weight_and_the_answer(
    runtime: TorchRuntime, folder: Path, tmp_path: Path
) -> None:
    dit = runtime.parts.transformer
    base, weights = heard(runtime), {key: value.clone() for key, value in dit.state_dict().items()}
    adapters = [describe(saved(tmp_path / f"{n}.safetensors", everywhere(folder, n, rank=n))) for n in (1, 2)]
    for chosen in (adapters, adapters[:1], adapters[1:], [weighed(adapters[0], 1.5)]):
        assert relative_error(heard(runtime, *chosen), base) > 0.01
    assert torch.equal(heard(runtime), base)
    assert list(dit.state_dict()) == list(weights)
    assert all(torch.equal(value, weights[key]) for key, value in dit.state_dict().items())
    assert not any(parameter.requires_grad for parameter in dit.parameters())


def test_layers_of_different_ranks_live_in_one_adapter(runtime: TorchRuntime, tmp_path: Path) -> None:
    tensors = matrices(rank=1) | matrices(rank=5, module="layers.1.mlp.up_proj", sides=(48, 32), seed=7)
    padded = {
        key: torch.cat([value, torch.zeros_like(value).repeat_interleave(4, dim=dim)], dim=dim) if Q in key else value
        for key, value in tensors.items()
        for dim in [0 if "lora_A" in key else 1]
    }
    mixed, even = (describe(saved(tmp_path / f"{n}.safetensors", t)) for n, t in (("m", tensors), ("e", padded)))
    assert {layer.rank for layer in mixed.layers} == {1, 5}
    assert relative_error(heard(runtime, mixed), heard(runtime, even)) <= REORDERED


def test_an_adapter_runs_in_the_number_format_of_its_base(folder: Path, tmp_path: Path) -> None:
    half = open_runtime(folder, runtime="torch", device="cpu", dtype="bfloat16")
    base = heard(half)
    changed = heard(half, describe(saved(tmp_path / "a.safetensors", everywhere(folder, 1))))
    assert relative_error(changed, base) > 0.01
    assert isinstance(half, TorchRuntime)
    assert {parameter.dtype for parameter in half.parts.transformer.parameters()} == {torch.bfloat16}
    half.close()


def test_a_file_that_went_bad_after_its_check_leaves_the_network_alone(runtime: TorchRuntime, tmp_path: Path) -> None:
    good = describe(saved(tmp_path / "good.safetensors", matrices()))
    before = heard(runtime, good)
    bad = describe(saved(tmp_path / "bad.safetensors", matrices(seed=9)))
    saved(bad.path, matrices() | {f"{Q}.lora_B.weight": torch.full((32, 2), torch.nan)})
    with pytest.raises(AdapterError, match="not finite"):
        runtime.set_adapters([good, bad])
    gone = describe(saved(tmp_path / "gone.safetensors", matrices(seed=5)))
    gone.path.unlink()
    with pytest.raises(AdapterError, match="cannot be read"):
        runtime.set_adapters([gone])
    assert torch.equal(heard(runtime, good), before)


def test_every_linear_layer_has_one_name_in_every_spelling(folder: Path) -> None:
    ours = {key.partition(".lora_")[0] for key in everywhere(folder, 0)}
    names = {layer_name(path) for path in ours}
    assert names == set(linear_shapes(folder))
    assert len(names) == len(ours)
    leaves = {".to_out.0": ".o_proj"} | {f".to_{leaf}": f".{leaf}_proj" for leaf in "qkv"}
    for path in ours:
        theirs = path
        for leaf, spelt in leaves.items():
            theirs = theirs.removesuffix(leaf) + spelt if theirs.endswith(leaf) else theirs
        for spelling in (
            theirs,
            f"decoder.{theirs}",
            f"base_model.model.{theirs}",
            f"diffusion_model.decoder.{theirs}",
        ):
            assert layer_name(spelling) == layer_name(path)
        for wrapper in ("lora_unet_decoder", "lycoris", "lycoris_decoder"):
            assert layer_name(f"{wrapper}_{theirs.replace('.', '_')}") == layer_name(path)


# ---- alpha -----------------------------------------------------------------------------------------------------------


def peft(folder: Path, tensors: dict[str, Tensor] | None = None, **config: object) -> Path:
    folder.mkdir()
    saved(folder / WEIGHTS, {f"base_model.model.{key}": value for key, value in (tensors or matrices(4)).items()})
    (folder / CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 4, **config}))
    return folder


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 1.0),
        ({"lora_alpha": 16}, 4.0),
        ({"lora_alpha": 8.0, "use_rslora": True}, 4.0),
        ({"lora_alpha": 16, "alpha_pattern": {"q_proj": 2}}, 0.5),
        ({"lora_alpha": 16, "alpha_pattern": {"^layers.0.self_attn.q_proj": 6}}, 1.5),
        ({"lora_alpha": 16, "alpha_pattern": {"k_proj": 2, "0.q_proj": 2}}, 4.0),
    ],
)
def test_alpha_comes_from_the_configuration_of_a_peft_folder(
    tmp_path: Path, config: dict[str, object], scale: float
) -> None:
    adapter = describe(peft(tmp_path / "folder", None, **config))
    assert [layer.scale for layer in adapter.layers] == [scale]
    assert describe(tmp_path / "folder" / WEIGHTS).layers == adapter.layers


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_alpha_tensors_of_any_format_win_over_everything_else(
    tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    tensors = matrices(4) | {f"{Q}.alpha": torch.full(shape, 12, dtype=dtype)}
    assert describe(peft(tmp_path / "folder", tensors, lora_alpha=1)).layers[0].scale == 3.0


def test_alpha_comes_from_the_words_that_diffusers_saves_in_a_file(tmp_path: Path) -> None:
    words = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 10, "transformer.r": 4})}
    path = saved(tmp_path / "a.safetensors", matrices(4), words)
    assert describe(path).layers[0].scale == 2.5


def test_a_factor_is_heard(runtime: TorchRuntime, tmp_path: Path) -> None:
    doubled = describe(saved(tmp_path / "a.safetensors", matrices() | {f"{Q}.alpha": torch.tensor(4.0)}))
    plain = describe(saved(tmp_path / "b.safetensors", matrices()))
    assert relative_error(heard(runtime, weighed(doubled, 0.5)), heard(runtime, plain)) <= REORDERED
    assert relative_error(heard(runtime, doubled), heard(runtime, plain)) > 1e-3


# ---- what is refused, and why ----------------------------------------------------------------------------------------


def raw(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def cut(path: Path, kept: int) -> Path:
    return raw(path, saved(path, matrices()).read_bytes()[:kept])


def pickled(path: Path) -> Path:
    torch.save(matrices(), path)
    return path


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def pickled_folder(path: Path) -> Path:
    (peft(path) / WEIGHTS).unlink()
    pickled(path / "adapter_model.bin")
    return path


def without_config(path: Path) -> Path:
    (peft(path) / CONFIG).unlink()
    return path


def headed(path: Path, **facts: object) -> Path:
    header = json.dumps({f"{Q}.lora_A.weight": {"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 16], **facts}})
    return raw(path, struct.pack("<Q", len(header)) + header.encode() + bytes(16))


def plus(**extra: Tensor) -> dict[str, Tensor]:
    return matrices() | {f"{Q}.{name}": tensor for name, tensor in extra.items()}


ONE = torch.ones(1)
HADAMARD = ("w1_a", "w1_b", "w2_a", "w2_b")
REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda p: p, "is not there"),
    "name too long": (lambda p: p.with_name("x" * 300), "cannot be read: File name too long"),
    "torch archive": (pickled, "is a pickle"),
    "bare pickle": (lambda p: raw(p, pickle.dumps({"a": 1})), "is a pickle"),
    "pickle in a PEFT folder": (pickled_folder, "adapter_model.bin is a pickle"),
    "no configuration": (without_config, "has no adapter_config.json"),
    "empty": (lambda p: raw(p, b""), "is truncated: 0 bytes"),
    "cut in its header": (lambda p: cut(p, 40), "is truncated: 40 bytes of"),
    "cut in its matrices": (lambda p: cut(p, -1), "is truncated"),
    "too long": (lambda p: raw(p, saved(p, matrices()).read_bytes() + b"!"), "1 bytes more than"),
    "not safetensors": (lambda p: raw(p, b"RIFF" + bytes(99)), "is no safetensors file"),
    "too large": (lambda p: sparse(p, 500_000_001), "500 MB"),
    "rank 300": (lambda p: saved(p, matrices(300)), "rank 300: at most 256"),
    "OFT": (lambda p: saved(p, {f"{Q}.oft_R": ONE}), "is an OFT adapter"),
    "BOFT": (lambda p: saved(p, {f"{Q}.boft_R": ONE}), "is a BOFT adapter"),
    "IA3": (lambda p: saved(p, {f"{Q}.ia3_l": ONE}), "is an IA3 adapter"),
    "IA3 by configuration": (lambda p: peft(p, peft_type="IA3"), "was trained with IA3"),
    "Tucker": (lambda p: saved(p, plus(lora_mid=ONE)), "Tucker-decomposed LoRA"),
    "LoKr of Tucker": (lambda p: saved(p, {f"{Q}.lokr_t2": torch.ones(2, 2)}), "Tucker-decomposed LoKr"),
    "LoHa of Tucker": (lambda p: saved(p, {f"{Q}.hada_t1": torch.ones(2, 2)}), "Tucker-decomposed LoHa"),
    "half a LoKr": (lambda p: saved(p, {f"{Q}.lokr_w1": ONE}), "lacks the lokr_w2_a matrix"),
    "half a LoHa": (lambda p: saved(p, {f"{Q}.hada_w1_a": ONE}), "lacks the hada_w1_b matrix"),
    "two forms in one layer": (
        lambda p: saved(p, plus(lokr_w1=ONE, lokr_w2=ONE.clone())),
        "a down beside what makes a LoKr",
    ),
    "a half of a LoKr twice": (
        lambda p: saved(p, {f"{Q}.lokr_{part}": torch.ones(2, 2) for part in ("w1", "w2", "w2_a", "w2_b")}),
        "a lokr_w2_a beside",
    ),
    "LoKr of a convolution": (
        lambda p: saved(p, {f"{Q}.lokr_w1": torch.ones(2, 2), f"{Q}.lokr_w2": torch.ones(2, 2, 3)}),
        "matrices of",
    ),
    "LoHa of two sizes": (
        lambda p: saved(p, {f"{Q}.hada_{part}": torch.ones(4, 4 + (part == "w2_b")) for part in HADAMARD}),
        "matrices of",
    ),
    "LoKr of two ranks": (
        lambda p: saved(p, {f"{Q}.lokr_{part}": torch.ones(4 + int(part[1]), 4 + int(part[1])) for part in HADAMARD}),
        "matrices of",
    ),
    "LoHa of rank 300": (
        lambda p: saved(p, {f"{Q}.hada_{part}": torch.ones(300, 300) for part in HADAMARD}),
        "rank 300: at most 256",
    ),
    "magnitude of another size": (lambda p: saved(p, plus(dora_scale=ONE)), "a magnitude of (1,)"),
    "DoRA without its magnitudes": (lambda p: peft(p, use_dora=True), "with DoRA and lacks the magnitude"),
    "changed base": (lambda p: peft(p, init_lora_weights="pissa_niter_4"), "was trained with pissa"),
    "biases": (lambda p: saved(p, plus(bias=ONE)), "with biases"),
    "other tensors": (lambda p: saved(p, plus(weight=ONE)), "holds more than an adapter"),
    "nothing": (lambda p: saved(p, {}), "holds no adapter"),
    "one half": (lambda p: saved(p, {f"{Q}.lora_B.weight": torch.ones(4, 2)}), "lacks the down matrix"),
    "halves of two ranks": (
        lambda p: saved(p, {f"{Q}.lora_A.weight": torch.ones(2, 4), f"{Q}.lora_B.weight": torch.ones(4, 3)}),
        "matrices of",
    ),
    "convolution": (
        lambda p: saved(p, {f"{Q}.lora_A.weight": torch.ones(2, 4, 1), f"{Q}.lora_B.weight": torch.ones(4, 2, 1)}),
        "matrices of",
    ),
    "whole numbers": (lambda p: saved(p, {key: each.long() for key, each in matrices().items()}), "formats I64"),
    "one layer twice": (lambda p: saved(p, matrices() | matrices(module=f"decoder.{Q}")), "twice"),
    "no number as alpha": (lambda p: saved(p, plus(alpha=torch.tensor(torch.inf))), "no finite number"),
    "alphas": (lambda p: saved(p, plus(alpha=torch.ones(2))), "no finite number"),
    "words as alpha": (lambda p: peft(p, lora_alpha="loud"), "no usable alpha"),
    "wild pattern": (lambda p: peft(p, alpha_pattern={"(a+)+": 2}), "no module's name"),
    "header that contradicts itself": (lambda p: headed(p, shape=[1, 5]), "broken header"),
    "header of wrong types": (lambda p: headed(p, data_offsets=None), "broken header"),
    "unknown numbers": (lambda p: headed(p, dtype="F4"), "F4 are not known"),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_applied_is_refused_with_the_reason(
    tmp_path: Path, make: tuple[Callable[[Path], Path], str]
) -> None:
    build, reason = make
    with pytest.raises(AdapterError) as refused:
        describe(build(tmp_path / "warm.safetensors"))
    assert reason in refused.value.message
    assert refused.value.hint.endswith(".")


def test_the_limits_themselves_are_accepted(tmp_path: Path) -> None:
    assert describe(saved(tmp_path / "a.safetensors", matrices(HIGHEST_RANK))).rank == 256
    with pytest.raises(AdapterError, match="no safetensors"):  # not its size
        describe(sparse(tmp_path / "b.safetensors", 500_000_000))


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (matrices(sides=(64, 64)), r"another size: layers\.0\.self_attn\.q_proj is 64 x 64 there and 32 x 32 here"),
        (matrices(module="layers.7.self_attn.q_proj"), r"does not have: layers\.7\.self_attn\.q_proj\."),
        (matrices(module="encoder.lyric_encoder.layers.0.self_attn.q_proj"), "does not have: encoder"),
        (matrices(module="proj_in_conv"), "does not have: proj_in_conv"),
    ],
)
def test_what_does_not_fit_the_checkpoint_is_refused_before_it_is_loaded(
    folder: Path, tmp_path: Path, tensors: dict[str, Tensor], reason: str
) -> None:
    with pytest.raises(AdapterError, match=reason):
        check_fit(describe(saved(tmp_path / "a.safetensors", tensors)), linear_shapes(folder))


# ---- the text of a request -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("", []),
        ("warm", [("warm", 1.0)]),
        ("warm = 0.5, cold=1.5", [("warm", 0.5), ("cold", 1.5)]),
        (
            "\n warm tape.safetensors =0\n\n/a/b.safetensors\n",
            [("warm tape.safetensors", 0.0), ("/a/b.safetensors", 1.0)],
        ),
        ('"a, b" = 0.5, c', [("a, b", 0.5), ("c", 1.0)]),
        ("x=1=0.5", [("x=1", 0.5)]),
    ],
)
def test_the_text_of_a_request_names_adapters_and_weights(text: str, choices: list[tuple[str, float]]) -> None:
    expected = tuple(AdapterChoice(*choice) for choice in choices)
    assert read_choices(text) == expected
    assert read_choices(write_choices(expected)) == expected


@pytest.mark.parametrize(
    "text", ["warm = 2", "warm = -0.1", "warm = loud", "warm =", "= 1", "warm = nan", "a, a = 0.5"]
)
def test_a_text_that_breaks_the_rule_is_refused_with_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        read_choices(text)


def test_a_name_of_megabytes_costs_no_more_than_its_length() -> None:
    assert layer_name("model." * 1_000_000 + "q_proj") == layer_name("q_proj")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(AdapterError, match="is no file"):
        describe(tmp_path / "pipe.safetensors")


def test_more_than_eight_adapters_are_refused() -> None:
    assert len(read_choices(", ".join("abcdefgh"))) == 8
    with pytest.raises(ValueError, match="at most 8"):
        read_choices(", ".join("abcdefghi"))


# ---- where adapters lie ----------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The presets folder, with one file and one PEFT folder in it."""
    home = tmp_path / "presets"
    home.mkdir()
    monkeypatch.setenv("ACE_ADAPTERS_DIR", str(home))
    saved(home / "warm.safetensors", matrices())
    peft(home / "cold")
    raw(home / "notes.txt", b"")
    return home


def test_presets_go_by_name_and_other_adapters_by_path(home: Path, tmp_path: Path) -> None:
    assert presets() == {"cold": home / "cold", "warm": home / "warm.safetensors"}
    assert locate("warm") == home / "warm.safetensors"
    assert locate(str(tmp_path / "mine.safetensors")) == tmp_path / "mine.safetensors"


@pytest.mark.parametrize("path", ["/etc/passwd", "presets/../secret", "presets/link", "elsewhere/x.safetensors"])
def test_strangers_reach_presets_and_uploads_and_nothing_else(home: Path, tmp_path: Path, path: str) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    secret = saved(tmp_path / "secret", matrices())
    (home / "link").symlink_to(secret)
    upload = saved(uploads / "mine.safetensors", matrices())
    assert locate(str(upload), [uploads]) == upload
    assert locate("warm", []) == home / "warm.safetensors"
    with pytest.raises(AdapterError, match="preset or an uploaded file"):
        locate(str(tmp_path / path), [uploads])


def test_a_request_hears_of_every_adapter_that_cannot_be_applied(home: Path, folder: Path, tmp_path: Path) -> None:
    wide = saved(tmp_path / "wide.safetensors", matrices(sides=(64, 64)))
    with pytest.raises(RequestError) as refused:
        open_adapters(read_choices(f"warm, {wide}, nowhere, {home / 'warm.safetensors'} = 0.5"), folder)
    faults = refused.value.faults
    assert {fault.field for fault in faults} == {"adapters"}
    assert [fault.value for fault in faults] == [str(wide), "nowhere", str(home / "warm.safetensors")]
    for fault, reason in zip(faults, ["64 x 64", "is not there", "named twice"], strict=True):
        assert reason in fault.rule


def test_the_two_uploaded_files_of_a_peft_folder_become_one_again(tmp_path: Path) -> None:
    made = peft(tmp_path / "made", lora_alpha=16)
    scattered = [tmp_path / "one", tmp_path / "two"]
    for place, name in zip(scattered, (CONFIG, WEIGHTS), strict=True):
        place.mkdir()
        (made / name).rename(place / name)
    files = [scattered[0] / CONFIG, scattered[1] / WEIGHTS]
    assert describe(gather(files, tmp_path)).layers[0].scale == 4.0
    assert gather(files[1:], tmp_path) == files[1]
    with pytest.raises(AdapterError, match="PEFT folder"):
        gather([files[1], files[1]], tmp_path)
