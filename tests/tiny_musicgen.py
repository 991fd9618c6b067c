"""MusicGen of a few thousand random weights: transformers' own classes, saved as the published checkpoints are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    EncodecConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyForConditionalGeneration,
    T5Config,
)

WORDS = ("lofi", "piano", "techno", "rain", "with", "drums", "a", "minor", "bpm:", "key:", "96", ".", ",")
VOCABULARY = 64
PAD = VOCABULARY


def codec(ratios: tuple[int, ...] = (8, 5, 4, 4)) -> EncodecConfig:
    """EnCodec as it is published for 32 kHz, in all but its size: `ratios` make the hop of a frame."""
    return EncodecConfig(
        sampling_rate=32_000,
        audio_channels=1,
        normalize=False,
        chunk_length_s=None,
        hidden_size=16,
        num_filters=4,
        num_lstm_layers=1,
        upsampling_ratios=list(ratios),
        use_causal_conv=False,
        use_conv_shortcut=False,
        codebook_size=VOCABULARY,
        codebook_dim=16,
        # Four codebooks of 6 bits each, as many times a second as there are frames.
        target_bandwidths=[4 * 6 * (32_000 / torch.tensor(ratios).prod().item()) / 1000],
    )


def network(
    *, melody: bool = False, stereo: bool = False, ratios: tuple[int, ...] = (8, 5, 4, 4), seed: int = 0
) -> Any:
    """A random MusicGen."""
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_codebooks": 8 if stereo else 4,
        "audio_channels": 2 if stereo else 1,
        "pad_token_id": PAD,
        "bos_token_id": PAD,
    }
    words = T5Config(vocab_size=len(WORDS) + 3, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    if melody:
        configuration: Any = MusicgenMelodyConfig(
            text_encoder=words, audio_encoder=codec(ratios), decoder=MusicgenMelodyDecoderConfig(**shape)
        )
        made: Any = MusicgenMelodyForConditionalGeneration(configuration)
    else:
        configuration = MusicgenConfig(
            text_encoder=words, audio_encoder=codec(ratios), decoder=MusicgenDecoderConfig(**shape)
        )
        made = MusicgenForConditionalGeneration(configuration)
    for name, parameter in made.named_parameters():
        if parameter.dim() > 1 and "audio_encoder" not in name:
            nn.init.normal_(parameter, std=0.3)  # decided enough that words and melody make a difference
    for layer in made.audio_encoder.quantizer.layers:
        nn.init.normal_(layer.codebook.embed)
    made.generation_config.decoder_start_token_id = PAD
    made.generation_config.pad_token_id = PAD
    return made.eval()


def save_musicgen(folder: Path, **facts: Any) -> Path:
    """The folder, with a random MusicGen in it and the tokenizer of its words."""
    network(**facts).save_pretrained(folder)
    names = ["<pad>", "</s>", "<unk>", *WORDS]
    made = Tokenizer(models.WordLevel({name: place for place, name in enumerate(names)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 32_000}))
    return folder
