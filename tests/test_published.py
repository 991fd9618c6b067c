"""What is published, told file by file in data/published.toml, is what the table asks for and what our networks take.

A safetensors file is eight bytes of length, a header of JSON that is filled up to a multiple of eight, and the numbers.
Names, shapes and types of all tensors stand in the header: a size that comes out to the byte leaves little room for
another map of names. The tensors lie there by type and name, whatever order they were given in.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import cache, partial
from math import inf, prod
from pathlib import Path
from typing import Any

import pytest
import torch
from demucs.htdemucs import HTDemucs
from safetensors.torch import save
from transformers import Qwen3Config, Qwen3ForCausalLM

from checkpoints.hub import fits, is_extra
from checkpoints.table import CHECKPOINTS, CODES, Checkpoint, completed
from networks.acestep.layouts import CODE_PARTS, SILENCE_KEY, TEXT, VAE, Config, original_configs, stored_key
from networks.acestep.published import CONFIGS, PLANNER_CONFIGS, TEXT_CONFIG, VAE_CONFIG
from networks.acestep.torch.parts import build_parts
from networks.acestep.torch.weights import build

Shapes = Mapping[str, tuple[int, ...]]
Files = Mapping[str, int]

PUBLISHED: Mapping[str, Any] = tomllib.loads(
    (Path(__file__).parent / "data" / "published.toml").read_text(encoding="utf-8")
)
REPOSITORIES: Mapping[str, Mapping[str, Any]] = {each["name"]: each for each in PUBLISHED["repository"]}
SHARD = 5_000_000_000
"""How large a file may be before transformers begins another."""
SILENCE_FRAMES = 15_000
WIDTHS = {"BF16": 2, "F16": 2, "F32": 4}
METADATA = {"format": "pt"}
"""What torch's libraries write into the header; other tools write nothing."""
LISTED = [row for row in CHECKPOINTS.values() if row.repo in REPOSITORIES and REPOSITORIES[row.repo]["files"]]
WHOLE = [row for row in LISTED if row.name != "xl-sft"]
"""Rows of whose repository all names are known."""


def files_of(repository: str, folder: str = "") -> Files:
    """Bytes by path below a folder of a repository."""
    prefix = f"{folder}/" if folder else ""
    listed: Iterable[tuple[str, int, str]] = REPOSITORIES[repository]["files"]
    return {path.removeprefix(prefix): size for path, size, _ in listed if path.startswith(prefix)}


def file_bytes(shapes: Shapes, dtype: str = "BF16", metadata: Mapping[str, str] | None = METADATA) -> int:
    """Bytes of the safetensors file that holds tensors of these shapes."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for key in sorted(shapes):
        start, end = end, end + prod(shapes[key]) * WIDTHS[dtype]
        header[key] = {"dtype": dtype, "shape": list(shapes[key]), "data_offsets": [start, end]}
    length = len(json.dumps(header, separators=(",", ":")).encode())
    return 8 + length + -length % 8 + end


def shards_of(shapes: Shapes, order: Iterable[str], width: int) -> list[Shapes]:
    """The files into which transformers puts tensors in that order."""
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    filled = 0
    for key in order:
        size = prod(shapes[key]) * width
        if filled + size > SHARD:
            shards.append({})
            filled = 0
        shards[-1][key] = shapes[key]
        filled += size
    return list(shards)


@cache
def part_shapes(family: str) -> Mapping[str, Shapes]:
    """The tensors of every part by their keys in it, as the diffusers layout has them."""
    parts = build_parts({**original_configs(CONFIGS[family]), VAE: VAE_CONFIG, TEXT: TEXT_CONFIG})
    shapes = {
        part: {key: tuple(each.shape) for key, each in module.state_dict().items()} for part, module in parts.items()
    }
    part, _, silence = SILENCE_KEY.partition(".")
    shapes[part][silence] = (1, SILENCE_FRAMES, shapes[part][silence][2])
    return shapes


@cache
def upstream_shapes(family: str) -> Shapes:
    """The tensors of a song's checkpoint by their keys in upstream's own layout, the silence apart."""
    return {
        stored_key(f"{part}.{key}"): shape
        for part, shapes in part_shapes(family).items()
        if part not in (VAE, TEXT)
        for key, shape in shapes.items()
        if f"{part}.{key}" != SILENCE_KEY
    }


@cache
def planner_shapes(name: str, prefix: str = "model.") -> Shapes:
    """The tensors of a planner, its head tied to its embeddings and left out."""
    config = Qwen3Config.from_dict(dict(PLANNER_CONFIGS[name]))
    state = build(lambda: Qwen3ForCausalLM(config)).state_dict()
    return {
        prefix + key.removeprefix("model."): tuple(each.shape) for key, each in state.items() if key != "lm_head.weight"
    }


# ---- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", WHOLE, ids=lambda row: row.name)
def test_everything_that_a_row_asks_for_is_published(row: Checkpoint) -> None:
    paths = files_of(row.repo, row.folder)
    for pattern in completed(row.files, lambda pattern: any(fits(path, pattern) for path in paths)):
        assert any(fits(path, pattern) for path in paths), pattern


def test_the_networks_of_codes_are_published_with_xl_sft_and_not_with_xl_turbo() -> None:
    def have(name: str) -> list[bool]:
        paths = files_of(CHECKPOINTS[name].repo)
        return [any(fits(path, pattern) for path in paths) for pattern in CODES]

    assert all(have("xl-sft"))
    assert not any(have("xl-turbo"))


def brought(row: Checkpoint) -> Iterator[int]:
    """The bytes of what a download brings, as far as they are listed."""
    for path, size in files_of(row.repo, row.folder).items():
        if any(fits(path, pattern) for pattern in row.files) or ("/" not in path and is_extra(path, size)):
            yield size


@pytest.mark.parametrize(
    "name", ["2b-turbo", "2b-sft", "2b-base", "companion", "lm-0.6b", "lm-1.7b", "lm-4b", "htdemucs"]
)
def test_a_row_says_what_its_download_weighs(name: str) -> None:
    row = CHECKPOINTS[name]
    assert sum(brought(row)) == pytest.approx(row.bytes, rel=0.05)


@pytest.mark.parametrize("name", ["xl-sft", "xl-turbo", "xl-base"])
def test_the_weight_of_xl_is_the_sum_of_its_parts(name: str) -> None:
    row = CHECKPOINTS[name]
    parts = {part for part in part_shapes("XL") if name != "xl-turbo" or part not in CODE_PARTS}
    weights = sum(file_bytes(part_shapes("XL")[part]) for part in parts)
    assert weights == pytest.approx(row.bytes, rel=0.05)
    assert weights == pytest.approx(REPOSITORIES[row.repo]["bytes"], rel=0.01)


# ---- every file of weights, to the byte ------------------------------------------------------------------------------


def test_a_file_is_as_large_as_the_library_makes_it() -> None:
    shapes = {"b.weight": (3, 5), "a": (7,), "c.long.name.of.a.bias": (1, 2, 3)}
    for dtype, kind in (("BF16", torch.bfloat16), ("F32", torch.float32)):
        tensors = {key: torch.zeros(shape, dtype=kind) for key, shape in shapes.items()}
        for metadata in (METADATA, None):
            assert len(save(tensors, metadata)) == file_bytes(shapes, dtype, metadata)


@pytest.mark.parametrize(
    ("part", "repository", "path"),
    [
        (
            "condition_encoder",
            "acestep-v15-xl-turbo-diffusers",
            "condition_encoder/diffusion_pytorch_model.safetensors",
        ),
        (VAE, "acestep-v15-xl-turbo-diffusers", "vae/diffusion_pytorch_model.safetensors"),
        (VAE, "Ace-Step1.5", "vae/diffusion_pytorch_model.safetensors"),
        (TEXT, "acestep-v15-xl-turbo-diffusers", "text_encoder/model.safetensors"),
        (TEXT, "Ace-Step1.5", "Qwen3-Embedding-0.6B/model.safetensors"),
    ],
)
def test_a_part_in_bfloat16_is_as_large_as_published(part: str, repository: str, path: str) -> None:
    assert file_bytes(part_shapes("XL")[part]) == files_of(f"ACE-Step/{repository}")[path]


@pytest.mark.parametrize("name", ["2b-turbo", "2b-sft", "2b-base"])
def test_a_2b_checkpoint_is_as_large_as_published(name: str) -> None:
    row = CHECKPOINTS[name]
    assert file_bytes(upstream_shapes("2B")) == files_of(row.repo, row.folder)["model.safetensors"]


def upstream_order(family: str) -> Iterator[str]:
    """The keys in the order of upstream's modules, in which a model of several files is split.

    A module's own parameters come before its children's; the rest is the order in which upstream makes the modules.
    """
    keys = list(upstream_shapes(family))
    ranks = [
        ("null_condition_emb", "decoder", "encoder", "tokenizer", "detokenizer"),
        (
            *("scale_shift_table", "layers", "proj_in", "time_embed", "time_embed_r", "condition_embedder", "norm_out"),
            *("proj_out", "text_projector", "lyric_encoder", "timbre_encoder"),
            *("audio_acoustic_proj", "attention_pooler", "quantizer"),
        ),
        ("linear_1", "linear_2", "time_proj", "special_token", "special_tokens", "embed_tokens", "norm"),
        ("self_attn_norm", "self_attn", "cross_attn_norm", "cross_attn", "mlp_norm"),
        ("input_layernorm", "post_attention_layernorm", "mlp"),
        ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm", "gate_proj", "up_proj", "down_proj"),
        ("weight", "bias"),
    ]
    place = {word: (level, number) for level, words in enumerate(ranks) for number, word in enumerate(words)}

    def position(key: str) -> list[tuple[int, int]]:
        return [(-1, int(word)) if word.isdigit() else place.get(word, (0, 0)) for word in key.split(".")]

    return iter(sorted(keys, key=position))


def test_the_float32_shards_of_xl_and_their_index_are_as_large_as_published() -> None:
    shapes, files = upstream_shapes("XL"), files_of("ACE-Step/acestep-v15-xl-turbo")
    shards = shards_of(shapes, upstream_order("XL"), WIDTHS["F32"])
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    assert {name: file_bytes(shard, "F32") for name, shard in zip(names, shards, strict=True)} == {
        path: size for path, size in files.items() if path.endswith(".safetensors")
    }
    count = sum(prod(shape) for shape in shapes.values())
    index = {
        "metadata": {"total_parameters": count, "total_size": count * WIDTHS["F32"]},
        "weight_map": {key: name for name, shard in zip(names, shards, strict=True) for key in shard},
    }
    assert len(json.dumps(index, indent=2, sort_keys=True) + "\n") == files["model.safetensors.index.json"]


@pytest.mark.parametrize(
    ("name", "prefix", "metadata"), [("lm-0.6b", "model.", None), ("lm-1.7b", "", METADATA)], ids=["0.6B", "1.7B"]
)
def test_a_planner_of_one_file_is_as_large_as_published(
    name: str, prefix: str, metadata: Mapping[str, str] | None
) -> None:
    row = CHECKPOINTS[name]
    published = files_of(row.repo, row.folder)["model.safetensors"]
    assert file_bytes(planner_shapes(name, prefix), metadata=metadata) == published


def layer_of(key: str) -> float:
    """The layer of a planner's tensor; the embeddings come before them all, and the last norm after."""
    words = key.split(".")
    return int(words[2]) if "layers" in words else -1 if "embed_tokens" in words else inf


def test_the_shards_of_the_4b_planner_are_as_large_as_published() -> None:
    """No metadata, and a layer's first norm before its attention: other than transformers writes them.

    Of all tensors that may have changed files, this norm of the layer at the border alone gives both sizes.
    """
    shapes = planner_shapes("lm-4b")
    order = sorted(shapes, key=lambda key: (layer_of(key), "input_layernorm" not in key))
    sizes = [file_bytes(shard, metadata=None) for shard in shards_of(shapes, order, WIDTHS["BF16"])]
    files = files_of("ACE-Step/acestep-5Hz-lm-4B")
    assert sizes == [size for path, size in sorted(files.items()) if path.endswith(".safetensors")]


@pytest.mark.parametrize(
    ("file", "shapes_of"),
    [
        ("diffusion_models/acestep_v1.5_xl_turbo_bf16", partial(upstream_shapes, "XL")),
        ("text_encoders/qwen_4b_ace15", partial(planner_shapes, "lm-4b")),
        ("text_encoders/qwen_1.7b_ace15", partial(planner_shapes, "lm-1.7b")),
    ],
    ids=["xl-turbo", "lm-4b", "lm-1.7b"],
)
def test_another_publishers_file_of_the_same_weights_is_as_large_too(
    file: str, shapes_of: Callable[[], Shapes]
) -> None:
    files = files_of("Comfy-Org/ace_step_1.5_ComfyUI_files", "split_files")
    assert file_bytes(shapes_of(), metadata=None) == files[f"{file}.safetensors"]


def test_the_stem_separator_is_as_large_as_published() -> None:
    """Its header tells what the network is made with, which is known from its first file."""
    told: Mapping[str, Any] = PUBLISHED["htdemucs"]
    arguments: dict[str, Any] = {name: None if value == "none" else value for name, value in told.items()}
    numerator, denominator = told["segment"]
    with torch.device("meta"):
        network = HTDemucs(**{**arguments, "segment": Fraction(numerator, denominator)})
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    row = CHECKPOINTS["htdemucs"]
    assert sum(map(prod, shapes.values())) == pytest.approx(row.parameters * 1e9, rel=0.01)
    arguments["segment"] = {"_type": "fraction", "numerator": numerator, "denominator": denominator}
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(arguments)}
    size = file_bytes(shapes, "F16", metadata)
    assert size == files_of(row.repo)["955717e8.safetensors"] == row.bytes
    assert REPOSITORIES[row.repo]["revision"] == row.revision


# ---- both runtimes take these names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", CONFIGS)
def test_mlx_stores_what_torch_stores(family: str) -> None:
    pytest.importorskip("mlx.core")
    from networks.acestep.mlx.networks import build as build_mlx
    from networks.acestep.mlx.weights import stored_shapes

    configs: dict[str, Config] = {**original_configs(CONFIGS[family]), VAE: VAE_CONFIG, TEXT: TEXT_CONFIG}
    for part, model in build_mlx(configs).items():
        stored = {key.removeprefix(f"{part}."): shape for key, shape in stored_shapes(part, model)}
        ours = dict(part_shapes(family)[part])
        if f"{part}." in SILENCE_KEY:
            silence = SILENCE_KEY.partition(".")[2]
            stored[silence] = ours[silence]  # of a free length
        assert stored == ours
