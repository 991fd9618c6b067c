"""Both layouts in which ACE-Step checkpoints come, as one list of parts with their configurations and keys.

A diffusers folder has a `model_index.json` and a folder per part. Upstream's original layout has one `config.json`,
its weights in one or many safetensors files and `silence_latent.pt`; the VAE and the text encoder then stand in
another repository, the companion. Nothing here loads a framework, except where the silence is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from core.errors import CheckpointError
from networks.acestep.runtime import Head, LatentShape
from networks.acestep.weights import REPAIR, SILENCE, read_json, weight_files

if TYPE_CHECKING:
    from torch import Tensor

Config = Mapping[str, Any]

TOKENIZER: Final = "audio_tokenizer"
DETOKENIZER: Final = "audio_token_detokenizer"
CODE_PARTS = (TOKENIZER, DETOKENIZER)
"""They read and write audio codes; a diffusers folder has both or, as that of XL turbo, neither."""
VAE: Final = "vae"
TEXT: Final = "text_encoder"
COMPANION_VAE = "vae"
COMPANION_TEXT = "Qwen3-Embedding-0.6B"
SILENCE_KEY = f"condition_encoder.{SILENCE}"
FSQ_LEVELS = (8, 8, 8, 5, 5, 5)
"""The quantiser's levels in the published checkpoints, and where a configuration gives none."""

_ORIGINAL_PARTS = (
    ("decoder.proj_in.1.", "transformer.proj_in_conv."),
    ("decoder.proj_out.1.", "transformer.proj_out_conv."),
    ("decoder.", "transformer."),
    # Before the encoder's prefix, which would hide it on the way back.
    ("null_condition_emb", "condition_encoder.null_condition_emb"),
    ("encoder.", "condition_encoder."),
    ("tokenizer.", "audio_tokenizer."),
    ("detokenizer.", "audio_token_detokenizer."),
)
_ORIGINAL_LEAVES = (
    (".q_proj.", ".to_q."),
    (".k_proj.", ".to_k."),
    (".v_proj.", ".to_v."),
    (".o_proj.", ".to_out.0."),
    (".q_norm.", ".norm_q."),
    (".k_norm.", ".norm_k."),
)
LYRIC_HEADS: Final = "lyric_alignment_layers_config"
"""The entry of a configuration that maps the DiT's layers to their heads that follow the words."""

_KNOWN_LYRIC_HEADS: Mapping[tuple[int, int], Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        (24, 16): {"2": (6,), "3": (10, 11), "4": (3,), "5": (8, 9), "6": (8,)},
        (32, 32): {"3": (18, 27), "4": (22,), "5": (5, 6, 7), "6": (2, 12, 13), "7": (20, 21)},
    }
)
"""Those of the published checkpoints, by numbers of layers and heads.

The first are upstream's for all of its 2B (acestep/core/generation/handler/lyric_alignment_common.py), the second stand
in the configurations of XL in upstream's layout, which those for diffusers leave out.
"""

_WIDTHS = "hidden_size intermediate_size num_attention_heads num_key_value_heads"
_LAYERS = "head_dim rope_theta attention_bias attention_dropout rms_norm_eps sliding_window"


@dataclass(frozen=True)
class Bundle:
    """Parts whose tensors lie in the same files.

    `path_of` gives the module path of a stored key, part first, as diffusers spells it; None for an unused tensor.
    `silence` is the file of upstream's silence, which is no safetensors file.
    """

    configs: Mapping[str, Config]
    files: tuple[Path, ...]
    path_of: Callable[[str], str | None]
    silence: Path | None = None


@dataclass(frozen=True)
class Layout:
    """All parts of a checkpoint.

    Without a companion the original layout has neither VAE nor text encoder; a diffusers folder may lack CODE_PARTS.
    """

    bundles: tuple[Bundle, ...]
    tokenizer_file: Path | None = None

    @property
    def configs(self) -> Mapping[str, Config]:
        """The configuration of every part by its name."""
        return {part: config for bundle in self.bundles for part, config in bundle.configs.items()}


def layout_of(folder: Path, companion: Path | None, vae: Path | None = None) -> Layout:
    """The parts of the checkpoint in `folder`, those of the VAE in `vae` if it is given.

    Raises CheckpointError when a file is missing or cannot be read.
    """
    if (folder / "model_index.json").is_file():
        codes = CODE_PARTS if any((folder / part).is_dir() for part in CODE_PARTS) else ()
        bundles = [_folder_bundle(part, folder / part) for part in ("transformer", "condition_encoder", *codes)]
        bundles.append(_folder_bundle(VAE, vae or folder / VAE))
        return Layout((*bundles, _text_bundle(folder / TEXT)), folder / "tokenizer" / "tokenizer.json")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} holds no checkpoint: no model_index.json, no config.json.", REPAIR)
    original = original_bundle(folder)
    if companion is None:
        return Layout((original,))
    text = companion / COMPANION_TEXT
    own = _folder_bundle(VAE, vae or companion / COMPANION_VAE)
    return Layout((original, own, _text_bundle(text)), text / "tokenizer.json")


def original_bundle(folder: Path) -> Bundle:
    """The four networks of a checkpoint in upstream's original layout."""
    configs = original_configs(read_json(folder / "config.json"))
    return Bundle(configs, tuple(weight_files(folder)), original_key, folder / "silence_latent.pt")


def _folder_bundle(part: str, folder: Path) -> Bundle:
    config = {name: value for name, value in read_json(folder / "config.json").items() if not name.startswith("_")}
    return Bundle({part: config}, tuple(weight_files(folder)), lambda key: f"{part}.{_weight_norm_key(key)}")


def _text_bundle(folder: Path) -> Bundle:
    return Bundle({TEXT: read_json(folder / "config.json")}, tuple(weight_files(folder)), _text_key)


def _text_key(key: str) -> str | None:
    if key == "lm_head.weight":  # tied to the embeddings, and unused here
        return None
    return f"{TEXT}.{key.removeprefix('model.')}"


def _weight_norm_key(key: str) -> str:
    """The older spelling of a weight-norm tensor, which diffusers' module has, from either spelling."""
    return key.replace("parametrizations.weight.original0", "weight_g").replace(
        "parametrizations.weight.original1", "weight_v"
    )


def original_key(key: str) -> str:
    """The module path, part first, of a key in upstream's spelling; an unknown key comes back as it is."""
    for theirs, ours in _ORIGINAL_PARTS:
        if key.startswith(theirs):
            key = ours + key.removeprefix(theirs)
            break
    for theirs, ours in _ORIGINAL_LEAVES:
        key = key.replace(theirs, ours)
    return key


def stored_key(path: str) -> str:
    """The key in upstream's spelling of a module path, part first: the way back of `original_key`."""
    for theirs, ours in _ORIGINAL_PARTS:
        if path.startswith(ours):
            path = theirs + path.removeprefix(ours)
            break
    for theirs, ours in _ORIGINAL_LEAVES:
        path = path.replace(ours, theirs)
    return path


def original_configs(config: Config) -> dict[str, Config]:
    """The configurations of the four networks, as diffusers spells them, that upstream's `config.json` describes.

    XL gives its encoders a width of their own (`encoder_hidden_size` and its kin); elsewhere the DiT's holds.
    """
    try:
        dit = _picked(config, f"{_WIDTHS} {_LAYERS}")
        encoder = dit | {name: config.get(f"encoder_{name}", config[name]) for name in _WIDTHS.split()}
        acoustic = config["audio_acoustic_hidden_dim"]
        pooler = {
            "audio_acoustic_hidden_dim": acoustic,
            "pool_window_size": config["pool_window_size"],
            "num_attention_pooler_hidden_layers": config["num_attention_pooler_hidden_layers"],
        }
        return {
            "transformer": dit
            | _picked(config, "num_hidden_layers in_channels patch_size layer_types")
            | {
                "audio_acoustic_hidden_dim": acoustic,
                "encoder_hidden_size": encoder["hidden_size"],
                "is_turbo": config.get("is_turbo", False),
                "model_version": config.get("model_version"),
            }
            | {name: config[name] for name in (LYRIC_HEADS,) if name in config},
            "condition_encoder": encoder
            | _picked(config, "text_hidden_dim timbre_hidden_dim")
            | _picked(config, "num_lyric_encoder_hidden_layers num_timbre_encoder_hidden_layers"),
            "audio_tokenizer": encoder | pooler | _picked(config, "fsq_dim fsq_input_levels fsq_input_num_quantizers"),
            "audio_token_detokenizer": encoder | pooler,
        }
    except KeyError as missing:
        raise CheckpointError(f"config.json lacks {missing}.", REPAIR) from None


def _picked(config: Config, names: str) -> dict[str, Any]:
    return {name: config[name] for name in names.split()}


def read_silence(file: Path) -> Tensor:
    """Upstream's silence as latents `(1, T, C)` on the CPU; raises CheckpointError for a file that holds none."""
    import torch

    try:
        silence = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{file.name} is missing in {file.parent}.", REPAIR) from None
    except (UnpicklingError, RuntimeError, EOFError) as broken:
        raise CheckpointError(f"{file} cannot be read.", REPAIR) from broken
    if not isinstance(silence, torch.Tensor) or silence.dim() != 3:
        raise CheckpointError(f"{file} holds no latents (1, channels, frames).", REPAIR)
    return silence.transpose(1, 2).contiguous()


def missing_part(part: Literal["vae", "text_encoder"]) -> CheckpointError:
    """The error for a checkpoint in upstream's layout that is used without the companion that holds `part`."""
    title = "VAE" if part == VAE else "text encoder"
    return CheckpointError(f"This checkpoint has no {title}.", "Give the companion folder that holds it.")


def missing_codes() -> CheckpointError:
    """The error for a checkpoint without CODE_PARTS that is asked for codes, or for what they stand for."""
    return CheckpointError(f"This checkpoint has no {' and no '.join(CODE_PARTS)}.", "Choose one that has them.")


def shape_of(configs: Mapping[str, Config]) -> LatentShape:
    """The latents' shape in a checkpoint with these configurations; its codes' is the family's where it has none."""
    dit, tokenizer, vae = configs["transformer"], configs.get(TOKENIZER), configs.get(VAE)
    shape = LatentShape(channels=dit["audio_acoustic_hidden_dim"], patch=dit["patch_size"])
    if tokenizer is not None:
        codebook_size = prod(tokenizer["fsq_input_levels"] or FSQ_LEVELS)
        shape = replace(shape, frames_per_code=tokenizer["pool_window_size"], codebook_size=codebook_size)
    if vae is None:
        return shape
    return replace(shape, hop=prod(vae["downsampling_ratios"]), sample_rate=vae["sampling_rate"])


def lyric_heads(configs: Mapping[str, Config]) -> tuple[Head, ...]:
    """The (layer, head) pairs of the DiT whose cross-attention follows the words, by layer.

    Those that its configuration names, else those known for a DiT of its size; empty where nobody has told. What is no
    such table is passed over, as upstream does.
    """
    dit = configs["transformer"]
    layers, heads = dit["num_hidden_layers"], dit["num_attention_heads"]
    tables: tuple[Any, ...] = (dit.get(LYRIC_HEADS), _KNOWN_LYRIC_HEADS.get((layers, heads), {}))
    for table in tables:
        try:
            pairs = sorted({(int(layer), int(head)) for layer, several in table.items() for head in several})
        except (AttributeError, TypeError, ValueError):
            continue
        if found := tuple((layer, head) for layer, head in pairs if 0 <= layer < layers and 0 <= head < heads):
            return found
    return ()


def reads_timbre_token(configs: Mapping[str, Config]) -> bool:
    """Whether the timbre is read from the special token in front of a reference, and not from its first frame.

    Upstream's XL prepends the token, its 2B does not. XL is known by encoders of another width than the DiT.
    """
    return bool(configs["condition_encoder"]["hidden_size"] != configs["transformer"]["hidden_size"])
