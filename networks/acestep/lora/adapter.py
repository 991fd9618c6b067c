"""What a LoRA file holds, and whether it fits a checkpoint.

A LoRA adds `scale * up @ down` to the weight of a linear layer, `down` being `(rank, in)`, `up` `(out, rank)` and
`scale` alpha / rank, as it was trained. Everything here is read from headers; only the runtime reads the matrices.
Refusals are AdapterErrors, raised before a network is touched.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from core.errors import AdapterError
from core.files import sha256
from core.knobs import Json
from networks.acestep.lora.header import AGAIN, FLOATS, Header, read_header

Kind = Literal["PEFT", "diffusers", "ComfyUI", "kohya"]
LinearShape = tuple[int, int]
"""(out, in) of a linear layer."""

LARGEST_BYTES = 500_000_000
HIGHEST_RANK = 256
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""The two files of a PEFT folder."""
PICKLED = "adapter_model.bin"
"""What peft wrote before safetensors."""

_HALVES = {
    "lora_A": "down",
    "lora_B": "up",
    "lora_down": "down",
    "lora_up": "up",
    "lora.down": "down",
    "lora.up": "up",
    "alpha": "alpha",
}
_KEY = re.compile(rf"(.+)\.({'|'.join(map(re.escape, _HALVES))})(?:\.default)?(?:\.weight)?")
_FOREIGN = {
    "lokr_": "a LoKr",
    "hada_": "a LoHa",
    "oft_": "an OFT adapter",
    "boft_": "a BOFT adapter",
    "ia3_": "an IA3 adapter",
    "dora_scale": "a DoRA",
    "magnitude_vector": "a DoRA",
    "lora_mid": "a Tucker-decomposed LoRA",
    "lora_embedding": "a LoRA of embeddings",
    "bias": "a LoRA with biases",
}
"""The parts of keys that give away adapters of other kinds."""
_PREFIXES = ("base_model_model", "diffusion_model", "lora_unet", "lora_transformer", "transformer", "model", "decoder")
_LEAVES = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "o_proj": "to_out_0"}
_FROM_BASE = ("gaussian", "eva", "orthogonal")
"""Ways of initialising a LoRA that leave the base model as it is."""
_SHOWN = 3
PLAIN = "Only plain LoRA is supported: ask its author for one, or convert it."
ANOTHER = "Choose the checkpoint that it was trained on, or another adapter."


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What an adapter adds to one linear layer: the keys of its two matrices, and the factor of their product.

    `module` is the layer as the file spells it, `name` the same in every spelling (see `layer_name`).
    """

    module: str
    name: str
    down: str
    up: str
    shape: LinearShape
    rank: int
    scale: float


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One LoRA as its file describes it, and the weight by which it is applied; `path` is the file of its matrices."""

    title: str
    path: Path
    kind: Kind
    bytes: int
    sha256: str
    layers: tuple[Layer, ...]
    weight: float = 1.0

    @property
    def rank(self) -> int:
        """The highest rank of its layers."""
        return max(layer.rank for layer in self.layers)

    @property
    def key(self) -> str:
        """Equal for adapters that do the same: its matrices, their factors, and its weight."""
        factors = [(layer.name, layer.scale) for layer in self.layers]
        return hashlib.sha256(json.dumps([self.sha256, factors, self.weight]).encode()).hexdigest()

    def summary(self) -> dict[str, Json]:
        """The adapter's facts for the track and the page."""
        scales = sorted({layer.scale for layer in self.layers})
        return {
            "file": self.title,
            "weight": self.weight,
            "kind": self.kind,
            "rank": self.rank,
            "scale": " to ".join(f"{scale:g}" for scale in dict.fromkeys((scales[0], scales[-1]))),
            "modules": len(self.layers),
            "bytes": self.bytes,
        }

    def __str__(self) -> str:
        return f"{self.title} at {self.weight:g} (rank {self.rank}, {len(self.layers)} modules)"


# ---- what a file holds -----------------------------------------------------------------------------------------------


def describe(path: Path) -> Adapter:
    """The adapter in a .safetensors file or a PEFT folder, read from its header in milliseconds, and its hash.

    Raises AdapterError for whatever cannot be applied, whichever the checkpoint: too large, a pickle, truncated, a
    rank above `HIGHEST_RANK`, another kind than plain LoRA, a half that is missing or misshapen.
    """
    try:
        return _described(path)
    except OSError as error:
        raise AdapterError(f"{path.name} cannot be read: {error.strerror}.", "Choose another file.") from error


def _described(path: Path) -> Adapter:
    weights, config = _files_of(path)
    size = weights.stat().st_size
    if size > LARGEST_BYTES:
        limit = f"at most {LARGEST_BYTES / 1e6:.0f} MB are accepted"
        raise AdapterError(f"{path.name} has {size / 1e6:.0f} MB: {limit}.", "Ask its author for a smaller one.")
    header = read_header(weights)
    training = _training_of(path.name, config or _saved_config(header))
    found = _parts_of(path.name, header)
    layers = tuple(_layer(path.name, header, module, parts, training) for module, parts in found.items())
    if not layers:
        raise AdapterError(f"{path.name} holds no LoRA.", AGAIN)
    by_name = {layer.name: layer.module for layer in layers}
    twice = next((layer.module for layer in layers if by_name[layer.name] != layer.module), None)
    if twice:
        raise AdapterError(f"{path.name} holds {twice} twice, in two spellings.", AGAIN)
    return Adapter(title=path.name, path=weights, kind=_kind(header), bytes=size, sha256=sha256(weights), layers=layers)


def layer_name(module: str) -> str:
    """A linear layer of the DiT by the one name that all spellings of its path have in common.

    kohya writes underscores for dots, so that dots cannot separate; the wrappers in front and the names of the
    projections differ between upstream and diffusers.
    """
    name = module.replace(".", "_")
    while prefix := next((prefix for prefix in _PREFIXES if name.startswith(f"{prefix}_")), None):
        name = name.removeprefix(f"{prefix}_")
    for theirs, ours in _LEAVES.items():
        if name.endswith(f"_{theirs}"):
            return name.removesuffix(theirs) + ours
    return name


def _files_of(path: Path) -> tuple[Path, Mapping[str, object]]:
    """The file of the matrices, and the PEFT configuration beside it, empty if there is none."""
    if not path.exists():
        raise AdapterError(f"{path.name} is not there.", "Give the path of a .safetensors file or a PEFT folder.")
    if not path.is_dir():
        config = path.parent / CONFIG
        return path, _read_config(config) if path.name == WEIGHTS and config.is_file() else {}
    missing = [name for name in (WEIGHTS, CONFIG) if not (path / name).is_file()]
    if missing:
        pickled = (path / PICKLED).is_file() and f": {PICKLED} is a pickle, which may run code when it is opened"
        raise AdapterError(f"{path.name} has no {missing[0]}{pickled or ''}.", "Give a PEFT folder with both files.")
    return path / WEIGHTS, _read_config(path / CONFIG)


def _read_config(file: Path) -> Mapping[str, object]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as broken:
        raise AdapterError(f"{file.name} is not JSON: {broken}.", AGAIN) from broken
    if not isinstance(config, dict):
        raise AdapterError(f"{file.name} holds no JSON object.", AGAIN)
    return config


def _saved_config(header: Header) -> Mapping[str, object]:
    """The configuration that diffusers saves inside a file, its part for the transformer."""
    try:
        config = json.loads(header.metadata.get("lora_adapter_metadata", "{}"))
    except (ValueError, RecursionError):
        return {}
    pairs = config.items() if isinstance(config, dict) else ()
    return {name.removeprefix("transformer."): value for name, value in pairs}


@dataclass(frozen=True)
class _Training:
    """How alpha was set: one for all layers unless a pattern names another; None stands for the layer's rank."""

    alpha: float | None
    patterns: Mapping[str, float]
    rank_stabilised: bool

    def scale(self, module: str, rank: int, alpha: float | None) -> float:
        """The factor of a layer; `alpha` is the file's own for it, which wins.

        Rank-stabilised LoRA divides by the root of the rank (arXiv 2312.03732).
        """
        if alpha is None:
            named = (each for name, each in self.patterns.items() if f".{module}".endswith(f".{name}"))
            alpha = next(named, self.alpha)
        return 1.0 if alpha is None else alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


def _training_of(name: str, config: Mapping[str, object]) -> _Training:
    """How the adapter was trained, from its PEFT configuration; raises AdapterError when it is no plain LoRA."""
    kind = str(config.get("peft_type") or "LORA")
    variants = [key.removeprefix("use_") for key, on in config.items() if key.startswith("use_") and on]
    other = [kind] * (kind != "LORA") + [variant for variant in variants if variant != "rslora"]
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start not in _FROM_BASE:
        other.append(start)
    if other:
        named = ", ".join({"dora": "DoRA", "LOKR": "LoKr", "LOHA": "LoHa"}.get(each, each) for each in other)
        raise AdapterError(f"{name} was trained with {named}.", PLAIN)
    patterns = config.get("alpha_pattern") or {}
    try:
        alphas = {name.removeprefix("^"): _alpha(each) for name, each in cast("Mapping[str, object]", patterns).items()}
        alpha = None if config.get("lora_alpha") is None else _alpha(config["lora_alpha"])
    except (AttributeError, ValueError) as broken:
        raise AdapterError(f"{name}: {CONFIG} gives no usable alpha.", AGAIN) from broken
    # peft takes these names for regular expressions; one that is more than a name could run forever.
    wild = next((each for each in alphas if not re.fullmatch(r"[\w.]+", each)), None)
    if wild is not None:
        raise AdapterError(f"{name} gives alpha by a pattern that is no module's name: {wild}.", PLAIN)
    return _Training(alpha, alphas, bool(config.get("use_rslora")))


def _alpha(given: object) -> float:
    """A finite number; ValueError when it is none."""
    if not isinstance(given, int | float) or not math.isfinite(given):
        raise ValueError(given)
    return float(given)


def _parts_of(name: str, header: Header) -> dict[str, dict[str, str]]:
    """The keys of each module's parts (down, up, alpha); raises AdapterError for a key that is part of no LoRA."""
    found: dict[str, dict[str, str]] = {}
    for key in header.entries:
        match = _KEY.fullmatch(key)
        if match is None:
            kind = next((kind for sign, kind in _FOREIGN.items() if sign in key), None)
            what = f"is {kind}" if kind else "holds more than a LoRA"
            raise AdapterError(f"{name} {what}: {key}.", PLAIN)
        found.setdefault(match[1], {})[_HALVES[match[2]]] = key
    return found


def _layer(title: str, header: Header, module: str, parts: Mapping[str, str], training: _Training) -> Layer:
    missing = [half for half in ("down", "up") if half not in parts]
    if missing:
        raise AdapterError(f"{title} lacks the {missing[0]} matrix of {module}.", AGAIN)
    down, up = (header.entries[parts[half]] for half in ("down", "up"))
    rank = down.shape[0] if down.shape else 0
    if len(down.shape) != 2 or len(up.shape) != 2 or rank != up.shape[1] or not all((*down.shape, *up.shape)):
        raise AdapterError(f"{title} gives {module} matrices of {down.shape} and {up.shape}.", PLAIN)
    if not {down.dtype, up.dtype} <= set(FLOATS):
        raise AdapterError(f"{title} gives {module} numbers of the formats {down.dtype} and {up.dtype}.", PLAIN)
    if rank > HIGHEST_RANK:
        raise AdapterError(f"{title} has rank {rank}: at most {HIGHEST_RANK} is accepted.", PLAIN)
    alpha = header.scalar(parts["alpha"]) if "alpha" in parts else None
    return Layer(
        module=module,
        name=layer_name(module),
        down=parts["down"],
        up=parts["up"],
        shape=(up.shape[0], down.shape[1]),
        rank=rank,
        scale=training.scale(module.removeprefix("base_model.model."), rank, alpha),
    )


def _kind(header: Header) -> Kind:
    first = next(iter(header.entries))
    if ".lora_down" in first or ".lora_up" in first or first.startswith("lora_"):
        return "kohya"
    if first.startswith("diffusion_model."):
        return "ComfyUI"
    return "diffusers" if first.startswith("transformer.") or ".to_" in first else "PEFT"


def unreadable(adapter: Adapter, broken: Exception) -> AdapterError:
    """The error for an adapter whose matrices cannot be read."""
    return AdapterError(f"{adapter.title} cannot be read: {broken}.", AGAIN)


def not_finite(adapter: Adapter, layer: Layer) -> AdapterError:
    """The error for an adapter with numbers in a layer that are not finite."""
    return AdapterError(f"{adapter.title} holds numbers that are not finite in {layer.module}.", AGAIN)


# ---- whether it fits -------------------------------------------------------------------------------------------------


def linear_shapes(folder: Path) -> dict[str, LinearShape]:
    """The linear layers of a checkpoint's DiT by `layer_name`, of either layout, read from the headers of its files.

    Raises AdapterError when they cannot be read.
    """
    part, prefix = folder / "transformer", ""
    if not part.is_dir():
        part, prefix = folder, "decoder."
    shapes: dict[str, LinearShape] = {}
    for file in sorted(part.glob("*.safetensors")):
        for key, entry in read_header(file).entries.items():
            if key.startswith(prefix) and key.endswith(".weight") and len(entry.shape) == 2:
                shapes[layer_name(key.removesuffix(".weight"))] = (entry.shape[0], entry.shape[1])
    return shapes


def check_fit(adapter: Adapter, shapes: Mapping[str, LinearShape]) -> None:
    """Raise AdapterError unless the DiT's linear layers of these shapes include every layer of the adapter."""
    for layer in adapter.layers:
        have = shapes.get(layer.name, layer.shape)
        if have != layer.shape:
            trained, here = (f"{out} x {into}" for out, into in (layer.shape, have))
            what = f"{layer.module} is {trained} there and {here} here"
            raise AdapterError(f"{adapter.title} was made for a model of another size: {what}.", ANOTHER)
    unknown = [layer.module for layer in adapter.layers if layer.name not in shapes]
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        named = ", ".join(unknown[:_SHOWN]) + more
        raise AdapterError(f"{adapter.title} is for modules that this model does not have: {named}.", ANOTHER)
