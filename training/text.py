"""The text of nano: its tokenizer, and the prompts that go with a training pair."""

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
from training.captions import PieceFacts, caption, draw_lyrics, vague_caption
from training.synthesis import draw_score

VOCABULARY = 1024
_LANGUAGES = ("en", "unknown", "en", "de", "es", "fr", "ja", "zh")


def facts_of(facts: PieceFacts, words: str, rng: np.random.Generator) -> Music:
    """What the prompt says about a piece; one fact in ten is left out."""
    included = rng.random(3) > 0.1
    return Music(
        caption=words,
        bpm=facts.score.bpm if included[0] else None,
        timesignature=str(facts.score.timesignature) if included[1] else None,
        keyscale=facts.score.keyscale if included[2] else None,
        duration_s=facts.duration_s,
    )


def prompt_of(facts: PieceFacts, task: Task, rng: np.random.Generator, vague: bool = False) -> tuple[str, str]:
    """The text and the lyric text of a piece; a `vague` one does not say how it sounds."""
    instruction = instruction_of(task, recipe_of("nano").tracks if task == "complete" else ())
    words = vague_caption(rng) if vague else caption(facts.style, rng)
    language = str(rng.choice(_LANGUAGES)) if facts.lyrics else "unknown"
    return prompt_text(instruction, facts_of(facts, words, rng)), lyric_text(language, facts.lyrics or NO_WORDS)


def train_tokenizer(folder: Path, texts: int = 6000) -> None:
    """Train a byte-pair encoding on prompts as they will come; any other text falls back to bytes."""
    rng = np.random.default_rng(0)
    tasks: tuple[Task, ...] = ("complete", "text2music", "cover", "repaint")
    corpus: list[str] = []
    for i in range(texts):
        style = tuple(styles())[i % len(styles())]
        seconds = float(rng.uniform(2, 300))
        facts = PieceFacts(draw_score(rng, 2.0, style), style, draw_lyrics(rng), seconds)
        corpus += prompt_of(facts, tasks[i % len(tasks)], rng)
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
