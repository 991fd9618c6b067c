"""A whole ACE-Step checkpoint of a few thousand random weights, as real as a large one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_oobleck import AutoencoderOobleck
from diffusers.models.transformers.ace_step_transformer import AceStepTransformer1DModel
from diffusers.pipelines.ace_step.modeling_ace_step import (
    AceStepAudioTokenDetokenizer,
    AceStepAudioTokenizer,
    AceStepConditionEncoder,
)
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers.models.qwen3 import Qwen3Config, Qwen3Model

CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_code_7|>")
PLAIN_CONTROL_TOKENS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
RATE, RATIOS = 1600, (2, 4)
SLOW = (8, 8)
"""Steps that leave 25 frames a second, as the real VAE does: an eighth of the work for songs of many seconds."""
CHANNELS = 4

STUDIO_RATE, QUICK = 48_000, (240, 8)
"""The studio's own sampling rate, and steps that leave 25 frames a second of it."""


def tokenizer() -> Tokenizer:
    """Bytes, with the control tokens of Qwen3: some of them special, some merely added."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator([], trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False))
    made.add_special_tokens([AddedToken(token, special=True) for token in CONTROL_TOKENS])
    made.add_tokens([AddedToken(token, special=False) for token in PLAIN_CONTROL_TOKENS])
    return made


def networks(rate: int = RATE, ratios: Sequence[int] = RATIOS) -> dict[str, nn.Module]:
    """The six networks by the names of their folders; the VAE has that sampling rate and takes these steps down."""
    wide = {"head_dim": 8, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32}
    wide |= {"intermediate_size": 48, "sliding_window": 6}
    acoustic = {"audio_acoustic_hidden_dim": CHANNELS}
    return {
        "transformer": AceStepTransformer1DModel(in_channels=3 * CHANNELS, num_hidden_layers=3, **wide, **acoustic),
        "condition_encoder": AceStepConditionEncoder(
            text_hidden_dim=16,
            timbre_hidden_dim=CHANNELS,
            num_lyric_encoder_hidden_layers=2,
            num_timbre_encoder_hidden_layers=2,
            **wide,
        ),
        "audio_tokenizer": AceStepAudioTokenizer(fsq_dim=32, num_attention_pooler_hidden_layers=1, **wide, **acoustic),
        "audio_token_detokenizer": AceStepAudioTokenDetokenizer(
            num_attention_pooler_hidden_layers=1, **wide, **acoustic
        ),
        "vae": AutoencoderOobleck(
            encoder_hidden_size=2 * CHANNELS,
            downsampling_ratios=list(ratios),
            channel_multiples=[1, 2],
            decoder_channels=8,
            decoder_input_channels=CHANNELS,
            sampling_rate=rate,
        ),
        "text_encoder": Qwen3Model(
            Qwen3Config(
                vocab_size=300,
                hidden_size=16,
                intermediate_size=24,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=8,
            )
        ),
    }


def save_stand_in(folder: Path) -> Path:
    """The folder, with a checkpoint in it that may stand for nano: stereo of 48 kHz, made in a fraction of the time.

    Like nano's, its VAE has no units that work at the full rate.
    """
    return save_tiny(folder, rate=STUDIO_RATE, ratios=QUICK, silent=("encoder.block.0.", "decoder.block.1."))


def save_tiny(
    folder: Path, seed: int = 0, rate: int = RATE, ratios: Sequence[int] = RATIOS, silent: Sequence[str] = ()
) -> Path:
    """The folder, with a checkpoint in the diffusers layout in it, whose VAE's units below `silent` add nothing."""
    torch.manual_seed(seed)
    for part, network in networks(rate, ratios).items():
        for parameter in network.parameters():
            if parameter.dim() > 1 and part != "vae":
                nn.init.normal_(parameter, std=0.2)
        for name, module in network.named_modules():
            if part == "vae" and name.startswith(tuple(silent)) and name.endswith("conv2"):
                for parameter in (module.weight_g, module.bias):
                    nn.init.zeros_(parameter)
        if part == "condition_encoder":
            network.silence_latent = torch.randn(1, 1, CHANNELS) + 0.1 * torch.randn(1, 15000, CHANNELS)
        save: Callable[[Path], None] = network.save_pretrained  # type: ignore[assignment]
        save(folder / part)
    (folder / "tokenizer").mkdir()
    tokenizer().save(str(folder / "tokenizer" / "tokenizer.json"))
    (folder / "model_index.json").write_text("{}")
    return folder
