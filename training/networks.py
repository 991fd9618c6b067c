"""The shapes of nano's networks: diffusers' and transformers' stock classes at about a thousandth of the size."""

from __future__ import annotations

from diffusers import AceStepTransformer1DModel
from diffusers.pipelines.ace_step.modeling_ace_step import (
    AceStepAudioTokenDetokenizer,
    AceStepAudioTokenizer,
    AceStepConditionEncoder,
)
from torch import nn
from transformers import Qwen3Config, Qwen3Model

from training.vae import LATENTS

PATCH = 4
CODE_FRAMES = 4
WIDTH = 256
TEXT_WIDTH = 128
REFERENCE_FRAMES = 257
_LAYERS = 4
_ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}
_CODE_WIDTH = 128
_CODE_ATTENTION = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "rope_theta": 10_000.0}


def text_encoder(vocabulary: int) -> Qwen3Model:
    """Two causal layers over the words of the prompt; its embedding table also reads the lyrics."""
    return Qwen3Model(
        Qwen3Config(
            vocab_size=vocabulary, hidden_size=TEXT_WIDTH, intermediate_size=256, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=2048,
        )
    )  # fmt: skip


def transformer() -> AceStepTransformer1DModel:
    """The DiT. Every layer attends to 1.28 s around a frame, so that length is no matter: songs last 0.5 to 600 s."""
    model = AceStepTransformer1DModel(
        hidden_size=WIDTH, intermediate_size=640, num_hidden_layers=_LAYERS, in_channels=3 * LATENTS,
        audio_acoustic_hidden_dim=LATENTS, patch_size=PATCH, sliding_window=32, rope_theta=10_000.0,
        layer_types=["sliding_attention"] * _LAYERS, **_ATTENTION,
    )  # fmt: skip
    for block in model.layers:
        block.scale_shift_table.data.mul_(0.1)
    nn.init.zeros_(model.proj_out_conv.weight)
    return model


def condition_encoder() -> AceStepConditionEncoder:
    """Lyrics, timbre and text in one sequence; of a reference it reads the first REFERENCE_FRAMES frames."""
    return AceStepConditionEncoder(
        hidden_size=WIDTH, intermediate_size=2 * WIDTH, text_hidden_dim=TEXT_WIDTH, timbre_hidden_dim=LATENTS,
        num_lyric_encoder_hidden_layers=1, num_timbre_encoder_hidden_layers=1, sliding_window=REFERENCE_FRAMES - 1,
        **_ATTENTION,
    )  # fmt: skip


def audio_tokenizer() -> AceStepAudioTokenizer:
    """Four latent frames to one of 64,000 codes."""
    return AceStepAudioTokenizer(
        hidden_size=_CODE_WIDTH, intermediate_size=2 * _CODE_WIDTH, audio_acoustic_hidden_dim=LATENTS,
        pool_window_size=CODE_FRAMES, fsq_dim=_CODE_WIDTH, num_attention_pooler_hidden_layers=1, **_CODE_ATTENTION,
    )  # fmt: skip


def audio_detokenizer() -> AceStepAudioTokenDetokenizer:
    """One quantised code vector to four latent frames."""
    return AceStepAudioTokenDetokenizer(
        hidden_size=_CODE_WIDTH, intermediate_size=2 * _CODE_WIDTH, audio_acoustic_hidden_dim=LATENTS,
        pool_window_size=CODE_FRAMES, num_attention_pooler_hidden_layers=2, **_CODE_ATTENTION,
    )  # fmt: skip
