"""Training pairs for the renderer: the same notes as a sketch and in the sound that a caption asks for, as latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from planner.composer.instruments import Wave
from planner.composer.score import Score, sketch
from planner.composer.styles import styles
from training.captions import PieceFacts, draw_lyrics
from training.synthesis import draw_score, excerpt, random_ensemble, styled

FRAMES = 816
_SECONDS = FRAMES / 100

Encode = Callable[[Wave], Tensor]


@dataclass(frozen=True)
class Pair:
    """`FRAMES` frames of one piece three times, `(T, 16)` float16: as it should sound, sketched, and in another sound.

    `facts` are the whole piece's; its notes may have been written for another style than it sounds in.
    """

    made: Tensor
    sketch: Tensor
    other: Tensor
    facts: PieceFacts


def draw_pair(rng: np.random.Generator, encode: Encode) -> Pair:
    """An excerpt of a random piece; three in four are played in another style than they were written for.

    The notes alone would give the style away, and the network would never learn to follow the words.
    """
    lyrics = draw_lyrics(rng)
    seconds = float(np.exp(rng.uniform(np.log(_SECONDS), np.log(90.0))))
    score = draw_score(rng, seconds, lyrics=lyrics)
    start = 0.0 if rng.random() < 0.25 else float(rng.uniform(0.0, seconds - _SECONDS))
    cut = excerpt(score, start, _SECONDS)
    style = tuple(styles())[rng.integers(len(styles()))] if rng.random() < 0.75 else score.style
    waves = styled(cut, style), sketch(cut), _another_sound(cut, style, rng)
    made, plain, other = (encode(wave).half() for wave in waves)
    return Pair(made, plain, other, PieceFacts(score, style, lyrics if score.sung else "", seconds))


def _another_sound(cut: Score, style: str, rng: np.random.Generator) -> Wave:
    """What a user may bring to be covered: two in three times finished music of another style, else random players."""
    others = [name for name in styles() if name != style]
    return styled(cut, others[rng.integers(len(others))]) if rng.random() < 2 / 3 else random_ensemble(cut, rng)


class Pool:
    """A growing set of pairs: `start` at once, then one more every `interval` draws until there are `limit`."""

    def __init__(self, seed: int, encode: Encode, start: int, limit: int = 4000, interval: int = 4) -> None:
        self._rng = np.random.default_rng(seed)
        self._encode, self._limit, self._interval = encode, limit, interval
        self.pairs = [draw_pair(self._rng, encode) for _ in range(start)]
        self._draws = 0

    def draw(self, count: int, sung: bool | None = None) -> list[Pair]:
        """`count` pairs at random, with words, without, or (None) either; the pool grows with the calls."""
        self._draws += 1
        if self._draws % self._interval == 0 and len(self.pairs) < self._limit:
            self.pairs.append(draw_pair(self._rng, self._encode))
        fitting = [pair for pair in self.pairs if sung in (None, bool(pair.facts.lyrics))]
        return [fitting[self._rng.integers(len(fitting))] for _ in range(count)]


def crop(latents: Tensor, first: int, frames: int) -> Tensor:
    """`frames` float32 frames of float16 latents `(T, 16)`."""
    return latents[first : first + frames].float()


def encoder(compact_encode: Callable[[Tensor], Tensor], mean: Tensor, std: Tensor) -> Encode:
    """Waveform `(2, S)` to standardised latents `(T, 16)`."""

    @torch.no_grad()
    def encode(wave: Wave) -> Tensor:
        return (compact_encode(torch.from_numpy(wave)[None])[0].T - mean) / std

    return encode
