"""Weights load from both layouts, strictly, at full size too, and without a second copy in memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.errors import CheckpointError, StudioError
from networks.acestep.layouts import CODE_PARTS, original_bundle, original_configs, original_key, stored_key
from networks.acestep.open import open_runtime
from networks.acestep.published import CONFIGS
from networks.acestep.torch.parts import DIFFUSERS_PARTS, build_parts, load_bundle
from networks.acestep.torch.runtime import TorchRuntime
from networks.acestep.torch.weights import fill
from networks.machine import RUNTIMES, RuntimeName
from tests.parity import GOLDENS
from tests.tiny import save_tiny

CPU = torch.device("cpu")
ROOT = Path(__file__).parent.parent

REAL = {
    "xl-sft": ({**CONFIGS["XL"], "model_version": "sft"}, 4.99),
    "xl-turbo": ({**CONFIGS["XL"], "model_version": "turbo", "is_turbo": True}, 4.99),
    "2b-sft": ({**CONFIGS["2B"], "model_version": "sft"}, 2.39),
}

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, out: int, into: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def attention(name: str, width: int, heads: int, kv_heads: int, head: int) -> Shapes:
    return {
        f"{name}.q_proj.weight": (heads * head, width),
        f"{name}.k_proj.weight": (kv_heads * head, width),
        f"{name}.v_proj.weight": (kv_heads * head, width),
        f"{name}.o_proj.weight": (width, heads * head),
        f"{name}.q_norm.weight": (head,),
        f"{name}.k_norm.weight": (head,),
    }


def mlp(name: str, width: int, inner: int) -> Shapes:
    return {
        f"{name}.gate_proj.weight": (inner, width),
        f"{name}.up_proj.weight": (inner, width),
        f"{name}.down_proj.weight": (width, inner),
    }


def encoder_of(config: Mapping[str, Any]) -> tuple[int, int, int, int, int]:
    """Width, inner width, heads, key heads and head size of the encoders."""
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    width, inner, heads, kv_heads = (config.get(f"encoder_{name}", config[name]) for name in names)
    return width, inner, heads, kv_heads, config["head_dim"]


def encoder_layers(name: str, count: int, config: Mapping[str, Any]) -> Shapes:
    width, inner, heads, kv_heads, head = encoder_of(config)
    shapes: Shapes = {f"{name}.norm.weight": (width,)}
    for index in range(count):
        layer = f"{name}.layers.{index}"
        shapes |= attention(f"{layer}.self_attn", width, heads, kv_heads, head) | mlp(f"{layer}.mlp", width, inner)
        shapes |= {f"{layer}.input_layernorm.weight": (width,), f"{layer}.post_attention_layernorm.weight": (width,)}
    return shapes


def decoder_shapes(config: Mapping[str, Any]) -> Shapes:
    width, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    heads, kv_heads, patch = config["num_attention_heads"], config["num_key_value_heads"], config["patch_size"]
    shapes: Shapes = {
        "decoder.proj_in.1.weight": (width, config["in_channels"], patch),
        "decoder.proj_in.1.bias": (width,),
        "decoder.proj_out.1.weight": (width, config["audio_acoustic_hidden_dim"], patch),
        "decoder.proj_out.1.bias": (config["audio_acoustic_hidden_dim"],),
        "decoder.norm_out.weight": (width,),
        "decoder.scale_shift_table": (1, 2, width),
    }
    shapes |= linear("decoder.condition_embedder", width, encoder_of(config)[0])
    for embed in ("decoder.time_embed", "decoder.time_embed_r"):
        shapes |= linear(f"{embed}.linear_1", width, 256) | linear(f"{embed}.linear_2", width, width)
        shapes |= linear(f"{embed}.time_proj", 6 * width, width)
    for index in range(config["num_hidden_layers"]):
        layer = f"decoder.layers.{index}"
        for kind in ("self_attn", "cross_attn"):
            shapes |= attention(f"{layer}.{kind}", width, heads, kv_heads, head)
        shapes |= mlp(f"{layer}.mlp", width, inner) | {f"{layer}.scale_shift_table": (1, 6, width)}
        shapes |= {f"{layer}.{norm}_norm.weight": (width,) for norm in ("self_attn", "cross_attn", "mlp")}
    return shapes


def upstream_shapes(config: Mapping[str, Any]) -> Shapes:
    """Every tensor of a checkpoint in upstream's layout, by its name there; test 1 holds it against real files."""
    wide, channels, pools = encoder_of(config)[0], config["audio_acoustic_hidden_dim"], config["pool_window_size"]
    pooler, levels = config["num_attention_pooler_hidden_layers"], len(config["fsq_input_levels"])
    lyric, timbre = "encoder.lyric_encoder", "encoder.timbre_encoder"
    shapes = decoder_shapes(config) | {"null_condition_emb": (1, 1, wide), f"{timbre}.special_token": (1, 1, wide)}
    shapes |= linear("encoder.text_projector", wide, config["text_hidden_dim"], bias=False)
    shapes |= linear(f"{lyric}.embed_tokens", wide, config["text_hidden_dim"])
    shapes |= encoder_layers(lyric, config["num_lyric_encoder_hidden_layers"], config)
    shapes |= linear(f"{timbre}.embed_tokens", wide, config["timbre_hidden_dim"])
    shapes |= encoder_layers(timbre, config["num_timbre_encoder_hidden_layers"], config)
    shapes |= linear("tokenizer.audio_acoustic_proj", wide, channels)
    shapes |= linear("tokenizer.attention_pooler.embed_tokens", wide, wide)
    shapes |= encoder_layers("tokenizer.attention_pooler", pooler, config)
    shapes |= {"tokenizer.attention_pooler.special_token": (1, 1, wide)}
    shapes |= linear("tokenizer.quantizer.project_in", levels, config["fsq_dim"])
    shapes |= linear("tokenizer.quantizer.project_out", config["fsq_dim"], levels)
    shapes |= linear("detokenizer.embed_tokens", wide, wide) | linear("detokenizer.proj_out", channels, wide)
    shapes |= encoder_layers("detokenizer", pooler, config)
    return shapes | {"detokenizer.special_tokens": (1, pools, wide)}


# ---- full size, without memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.folder.name)
def test_the_names_and_shapes_written_here_are_those_of_upstreams_files(golden: Any) -> None:
    stored = {key: tuple(value.shape) for key, value in load_file(golden.folder / "model.safetensors").items()}
    assert upstream_shapes(golden.config) == stored


@pytest.mark.parametrize("name", REAL)
def test_a_published_checkpoint_fits_its_configuration_key_by_key(name: str) -> None:
    config, billions = REAL[name]
    modules = build_parts(original_configs(config))
    assert all(parameter.is_meta for module in modules.values() for parameter in module.parameters())
    shapes = upstream_shapes(config)
    tensors = [(original_key(key), torch.empty(shape, device="meta")) for key, shape in shapes.items()]
    silence = ("condition_encoder.silence_latent", torch.empty(1, 15000, 64, device="meta"))
    fill(modules, [*tensors, silence], dict.fromkeys(modules, torch.bfloat16), torch.device("meta"))
    count = sum(parameter.numel() for module in modules.values() for parameter in module.parameters())
    assert round(count / 1e9, 2) == billions
    assert modules["transformer"].layers[0].cross_attn.to_k.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("name", REAL)
def test_every_key_finds_its_way_back_to_upstreams_spelling(name: str) -> None:
    for key in upstream_shapes(REAL[name][0]):
        assert stored_key(original_key(key)) == key


# ---- strictness ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=RUNTIMES)
def name(request: pytest.FixtureRequest) -> RuntimeName:
    """Of every runtime: what is wrong with weights is told in the same words."""
    found: RuntimeName = request.param
    return found


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDENS[0].folder, tmp_path / "checkpoint"))


def drop(tensors: dict[str, Tensor]) -> None:
    del tensors["decoder.layers.1.cross_attn.k_proj.weight"]


def add(tensors: dict[str, Tensor]) -> None:
    tensors["decoder.layers.9.mlp.up_proj.weight"] = torch.zeros(2, 2)


def bend(tensors: dict[str, Tensor]) -> None:
    tensors["encoder.text_projector.weight"] = torch.zeros(5, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, "transformer.layers.1.cross_attn.to_k.weight is missing"),
        (add, "transformer.layers.9.mlp.up_proj.weight is not part of this model"),
        (bend, "condition_encoder.text_projector.weight is (5, 7), not (64, 32)"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(
    name: RuntimeName, original: Path, change: Callable[[dict[str, Tensor]], None], message: str
) -> None:
    tensors = load_file(original / "model.safetensors")
    change(tensors)
    save_file(tensors, original / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        open_runtime(original, runtime=name, device="cpu")
    assert message in caught.value.message


def test_a_diffusers_folder_is_as_strict(name: RuntimeName, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors.pop("decoder.conv1.weight_g")
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"decoder\.conv1\.weight_g is missing"):
        open_runtime(folder, runtime=name, device="cpu")


def test_what_a_configuration_says_beyond_what_is_known_is_logged_and_passed_over(
    name: RuntimeName, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_tiny(tmp_path / "tiny")
    before = open_runtime(folder, runtime=name, device="cpu").silence(3)
    for part in ("transformer", "vae"):
        config = json.loads((folder / part / "config.json").read_text())
        (folder / part / "config.json").write_text(json.dumps(config | {"use_flash": True, "_note": 1}))
    assert torch.equal(open_runtime(folder, runtime=name, device="cpu").silence(3), before)
    if name == "torch":  # MLX looks up what it needs and never sees the rest
        assert "transformer says more than is understood here: use_flash" in caplog.text


def test_without_the_networks_of_codes_everything_else_works(name: RuntimeName, tmp_path: Path) -> None:
    whole = save_tiny(tmp_path / "whole")
    folder = Path(shutil.copytree(whole, tmp_path / "tiny"))
    for part in CODE_PARTS:
        shutil.rmtree(folder / part)
    with_codes = open_runtime(whole, runtime=name, device="cpu")
    without = open_runtime(folder, runtime=name, device="cpu")
    assert with_codes.shape == without.shape
    x, context = torch.randn(1, 8, 4), torch.randn(1, 8, 8)
    velocities = [
        runtime.velocity(x, 0.5, context, [runtime.condition(["a"], ["b"])])[0] for runtime in (with_codes, without)
    ]
    assert torch.equal(*velocities)
    for ask in (lambda: without.latents_to_codes(x), lambda: without.codes_to_latents(torch.tensor([[1]]))):
        with pytest.raises(CheckpointError, match="no audio_tokenizer and no audio_token_detokenizer"):
            ask()


def test_half_of_the_networks_of_codes_is_a_broken_checkpoint(name: RuntimeName, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    shutil.rmtree(folder / "audio_token_detokenizer")
    with pytest.raises(CheckpointError, match=r"config\.json is missing in .*audio_token_detokenizer"):
        open_runtime(folder, runtime=name, device="cpu")


def test_a_missing_tokenizer_is_named(name: RuntimeName, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    (folder / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        open_runtime(folder, runtime=name, device="cpu")


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(StudioError, match=r"This machine has no device 'cuda:99'\. Choose"):
        open_runtime(GOLDENS[0].folder, device="cuda:99")


def test_a_newer_spelling_of_weight_norm_is_read_as_well(name: RuntimeName, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    file, wave = folder / "vae" / "diffusion_pytorch_model.safetensors", torch.randn(1, 2, 80)
    before = open_runtime(folder, runtime=name, device="cpu").encode(wave)
    renamed = {
        key.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): value
        for key, value in load_file(file).items()
    }
    save_file(renamed, file)
    assert torch.equal(open_runtime(folder, runtime=name, device="cpu").encode(wave), before)


def shard(folder: Path) -> list[Path]:
    """The files of a folder whose weights are split into three."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    keys, weight_map = sorted(tensors), dict[str, str]()
    files = [folder / f"model-{index + 1:05d}-of-00003.safetensors" for index in range(3)]
    for index, file in enumerate(files):
        part = {key: tensors[key] for key in keys[index::3]}
        save_file(part, file)
        weight_map |= dict.fromkeys(part, file.name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return files


def test_shards_are_one_checkpoint(original: Path) -> None:
    whole = load_bundle(original_bundle(original), CPU, torch.float32)
    shard(original)
    parts = load_bundle(original_bundle(original), CPU, torch.float32)
    for name, module in whole.items():
        state = parts[name].state_dict()
        assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


def test_a_missing_shard_is_named(name: RuntimeName, original: Path) -> None:
    shard(original)[1].unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00003\.safetensors is missing"):
        open_runtime(original, runtime=name, device="cpu")


def test_a_file_that_was_cut_short_is_named(name: RuntimeName, original: Path) -> None:
    file = original / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        open_runtime(original, runtime=name, device="cpu")


def test_a_silence_that_would_run_code_is_refused(name: RuntimeName, original: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Callable[[Path], object], tuple[Path]]:
            return Path.touch, (tmp_path / "run",)

    torch.save(Payload(), original / "silence_latent.pt")
    with pytest.raises(CheckpointError, match=r"silence_latent\.pt cannot be read"):
        open_runtime(original, runtime=name, device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("file", ["config.json", "silence_latent.pt", "model.safetensors"])
def test_a_missing_file_is_named(name: RuntimeName, original: Path, file: str) -> None:
    (original / file).unlink()
    with pytest.raises(CheckpointError, match=file if file != "config.json" else "holds no checkpoint"):
        open_runtime(original, runtime=name, device="cpu")


def test_a_configuration_that_lacks_a_value_is_named(name: RuntimeName, original: Path) -> None:
    config = json.loads((original / "config.json").read_text())
    del config["fsq_dim"]
    (original / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"config\.json lacks 'fsq_dim'"):
        open_runtime(original, runtime=name, device="cpu")


# ---- the companion, and memory ---------------------------------------------------------------------------------------


def test_the_original_layout_takes_its_vae_and_text_encoder_from_the_companion(tmp_path: Path) -> None:
    tiny = save_tiny(tmp_path / "tiny")
    companion = tmp_path / "companion"
    shutil.copytree(tiny / "vae", companion / "vae")
    shutil.copytree(tiny / "text_encoder", companion / "Qwen3-Embedding-0.6B")
    shutil.copy(tiny / "tokenizer" / "tokenizer.json", companion / "Qwen3-Embedding-0.6B")
    with_it = open_runtime(GOLDENS[0].folder, companion, device="cpu")
    assert isinstance(with_it, TorchRuntime)
    assert with_it.shape.sample_rate == 1600
    assert with_it.encode(torch.randn(1, 2, 80)).shape == (1, 10, 4)
    without = open_runtime(GOLDENS[0].folder, device="cpu")
    with pytest.raises(CheckpointError, match="no VAE"):
        without.decode(torch.zeros(1, 4, 64))
    with pytest.raises(CheckpointError, match="no text encoder"):
        without.condition(["a"], ["b"])


MEMORY = """
import sys
from pathlib import Path
from networks.acestep.open import open_runtime
def resident(what):
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return 1024 * int(line.split()[1])
def load(folder):
    return open_runtime(Path(folder), runtime=sys.argv[3], device="cpu", dtype="bfloat16")
load(sys.argv[2])
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = resident("VmRSS")
kept = load(sys.argv[1])
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak from Linux")
def test_float32_shards_become_bfloat16_within_one_shard_and_the_model(
    name: RuntimeName, original: Path, tmp_path: Path
) -> None:
    large = {**GOLDENS[0].config, "hidden_size": 384, "intermediate_size": 1536, "fsq_dim": 384}
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(large))
    shutil.copy(original / "silence_latent.pt", folder)
    shapes = upstream_shapes(large)
    save_file({key: torch.rand(shape) for key, shape in shapes.items()}, folder / "model.safetensors")
    files = shard(folder)
    biggest, total = max(file.stat().st_size for file in files), sum(file.stat().st_size for file in files)
    assert total > 80e6
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(folder), str(original), name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < total / 2 + biggest + 20e6


def test_every_part_of_the_diffusers_layout_has_a_class() -> None:
    assert set(DIFFUSERS_PARTS) == {
        "transformer",
        "condition_encoder",
        "audio_tokenizer",
        "audio_token_detokenizer",
        "vae",
    }
