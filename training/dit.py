"""The renderer of nano: sketch latents and words in, latents of the finished sound out (flow matching)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from core.modes import Task
from training.loop import Plan, load_average, train
from training.networks import REFERENCE_FRAMES, condition_encoder, text_encoder, transformer
from training.pairs import FRAMES, Pair, Pool, crop, encoder
from training.text import load_tokenizer, prompt_of
from training.tokenizer import Codes, load_codes
from training.vae import LATENTS, CompactVae, Scale, load_vae

# Which task a training item practises, and how often.
MIXTURE: dict[Task, float] = {"complete": 0.64, "cover": 0.12, "text2music": 0.08, "repaint": 0.16}
# Batches of (items, frames) in turn: mostly short ones.
_BATCHES = ((8, 400), (8, 400), (10, 320), (4, 800))
_DROP_CONDITION = 0.1
_REFERENCE = 0.2
# The weights in the work folder that a training starts from instead of from nothing, when they are there.
START = "dit_start.pt"


@dataclass(frozen=True)
class Tokens:
    """Token ids `(B, N)` and the mask of those that are not padding."""

    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Lesson:
    """A batch of training items: clean latents `(B, T, 16)`, their contexts `(B, T, 32)` and conditions."""

    clean: Tensor
    context: Tensor
    text: Tokens
    lyrics: Tokens
    references: Tensor
    which: Tensor


class Renderer(nn.Module):
    """Nano's DiT with everything that reads its conditions."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.text_encoder = text_encoder(vocabulary)
        self.conditions = condition_encoder()
        self.transformer = transformer()

    def condition(self, lesson: Lesson) -> Tensor:
        """The condition sequences, `(B, L, 256)`.

        Cross-attention knows no padding, so an item shorter than L repeats itself instead of attending to blanks.
        """
        text, lyrics = lesson.text, lesson.lyrics
        words = self.conditions.text_projector(self.text_encoder(input_ids=text.ids).last_hidden_state)
        embedded = self.text_encoder.get_input_embeddings()(lyrics.ids)
        sung = self.conditions.lyric_encoder(inputs_embeds=embedded, attention_mask=lyrics.mask)
        each = torch.arange(len(lesson.references))
        timbre = self.conditions.timbre_encoder(lesson.references, each)[0][lesson.which]
        sequence = torch.cat([sung, timbre, words], 1)
        valid = torch.cat([lyrics.mask, torch.ones(len(timbre), 1, dtype=torch.bool), text.mask], 1)
        lengths = valid.sum(1, keepdim=True)
        places = torch.arange(int(lengths.max()))[None] % lengths
        order = valid.long().argsort(dim=1, descending=True, stable=True).gather(1, places)
        return sequence.gather(1, order[..., None].expand(-1, -1, sequence.shape[-1]))

    def loss(self, lesson: Lesson) -> Tensor:
        """Flow-matching loss: the squared error of the velocity at a random time on the straight path to noise."""
        count = len(lesson.clean)
        condition = self.condition(lesson)
        dropped = torch.rand(count, 1, 1) < _DROP_CONDITION
        condition = torch.where(dropped, self.conditions.null_condition_emb, condition)
        normal = torch.sigmoid(0.3 + torch.randn(count))
        t = torch.where(torch.rand(count) < 0.15, torch.rand(count), normal)
        noise = torch.randn_like(lesson.clean)
        x = torch.lerp(lesson.clean, noise, t[:, None, None])
        velocity = self.transformer(
            hidden_states=x, timestep=t, timestep_r=t, encoder_hidden_states=condition,
            context_latents=lesson.context, return_dict=False,
        )[0]  # fmt: skip
        return (velocity - (noise - lesson.clean)).square().mean()


class Teacher:
    """Makes lessons of all tasks from a pool of pairs."""

    def __init__(self, pool: Pool, codes: Codes, words: PreTrainedTokenizerFast, silence: Tensor, seed: int) -> None:
        self._pool, self._codes, self._words, self._silence = pool, codes, words, silence
        self._dice = np.random.default_rng(seed)

    def lesson(self, count: int, frames: int, tasks: dict[Task, float] = MIXTURE) -> Lesson:
        """A batch of `count` items of `frames` frames, a multiple of 4: all sung or all without words.

        Lyrics are long; an item without would repeat itself many times beside them.
        """
        dice = self._dice
        cleans, contexts, prompts, references, which = [], [], [], [self._quiet(REFERENCE_FRAMES)], []
        for pair in self._pool.draw(count, sung=bool(dice.random() < 0.4)):
            task: Task = list(tasks)[dice.choice(len(tasks), p=list(tasks.values()))]
            first = 4 * int(dice.integers((FRAMES - frames) // 4 + 1))
            clean = crop(pair.made, first, frames)
            refers = dice.random() < _REFERENCE
            cleans.append(clean)
            contexts.append(self._context(task, pair, first, clean))
            prompts.append(prompt_of(pair.ask, task, dice, vague=refers and dice.random() < 0.6))
            which.append(len(references) if refers else 0)
            if refers:
                references.append(crop(pair.made, int(dice.integers(FRAMES - REFERENCE_FRAMES)), REFERENCE_FRAMES))
        texts, lyrics = zip(*prompts, strict=True)
        return Lesson(
            torch.stack(cleans), torch.stack(contexts), self._tokens(texts), self._tokens(lyrics),
            torch.stack(references), torch.tensor(which),
        )  # fmt: skip

    def _context(self, task: Task, pair: Pair, first: int, clean: Tensor) -> Tensor:
        """Source latents beside the mask, `(T, 32)`."""
        frames, mask = len(clean), torch.ones_like(clean)
        if task == "complete":
            source = self._patched(crop(self._draft(pair), first, frames), clean)
        elif task == "cover":
            heard = clean if self._dice.random() < 0.4 else crop(pair.sketch, first, frames)
            with torch.no_grad():
                source = self._codes(heard[None])[0]
        elif task == "text2music":
            source = self._quiet(frames)
        else:
            begin, end = self._window(frames)
            mask = torch.zeros_like(clean)
            mask[begin:end] = 1.0
            source = torch.where(mask.bool(), self._quiet(frames), clean)
        return torch.cat([source, mask], 1)

    def _draft(self, pair: Pair) -> Tensor:
        """The notes in the sound that the network starts from: the sketch, at times audio of any other sound."""
        return pair.other if self._dice.random() < 0.4 else pair.sketch

    def _patched(self, draft: Tensor, clean: Tensor) -> Tensor:
        """The draft, every fifth time with finished music around a window: the re-planned window of a real song."""
        if self._dice.random() > 0.2:
            return draft
        begin, end = self._window(len(draft))
        return torch.cat([clean[:begin], draft[begin:end], clean[end:]])

    def _window(self, frames: int) -> tuple[int, int]:
        """A stretch of a fifth to two thirds of the frames, which may touch either end."""
        width = int(self._dice.integers(frames // 5, 2 * frames // 3))
        begin = int(self._dice.integers(-width // 3, frames - 2 * width // 3))
        return max(0, begin), min(frames, begin + width)

    def _quiet(self, frames: int) -> Tensor:
        return self._silence.expand(frames, LATENTS)

    def _tokens(self, texts: tuple[str, ...]) -> Tokens:
        batch = self._words(list(texts), padding="longest", return_tensors="pt")
        return Tokens(batch.input_ids, batch.attention_mask.bool())


@torch.no_grad()
def silence_of(compact: CompactVae, scale: Scale) -> Tensor:
    """One standardised latent frame `(16,)` of the autoencoder's own silence, away from the edges."""
    return (compact.encode(torch.zeros(1, 2, 96_000))[0, :, 100] - scale.mean) / scale.std


def train_dit(rank: int, folder: Path, minutes: float) -> None:
    """One of the processes that train the renderer; the weights end up in `folder / "dit.pt"`."""
    compact, scale = load_vae(folder)
    codes, tokenizer, silence = load_codes(folder), load_tokenizer(folder), silence_of(compact, scale)
    encode = encoder(compact.encode, scale.mean, scale.std)
    teacher = Teacher(Pool(7000 + rank, encode, start=150), codes, tokenizer, silence, seed=300 + rank)
    exam = Teacher(Pool(99, encode, start=8, interval=10**9), codes, tokenizer, silence, seed=99)
    lessons = {task: exam.lesson(16, 400, {task: 1.0}) for task in MIXTURE}
    torch.manual_seed(7)
    model = Renderer(len(tokenizer))
    if (folder / START).exists():
        load_average(folder / START, model)
        model.train()
    torch.manual_seed(300 + rank)
    draws = 0

    def loss() -> Tensor:
        nonlocal draws
        draws += 1
        return model.loss(teacher.lesson(*_BATCHES[draws % len(_BATCHES)]))

    @torch.no_grad()
    def report() -> str:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return "unseen " + ", ".join(f"{task} {model.loss(lesson).item():.3f}" for task, lesson in lessons.items())

    train(model, loss, Plan(minutes, 1.2e-3, folder / "dit.pt", weight_decay=0.01), rank, report)


def load_renderer(folder: Path) -> Renderer:
    """The trained renderer of `folder`."""
    model = Renderer(len(load_tokenizer(folder)))
    load_average(folder / "dit.pt", model)
    return model
