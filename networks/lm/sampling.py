"""From logits to a token, on the host and in numpy: the same random numbers for every framework."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
Ids = NDArray[np.intp]

_FIRST_SORTED = 512
"""Candidates, the best, that are sorted at first: they nearly always hold the whole nucleus."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is chosen.

    Applied in this order: guidance, what is allowed, the penalty, top_k, top_p, temperature. `temperature` 0 takes
    the best token and draws no random number; `top_k` 0 and `top_p` 1 are off; `guidance` 1 is off.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    guidance: float = 1.0


class Sampler:
    """Chooses tokens by its own seeded generator, from which it draws one number for each choice of several tokens."""

    def __init__(self, sampling: Sampling, seed: int | Sequence[int]) -> None:
        self.sampling = sampling
        self._rng = np.random.default_rng(seed)

    def pick(self, logits: Logits, *, first: int = 0, allowed: Ids | None = None, seen: Collection[int] = ()) -> int:
        """The token chosen by logits `(B, n)` of the tokens from `first` on.

        With two rows and guidance the second is the unconditional one. `allowed` are the ids of which one must be
        chosen, ascending; None allows all. `seen` are ids that the repetition penalty holds back.
        """
        scores = self._penalised(self._guided(logits), first, seen)
        ids = np.arange(first, first + len(scores)) if allowed is None else allowed
        candidates = scores if allowed is None else scores[allowed - first]
        if len(candidates) == 1:
            return int(ids[0])
        if self.sampling.temperature == 0:
            return int(ids[np.argmax(candidates)])
        return int(ids[self._draw_index(candidates.astype(np.float64))])

    def best(self, logits: Logits, *, allowed: Ids) -> int:
        """The likeliest of the allowed ids, whatever the temperature and what was chosen before."""
        return int(allowed[np.argmax(self._guided(logits)[allowed])])

    def _guided(self, logits: Logits) -> Logits:
        if len(logits) == 1 or self.sampling.guidance == 1:
            return logits[0]
        conditional, unconditional = logits.astype(np.float32, copy=False)
        guided: Logits = unconditional + np.float32(self.sampling.guidance) * (conditional - unconditional)
        return guided

    def _penalised(self, scores: Logits, first: int, seen: Collection[int]) -> Logits:
        """Scores of seen tokens drawn towards less likely, as in CTRL (arXiv 1909.05858)."""
        penalty = np.float32(self.sampling.repetition_penalty)
        if penalty == 1 or not seen:
            return scores
        indices = np.fromiter(set(seen), np.intp) - first
        indices = indices[(indices >= 0) & (indices < len(scores))]
        scores = scores.copy()
        found = scores[indices]
        scores[indices] = np.where(found > 0, found / penalty, found * penalty)
        return scores

    def _draw_index(self, scores: NDArray[np.float64]) -> int:
        """The index drawn at random by the scores; of equal scores the earlier index counts as the better one."""
        order, chances = _nucleus(scores, self.sampling.top_k, self.sampling.top_p)
        # Only now does the temperature come: what is in the nucleus is decided at temperature 1.
        weights = chances ** (1.0 / self.sampling.temperature)
        steps = np.cumsum(weights / weights.sum())
        return int(order[min(int(np.searchsorted(steps, self._rng.random(), side="right")), len(order) - 1)])


def _nucleus(scores: NDArray[np.float64], top_k: int, top_p: float) -> tuple[Ids, NDArray[np.float64]]:
    """The indices that top_k and then top_p leave, best first, and their probabilities relative to the best."""
    order: Ids
    if 0 < top_k < len(scores):  # what follows reads these alone: a vocabulary has more than 100,000 tokens
        best = _best(scores, top_k)
        order, chances = _nucleus(scores[best], 0, top_p)
        return best[order], chances
    chances = np.exp(scores - scores.max())
    order = np.arange(len(chances))
    if top_p >= 1:
        return order, chances
    # The sum is that of all; only as many are sorted as the nucleus needs.
    total = chances.sum()
    for count in (min(len(chances), _FIRST_SORTED), len(chances)):
        order = _best(chances, count)
        inside = np.cumsum(chances[order]) >= top_p * total
        if inside.any():
            order = order[: int(np.argmax(inside)) + 1]
            break
    return order, chances[order]


def _best(values: NDArray[np.float64], count: int) -> Ids:
    """The indices of the `count` largest values, largest first; among equals the earlier index comes first."""
    if count < len(values):
        least = np.partition(values, len(values) - count)[len(values) - count]
        indices = np.flatnonzero(values >= least)
    else:
        indices = np.arange(len(values))
    order: Ids = indices[np.argsort(-values[indices], kind="stable")][:count]
    return order
