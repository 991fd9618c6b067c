"""The words of nano: its tokenizer, and the prompts that go with a training pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from checkpoints.table import recipe_of
from core.modes import Task
from core.music import NO_WORDS, Music
from networks.acestep.prompts import END_OF_TEXT, instruction_of, lyric_text, prompt_text
from planner.composer.styles import styles
from training.captions import Ask, caption, draw_lyrics, vague_caption
from training.synthesis import draw_score

VOCABULARY = 1024
_LANGUAGES = ("en", "unknown", "en", "de", "es", "fr", "ja", "zh")


def facts_of(ask: Ask, words: str, dice: np.random.Generator) -> Music:
    """What the prompt says about a piece; one fact in ten is left out."""
    told = dice.random(3) > 0.1
    return Music(
        caption=words,
        bpm=ask.score.bpm if told[0] else None,
        timesignature=str(ask.score.timesignature) if told[1] else None,
        keyscale=ask.score.keyscale if told[2] else None,
        duration_s=ask.seconds,
    )


def prompt_of(ask: Ask, task: Task, dice: np.random.Generator, vague: bool = False) -> tuple[str, str]:
    """The text and the lyric text of a piece; a `vague` one does not say how it sounds."""
    instruction = instruction_of(task, recipe_of("nano").tracks if task == "complete" else ())
    words = vague_caption(dice) if vague else caption(ask.style, dice)
    language = str(dice.choice(_LANGUAGES)) if ask.lyrics else "unknown"
    return prompt_text(instruction, facts_of(ask, words, dice)), lyric_text(language, ask.lyrics or NO_WORDS)


def train_tokenizer(folder: Path, texts: int = 6000) -> None:
    """Byte-pair encoding over prompts as they will come; any other text falls back to bytes."""
    dice = np.random.default_rng(0)
    tasks: tuple[Task, ...] = ("complete", "text2music", "cover", "repaint")
    corpus: list[str] = []
    for i in range(texts):
        style = tuple(styles())[i % len(styles())]
        seconds = float(dice.uniform(2, 300))
        ask = Ask(draw_score(dice, 2.0, style), style, draw_lyrics(dice), seconds)
        corpus += prompt_of(ask, tasks[i % len(tasks)], dice)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END_OF_TEXT], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(corpus, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=END_OF_TEXT, eos_token=END_OF_TEXT).save_pretrained(
        folder / "tokenizer"
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer that `train_tokenizer` left in `folder`."""
    return PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
