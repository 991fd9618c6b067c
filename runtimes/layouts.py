"""Both layouts in which ACE-Step checkpoints come, as one set of modules.

A diffusers folder has a `model_index.json` and a folder per part. Upstream's original layout has one `config.json`,
its weights in one or many safetensors files and `silence_latent.pt`; the VAE and the text encoder then stand in
another repository, the companion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_oobleck import AutoencoderOobleck, OobleckResidualUnit
from diffusers.models.transformers.ace_step_transformer import AceStepTransformer1DModel
from diffusers.pipelines.ace_step.modeling_ace_step import (
    AceStepAudioTokenDetokenizer,
    AceStepAudioTokenizer,
    AceStepConditionEncoder,
)
from torch import Tensor, nn
from transformers.models.qwen3 import Qwen3Config, Qwen3Model

from errors import CheckpointError
from runtimes.weights import REPAIR, build, fill, read_json, read_tensors, weight_files

Config = Mapping[str, Any]
Network = Any
"""A module of diffusers or transformers, whose attributes are known only when it runs."""

DIFFUSERS_PARTS: Mapping[str, type[nn.Module]] = {
    "transformer": AceStepTransformer1DModel,
    "condition_encoder": AceStepConditionEncoder,
    "audio_tokenizer": AceStepAudioTokenizer,
    "audio_token_detokenizer": AceStepAudioTokenDetokenizer,
    "vae": AutoencoderOobleck,
}
COMPANION_VAE = "vae"
COMPANION_TEXT = "Qwen3-Embedding-0.6B"

_ORIGINAL_PARTS = (
    ("decoder.proj_in.1.", "transformer.proj_in_conv."),
    ("decoder.proj_out.1.", "transformer.proj_out_conv."),
    ("decoder.", "transformer."),
    ("encoder.", "condition_encoder."),
    ("null_condition_emb", "condition_encoder.null_condition_emb"),
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
_WIDTHS = "hidden_size intermediate_size num_attention_heads num_key_value_heads"
_LAYERS = "head_dim rope_theta attention_bias attention_dropout rms_norm_eps sliding_window"


@dataclass(frozen=True)
class Parts:
    """A checkpoint's modules, loaded; `vae`, `text_encoder` and `tokenizer_file` are None without a companion."""

    transformer: Network
    condition_encoder: Network
    audio_tokenizer: Network
    audio_token_detokenizer: Network
    vae: Network = None
    text_encoder: Network = None
    tokenizer_file: Path | None = None


def load_parts(folder: Path, companion: Path | None, device: torch.device, dtype: torch.dtype) -> Parts:
    """The modules of the checkpoint in `folder`, whichever its layout; raises CheckpointError, see `fill`.

    The VAE runs in float32 whatever `dtype` is: bfloat16 leaves 19 dB between its sound and its error.
    """
    if (folder / "model_index.json").is_file():
        modules = {part: _from_folder(make, folder / part, device, dtype) for part, make in DIFFUSERS_PARTS.items()}
        text_folder, tokenizer_folder = folder / "text_encoder", folder / "tokenizer"
    elif (folder / "config.json").is_file():
        modules = load_original(folder, device, dtype)
        if companion is None:
            return Parts(**modules)
        modules["vae"] = _from_folder(AutoencoderOobleck, companion / COMPANION_VAE, device, dtype)
        text_folder = tokenizer_folder = companion / COMPANION_TEXT
    else:
        raise CheckpointError(f"{folder} holds no checkpoint: no model_index.json, no config.json.", REPAIR)
    if device.type != "meta":  # where there are no values to look at
        _lighten(modules["vae"])
    text_encoder = _text_encoder(text_folder, device, dtype)
    return Parts(**modules, text_encoder=text_encoder, tokenizer_file=tokenizer_folder / "tokenizer.json")


def load_original(folder: Path, device: torch.device, dtype: torch.dtype) -> dict[str, Network]:
    """The four modules of a checkpoint in upstream's original layout."""
    modules = build_original(read_json(folder / "config.json"))
    renamed = ((original_key(key), tensor) for key, tensor in read_tensors(weight_files(folder)))
    fill(modules, _with_silence(renamed, folder / "silence_latent.pt"), dict.fromkeys(modules, dtype), device)
    return modules


def build_original(config: Config) -> dict[str, Network]:
    """The four modules that upstream's `config.json` describes, without memory for their parameters.

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
        arguments: dict[str, dict[str, Any]] = {
            "transformer": dit
            | _picked(config, "num_hidden_layers in_channels patch_size layer_types")
            | {
                "audio_acoustic_hidden_dim": acoustic,
                "encoder_hidden_size": encoder["hidden_size"],
                "is_turbo": config.get("is_turbo", False),
                "model_version": config.get("model_version"),
            },
            "condition_encoder": encoder
            | _picked(config, "text_hidden_dim timbre_hidden_dim")
            | _picked(config, "num_lyric_encoder_hidden_layers num_timbre_encoder_hidden_layers"),
            "audio_tokenizer": encoder | pooler | _picked(config, "fsq_dim fsq_input_levels fsq_input_num_quantizers"),
            "audio_token_detokenizer": encoder | pooler,
        }
    except KeyError as missing:
        raise CheckpointError(f"config.json lacks {missing}.", REPAIR) from None
    return {part: build(lambda: DIFFUSERS_PARTS[part](**given)) for part, given in arguments.items()}  # noqa: B023


def original_key(key: str) -> str:
    """The module path, part first, of a key in upstream's spelling; an unknown key comes back as it is."""
    for theirs, ours in _ORIGINAL_PARTS:
        if key.startswith(theirs):
            key = ours + key.removeprefix(theirs)
            break
    for theirs, ours in _ORIGINAL_LEAVES:
        key = key.replace(theirs, ours)
    return key


def _picked(config: Config, names: str) -> dict[str, Any]:
    return {name: config[name] for name in names.split()}


def _with_silence(tensors: Iterable[tuple[str, Tensor]], file: Path) -> Iterator[tuple[str, Tensor]]:
    yield from tensors
    try:
        silence = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{file.name} is missing in {file.parent}.", REPAIR) from None
    except (UnpicklingError, RuntimeError, EOFError) as broken:
        raise CheckpointError(f"{file} cannot be read.", REPAIR) from broken
    if not isinstance(silence, Tensor) or silence.dim() != 3:
        raise CheckpointError(f"{file} holds no latents (1, channels, frames).", REPAIR)
    yield "condition_encoder.silence_latent", silence.transpose(1, 2).contiguous()


def _from_folder(make: type[nn.Module], folder: Path, device: torch.device, dtype: torch.dtype) -> Network:
    part = make.__name__
    config = {name: value for name, value in read_json(folder / "config.json").items() if not name.startswith("_")}
    try:
        module = build(lambda: make(**config))
    except TypeError as unknown:
        raise CheckpointError(f"{folder / 'config.json'} does not describe a {part}: {unknown}.", REPAIR) from unknown
    dtype = torch.float32 if make is AutoencoderOobleck else dtype
    tensors = ((f"{part}.{_weight_norm_key(key)}", tensor) for key, tensor in read_tensors(weight_files(folder)))
    fill({part: module}, tensors, {part: dtype}, device)
    return module


def _weight_norm_key(key: str) -> str:
    """The older spelling of a weight-norm tensor, which diffusers' module has, from either spelling."""
    return key.replace("parametrizations.weight.original0", "weight_g").replace(
        "parametrizations.weight.original1", "weight_v"
    )


def _lighten(vae: nn.Module) -> None:
    """Nothing; the VAE gives the same sound with less work.

    Weight norm is folded into the weights, which would otherwise be computed anew in every call. Residual units
    whose last convolution is zero add nothing and are left out: nano's full-rate units are such, and take most of
    its time.
    """
    for module in vae.modules():
        if hasattr(module, "weight_g"):
            nn.utils.remove_weight_norm(module)
    for parent in list(vae.modules()):
        for name, unit in list(parent.named_children()):
            if isinstance(unit, OobleckResidualUnit) and _is_zero(unit.conv2):
                setattr(parent, name, nn.Identity())
    vae.requires_grad_(False)


def _is_zero(module: nn.Module) -> bool:
    return not any(parameter.any() for parameter in module.parameters())


def _text_encoder(folder: Path, device: torch.device, dtype: torch.dtype) -> Network:
    config = Qwen3Config.from_dict(read_json(folder / "config.json"))
    encoder = build(lambda: Qwen3Model(config))
    tensors = (
        (f"text_encoder.{key.removeprefix('model.')}", tensor)
        for key, tensor in read_tensors(weight_files(folder))
        if key != "lm_head.weight"  # tied to the embeddings, and unused here
    )
    fill({"text_encoder": encoder}, tensors, {"text_encoder": dtype}, device)
    return encoder
