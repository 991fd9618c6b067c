"""Language models of a few thousand random weights, with tokenizers that are like Qwen's in all but size."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from core.tables import KEYSCALES, LANGUAGES

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>")
ADDED = ("<think>", "</think>", "<tool_call>", "</tool_call>")
CODES = 600
"""Audio codes of the small tokenizer; the real ones have 65,535 slots, of which 64,000 mean something."""

QWEN25_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' -%}{{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
    "{%- else -%}{{- '<|im_start|>system\nYou are a helper.<|im_end|>\n' }}{%- endif -%}"
    "{%- for message in messages -%}{%- if message.role != 'system' -%}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' }}{%- endif -%}"
)
"""What the template of Qwen 2.5 comes to for conversations without tools."""


def corpus() -> Iterable[str]:
    """Texts like those that a planner writes: their frequent words become tokens."""
    for bpm, key in enumerate(KEYSCALES, start=60):
        language = LANGUAGES[bpm % len(LANGUAGES)]
        yield (
            f"<think>\nbpm: {bpm}\ncaption: A calm piano piece: with strings, in {key}.\n  Soft drums and bass.\n"
            f"duration: {bpm + 30}\nkeyscale: {key}\nlanguage: {language}\ntimesignature: 4\n</think>\n\n"
        )
        yield "# Caption\nlo-fi hip hop, dusty drums\n\n# Lyric\n[Verse 1]\nRain on the roof, 日本の夜, été\n[Chorus]\n"
    for word in ("Expand", "Format", "Understand", "instrumental: true", '"quoted"', "electronic", "melody", "夜の雨"):
        yield from [f"{word} {word}. {word}\n"] * 9


def tokenizer(codes: int = CODES, merges: int = 600) -> Tokenizer:
    """A byte-level tokenizer with Qwen's pre-tokenizer, its control tokens, and audio codes."""
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + merges, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(corpus(), trainer)
    made.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    made.add_tokens([AddedToken(token, special=False) for token in ADDED])
    made.add_tokens([AddedToken(f"<|audio_code_{code}|>", special=False) for code in range(codes)])
    return made


def save_tokenizer(folder: Path, codes: int = CODES, template: str | None = None) -> Tokenizer:
    """The tokenizer without its codes; with them it now lies in the folder, as a real checkpoint has it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = tokenizer(codes=0)
    described = json.loads(made.to_str())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    size = made.get_vocab_size()
    # By hand, for the library takes seconds to add them all.
    for code in range(codes):
        described["added_tokens"].append({"id": size + code, "content": f"<|audio_code_{code}|>", **flags})
    (folder / "tokenizer.json").write_text(json.dumps(described))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config | ({"chat_template": template} if template else {}))
    )
    return made


def save_lm(
    folder: Path,
    *,
    family: str = "qwen3",
    tied: bool = True,
    codes: int = CODES,
    seed: int = 0,
    spread: float = 0.4,
    width: int = 32,
    terse: bool = False,
) -> Path:
    """The folder, with a random model of that family in it; `spread` is how decided it is, and a terse one soon ends.

    A text whose end is one of a thousand tokens goes on to its limit, which takes a test minutes.
    """
    made = save_tokenizer(folder, codes)
    size = made.get_vocab_size() + codes
    shape = {
        "vocab_size": size + 5,  # real heads have more rows than there are tokens
        "hidden_size": width,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": tied,
    }
    torch.manual_seed(seed)
    network = (
        Qwen3ForCausalLM(Qwen3Config(head_dim=width // 4, **shape))
        if family == "qwen3"
        else Qwen2ForCausalLM(Qwen2Config(**shape))
    )
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=spread)
    if terse:
        for end in ("<|im_end|>", "Ċ"):
            network.get_input_embeddings().weight.data[made.token_to_id(end)] *= 6
    network.save_pretrained(folder)
    return folder
