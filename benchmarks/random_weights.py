"""Random weights of the published checkpoints, in the folders, files and formats in which they are published.

    .venv/bin/python benchmarks/random_weights.py models xl-sft lm-0.6b

What is made is as large and as slow as the real thing, and says nothing. Tensors are drawn one by one, seeded, and
written shard by shard: what is held at once is one shard.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from core.paths import nano_folder
from networks.acestep.layouts import (
    COMPANION_TEXT,
    COMPANION_VAE,
    SILENCE_KEY,
    TEXT,
    VAE,
    Config,
    original_configs,
    stored_key,
)
from networks.acestep.published import CONFIGS, PLANNER_CONFIGS, TEXT_CONFIG, VAE_CONFIG
from networks.acestep.torch.parts import build_parts
from networks.acestep.torch.weights import build

XL_CONFIGS: Mapping[str, Config] = {
    "xl-sft": {**CONFIGS["XL"], "model_version": "sft"},
    "xl-turbo": {**CONFIGS["XL"], "model_version": "turbo", "is_turbo": True},
    "xl-base": {**CONFIGS["XL"], "model_version": "base"},
}
"""Published in the diffusers layout."""

SMALL_CONFIGS: Mapping[str, Config] = {
    "2b-turbo": {**CONFIGS["2B"], "model_version": "turbo", "is_turbo": True},
    "2b-sft": {**CONFIGS["2B"], "model_version": "sft"},
    "2b-base": {**CONFIGS["2B"], "model_version": "base"},
}
"""Published in upstream's own layout, with the companion beside them."""

NAMES = (*XL_CONFIGS, *SMALL_CONFIGS, *PLANNER_CONFIGS)
SHARD = 1_000_000_000
"""Bytes of a file at the most, if no tensor alone is larger."""
BLOCK = 2**24
"""Numbers that are drawn at once."""
DTYPE = torch.bfloat16
SPREAD = 0.02
"""Standard deviation of a matrix, as Qwen3 is initialised."""
SILENCE_FRAMES = 15_000

FIRST_CONTROL, THOUGHT, FIRST_CODE, CODE_SLOTS = 151_643, 151_667, 151_669, 65_535
CONTROLS = {
    **{name: FIRST_CONTROL + place for place, name in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))},
    **{name: THOUGHT + place for place, name in enumerate(("<think>", "</think>"))},
    **{f"<|audio_code_{code}|>": FIRST_CODE + code for code in range(CODE_SLOTS)},
}
"""The control tokens of the planners at their places."""

Shapes = Mapping[str, tuple[int, ...]]


class Dice:
    """Weights by chance: the same seed and device give the same ones."""

    def __init__(self, device: str, seed: int) -> None:
        self.device = device
        self._generator = torch.Generator(device).manual_seed(seed)

    def tensor(self, key: str, shape: tuple[int, ...]) -> Tensor:
        """What networks are initialised with, on the CPU: norms and gains of one, biases and snakes of zero."""
        if key.endswith(("alpha", "beta", "bias")):
            return torch.zeros(shape, dtype=DTYPE)
        if key.endswith("weight_g") or (len(shape) == 1 and "norm" in key):
            return torch.ones(shape, dtype=DTYPE)
        flat = torch.empty(prod(shape), dtype=DTYPE)
        for block in flat.split(BLOCK):
            drawn = torch.empty(len(block), device=self.device).normal_(0, SPREAD, generator=self._generator)
            block.copy_(drawn)
        return flat.reshape(shape)


def save_shards(folder: Path, stem: str, shapes: Shapes, dice: Dice) -> None:
    """Write tensors of these shapes into as many files as they need, with an index where there are several."""
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    filled = 0
    for key, shape in shapes.items():
        size = prod(shape) * DTYPE.itemsize
        if shards[-1] and filled + size > SHARD:
            shards.append({})
            filled = 0
        shards[-1][key] = shape
        filled += size
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{stem}-{place:05d}-of-{len(shards):05d}.safetensors" for place in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = [f"{stem}.safetensors"]
    for name, shard in zip(names, shards, strict=True):
        save_file({key: dice.tensor(key, shape) for key, shape in shard.items()}, folder / name, {"format": "pt"})
    if len(shards) > 1:
        weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
        size = sum(prod(shape) * DTYPE.itemsize for shape in shapes.values())
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))


def shapes_of(part: str, config: Config) -> Shapes:
    """The tensors of a part by their key in it."""
    (module,) = build_parts({part: config}).values()
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    silence = SILENCE_KEY.partition(".")[2]
    if part == SILENCE_KEY.partition(".")[0]:
        shapes[silence] = (1, SILENCE_FRAMES, shapes[silence][2])
    return shapes


def save_part(folder: Path, part: str, config: Config, dice: Dice) -> None:
    """Write a part as diffusers and transformers do: its configuration and its weights."""
    stem = "model" if part == TEXT else "diffusion_pytorch_model"
    save_shards(folder, stem, shapes_of(part, config), dice)
    (folder / "config.json").write_text(json.dumps(dict(config)))


def make_xl(folder: Path, config: Config, dice: Dice) -> None:
    """Write a checkpoint in the diffusers layout; nano's tokenizer stands for the real one."""
    parts = {**original_configs(config), VAE: VAE_CONFIG, TEXT: TEXT_CONFIG}
    for part, described in parts.items():
        save_part(folder / part, part, described, dice)
    (folder / "tokenizer").mkdir(exist_ok=True)
    shutil.copy(nano_folder() / "tokenizer" / "tokenizer.json", folder / "tokenizer")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "AceStepPipeline"}))


def make_small(folder: Path, config: Config, dice: Dice) -> None:
    """Write a checkpoint in upstream's layout, and its companion beside it where there is none yet."""
    paths = {
        f"{part}.{key}": shape
        for part, described in original_configs(config).items()
        for key, shape in shapes_of(part, described).items()
    }
    frames, channels = paths.pop(SILENCE_KEY)[1:]
    save_shards(folder, "model", {stored_key(path): shape for path, shape in paths.items()}, dice)
    torch.save(dice.tensor("silence", (1, channels, frames)).float(), folder / "silence_latent.pt")
    (folder / "config.json").write_text(json.dumps(dict(config)))
    companion = folder.parent / "companion"
    if not companion.exists():
        save_part(companion / COMPANION_VAE, VAE, VAE_CONFIG, dice)
        save_part(companion / COMPANION_TEXT, TEXT, TEXT_CONFIG, dice)
        shutil.copy(nano_folder() / "tokenizer" / "tokenizer.json", companion / COMPANION_TEXT)


def make_planner(folder: Path, config: Config, dice: Dice) -> None:
    """Write a planner, with nano's words in the place of Qwen's, and its control tokens where they really are."""
    model = build(lambda: Qwen3ForCausalLM(Qwen3Config.from_dict(dict(config))))
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items() if key != "lm_head.weight"}
    save_shards(folder, "model", shapes, dice)
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    described = json.loads((nano_folder() / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    described["model"]["vocab"] = {
        text: token for text, token in described["model"]["vocab"].items() if text not in CONTROLS
    }
    described["added_tokens"] = [{"id": token, "content": name, **flags} for name, token in CONTROLS.items()]
    (folder / "tokenizer.json").write_text(json.dumps(described))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def make(name: str, models: Path, device: str = "cpu", seed: int = 0) -> Path:
    """The folder of a checkpoint in the models folder, with random weights in it; one that is there stays."""
    folder, unfinished = models / name, models / f".{name}"
    if folder.exists():
        return folder
    shutil.rmtree(unfinished, ignore_errors=True)
    ways: tuple[tuple[Mapping[str, Config], Callable[[Path, Config, Dice], None]], ...] = (
        (XL_CONFIGS, make_xl),
        (SMALL_CONFIGS, make_small),
        (PLANNER_CONFIGS, make_planner),
    )
    for configs, way in ways:
        if name in configs:
            way(unfinished, configs[name], Dice(device, seed))
    unfinished.rename(folder)
    return folder


def weight_files(folder: Path) -> Iterable[Path]:
    """Every file of weights below a folder."""
    return folder.rglob("*.safetensors")


def main() -> int:
    """0 when everything asked for is there."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("models", type=Path, help="the folder that ACE_MODELS_DIR shall name")
    options.add_argument("names", nargs="+", choices=NAMES)
    options.add_argument("--device", default="cpu", help="where the numbers are drawn")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    for name in asked.names:
        folder = make(name, asked.models, asked.device, asked.seed)
        size = sum(file.stat().st_size for file in weight_files(folder))
        sys.stdout.write(f"{folder}: {size:,} bytes of weights\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
