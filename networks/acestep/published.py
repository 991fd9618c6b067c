"""The configurations of the published checkpoints, and what memory follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from networks.acestep.layouts import FSQ_LEVELS, TEXT, VAE, Config, original_configs
from networks.machine import GROUP_SIZE
from networks.memory import Weights

if TYPE_CHECKING:
    from torch import Tensor

_BOTH: Config = {
    "head_dim": 128,
    "num_key_value_heads": 8,
    "rope_theta": 1_000_000,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "rms_norm_eps": 1e-6,
    "sliding_window": 128,
    "text_hidden_dim": 1024,
    "timbre_hidden_dim": 64,
    "audio_acoustic_hidden_dim": 64,
    "num_lyric_encoder_hidden_layers": 8,
    "num_timbre_encoder_hidden_layers": 4,
    "num_attention_pooler_hidden_layers": 2,
    "patch_size": 2,
    "pool_window_size": 5,
    "in_channels": 192,
    "fsq_dim": 2048,
    "fsq_input_levels": list(FSQ_LEVELS),
    "fsq_input_num_quantizers": 1,
    "layer_types": None,
}
CONFIGS: Mapping[str, Config] = MappingProxyType(
    {
        "XL": {
            **_BOTH,
            "hidden_size": 2560,
            "intermediate_size": 9728,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "encoder_hidden_size": 2048,
            "encoder_intermediate_size": 6144,
            "encoder_num_attention_heads": 16,
            "encoder_num_key_value_heads": 8,
        },
        "2B": {
            **_BOTH,
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
        },
    }
)
"""The contents of `config.json` by family, as upstream spells it."""

_QWEN: Config = {
    "model_type": "qwen3",
    "head_dim": 128,
    "num_key_value_heads": 8,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
_QWEN_SMALL: Config = {
    **_QWEN,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
}
TEXT_CONFIG: Config = MappingProxyType(
    {**_QWEN_SMALL, "architectures": ["Qwen3Model"], "vocab_size": 151_669, "max_position_embeddings": 32_768}
)
"""Of Qwen3-Embedding-0.6B, the text encoder of every song's checkpoint."""

VAE_CONFIG: Config = MappingProxyType(
    {
        "encoder_hidden_size": 128,
        "downsampling_ratios": [2, 4, 4, 6, 10],
        "channel_multiples": [1, 2, 4, 8, 16],
        "decoder_channels": 128,
        "decoder_input_channels": 64,
        "audio_channels": 2,
        "sampling_rate": 48_000,
    }
)
_PLANNER: Config = {
    "architectures": ["Qwen3ForCausalLM"],
    "vocab_size": 217_204,
    "max_position_embeddings": 40_960,
}
PLANNER_CONFIGS: Mapping[str, Config] = MappingProxyType(
    {
        "lm-0.6b": {**_QWEN_SMALL, **_PLANNER},
        "lm-1.7b": {**_QWEN_SMALL, **_PLANNER, "hidden_size": 2048, "intermediate_size": 6144},
        "lm-4b": {
            **_QWEN,
            **_PLANNER,
            "hidden_size": 2560,
            "intermediate_size": 9728,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
        },
    }
)
"""Of the 5 Hz planners, by checkpoint: Qwen3 with a row for each audio code."""

TEXT_ENCODER_BILLIONS, VAE_BILLIONS = 0.596, 0.169
"""Parameters that every song's checkpoint needs beside its own."""

HALF_BYTES, FULL_BYTES = 2.0, 4.0
"""Of a number in float16 and bfloat16, and in float32, in which the VAE runs."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Parameters of a family in billions: of the matrices in the DiT's layers, of the rest of it, of the encoders."""

    family: str
    layers: float
    rest: float
    encoders: float

    def dit_gb(self, bits: int = 16) -> float:
        """Gigabytes of the DiT with so many bits in the matrices of its layers."""
        packed = bits / 8 if bits == 16 else bits / 8 + 2 * HALF_BYTES / GROUP_SIZE
        return self.layers * packed + self.rest * HALF_BYTES

    def all_gb(self, bits: int = 16) -> float:
        """Gigabytes of all networks that a song needs."""
        return self.dit_gb(bits) + (self.encoders + TEXT_ENCODER_BILLIONS) * HALF_BYTES + VAE_BILLIONS * FULL_BYTES


def weights_of(family: str) -> Weights:
    """What the networks of a family take in 16 bits, the VAE in 32, counted on networks without memory."""
    from networks.acestep.torch.parts import build_parts

    built = build_parts(original_configs(CONFIGS[family]))
    parts = {name: _half_gb(module.parameters()) for name, module in built.items()}
    parts |= {TEXT: TEXT_ENCODER_BILLIONS * HALF_BYTES, VAE: VAE_BILLIONS * FULL_BYTES}
    layers = [_half_gb(layer.parameters()) for layer in built["transformer"].layers]
    return Weights(parts=parts, layers=sum(layers), layer=max(layers))


def _half_gb(parameters: Iterable[Tensor]) -> float:
    return sum(each.numel() for each in parameters) * HALF_BYTES / 1e9


def footprints() -> Iterator[Footprint]:
    """The footprint of each family, counted on networks without memory."""
    from networks.acestep.torch.parts import build_parts

    for family, config in CONFIGS.items():
        parts = {
            part: dict(module.named_parameters()) for part, module in build_parts(original_configs(config)).items()
        }
        dit = parts.pop("transformer")
        layers = sum(each.numel() for path, each in dit.items() if path.startswith("layers.") and each.dim() == 2)
        whole = sum(each.numel() for each in dit.values())
        encoders = sum(each.numel() for part in parts.values() for each in part.values())
        yield Footprint(family=family, layers=layers / 1e9, rest=(whole - layers) / 1e9, encoders=encoders / 1e9)


def memory_table() -> str:
    """The table of docs/apple.md: gigabytes by family and format."""
    head = "| | DiT float16 | DiT 8 bits | DiT 4 bits | encoders | text encoder | VAE | all, float16 | all, 8 bits |"
    rows = [head, "|---|---|---|---|---|---|---|---|---|"]
    for each in footprints():
        numbers = [
            *(each.dit_gb(bits) for bits in (16, 8, 4)),
            each.encoders * HALF_BYTES,
            TEXT_ENCODER_BILLIONS * HALF_BYTES,
            VAE_BILLIONS * FULL_BYTES,
            each.all_gb(16),
            each.all_gb(8),
        ]
        rows.append(f"| {each.family} | " + " | ".join(f"{number:.1f}" for number in numbers) + " |")
    return "\n".join(rows) + "\n"
