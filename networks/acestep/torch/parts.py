"""The modules of a checkpoint for torch: diffusers' and transformers' classes, filled and made lighter."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
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

from core.errors import CheckpointError
from core.steps import finished
from networks.acestep.layouts import LYRIC_HEADS, SILENCE_KEY, TEXT, VAE, Bundle, Config, layout_of, read_silence
from networks.acestep.torch.weights import build, filling, read_tensors
from networks.acestep.weights import REPAIR

Network = Any
"""A module of diffusers or transformers, whose attributes are known only when it runs."""

DIFFUSERS_PARTS: Mapping[str, type[nn.Module]] = {
    "transformer": AceStepTransformer1DModel,
    "condition_encoder": AceStepConditionEncoder,
    "audio_tokenizer": AceStepAudioTokenizer,
    "audio_token_detokenizer": AceStepAudioTokenDetokenizer,
    VAE: AutoencoderOobleck,
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """A checkpoint's modules, loaded, and their configurations.

    `vae`, `text_encoder` and `tokenizer_file` are None without a companion, the networks of codes where the
    checkpoint came without.
    """

    configs: Mapping[str, Config]
    transformer: Network
    condition_encoder: Network
    audio_tokenizer: Network = None
    audio_token_detokenizer: Network = None
    vae: Network = None
    text_encoder: Network = None
    tokenizer_file: Path | None = None

    @property
    def modules(self) -> list[nn.Module]:
        """The modules that are there."""
        return [part for part in vars(self).values() if isinstance(part, nn.Module)]


def load_parts(
    folder: Path, companion: Path | None, device: torch.device, dtype: torch.dtype, vae: Path | None = None
) -> Parts:
    """As `loading_parts`, at once."""
    return finished(loading_parts(folder, companion, device, dtype, vae))


def loading_parts(
    folder: Path, companion: Path | None, device: torch.device, dtype: torch.dtype, vae: Path | None = None
) -> Generator[None, None, Parts]:
    """The modules of the checkpoint in `folder`, whichever its layout; its VAE is that in `vae` if it is given.

    Raises CheckpointError naming the tensors that are missing, left over or misshapen.

    The VAE runs in float32 whatever `dtype` is: bfloat16 leaves 19 dB between its sound and its error.
    """
    layout = layout_of(folder, companion, vae)
    modules: dict[str, Network] = {}
    for bundle in layout.bundles:
        modules |= yield from loading_bundle(bundle, device, dtype)
    if VAE in modules and device.type != "meta":  # there, no unit has values to compare with zero
        _simplify(modules[VAE])
    return Parts(layout.configs, **modules, tokenizer_file=layout.tokenizer_file)


def load_bundle(bundle: Bundle, device: torch.device, dtype: torch.dtype) -> dict[str, Network]:
    """The modules of parts that lie together, by part."""
    return finished(loading_bundle(bundle, device, dtype))


def loading_bundle(
    bundle: Bundle, device: torch.device, dtype: torch.dtype
) -> Generator[None, None, dict[str, Network]]:
    """The modules of parts that lie together, by part, with a step after each tensor."""
    modules = build_parts(bundle.configs)
    dtypes = {part: torch.float32 if part == VAE else dtype for part in modules}
    yield from filling(modules, _tensors(bundle), dtypes, device)
    return modules


def build_parts(configs: Mapping[str, Config]) -> dict[str, Network]:
    """The modules that these configurations describe, without memory for their parameters."""
    return {part: _built(part, config) for part, config in configs.items()}


def _built(part: str, config: Config) -> Network:
    """The module; what it does not know of its configuration, as later versions of a library write, is passed over.

    That it is the network of these weights all the same is checked tensor by tensor when it is filled.
    """
    if part == TEXT:
        return build(lambda: Qwen3Model(Qwen3Config.from_dict(dict(config))))
    make = DIFFUSERS_PARTS[part]
    understood = inspect.signature(make).parameters
    if unknown := sorted(set(config) - set(understood) - {LYRIC_HEADS}):
        log.warning("The configuration of the %s says more than is understood here: %s", part, ", ".join(unknown))
    try:
        return build(lambda: make(**{name: value for name, value in config.items() if name in understood}))
    except (TypeError, ValueError) as wrong:
        raise CheckpointError(f"The configuration does not describe a {part}: {wrong}.", REPAIR) from wrong


def _tensors(bundle: Bundle) -> Iterator[tuple[str, Tensor]]:
    for key, tensor in read_tensors(bundle.files):
        path = bundle.path_of(key)
        if path is not None:
            yield path, tensor
    if bundle.silence is not None:
        yield SILENCE_KEY, read_silence(bundle.silence)


def _simplify(vae: nn.Module) -> None:
    """Make the VAE give the same sound with less work.

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
