"""What an adapter's file holds, and whether it fits a checkpoint.

An adapter adds `scale` times a matrix `(out, in)` to the weight of a linear layer, `scale` being alpha / rank as it was
trained. LoRA makes that matrix of `up @ down`, LoKr (arXiv 2309.14859) of the Kronecker product of w1 and w2, LoHa
(arXiv 2108.06098) of the product of two low-rank matrices, number by number; DoRA scales what comes out of any of them
to a magnitude of its own. What fits is read from headers,
and the numbers are looked through once; only the runtime loads the matrices. Refusals are AdapterErrors, raised before
a network is touched.
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

Kind = Literal["PEFT", "diffusers", "ComfyUI", "kohya", "LyCORIS"]
"""In whose spelling a file is."""
Form = Literal["LoRA", "LoKr", "LoHa"]
Side = Literal["outputs", "inputs"]
LinearShape = tuple[int, int]
"""(out, in) of a linear layer."""

MAGNITUDE = "magnitude"
"""The part that makes any adapter a DoRA: the norms of the changed weight's rows, or of its columns."""
_ALPHA = "alpha"

LARGEST_BYTES = 500_000_000
LARGEST_NUMBER = 65_504.0
"""The largest that float16 holds: the numbers of a trained adapter are below 100."""
LARGEST_SCALE = 10_000.0
_LOOKED_THROUGH: set[str] = set()
"""The SHA-256 of files whose numbers were all looked at: half a second for the largest, once for each."""
HIGHEST_RANK = 256
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
"""The two files of a PEFT folder."""
LYCORIS_WEIGHTS = ("lokr_weights.safetensors", "loha_weights.safetensors")
"""The file of the folders that upstream's trainer and its kin write through LyCORIS."""
PICKLED = "adapter_model.bin"
"""What peft wrote before safetensors."""

_LOKR = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")
_LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
_PARTS = {
    "lora_A": "down",
    "lora_B": "up",
    "lora_down": "down",
    "lora_up": "up",
    "lora.down": "down",
    "lora.up": "up",
    **{part: part for part in (*_LOKR, *_LOHA)},
    "lora_magnitude_vector": MAGNITUDE,
    "dora_scale": MAGNITUDE,
    "alpha": _ALPHA,
}
"""The parts of a layer's adapter, by what they are called in keys."""
_KEY = re.compile(rf"(.+)\.({'|'.join(map(re.escape, _PARTS))})(?:\.default)?(?:\.weight)?")
_FOREIGN = {
    "lokr_t": "a Tucker-decomposed LoKr",
    "hada_t": "a Tucker-decomposed LoHa",
    "boft_": "a BOFT adapter",
    "oft_": "an OFT adapter",
    "ia3_": "an IA3 adapter",
    "lora_mid": "a Tucker-decomposed LoRA",
    "lora_embedding": "a LoRA of embeddings",
    "bias": "a LoRA with biases",
}
"""The parts of keys that give away adapters of other kinds."""
_WRAPPERS = ("base_model_model", "diffusion_model", "lora_unet", "lora_transformer", "lycoris")
_PREFIXES = (*_WRAPPERS, "transformer", "model", "decoder")
_LEAVES = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "o_proj": "to_out_0"}
_FROM_BASE = ("gaussian", "eva", "orthogonal")
"""Ways of initialising a LoRA that leave the base model as it is."""
_HARMLESS = ("rslora", "dora", "effective_conv2d")
"""What a PEFT configuration may have in use; the last concerns convolutions only."""
_SHOWN = 3
SUPPORTED = "Only LoRA, LoKr, LoHa and DoRA of linear layers are supported: ask its author for one, or convert it."
_PEFT_TYPES = {"LORA": "lora_alpha", "LOKR": "alpha", "LOHA": "alpha"}
"""The kinds of PEFT folders, and what alpha is called in their configurations."""
ANOTHER = "Choose the checkpoint that it was trained on, or another adapter."


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What an adapter adds to one linear layer: the keys of its tensors, and the factor of what they make.

    `module` is the layer as the file spells it, `name` the same in every spelling (see `layer_name`). `keys` are by the
    tensors' own names: down and up, those of LyCORIS, and the magnitude. `rank` is that of the low-rank matrices; where
    a LoKr has none, of its w2. `magnitude_of` tells what a DoRA's magnitude is one of, and is None where there is none.
    """

    module: str
    name: str
    form: Form
    keys: Mapping[str, str]
    shape: LinearShape
    rank: int
    scale: float
    magnitude_of: Side | None = None


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One adapter as its file describes it, the weight by which it is applied, and the file of its tensors, `path`."""

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
    def form(self) -> str:
        """What its layers are: LoRA, LoKr or LoHa, and DoRA where they have a magnitude of their own."""
        forms = {layer.form for layer in self.layers}
        decomposed = any(layer.magnitude_of for layer in self.layers)
        names = ["DoRA"] * decomposed if forms == {"LoRA"} and decomposed else sorted(forms) + ["DoRA"] * decomposed
        return " + ".join(names)

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
            "form": self.form,
            "rank": self.rank,
            "scale": " to ".join(f"{scale:g}" for scale in dict.fromkeys((scales[0], scales[-1]))),
            "modules": len(self.layers),
            "bytes": self.bytes,
        }

    def __str__(self) -> str:
        return f"{self.title} at {self.weight:g} ({self.form}, rank {self.rank}, {len(self.layers)} modules)"


# ---- what a file holds -----------------------------------------------------------------------------------------------


def describe(path: Path) -> Adapter:
    """The adapter in a .safetensors file or a PEFT folder, read from its header, and its hash.

    Raises AdapterError for whatever cannot be applied, whichever the checkpoint: too large, a pickle, truncated, a
    rank above `HIGHEST_RANK`, a kind that is not supported, a matrix that is missing or misshapen, numbers that are not
    finite or that no training leaves.
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
        raise AdapterError(f"{path.name} holds no adapter.", AGAIN)
    by_name = {layer.name: layer.module for layer in layers}
    twice = next((layer.module for layer in layers if by_name[layer.name] != layer.module), None)
    if twice:
        raise AdapterError(f"{path.name} holds {twice} twice, in two spellings.", AGAIN)
    plain = next((layer.module for layer in layers if training.decomposed and not layer.magnitude_of), None)
    if plain:
        raise AdapterError(f"{path.name} was trained with DoRA and lacks the {MAGNITUDE} of {plain}.", AGAIN)
    digest = sha256(weights)
    made = Adapter(title=path.name, path=weights, kind=_kind(header), bytes=size, sha256=digest, layers=layers)
    if digest not in _LOOKED_THROUGH:
        _check_numbers(made, header)
        _LOOKED_THROUGH.add(digest)
    return made


def _check_numbers(adapter: Adapter, header: Header) -> None:
    """Raise AdapterError for numbers that are not finite, and for those that no training leaves."""
    for layer in adapter.layers:
        if abs(layer.scale) > LARGEST_SCALE:
            raise AdapterError(f"{adapter.title} gives {layer.module} the factor {layer.scale:g}.", AGAIN)
        for key in layer.keys.values():
            largest = header.largest(key)
            if not math.isfinite(largest):
                raise not_finite(adapter, layer)
            if largest > LARGEST_NUMBER:
                raise AdapterError(f"{adapter.title} holds numbers as large as {largest:.3g} in {layer.module}.", AGAIN)


def layer_name(module: str) -> str:
    """A linear layer of the DiT by the one name that all spellings of its path have in common.

    kohya writes underscores for dots, so that dots cannot separate; the wrappers in front and the names of the
    projections differ between upstream and diffusers.
    """
    name, start = module.replace(".", "_"), 0
    while prefix := next((prefix for prefix in _PREFIXES if name.startswith(f"{prefix}_", start)), None):
        start += len(prefix) + 1
    name = name[start:]  # cut once: a name of megabytes, all of it prefixes, would be copied for each of them
    for theirs, ours in _LEAVES.items():
        if name.endswith(f"_{theirs}"):
            return name.removesuffix(theirs) + ours
    return name


def _files_of(path: Path) -> tuple[Path, Mapping[str, object]]:
    """The file of the matrices, and the PEFT configuration beside it, empty if there is none."""
    if not path.exists():
        raise AdapterError(f"{path.name} is not there.", "Give the path of a .safetensors file or a PEFT folder.")
    if not path.is_dir():
        if not path.is_file():  # a pipe would be waited for
            raise AdapterError(f"{path.name} is no file.", "Give the path of a .safetensors file or a PEFT folder.")
        config = path.parent / CONFIG
        return path, _read_config(config) if path.name == WEIGHTS and config.is_file() else {}
    lycoris = [path / name for name in LYCORIS_WEIGHTS if (path / name).is_file()]
    if lycoris and not (path / WEIGHTS).is_file():
        return lycoris[0], {}
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
class _ByModule:
    """A number for all layers unless a pattern names another; None stands for none."""

    usual: float | None
    patterns: Mapping[str, float]

    def of(self, module: str) -> float | None:
        return next((value for name, value in self.patterns.items() if f".{module}".endswith(f".{name}")), self.usual)


@dataclass(frozen=True)
class _Training:
    """How an adapter was trained: alpha and rank, and whether it is a DoRA."""

    alpha: _ByModule
    rank: _ByModule
    rank_stabilised: bool
    decomposed: bool

    def scale(self, module: str, rank: int | None, alpha: float | None) -> float:
        """The factor of a layer; `alpha` is the file's own for it, which wins.

        Rank-stabilised LoRA divides by the root of the rank (arXiv 2312.03732). A LoKr without low-rank matrices has
        None as its rank: LyCORIS takes its factor to be 1, whatever alpha tells, and peft what the configuration says.
        """
        if alpha is None:
            alpha = self.alpha.of(module)
        divisor = self.rank.of(module) if rank is None else rank
        if alpha is None or not divisor:
            return 1.0
        return alpha / (math.sqrt(divisor) if self.rank_stabilised else divisor)


def _training_of(name: str, config: Mapping[str, object]) -> _Training:
    """How the adapter was trained, from its PEFT configuration; raises AdapterError for a kind not supported."""
    kind = str(config.get("peft_type") or "LORA")
    variants = [key.removeprefix("use_") for key, on in config.items() if key.startswith("use_") and on]
    other = [kind] * (kind not in _PEFT_TYPES) + [variant for variant in variants if variant not in _HARMLESS]
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start not in _FROM_BASE:
        other.append(start)
    if other:
        raise AdapterError(f"{name} was trained with {', '.join(other)}.", SUPPORTED)
    try:
        alpha = _by_module(config, _PEFT_TYPES[kind], "alpha_pattern")
        rank = _by_module(config, "r", "rank_pattern") if kind == "LOKR" else _ByModule(None, {})
    except (AttributeError, ValueError) as broken:
        raise AdapterError(f"{name}: {CONFIG} gives no usable alpha.", AGAIN) from broken
    # peft takes these names for regular expressions; one that is more than a name could run forever.
    wild = next((each for each in (*alpha.patterns, *rank.patterns) if not re.fullmatch(r"[\w.]+", each)), None)
    if wild is not None:
        raise AdapterError(f"{name} gives alpha by a pattern that is no module's name: {wild}.", SUPPORTED)
    return _Training(alpha, rank, bool(config.get("use_rslora")), bool(config.get("use_dora")))


def _by_module(config: Mapping[str, object], usual: str, patterns: str) -> _ByModule:
    """A number of a configuration and its exceptions; ValueError or AttributeError when they are none."""
    exceptions = cast("Mapping[str, object]", config.get(patterns) or {})
    by_name = {name.removeprefix("^"): _number(each) for name, each in exceptions.items()}
    return _ByModule(None if config.get(usual) is None else _number(config[usual]), by_name)


def _number(given: object) -> float:
    """A finite number; ValueError when it is none."""
    if not isinstance(given, int | float) or not math.isfinite(given):
        raise ValueError(given)
    return float(given)


def _parts_of(name: str, header: Header) -> dict[str, dict[str, str]]:
    """The keys of each module's parts; raises AdapterError for a key that is part of no adapter of ours."""
    found: dict[str, dict[str, str]] = {}
    for key in header.entries:
        match = _KEY.fullmatch(key)
        if match is None:
            kind = next((kind for sign, kind in _FOREIGN.items() if sign in key), None)
            what = f"is {kind}" if kind else "holds more than an adapter"
            raise AdapterError(f"{name} {what}: {key}.", SUPPORTED)
        found.setdefault(match[1], {})[_PARTS[match[2]]] = key
    return found


def _layer(title: str, header: Header, module: str, parts: Mapping[str, str], training: _Training) -> Layer:
    form, needed = _form(title, module, parts)
    missing = [part for part in needed if part not in parts]
    if missing:
        raise AdapterError(f"{title} lacks the {missing[0]} matrix of {module}.", AGAIN)
    keys = {part: parts[part] for part in (*needed, MAGNITUDE) if part in parts}
    entries = {part: header.entries[key] for part, key in keys.items()}
    dtypes = dict.fromkeys(entry.dtype for entry in entries.values())
    if not dtypes.keys() <= set(FLOATS):
        raise AdapterError(f"{title} gives {module} numbers of the formats {' and '.join(dtypes)}.", SUPPORTED)
    shapes = {part: entries[part].shape for part in needed}
    measured = _measure(form, shapes)
    if measured is None:
        told = " and ".join(map(str, shapes.values()))
        raise AdapterError(f"{title} gives {module} matrices of {told}.", SUPPORTED)
    shape, rank = measured
    if rank is not None and rank > HIGHEST_RANK:
        raise AdapterError(f"{title} has rank {rank}: at most {HIGHEST_RANK} is accepted.", SUPPORTED)
    alpha = header.scalar(parts[_ALPHA]) if _ALPHA in parts else None
    return Layer(
        module=module,
        name=layer_name(module),
        form=form,
        keys=keys,
        shape=shape,
        rank=min(shapes["lokr_w2"]) if rank is None else rank,
        scale=training.scale(module.removeprefix("base_model.model."), rank, alpha),
        magnitude_of=_side(title, module, entries[MAGNITUDE].shape, shape) if MAGNITUDE in entries else None,
    )


def _form(title: str, module: str, parts: Mapping[str, str]) -> tuple[Form, tuple[str, ...]]:
    """What a module's adapter is by its parts, and the matrices it needs; raises AdapterError when it is two at once.

    Each half of a LoKr is whole or in two factors.
    """
    form: Form = "LoKr" if not parts.keys().isdisjoint(_LOKR) else "LoRA"
    needed: tuple[str, ...] = ("down", "up")
    if form == "LoKr":
        halves = ("lokr_w1", "lokr_w2")
        needed = tuple(part for half in halves for part in ([half] if half in parts else [f"{half}_a", f"{half}_b"]))
    elif not parts.keys().isdisjoint(_LOHA):
        form, needed = "LoHa", _LOHA
    beyond = parts.keys() - {*needed, MAGNITUDE, _ALPHA}
    if beyond:
        raise AdapterError(f"{title} gives {module} a {min(beyond)} beside what makes a {form}.", SUPPORTED)
    return form, needed


def _measure(form: Form, shapes: Mapping[str, tuple[int, ...]]) -> tuple[LinearShape, int | None] | None:
    """The shape of what the matrices make, and their rank, None where none is of low rank; None when they do not fit.

    LyCORIS and peft give all matrices of a layer one rank.
    """
    if any(len(shape) != 2 or not all(shape) for shape in shapes.values()):
        return None
    products = {"LoRA": [("up", "down")], "LoHa": [("hada_w1_a", "hada_w1_b"), ("hada_w2_a", "hada_w2_b")]}
    pairs = products.get(form, [(f"{half}_a", f"{half}_b") for half in ("lokr_w1", "lokr_w2") if half not in shapes])
    ranks = {rank for left, right in pairs for rank in (shapes[left][1], shapes[right][0])}
    made = [(shapes[left][0], shapes[right][1]) for left, right in pairs]
    if form == "LoKr":
        made += [(shapes[half][0], shapes[half][1]) for half in ("lokr_w1", "lokr_w2") if half in shapes]
        shape = (made[0][0] * made[1][0], made[0][1] * made[1][1])
    else:
        shape = made[0]
    if len(ranks) > 1 or (form == "LoHa" and made[0] != made[1]):
        return None
    return shape, next(iter(ranks), None)


def _side(title: str, module: str, magnitude: tuple[int, ...], shape: LinearShape) -> Side:
    """What a magnitude is of: outputs as peft and LyCORIS write it, inputs as LyCORIS can and once did."""
    out, into = shape
    if magnitude in ((out,), (out, 1)):
        return "outputs"
    if magnitude == (1, into):
        return "inputs"
    told = f"a {MAGNITUDE} of {magnitude} and matrices that make {shape}"
    raise AdapterError(f"{title} gives {module} {told}.", SUPPORTED)


def _kind(header: Header) -> Kind:
    first = next(iter(header.entries))
    if first.startswith("lycoris_"):
        return "LyCORIS"
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
