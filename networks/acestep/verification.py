"""Whether a folder's weights are whole, found without loading them: networks on the meta device take every tensor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from core.errors import CheckpointError
from networks.acestep.torch.parts import load_parts
from networks.acestep.torch.weights import build, fill, read_tensors
from networks.acestep.weights import REPAIR, weight_files

META = torch.device("meta")
DTYPE = torch.bfloat16
"""Most weights are stored in it: a tensor that needs no conversion is not even read."""


@dataclass(frozen=True, kw_only=True)
class VerifiedWeights:
    """The number of parameters, and whether the configuration names a turbo.

    A song's checkpoint counts its own networks, those of codes where it has them; the VAE and the text encoder are
    checked and not counted.
    """

    parameters: int
    turbo: bool = False


def verify_song(folder: Path, companion: Path | None = None) -> VerifiedWeights:
    """Check a song's checkpoint of either layout; raises CheckpointError naming every tensor that is wrong."""
    parts = load_parts(folder, companion, META, DTYPE)
    own = (parts.transformer, parts.condition_encoder, parts.audio_tokenizer, parts.audio_token_detokenizer)
    modules = [module for module in own if module is not None]
    return VerifiedWeights(parameters=sum(map(_count, modules)), turbo=bool(parts.transformer.config.get("is_turbo")))


def verify_language_model(folder: Path) -> VerifiedWeights:
    """Check a language model; raises CheckpointError naming every tensor that is wrong."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        model = build(lambda: AutoModel.from_config(config))
    except (OSError, ValueError, KeyError) as unknown:
        raise CheckpointError(f"{folder / 'config.json'} describes no known model: {unknown}.", REPAIR) from unknown
    tensors = (
        (f"model.{key.removeprefix('model.')}", tensor)
        for key, tensor in read_tensors(weight_files(folder))
        if key != "lm_head.weight"  # beside the model proper; often tied to the embeddings and left out
    )
    fill({"model": model}, tensors, {"model": DTYPE}, META)
    return VerifiedWeights(parameters=_count(model))


def verify_files(folder: Path) -> VerifiedWeights:
    """Read all safetensors files below a folder; raises CheckpointError naming a broken one."""
    tensors = (tensor for _, tensor in read_tensors(sorted(folder.rglob("*.safetensors"))))
    return VerifiedWeights(parameters=sum(tensor.numel() for tensor in tensors))


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
