"""The renderer of nano: sketch latents and words in, latents of the finished sound out (flow matching)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from core.modes import Task
from training.codes import Codes, load_codes
from training.loop import TrainingSettings, load_average, train
from training.networks import REFERENCE_FRAMES, condition_encoder, text_encoder, transformer
from training.pairs import FRAMES, Pair, Pool, crop, encoder
from training.text import load_tokenizer, prompt_of
from training.vae import LATENTS, CompactVae, Scale, load_vae

MIXTURE: dict[Task, float] = {"complete": 0.64, "cover": 0.12, "text2music": 0.08, "repaint": 0.16}
"""The probability of each task for a training item."""
# (items, frames), one after the other: mostly short ones.
_BATCH_SIZES = ((8, 400), (8, 400), (10, 320), (4, 800))
_DROP_CONDITION = 0.1
_REFERENCE = 0.2
START = "dit_start.pt"
"""The file in the work folder whose weights a training starts from, if it is there, instead of from nothing."""


@dataclass(frozen=True)
class Tokens:
    """Token ids `(B, N)` and the mask of those that are not padding."""

    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Batch:
    """Training items: clean latents `(B, T, 16)`, their contexts `(B, T, 32)` and conditions.

    `references` are latents `(n, T, 16)`, the first of them silence; `reference_of` `(B,)` gives each item's.
    """

    clean: Tensor
    context: Tensor
    text: Tokens
    lyrics: Tokens
    references: Tensor
    reference_of: Tensor


class Renderer(nn.Module):
    """Nano's DiT with the encoders of its conditions."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.text_encoder = text_encoder(vocabulary)
        self.conditions = condition_encoder()
        self.transformer = transformer()

    def condition(self, batch: Batch) -> Tensor:
        """The condition sequences, `(B, L, 256)`.

        Cross-attention knows no padding, so an item shorter than L repeats itself instead of attending to blanks.
        """
        text, lyrics = batch.text, batch.lyrics
        text_states = self.conditions.text_projector(self.text_encoder(input_ids=text.ids).last_hidden_state)
        embedded = self.text_encoder.get_input_embeddings()(lyrics.ids)
        lyric_states = self.conditions.lyric_encoder(inputs_embeds=embedded, attention_mask=lyrics.mask)
        each = torch.arange(len(batch.references))
        timbre = self.conditions.timbre_encoder(batch.references, each)[0][batch.reference_of]
        sequence = torch.cat([lyric_states, timbre, text_states], 1)
        valid = torch.cat([lyrics.mask, torch.ones(len(timbre), 1, dtype=torch.bool), text.mask], 1)
        lengths = valid.sum(1, keepdim=True)
        indices = torch.arange(int(lengths.max()))[None] % lengths
        order = valid.long().argsort(dim=1, descending=True, stable=True).gather(1, indices)
        return sequence.gather(1, order[..., None].expand(-1, -1, sequence.shape[-1]))

    def loss(self, batch: Batch) -> Tensor:
        """Flow-matching loss: the squared error of the velocity at a random time on the straight path to noise."""
        count = len(batch.clean)
        condition = self.condition(batch)
        dropped = torch.rand(count, 1, 1) < _DROP_CONDITION
        condition = torch.where(dropped, self.conditions.null_condition_emb, condition)
        normal = torch.sigmoid(0.3 + torch.randn(count))
        t = torch.where(torch.rand(count) < 0.15, torch.rand(count), normal)
        noise = torch.randn_like(batch.clean)
        x = torch.lerp(batch.clean, noise, t[:, None, None])
        velocity = self.transformer(
            hidden_states=x, timestep=t, timestep_r=t, encoder_hidden_states=condition,
            context_latents=batch.context, return_dict=False,
        )[0]  # fmt: skip
        return (velocity - (noise - batch.clean)).square().mean()


class BatchMaker:
    """Draws batches of all tasks from a pool of pairs."""

    def __init__(
        self, pool: Pool, codes: Codes, tokenizer: PreTrainedTokenizerFast, silence: Tensor, seed: int
    ) -> None:
        self._pool, self._codes, self._tokenizer, self._silence = pool, codes, tokenizer, silence
        self._rng = np.random.default_rng(seed)

    def batch(self, count: int, frames: int, tasks: dict[Task, float] = MIXTURE) -> Batch:
        """A batch of `count` items of `frames` frames, a multiple of 4: all with lyrics or all without.

        Lyrics are long; an item without would repeat itself many times beside them.
        """
        rng = self._rng
        cleans, contexts, prompts, references, reference_of = [], [], [], [self._silent(REFERENCE_FRAMES)], []
        for pair in self._pool.draw(count, sung=bool(rng.random() < 0.4)):
            task: Task = list(tasks)[rng.choice(len(tasks), p=list(tasks.values()))]
            first = 4 * int(rng.integers((FRAMES - frames) // 4 + 1))
            clean = crop(pair.made, first, frames)
            has_reference = rng.random() < _REFERENCE
            cleans.append(clean)
            contexts.append(self._context(task, pair, first, clean))
            prompts.append(prompt_of(pair.facts, task, rng, vague=has_reference and rng.random() < 0.6))
            reference_of.append(len(references) if has_reference else 0)
            if has_reference:
                references.append(crop(pair.made, int(rng.integers(FRAMES - REFERENCE_FRAMES)), REFERENCE_FRAMES))
        texts, lyrics = zip(*prompts, strict=True)
        return Batch(
            torch.stack(cleans), torch.stack(contexts), self._tokens(texts), self._tokens(lyrics),
            torch.stack(references), torch.tensor(reference_of),
        )  # fmt: skip

    def _context(self, task: Task, pair: Pair, first: int, clean: Tensor) -> Tensor:
        """Source latents beside the mask, `(T, 32)`."""
        frames, mask = len(clean), torch.ones_like(clean)
        if task == "complete":
            source = self._with_clean_surroundings(crop(self._notes(pair), first, frames), clean)
        elif task == "cover":
            coded = clean if self._rng.random() < 0.4 else crop(pair.sketch, first, frames)
            with torch.no_grad():
                source = self._codes(coded[None])[0]
        elif task == "text2music":
            source = self._silent(frames)
        else:
            begin, end = self._window(frames)
            mask = torch.zeros_like(clean)
            mask[begin:end] = 1.0
            source = torch.where(mask.bool(), self._silent(frames), clean)
        return torch.cat([source, mask], 1)

    def _notes(self, pair: Pair) -> Tensor:
        """The piece in the sound that the network starts from: the sketch, at times audio of any other sound."""
        return pair.other if self._rng.random() < 0.4 else pair.sketch

    def _with_clean_surroundings(self, notes: Tensor, clean: Tensor) -> Tensor:
        """The notes, every fifth time with finished music around a window: the re-planned window of a real song."""
        if self._rng.random() > 0.2:
            return notes
        begin, end = self._window(len(notes))
        return torch.cat([clean[:begin], notes[begin:end], clean[end:]])

    def _window(self, frames: int) -> tuple[int, int]:
        """A window of a fifth to two thirds of the frames, which may touch either end."""
        width = int(self._rng.integers(frames // 5, 2 * frames // 3))
        begin = int(self._rng.integers(-width // 3, frames - 2 * width // 3))
        return max(0, begin), min(frames, begin + width)

    def _silent(self, frames: int) -> Tensor:
        return self._silence.expand(frames, LATENTS)

    def _tokens(self, texts: tuple[str, ...]) -> Tokens:
        encoded = self._tokenizer(list(texts), padding="longest", return_tensors="pt")
        return Tokens(encoded.input_ids, encoded.attention_mask.bool())


@torch.no_grad()
def silence_of(compact: CompactVae, scale: Scale) -> Tensor:
    """One standardised latent frame `(16,)` of the autoencoder's own silence, away from the edges."""
    return (compact.encode(torch.zeros(1, 2, 96_000))[0, :, 100] - scale.mean) / scale.std


def train_dit(rank: int, folder: Path, minutes: float) -> None:
    """Train the renderer, as process `rank` of several; the weights end up in `folder / "dit.pt"`."""
    compact, scale = load_vae(folder)
    codes, tokenizer, silence = load_codes(folder), load_tokenizer(folder), silence_of(compact, scale)
    encode = encoder(compact.encode, scale.mean, scale.std)
    batch_maker = BatchMaker(Pool(7000 + rank, encode, start=150), codes, tokenizer, silence, seed=300 + rank)
    validation = BatchMaker(Pool(99, encode, start=8, interval=10**9), codes, tokenizer, silence, seed=99)
    batches = {task: validation.batch(16, 400, {task: 1.0}) for task in MIXTURE}
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
        return model.loss(batch_maker.batch(*_BATCH_SIZES[draws % len(_BATCH_SIZES)]))

    @torch.no_grad()
    def report() -> str:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return "unseen " + ", ".join(f"{task} {model.loss(batch).item():.3f}" for task, batch in batches.items())

    train(model, loss, TrainingSettings(minutes, 1.2e-3, folder / "dit.pt", weight_decay=0.01), rank, report)


def load_renderer(folder: Path) -> Renderer:
    """The trained renderer of `folder`."""
    model = Renderer(len(load_tokenizer(folder)))
    load_average(folder / "dit.pt", model)
    return model
